"""Polynomials in a few variables with number coefficients: just what order conditions need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Powers = tuple[int, ...]


class Polynomial:
    """sum_p terms[p] x_1^p_1 ... x_n^p_n; coefficients of any number type."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[Powers, Any]) -> None:
        self.terms = {p: c for p, c in terms.items() if c}

    def __add__(self, other: Polynomial) -> Polynomial:
        terms = dict(self.terms)
        for p, c in other.terms.items():
            terms[p] = terms[p] + c if p in terms else c
        return Polynomial(terms)

    def __mul__(self, other: Any) -> Polynomial:
        if not isinstance(other, Polynomial):
            return Polynomial({p: c * other for p, c in self.terms.items()})
        terms: dict[Powers, Any] = {}
        for p, c in self.terms.items():
            for q, d in other.terms.items():
                key = tuple(i + j for i, j in zip(p, q, strict=True))
                terms[key] = terms[key] + c * d if key in terms else c * d
        return Polynomial(terms)

    def derivative(self, variable: int) -> Polynomial:
        """The partial derivative in one variable, counted from 0."""
        terms = {}
        for p, c in self.terms.items():
            if p[variable]:
                key = (*p[:variable], p[variable] - 1, *p[variable + 1 :])
                terms[key] = p[variable] * c
        return Polynomial(terms)

    def __call__(self, point: Sequence[Any]) -> Any:
        """The value at a point: numbers, or arrays of one shape."""
        total: Any = 0
        for powers, c in self.terms.items():
            product = c
            for x, p in zip(point, powers, strict=True):
                for _ in range(p):
                    product = product * x
            total = total + product
        return total


def variables(m: int) -> list[Polynomial]:
    """The m + 1 variables (z_1, ..., z_m, tau) themselves."""
    return [Polynomial({tuple(int(i == j) for j in range(m + 1)): 1}) for i in range(m + 1)]
