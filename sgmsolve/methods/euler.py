"""Euler-Maruyama on the reverse SDE and Euler on the probability flow, preconditioned where asked.

They run on every process; a preconditioner acts on every component of the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.registry import register
from sgmsolve.methods.sde_multistep import check_stochasticity
from sgmsolve.methods.stability import GROWTH, SLACK, warn_if_unstable
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.builder import gram
from sgmsolve.precondition.places import WHOLE, check_place, filters_prior


def _limits(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """Order 1, unless the preconditioner changes the law."""
    biased = options["preconditioner"] is not None and options["where"] != "exact-split"
    return {} if biased else claims


@register(
    "euler-maruyama",
    family="one-step",
    summary="Euler-Maruyama on the reverse-time SDE.",
    predicts="score",
    variable="t",
    orders={"weak": 1},
    limits=_limits,
    stochastic=True,
    weights=("published",),
    defaults={"eta": 1.0},
    reference="song2021sde",
    equation="eq. (6)",
    scalar=False,
    aliases=("em",),
)
@register(
    "pf-euler",
    family="one-step",
    summary="Explicit Euler in t on the probability-flow ODE.",
    predicts="score",
    variable="t",
    orders={"deterministic": 1},
    limits=_limits,
    weights=("published",),
    defaults={"eta": 0.0},
    reference="song2021sde",
    equation="eq. (13)",
    scalar=False,
)
def euler_maruyama(
    process: Any,
    grid: Sequence[Any],
    *,
    eta: float = 1.0,
    preconditioner: Any = None,
    where: str = "exact-split",
    skew: Any = None,
    denoise: bool = False,
) -> Plan:
    """x_s = x - h [F x - (1 + eta^2)/2 G G^T score(x, t)] + eta G sqrt(h) xi, with h = t - s.

    ``eta = 1`` is the reverse SDE, ``eta = 0`` the probability-flow ODE; all eta share marginals.
    preconditioner, where, skew: M, its place and S, as in ``ReverseSDE``: with "exact-split" 1 +
    eta^2 becomes I + eta^2 M M^T + S and xi becomes M xi. Warns: StabilityWarning, in phase space,
    for steps that amplify near the prior; with eta = 0, where the explicit Euler method amplifies
    rotations whatever its step, by more than a tenth. Raises: PreconditionError for operators that
    do not belong there, MethodError for a place that this method lacks.
    """
    check_stochasticity("eta", eta)
    check_place(preconditioner, where, skew)
    if where == "corrector":
        msg = "where='corrector' was given, but this method has none; use predictor-corrector."
        raise MethodError(msg)
    if preconditioner is not None:
        preconditioner.check_stable(where)
    plan = _euler(process, grid, eta, denoise, preconditioner, where, skew)
    if process.m > 1:
        name, growth = ("euler-maruyama", SLACK) if eta else ("pf-euler", GROWTH)
        warn_if_unstable(process, lambda g: _euler(process, g, eta, False), grid, name, growth)
    return plan


def _euler(
    process: Any,
    grid: Sequence[Any],
    eta: float,
    denoise: bool,
    M: Any = None,
    where: str = "exact-split",
    S: Any = None,
) -> Plan:
    operands = {name: op for name, op in (("M", M), ("S", S)) if op is not None}
    b = PlanBuilder(
        process, grid, predicts="score", denoise=denoise, draws="increment", operands=operands
    )
    grows = process.m == 1 and process.alpha(b.times[0]) == 1
    if M is not None and filters_prior(where, grows):
        b.z = b.operator("M") @ b.z
    for t, s in b.steps():
        x, h, G = b.z, t - s, b.G(t)
        half = (h / 2 * gram(G)) * b.predict(x, t)
        x_s = x + _drift(b, where, -(h * b.F(t)) * x, half, eta)
        if eta:
            noise = (eta * ops(h).sqrt(h) * G) * b.xi()
            x_s = x_s + (noise if M is None else b.operator("M") @ noise)
        b.advance(x_s)
    return b.plan()


def _drift(b: PlanBuilder, where: str, linear: Any, half: Any, eta: float) -> Any:
    """The step's drift from its linear part and half of its score part at eta = 1."""
    turned = b.operator("S") @ half if "S" in b.operands else 0
    gram_of = b.operator("M M^T") if "M" in b.operands else None
    if gram_of is None or where == "noise":
        return linear + (1 + eta**2) * half + turned
    if where in WHOLE:
        return gram_of @ (linear + (1 + eta**2) * half) + turned
    return linear + (1 + eta**2 * gram_of) @ half + turned
