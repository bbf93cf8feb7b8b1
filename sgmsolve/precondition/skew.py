"""Skew operators S = -S^T: a divergence-free flow along the level sets of the density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks
from sgmsolve.precondition.base import LARGEST_MATRIX, Preconditioner
from sgmsolve.precondition.constants import Constants


class AbstractSkew(Preconditioner):
    """An operator with S^T = -S; the solenoidal term S grad log p leaves p invariant.

    div(S grad p) = sum_ij S_ij d_i d_j p = 0, so it may be added to the drift of Langevin dynamics
    and of a reverse SDE without any noise of its own.
    """

    def transpose(self, x: Any) -> Any:
        """Return -S x."""
        return -self.apply(x)


class Skew(AbstractSkew):
    """S = omega (P_d - P_d^T), with P_d x (i) = x (i + d) the circular shift by d pixels.

    Diagonal in the complex Fourier basis with symbol 2 i omega sin(2 pi k . d / n): it commutes
    with every frequency filter, and costs two shifts. A derivative across the image, in finite
    differences of step d.

    shape: that of one sample; vector: whole numbers of pixels along its last len(vector) axes;
    omega: a finite rate in the units of M M^T. Raises: PreconditionError for other vectors, and
    those with 2 d = 0 modulo the sizes, for which S = 0.
    """

    def __init__(self, shape: Sequence[int], vector: Sequence[int], omega: float) -> None:
        size = _checks.sample_shape(shape)
        self.omega = float(_checks.host(omega, "omega").reshape(()))
        given = _checks.host(vector, "the shift vector").reshape(-1)
        if not 0 < given.size <= len(size) or np.any(given % 1):
            msg = (
                f"the shift vector is {vector!r}, expected 1 to {len(size)} whole numbers of "
                f"pixels for samples of shape {size}; pass for example (0, 1)."
            )
            raise PreconditionError(msg)
        self.vector = tuple(int(d) for d in given)
        self._axes = tuple(range(-len(self.vector), 0))
        if all(2 * d % n == 0 for d, n in zip(self.vector, size[-len(self.vector) :], strict=True)):
            msg = (
                f"the shift by {self.vector} is its own inverse on samples of shape {size}, so "
                f"that S = 0; choose another vector."
            )
            raise PreconditionError(msg)
        self.shape = size
        if len(self.vector) <= 2 <= len(size):
            self.symbol = self._symbol(size)

    def _symbol(self, size: tuple[int, ...]) -> np.ndarray:
        vector = (0,) * (2 - len(self.vector)) + self.vector
        phase = sum(
            np.fft.fftfreq(n).reshape(-1, 1) * d if axis == 0 else np.fft.fftfreq(n) * d
            for axis, (n, d) in enumerate(zip(size[-2:], vector, strict=True))
        )
        # Exactly zero where k = -k, so that no rounding turns a real mode.
        wave = np.sin(2 * np.pi * np.asarray(phase))
        wave = np.where(np.abs(wave) > 1e-14, wave, 0.0)
        return np.broadcast_to(2j * self.omega * wave, size).reshape(-1).copy()

    def apply(self, x: Any) -> Any:
        """Omega (x(i + d) - x(i - d))."""
        self.check(x.shape[1:])
        xp = array_namespace(x)
        back = tuple(-d for d in self.vector)
        ahead = xp.roll(x, back, axis=self._axes) - xp.roll(x, self.vector, axis=self._axes)
        return self.omega * ahead

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        header = {"shape": list(self.shape or ()), "vector": list(self.vector)}
        return {**header, "omega": self.omega}, {}

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(header["shape"], header["vector"], header["omega"])


class SkewMatrix(AbstractSkew):
    """A skew operator given by its (dim, dim) matrix, dim at most 4096.

    shape: that of one sample, (dim,) if left out. Raises: PreconditionError for a matrix that is
    not skew (differences up to 1e-12 of its largest entry are rounding), not square, not finite, or
    of another size than samples.
    """

    def __init__(self, matrix: Any, shape: Sequence[int] | None = None) -> None:
        s = _checks.host(matrix, "the matrix S")
        if s.ndim != 2 or s.shape[0] != s.shape[1] or s.shape[0] > LARGEST_MATRIX:
            msg = (
                f"the matrix S has shape {s.shape}, expected (dim, dim) with dim at most "
                f"{LARGEST_MATRIX}; for images use Skew."
            )
            raise PreconditionError(msg)
        size = _checks.sample_shape((s.shape[0],) if shape is None else shape)
        if np.prod(size) != s.shape[0]:
            msg = f"the matrix S is {s.shape}, but samples of shape {size} have {np.prod(size)}"
            raise PreconditionError(msg + " entries; pass the matrix for that many.")
        off = np.abs(s + s.T)
        if off.max() > 1e-12 * np.abs(s).max():
            i, j = (int(k) for k in np.unravel_index(np.argmax(off), off.shape))
            msg = (
                f"S is not skew: S[{i}, {j}] = {s[i, j]:.6g} but S[{j}, {i}] = {s[j, i]:.6g}, "
                f"expected S^T = -S, or the density is not invariant; pass (S - S.T) / 2."
            )
            raise PreconditionError(msg)
        self.shape, self._matrix = size, (s - s.T) / 2
        self._constants = Constants()

    def apply(self, x: Any) -> Any:
        """Return S x."""
        self.check(x.shape[1:])
        xp = array_namespace(x)
        s = self._constants.get("S", self._matrix, x)
        flat = xp.reshape(x, (x.shape[0], self._matrix.shape[0]))
        return xp.reshape(flat @ s.T, x.shape)

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"shape": list(self.shape or ())}, {"matrix": self._matrix}

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        return cls(arrays["matrix"], header["shape"])
