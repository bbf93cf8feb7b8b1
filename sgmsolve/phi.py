"""Exponential-integrator functions, quadrature and small matrices, for floats and mpmath numbers.

phi_0(z) = e^z, phi_{k+1}(z) = (phi_k(z) - 1/k!) / z, or
phi_k(z) = int_0^1 e^{(1-u) z} u^{k-1} / (k-1)! du.

Everything here runs on the host: Python floats and numpy arrays in float64, or ``mpmath.mpf`` (and
object arrays of them) at mpmath's working precision, which serves to check the float64 results.
Hochbruck & Ostermann, "Exponential integrators", Acta Numerica 19 (2010), section 2.1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgmsolve._array import REAL, is_multiprecision, ops
from sgmsolve.errors import GridError, ProcessError

# Beyond |z| = k + _FAR the defining recursion amplifies no error; nearer, positive series are used.
_FAR = 8


def phi(k: int, z: Any) -> Any:
    """phi_k(z), elementwise for numpy arrays; relative error of a few ulp for |z| <= 50 and beyond.

    ``z`` is a float, an mpmath number or a numpy array of either; so is the result.
    Raises: ValueError for a negative order.
    """
    if type(z) is float and k >= 0:  # the hot path of plan building
        return _phi(k, z)
    if k < 0:
        msg = f"phi functions have order k >= 0, but k = {k} was given."
        raise ValueError(msg)
    if isinstance(z, np.ndarray):
        flat = [_phi(k, v if z.dtype == object else float(v)) for v in z.ravel()]
        return np.array(flat, dtype=object if z.dtype == object else np.float64).reshape(z.shape)
    return _phi(k, z if is_multiprecision(z) else float(z))


def _phi(k: int, z: Any) -> Any:
    xp = ops(z)
    if k == 0:
        return xp.exp(z)
    if z == 0:
        return xp.number(1.0) / math.factorial(k)
    if k == 1:
        return xp.expm1(z) / z
    if abs(z) > k + _FAR:
        value = xp.expm1(z) / z
        for j in range(1, k):
            value = (value - xp.number(1.0) / math.factorial(j)) / z
        return value
    # phi_k(z) = sum_j z^j / (k + j)!, or, for z < 0, Kummer's transform of it, whose terms are all
    # positive: phi_k(-x) = e^-x / (k-1)! sum_j x^j / ((k + j) j!). So nothing ever cancels.
    kummer = z < -0.5
    total, x = 0, abs(z) if kummer else z
    for c in _coefficients(k, kummer, 0 if abs(z) <= 0.5 else math.ceil(abs(z)), _bits(xp)):
        total = total * x + c
    return xp.exp(z) * total if kummer else total


@functools.lru_cache(maxsize=512)
def _coefficients(k: int, kummer: bool, size: int, bits: int) -> tuple[Any, ...]:
    """Taylor coefficients, highest first, down to 2^-bits of the sum for |z| <= max(size, 1/2)."""
    x, term = max(size, 0.5), 1.0
    found: list[int] = []
    while term > 2.0 ** (-bits - 4) or len(found) < 2:
        j = len(found)
        bottom = (k + j) * math.factorial(j) * math.factorial(k - 1)
        found.append(bottom if kummer else math.factorial(k + j))
        term *= x * ((k + j) / ((j + 1) * (k + j + 1)) if kummer else 1 / (k + j + 1))
    if bits == 53:
        return tuple(1 / bottom for bottom in reversed(found))
    import mpmath

    return tuple(mpmath.mpf(1) / bottom for bottom in reversed(found))


def _bits(xp: Any) -> int:
    if not xp.exact:
        return 53
    import mpmath

    return int(mpmath.mp.prec)


def exp_moments(h: Any, k: int, sign: Any = 1, *, weight: str = "tau") -> list[Any]:
    """Moments of an exponential on a step, for i = 0, ..., k - 1, without cancellation.

    ``weight="tau"``:   ``int_0^h e^{sign tau} tau^i dtau = h^{i+1} i! e^z phi_{i+1}(-z)``;
    ``weight="h-tau"``: ``int_0^h e^{sign (h - tau)} tau^i dtau = h^{i+1} i! phi_{i+1}(z)``,

    with ``z = sign h``. ``h`` (float or mpmath number) may have either sign and any size; ``sign``
    is any real rate, usually +1 or -1. Raises: ValueError for an unknown weight.
    """
    if weight not in ("tau", "h-tau"):
        msg = f"the weight of exp_moments is 'tau' or 'h-tau', but {weight!r} was given."
        raise ValueError(msg)
    z = sign * h
    if weight == "h-tau":
        return [h ** (i + 1) * math.factorial(i) * phi(i + 1, z) for i in range(k)]
    if z < -300:
        # e^z underflows where phi(-z) overflows, and is far below one ulp of the limit.
        return [h ** (i + 1) * math.factorial(i) / (-z) ** (i + 1) for i in range(k)]
    scale = ops(z).exp(z)
    return [h ** (i + 1) * math.factorial(i) * scale * phi(i + 1, -z) for i in range(k)]


def gauss_legendre(n: int, like: Any = 0.0) -> tuple[Sequence[Any], Sequence[Any]]:
    """Nodes and weights of the n-point Gauss-Legendre rule on [0, 1], exact to degree 2n - 1.

    Floats, or mpmath numbers at the working precision if ``like`` is one. Both are cached.
    """
    if n < 1:
        msg = f"a Gauss-Legendre rule needs at least one point, but n = {n} was given."
        raise ValueError(msg)
    return _legendre(n, _bits(ops(like)) if is_multiprecision(like) else 0)


@functools.lru_cache(maxsize=64)
def _legendre(n: int, prec: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Newton's method on the Legendre polynomial P_n; prec = 0 means float64."""
    if prec == 0:
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return tuple(((1 + nodes) / 2).tolist()), tuple((weights / 2).tolist())
    import mpmath

    found = []
    with mpmath.workprec(prec + 20):
        for start in np.polynomial.legendre.leggauss(n)[0].tolist():
            x, slope = mpmath.mpf(start), mpmath.mpf(1)
            for _ in range(2 + int(math.log2(prec))):
                low, high = mpmath.mpf(1), x
                for j in range(2, n + 1):
                    low, high = high, ((2 * j - 1) * x * high - (j - 1) * low) / j
                slope = n * (x * high - low) / (x * x - 1)
                x = x - high / slope
            found.append(((1 + x) / 2, 1 / ((1 - x * x) * slope * slope)))
    return tuple(+x for x, _ in found), tuple(+w for _, w in found)


