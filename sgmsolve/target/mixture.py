"""Mixtures of Gaussians with isotropic, diagonal or dense components."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.errors import TargetError
from sgmsolve.precondition.constants import Constants
from sgmsolve.target.base import AbstractTarget, by_batch, host_array
from sgmsolve.target.covariance import DenseCovariance, check_matrix_size
from sgmsolve.target.gaussian import eigendecomposition
from sgmsolve.target.posterior import posterior_gains

LARGEST_BLOCK = 2**22
"""Entries of the (components, batch, dim) arrays made at once: 32 MB in float64."""


class GaussianMixture(AbstractTarget):
    """sum_k weights_k N(means_k, covs_k) in d dimensions.

    weights: (K,), positive, normalised here; means: (K, d); covs: a number, (K,) isotropic
    variances, (K, d) diagonals or (K, d, d) matrices, data units squared. Where K = d and covs is
    (K, K), it is diagonals.

    The posterior averages the components' own (:func:`posterior_gains`) with the responsibilities
    r_k(x) = softmax_k(log w_k + log N(x; alpha mu_k, alpha^2 cov_k + sigma^2)), so noise and score
    have no cancellation at any noise level. Raises: TargetError for other shapes, weights <= 0, bad
    covariances.
    """

    def __init__(self, weights: Any, means: Any, covs: Any) -> None:
        w, mu, c = (
            host_array(weights, "weights"),
            host_array(means, "means"),
            host_array(covs, "covs"),
        )
        if mu.ndim != 2 or w.shape != mu.shape[:1]:
            msg = (
                f"weights have shape {w.shape} and means {mu.shape}, expected (K,) and (K, d); "
                f"pass one weight and one row of means for each component."
            )
            raise TargetError(msg)
        if np.any(w <= 0):
            msg = f"a weight is {w.min():.3g}, expected all above 0; leave empty components out."
            raise TargetError(msg)
        k, d = mu.shape
        self.weights, self.means = w / w.sum(), mu
        self.basis: np.ndarray | None = None
        if c.ndim == 0 or c.shape == (k,):
            self.eigenvalues = np.broadcast_to(c, (k,)).reshape(k, 1).copy()
        elif c.shape == (k, d):
            self.eigenvalues = c
        elif c.shape == (k, d, d):
            pairs = [eigendecomposition(m, f"covs[{i}]") for i, m in enumerate(c)]
            self.eigenvalues = np.stack([lam for lam, _ in pairs])
            self.basis = np.stack([q for _, q in pairs])
        else:
            msg = (
                f"covs has shape {c.shape}, expected (), {(k,)}, {(k, d)} or {(k, d, d)}; reshape "
                f"it."
            )
            raise TargetError(msg)
        if np.any(self.eigenvalues < 0):
            msg = f"a variance is {self.eigenvalues.min():.3g}, expected at least 0; square it?"
            raise TargetError(msg)
        self._constants = Constants()

    @classmethod
    def ring(cls, n: int = 8, radius: float = 1.0, std: float = 0.1) -> GaussianMixture:
        """A circle of n equal isotropic components in the plane, the first at angle 0."""
        if n < 1:
            raise TargetError(f"n is {n}, expected a number of components; pass at least 1.")
        angle = 2 * math.pi * np.arange(n) / n
        means = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return cls(np.ones(n), means, float(std) ** 2)

    @classmethod
    def grid(cls, n: int = 5, spacing: float = 1.0, std: float = 0.1) -> GaussianMixture:
        """A square of n x n equal isotropic components, centred at 0 in the plane."""
        if n < 1:
            raise TargetError(f"n is {n}, expected a number of components a side; pass at least 1.")
        line = spacing * (np.arange(n) - (n - 1) / 2)
        means = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        return cls(np.ones(n * n), means, float(std) ** 2)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (int(self.means.shape[1]),)

    def moments(self) -> tuple[np.ndarray, DenseCovariance]:
        """Exact mean (d,) and covariance sum_k w_k (cov_k + (mu_k - mean)(mu_k - mean)^T)."""
        check_matrix_size(self.dim)
        mean = self.weights @ self.means
        spread = self.means - mean
        cov = (self.weights[:, None] * spread).T @ spread
        lam = np.broadcast_to(self.eigenvalues, self.means.shape)
        if self.basis is None:
            cov = cov + np.diag(self.weights @ lam)
        else:
            scaled = self.basis * (self.weights[:, None] * lam)[:, None, :]
            cov = cov + np.einsum("kij,klj->il", scaled, self.basis)
        return mean, DenseCovariance((cov + cov.T) / 2)

    def _smallest_variance(self) -> float:
        return float(self.eigenvalues.min())

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        which = rng.choice(self.weights.size, size=n, p=self.weights)
        part = rng.standard_normal((n, self.dim)) * np.sqrt(self.eigenvalues)[which]
        if self.basis is not None:
            part = np.einsum("nij,nj->ni", self.basis[which], part)
        return self.means[which] + part

    def _components(self, x: Any, alpha: Any, sigma: Any) -> tuple[Any, Any, Any, Any]:
        """What a component contributes, for all components.

        Means (K, 1, d), eigenvalues (K, 1, d or 1), x - alpha mu in each component's own basis
        (K, batch, d), log of weight times density (K, batch) up to the factor (2 pi)^(-d/2).
        """
        xp = array_namespace(x)
        mu = self._constants.get("means", self.means[:, None, :], x)
        lam = self._constants.get("eigenvalues", self.eigenvalues[:, None, :], x)
        log_w = self._constants.get("log weights", np.log(self.weights)[:, None], x)
        centred = x[None, :, :] - alpha * mu
        if self.basis is not None:
            centred = centred @ self._constants.get("basis", self.basis, x)
        s = alpha * alpha * lam + sigma * sigma
        repeats = self.dim // lam.shape[-1]
        distance = xp.sum(centred * centred / s, axis=-1) + repeats * xp.sum(xp.log(s), axis=-1)
        return mu, lam, centred, log_w - 0.5 * distance

    def _predict(self, kind: str, x: Any, alpha: Any, sigma: Any) -> Any:
        def evaluate(x: Any, alpha: Any, sigma: Any) -> Any:
            xp = array_namespace(x)
            mu, lam, centred, logits = self._components(x, alpha, sigma)
            weight = xp.exp(logits - xp.max(logits, axis=0, keepdims=True))
            weight = weight / xp.sum(weight, axis=0, keepdims=True)
            c_d, c_mu = posterior_gains(kind, alpha, sigma, lam)
            part = c_d * centred
            if self.basis is not None:
                part = part @ self._constants.get("basis^T", np.swapaxes(self.basis, 1, 2), x)
            if not (isinstance(c_mu, float) and c_mu == 0):
                part = part + c_mu * mu
            return xp.sum(weight[:, :, None] * part, axis=0)

        return by_batch(evaluate, self._rows(), x, alpha, sigma)

    def _log_prob(self, x: Any, alpha: Any, sigma: Any) -> Any:
        def evaluate(x: Any, alpha: Any, sigma: Any) -> Any:
            xp = array_namespace(x)
            logits = self._components(x, alpha, sigma)[-1]
            top = xp.max(logits, axis=0, keepdims=True)
            total = xp.log(xp.sum(xp.exp(logits - top), axis=0)) + top[0]
            return total - 0.5 * self.dim * math.log(2 * math.pi)

        return by_batch(evaluate, self._rows(), x, alpha, sigma)

    def _rows(self) -> int:
        return max(1, LARGEST_BLOCK // self.means.size)

    def _flow_map(self, x: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> Any:
        raise self._no_flow_map()
