"""Exact answers for a reverse family whose score is a polynomial, in mpmath numbers.

dz = [-F z + (1 + eta^2)/2 G G^T s(z, t)] dtau + eta G dw, tau = t_0 - t: the flow for eta = 0 by
Gauss collocation, and otherwise the expansion E phi(z(h)) = sum_k h^k/k! (d_tau + L)^k phi with L =
drift . grad + eta^2/2 tr(G G^T hess). Kloeden & Platen, "Numerical Solution of Stochastic
Differential Equations" (1992), section 14.5.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import numpy as np

from sgmsolve.phi import gauss_legendre
from sgmsolve.plan.polynomials import Polynomial, variables

ORDER = 4
"""The expansion ends with h^4."""


class PolynomialField:
    """A field s(z, t) of m components, cubic in (z, t_0 - t); data dimension 1.

    Every monomial of total degree at most 3 has a coefficient n/16, n a random integer of size at
    most 16, so that no rooted tree of up to four nodes is hidden. ``polynomials`` are in the
    variables (z_1, ..., z_m, tau).
    """

    def __init__(self, m: int, t0: Any, seed: int = 0) -> None:
        rng = random.Random(seed)
        powers = [p for p in itertools.product(range(4), repeat=m + 1) if sum(p) <= 3]
        self.t0 = t0
        self.polynomials = [
            Polynomial({p: mpmath.mpf(rng.randint(-16, 16)) / 16 for p in powers}) for _ in range(m)
        ]

    def __call__(self, z: np.ndarray, t: Any) -> np.ndarray:
        """Values (m, ...) at states z (m, ...) and times t."""
        tau = self.t0 - t
        return np.array([p([*z, tau]) for p in self.polynomials], dtype=object)


def flow(
    field: PolynomialField, process: Any, z0: np.ndarray, times: Sequence[Any]
) -> dict[Any, np.ndarray]:
    """The probability flow (eta = 0) from z0 at ``field.t0``, at decreasing ``times``."""
    c, b, a = _collocation(14, mpmath.mp.prec)
    found, t, z = {}, field.t0, z0
    for s in times:
        if s != t:
            nodes = t + (s - t) * c
            drift = np.array([process.F(x) for x in nodes])
            noise = np.array([process.G(x) for x in nodes])
            half = noise @ noise.swapaxes(1, 2) / 2

            def rate(y: np.ndarray, d: Any = drift, g: Any = half, x: Any = nodes) -> np.ndarray:
                return np.asarray(
                    np.einsum("nij,jn->in", d, y) - np.einsum("nij,jn->in", g, field(y, x))
                )

            inner = np.repeat(z[:, None], len(c), axis=1)
            for _ in range(80):
                new = z[:, None] + (s - t) * (rate(inner) @ a.T)
                change, inner = abs(new - inner).max(), new
                if change < 16 * mpmath.mp.eps * abs(inner).max():
                    break
            z = z + (s - t) * (rate(inner) @ b)
        found[s], t = z, s
    return found


class Generator:
    """``d_tau + L`` on polynomials in (z, tau), F and G G^T by their Taylor series at t_0."""

    def __init__(self, field: PolynomialField, process: Any, eta: float) -> None:
        m, t0, square = process.m, field.t0, mpmath.mpf(eta) ** 2
        F = _taylor(lambda t: process.F(t), t0, m)
        D = _taylor(lambda t: process.G(t) @ process.G(t).T, t0, m)
        z, self.drift = variables(m), []
        for i in range(m):
            total = Polynomial({})
            for j in range(m):
                pull = D[i][j] * field.polynomials[j] * ((1 + square) / 2)
                total = total + F[i][j] * z[j] * -1 + pull
            self.drift.append(total)
        self.diffusion = [[D[i][j] * (square / 2) for j in range(m)] for i in range(m)]

    def __call__(self, phi: Polynomial) -> Polynomial:
        """(d_tau + L) phi."""
        m = len(self.drift)
        total = phi.derivative(m)
        for i in range(m):
            first = phi.derivative(i)
            total = total + self.drift[i] * first
            for j in range(m):
                total = total + self.diffusion[i][j] * first.derivative(j)
        return total

    def expansion(self, phi: Polynomial, z: Any) -> list[Any]:
        """Coefficients of h^0 to h^4 of E phi(z(t_0 - h)) from the state z at t_0."""
        at = [*z, mpmath.mpf(0)]
        terms, factorial = [phi(at)], 1
        for k in range(1, ORDER + 1):
            phi, factorial = self(phi), factorial * k
            terms.append(phi(at) / factorial)
        return terms


def hermite(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes and weights for N(0, 1) (Golub & Welsch 1969)."""
    return _hermite(nodes, mpmath.mp.prec)


@functools.lru_cache(maxsize=8)
def _hermite(nodes: int, prec: int) -> tuple[np.ndarray, np.ndarray]:
    matrix = mpmath.zeros(nodes)
    for i in range(1, nodes):
        matrix[i, i - 1] = matrix[i - 1, i] = mpmath.sqrt(i)
    values, vectors = mpmath.eigsy(matrix)
    weights = [vectors[0, i] ** 2 for i in range(nodes)]
    return np.array(list(values), dtype=object), np.array(weights, dtype=object)


@functools.lru_cache(maxsize=4)
def _collocation(n: int, prec: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, weights and matrix of the Gauss method."""
    c, b = gauss_legendre(n, mpmath.mpf(1))

    def lagrange(j: int, x: Any) -> Any:
        rest = [k for k in range(n) if k != j]
        return mpmath.fprod((x - c[k]) / (c[j] - c[k]) for k in rest)

    a = [[ci * mpmath.fdot(b, [lagrange(j, ci * x) for x in c]) for j in range(n)] for ci in c]
    return np.array(c), np.array(b), np.array(a)


def _taylor(matrix: Callable[[Any], Any], t0: Any, m: int) -> list[list[Polynomial]]:
    """Entries of matrix(t_0 - tau) as polynomials in tau."""

    def series(i: int, j: int) -> Polynomial:
        terms = mpmath.taylor(lambda tau: matrix(t0 - tau)[i, j], 0, ORDER)
        return Polynomial({(*(0,) * m, k): c for k, c in enumerate(terms)})

    return [[series(i, j) for j in range(m)] for i in range(m)]
