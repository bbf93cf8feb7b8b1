"""A data set smoothed with a bandwidth: the exact score of real data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import TargetError
from sgmsolve.precondition.constants import Constants
from sgmsolve.target.base import AbstractTarget, by_batch, host_array
from sgmsolve.target.covariance import DenseCovariance, check_matrix_size
from sgmsolve.target.posterior import posterior_gains

LARGEST_BLOCK = 2**22
"""Entries of the (batch, N) weights made at once on accelerators and jax: 32 MB in float64."""

CACHE_BLOCK = 2**17
"""Entries of the weights made at once on the host: 1 MB in float64, which caches hold."""

NEGLIGIBLE = -45.0
"""Log weight, relative to the largest, under which a data point is left out: e^-45 = 3e-20."""

SMALLEST = 1.5 * NEGLIGIBLE
"""Log weights below are raised to it: next to underflow, products are several times slower."""


class Empirical(AbstractTarget):
    """Equal mixture of N(y_i, bandwidth^2 I) over a data set y_1..y_N.

    data: (N, *shape); bandwidth: the kernel's standard deviation, data units (0 gives the data
    points themselves, whose score exists for sigma > 0 only).

    With S = alpha^2 bandwidth^2 + sigma^2 the weights are softmax_i(-|x - alpha y_i|^2 / 2S), and
    every kind of prediction is the Gaussian formula at the weighted mean of the data. Distances are
    inner products (two matrix products an evaluation) in the frame centred on the data's mean;
    |x|^2, which would cancel, drops out of the weights. Memory is bounded by working through the
    batch in pieces.
    Raises: TargetError for other shapes or a negative bandwidth.
    """

    def __init__(self, data: Any, bandwidth: float) -> None:
        y = host_array(data, "data")
        if y.ndim < 2 or y.shape[0] < 1:
            msg = f"data has shape {y.shape}, expected (N, *shape) with N >= 1; reshape it."
            raise TargetError(msg)
        if not 0 <= float(bandwidth) < math.inf:
            msg = (
                f"bandwidth is {bandwidth}, expected a standard deviation in data units; pass a "
                f"number >= 0."
            )
            raise TargetError(msg)
        self.data = y
        self.bandwidth = float(bandwidth)
        flat = y.reshape(y.shape[0], -1)
        self._centre = flat.mean(axis=0)
        self._spread = flat - self._centre
        square = np.sum(self._spread**2, axis=1)
        # One product with [w, |w|^2] gives the logits, one with [w, 1] the weighted sum and its
        # norm.
        self._for_logits = np.ascontiguousarray(
            np.concatenate([self._spread, square[:, None]], axis=1).T
        )
        self._for_mean = np.concatenate([self._spread, np.ones((y.shape[0], 1))], axis=1)
        self._constants = Constants()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.data.shape[1:])

    def moments(self) -> tuple[np.ndarray, DenseCovariance]:
        """Exact mean (*shape) and covariance: the data's plus bandwidth^2 I."""
        check_matrix_size(self.dim)
        cov = self._spread.T @ self._spread / self.data.shape[0]
        cov[np.diag_indices(self.dim)] += self.bandwidth**2
        return self._centre.reshape(self.shape).copy(), DenseCovariance((cov + cov.T) / 2)

    def _smallest_variance(self) -> float:
        return self.bandwidth**2

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        which = rng.integers(0, self.data.shape[0], size=n)
        return self.data[which] + self.bandwidth * rng.standard_normal((n, *self.shape))

    def _flat(self, x: Any, alpha: Any) -> Any:
        """``x - alpha centre``, flattened to (batch, dim)."""
        flat = array_namespace(x).reshape(x, (x.shape[0], self.dim))
        return flat - alpha * self._constants.get("centre", self._centre, x)

    def _logits(self, u: Any, alpha: Any, sigma: Any) -> Any:
        """-|u - alpha w|^2 / 2S + |u|^2 / 2S for every data point, (batch, N)."""
        xp = array_namespace(u)
        s = alpha * alpha * self.bandwidth**2 + sigma * sigma
        last = xp.zeros_like(u[:, :1]) - 0.5 * alpha * alpha / s
        left = xp.concat([u * (alpha / s), last], axis=1)
        return left @ self._constants.get("for logits", self._for_logits, u)

    def _weighted_mean(self, u: Any, alpha: Any, sigma: Any) -> Any:
        """The weighted mean of the centred data, (batch, dim)."""
        logits = self._logits(u, alpha, sigma)
        right = self._constants.get("for mean", self._for_mean, u)
        if kind_of(u) == "numpy":
            total = _host_total(logits, right)
        else:
            xp = array_namespace(u)
            logits = logits - xp.max(logits, axis=1, keepdims=True)
            total = xp.exp(xp.clip(logits, SMALLEST, None)) @ right
        return total[:, :-1] / total[:, -1:]

    def _predict(self, kind: str, x: Any, alpha: Any, sigma: Any) -> Any:
        def evaluate(x: Any, alpha: Any, sigma: Any) -> Any:
            u = self._flat(x, alpha)
            mean = self._weighted_mean(u, alpha, sigma)
            c_d, c_mu = posterior_gains(kind, alpha, sigma, self.bandwidth**2)
            out = c_d * (u - alpha * mean)
            if not (isinstance(c_mu, float) and c_mu == 0):
                out = out + c_mu * (mean + self._constants.get("centre", self._centre, x))
            return array_namespace(x).reshape(out, x.shape)

        return by_batch(evaluate, self._rows(x), x, alpha, sigma)

    def _log_prob(self, x: Any, alpha: Any, sigma: Any) -> Any:
        def evaluate(x: Any, alpha: Any, sigma: Any) -> Any:
            xp = array_namespace(x)
            u = self._flat(x, alpha)
            logits = self._logits(u, alpha, sigma)
            s = alpha * alpha * self.bandwidth**2 + sigma * sigma
            # The nearest point's distance is taken directly: |u|^2 - ... + ... would cancel.
            nearest = self._constants.get("for mean", self._for_mean, x)[:, :-1]
            away = u - alpha * xp.take(nearest, xp.argmax(logits, axis=1), axis=0)
            others = xp.sum(xp.exp(logits - xp.max(logits, axis=1, keepdims=True)), axis=1)
            s = s if isinstance(s, float) or not s.ndim else s[:, 0]
            log_s = math.log(s) if isinstance(s, float) else xp.log(s)
            norm = 0.5 * self.dim * (math.log(2 * math.pi) + log_s) + math.log(self.data.shape[0])
            return xp.log(others) - 0.5 * xp.sum(away * away, axis=1) / s - norm

        return by_batch(evaluate, self._rows(x), x, alpha, sigma)

    def _rows(self, x: Any) -> int:
        host = kind_of(x) == "numpy" or (kind_of(x) == "torch" and x.device.type == "cpu")
        return max(1, (CACHE_BLOCK if host else LARGEST_BLOCK) // self.data.shape[0])

    def _flow_map(self, x: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> Any:
        raise self._no_flow_map()


def _host_total(logits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``exp(logits - max) @ right``, overwriting ``logits``: fresh pages cost as much as the sums.

    At low noise a piece of the batch sees few data points; the others are left out.
    """
    logits -= logits.max(axis=1, keepdims=True)
    # Written so that NaN counts as kept: one bad sample must not spoil the others.
    kept = np.flatnonzero(~(logits.max(axis=0) <= NEGLIGIBLE))
    if kept.size < 0.7 * right.shape[0]:
        logits, right = logits[:, kept], right[kept]
    np.maximum(logits, SMALLEST, out=logits)
    np.exp(logits, out=logits)
    return logits @ right
