"""The rotation that turns the lower Cholesky factor into the rotation-free factor of gDDIM.

R(t) solves dR/dt = (F + G G^T Sigma^-1 / 2) R with R R^T = Sigma: it moves with the probability
flow of a single data point, so that R^-1 (z - mean) is constant along that flow (Zhang, Tao & Chen,
"gDDIM", ICLR 2023). With the lower factor L, R = L O. Inserting this, O^-1 O' is skew and
L^-1 L' lower triangular, so the entry above the diagonal of

    X = L^-1 F L + L^-1 G G^T L^-T / 2

is all that is left: O = [[cos, -sin], [sin, cos]](theta) and d theta / dt = -X_12. In the clock b,

    X_12 = m_inv l_2 / (2 l_1) - gamma l_21 / (2 l_1^2 l_2).

The equation fixes R up to a constant rotation; here R = L at ``t_max``, where Sigma is nearly
diagonal and all factors nearly agree. (At b = 0 the angle diverges like log b where the initial
momentum is known and only one component is driven: no rule could start there.)
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import kind_of, ops
from sgmsolve.phi import integrate
from sgmsolve.process._oscillator import Oscillator

_NODES = np.polynomial.chebyshev.chebpts1(24)
_FIT = np.linalg.inv(np.polynomial.chebyshev.chebvander(_NODES, 23))
_FLOOR = 1e-24
"""Below this fraction of the last b the angle counts as constant; it then moves by about 1e-12."""


class Angle:
    """theta(b) with theta = 0 at ``last``, b and ``last`` in the oscillator's clock."""

    def __init__(self, oscillator: Oscillator, start: float, last: float) -> None:
        self.oscillator, self.start, self.last = oscillator, start, last

    def slope(self, b: Any, start: Any, span: float | None = None) -> Any:
        """X_12 at b."""
        xp = ops(b)
        k = self.oscillator.constants(xp)
        xx, xm, _, det = self.oscillator.moments(b, start, span)
        root = xp.sqrt(det)
        return (k.m_inv * root - k.gamma * xm / root) / (2 * xx)

    def __call__(self, b: Any, last: Any, start: Any) -> Any:
        """theta(b) = int_b^last X_12; ``last`` and ``start`` in the number type of b."""
        xp = ops(b)
        if xp.exact:
            return self._exactly(b, last, start)
        if xp.host:
            return float(self._at(np.asarray(max(b, self.last * _FLOOR)), np.asarray))
        place = {"device": b.device} if kind_of(b) == "torch" else {}
        floor = xp.full_like(b, self.last * _FLOOR)
        inside = xp.where(b > floor, b, floor)
        return self._at(inside, lambda values: xp.asarray(values, dtype=b.dtype, **place))

    def _at(self, b: Any, constant: Callable[[np.ndarray], Any]) -> Any:
        xp = ops(b).xp
        edges, coefficients = self._table
        y = xp.log(b)
        inner = constant(edges[1:-1])
        index = xp.sum(xp.asarray(y[..., None] >= inner, dtype=xp.int32), axis=-1)
        low = constant(edges[:-1])[index]
        high = constant(edges[1:])[index]
        u = (2 * y - low - high) / (high - low)
        rows = constant(coefficients)[index]
        # Clenshaw's recursion.
        one = two = 0 * u
        for j in range(coefficients.shape[1] - 1, 0, -1):
            one, two = rows[..., j] + 2 * u * one - two, one
        return rows[..., 0] + u * one - two

    @functools.cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        """Panels in y = log b: edges (n + 1,) and Chebyshev coefficients of theta (n, degree)."""
        basis = np.polynomial.chebyshev
        first = math.log(self.last * _FLOOR)
        count = math.ceil((math.log(self.last) - first) / math.log(2))
        todo = list(itertools.pairwise(np.linspace(first, math.log(self.last), count + 1).tolist()))
        edges, rows = [math.log(self.last)], []
        value = 0.0
        while todo:
            low, high = todo.pop()
            rate = self._fit(low, high)
            # theta is at least as smooth as its slope; the width keeps a bad case from hanging.
            if np.abs(rate[-3:]).max() > 1e-15 * np.abs(rate).max() and high - low > 1e-4:
                todo += [(low, (low + high) / 2), ((low + high) / 2, high)]
                continue
            angle = -basis.chebint(rate, scl=(high - low) / 2)
            angle[0] += value - basis.chebval(1.0, angle)
            value = float(basis.chebval(-1.0, angle))
            edges.append(low)
            rows.append(angle)
        return np.array(edges[::-1]), np.array(rows[::-1])

    def _fit(self, low: float, high: float) -> np.ndarray:
        """Chebyshev coefficients of d theta / dy on one panel."""
        b = np.exp((low + high) / 2 + (high - low) / 2 * _NODES)
        return np.asarray(_FIT @ (self.slope(b, self.start, math.exp(high)) * b))

    def _exactly(self, b: Any, last: Any, start: Any) -> Any:
        """Gauss-Legendre in log b on the table's panels: what 24 nodes resolve to 1e-15."""
        import mpmath

        points = 12 + mpmath.mp.dps
        low, high = mpmath.log(b), mpmath.log(last)
        inner = [mpmath.mpf(e) for e in self._table[0].tolist() if low < e < high - 1e-9]

        def rate(y: Any) -> Any:
            return mpmath.exp(y) * self.slope(mpmath.exp(y), start)

        pairs = itertools.pairwise([low, *inner, high])
        return sum((integrate(rate, a, c, n=points) for a, c in pairs), mpmath.mpf(0))
