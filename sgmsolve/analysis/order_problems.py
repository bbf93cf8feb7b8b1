"""What orders are measured on: two targets, five intervals.

Targets. ``"gaussian"``: modes N(0.3, 0.1) and N(0.3, 1), where exact flow and exact moments are
known; Gaussians super-converge for some methods, hence also ``"mixture"``: 0.6 N(-0.8, 0.09) + 0.4
N(1, 0.16) in 1-D.

Intervals (forward time, all end at t > 0). ``"edm-start"``: EDM, sigma 2 -> 0.1, Karras steps,
short enough for the error of the first steps to show. ``"edm-working"``: EDM, sigma 80 -> 0.002,
Karras steps. ``"vp-working"``: VP with its default schedule, t 1 -> 0.001, equal steps in log-SNR.
In phase space, with up to 1024 steps: ``"psld-working"``: PSLD, t 1 -> 0.001, quadratic striding;
``"psld-uniform"``: PSLD, t 1 -> 0.1, equal steps, where the rates are smooth.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve import grid as grids
from sgmsolve.analysis.exact import marginal
from sgmsolve.analysis.moments import Moments
from sgmsolve.analysis.reference import probability_flow
from sgmsolve.errors import AnalysisError, unknown
from sgmsolve.process import EDM, PSLD, VP
from sgmsolve.target import Gaussian, GaussianMixture

TARGETS = ("gaussian", "mixture")
DATA_INTERVALS = ("edm-start", "edm-working", "vp-working")
PHASE_INTERVALS = ("psld-uniform", "psld-working")
INTERVALS = DATA_INTERVALS + PHASE_INTERVALS
LAST, PHASE_LAST = 4096, 1024
"""Most steps: plans of matrices take longer to build."""
QUANTILES = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0, 0.2533, 0.5244, 0.8416, 1.2816])
"""Standard normal quantiles 0.1, 0.2, ..., 0.9: starting points are mean + std times these."""


@dataclass(frozen=True, eq=False)
class OrderProblem:
    """A target, a process and an interval with its grid; ``name`` and ``interval`` label rows."""

    name: str
    interval: str
    target: Any
    process: Any
    grid: str
    t_start: float
    t_end: float
    last: int = LAST

    def times(self, steps: int) -> np.ndarray:
        """The grid with that many steps."""
        return grids.make(self.grid, self.process, steps, t_max=self.t_start, t_min=self.t_end)

    @property
    def gaussian(self) -> bool:
        """Whether exact moments and an exact flow map exist."""
        return hasattr(self.target, "modes")

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Nine starting points (9, modes or dimensions): quantiles at ``t_start``.

        With m > 1 components (9, m, modes or dimensions): mean + C q, with C C^T the covariance of
        one coordinate and q quantiles in another order for every component.
        """
        if self.process.m > 1:
            return self._phase_starts()
        if self.gaussian:
            law = marginal(self.target, self.process, self.t_start)
            return law.mean[0] + np.sqrt(law.variance[0]) * QUANTILES[:, None]
        mean, covariance = self.target.moments()
        alpha, sigma = self.process.alpha(self.t_start), self.process.sigma(self.t_start)
        std = np.sqrt(alpha**2 * covariance.diagonal() + sigma**2)
        # Coordinates take the quantiles in different order, so that the points are not on a line.
        shuffled = [np.roll(QUANTILES, 4 * i) for i in range(self.target.dim)]
        return np.asarray(
            alpha * mean + std * np.stack(shuffled, -1).reshape(9, *self.target.shape)
        )

    def _phase_starts(self) -> np.ndarray:
        if self.gaussian:
            variance, mean, _ = self.target.modes()
        else:
            mean, covariance = self.target.moments()
            mean, variance = mean.reshape(-1), covariance.diagonal().reshape(-1)
        u = np.asarray(self.process.loading(self.t_start), dtype=np.float64)
        noise = np.asarray(self.process.covariance(self.t_start), dtype=np.float64)
        points = np.empty((9, len(u), len(mean)))
        for i in range(len(mean)):
            factor = np.linalg.cholesky(variance[i] * np.outer(u, u) + noise)
            q = [np.roll(QUANTILES, 4 * i + 2 * j) for j in range(len(u))]
            points[:, :, i] = mean[i] * u + (factor @ q).T
        return points

    @functools.cached_property
    def ends(self) -> np.ndarray:
        """Where the probability flow takes the starting points."""
        if not self.gaussian or self.process.m > 1:
            return probability_flow(
                self.target, self.process, self.starts, self.t_start, self.t_end
            )
        laws = [marginal(self.target, self.process, t) for t in (self.t_start, self.t_end)]
        scale = np.sqrt(laws[1].variance[0] / laws[0].variance[0])
        return np.asarray(laws[1].mean[0] + scale * (self.starts - laws[0].mean[0]))

    @functools.cached_property
    def end_law(self) -> Moments:
        """The exact marginal at ``t_end`` (Gaussian targets)."""
        return marginal(self.target, self.process, self.t_end)


def problem(name: str = "mixture", interval: str = "edm-start") -> OrderProblem:
    """One of the built-in problems, made once. Raises AnalysisError for unknown names."""
    if name not in TARGETS:
        raise AnalysisError(unknown("order problem", name, TARGETS))
    if interval not in INTERVALS:
        raise AnalysisError(unknown("interval", interval, INTERVALS))
    return _problem(name, interval)


@functools.lru_cache
def _problem(name: str, interval: str) -> OrderProblem:
    target: Any = Gaussian([0.3, 0.3], [0.1, 1.0])
    if name == "mixture":
        target = GaussianMixture([0.6, 0.4], [[-0.8], [1.0]], [0.09, 0.16])
    where: dict[str, tuple[Any, str, float, float]] = {
        "edm-start": (EDM(), "karras", 2.0, 0.1),
        "edm-working": (EDM(), "karras", 80.0, 0.002),
        "vp-working": (VP(), "log-snr", 1.0, 0.001),
        "psld-uniform": (PSLD(), "uniform", 1.0, 0.1),
        "psld-working": (PSLD(), "striding", 1.0, 0.001),
    }
    process, grid, start, end = where[interval]
    last = PHASE_LAST if interval in PHASE_INTERVALS else LAST
    return OrderProblem(name, interval, target, process, grid, start, end, last)
