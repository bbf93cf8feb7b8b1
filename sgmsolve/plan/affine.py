"""Symbolic affine expressions: what method authors compute with.

An ``Affine`` is a linear combination of symbols (states, predictions, draws), ``{symbol: block}``.
A block is a number c, meaning c times the identity on components; a one-dimensional array, one
number a mode; a matrix acting on components; or ``Operators``, a sum of words of linear operators.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.errors import PlanError

AMBIGUOUS = (
    "a number multiplies a prediction with fewer components than the state, which does not say "
    "where they act; multiply it by a matrix (components of the state, components predicted)."
)


class Operators:
    """A sum of (block, word of operators): ``{("M", "M^T"): 1.0, (): 2.0}`` is M M^T + 2.

    Supports ``+ - * /`` with numbers, sums and products of one another, and ``A @ expression``.
    """

    __slots__ = ("terms",)
    __array_ufunc__ = None

    def __init__(self, terms: dict[tuple[str, ...], Any]) -> None:
        self.terms = terms

    def __add__(self, other: Any) -> Operators:
        out = dict(self.terms)
        for word, block in _words(other).items():
            out[word] = plus(out[word], block) if word in out else block
        return Operators(out)

    __radd__ = __add__

    def __neg__(self) -> Operators:
        return -1.0 * self

    def __sub__(self, other: Any) -> Operators:
        return self + (-other)

    def __rsub__(self, other: Any) -> Operators:
        return -self + other

    def __mul__(self, factor: Any) -> Operators:
        return Operators({word: times(factor, block) for word, block in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Operators:
        return self * (1 / divisor)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Affine):
            return Affine({symbol: times(self, block) for symbol, block in other.terms.items()})
        return times(self, other)

    def __repr__(self) -> str:
        return f"Operators({self.terms})"


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
            terms[symbol] = plus(terms[symbol], block) if symbol in terms else block
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
        return Affine({symbol: times(factor, block) for symbol, block in self.terms.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Affine:
        return self * (1 / divisor)

    def __rmatmul__(self, matrix: np.ndarray) -> Affine:
        return Affine({symbol: times(matrix, block) for symbol, block in self.terms.items()})

    def __repr__(self) -> str:
        return f"Affine({self.terms})"


def is_matrix(block: Any) -> bool:
    """Whether a block is a matrix acting on components."""
    return isinstance(block, np.ndarray) and block.ndim == 2


def _words(block: Any) -> dict[tuple[str, ...], Any]:
    return block.terms if isinstance(block, Operators) else {(): block}


def times(outer: Any, inner: Any) -> Any:
    """The block that applies ``inner``, then ``outer``.

    Operators act within components and matrices on components, so the two commute.
    """
    if isinstance(outer, Operators) or isinstance(inner, Operators):
        out: dict[tuple[str, ...], Any] = {}
        for a, x in _words(outer).items():
            for b, y in _words(inner).items():
                block = times(x, y)
                out[a + b] = plus(out[a + b], block) if a + b in out else block
        return Operators(out)
    return outer @ inner if is_matrix(outer) and is_matrix(inner) else outer * inner


def plus(a: Any, b: Any) -> Any:
    """Sum of two blocks, a number standing for a multiple of the identity."""
    if isinstance(a, Operators) or isinstance(b, Operators):
        return (a if isinstance(a, Operators) else Operators({(): a})) + b
    if is_matrix(a) == is_matrix(b):
        return a + b
    matrix, scalar = (a, b) if is_matrix(a) else (b, a)
    if matrix.shape[0] != matrix.shape[1]:
        raise PlanError(AMBIGUOUS)
    return matrix + scalar * np.eye(*matrix.shape, dtype=matrix.dtype)


def is_zero(block: Any) -> bool:
    """Whether a block is exactly zero."""
    if isinstance(block, Operators):
        return all(is_zero(part) for part in block.terms.values())
    return not np.any(block) if isinstance(block, np.ndarray) else block == 0
