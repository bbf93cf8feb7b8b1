"""One step of a plan read back from its table: what the solution at the next grid point is made of.

The response of the solution at two grid points, z_t = A z_0 + sum_j C_j e_j + noise and z_s likewise, gives the
step z_s = Psi z_t + sum_j w_j e_j + sum_d l_d xi_d with Psi = A_s A_t^-1, w_j = C_sj - Psi C_tj. The points at
which the rows inside the step evaluate are read the same way. Nothing is assumed of the method.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve.errors import PlanError
from sgmsolve.plan.plan import Plan, Response


@dataclass(frozen=True)
class Formula:
    """A point as psi z_t + sum weights[row] e_row + sum noise[draw] xi_draw, at forward time ``time``.

    ``psi`` (m, m), weights (m, p), noise (m,); draws are numbered as in ``Plan.response()``.
    """

    time: Any
    psi: np.ndarray
    weights: dict[int, np.ndarray]
    noise: dict[int, np.ndarray]


@dataclass(frozen=True)
class Step:
    """A step from the solution at forward time ``t``, known after ``boundary`` rows, to ``end``.

    ``stages[row]`` is the point at which a row of the step evaluates; rows below ``boundary`` are history.
    """

    t: Any
    boundary: int
    end: Formula
    stages: dict[int, Formula]


def plan_steps(plan: Plan) -> list[Step]:
    """All steps between consecutive nodes; where no register ever held a grid point a step spans more.

    Raises:
        PlanError: the plan has fewer than two nodes, or a state that does not depend on the initial one.
    """
    nodes = plan.nodes
    if len(nodes) < 2:
        msg = (
            f"plan {plan.name!r} holds its solution at {len(nodes)} grid point(s), but reading a step "
            f"needs two; build the plan with PlanBuilder.advance(state, time)."
        )
        raise PlanError(msg)
    wanted = [(n.boundary, n.register) for n in nodes] + [(r, 0) for r in range(plan.rows)]
    found = [response for response, _ in plan._propagate(wanted)[:-1]]
    at_node, at_row = found[: len(nodes)], found[len(nodes) :]
    steps = []
    for i in range(len(nodes) - 1):
        start, base, last = nodes[i], at_node[i], nodes[i + 1]
        inverse = _inverse(plan, start.time, base.z0)
        stages = {
            r: _relative(plan.t[r], at_row[r], base, inverse)
            for r in range(start.boundary, last.boundary)
        }
        end = _relative(last.time, at_node[i + 1], base, inverse)
        steps.append(Step(start.time, start.boundary, end, stages))
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
    """A point's response with z_0 eliminated in favour of the base point; rounding left-overs dropped."""
    psi = point.z0 @ inverse

    def terms(of: np.ndarray, since: np.ndarray) -> dict[int, np.ndarray]:
        out = {}
        for j in range(len(of)):
            if not (np.any(of[j] != 0) or np.any(since[j] != 0)):
                continue
            removed = psi @ since[j]
            value = of[j] - removed
            if np.max(np.abs(value)) > noise_floor * max(abs(of[j]).max(), abs(removed).max()):
                out[j] = value
        return out

    noise_floor = _epsilon(psi) * 256
    predictions = terms(point.predictions, base.predictions)
    return Formula(time, psi, predictions, terms(point.noise, base.noise))


def _epsilon(table: np.ndarray) -> Any:
    if table.dtype != object:
        return float(np.finfo(np.float64).eps)
    import mpmath

    return mpmath.mp.eps


def _inverse(plan: Plan, t: Any, matrix: np.ndarray) -> np.ndarray:
    singular = PlanError(
        f"plan {plan.name!r}: the solution at t = {float(t):.6g} does not determine the initial state, "
        f"so the step from there cannot be read; end the grid before, without a denoising row."
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
