"""Order conditions for any number of components: local errors on polynomial scores, by mpmath.

The reverse family dz = [-F z + (1 + eta^2)/2 G G^T s(z, t)] dtau + eta G dw (tau = reverse time)
keeps its form whatever the field s is. With a cubic of random coefficients in place of the score a
plan's step and the exact answer are computed to 50 digits, so that the slope of the local error in
h shows the order without doubt: p + 1 for order p. See ``polynomial_field`` for the exact answers.

* ``local_slopes``: eta = 0, the last of a few steps with an exact past.
* ``weak_local_slopes``: E[phi(z)] for monomials phi, the draws integrated by Gauss-Hermite rules.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sgmsolve.errors import PlanError
from sgmsolve.plan.conditions import slopes
from sgmsolve.plan.plan import Plan
from sgmsolve.plan.steps import Formula, plan_steps

if TYPE_CHECKING:
    from sgmsolve.plan.polynomial_field import PolynomialField

Build = Callable[[Any, Sequence[Any]], Plan]
UNEVEN = (10, 13, 8, 11, 9)


def local_slopes(
    build: Build, process: Any, t: Any, hs: Sequence[Any], *, steps: int = 1, seed: int = 0
) -> list[Any]:
    """Slopes of a deterministic plan's local error over step sizes ``hs``; p + 1 for order p.

    Grids go down from ``t`` in ``steps`` steps of h times 1, 1.3, 0.8, 1.1, 0.9, ... The error is
    the largest component's after the last step, started from the exact solution with exact
    predictions at all rows of earlier steps; the rows of the step itself, stages included, are
    computed as the plan says. Give a multistep method as many steps as it needs for its full order:
    the last step alone is judged, not the start-up. Rows of earlier steps that evaluated at
    provisional points count as exact too, which changes the error by h times theirs.

    Args:
        build: ``(process, grid) -> Plan``.
        process: of any number of components.
        t, hs: mpmath numbers, hs small beside the rates of F and long before ``t`` runs out.
        steps: number of steps.
        seed: of the polynomial field.

    Raises:
        PlanError: the plan draws noise, or its steps cannot be read (``plan_steps``).
    """
    errors = []
    for h in hs:
        grid = [t]
        for i in range(steps):
            grid.append(grid[-1] - h * UNEVEN[i % len(UNEVEN)] / 10)
        errors.append(_local_error(build(process, grid), process, t, seed))
    return slopes(errors, hs)


def _local_error(plan: Plan, process: Any, t0: Any, seed: int) -> Any:
    from sgmsolve.plan.polynomial_field import PolynomialField, flow

    if plan.stochastic:
        msg = f"plan {plan.name!r} draws noise, so it has no local error; use weak_local_slopes."
        raise PlanError(msg)
    field, legs = PolynomialField(process.m, t0, seed), plan_steps(plan)
    # A first evaluation off the grid (Strang's half flow) cuts a step in legs: judge them together.
    first = max(i for i, leg in enumerate(legs) if leg.t == plan.nodes[-2].time)
    legs = legs[first:]
    formulas = [f for leg in legs for f in (leg.end, *leg.stages.values())]
    past = {r for f in formulas for r in f.weights if r < legs[0].boundary}
    times = sorted({legs[0].t, legs[-1].end.time, *(plan.t[r] for r in past)}, reverse=True)
    exact = flow(field, process, _state(process.m, t0), times)
    made = {r: _prediction(plan, process, field, exact[plan.t[r]], plan.t[r]) for r in past}

    def value(formula: Formula, base: np.ndarray) -> np.ndarray:
        total = formula.psi @ base
        for r, weight in formula.weights.items():
            total = total + weight @ made[r]
        return np.asarray(total)

    base = exact[legs[0].t]
    for leg in legs:
        for r in sorted(leg.stages):
            made[r] = _prediction(plan, process, field, value(leg.stages[r], base), plan.t[r])
        base = value(leg.end, base)
    return abs(base - exact[legs[-1].end.time]).max()


def weak_local_slopes(
    build: Build,
    process: Any,
    t: Any,
    hs: Sequence[Any],
    *,
    eta: float = 1.0,
    degree: int = 2,
    steps: int = 1,
    nodes: int = 4,
    seed: int = 0,
) -> list[Any]:
    """Slopes of max |E phi(plan) - E phi(exact)| over all monomials phi of degree 1 to ``degree``.

    From a fixed state at ``t``, over ``steps`` equal steps of h for every h of ``hs``. A one-step
    method of weak order p has slope p + 1, up to 5: the expansion stops after h^4; with ``nodes``
    Gauss-Hermite nodes a draw it is exact up to O(h^nodes) where draws come with sqrt(h). For a
    method with history one step shows its start-up, and several steps, from the plan's own past,
    have slope p + 1 only if the start-up's local error is of that order as well (a matched start):
    the present of an SDE does not determine its past, so there is no exact one to start from.

    Args:
        build: ``(process, grid) -> Plan``.
        process: of any number of components, with mpmath coefficients.
        t, hs: mpmath numbers.
        eta: stochasticity of the family that the plan solves; 0 for plans without noise.
        degree: largest of the monomials.
        steps: number of steps.
        nodes: the grid has ``nodes`` ^ (components drawn in all steps) points.
        seed: of the polynomial field.
    """
    from sgmsolve.plan.polynomial_field import Generator, PolynomialField, hermite
    from sgmsolve.plan.polynomials import Polynomial

    m, start = process.m, _state(process.m, t)
    field = PolynomialField(m, t, seed)
    powers = itertools.product(range(degree + 1), repeat=m)
    monomials = [Polynomial({(*p, 0): 1}) for p in powers if 0 < sum(p) <= degree]
    generator = Generator(field, process, eta)
    expansions = [generator.expansion(phi, start) for phi in monomials]
    errors = []
    for h in hs:
        plan = build(process, [t - i * h for i in range(steps + 1)])
        z, weight = _all_draws(plan, process, field, start, hermite(nodes))
        found = []
        for phi, terms in zip(monomials, expansions, strict=True):
            exact = sum(c * (steps * h) ** k for k, c in enumerate(terms))
            found.append(abs(phi([*z, 0]) @ weight - exact))
        errors.append(max(found))
    return slopes(errors, hs)


def _all_draws(
    plan: Plan,
    process: Any,
    field: PolynomialField,
    start: np.ndarray,
    rule: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Results (m, n) and weights (n,) over the tensor grid of all draws."""
    x, w = rule
    columns = [(r, j) for r in range(-1, plan.rows) for j in plan.active_draws(r)]
    m, count = plan.m, len(x) ** len(columns)
    index = np.indices((len(x),) * len(columns)).reshape(len(columns), count)
    grid = {c: x[i] for c, i in zip(columns, index, strict=True)}
    weight = functools.reduce(np.multiply, (w[i] for i in index), np.ones(count, dtype=int))

    def noise(row: int) -> Any:
        table = plan.prelude_noise if row < 0 else plan.noise[row]
        return sum(np.outer(table[:, j], grid[row, j]) for j in plan.active_draws(row))

    z = np.outer(plan.prelude_move @ start, np.ones(count, dtype=int)) + noise(-1)
    past: list[np.ndarray] = []
    for r in range(plan.rows):
        past = [_prediction(plan, process, field, z[:m], plan.t[r]), *past][: plan.history]
        z = plan.move[r] @ z + noise(r)
        for j, made in enumerate(past):
            z = z + plan.kick[r, :, :, j] @ made
    return z[:m], weight


def _prediction(
    plan: Plan, process: Any, field: PolynomialField, z: np.ndarray, t: Any
) -> np.ndarray:
    """What the plan's kind of prediction is when the score is the field; z (m, ...)."""
    a, b = process.conversion("score", plan.predicts, t)
    return np.asarray(a @ z + b @ field(z, t))


def _state(m: int, t: Any) -> np.ndarray:
    """A state of size one without symmetry, in the number type of t."""
    return np.array([(7 - 4 * i) * (t / t) / 8 for i in range(m)], dtype=object)
