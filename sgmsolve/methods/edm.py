"""The family of Karras et al.: Runge-Kutta in sigma = rho(t), with stochastic churn.

With y = x/alpha and rho = sigma/alpha every probability-flow ODE is dy/drho = eps; EDM's own
process has alpha = 1 and rho = t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.registry import register
from sgmsolve.plan import Affine, Plan, PlanBuilder


def rk2_step(b: PlanBuilder, x: Affine, t: Any, s: Any, fraction: Any) -> Affine:
    """Second-order step from x at t to s; the second stage at ``fraction`` of the step in rho.

    fraction 1 is Heun, 1/2 the midpoint rule (EDM appendix, the family alpha in [1/2, 1]).
    """
    process = b.process
    alpha_t, alpha_s = process.alpha(t), process.alpha(s)
    rho_t, h = process.rho(t), process.rho(s) - process.rho(t)
    c = s if fraction == 1 else process.time_of_rho(rho_t + fraction * h)
    alpha_c = process.alpha(c)
    e0 = b.predict(x, t)
    e1 = b.predict(alpha_c * (x / alpha_t + fraction * h * e0), c)
    b2 = 1 / (2 * fraction)
    return alpha_s * (x / alpha_t + h * ((1 - b2) * e0 + b2 * e1))


def euler_step(b: PlanBuilder, x: Affine, t: Any, s: Any) -> Affine:
    """First-order step in rho."""
    process = b.process
    e0 = b.predict(x, t)
    return process.alpha(s) * (x / process.alpha(t) + (process.rho(s) - process.rho(t)) * e0)


@register(
    "heun",
    family="Runge-Kutta in sigma",
    summary="Heun's method in sigma (EDM's deterministic sampler).",
    predicts="noise",
    variable="rho",
    orders={"deterministic": 2},
    evaluations=2,
    stages=2,
    reference="karras2022edm",
    equation="Algorithm 1",
    defaults={"fraction": 1.0},
)
@register(
    "midpoint",
    family="Runge-Kutta in sigma",
    summary="The midpoint rule in sigma.",
    predicts="noise",
    variable="rho",
    orders={"deterministic": 2},
    evaluations=2,
    stages=2,
    reference="karras2022edm",
    equation="Appendix D.2, alpha = 1/2",
    defaults={"fraction": 0.5},
)
def edm_rk2(
    process: Any, grid: Sequence[Any], *, fraction: float = 1.0, denoise: bool = False
) -> Plan:
    """x_s/alpha_s = x/alpha_t + h [(1 - 1/2c) e0 + 1/2c e1], e1 at rho_t + c h.

    h = rho_s - rho_t and c is ``fraction``.
    """
    if not 0 < fraction <= 1:
        msg = f"fraction = {fraction} was given, but the second stage lies in (0, 1] of the step."
        raise MethodError(msg)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    for t, s in b.steps():
        b.advance(rk2_step(b, b.z, t, s, fraction))
    return b.plan()


CHURN_LIMIT = math.sqrt(2) - 1


def _churn_limits(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """None with inexact noise or gamma at its limit (too few steps), else that of the step down."""
    churn = options["s_churn"]
    if churn and (options["s_noise"] != 1 or churn / steps >= CHURN_LIMIT):
        return {}
    return {"weak": 2 if options["heun"] else 1}


@register(
    "edm-churn",
    family="Runge-Kutta in sigma",
    summary="EDM's stochastic sampler: add noise up to sigma_hat, then a Heun step down.",
    predicts="noise",
    variable="rho",
    orders={"weak": 2},
    limits=_churn_limits,
    stochastic=True,
    evaluations=2,
    stages=2,
    reference="karras2022edm",
    equation="Algorithm 2",
    order_notes="Weak order 2 for s_noise = 1 and more than s_churn/0.414 steps; otherwise none.",
    notes="s_t_min and s_t_max are levels of sigma/alpha.",
)
@register(
    "euler-churn",
    family="Runge-Kutta in sigma",
    summary="Churn followed by an Euler step.",
    predicts="noise",
    variable="rho",
    orders={"weak": 1},
    limits=_churn_limits,
    stochastic=True,
    defaults={"heun": False},
    reference="karras2022edm",
    equation="Algorithm 2 without lines 7-8",
    order_notes="Weak order 1 for s_noise = 1 and more than s_churn/0.414 steps; otherwise none.",
)
def edm_churn(
    process: Any,
    grid: Sequence[Any],
    *,
    s_churn: float = 40.0,
    s_t_min: float = 0.0,
    s_t_max: float = math.inf,
    s_noise: float = 1.0,
    heun: bool = True,
    denoise: bool = False,
) -> Plan:
    """rho_hat = (1 + gamma) rho_t with gamma = min(s_churn/N, sqrt(2) - 1), then a step to s.

    Churn acts for rho in [s_t_min, s_t_max].

    x_hat = alpha_hat/alpha_t x + alpha_hat sqrt(rho_hat^2 - rho_t^2) s_noise xi, then a step from
    t_hat to s.
    N counts the grid's steps. rho_hat is kept inside the process's time range.
    """
    if s_churn < 0 or s_noise < 0:
        msg = f"s_churn = {s_churn} and s_noise = {s_noise} were given, but both are at least 0."
        raise MethodError(msg)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    gamma = min(s_churn / (len(b.times) - 1), CHURN_LIMIT)
    for t, s in b.steps():
        x, t_hat = b.z, t
        if gamma > 0 and s_t_min <= process.rho(t) <= s_t_max:
            x, t_hat = _churn(b, x, t, gamma, s_noise)
        b.advance(rk2_step(b, x, t_hat, s, 1) if heun else euler_step(b, x, t_hat, s))
    return b.plan()


def _churn(b: PlanBuilder, x: Affine, t: Any, gamma: float, s_noise: float) -> tuple[Affine, Any]:
    """Exact forward noise from t up to t_hat (scaled by s_noise), and t_hat.

    The noise is fresh (iid): intervals [t, t_hat] of neighbouring steps may overlap.
    """
    process = b.process
    t_hat = process.time_of_rho((1 + gamma) * process.rho(t))
    if t_hat > process.t_limit:
        t_hat = process.t_limit
    if not t_hat > t:
        return x, t
    psi = process.alpha_ratio(t, t_hat)
    std = ops(t).sqrt(process.transition_variance(t, t_hat))
    return psi * x + (s_noise * std) * b.xi(t, t_hat), t_hat
