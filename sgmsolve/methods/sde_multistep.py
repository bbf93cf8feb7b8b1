"""SDE-DPM-Solver++: multistep methods for the reverse SDE in data prediction.

The reverse SDE is, with y = x e^{eta^2 lam}/sigma, dy = (1 + eta^2) e^{eta^2 lam} x0 d(e^lam) +
noise, so

    x_s = sigma_s/sigma_t e^{-eta^2 h} x + alpha_s int_0^h r e^{-r (h - tau)} x0 dtau
          + sigma_s sqrt(1 - e^{-2 eta^2 h}) xi,      r = 1 + eta^2,  h = lam_s - lam_t.

eta = 1 is SDE-DPM-Solver++ of Lu et al. (2022b), eta = 0 DPM-Solver++. Libraries whose noise has
variance 1 - e^{-2 eta h} mean our eta^2 by eta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.dpmpp import published_2m
from sgmsolve.methods.multistep import WEIGHTS, choose, combination, exponential_weights
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder


def check_stochasticity(name: str, value: Any) -> None:
    """Raise MethodError unless the stochasticity is a number >= 0 whose square is finite."""
    if not (value >= 0 and value * value < float("inf")):
        msg = (
            f"{name} = {value} was given, but a number >= 0 with a finite square is needed (0 is "
            f"the ODE)."
        )
        raise MethodError(msg)


def sde_factors(process: Any, t: Any, s: Any, h: Any, eta: Any) -> tuple[Any, Any]:
    """(factor of x, standard deviation of the noise) of the step t -> s, h = lam_s - lam_t."""
    xp, sigma_s = ops(h), process.sigma(s)
    shrink = sigma_s / process.sigma(t) * xp.exp(-(eta**2) * h)
    return shrink, sigma_s * xp.sqrt(-xp.expm1(-2 * eta**2 * h))


def _sde_multistep(
    process: Any, grid: Sequence[Any], k: int, *, eta: float, weights: str, denoise: bool
) -> Plan:
    choose("weights", weights, WEIGHTS)
    check_stochasticity("eta", eta)
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    lams: list[Any] = []
    predictions: list[Any] = []
    for t, s in b.steps():
        x0 = b.predict(b.z, t)
        lams, predictions = [process.lam(t), *lams][:k], [x0, *predictions][:k]
        lam_s, rate = process.lam(s), 1 + eta**2
        if weights == "published":
            w = published_2m(lams, lam_s, rate)
        else:
            w = exponential_weights(lams, lams[0], lam_s, rate)
        shrink, std = sde_factors(process, t, s, lam_s - lams[0], eta)
        x_s = shrink * b.z + process.alpha(s) * combination(w, predictions)
        b.advance(x_s + std * b.xi() if eta else x_s)
    return b.plan()


@register(
    "sde-dpm++2m",
    family="SDE multistep",
    summary="SDE-DPM-Solver++ multistep with two data predictions.",
    predicts="data",
    variable="lam",
    orders={"weak": 2, "deterministic": 2},
    stochastic=True,
    weights=("published", "exact"),
    reference="lu2022dpmsolverpp",
    equation="SDE-DPM-Solver++(2M)",
    aliases=("dpm++2m-sde",),
    notes="weights='published' is solver_type 'midpoint' of other libraries, 'exact' is 'heun'.",
)
def sde_dpmpp_2m(
    process: Any,
    grid: Sequence[Any],
    *,
    eta: float = 1.0,
    weights: str = "published",
    denoise: bool = False,
) -> Plan:
    """x_s = sigma_s/sigma_t e^{-h} x + alpha_s (1 - e^{-2h}) D + sigma_s sqrt(1 - e^{-2h}) xi.

    This is eta = 1, D = (1 + 1/(2r)) x0_t - 1/(2r) x0_previous, r = h_previous/h; the module's
    formula has any eta.
    """
    return _sde_multistep(process, grid, 2, eta=eta, weights=weights, denoise=denoise)


@register(
    "sde-dpm++3m",
    family="SDE multistep",
    summary="SDE-DPM-Solver++ multistep with three data predictions.",
    predicts="data",
    variable="lam",
    orders={"weak": 2, "deterministic": 2},
    stochastic=True,
    reference="crowson2022kdiffusion",
    equation="sample_dpmpp_3m_sde, weights generated",
    aliases=("dpm++3m-sde",),
    order_notes=(
        "Weak 2, not 3: the drift's integral of the noise inside a step has variance O(h^3) and is "
        "not drawn. eta = 0 starts with an Euler step; dpm++3m has start='matched'."
    ),
)
def sde_dpmpp_3m(
    process: Any, grid: Sequence[Any], *, eta: float = 1.0, denoise: bool = False
) -> Plan:
    """The module's formula with the parabola through the last three data predictions."""
    return _sde_multistep(process, grid, 3, eta=eta, weights="exact", denoise=denoise)
