"""log p_sigma(x) of an analytic target at many noise levels at once.

p_sigma is the target's law after adding N(0, sigma^2 I): the marginal of the EDM process. Where all
components share one isotropic variance, distances are found once for all levels; for a
Gaussian all levels are one matrix product.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import on_device
from sgmsolve.errors import ChainError
from sgmsolve.process import EDM
from sgmsolve.target import AbstractGaussian, AbstractTarget, Empirical, GaussianMixture

VIEW = EDM(sigma_min=1e-6, sigma_max=1e6)
"""alpha = 1, sigma = t: data plus noise, at any level that images are noised to."""

NEGLIGIBLE = -45.0
"""Log weight, relative to the nearest component's, under which one is left out: e^-45 = 3e-20."""

LARGEST_BLOCK = 2**22
"""Entries of the (n, components) arrays made at once: 32 MB in float64."""


def check_target(target: Any) -> AbstractTarget:
    """The target; ChainError for something that has no exact log-density."""
    if isinstance(target, AbstractTarget):
        return target
    msg = (
        f"the target is a {type(target).__name__}, expected a distribution of sgmsolve.target, "
        "whose log-density is exact; for a network use NoiseLevelNetwork or NormEstimate."
    )
    raise ChainError(msg)


def working(x: Any) -> Any:
    """X in float64; on jax, which may have none, as it is."""
    return x if kind_of(x) == "jax" else array_namespace(x).astype(x, array_namespace(x).float64)


def log_density(target: AbstractTarget, x: Any, sigma: np.ndarray) -> Any:
    """Log p_sigma(x), (n,), for x (n, *shape) and one level a sample, sigma (n,)."""
    return target.marginal_log_prob(working(x), on_device(sigma, x), VIEW)


class LevelDensity:
    """``density(x)`` is log p_sigma_j(x), (n, levels), for x (n, *shape) of any library."""

    def __init__(self, target: AbstractTarget, sigmas: np.ndarray) -> None:
        self.target, self.sigmas = check_target(target), sigmas
        self._centres = _common_width(target)
        if self._centres is None and isinstance(target, AbstractGaussian):
            variance = target.eigenvalues[:, None] + sigmas**2
            self._inverse = 1 / variance
            self._norm = -0.5 * np.sum(np.log(2 * math.pi * variance), axis=0)

    def __call__(self, x: Any) -> Any:
        """(n, levels)."""
        x = working(x)
        if self._centres is not None:
            rows = max(1, LARGEST_BLOCK // len(self._centres[0]))
            parts = [self._kernels(x[i : i + rows], *self._centres) for i in range(0, len(x), rows)]
            return parts[0] if len(parts) == 1 else array_namespace(x).concat(parts)
        if isinstance(self.target, AbstractGaussian):
            mean = on_device(self.target.mean, x)
            c = self.target.transform.forward(x - mean)
            return on_device(self._norm, x) - 0.5 * (c * c) @ on_device(self._inverse, x)
        xp = array_namespace(x)
        each = [self.target.marginal_log_prob(x, float(s), VIEW) for s in self.sigmas]
        return xp.stack(each, axis=1)

    def _kernels(self, x: Any, centres: np.ndarray, weights: np.ndarray, variance: float) -> Any:
        """Equal isotropic components: one (n, K) array of squared distances serves all levels."""
        xp = array_namespace(x)
        flat, dim = xp.reshape(x, (x.shape[0], -1)), centres.shape[1]
        middle = centres.mean(axis=0)
        flat, y = flat - on_device(middle, x), on_device(centres - middle, x)
        square = xp.sum(flat * flat, axis=1)[:, None] + xp.sum(y * y, axis=1)[None, :]
        distance = square - 2 * (flat @ y.T)
        # Only differences to the nearest centre enter the exponent, and those do not overflow.
        nearest = xp.min(distance, axis=1)
        away, share = distance - nearest[:, None], on_device(weights, x)
        host = kind_of(x) == "numpy"
        if host:
            order = np.argsort(away, axis=1)
            away, share = np.take_along_axis(away, order, axis=1), weights[order]
        out = []
        for s in (variance + self.sigmas**2).tolist():
            if host:  # sorted, what is too far to count is left out: most of it at low noise
                seen = max(1, int(np.sum(np.any(away <= -2 * NEGLIGIBLE * s, axis=0))))
                total = np.sum(np.exp(away[:, :seen] * (-0.5 / s)) * share[:, :seen], axis=1)
            else:
                total = xp.exp(away * (-0.5 / s)) @ share
            out.append(xp.log(total) - nearest * (0.5 / s) - 0.5 * dim * math.log(2 * math.pi * s))
        return xp.stack(out, axis=1)


def _common_width(target: AbstractTarget) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Centres (K, dim), weights (K,) and the variance that all isotropic components share."""
    if isinstance(target, Empirical):
        data = target.data.reshape(len(target.data), -1)
        return data, np.full(len(data), 1 / len(data)), target.bandwidth**2
    values = getattr(target, "eigenvalues", None)
    if values is None or np.ptp(values) > 0:
        return None
    if isinstance(target, GaussianMixture):
        return target.means, target.weights, float(values.flat[0])
    if isinstance(target, AbstractGaussian):
        return target.mean.reshape(1, -1), np.ones(1), float(values.flat[0])
    return None
