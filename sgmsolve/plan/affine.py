"""Symbolic affine expressions: what method authors compute with.

An ``Affine`` is a linear combination of symbols (states, predictions, draws), ``{symbol: block}``.
A block is a scalar c, meaning c times the identity on components, or a matrix acting on components.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.errors import PlanError

AMBIGUOUS = (
    "a number multiplies a prediction with fewer components than the state, which does not say "
    "where they act; multiply it by a matrix (components of the state, components predicted)."
)


class Affine:
    """A linear combination of symbols; supports ``+ - * /`` with scalars and ``A @ expression``."""

    __slots__ = ("terms",)
    __array_ufunc__ = None  # numpy scalars and arrays hand multiplication to us

    def __init__(self, terms: dict[int, Any]) -> None:
        self.terms = terms

    def __add__(self, other: Any) -> Affine:
        if not isinstance(other, Affine):
            if isinstance(other, (int, float)) and other == 0:  # so that sum(...) works
                return self
            return NotImplemented
        terms = dict(self.terms)
        for symbol, block in other.terms.items():
            terms[symbol] = _plus(terms[symbol], block) if symbol in terms else block
        return Affine(terms)

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return Affine({symbol: -block for symbol, block in self.terms.items()})

    def __sub__(self, other: Any) -> Affine:
        return self + (-other) if isinstance(other, Affine) else NotImplemented

    def __mul__(self, factor: Any) -> Affine:
        if type(factor) is float:  # the hot path of plan building
            return Affine({symbol: factor * block for symbol, block in self.terms.items()})
        if isinstance(factor, Affine):
            return NotImplemented
        if isinstance(factor, np.ndarray) and factor.ndim:
            return factor @ self
        return Affine({symbol: factor * block for symbol, block in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Affine:
        return self * (1 / divisor)

    def __rmatmul__(self, matrix: np.ndarray) -> Affine:
        return Affine({symbol: _times(matrix, block) for symbol, block in self.terms.items()})

    def __repr__(self) -> str:
        return f"Affine({self.terms})"


def _times(matrix: np.ndarray, block: Any) -> Any:
    return matrix @ block if isinstance(block, np.ndarray) and block.ndim else matrix * block


def _plus(a: Any, b: Any) -> Any:
    """Sum of two blocks, a scalar standing for a multiple of the identity."""
    a_is, b_is = isinstance(a, np.ndarray) and a.ndim, isinstance(b, np.ndarray) and b.ndim
    if bool(a_is) == bool(b_is):
        return a + b
    matrix, scalar = (a, b) if a_is else (b, a)
    if matrix.shape[0] != matrix.shape[1]:
        raise PlanError(AMBIGUOUS)
    return matrix + scalar * np.eye(*matrix.shape, dtype=matrix.dtype)


def is_zero(block: Any) -> bool:
    """Whether a block is exactly zero."""
    return not np.any(block) if isinstance(block, np.ndarray) else block == 0
