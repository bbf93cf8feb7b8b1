"""Coefficients of conjugate (exponential) integrators, for all steps of a grid at once.

A process in forward time, with a prediction e of some kind (score = a z + b e):

    dz/dt = F z - w G G^T score = (F - w G G^T a) z - w G G^T b e.

With z_hat = A_t z, A' = A K (K on the right, since K need not commute with itself), and

    K = B - F + w G G^T a,

z_hat obeys d z_hat/dt = A B z - w A G G^T b e. What a step from t to s < t needs is pulled back to
z at s, because A_t itself overflows: P(r) = A_s^-1 A_r, which obeys dP/dr = P K, P(s) = I, and

    E_j = w int_s^t P G G^T b l_j dr,      V V^T = eta^2 int_s^t P G G^T P^T dr,

l_j the Lagrange polynomials of the times at which predictions are known. P is computed by Gauss
collocation in u = sqrt(r): the factors of the noise grow like r^(-1/2) at r = 0.

Pandey, Rudolph & Mandt, "Efficient Integrators for Diffusion Generative Models" (ICLR 2024,
arXiv:2310.07894), Theorem 1, whose closed form A = exp(int K) holds for commuting K only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.phi import gauss_collocation

Matrix = Callable[[Any], Any]
"""Forward times, an array (n,) or one mpmath number, to matrices (n, m, m) or (m, m)."""

POINTS = 16
WIDTH, MOST = 3.0, 256
"""Collocation points on a panel, the largest norm of int K on one (then good to rounding), and the
largest number of panels a step."""


@dataclass(frozen=True)
class Linear:
    """dz/dt = (F - w G G^T a) z - w G G^T b e, or a part of it: matrices at forward times.

    ``drift`` F, ``gram`` w G G^T, ``kind`` a and b as ``process.conversion(kind, "score", t)``
    gives them, ``B`` the matrix function of the conjugation (None: 0).
    """

    drift: Matrix
    gram: Matrix
    kind: Callable[[Any], tuple[Any, Any]]
    B: Matrix | None = None

    def sample(self, r: Any) -> tuple[Any, Any]:
        """K and w G G^T b."""
        a, b = self.kind(r)
        gram = self.gram(r)
        K = gram @ a - self.drift(r)
        return (K if self.B is None else K + self.B(r)), gram @ b


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of n steps with Q quadrature nodes each.

    ``P`` (n, m, m) is P(t); ``nodes`` (n, Q) forward times with ``weights`` (n, Q); ``flow``
    (n, Q, m, m) is P at the nodes, ``push`` (n, Q, m, p) is w P G G^T b times the weight.
    """

    P: np.ndarray
    nodes: np.ndarray
    push: np.ndarray
    flow: np.ndarray
    weights: np.ndarray

    def kick(self, i: int, known: Sequence[Any]) -> list[Any]:
        """E_j of step i for predictions at the ``known`` times, (m, p) each."""
        r, push = self.nodes[i], self.push[i]
        return [np.tensordot(p, push, axes=1) for p in lagrange(known, r)]

    def spread(self, i: int, known: Sequence[Any]) -> list[Any]:
        """int_s^t l_j dr of step i: weights of an Adams-Bashforth step on those times."""
        return [self.weights[i] @ p for p in lagrange(known, self.nodes[i])]

    def columns(self, i: int, noise: Matrix) -> np.ndarray:
        """V of step i, (m, Q m), for the diffusion matrix ``noise`` at array times."""
        driven = self.flow[i] @ _stack(noise, self.nodes[i])
        roots = self.weights[i] ** (0 * self.weights[i] + 0.5)
        scaled = roots[:, None, None] * driven
        return np.asarray(scaled.transpose(1, 0, 2).reshape(driven.shape[1], -1))


def lagrange(known: Sequence[Any], r: np.ndarray) -> list[np.ndarray]:
    """The Lagrange polynomials of the times ``known``, each at the times r."""
    polynomials = []
    for j, own in enumerate(known):
        value = 0 * r + 1
        for i, other in enumerate(known):
            if i != j:
                value = value * ((r - other) / (own - other))
        polynomials.append(value)
    return polynomials


