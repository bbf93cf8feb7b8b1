"""The frame of a per-mode plan: a Gaussian fit, its modes, and coefficients as functions of them.

A plan with a frame runs in the centred coefficients z' = Q^T (z - alpha(t) mean) of the fit
N(mean, Q diag(eigenvalues) Q^T), where every mode has its own coefficients. They depend on the mode
through its eigenvalue only, so tables hold them at ``values``: at all distinct eigenvalues, or at
nodes equidistant in the eigenvalue's logarithm, between which a local polynomial of degree 9 is
drawn. A coefficient that is smooth on the scale of a factor e in the eigenvalue, as all of ours
are, is then known to 1e-12 with 512 nodes over ten decades.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve.errors import PlanError
from sgmsolve.precondition.transform import AbstractTransform

NODES = 512
DEGREE = 9
CHUNK = 1 << 14


class Frame:
    """The modes of a Gaussian fit N(mean, Q diag(eigenvalues) Q^T).

    transform: the orthogonal Q; eigenvalues: (dim,) variances of the modes in its order, data units
    squared, at least 0; mean: a number or (*shape), data units; nodes: the largest number of values
    at which coefficients are tabulated.

    Attributes: ``values`` (Q,) float64, ascending; ``shape``, ``dim`` of one sample.

    Raises: PlanError for eigenvalues that are negative, not finite or not one a mode, a mean of
    another shape, or fewer than 16 nodes.
    """

    def __init__(
        self,
        transform: AbstractTransform,
        eigenvalues: Any,
        mean: Any = 0.0,
        nodes: int = NODES,
    ) -> None:
        lam = np.asarray(eigenvalues, dtype=np.float64).reshape(-1)
        mu = np.asarray(mean, dtype=np.float64)
        if lam.shape != (transform.dim,) or not (np.isfinite(lam).all() and (lam >= 0).all()):
            msg = (
                f"eigenvalues have shape {np.shape(eigenvalues)}, expected {transform.dim} "
                f"variances of at least 0, one a mode of samples of shape {transform.shape}."
            )
            raise PlanError(msg)
        if (mu.ndim and mu.shape != transform.shape) or not np.isfinite(mu).all():
            msg = (
                f"the mean has shape {mu.shape}, expected a finite number or samples' shape "
                f"{transform.shape}."
            )
            raise PlanError(msg)
        if nodes < 16:
            msg = f"nodes = {nodes}, expected at least 16, as a polynomial of degree 9 joins them."
            raise PlanError(msg)
        self.transform, self.eigenvalues, self.mean = transform, lam, mu
        self.nodes = nodes
        self.shape, self.dim = tuple(transform.shape), transform.dim
        distinct, where = np.unique(lam, return_inverse=True)
        self._distinct, self._where = distinct, where.reshape(-1).astype(np.int32)
        self._exact = len(distinct) <= nodes
        if self._exact:
            self.values = distinct
            return
        # Below the floor a mode is as good as empty: it shares the lowest node.
        low = max(distinct[0], distinct[-1] * 1e-14)
        self._log = np.log(low), np.log(distinct[-1])
        self.values = np.exp(np.linspace(*self._log, nodes))

    def __repr__(self) -> str:
        return (
            f"{self.dim} modes of {type(self.transform).__name__} {self.shape}, variances "
            f"{self.eigenvalues.min():.4g} to {self.eigenvalues.max():.4g}"
        )

    def expand(self, coefficients: np.ndarray) -> np.ndarray:
        """(..., Q) coefficients at ``values`` as (..., dim), one a mode, float64."""
        return self.to_modes(self.tabulate(coefficients))

    def tabulate(self, coefficients: np.ndarray, dtype: Any = np.float64) -> np.ndarray:
        """(..., Q) coefficients as (..., D), one for each distinct eigenvalue."""
        table = np.asarray(coefficients, dtype=np.float64)
        if self._exact:
            return table.astype(dtype, copy=False)
        out = np.empty((*table.shape[:-1], len(self._distinct)), dtype)
        for first in range(0, len(self._distinct), CHUNK):
            part = slice(first, first + CHUNK)
            out[..., part] = self._between(table, self._distinct[part])
        return out

    def to_modes(self, values: np.ndarray) -> np.ndarray:
        """(..., D), one for each distinct eigenvalue, as (..., dim), one a mode."""
        return values[..., self._where]

    def at(self, coefficients: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
        """(..., Q) coefficients at ``values`` as (..., n), at some of the modes' eigenvalues."""
        table = np.asarray(coefficients, dtype=np.float64)
        if self._exact:
            return table[..., np.searchsorted(self.values, eigenvalues)]
        return self._between(table, np.asarray(eigenvalues, dtype=np.float64))

    def _between(self, table: np.ndarray, lam: np.ndarray) -> np.ndarray:
        """Local Lagrange interpolation in the logarithm, (..., Q) -> (..., len(lam))."""
        low, high = self._log
        position = (np.log(np.maximum(lam, np.exp(low))) - low) * ((self.nodes - 1) / (high - low))
        first = np.clip(position.astype(np.int64) - DEGREE // 2, 0, self.nodes - 1 - DEGREE)
        # Rows of few numbers that lie together: gathering them is most of the work.
        columns = np.ascontiguousarray(np.moveaxis(table, -1, 0).reshape(self.nodes, -1))
        total = np.zeros((len(lam), columns.shape[1]))
        for j, weight in enumerate(_lagrange(position - first)):
            total += weight[:, None] * columns[first + j]
        return total.T.reshape(*table.shape[:-1], len(lam))


def _lagrange(u: np.ndarray) -> list[np.ndarray]:
    """Weights at u of the nodes 0, 1, ..., DEGREE."""
    below, above = [np.ones_like(u)], [np.ones_like(u)]
    for i in range(DEGREE):
        below.append(below[-1] * (u - i))
        above.append(above[-1] * (u - (DEGREE - i)))
    out = []
    for j in range(DEGREE + 1):
        scale = math.factorial(j) * math.factorial(DEGREE - j) * (-1) ** (DEGREE - j)
        out.append(below[j] * above[DEGREE - j] / scale)
    return out