def gauss_collocation(n: int, like: Any = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The n-stage Gauss method on [0, 1]: nodes c (n,), weights b (n,), matrix A (n, n).

    A integrates polynomials of degree n - 1 through the nodes from 0 to c_i; order 2n. Floats, or
    mpmath numbers at the working precision if ``like`` is one. Cached.
    """
    return _gauss_method(n, _bits(ops(like)) if is_multiprecision(like) else 0)


@functools.lru_cache(maxsize=16)
def _gauss_method(n: int, prec: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    c, b = _legendre(n, prec)

    def lagrange(j: int, x: Any) -> Any:
        return math.prod((x - c[i]) / (c[j] - c[i]) for i in range(n) if i != j)

    # Polynomials of degree n - 1 are integrated exactly by the rule itself on [0, c_i].
    rule = list(zip(c, b, strict=True))
    rows = [[ci * sum(w * lagrange(j, ci * x) for x, w in rule) for j in range(n)] for ci in c]
    return np.array(c), np.array(b), np.array(rows)


def integrate(fn: Callable[[Any], Any], a: Any, b: Any, *, n: int = 20, panels: int = 1) -> Any:
    """int_a^b fn by composite Gauss-Legendre, n points on each of ``panels`` equal panels.

    ``fn`` maps host scalars to scalars or arrays; mpmath limits give an mpmath result; b < a is
    allowed.
    """
    nodes, weights = gauss_legendre(n, b if is_multiprecision(b) else a)
    width = (b - a) / panels
    terms = (
        w * fn(a + (p + u) * width)
        for p in range(panels)
        for u, w in zip(nodes, weights, strict=True)
    )
    return width * sum(terms)


def interpolatory_weights(nodes: Sequence[Any], moments: Sequence[Any]) -> list[Any]:
    """Weights w_j with ``sum_j w_j u_j^i = moments[i]``, i < k: exact for degrees below k.

    ``moments[i] = int omega(u) u^i du``, with the k nodes u_j measured from the same origin.
    Solved by Bjorck and Pereyra's algorithm (Newton's divided differences; Golub & Van Loan,
    algorithm 4.6.2), accurate for k <= 8; generic in the number type.
    Raises: GridError for equal nodes.
    """
    k = len(nodes)
    if len(moments) != k:
        msg = f"{k} nodes need {k} moments, but {len(moments)} were given."
        raise ValueError(msg)
    w = list(moments)
    for j in range(k):
        for i in range(k - 1, j, -1):
            w[i] = w[i] - nodes[j] * w[i - 1]
    for j in range(k - 2, -1, -1):
        for i in range(j + 1, k):
            gap = nodes[i] - nodes[i - j - 1]
            if gap == 0:
                msg = f"two interpolation nodes are equal ({nodes[i]}); use a grid without repeats."
                raise GridError(msg)
            w[i] = w[i] / gap
        for i in range(j, k - 1):
            w[i] = w[i] - w[i + 1]
    return w


def _as_matrix(matrix: Any) -> np.ndarray:
    found = np.asarray(matrix)
    return found if found.dtype == object else found.astype(np.float64)


def _scalar_ops(matrix: np.ndarray) -> Any:
    exact = [v for v in matrix.flat if is_multiprecision(v)] if matrix.dtype == object else []
    return ops(exact[0]) if exact else REAL


def cholesky(matrix: Any) -> np.ndarray:
    """Lower triangular L with ``L L^T = matrix`` for a small positive semidefinite (m, m) matrix.

    Singular matrices are fine: a pivot below rounding error (16 m ulp of its diagonal entry) is
    zero and so is its column. float64, or object for mpmath entries.
    Raises: ProcessError for a matrix that is not positive semidefinite.
    """
    s = _as_matrix(matrix)
    xp, m = _scalar_ops(s), s.shape[0]
    factor = s * 0
    unit = 2.0 ** (1 - _bits(xp)) * 16 * m
    for j in range(m):
        pivot = s[j, j] - sum(factor[j, i] ** 2 for i in range(j))
        rest = [
            s[i, j] - sum(factor[i, n] * factor[j, n] for n in range(j)) for i in range(j + 1, m)
        ]
        if pivot > unit * s[j, j]:
            factor[j, j] = xp.sqrt(pivot)
            factor[j + 1 :, j] = [value / factor[j, j] for value in rest]
            continue
        # |rest_i|^2 <= pivot_i pivot_j holds in every semidefinite matrix.
        sizes = [unit * s[j, j] * s[i, i] for i in range(j + 1, m)]
        small = all(v * v <= 4 * size for v, size in zip(rest, sizes, strict=True))
        if pivot < -unit * s[j, j] or s[j, j] < 0 or not small:
            msg = (
                f"a covariance must be positive semidefinite, but pivot {j} of {s.tolist()} is "
                f"{float(pivot):.3g}; check the coefficients it was made from."
            )
            raise ProcessError(msg)
    return factor


def expm(matrix: Any) -> np.ndarray:
    """exp(A) for small matrices, shape (..., m, m), by scaling, Taylor series and squaring.

    float64, or object for mpmath entries (to the working precision, up to the squarings).
    """
    a = _as_matrix(matrix)
    xp = _scalar_ops(a)
    norm = max((float(abs(row).sum()) for row in a.reshape(-1, a.shape[-1])), default=0.0)
    squarings = max(0, math.frexp(norm)[1] + 2) if norm > 0.25 else 0
    scaled = a * (xp.number(1.0) / 2**squarings)
    term = total = np.zeros_like(a) + np.eye(a.shape[-1], dtype=int)
    bound, k, size = 2.0 ** (-_bits(xp) - 4), 0, 1.0
    while size > bound:
        k += 1
        term = term @ scaled / k
        total = total + term
        size *= max(norm / 2**squarings, 1e-300) / k
    for _ in range(squarings):
        total = total @ total
    return total


def sqrtm_psd(matrix: Any) -> np.ndarray:
    """Symmetric square root of a positive semidefinite (m, m) matrix, by its eigenvalues.

    Eigenvalues below zero by rounding count as zero. float64, or object for mpmath entries.
    """
    s = _as_matrix(matrix)
    if _scalar_ops(s).exact:
        import mpmath

        exact, basis = mpmath.eigsy(mpmath.matrix(s.tolist()))
        vectors = np.array(basis.tolist(), dtype=object).reshape(s.shape)
        roots = np.array([mpmath.sqrt(max(v, 0)) for v in exact], dtype=object)
        root = (vectors * roots) @ vectors.T
    else:
        values, found = np.linalg.eigh(s.astype(np.float64))
        root = (found * np.sqrt(np.clip(values, 0.0, None))) @ found.T
    return (root + root.T) / 2
