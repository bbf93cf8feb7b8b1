"""What the tests of the adapters share: processes, a target of images, states, comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve

VP, PSLD = sgmsolve.VP(), sgmsolve.PSLD()
SHAPE = (3, 8, 8)
FIELD = sgmsolve.GaussianField(SHAPE, lambda k, l: 1.0 / (1.0 + k**2 + l**2), mean=0.3)
KIND = {"VP": "noise", "PSLD": "noise:lower"}
BOTH = pytest.mark.parametrize("process", [VP, PSLD], ids=["vp", "psld"])


def state(convert: Any, m: int, batch: int = 2, shape: tuple[int, ...] = SHAPE) -> tuple[Any, ...]:
    """m arrays (batch, *shape) of normals; ``convert`` is torch.tensor or jnp.asarray."""
    drawn = np.random.default_rng(1).standard_normal((m, batch, *shape))
    return tuple(convert(x) for x in drawn)


def model(process: Any, target: Any = FIELD) -> Any:
    """The exact model of a target, by default the images'."""
    return target.model(process, KIND[type(process).__name__])


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Whether all components agree."""
    return all(float(abs(x - y).max()) < tolerance for x, y in zip(a, b, strict=True))


def start(
    process: Any, t: float, n: int, mean: float = 0.5, variance: float = 0.25
) -> tuple[np.ndarray, ...]:
    """n draws of z(t), m arrays (n, 1), for data N(mean, variance)."""
    u, cov = process.loading(t), process.covariance(t)
    low = np.linalg.cholesky(variance * np.outer(u, u) + cov)
    drawn = low @ np.random.default_rng(0).standard_normal((process.m, n)) + mean * u[:, None]
    return tuple(a[:, None] for a in drawn)


def has_moments(z: Any, process: Any, t: float, mean: float = 0.5, variance: float = 0.25) -> None:
    """Mean and variance of every component at t, within 4.5 standard errors."""
    u, cov = process.loading(t), process.covariance(t)
    right = variance * np.outer(u, u) + cov
    for i, a in enumerate(z):
        n = a.shape[0]
        assert abs(float(a.mean()) - mean * u[i]) < 4.5 * np.sqrt(right[i, i] / n)
        assert abs(float(a.var()) / right[i, i] - 1) < 4.5 * np.sqrt(2 / n)
