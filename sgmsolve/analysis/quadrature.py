"""Expectations of a plan's result on a 1-D mixture by transition-density quadrature, no sampling.

For a plan whose steps remember each other through one number only (every one-step method, however
many stages), u_r(x) = E[phi(result) | x at boundary r] is carried backwards:

    u_r(x) = E[u_{r+1}(step(x, xi))],

Gauss-Hermite quadrature over the step's draws, local interpolation in x.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from sgmsolve.analysis.exact import row_matrices
from sgmsolve.analysis.order_problems import OrderProblem
from sgmsolve.analysis.tabulate import tabulate
from sgmsolve.plan import Plan

NODES = {1: 24, 2: 10, 3: 6}
"""Gauss-Hermite nodes for each draw of a step, by the number of draws."""

POINTS = 800
STENCIL = 8


def observables(x: np.ndarray) -> np.ndarray:
    """(4, ...): x, x^2, x^4, cos 2x."""
    return np.stack([x, x**2, x**4, np.cos(2 * x)])


@dataclass(frozen=True)
class Cut:
    """A boundary (rows done) after which the run needs one number v and fresh draws only.

    (registers, history) = ``direction`` v + the noise of the row before, which counts as drawn
    after the cut.
    """

    boundary: int
    direction: np.ndarray


def cuts(plan: Plan) -> list[Cut]:
    """Every cut of a plan with m = 1, in order; the start and the end always are cuts."""
    a = row_matrices(plan)
    size = a.shape[1]
    prelude = np.zeros(size)
    prelude[: plan.k] = plan.prelude_move[:, 0]
    needed = np.zeros(size, dtype=bool)
    needed[0] = True
    found = []
    for r in range(plan.rows, -1, -1):
        direction = prelude * needed if r == 0 else _common_direction(a[r - 1] * needed[:, None])
        if direction is not None:
            found.append(Cut(r, direction))
        if r:
            used = (a[r - 1][needed] != 0).any(axis=0)
            needed = used[:size]
            needed[0] |= used[size]
    return found[::-1]


def _common_direction(rows: np.ndarray) -> np.ndarray | None:
    """The d with rows = d rows[0], if all rows are multiples of the evaluation point's."""
    first = rows[0]
    square = float(first @ first)
    if not square:
        return None
    direction = rows @ first / square
    remainder = np.abs(rows - np.outer(direction, first)).max()
    return direction if remainder <= 1e-12 * np.abs(rows).max() else None


def _segments(plan: Plan) -> list[tuple[Cut, int, list[tuple[int, int]]]]:
    """(cut, next boundary, draws made between them); the last one only adds the last noise."""
    at = cuts(plan)
    ends = [cut.boundary for cut in at[1:]] + [plan.rows]
    last = len(at) - 1
    out = []
    for i, (cut, end) in enumerate(zip(at, ends, strict=True)):
        rows = range(cut.boundary - 1, end if i == last else end - 1)
        out.append((cut, end, [(r, j) for r in rows for j in plan.active_draws(r)]))
    return out


def without_memory(plan: Plan) -> bool:
    """Whether every step depends on the one before through one number, with few enough draws."""
    segments = _segments(plan)
    many = len(segments) >= len(plan.nodes) > 0
    return many and max(len(draws) for _, _, draws in segments) <= max(NODES)


def quadrature_error(plan: Plan, p: OrderProblem, *, refine: int = 1) -> float:
    """Root mean square over the test functions of E[phi(result)] minus its exact value.

    Only for plans without memory between steps. ``refine`` multiplies the number of grid points and
    nodes.
    """
    a, k = row_matrices(plan), plan.k
    predict = tabulate(p.target, p.process, plan.predicts, plan.t, 1)
    x, density = _grid(p, plan.t_end, refine)
    values = observables(x)
    exact = values @ density
    for cut, end, draws in reversed(_segments(plan)):
        before = cut.boundary - 1
        t = plan.t_start if before < 0 else float(plan.t[before])
        start, density = _grid(p, t, refine)
        xi, weight = _nodes(len(draws), refine)
        y = np.zeros((a.shape[1] + 1, len(start) * len(weight)))
        y[:-1] = cut.direction[:, None] * np.repeat(start, len(weight))
        for r in range(before, end):
            if r > before:
                y[-1] = predict(r, y[0])
                y[:-1] = a[r] @ y
            factor = plan.noise[r] if r >= 0 else plan.prelude_noise
            for i, (row, column) in enumerate(draws):
                if row == r:
                    y[:k] += factor[:, [column]] * np.tile(xi[i], len(start))
        after = interpolate(x, values, y[0]).reshape(len(values), len(start), -1)
        x, values = start, after @ weight
    return float(np.sqrt(np.mean((values @ density - exact) ** 2)))


def _grid(p: OrderProblem, t: float, refine: int) -> tuple[np.ndarray, np.ndarray]:
    """Points that cover x(t) to 8 standard deviations, and the density times their spacing."""
    alpha, variance = p.process.alpha(t), p.process.alpha(t) ** 2 * p.target.eigenvalues[:, 0]
    std, mean = np.sqrt(variance + p.process.sigma(t) ** 2), alpha * p.target.means[:, 0]
    x = np.linspace((mean - 8 * std).min(), (mean + 8 * std).max(), POINTS * refine)
    z = (x[:, None] - mean) / std
    density = np.exp(-0.5 * z**2) @ (p.target.weights / (std * np.sqrt(2 * np.pi)))
    return x, density * (x[1] - x[0])


def _nodes(draws: int, refine: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (draws, n) and weights (n,) of the product rule for independent standard normals."""
    if not draws:
        return np.zeros((0, 1)), np.ones(1)
    x, w = np.polynomial.hermite_e.hermegauss(NODES[draws] * refine)
    w = w / w.sum()
    nodes = np.array(list(itertools.product(x, repeat=draws))).reshape(-1, draws).T
    weights = np.array(list(itertools.product(w, repeat=draws))).reshape(-1, draws).prod(axis=1)
    return nodes, weights


def interpolate(x: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Local Lagrange interpolation of values (F, n) on equidistant x; outside, the end values."""
    position = np.clip((at - x[0]) / (x[1] - x[0]), 0, len(x) - 1)
    first = np.clip(position.astype(np.int64) - STENCIL // 2 + 1, 0, len(x) - STENCIL)
    offset = position - first
    total = np.zeros((len(values), len(at)))
    for i in range(STENCIL):
        weight = np.ones_like(offset)
        for j in range(STENCIL):
            if j != i:
                weight *= (offset - j) / (i - j)
        total += values[:, first + i] * weight
    return total
