"""The damped oscillator behind CLD and PSLD, in its own clock b = int_0^t beta.

    dz = A z db + sqrt(D) dw,   A = 1/2 [[-gamma, m_inv], [-1, -nu]],   D = diag(gamma, nu / m_inv)

    exp(b A) = E = e^{tau b} (cosh(delta b) I + sinh(delta b)/delta N),   N = A - tau I,
    tau = -(gamma + nu)/4,  d = nu - gamma,  delta^2 = d^2/16 - m_inv/4  (negative: underdamped).

Nothing is subtracted that could cancel. With E = exp(r A), det E = e^{2 tau r}, and v the variance
of the momentum at b = 0, the covariance at b is an integral of squares,

    xx = int gamma E11^2 + D2 E12^2 dr,  mm = int gamma E21^2 + D2 E22^2 dr  (+ v E12^2, v E22^2),

and so is its determinant, by Andreief's identity for the determinant of a Gram matrix (the Cauchy-
Binet formula for integrals) and det[E(s) p, E(s+r) q] = e^{2 tau s} det[p, E(r) q]:

    det = int W(b-r) (gamma^2 E21^2 + D2^2 E12^2 + gamma D2 (E11^2 + E22^2)) dr
        + v int e^{4 tau (b-r)} (gamma E22^2 + D2 E12^2) dr,   W(y) = (e^{4 tau y} - 1) / (4 tau).

All integrands are positive, so Gauss-Legendre sums of them keep full relative precision down to
b = 0; the triangular factors follow from (xx, xm, mm, det) by quotients and square roots only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import REAL, kind_of, ops
from sgmsolve.phi import gauss_legendre

_WIDTH = 16.0
"""Largest exponent on one panel: 20 points then integrate exp to 1e-20."""


class Moments(NamedTuple):
    """A symmetric 2 x 2 matrix and its determinant, which is known better than its entries tell."""

    xx: Any
    xm: Any
    mm: Any
    det: Any


class _Constants(NamedTuple):
    gamma: Any
    nu: Any
    m_inv: Any
    tau: Any
    d: Any
    delta2: Any
    delta: Any
    slow: Any  # tau + delta, from the product of both eigenvalues where they are real


@dataclass(frozen=True)
class Oscillator:
    """Flow and moments of the oscillator; b is a float, an mpmath number or an array."""

    gamma: float
    nu: float
    m_inv: float

    @functools.cached_property
    def _floats(self) -> _Constants:
        return self._constants_in(REAL)

    def _constants_in(self, xp: Any) -> _Constants:
        gamma, nu, m_inv = (xp.number(v) for v in (self.gamma, self.nu, self.m_inv))
        tau, d = -(gamma + nu) / 4, nu - gamma
        delta2 = d * d / 16 - m_inv / 4
        delta = xp.sqrt(abs(delta2))
        slow = (gamma * nu + m_inv) / 4 / (tau - delta)
        return _Constants(gamma, nu, m_inv, tau, d, delta2, delta, slow)

    def constants(self, xp: Any) -> _Constants:
        """The constants in the number type of ``xp``."""
        return self._constants_in(xp) if xp.exact else self._floats

    @property
    def rate(self) -> float:
        """Bound of every exponent and frequency of the integrands, per unit of b."""
        c = self._floats
        return 4 * abs(c.tau) + 2 * c.delta

    def entries(self, b: Any) -> tuple[Any, Any, Any, Any]:
        """(E11, E12, E21, E22) of exp(b A), b of either sign."""
        xp = ops(b)
        k = self.constants(xp)
        if k.delta2 > 0:
            slow = xp.exp(k.slow * b)
            gap = xp.expm1(-2 * k.delta * b)
            c, s = slow * (1 + gap / 2), -slow * gap / (2 * k.delta)
        elif k.delta2 < 0:
            decay = xp.exp(k.tau * b)
            c, s = decay * xp.cos(k.delta * b), decay * xp.sin(k.delta * b) / k.delta
        else:
            c = xp.exp(k.tau * b)
            s = c * b
        turn = s * k.d / 4
        return c + turn, s * k.m_inv / 2, -s / 2, c - turn

    def flow(self, b: Any) -> Any:
        """exp(b A), shape ``b.shape + (2, 2)``."""
        e11, e12, e21, e22 = self.entries(b)
        return ops(b).matrix([[e11, e12], [e21, e22]])

    def moments(self, b: Any, start: Any = 0.0, span: float | None = None) -> Moments:
        """Covariance at b >= 0 from diag(0, ``start``) at 0.

        ``span`` bounds b for arrays, whose number of quadrature points must not depend on values.
        """
        xp = ops(b)
        k = self.constants(xp)
        push = k.nu / k.m_inv  # D2 = M nu
        v = start

        def squares(r: Any, rest: Any) -> tuple[Any, ...]:
            rp = ops(r)
            e11, e12, e21, e22 = self.entries(r)
            g, p = k.gamma, push
            past = rp.expm1(4 * k.tau * rest)
            area = g * g * e21 * e21 + p * p * e12 * e12 + g * p * (e11 * e11 + e22 * e22)
            det = past / (4 * k.tau) * area
            det = det + v * (1 + past) * (g * e22 * e22 + p * e12 * e12)
            cross = g * e11 * e21 + p * e12 * e22
            return g * e11 * e11 + p * e12 * e12, cross, g * e21 * e21 + p * e22 * e22, det

        xx, xm, mm, det = self._integrate(b, squares, span)
        _, e12, _, e22 = self.entries(b)
        return Moments(xx + v * e12 * e12, xm + v * e12 * e22, mm + v * e22 * e22, det)

    def _integrate(
        self, b: Any, fn: Callable[[Any, Any], tuple[Any, ...]], span: float | None
    ) -> list[Any]:
        """``int_0^b fn(r, b - r) dr`` by composite Gauss-Legendre."""
        xp = ops(b)
        reach = float(b) if xp.host else float(span or 0.0)
        panels = max(1, math.ceil(self.rate * reach / _WIDTH))
        if xp.exact:
            x, w = _exact_rule(panels, b)
            values = [fn(b * u, b * v) for u, v in zip(x, reversed(x), strict=True)]
            columns = zip(*values, strict=True)
            return [b * sum(a * c for a, c in zip(w, col, strict=True)) for col in columns]
        nodes, weights = _float_rule(panels)
        if xp.host:
            found = fn(b * nodes, b * nodes[::-1])
            return [float(b * (weights @ value)) for value in found]
        place = {"device": b.device} if kind_of(b) == "torch" else {}
        x = xp.asarray(nodes, dtype=b.dtype, **place)
        y = xp.asarray(nodes[::-1].copy(), dtype=b.dtype, **place)
        w = xp.asarray(weights, dtype=b.dtype, **place)
        found = fn(b[..., None] * x, b[..., None] * y)
        return [b * xp.sum(w * value, axis=-1) for value in found]


@functools.lru_cache(maxsize=64)
def _float_rule(panels: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = gauss_legendre(20)
    starts = np.arange(panels)[:, None]
    return ((starts + np.array(nodes)) / panels).ravel(), np.tile(weights, panels) / panels


def _exact_rule(panels: int, like: Any) -> tuple[list[Any], list[Any]]:
    import mpmath

    # On a panel of exponent 16 this is 1e-51 at 50 digits; the error falls faster than the digits.
    nodes, weights = gauss_legendre(14 + mpmath.mp.dps // 2, like)
    x = [(p + u) / mpmath.mpf(panels) for p in range(panels) for u in nodes]
    return x, [w / mpmath.mpf(panels) for _ in range(panels) for w in weights]
