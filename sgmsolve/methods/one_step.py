"""One evaluation a step: reverse diffusion, ancestral, DDIM; ``euler`` has Euler-Maruyama.

All steps go from forward time t to s < t. With a = alpha_t / alpha_s and v = sigma_t^2 - a^2
sigma_s^2, the forward transition from s to t is x_t = a x_s + sqrt(v) xi.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.euler import euler_maruyama as euler_maruyama
from sgmsolve.methods.multistep import choose
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder


def _discretised(process: Any, discretisation: str, t: Any, s: Any) -> tuple[Any, Any]:
    """(a, v) of the forward transition from s to t: exact, or score_sde's beta(t) (t - s) form."""
    if discretisation == "exact":
        return process.alpha_ratio(s, t), process.transition_variance(s, t)
    beta = process.beta(t) * (t - s)
    if not beta < 1:
        msg = (
            f"discretisation='score_sde' needs beta h < 1, but the step from t = {float(t):.6g} to "
            f"{float(s):.6g} has beta h = {float(beta):.3g}; take more steps, another grid or "
            f"discretisation='exact'."
        )
        raise MethodError(msg)
    return ops(beta).sqrt(1 - beta), beta


def _check_discretisation(process: Any, discretisation: str, steps: int, name: str) -> None:
    choose("discretisation", discretisation, ("exact", "score_sde"))
    if discretisation == "exact":
        return
    if type(process).__name__ != "VP":
        msg = (
            f"{name} with discretisation='score_sde' uses beta(t) (t - s) and is for VP, but the "
            f"process is {type(process).__name__}; use discretisation='exact'."
        )
        raise MethodError(msg)
    if steps < 20:
        msg = (
            f"{name} with discretisation='score_sde' was given {steps} steps, but sqrt(1 - beta h) "
            f"needs T >= 20; take more steps or discretisation='exact'."
        )
        raise MethodError(msg)


@register(
    "reverse-diffusion",
    family="one-step",
    summary="Reverse diffusion sampler: the forward chain's discretisation, reversed.",
    predicts="score",
    variable="t",
    orders={"weak": 1},
    stochastic=True,
    weights=("published",),
    reference="song2021sde",
    equation="eq. (46)",
    notes="discretisation='exact': alpha-bar ratios, any step count; 'score_sde' needs T >= 20.",
)
def reverse_diffusion(
    process: Any, grid: Sequence[Any], *, discretisation: str = "exact", denoise: bool = False
) -> Plan:
    """x_s = (2 - a) x + v score(x, t) + sqrt(v) xi."""
    b = PlanBuilder(process, grid, predicts="score", denoise=denoise, draws="kernel")
    _check_discretisation(process, discretisation, len(b.times) - 1, "reverse-diffusion")
    for t, s in b.steps():
        a, v = _discretised(process, discretisation, t, s)
        score = b.predict(b.z, t)
        b.advance((2 - a) * b.z + v * score + ops(v).sqrt(v) * b.xi())
    return b.plan()


@register(
    "ancestral",
    family="one-step",
    summary="Ancestral sampling (DDPM).",
    predicts="noise",
    variable="rho",
    orders={"weak": 1},
    stochastic=True,
    weights=("published",),
    reference="ho2020ddpm",
    equation="Algorithm 2",
    aliases=("ddpm",),
    notes=(
        "variance='small' is the posterior's (= DDIM with eta 1), 'large' the forward one, which "
        "discretisation='score_sde' always has."
    ),
)
def ancestral(
    process: Any,
    grid: Sequence[Any],
    *,
    discretisation: str = "exact",
    variance: str = "small",
    denoise: bool = False,
) -> Plan:
    """x_s = (x - v/sigma_t eps(x, t)) / a + std xi.

    std^2 = v sigma_s^2/sigma_t^2 ("small") or v ("large").

    ``discretisation="score_sde"`` is x_s = (x + beta h score) / sqrt(1 - beta h) + sqrt(beta h) xi,
    whose noise is the forward one whatever ``variance`` says.
    """
    choose("variance", variance, ("small", "large"))
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise, draws="kernel")
    _check_discretisation(process, discretisation, len(b.times) - 1, "ancestral")
    for t, s in b.steps():
        a, v = _discretised(process, discretisation, t, s)
        sigma_t = process.sigma(t)
        noise = b.predict(b.z, t)
        std = ops(v).sqrt(v)
        if variance == "small" and discretisation == "exact":
            std = std * process.sigma(s) / sigma_t
        b.advance((b.z - v / sigma_t * noise) / a + std * b.xi())
    return b.plan()


