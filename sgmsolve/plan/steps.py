"""One step of a plan read back from its table: what the solution at the next grid point is made of.

The response of the solution at two grid points, z_t = A z_0 + sum_j C_j e_j + noise and z_s
likewise, gives the step z_s = Psi z_t + sum_j w_j e_j + sum_d l_d xi_d with Psi = A_s A_t^-1, w_j
= C_sj - Psi C_tj. The points at which the rows inside the step evaluate are read the same way.
Nothing is assumed of the method.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import PlanError
from sgmsolve.plan.plan import Plan
from sgmsolve.plan.response import Response, propagate


@dataclass(frozen=True)
class Formula:
    """The point psi z_t + sum weights[row] e_row + sum noise[draw] xi_draw at forward ``time``.

    ``psi`` (m, m), weights (m, p), noise (m,); draws are numbered as in ``Plan.response()``.
    """

    time: Any
    psi: np.ndarray
    weights: dict[int, np.ndarray]
    noise: dict[int, np.ndarray]


@dataclass(frozen=True)
class Step:
    """A step from the solution at forward time ``t``, known after ``boundary`` rows, to ``end``.

    ``stages[row]`` is the point at which a row of the step evaluates; rows below ``boundary`` are
    history.
    """

    t: Any
    boundary: int
    end: Formula
    stages: dict[int, Formula]


def plan_steps(plan: Plan) -> list[Step]:
    """All steps between consecutive nodes; grid points that no register held are spanned.

    A row that evaluates at another time at a point made of z_t and noise alone (churn) ends a step
    too.

    Raises:
        PlanError: the plan has fewer than two nodes, or a state that does not depend on the
            initial one.
    """
    nodes = plan.nodes
    if len(nodes) < 2:
        msg = (
            f"plan {plan.name!r} holds its solution at {len(nodes)} grid point(s), but reading a "
            f"step needs two; build the plan with PlanBuilder.advance(state, time)."
        )
        raise PlanError(msg)
    found = plan.node_responses()
    return steps_between(plan, [(n.time, n.boundary, z) for n, z in zip(nodes, found, strict=True)])


def steps_between(plan: Plan, points: list[tuple[Any, int, Response]]) -> list[Step]:
    """Steps between points given as (time, rows done, response), rows as in ``plan``.

    ``plan_steps`` is this for the plan's nodes. A predictor-corrector that never holds its
    corrected state has its steps between the responses of plans that end there.
    """
    rows = propagate(plan, [(r, 0) for r in range(plan.rows)])[:-1]
    steps = []
    for start, last in itertools.pairwise(points):
        legs = [start, last]
        (time, boundary, base), end = start, last[1]
        if boundary < end:
            first = _relative(plan.t[boundary], rows[boundary], base, _inverse(plan, time, base.z0))
            if not first.weights and first.time != time:
                legs.insert(1, (first.time, boundary, rows[boundary]))
        for (t, done, base), (s, until, response) in itertools.pairwise(legs):
            inverse = _inverse(plan, t, base.z0)
            inside = range(done, until)
            stages = {r: _relative(plan.t[r], rows[r], base, inverse) for r in inside}
            steps.append(Step(t, done, _relative(s, response, base, inverse), stages))
    return steps


def step_weights(
    plan: Plan, n: int
) -> tuple[Any, Any, np.ndarray, dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Step ``n`` as (t, s, Psi, {row: w}, {draw: l}): z_s = Psi z_t + sum w e + sum l xi.

    Raises:
        PlanError: there is no such step.
    """
    steps = plan_steps(plan)
    if not -len(steps) <= n < len(steps):
        msg = (
            f"plan {plan.name!r} has {len(steps)} steps, but step {n} was asked for; choose 0 to "
            f"{len(steps) - 1}."
        )
        raise PlanError(msg)
    step = steps[n]
    return step.t, step.end.time, step.end.psi, step.end.weights, step.end.noise


def _relative(time: Any, point: Response, base: Response, inverse: np.ndarray) -> Formula:
    """A point with z_0 eliminated in favour of the base; left-overs of rounding are dropped."""
    psi = point.z0 @ inverse
    floor = 256 * rounding(psi.dtype == object)

    def terms(of: np.ndarray, since: np.ndarray) -> dict[int, np.ndarray]:
        size = max(len(of), len(since))
        got, old = _padded(of, size), psi @ _padded(since, size)
        value = got - old
        axes = tuple(range(1, value.ndim))
        large = np.maximum(abs(got).max(axis=axes), abs(old).max(axis=axes)) * floor
        kept = np.flatnonzero(abs(value).max(axis=axes) > large)
        return {int(j): value[j] for j in kept}

    predictions = terms(point.predictions, base.predictions)
    noise = terms(point.noise[:, :, None], base.noise[:, :, None])
    return Formula(time, psi, predictions, {d: l[:, 0] for d, l in noise.items()})


def _padded(table: np.ndarray, size: int) -> np.ndarray:
    """Zeros after the end: rows and draws that come later have no weight."""
    zeros = np.zeros((size - len(table), *table.shape[1:]), dtype=table.dtype)
    return np.concatenate([table, zeros])


def scalar_steps(plan: Plan, process: Any, given: Sequence[Step] | None = None) -> list[Step]:
    """Steps of a plan with one component that move in time (a denoising row does not).

    Raises:
        PlanError: more than one component.
    """
    if plan.m != 1 or plan.p != 1 or process.m != 1:
        msg = (
            f"plan {plan.name!r} has {plan.m} component(s), its process {process.m}, but these "
            f"order conditions are for scalar processes; use step_weights to read its steps."
        )
        raise PlanError(msg)
    return [s for s in (plan_steps(plan) if given is None else given) if s.t != s.end.time]


def drift_end(process: Any, step: Step, eta: float, ancestral: bool) -> tuple[float, Any, Any]:
    """(eta, rho, 1 + eta^2) of the drift's own step; an ancestral one is an ODE step to below s.

    Raises:
        PlanError: the step's fresh noise exceeds the marginal's, so that no ancestral step
            matches it.
    """
    s = step.end.time
    rho = process.rho(s)
    if not ancestral:
        return eta, rho, 1 + eta**2
    square = rho**2 - sum(v[0] ** 2 for v in step.end.noise.values()) / process.alpha(s) ** 2
    if not square > 0:
        msg = (
            f"the step from t = {float(step.t):.6g} to {float(s):.6g} adds more noise than the "
            f"marginal at its end holds, so no ancestral step matches it; compare with eta instead."
        )
        raise PlanError(msg)
    return 0.0, ops(rho).sqrt(square), 1


def rounding(exact: bool) -> Any:
    """The unit of rounding: mpmath's at its working precision, or float64's."""
    if not exact:
        return float(np.finfo(np.float64).eps)
    import mpmath

    return mpmath.mp.eps


def _inverse(plan: Plan, t: Any, matrix: np.ndarray) -> np.ndarray:
    singular = PlanError(
        f"plan {plan.name!r}: the solution at t = {float(t):.6g} does not determine the initial "
        f"state, so the step from there cannot be read; end the grid before, without a denoising "
        f"row."
    )
    if matrix.dtype == object:
        import mpmath

        try:
            rows = mpmath.inverse(mpmath.matrix(matrix.tolist())).tolist()
        except ZeroDivisionError as error:
            raise singular from error
        return np.array(rows, dtype=object)
    try:
        return np.asarray(np.linalg.inv(matrix))
    except np.linalg.LinAlgError as error:
        raise singular from error
