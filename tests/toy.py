"""A two-component mixture in one dimension, written here on its own so that methods have an
oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

MEANS, VARIANCES, WEIGHTS = np.array([-1.0, 0.7]), np.array([0.1, 0.2]), np.array([0.4, 0.6])


def data(x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    """E[x0 | alpha x0 + sigma eps = x]."""
    v = alpha**2 * VARIANCES + sigma**2
    d = x[..., None] - alpha * MEANS
    log_r = np.log(WEIGHTS) - d**2 / (2 * v) - np.log(v) / 2
    r = np.exp(log_r - log_r.max(-1, keepdims=True))
    r /= r.sum(-1, keepdims=True)
    return (r * (MEANS + alpha * VARIANCES / v * d)).sum(-1)


def noise(x: np.ndarray, alpha: float, sigma: float) -> np.ndarray:
    """E[eps | alpha x0 + sigma eps = x]."""
    return (x - alpha * data(x, alpha, sigma)) / sigma


def predictor(process: Any, kind: str) -> Any:
    """``predict(z, t)`` of one kind, for ``numpy_loop.run``."""

    def predict(z: Any, t: float) -> Any:
        alpha, sigma = process.alpha(t), process.sigma(t)
        eps = noise(z[0], alpha, sigma)
        out = {
            "noise": eps,
            "data": (z[0] - sigma * eps) / alpha,
            "score": -eps / sigma,
        }
        return (out[kind],)

    return predict


class Draws:
    """Replayed normals, kept in the order they were asked for."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        self.rng, self.shape = np.random.default_rng(seed), shape
        self.seen: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, row: int, column: int) -> np.ndarray:
        if (row, column) not in self.seen:
            self.seen[row, column] = self.rng.standard_normal(self.shape)
        return self.seen[row, column]


def run(plan: Any, predict: Any, x: np.ndarray, draws: Any = None) -> np.ndarray:
    """A plan with m = p = 1, straight from the definition of its tables (no library code)."""
    Z = [c * x for c in plan.prelude_move[:, 0]]
    for j in plan.active_draws(-1):
        xi = draws(-1, j)
        Z = [z + c * xi for z, c in zip(Z, plan.prelude_noise[:, j], strict=True)]
    past: list[np.ndarray] = []
    for r in range(plan.rows):
        past = [predict((Z[0],), float(plan.t[r]))[0], *past]
        new = []
        for i in range(plan.k):
            z = sum(plan.move[r, i, j] * Z[j] for j in range(plan.k))
            for j, e in enumerate(past[: plan.history]):
                z = z + plan.kick[r, i, 0, j] * e
            for j in plan.active_draws(r):
                z = z + plan.noise[r, i, j] * draws(r, j)
            new.append(z)
        Z = new
    return Z[0]


def solution(
    name: str, process: Any, grid: Any, x: np.ndarray, seed: int = 0, **options: Any
) -> Any:
    """Run a registered method on the mixture; returns (result, the normals drawn in order)."""
    from sgmsolve.methods.registry import find

    plan = find(name)(process, grid, **options)
    draws = Draws(x.shape, seed)
    result = run(plan, predictor(process, plan.predicts), x, draws)
    return result, list(draws.seen.values())