def _ddim_std(process: Any, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """Std of the fresh noise and weight of the predicted one: DDIM eq. (16), any alpha, sigma."""
    sigma_s = process.sigma(s)
    std = eta * sigma_s / process.sigma(t) * ops(t).sqrt(process.transition_variance(s, t))
    return std, ops(t).sqrt(sigma_s**2 - std**2)


def _check_eta(eta: float) -> None:
    if not 0 <= eta <= 1:
        msg = f"eta = {eta} was given, but DDIM's eta lies in [0, 1]: 0 is the ODE, 1 is DDPM."
        raise MethodError(msg)


def _ddim_limits(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """Order 1 for every eta, weak with noise."""
    return {"weak": 1, "deterministic": 1}


@register(
    "ddim",
    family="one-step",
    summary="DDIM; with eta = 0 also Euler in sigma, DPM-Solver-1 and exponential Euler.",
    predicts="noise",
    variable="rho",
    orders={"deterministic": 1},
    limits=_ddim_limits,
    reference="song2021ddim",
    equation="eq. (12)",
    aliases=("euler", "dpm-solver-1", "exp-euler"),
)
@register(
    "ddim-sde",
    family="one-step",
    summary="DDIM with eta = 1.",
    predicts="noise",
    variable="rho",
    orders={"weak": 1},
    stochastic=True,
    weights=("published",),
    defaults={"eta": 1.0},
    reference="song2021ddim",
    equation="eq. (12), (16)",
)
def ddim(process: Any, grid: Sequence[Any], *, eta: float = 0.0, denoise: bool = False) -> Plan:
    """x_s = alpha_s (x - sigma_t eps)/alpha_t + sqrt(sigma_s^2 - std^2) eps + std xi."""
    _check_eta(eta)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise, draws="kernel")
    for t, s in b.steps():
        psi = process.alpha_ratio(t, s)
        std, direction = _ddim_std(process, t, s, eta)
        eps = b.predict(b.z, t)
        x_s = psi * b.z + (direction - psi * process.sigma(t)) * eps
        b.advance(x_s + std * b.xi() if eta else x_s)
    return b.plan()


@register(
    "ddim-data",
    family="one-step",
    summary="DDIM written for data prediction (DPM-Solver++-1).",
    predicts="data",
    variable="lam",
    orders={"deterministic": 1},
    limits=_ddim_limits,
    reference="song2021ddim",
    equation="eq. (12)",
    aliases=("dpm++1",),
)
@register(
    "ddim-data-sde",
    family="one-step",
    summary="DDIM with eta = 1, written for data prediction.",
    predicts="data",
    variable="lam",
    orders={"weak": 1},
    stochastic=True,
    defaults={"eta": 1.0},
    reference="song2021ddim",
    equation="eq. (12), (16)",
    aliases=("sde-dpm++1",),
)
def ddim_data(
    process: Any, grid: Sequence[Any], *, eta: float = 0.0, denoise: bool = False
) -> Plan:
    """x_s = k x + (alpha_s - k alpha_t) x0 + std xi, with k = sqrt(sigma_s^2 - std^2)/sigma_t."""
    _check_eta(eta)
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    for t, s in b.steps():
        std, direction = _ddim_std(process, t, s, eta)
        k = direction / process.sigma(t)
        x0 = b.predict(b.z, t)
        x_s = k * b.z + (process.alpha(s) - k * process.alpha(t)) * x0
        b.advance(x_s + std * b.xi() if eta else x_s)
    return b.plan()
