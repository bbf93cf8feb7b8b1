"""Orthogonal transforms in which a covariance is diagonal, on any array library.

``forward`` gives coefficients in a flat order, one per mode; ``filter`` multiplies modes by gains
in whatever layout is fastest (``native``), which is what a score needs.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.precondition.constants import Constants


class AbstractTransform(abc.ABC):
    """An orthogonal map from samples (batch, *shape) to coefficients (batch, dim)."""

    shape: tuple[int, ...]

    @property
    def dim(self) -> int:
        """Number of modes."""
        return math.prod(self.shape)

    @abc.abstractmethod
    def forward(self, x: Any) -> Any:
        """Coefficients (batch, dim) of samples (batch, *shape)."""

    @abc.abstractmethod
    def inverse(self, c: Any) -> Any:
        """Samples (batch, *shape) of coefficients (batch, dim)."""

    @abc.abstractmethod
    def native(self, values: np.ndarray) -> np.ndarray:
        """Values per mode (dim,) in the layout of ``filter``'s gains (host)."""

    def to_native(self, x: Any) -> Any:
        """Coefficients of samples (batch, *shape) in the native layout; may be complex."""
        return self.forward(x)

    def from_native(self, c: Any, like: Any) -> Any:
        """Samples, in the dtype of ``like``, of coefficients in the native layout."""
        return self.inverse(c)

    def filter(self, x: Any, gains: Any) -> Any:
        """inverse(gains * forward(x)) for gains in native layout, optionally with a batch axis."""
        return self.from_native(gains * self.to_native(x), x)

    def same_modes(self, other: Any) -> bool:
        """Whether another transform of this class and shape has the same modes."""
        mine, others = self.basis_arrays(), other.basis_arrays()
        return len(mine) == len(others) and all(map(np.array_equal, mine, others))

    def basis_arrays(self) -> tuple[np.ndarray, ...]:
        """What tells the modes from those of another transform of this class and shape."""
        return ()

    @abc.abstractmethod
    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Diagonal (dim,) of Q diag(eigenvalues) Q^T (host)."""


class IdentityTransform(AbstractTransform):
    """Entries are modes."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)

    def forward(self, x: Any) -> Any:
        """Flatten."""
        return array_namespace(x).reshape(x, (x.shape[0], self.dim))

    def inverse(self, c: Any) -> Any:
        """Unflatten."""
        return array_namespace(c).reshape(c, (c.shape[0], *self.shape))

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values shaped like a sample."""
        return values.reshape(self.shape)

    def to_native(self, x: Any) -> Any:
        """Itself."""
        return x

    def from_native(self, c: Any, like: Any) -> Any:
        """Itself."""
        return c

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """The eigenvalues."""
        return eigenvalues.copy()


class DenseTransform(AbstractTransform):
    """Coefficients in the columns of an orthogonal matrix (dim, dim)."""

    def __init__(self, basis: np.ndarray, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self.basis = basis
        self._constants = Constants()

    def basis_arrays(self) -> tuple[np.ndarray, ...]:
        """The basis."""
        return (self.basis,)

    def forward(self, x: Any) -> Any:
        """``x Q``."""
        flat = array_namespace(x).reshape(x, (x.shape[0], self.dim))
        return flat @ self._constants.get("basis", self.basis, x)

    def inverse(self, c: Any) -> Any:
        """``c Q^T``."""
        flat = c @ self._constants.get("basis", self.basis, c).T
        return array_namespace(c).reshape(flat, (c.shape[0], *self.shape))

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values (dim,)."""
        return values

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Diagonal of Q diag(eigenvalues) Q^T."""
        return (self.basis**2) @ eigenvalues


class LowRankTransform(AbstractTransform):
    """An orthogonal basis whose first k vectors span given columns, in O(dim k) work and memory.

    Q = I - V T V^T is the product of the k Householder reflectors of the columns' QR factorisation
    in compact WY form (Schreiber & Van Loan 1989). Q's first k columns are the orthonormalised
    columns up to sign; the others, never formed, span the complement.
    """

    def __init__(self, columns: np.ndarray, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        raw, tau = np.linalg.qr(columns, mode="raw")
        k = columns.shape[1]
        v = np.tril(raw.T[:, :k], -1)
        v[np.arange(k), np.arange(k)] = 1.0
        t = np.zeros((k, k))
        for i in range(k):
            t[i, i] = tau[i]
            t[:i, i] = -tau[i] * (t[:i, :i] @ (v[:, :i].T @ v[:, i]))
        self.v, self.t = v, t
        self._constants = Constants()

    @classmethod
    def from_reflectors(
        cls, v: np.ndarray, t: np.ndarray, shape: tuple[int, ...]
    ) -> LowRankTransform:
        """The transform with the given V (dim, k) and T (k, k), bit for bit (for saved files)."""
        made = cls.__new__(cls)
        made.shape, made.v, made.t = tuple(shape), v, t
        made._constants = Constants()
        return made

    def basis_arrays(self) -> tuple[np.ndarray, ...]:
        """The reflectors."""
        return (self.v, self.t)

    def _reflect(self, x: Any, t: np.ndarray, name: str) -> Any:
        v = self._constants.get("v", self.v, x)
        return x - ((x @ v) @ self._constants.get(name, t, x)) @ v.T

    def forward(self, x: Any) -> Any:
        """``x Q``."""
        return self._reflect(array_namespace(x).reshape(x, (x.shape[0], self.dim)), self.t, "t")

    def inverse(self, c: Any) -> Any:
        """``c Q^T``."""
        flat = self._reflect(c, self.t.T, "t transposed")
        return array_namespace(c).reshape(flat, (c.shape[0], *self.shape))

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values (dim,)."""
        return values

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Diagonal of Q diag(eigenvalues) Q^T, from k columns where the complement is isotropic."""
        k = self.v.shape[1]
        rest = eigenvalues[k] if eigenvalues.size > k else 0.0
        if np.any(eigenvalues[k:] != rest):
            k = eigenvalues.size
        columns = self.inverse(np.eye(k, self.dim)).reshape(k, self.dim)
        return rest + (eigenvalues[:k] - rest) @ columns**2


class FourierTransform(AbstractTransform):
    """The real-orthonormal 2-D Fourier basis over the last two axes (the 2-D Hartley basis).

    Mode (k, l) is cas(2 pi (k i / H + l j / W)) / sqrt(H W), with cas = cos + sin: for real x its
    coefficient is Re - Im of the unitary FFT, the map is its own inverse, and every filter that is
    symmetric in (k, l) -> (-k, -l) is diagonal. Bracewell 1983, J. Opt. Soc. Am. 73:1832. Any
    sizes, odd and non-square included.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)

    def forward(self, x: Any) -> Any:
        """Re - Im of the unitary FFT, flattened."""
        xp = array_namespace(x)
        spectrum = xp.fft.fftn(_complex(x, xp), axes=(-2, -1), norm="ortho")
        out = xp.reshape(xp.real(spectrum) - xp.imag(spectrum), (x.shape[0], self.dim))
        return _as(out, x, xp)

    def inverse(self, c: Any) -> Any:
        """The same map again."""
        xp = array_namespace(c)
        image = xp.reshape(c, (c.shape[0], *self.shape))
        return xp.reshape(self.forward(image), (c.shape[0], *self.shape))

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values on the half plane of a real FFT, (..., H, W // 2 + 1)."""
        return np.ascontiguousarray(values.reshape(self.shape)[..., : self.shape[-1] // 2 + 1])

    def to_native(self, x: Any) -> Any:
        """Half plane of the real, unitary FFT; gains on it must be symmetric."""
        xp = array_namespace(x)
        if xp.finfo(x.dtype).bits < 32:  # FFTs know no half precision
            x = xp.astype(x, xp.float32)
        return xp.fft.rfftn(x, axes=(-2, -1), norm="ortho")

    def from_native(self, c: Any, like: Any) -> Any:
        """Inverse real FFT."""
        xp = array_namespace(like)
        out = xp.fft.irfftn(c, s=self.shape[-2:], axes=(-2, -1), norm="ortho")
        return _as(out, like, xp)

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Constant over the grid: the mean eigenvalue of each channel."""
        per_channel = eigenvalues.reshape(*self.shape[:-2], -1).mean(axis=-1)
        return np.broadcast_to(per_channel[..., None, None], self.shape).reshape(-1).copy()


def same_transform(a: AbstractTransform, b: AbstractTransform) -> bool:
    """Whether two transforms have the same modes in the same order."""
    if a is b:
        return True
    return type(a) is type(b) and a.shape == b.shape and a.same_modes(b)


def _as(out: Any, like: Any, xp: Any) -> Any:
    return out if out.dtype == like.dtype else xp.astype(out, like.dtype)


def _complex(x: Any, xp: Any) -> Any:
    return xp.astype(x, xp.complex64 if xp.finfo(x.dtype).bits <= 32 else xp.complex128)
