"""Ancestral samplers: a deterministic step down to sigma_down, then exact fresh noise.

In rho = sigma/alpha: up^2 = eta^2 rho_s^2 (rho_t^2 - rho_s^2)/rho_t^2 and down^2 = rho_s^2 - up^2.
Adding the noise maps the law at rho_down to the law at rho_s exactly, so the weak order is that of
the deterministic step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.edm import euler_step
from sgmsolve.methods.registry import register
from sgmsolve.methods.sde_multistep import check_stochasticity
from sgmsolve.methods.single_step import second
from sgmsolve.plan import Affine, Plan, PlanBuilder


def down_up(process: Any, t: Any, s: Any, eta: float) -> tuple[Any, Any]:
    """(t_down, up): the time with rho = rho_down and the noise level up in rho."""
    check_stochasticity("eta", eta)
    rho_t, rho_s = process.rho(t), process.rho(s)
    xp = ops(rho_s)
    up = eta * rho_s / rho_t * xp.sqrt(process.transition_variance(s, t)) / process.alpha(t)
    if not up < rho_s:
        msg = f"eta = {eta} asks for more noise than the target level holds; choose eta <= 1."
        raise MethodError(msg)
    return process.time_of_rho(xp.sqrt(rho_s**2 - up**2)), up


def ancestral_steps(
    predicts: str, process: Any, grid: Sequence[Any], eta: float, order: int, denoise: bool
) -> Plan:
    """Step to t_down with a method of order 1 or 2, scale to alpha_s, add alpha_s up xi."""
    b = PlanBuilder(process, grid, predicts=predicts, denoise=denoise, draws="kernel")
    for t, s in b.steps():
        down, up = down_up(process, t, s, eta)
        x = _down(b, t, down, order)
        alpha_s = process.alpha(s)
        x = (alpha_s / process.alpha(down)) * x
        b.advance(x + alpha_s * up * b.xi() if eta else x)
    return b.plan()


def _down(b: PlanBuilder, t: Any, down: Any, order: int) -> Affine:
    if order == 1:
        return euler_step(b, b.z, t, down)
    return second(b, b.z, t, down, 0.5, "published")


_RECORD: dict[str, Any] = {
    "family": "ancestral",
    "stochastic": True,
    "weights": ("published",),
    "reference": "crowson2022kdiffusion",
}


@register(
    "euler-ancestral",
    summary="Euler ancestral: the same numbers as DDIM with eta = 1.",
    predicts="noise",
    variable="rho",
    orders={"weak": 1},
    equation="sample_euler_ancestral",
    aliases=("euler-a",),
    **_RECORD,
)
def euler_ancestral(
    process: Any, grid: Sequence[Any], *, eta: float = 1.0, denoise: bool = False
) -> Plan:
    """x_down = Euler in rho from t to t_down, then x_s = alpha_s (x_down/alpha_down + up xi)."""
    return ancestral_steps("noise", process, grid, eta, 1, denoise)


@register(
    "dpm2-ancestral",
    summary="DPM2 ancestral: a DPM-Solver-2 step to sigma_down, then fresh noise.",
    predicts="noise",
    variable="lam",
    orders={"weak": 2},
    evaluations=2,
    stages=2,
    equation="sample_dpm_2_ancestral",
    aliases=("dpm2-a",),
    **_RECORD,
)
def dpm2_ancestral(
    process: Any, grid: Sequence[Any], *, eta: float = 1.0, denoise: bool = False
) -> Plan:
    """Midpoint at the geometric mean of rho_t and rho_down."""
    return ancestral_steps("noise", process, grid, eta, 2, denoise)


@register(
    "dpm++2s-ancestral",
    summary="DPM-Solver++(2S) ancestral.",
    predicts="data",
    variable="lam",
    orders={"weak": 2},
    evaluations=2,
    stages=2,
    equation="sample_dpmpp_2s_ancestral",
    aliases=("dpm++2s-a",),
    **_RECORD,
)
def dpmpp_2s_ancestral(
    process: Any, grid: Sequence[Any], *, eta: float = 1.0, denoise: bool = False
) -> Plan:
    """A DPM-Solver++(2S) step (r = 1/2) to t_down, then fresh noise."""
    return ancestral_steps("data", process, grid, eta, 2, denoise)


@register(
    "dpm++sde",
    summary="DPM++ SDE: two evaluations a step whose noises share one path.",
    predicts="data",
    variable="lam",
    orders={"weak": 2},
    evaluations=2,
    stages=2,
    equation="sample_dpmpp_sde",
    notes="The half step's noise is part of the full step's: independent noises lose the order.",
    **_RECORD,
)
def dpmpp_sde(
    process: Any,
    grid: Sequence[Any],
    *,
    eta: float = 1.0,
    r: float = 0.5,
    denoise: bool = False,
) -> Plan:
    """Inner point at lambda_t + r h, each leg an ancestral first-order step with data prediction.

    x_mid = exp-Euler(t -> mid_down; D0) + alpha_mid up_mid xi_1;
    x_s = exp-Euler(t -> down; (1 - 1/2r) D0 + 1/2r D1) + alpha_s up (w1 xi_1 + w2 xi_2), where
    w1, w2 are the shares of [mid, t] and [s, mid] in the clock alpha^2/sigma^2 of the noise kernel.
    """
    if not 0 < r < 1:
        msg = f"r = {r} was given, but the inner point lies at a fraction in (0, 1) of the step."
        raise MethodError(msg)
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    lam = process.lam
    for t, s in b.steps():
        x, xp = b.z, ops(t)
        mid = process.time_of_lam(lam(t) + r * (lam(s) - lam(t)))
        d0, xi_1 = b.predict(x, t), b.xi(mid, t) if eta else Affine({})
        down, up = down_up(process, t, mid, eta)
        x_mid = _exponential_euler(b, x, d0, t, mid, down) + process.alpha(mid) * up * xi_1
        d1, xi_2 = b.predict(x_mid, mid), b.xi(s, mid) if eta else Affine({})
        d = (1 - 1 / (2 * r)) * d0 + 1 / (2 * r) * d1
        q = xp.expm1(2 * (lam(mid) - lam(t))) / xp.expm1(2 * (lam(s) - lam(t)))
        noise = xp.sqrt(q) * xi_1 + xp.sqrt(1 - q) * xi_2
        down, up = down_up(process, t, s, eta)
        b.advance(_exponential_euler(b, x, d, t, s, down) + process.alpha(s) * up * noise)
    return b.plan()


def _exponential_euler(b: PlanBuilder, x: Affine, d: Affine, t: Any, s: Any, down: Any) -> Affine:
    """First-order data-prediction step from t to ``down``, in x at alpha_s."""
    process = b.process
    shrink = process.rho(down) / process.rho(t)
    return process.alpha(s) * (shrink / process.alpha(t) * x + (1 - shrink) * d)
