"""Coefficients of steps that integrate a Gaussian fit exactly, one for each variance of its modes.

For a mode of variance v let c = alpha^2 v + sigma^2, C = c/alpha^2 = v + rho^2 and r = D - (alpha
v/c) z, the residual of the data prediction D of the centred state z. In l = lam = log(alpha/sigma)
the reverse family of stochasticity eta has, with p = 1 + eta^2 and y = z/alpha,

    y_s = (C_s/C_t)^(p/2) y_t + p int_t^s (C_s/C)^(p/2) r dl + sqrt(C_s (1 - (C_s/C_t)^(eta^2))) xi.

What is extrapolated is R = r/kappa, kappa = rho/sqrt(C): with v = s^2 this is s times the output of
EDM's network (Karras et al. 2022, table 1: c_out = s kappa), or -s times the v-prediction of the
mode scaled to variance 1. v -> 0 extrapolates data predictions, v -> infinity noise predictions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision, ops
from sgmsolve.phi import gauss_legendre, interpolatory_weights

POINTS = 12
"""A panel of length 1: poles lie pi/2 beside the path, so the rule is off by about 6.4^-24."""


class ModeWeights:
    """Coefficients between forward times t and s < t; numbers, or arrays shaped like the variances.

    process: a scalar process; variances: v, a float or (Q,) float64, data units squared, at least
    0; eta: stochasticity. Times are floats, or mpmath numbers with a single variance.
    """

    def __init__(self, process: Any, variances: Any, eta: Any = 0.0) -> None:
        self.process, self.v, self.eta = process, variances, eta
        self.rate = 1 + eta**2

    def spread(self, t: Any) -> Any:
        """The variance c = alpha^2 v + sigma^2 of the modes at time t."""
        return self.process.alpha(t) ** 2 * self.v + self.process.sigma(t) ** 2

    def gain(self, t: Any) -> Any:
        """Data prediction of the fit per centred state, alpha v/c."""
        return self.process.alpha(t) * self.v / self.spread(t)

    def scale(self, t: Any) -> Any:
        """Unit of the residual, kappa = sigma/sqrt(c) = rho/sqrt(C)."""
        return self.process.sigma(t) / root(self.spread(t))

    def move(self, t: Any, s: Any) -> Any:
        """Factor of the state: alpha_s/alpha_t (C_s/C_t)^(p/2)."""
        ratio = self.spread(s) / self.spread(t)
        if not self.eta:
            return root(ratio)
        alphas = self.process.alpha_ratio(s, t)
        return root(ratio) * (ratio * alphas**2) ** (self.eta**2 / 2)

    def noise(self, t: Any, s: Any) -> Any:
        """Standard deviation sqrt(c_s (1 - (C_s/C_t)^(eta^2))), without cancellation."""
        c_t, c_s = self.spread(t), self.spread(s)
        gap = self.process.transition_variance(s, t) / c_t  # 1 - C_s/C_t
        log = _log(gap, c_s / c_t * self.process.alpha_ratio(s, t) ** 2)
        return root(-c_s * ops(log).expm1(self.eta**2 * log))

    def leave(self, t: Any, s: Any) -> tuple[Any, Any]:
        """Factor of the state and weight of the centred prediction in a step from alpha(t) = 0.

        The fit predicts its mean there and kappa is 1, so the prediction is R itself. Held, it has
        the weight alpha_s sqrt(C_s) int drho/C over rho > rho_s, sqrt(c_s/v) atan(sqrt(v)/rho_s).
        """
        ratio, c_s = root(self.v) / self.process.rho(s), self.spread(s)
        weight = self.process.alpha(s) * root(c_s) / self.process.sigma(s) * _atan_ratio(ratio)
        return root(c_s / self.spread(t)), weight

    def moments(self, t: Any, s: Any, n: int) -> list[Any]:
        """alpha_s p int (C_s/C)^(p/2) kappa theta^i dl over the step, theta in [0, 1], i < n."""
        p, lam = self.process, self.process.lam(t)
        h = p.lam(s) - lam
        rho_s = p.rho(s)
        end = self.v + rho_s * rho_s
        exp, half = ops(h).exp, self.rate / 2
        total: list[Any] = [0 * end] * n
        for theta, weight in _rule(h, half):
            rho = exp(-(lam + theta * h))
            all_c = self.v + rho * rho
            value = weight * rho * (end / all_c) ** half / root(all_c)
            for i in range(n):
                total[i] = total[i] + value
                value = theta * value
        factor = p.alpha(s) * self.rate * h
        return [factor * m for m in total]

    def weights(self, times: Sequence[Any], t: Any, s: Any, moments: Sequence[Any]) -> list[Any]:
        """Weights of the residuals r at ``times`` in z_s, the polynomial in lam through the R."""
        lam, h = self.process.lam(t), self.process.lam(s) - self.process.lam(t)
        nodes = [(self.process.lam(x) - lam) / h for x in times]
        raw = interpolatory_weights(nodes, list(moments[: len(nodes)]))
        return [w / self.scale(x) for w, x in zip(raw, times, strict=True)]


def root(x: Any) -> Any:
    return np.sqrt(x) if isinstance(x, np.ndarray) else ops(x).sqrt(x)


def _atan_ratio(x: Any) -> Any:
    """atan(x)/x, 1 at x = 0."""
    if isinstance(x, np.ndarray):
        return np.arctan(x) / np.where(x > 0, x, 1.0) + (x == 0)
    return ops(x).atan(x) / x if x else 1.0


def _log(gap: Any, ratio: Any) -> Any:
    """log(ratio) for ratio = 1 - gap, whichever of the two holds more digits."""
    if isinstance(gap, np.ndarray):
        return np.where(gap < 0.5, np.log1p(-np.minimum(gap, 0.5)), np.log(ratio))
    return ops(gap).log1p(-gap) if gap < 0.5 else ops(gap).log(ratio)


def _rule(h: Any, half: Any) -> Sequence[tuple[Any, Any]]:
    """Gauss-Legendre (theta, weight) on [0, 1], panels of at most 1 in lam, less for large eta."""
    panels = max(1, math.ceil(float(h) * max(1.0, float(half))))
    if not is_multiprecision(h):
        return _float_rule(panels)
    import mpmath

    return _composed(panels, int(mpmath.mp.dps) + 2, h)


@functools.lru_cache(maxsize=64)
def _float_rule(panels: int) -> Sequence[tuple[Any, Any]]:
    return _composed(panels, POINTS, 0.0)


def _composed(panels: int, points: int, like: Any) -> Sequence[tuple[Any, Any]]:
    nodes, weights = gauss_legendre(points, like)
    rule = list(zip(nodes, weights, strict=True))
    return [((i + u) / panels, w / panels) for i in range(panels) for u, w in rule]
