"""Small matrices of coefficients as rows of entries: host numbers, or arrays shaped like t."""

from __future__ import annotations

from typing import Any

Entries = list[list[Any]]


def entries(matrix: Any) -> Entries:
    """Rows of entries of an array (..., rows, columns)."""
    rows, columns = matrix.shape[-2:]
    return [[matrix[..., i, j][()] for j in range(columns)] for i in range(rows)]


def column(vector: Any) -> list[Any]:
    """Entries of an array (..., m)."""
    return [vector[..., i][()] for i in range(vector.shape[-1])]


def transposed(a: Entries) -> Entries:
    """The transposed matrix."""
    return [list(row) for row in zip(*a, strict=True)]


def product(a: Entries, b: Entries) -> Entries:
    """A b."""
    return [[sum(x * y for x, y in zip(row, c, strict=True)) for c in transposed(b)] for row in a]


def apply(a: Entries, v: list[Any]) -> list[Any]:
    """A v."""
    return [sum(x * y for x, y in zip(row, v, strict=True)) for row in a]


def scaled(factor: Any, a: Entries) -> Entries:
    """The matrix times a number."""
    return [[factor * v for v in row] for row in a]


def grown_factor(lower: Entries, x: list[Any], xp: Any) -> Entries:
    """Lower factor of ``L L^T + x x^T`` by rotations, which form no difference of squares."""
    rows, x = [list(row) for row in lower], list(x)
    for k in range(len(x)):
        size = xp.sqrt(rows[k][k] ** 2 + x[k] ** 2)
        cos, sin = rows[k][k] / size, x[k] / size
        rows[k][k] = size
        for i in range(k + 1, len(x)):
            old = rows[i][k]
            rows[i][k], x[i] = cos * old + sin * x[i], cos * x[i] - sin * old
    return rows


def inverse_lower(lower: Entries) -> Entries:
    """Inverse of a lower triangular matrix, column by column."""
    m = len(lower)
    out = [[0 * lower[0][0] for _ in range(m)] for _ in range(m)]
    for j in range(m):
        out[j][j] = 1 / lower[j][j]
        for i in range(j + 1, m):
            rest = sum(lower[i][k] * out[k][j] for k in range(j, i))
            out[i][j] = -rest / lower[i][i]
    return out


def minor(factors: list[Entries], rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """2 x 2 minor of a product of matrices, by Cauchy and Binet.

    Where all factors are triangular its terms are products, and nothing cancels for m = 2.
    """
    first, *rest = factors
    i, j = rows
    if not rest:
        k, l = columns
        return first[i][k] * first[j][l] - first[i][l] * first[j][k]
    n = len(first[0])
    pairs = [(a, b) for a in range(n) for b in range(a + 1, n)]
    return sum(minor([first], rows, pair) * minor(rest, pair, columns) for pair in pairs)
