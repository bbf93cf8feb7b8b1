"""The 2-D cosine transform: modes of smooth images without periodic edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.precondition import _checks
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import AbstractTransform


class CosineTransform(AbstractTransform):
    """The orthonormal DCT-II over the last two axes, channel by channel, as in JPEG.

    Mode (k, l) is c_k c_l cos(pi k (2 i + 1) / (2 H)) cos(pi l (2 j + 1) / (2 W)), c_0 = sqrt(1 /
    n) and sqrt(2 / n) otherwise. Ahmed, Natarajan & Rao 1974, IEEE Trans. Comput. C-23:90. Two
    matrix products of sizes H and W a transform. shape: (H, W) or (C, H, W), any sizes.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = _checks.sample_shape(shape, 2, " for a 2-D transform")
        self._rows, self._columns = (_dct(n) for n in self.shape[-2:])
        self._constants = Constants()

    def _matrices(self, x: Any) -> tuple[Any, Any]:
        get = self._constants.get
        return get("rows", self._rows, x), get("columns", self._columns, x)

    def to_native(self, x: Any) -> Any:
        """Coefficients (batch, *shape)."""
        rows, columns = self._matrices(x)
        return rows @ x @ columns.T

    def from_native(self, c: Any, like: Any) -> Any:
        """Samples of coefficients (batch, *shape)."""
        rows, columns = self._matrices(c)
        return rows.T @ c @ columns

    def forward(self, x: Any) -> Any:
        """The same, flattened."""
        return array_namespace(x).reshape(self.to_native(x), (x.shape[0], self.dim))

    def inverse(self, c: Any) -> Any:
        """Samples (batch, *shape)."""
        image = array_namespace(c).reshape(c, (c.shape[0], *self.shape))
        return self.from_native(image, image)

    def native(self, values: np.ndarray) -> np.ndarray:
        """Values shaped like a sample."""
        return values.reshape(self.shape)

    def pixel_variance(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Sums of the squared modes times the eigenvalues."""
        lam = eigenvalues.reshape(self.shape)
        return ((self._rows.T**2) @ lam @ (self._columns**2)).reshape(-1)


def _dct(n: int) -> np.ndarray:
    """(n, n) orthonormal DCT-II, modes in rows."""
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    matrix = math.sqrt(2 / n) * np.cos(np.pi / (2 * n) * ((2 * i + 1) * k % (4 * n)))
    matrix[0] = math.sqrt(1 / n)
    return matrix
