"""The probability flow of samples that start at noise levels of their own, on one clock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.adaptive._rows import on_device
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.mcmc.view import View
from sgmsolve.model.base import State, linear_combination

LAST = 1e-5
"""Where the clock stops: score_sde's t_eps."""


class LevelFlow:
    """dx/du = sigma'(u) E[eps | x], sigma(u) = s_min (a / s_min)^u, for u from 1 down to ``LAST``.

    ``a`` is a sample's own level: its log(a / s_min) travels as a second component that stays what
    it is, so that samples may leave the batch. This is dx/dt = -g^2/2 score of VE with sigma_max =
    a, the equation that the released code hands to RK45.
    """

    direction, noise, m = -1, "none", 2

    def __init__(self, view: View, s_min: float) -> None:
        self.view, self.s_min = view, s_min

    def drift(self, z: State, t: Any) -> State:
        """Rate per unit of -u."""
        x, rate = z
        sigma = self.s_min * array_namespace(x).exp(rate[:, 0] * t)
        speed = -rate[:, 0] * sigma
        return linear_combination([(speed, self.view((x,), sigma)[0])]), 0.0 * rate

    def check_time(self, t: Any) -> None:
        """Any time will do."""


def rk45(view: View, x: Any, sigma: np.ndarray, s_min: float, tolerance: float) -> AdaptiveSolution:
    """Dormand and Prince's pair with steps of its own for every sample; z[0] is the result.

    The error of x alone is held against the tolerance: the second component has none, so that the
    root mean square over d + 1 entries is corrected for.
    Warns: IncompleteWarning for samples that did not reach the end.
    """
    rate = on_device(np.log(np.maximum(sigma, s_min * (1 + 1e-9)) / s_min)[:, None], x)
    if kind_of(x) != "numpy" or rate.dtype != x.dtype:
        rate = array_namespace(x).astype(rate, x.dtype)
    dim = math.prod(x.shape[1:])
    scaled = tolerance * math.sqrt(dim / (dim + 1))
    return solve_adaptive(
        *("dopri5", LevelFlow(view, s_min), (x, rate), 1.0, LAST),
        rtol=scaled,
        atol=scaled,
        jit=False,  # each flow is an object of its own, for which jax would compile anew
    )