def coefficients(linear: Linear, t: Sequence[Any], s: Sequence[Any]) -> Coefficients:
    """Coefficients of the steps from t_i to s_i < t_i; forward times, floats or mpmath numbers."""
    exact = is_multiprecision(t[0])
    like = t[0] if exact else 0.0
    rule = gauss_collocation(POINTS + (_digits() // 2 if exact else 0), like)
    ends = [np.array(v, dtype=object if exact else np.float64) for v in (t, s)]
    panels = _panels(linear, *ends)
    top, low = (v ** (0 * like + 0.5) for v in ends)
    c, b, _ = rule
    width = (top - low) / panels
    P: Any = None
    found = []
    for k in range(panels):
        u = (low + k * width)[:, None] + width[:, None] * c
        r, slope = u * u, 2 * u * width[:, None]
        K, push = _sampled(linear, r)
        inner, whole = _panel(K * slope[..., None, None], rule)
        flow = inner if P is None else P[:, None] @ inner
        weights = slope * b
        found.append((r, weights[..., None, None] * (flow @ push), flow, weights))
        P = whole if P is None else P @ whole
    return Coefficients(P, *(np.concatenate(part, axis=1) for part in zip(*found, strict=True)))


def _panels(linear: Linear, t: np.ndarray, s: np.ndarray) -> int:
    """As many as bring int |K| under WIDTH on every one of them.

    |K| is the spectral radius: with several integrations between noise and position the entries
    of K differ by many orders of magnitude, and its norm says nothing.
    """
    middle = (t + s) / 2
    K, _ = _sampled(linear, np.stack([t, middle, s + (t - s) / 100], axis=1))
    rates = np.abs(np.linalg.eigvals(K.astype(np.float64))).max(axis=(1, 2))
    size = rates * (t - s).astype(np.float64)
    return min(MOST, max(1, math.ceil(float(max(size)) / WIDTH)))


def _panel(K: np.ndarray, rule: Any) -> tuple[np.ndarray, np.ndarray]:
    """Y' = Y K, Y(0) = I, on [0, 1] by collocation: Y at the nodes (n, q, m, m) and at the end."""
    _, b, A = rule
    (n, q, m), eye = K.shape[:3], np.eye(K.shape[-1], dtype=int)
    if K.dtype == object:  # exact numbers: Picard iteration, whose steps are short
        Y = eye + 0 * K
        for _ in range(400):
            new = eye + np.einsum("ij,njab->niab", A, Y @ K)
            change = abs(new - Y).max()
            Y = new
            if change <= 10 ** (2 - _digits()):
                break
    else:
        # Row vectors y_i = e + sum_j A_ij y_j K_j, one linear system of q m unknowns a step.
        system = np.einsum("ij,njba->niajb", A, K).reshape(n, q * m, q * m)
        ones = np.broadcast_to(np.tile(np.eye(m), (q, 1)), (n, q * m, m))
        Y = np.linalg.solve(np.eye(q * m) - system, ones).reshape(n, q, m, m).swapaxes(2, 3)
    return Y, eye + np.einsum("j,njab->nab", b, Y @ K)


def _sampled(linear: Linear, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """K and push at times (n, q)."""
    if r.dtype == object:
        pairs = [linear.sample(x) for x in r.ravel()]
        parts = [np.array([pair[i] for pair in pairs]) for i in (0, 1)]
    else:
        parts = [np.asarray(part) for part in linear.sample(r.ravel())]
    return parts[0].reshape(*r.shape, *parts[0].shape[1:]), parts[1].reshape(
        *r.shape, *parts[1].shape[1:]
    )


def _stack(fn: Matrix, r: np.ndarray) -> np.ndarray:
    if r.dtype == object:
        return np.array([fn(x) for x in r])
    return np.asarray(fn(r))


def _digits() -> int:
    import mpmath

    return int(mpmath.mp.dps)
