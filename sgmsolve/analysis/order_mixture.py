"""Weak orders on a 1-D mixture, where no moments are known in closed form.

Two ways, on sigma 2 -> 0.1 with the test functions x, x^2, x^4 and cos 2x, in phase space on PSLD
from t = 1 to 0.1 with the same functions of the position and v^2 of every other component in units
of its standard deviation:

* plans without memory between steps (every one-step method, however many stages and registers): the
  expectation of a test function is carried backwards through the transition density, u_r(x) =
  E[u_{r+1}(step(x, xi))], with Gauss-Hermite quadrature over the step's draws and local
  interpolation in x. No sampling; the error is against the exact marginal, N doubles from 16 until
  three slopes agree to 0.1 or N = 1024, and ``order.classify`` gives the status;
* all others, and all in phase space: differences of N, 2N and 4N steps on one Brownian path per
  sample. The slope between the two mean differences has a 95 % interval; ``ok`` if that meets the
  claim +-0.3, ``superconvergent`` or ``wrong`` if it lies above or below, ``preasymptotic``
  (undecided) if its half width is above 0.6.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis.order import OrderRow, classify, quietly, slopes_of
from sgmsolve.analysis.order_problems import OrderProblem, problem
from sgmsolve.analysis.quadrature import observables, quadrature_error, without_memory
from sgmsolve.analysis.reference import run_points
from sgmsolve.backends import PathNoise
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import Method, find
from sgmsolve.plan import Plan

FIRST, LAST = 16, 1024
COUPLED_STEPS, PHASE_STEPS = (16, 32, 64), (64, 128, 256)
"""In phase space coarse steps are near the limit of stability, where slopes say nothing."""

BATCH, PHASE_BATCH, BATCHES = 50_000, 10_000, (10, 60)
"""Samples of a batch; fewest and most batches: as many as bring the half width under 0.2."""


def measure_weak(
    method: str | Method,
    *,
    start: str = "published",
    weights: str | None = None,
    interval: str = "edm-start",
    **options: Any,
) -> OrderRow:
    """Weak order of a registered method on the mixture, on ``edm-start`` or a phase interval.

    Raises: AnalysisError if it claims none.
    """
    record = find(method) if isinstance(method, str) else method
    weights = weights or record.weights[0]
    chosen = {"start": start, "weights": weights}
    options |= {key: value for key, value in chosen.items() if key in record.options}
    where = problem("mixture", interval)
    first = quietly(lambda p, g: record(p, g, **options), where, FIRST)
    claims = record.claims_of(first, {**record.options, **options}, LAST)
    if "weak" not in claims:
        msg = (
            f"method {record.name!r} claims no weak order with these options; use "
            f"measure_weak_builder with yours."
        )
        raise AnalysisError(msg)
    return measure_weak_builder(
        lambda p, g: record(p, g, **options),
        claims["weak"],
        name=record.name,
        start=start,
        weights=weights,
        interval=interval,
    )


def measure_weak_builder(
    build: Callable[[Any, Any], Plan],
    claimed: float,
    *,
    name: str = "custom",
    start: str = "published",
    weights: str = "exact",
    interval: str = "edm-start",
    seed: int = 0,
) -> OrderRow:
    """Weak order on the mixture of any function ``build(process, grid) -> Plan``.

    ``seed`` matters for the sampled way only. Raises: AnalysisError for a plan without noise.
    """
    p = problem("mixture", interval)
    first = quietly(build, p, FIRST)
    if not first.stochastic:
        msg = f"plan {first.name!r} draws no noise; ask for its deterministic order."
        raise AnalysisError(msg)
    half_width = 0.0
    if first.m == 1 and without_memory(first):
        steps, errors = _by_quadrature(build, p)
        slopes = slopes_of(steps, errors)
        measured, status = classify(slopes, claimed)
    else:
        coupled = COUPLED_STEPS if first.m == 1 else PHASE_STEPS
        plans = [quietly(build, p, n) for n in coupled]
        errors, measured, half_width = coupled_slope(plans, p, seed)
        steps, slopes = list(coupled[:-1]), (measured,)
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


def coupled_slope(
    plans: list[Plan], p: OrderProblem, seed: int = 0
) -> tuple[list[float], float, float]:
    """Two differences |E phi(N) - E phi(2N)|, their slope and its 95 % half width.

    Differences are projected on the direction of the coarser one; the interval is a jackknife over
    batches.
    """
    rng = np.random.default_rng(seed)
    batches: list[np.ndarray] = []
    size = BATCH if p.process.m == 1 else PHASE_BATCH
    slope, half_width = 0.0, np.inf
    while len(batches) < BATCHES[1]:
        indices = np.arange(len(batches) * size, (len(batches) + 1) * size)
        noise = PathNoise(plans, p.process, seed=seed, indices=indices)
        z, components = _exact_starts(p, rng)
        ends = []
        for plan in plans:
            draw = noise.bind(plan, components)
            ends.append(_observed(run_points(plan, p.target, p.process, z, draw), p))
        pairs = itertools.pairwise(ends)
        batches.append(np.stack([(a - b).mean(axis=1) for a, b in pairs]))
        if len(batches) >= BATCHES[0]:
            slope, half_width = _jackknife(np.stack(batches))
            if half_width < 0.2:
                break
    mean = np.mean(batches, axis=0)
    return [float(np.linalg.norm(d)) for d in mean], slope, half_width


def _exact_starts(
    p: OrderProblem, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """A batch of z(t_start), in the layout of ``run_points`` and as components (size, 1)."""
    if p.process.m == 1:
        x = p.target.sample(BATCH, rng)
        z = x + p.process.sigma(p.t_start) * rng.standard_normal((BATCH, 1))
        return z, (z,)
    x = p.target.sample(PHASE_BATCH, rng)
    u, m = np.asarray(p.process.loading(p.t_start)), p.process.m
    factor = np.linalg.cholesky(np.asarray(p.process.covariance(p.t_start)))
    z = x[:, :, None] * u + rng.standard_normal((PHASE_BATCH, 1, m)) @ factor.T
    return np.swapaxes(z, 1, 2), tuple(z[:, :, j] for j in range(m))


def _observed(x: np.ndarray, p: OrderProblem) -> np.ndarray:
    """Test functions (F, size) of end points in the layout of ``run_points``."""
    if p.process.m == 1:
        return observables(x[:, 0])
    u, noise = p.process.loading(p.t_end), p.process.covariance(p.t_end)
    variance = u**2 * p.target.moments()[1].diagonal()[0] + np.diag(noise)
    rest = x[:, 1:, 0] ** 2 / variance[1:]
    return np.concatenate([observables(x[:, 0, 0]), rest.T])


def _jackknife(batches: np.ndarray) -> tuple[float, float]:
    """Slope and 95 % half width from differences (batches, 2, F)."""

    def slope(mean: np.ndarray) -> float:
        coarse, fine = mean @ (mean[0] / np.linalg.norm(mean[0]))
        return float(np.log2(coarse / fine)) if fine > 0 else np.nan

    n, total = len(batches), batches.sum(axis=0)
    without = np.array([slope((total - b) / (n - 1)) for b in batches])
    spread = np.sqrt((n - 1) * np.mean((without - without.mean()) ** 2))
    return slope(total / n), float(1.96 * spread) if np.isfinite(spread) else float("inf")
