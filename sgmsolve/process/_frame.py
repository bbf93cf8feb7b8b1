"""The rotation-free factor of any augmented process, beside its lower Cholesky factor.

R = L O solves dR/dt = (F + G G^T Sigma^-1 / 2) R (gDDIM, see ``_rotation``) if and only if

    O' = Omega O,   Omega = skew matrix with the entries above the diagonal of
    X = L^-1 F L + L^-1 G G^T L^-T / 2,

because L^-1 L' is lower triangular. It is integrated in log t from O(t_max) = I downwards: t Omega
stays bounded as t -> 0, however many integrations lie between the noise and a component.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.process._collocation import invert_triangular, panel_flow, setting

Matrix = Callable[[Any], np.ndarray]


class Frame:
    """O(t) at host times, floats or mpmath numbers; panels already walked are kept."""

    def __init__(self, lower: Matrix, F: Matrix, G: Matrix, t_max: float, density: float) -> None:
        self.lower, self.F, self.G = lower, F, G
        self.t_max, self.density = t_max, density
        self.walked: dict[Any, list[tuple[Any, np.ndarray]]] = {}

    def __call__(self, t: Any) -> np.ndarray:
        """O(t), (m, m), 0 < t <= t_max."""
        xp = ops(t)
        walked = self.walked.setdefault(_precision(t), [])
        if not walked:
            top = xp.number(self.t_max)
            walked.append((top, np.eye(self.F(top).shape[0], dtype=int) + 0 * self.F(top)))
        k = 0
        while True:
            low = self._next(walked[k][0])
            if low <= t:
                return self._step(*walked[k], t)
            if k + 1 == len(walked):
                walked.append((low, self._step(*walked[k], low)))
            k += 1

    def _next(self, t: Any) -> Any:
        """End of the panel that starts at t: half of it, or what F allows if that is less."""
        return max(t / 2, t - 1 / self.density)

    def _step(self, start: Any, frame: np.ndarray, end: Any) -> np.ndarray:
        if start == end:
            return frame
        xp = ops(end)
        first = xp.log(start)
        _, whole = panel_flow(self._rate, first, xp.log(end) - first, setting(end), len(frame))
        return whole @ frame

    def _rate(self, y: Any) -> np.ndarray:
        """T Omega(t) at t = e^y."""
        t = ops(y).exp(y)
        factor = self.lower(t)
        inverse = invert_triangular(factor, lower=True)
        noise = inverse @ self.G(t)
        above = np.triu(inverse @ self.F(t) @ factor + noise @ noise.T / 2, 1)
        return np.asarray(t * (above - above.T))


def _precision(t: Any) -> int:
    if not ops(t).exact:
        return 53
    import mpmath

    return int(mpmath.mp.prec)
