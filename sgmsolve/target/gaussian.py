"""Gaussians: an orthogonal transform and eigenvalues in it, so that all is mode by mode."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.errors import TargetError
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.masks import mirror
from sgmsolve.precondition.transform import (
    AbstractTransform,
    DenseTransform,
    FourierTransform,
    IdentityTransform,
    LowRankTransform,
)
from sgmsolve.process.base import AbstractProcess
from sgmsolve.target import phase, phase_flow
from sgmsolve.target.base import AbstractTarget, host_array, over_axes
from sgmsolve.target.covariance import SpectralCovariance
from sgmsolve.target.posterior import posterior_gains, posterior_offset


class AbstractGaussian(AbstractTarget):
    """N(mean, Q diag(eigenvalues) Q^T), with Q the orthogonal ``transform``.

    mean: (*shape); eigenvalues: (dim,), in the order of the transform's coefficients; float64 host.
    """

    def __init__(
        self,
        mean: np.ndarray,
        eigenvalues: np.ndarray,
        transform: AbstractTransform,
        mean_modes: np.ndarray | None = None,
    ) -> None:
        if np.any(eigenvalues < 0):
            msg = (
                f"an eigenvalue is {eigenvalues.min():.3g}, expected all at least 0; check the "
                f"covariance."
            )
            raise TargetError(msg)
        self.mean = mean
        self.eigenvalues = eigenvalues
        self.transform = transform
        self._centred = not np.any(mean)
        self._mean_modes = transform.forward(mean[None])[0] if mean_modes is None else mean_modes
        self._native = transform.native(eigenvalues)
        self._smallest = float(eigenvalues.min())
        self._constants = Constants()
        self._grouped: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self._index: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.transform.shape

    def moments(self) -> tuple[np.ndarray, SpectralCovariance]:
        """Mean (*shape) and covariance, in the transform."""
        return self.mean.copy(), SpectralCovariance(self.transform, self.eigenvalues)

    def modes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(eigenvalues, mean coefficients, multiplicity), each (n_modes,); the last are integers.

        Modes with equal eigenvalue and equal mean coefficient are one entry. Coefficients at the
        level of the transform's rounding (1e-15 of the mean's norm) count as 0.
        """
        if self._grouped is None:
            m = self._mean_modes
            m = np.where(np.abs(m) > 1e-15 * np.linalg.norm(m), m, 0.0)
            pick, count, self._index = equal_columns(np.stack([self.eigenvalues, m]))
            self._grouped = self.eigenvalues[pick], m[pick], count
        lam, m, count = self._grouped
        return lam.copy(), m.copy(), count.copy()

    def mode_index(self) -> np.ndarray:
        """(dim,) which entry of :meth:`modes` each coefficient of the transform belongs to."""
        self.modes()
        assert self._index is not None
        return self._index.copy()

    def affine(self, process: AbstractProcess, kind: str, t: Any) -> tuple[np.ndarray, np.ndarray]:
        """(gain, offset) per mode of :meth:`modes`: prediction = gain * x_mode + offset, host.

        t is forward time: a float gives (n_modes,) each, an array (rows,) gives (rows, n_modes).
        With S = alpha^2 lam + sigma^2 the gain is alpha lam/S for data, sigma/S for noise, -1/S for
        score; the offset is the mean times sigma^2/S, -alpha sigma/S, alpha/S. No form cancels.

        Under a process of m > 1 components the prediction has p = m and acts on the components of
        a mode: gain (p, m, n_modes) and offset (p, n_modes) for a float, with an axis (rows,) in
        front for an array. Raises: ModelError or ProcessError for an unknown kind.
        """
        if process.m > 1:
            return phase.affine(self, process, kind, t)
        lam, m, _ = self.modes()
        alpha = np.asarray(process.alpha(t), dtype=np.float64)[..., None]  # type: ignore[attr-defined]
        sigma = np.asarray(process.sigma(t), dtype=np.float64)[..., None]  # type: ignore[attr-defined]
        gain, _ = posterior_gains(kind, alpha, sigma, lam)
        return gain, posterior_offset(kind, alpha, sigma, lam) * m

    def _smallest_variance(self) -> float:
        return self._smallest

    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        white = rng.standard_normal((n, *self.shape))
        return self.mean + self.transform.filter(white, np.sqrt(self._native))

    def _centre(self, x: Any, alpha: Any) -> Any:
        """``x - alpha mean``."""
        if self._centred:
            return x
        return x - over_axes(alpha, x.ndim) * self._constants.get("mean", self.mean, x)

    def _variance(self, alpha: Any, sigma: Any, like: Any) -> Any:
        lam = self._constants.get("native", self._native, like)
        a, s = over_axes(alpha, lam.ndim + 1), over_axes(sigma, lam.ndim + 1)
        return a * a * lam + s * s

    def _predict(self, kind: str, x: Any, alpha: Any, sigma: Any) -> Any:
        lam = self._constants.get("native", self._native, x)
        a, s = over_axes(alpha, lam.ndim + 1), over_axes(sigma, lam.ndim + 1)
        c_d, c_mu = posterior_gains(kind, a, s, lam)
        out = self.transform.filter(self._centre(x, alpha), c_d)
        if self._centred or (isinstance(c_mu, float) and c_mu == 0):
            return out
        return out + over_axes(c_mu, x.ndim) * self._constants.get("mean", self.mean, x)

    def _log_prob(self, x: Any, alpha: Any, sigma: Any) -> Any:
        xp = array_namespace(x)
        c = self.transform.forward(self._centre(x, alpha))
        s = alpha * alpha * self._constants.get("flat", self.eigenvalues, x) + sigma * sigma
        return -0.5 * xp.sum(c * c / s + xp.log(2 * math.pi * s), axis=-1)

    def _flow_map(self, x: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> Any:
        xp = array_namespace(x)
        ratio = xp.sqrt(self._variance(*end, x) / self._variance(*start, x))
        out = self.transform.filter(self._centre(x, start[0]), ratio)
        if self._centred:
            return out
        return out + over_axes(end[0], x.ndim) * self._constants.get("mean", self.mean, x)

    def _phase_flow_map(
        self, z: Any, start: Any, end: Any, process: AbstractProcess
    ) -> tuple[Any, ...]:
        return phase_flow.apply(self, z, start, end, process)


class Gaussian(AbstractGaussian):
    """N(mean, cov), with cov dense (dim, dim), a diagonal shaped like the mean, or a number.

    mean: any shape (*shape), data units; cov: data units squared. A (dim, dim) covariance acts on
    flattened samples; where both readings are possible (a mean shaped like cov) it is the diagonal.
    Raises: TargetError for other shapes, a covariance that is not symmetric or not positive
    semi-definite.
    """

    def __init__(self, mean: Any, cov: Any) -> None:
        mu, c = host_array(mean, "mean"), host_array(cov, "cov")
        if mu.ndim == 0:
            mu = mu.reshape(1)
        d = mu.size
        if c.ndim == 0 or c.shape == mu.shape:
            lam = np.broadcast_to(c, mu.shape).reshape(-1).copy()
            super().__init__(mu, lam, IdentityTransform(mu.shape))
            return
        if c.shape != (d, d):
            msg = (
                f"cov has shape {c.shape}, expected a number, {mu.shape} (a diagonal) or {(d, d)} "
                f"(dense) for a mean of shape {mu.shape}; reshape it."
            )
            raise TargetError(msg)
        lam, basis = eigendecomposition(c, "cov")
        super().__init__(mu, lam, DenseTransform(basis, mu.shape))

    @classmethod
    def low_rank(cls, mean: Any, factor: Any, variances: Any, eps: float) -> Gaussian:
        """N(mean, U diag(variances) U^T + eps^2 I), never forming a matrix of dim x dim.

        factor: U (dim, k) or (*shape, k), columns need not be orthonormal; variances: (k,), at
        least 0; eps: standard deviation of the isotropic part. Work and memory O(dim k).
        """
        mu, u, s = (
            host_array(mean, "mean"),
            host_array(factor, "factor"),
            host_array(variances, "variances"),
        )
        k = s.size
        if s.ndim != 1 or u.shape not in ((mu.size, k), (*mu.shape, k)) or k > mu.size:
            msg = (
                f"factor has shape {u.shape} and variances {s.shape}, expected ({mu.size}, k) and "
                f"(k,) with k <= {mu.size}; transpose the factor?"
            )
            raise TargetError(msg)
        if np.any(s < 0):
            raise TargetError(f"a variance is {s.min():.3g}, expected all at least 0; square it?")
        left, singular, _ = np.linalg.svd(u.reshape(mu.size, k) * np.sqrt(s), full_matrices=False)
        rest = mu.reshape(-1) - left @ (left.T @ mu.reshape(-1))
        lam = np.full(mu.size, float(eps) ** 2)
        lam[:k] += singular**2
        columns = left
        # The mean's part outside the span gets a vector of its own, so the complement has mean 0.
        if k < mu.size and np.linalg.norm(rest) > 1e-14 * np.linalg.norm(mu):
            columns = np.concatenate([left, (rest / np.linalg.norm(rest))[:, None]], axis=1)
        transform = LowRankTransform(columns, mu.shape)
        modes = transform.forward(mu[None])[0]
        modes[columns.shape[1] :] = 0.0
        made = cls.__new__(cls)
        AbstractGaussian.__init__(made, mu, lam, transform, modes)
        return made

    @classmethod
    def from_spectrum(
        cls, eigenvalues: Any, transform: AbstractTransform, mean: Any = 0.0
    ) -> Gaussian:
        """N(mean, Q diag(eigenvalues) Q^T) for the orthogonal Q of a transform.

        eigenvalues: (dim,) or shaped like a sample, in the transform's order; mean: a number or
        (*shape). A FourierTransform needs a spectrum symmetric in (k, l) -> (-k, -l); see
        GaussianField.
        """
        lam, mu = host_array(eigenvalues, "eigenvalues"), host_array(mean, "mean")
        if lam.size != transform.dim or (mu.ndim and mu.shape != transform.shape):
            msg = (
                f"eigenvalues have shape {lam.shape} and the mean {mu.shape}, expected "
                f"{transform.dim} values and a number or shape {transform.shape}; take them from "
                f"the transform's own layout."
            )
            raise TargetError(msg)
        if isinstance(transform, FourierTransform):
            grid = lam.reshape(transform.shape)
            if np.abs(grid - mirror(grid)).max() > 1e-12 * np.abs(lam).max():
                msg = (
                    "eigenvalues differ between (k, l) and (-k, -l), expected a symmetric spectrum "
                    "because samples are real; pass the mean of both."
                )
                raise TargetError(msg)
        made = cls.__new__(cls)
        full = np.broadcast_to(mu, transform.shape).copy()
        AbstractGaussian.__init__(made, full, lam.reshape(-1).copy(), transform)
        return made


def equal_columns(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of equal columns, sorted by row 0, then row 1, ...: (members, counts, index).

    One member and the size of each group, and the group that each column is in.
    """
    order = np.lexsort(table[::-1])
    first = np.ones(table.shape[1], dtype=bool)
    first[1:] = np.diff(table[:, order], axis=1).any(axis=0)
    starts = np.flatnonzero(first)
    index = np.empty(table.shape[1], dtype=np.int64)
    index[order] = np.cumsum(first) - 1
    return order[starts], np.diff(np.append(starts, table.shape[1])), index


def eigendecomposition(matrix: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (d,), rounding below zero removed, and eigenvectors (d, d) of a covariance.

    Raises: TargetError if it is not symmetric (to 1e-10) or has an eigenvalue below -1e-10 of the
    largest.
    """
    scale = float(np.abs(matrix).max()) or 1.0
    if np.abs(matrix - matrix.T).max() > 1e-10 * scale:
        msg = f"{what} is not symmetric, expected a covariance; pass (cov + cov.T) / 2."
        raise TargetError(msg)
    lam, basis = np.linalg.eigh((matrix + matrix.T) / 2)
    if lam[0] < -1e-10 * scale:
        msg = f"{what} has the eigenvalue {lam[0]:.3g}, expected none below 0; pass a covariance."
        raise TargetError(msg)
    return np.maximum(lam, 0.0), basis
