"""2-D orthogonal wavelets on a periodic grid, on any array library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.errors import PreconditionError, unknown
from sgmsolve.precondition import _checks
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import AbstractTransform

ORTHOGONAL = 1e-6  # what taps may be off; the matrices are made orthogonal to rounding


class WaveletTransform(AbstractTransform):
    """The periodised multi-level 2-D wavelet transform over the last two axes (Mallat's pyramid).

    Each level splits the low-pass quarter of the one before; coefficients lie as in
    ``pywt.coeffs_to_array``, the coarsest in the top left corner. Levels are products with small
    orthogonal matrices, so that the transform runs on every array library and saved files need
    none. Mallat 1989, IEEE Trans. PAMI 11:674; filters from PyWavelets (Lee et al. 2019, JOSS
    4:1237).

    shape: (H, W) or (C, H, W), H and W multiples of 2^levels; wavelet: the name of an orthogonal
    wavelet ("haar", "db2", "sym4", "coif1", ...); levels: the largest number for which the coarsest
    images are no smaller than the filter if left out, at least 1.

    Raises: PreconditionError for other shapes, unknown or not orthogonal wavelets, too many levels,
    or without PyWavelets (``pip install 'sgmsolve[lab]'``).
    """

    def __init__(
        self, shape: Sequence[int], wavelet: str = "db2", levels: int | None = None
    ) -> None:
        low, high = _taps(wavelet)
        self._build(_checks.sample_shape(shape, 2, " for a 2-D transform"), low, high, levels)

    @classmethod
    def from_taps(
        cls, shape: Sequence[int], low: np.ndarray, high: np.ndarray, levels: int
    ) -> Self:
        """The transform of given analysis filters (for saved files)."""
        made = cls.__new__(cls)
        made._build(_checks.sample_shape(shape, 2), low, high, levels)
        return made

    def _build(
        self, size: tuple[int, ...], low: np.ndarray, high: np.ndarray, levels: int | None
    ) -> None:
        h, w = size[-2:]
        deepest = next(k for k in range(64) if h % 2 ** (k + 1) or w % 2 ** (k + 1))
        if levels is None:
            fits = math.floor(math.log2(max(min(h, w) / len(low), 1)))
            levels = min(max(fits, 1), max(deepest, 1))
        if not deepest:
            msg = (
                f"images have {h} x {w} pixels, expected even sizes, which a level halves; resize "
                f"them, or use another transform."
            )
            raise PreconditionError(msg)
        if not 1 <= levels <= deepest:
            msg = (
                f"levels = {levels} on images of {h} x {w} pixels, expected 1 to {deepest}, as "
                f"both sizes must be multiples of 2^levels; resize them, or use another transform."
            )
            raise PreconditionError(msg)
        self.shape, self.levels, self.taps = size, levels, (low, high)
        steps = range(levels)
        self._steps = [(_level(h >> j, low, high), _level(w >> j, low, high)) for j in steps]
        self._constants = Constants()

    def basis_arrays(self) -> tuple[np.ndarray, ...]:
        """Filters and levels."""
        return (*self.taps, np.array(self.levels))

    def _matrices(self, level: int, x: Any) -> tuple[Any, Any]:
        rows, columns = self._steps[level]
        get = self._constants.get
        return get(f"rows {level}", rows, x), get(f"columns {level}", columns, x)

    def to_native(self, x: Any) -> Any:
        """The pyramid (batch, *shape)."""
        return self._analyse(x, 0)

    def from_native(self, c: Any, like: Any) -> Any:
        """Samples of a pyramid."""
        return self._synthesise(c, 0)

    def forward(self, x: Any) -> Any:
        """The pyramid, flattened."""
        return array_namespace(x).reshape(self.to_native(x), (x.shape[0], self.dim))

    def inverse(self, c: Any) -> Any:
        """Samples (batch, *shape)."""
        pyramid = array_namespace(c).reshape(c, (c.shape[0], *self.shape))
        return self.from_native(pyramid, pyramid)

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values shaped like a sample."""
        return values.reshape(self.shape)

    def _analyse(self, x: Any, level: int) -> Any:
        rows, columns = self._matrices(level, x)
        split = rows @ x @ columns.T
        if level + 1 == self.levels:
            return split
        return _replaced(split, self._analyse(_corner(split), level + 1))

    def _synthesise(self, c: Any, level: int) -> Any:
        rows, columns = self._matrices(level, c)
        if level + 1 < self.levels:
            c = _replaced(c, self._synthesise(_corner(c), level + 1))
        return rows.T @ c @ columns

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Sums of the squared modes times the eigenvalues; modes are products of two vectors."""
        lam = eigenvalues.reshape(self.shape)
        total = np.zeros(self.shape)
        basis = tuple(np.eye(n) for n in self.shape[-2:])  # low-pass vectors so far, in rows
        for j, step in enumerate(self._steps):
            up, across = (m @ b for m, b in zip(step, basis, strict=True))
            band = lam[..., : len(up), : len(across)]
            if j + 1 < self.levels:
                band = _replaced(band, np.zeros_like(_corner(band)))
            total += (up.T**2) @ band @ (across**2)
            basis = up[: len(up) // 2], across[: len(across) // 2]
        return total.reshape(-1)


def _corner(x: Any) -> Any:
    return x[..., : x.shape[-2] // 2, : x.shape[-1] // 2]


def _replaced(x: Any, corner: Any) -> Any:
    """X with another top left quarter, without writing into x."""
    xp = array_namespace(x)
    h, w = corner.shape[-2:]
    top = xp.concat([corner, x[..., :h, w:]], axis=-1)
    return xp.concat([top, x[..., h:, :]], axis=-2)


def _level(n: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n, n) orthogonal matrix of one level: low-pass rows, then high-pass rows."""
    matrix = np.zeros((2, n // 2, n))
    i = np.arange(n // 2)
    for j in range(len(low)):
        column = (2 * i + len(low) // 2 - j) % n
        matrix[0, i, column] += low[j]  # a filter longer than n wraps around
        matrix[1, i, column] += high[j]
    flat = matrix.reshape(n, n)
    # One Newton step towards the orthogonal factor: tabulated taps are good to some ten digits.
    return 1.5 * flat - 0.5 * flat @ (flat.T @ flat)


def _taps(wavelet: str) -> tuple[np.ndarray, np.ndarray]:
    """Low- and high-pass analysis filters of a named orthogonal wavelet."""
    try:
        import pywt
    except ImportError as error:
        msg = "wavelets need PyWavelets, which is not installed; run: pip install 'sgmsolve[lab]'."
        raise PreconditionError(msg) from error
    names = pywt.wavelist(kind="discrete")
    if wavelet not in names:
        raise PreconditionError(unknown("wavelet", str(wavelet), names))
    found = pywt.Wavelet(wavelet)
    low, high = np.array(found.dec_lo), np.array(found.dec_hi)
    n = 2 * len(low)
    one = np.zeros(n)
    one[: len(low)] = low
    shifted = [one @ np.roll(one, 2 * k) for k in range(len(low))]
    if not found.orthogonal or np.abs(np.array(shifted) - (np.arange(len(low)) == 0)).max() > (
        ORTHOGONAL
    ):
        msg = (
            f"wavelet {wavelet!r} is not orthogonal, expected one that is, so that variances of "
            f"modes have a meaning; use haar, db2 to db38, sym2 to sym20 or coif1 to coif17."
        )
        raise PreconditionError(msg)
    return low, high
