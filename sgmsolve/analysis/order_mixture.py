"""Weak orders on a 1-D mixture, where no moments are known in closed form.

Two ways, both on sigma 2 -> 0.1 with the test functions x, x^2, x^4 and cos 2x:

* plans without memory between steps (every one-step method, however many stages and registers): the
  expectation of a test function is carried backwards through the transition density, u_r(x) =
  E[u_{r+1}(step(x, xi))], with Gauss-Hermite quadrature over the step's draws and local
  interpolation in x. No sampling; the error is against the exact marginal, N doubles from 16 until
  three slopes agree to 0.1 or N = 1024, and ``order.classify`` gives the status;
* all others: differences of N, 2N and 4N steps on one Brownian path per sample. The slope between
  the two mean differences has a 95 % interval; ``ok`` if that meets the claim +-0.3,
  ``superconvergent`` or ``wrong`` if it lies above or below, ``preasymptotic`` (undecided) if its
  half width is above 0.6.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve.analysis.exact import row_matrices
from sgmsolve.analysis.order import OrderRow, classify, slopes_of
from sgmsolve.analysis.order_problems import OrderProblem, problem
from sgmsolve.analysis.reference import run_points
from sgmsolve.analysis.tabulate import tabulate
from sgmsolve.backends import PathNoise
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import Method, find
from sgmsolve.plan import Plan

FIRST, LAST = 16, 1024
COUPLED_STEPS = (16, 32, 64)
BATCH, BATCHES = 50_000, (10, 60)
"""Samples of a batch; fewest and most batches: as many as bring the half width under 0.2."""

NODES = {1: 24, 2: 10, 3: 6}
"""Gauss-Hermite nodes for each draw of a step, by the number of draws."""

POINTS = 800
STENCIL = 8


def measure_weak(
    method: str | Method, *, start: str = "published", weights: str | None = None, **options: Any
) -> OrderRow:
    """Weak order of a registered method on the mixture.

    Raises: AnalysisError if it claims none.
    """
    record = find(method) if isinstance(method, str) else method
    claims = record.claims(start)
    if "weak" not in claims:
        msg = f"method {record.name!r} claims no weak order; use measure_weak_builder with yours."
        raise AnalysisError(msg)
    weights = weights or record.weights[0]
    chosen = {"start": start, "weights": weights}
    options |= {key: value for key, value in chosen.items() if key in record.options}
    return measure_weak_builder(
        lambda p, g: record(p, g, **options),
        claims["weak"],
        name=record.name,
        start=start,
        weights=weights,
    )


def measure_weak_builder(
    build: Callable[[Any, Any], Plan],
    claimed: float,
    *,
    name: str = "custom",
    start: str = "published",
    weights: str = "exact",
    seed: int = 0,
) -> OrderRow:
    """Weak order on the mixture of any function ``build(process, grid) -> Plan``.

    ``seed`` matters for the sampled way only. Raises: AnalysisError for a plan without noise.
    """
    p = problem("mixture", "edm-start")
    first = build(p.process, p.times(FIRST))
    if not first.stochastic:
        msg = f"plan {first.name!r} draws no noise; ask for its deterministic order."
        raise AnalysisError(msg)
    half_width = 0.0
    if without_memory(first):
        steps, errors = _by_quadrature(build, p)
        slopes = slopes_of(steps, errors)
        measured, status = classify(slopes, claimed)
    else:
        plans = [build(p.process, p.times(n)) for n in COUPLED_STEPS]
        errors, measured, half_width = coupled_slope(plans, p, seed)
        steps, slopes = list(COUPLED_STEPS[:-1]), (measured,)
        status = classify_interval(measured, half_width, claimed)
    key = (name, p.name, p.interval, p.grid, "weak", start, weights, float(claimed))
    return OrderRow(*key, measured, status, slopes, tuple(errors), tuple(steps), half_width)


def _by_quadrature(
    build: Callable[[Any, Any], Plan], p: OrderProblem
) -> tuple[list[int], list[float]]:
    """Steps and errors until the slopes have settled, whatever the claim."""
    steps: list[int] = []
    errors: list[float] = []
    n = FIRST
    while n <= LAST:
        steps.append(n)
        errors.append(quadrature_error(build(p.process, p.times(n)), p))
        last = slopes_of(steps, errors)[-3:]
        if len(last) == 3 and max(last) - min(last) < 0.1:
            break
        n *= 2
    return steps, errors


def classify_interval(measured: float, half_width: float, claimed: float) -> str:
    """Status of a measured order with a 95 % interval; see the module's docstring."""
    if not half_width <= 0.6:
        return "preasymptotic"
    if abs(measured - claimed) <= 0.3 + half_width:
        return "ok"
    return "superconvergent" if measured > claimed else "wrong"


def test_functions(x: np.ndarray) -> np.ndarray:
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
    values = test_functions(x)
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


def coupled_slope(
    plans: list[Plan], p: OrderProblem, seed: int = 0
) -> tuple[list[float], float, float]:
    """Two differences |E phi(N) - E phi(2N)|, their slope and its 95 % half width.

    Differences are projected on the direction of the coarser one; the interval is a jackknife over
    batches.
    """
    rng = np.random.default_rng(seed)
    batches: list[np.ndarray] = []
    slope, half_width = 0.0, np.inf
    while len(batches) < BATCHES[1]:
        indices = np.arange(len(batches) * BATCH, (len(batches) + 1) * BATCH)
        noise = PathNoise(plans, p.process, seed=seed, indices=indices)
        z = p.target.sample(BATCH, rng) + p.process.sigma(p.t_start) * rng.standard_normal(
            (BATCH, 1)
        )
        ends = []
        for plan in plans:
            draw = noise.bind(plan, (z,))
            ends.append(test_functions(run_points(plan, p.target, p.process, z, draw)[:, 0]))
        pairs = itertools.pairwise(ends)
        batches.append(np.stack([(a - b).mean(axis=1) for a, b in pairs]))
        if len(batches) >= BATCHES[0]:
            slope, half_width = _jackknife(np.stack(batches))
            if half_width < 0.2:
                break
    mean = np.mean(batches, axis=0)
    return [float(np.linalg.norm(d)) for d in mean], slope, half_width


def _jackknife(batches: np.ndarray) -> tuple[float, float]:
    """Slope and 95 % half width from differences (batches, 2, F)."""

    def slope(mean: np.ndarray) -> float:
        coarse, fine = mean @ (mean[0] / np.linalg.norm(mean[0]))
        return float(np.log2(coarse / fine)) if fine > 0 else np.nan

    n, total = len(batches), batches.sum(axis=0)
    without = np.array([slope((total - b) / (n - 1)) for b in batches])
    spread = np.sqrt((n - 1) * np.mean((without - without.mean()) ** 2))
    return slope(total / n), float(1.96 * spread) if np.isfinite(spread) else float("inf")
