"""A small, deterministic, budgeted optimiser: a Latin hypercube, then scipy's local searches."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import AnalysisError

TINY = 1e-300
"""Errors below are as good as 0; the search works on their logarithm."""


class _Spent(Exception):
    """The budget is used up."""


class Search:
    """Counts, remembers and clips; ``best`` and ``history`` hold what was found.

    Args:
        error: point -> error; inf or NaN for points that cannot be used.
        budget: calls allowed.
        lower, upper: bounds of the coordinates, numbers or one for each.
        on_call: called after each evaluation.
    """

    def __init__(
        self,
        error: Callable[[np.ndarray], float],
        budget: int,
        lower: Any = 0.0,
        upper: Any = 1.0,
        on_call: Callable[[], None] | None = None,
    ) -> None:
        self.error, self.budget, self.on_call = error, budget, on_call
        self.lower, self.upper = lower, upper
        self.history: list[tuple[tuple[float, ...], float]] = []
        self._known: dict[tuple[float, ...], float] = {}

    @property
    def best(self) -> tuple[np.ndarray, float]:
        """Point and error of the best call so far; the first of equals."""
        point, value = min(self.history, key=lambda pair: pair[1])
        return np.array(point), value

    def __call__(self, x: Any) -> float:
        """The logarithm of the error at x, clipped into the bounds."""
        point = tuple(np.clip(np.atleast_1d(x), self.lower, self.upper).tolist())
        if point not in self._known:
            if len(self.history) >= self.budget:
                raise _Spent
            value = float(self.error(np.array(point)))
            self._known[point] = value = value if math.isfinite(value) else math.inf
            self.history.append((point, value))
            if self.on_call is not None:
                self.on_call()
        value = self._known[point]
        return math.log(max(value, TINY)) if value < math.inf else 1e3

    def cube(self, starts: Sequence[np.ndarray], seed: int) -> None:
        """The unit cube of few dimensions: spread points, then a local search from the best."""
        optimise = scipy_optimize()
        dim = len(starts[0])
        spread = max(4, min(12 * (dim + 1), self.budget // 3))
        try:
            for point in [*starts, *latin_hypercube(spread, dim, seed)]:
                self(point)
            if dim == 1:
                self._line(optimise)
            else:
                self._simplices(optimise, dim)
        except _Spent:
            return

    def _line(self, optimise: Any) -> None:
        """Brent's method between the neighbours of the two best points."""
        ranked = sorted(self.history, key=lambda pair: pair[1])
        points = sorted(p[0] for p, _ in self.history)
        for (u,), _ in ranked[:2]:
            i = points.index(u)
            low = points[i - 1] if i else 0.0
            high = points[i + 1] if i + 1 < len(points) else 1.0
            if low < high:
                options = {"xatol": 1e-6, "maxiter": 40}
                optimise.minimize_scalar(
                    self, bounds=(low, high), method="bounded", options=options
                )

    def _simplices(self, optimise: Any, dim: int) -> None:
        """Nelder-Mead from the best two points, then once more from the winner."""
        ranked = sorted(self.history, key=lambda pair: pair[1])
        for point, size in [(ranked[0][0], 0.1), (ranked[1][0], 0.1), (None, 0.02)]:
            x = np.array(point) if point is not None else self.best[0]
            corners = np.vstack([x, x + size * np.where(x > 0.5, -1.0, 1.0) * np.eye(dim)])
            options = {"initial_simplex": corners, "xatol": 1e-5, "fatol": 1e-7}
            options |= {"maxfev": 80 * dim}
            optimise.minimize(self, x, method="Nelder-Mead", bounds=[(0, 1)] * dim, options=options)

    def descend(self, x: np.ndarray) -> None:
        """Many dimensions, a good start: quasi-Newton, then directions one by one."""
        optimise = scipy_optimize()
        sides = (np.broadcast_to(side, x.shape) for side in (self.lower, self.upper))
        bounds = list(zip(*sides, strict=True))
        try:
            self(x)
            optimise.minimize(
                self, x, method="L-BFGS-B", bounds=bounds, options={"eps": 1e-5, "maxiter": 100}
            )
            optimise.minimize(self, self.best[0], method="Powell", bounds=bounds)
        except _Spent:
            return


def latin_hypercube(n: int, dim: int, seed: int) -> np.ndarray:
    """N points (n, dim) of the unit cube, one in each of n slices of every axis."""
    rng = np.random.default_rng([seed, n, dim])
    cells = np.stack([rng.permutation(n) for _ in range(dim)], axis=1)
    return np.asarray((cells + rng.random((n, dim))) / n)


def scipy_optimize() -> Any:
    """``scipy.optimize``; AnalysisError says what to install where it is missing."""
    try:
        return importlib.import_module("scipy.optimize")
    except ImportError:
        msg = "tuning needs scipy, which is not installed; run: pip install 'sgmsolve[lab]'."
        raise AnalysisError(msg) from None
