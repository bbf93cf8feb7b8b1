"""Variance-exploding process: x(t) = x0 + sigma(t) eps, sigma geometric in t.

Song et al., "Score-Based Generative Modeling through SDEs" (ICLR 2021), eqs. 9 and 30.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

from sgmsolve._array import constant_like, ops
from sgmsolve.errors import ProcessError
from sgmsolve.process._checks import check_times, positive
from sgmsolve.process.base import ScalarProcess


@final
@dataclass(frozen=True)
class VE(ScalarProcess):
    """dx = sigma(t) sqrt(2 log(r)) dw, sigma(t) = sigma_min r^t, r = sigma_max / sigma_min.

    Forward time runs over [0, t_max], t_max <= 1. x(0) given x0 has the covariance sigma_min^2 I,
    so that the marginal variance is sigma(t)^2 at every t. Components ``("x",)``, m = 1.

    Raises: ProcessError unless 0 < sigma_min < sigma_max and 0 <= t_min < t_max <= 1.
    Reference: Song et al. 2021, eq. 30 (t_min = 1e-5 is score_sde's default).
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_max: float = 1.0
    t_min: float = 1e-5
    _logs: tuple[float, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("sigma_min", "sigma_max"):
            object.__setattr__(self, name, positive(name, getattr(self, name), "VE"))
        if not self.sigma_min < self.sigma_max:
            msg = (
                f"sigma_min = {self.sigma_min:g} must be smaller than sigma_max = "
                f"{self.sigma_max:g}; swap them?"
            )
            raise ProcessError(msg)
        check_times(self, self.t_min, self.t_max, upper=1.0)
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        object.__setattr__(self, "_logs", (low, high - low))

    @property
    def initial_variance(self) -> float:
        """Var[x(0) | x0] = sigma_min^2."""
        return self.sigma_min**2

    def _log(self, xp: Any) -> tuple[Any, Any]:
        """log(sigma_min) and log(sigma_max / sigma_min), in mpmath for mpmath times."""
        if not xp.exact:
            return self._logs
        low, high = xp.log(xp.number(self.sigma_min)), xp.log(xp.number(self.sigma_max))
        return low, high - low

    def alpha(self, t: Any) -> Any:
        """One."""
        return constant_like(1.0, t)

    def sigma(self, t: Any) -> Any:
        """sigma_min (sigma_max / sigma_min)^t."""
        xp = ops(t)
        return self.sigma_min * xp.exp(t * self._log(xp)[1])

    def f(self, t: Any) -> Any:
        """Zero."""
        return constant_like(0.0, t)

    def g2(self, t: Any) -> Any:
        """Rate of the variance, d sigma^2 / dt = 2 sigma^2 log(sigma_max / sigma_min)."""
        return 2 * self._log(ops(t))[1] * self.sigma(t) ** 2

    def lam(self, t: Any) -> Any:
        """-log sigma(t), linear in t."""
        low, rate = self._log(ops(t))
        return -(low + t * rate)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """sigma(end)^2 (1 - r^(-2 (end - start)))."""
        gap = end - start
        xp = ops(gap)
        return -(self.sigma(end) ** 2) * xp.expm1(-2 * self._log(xp)[1] * gap)

    def time_of_log_snr(self, log_snr: Any) -> Any:
        """(-log_snr / 2 - log sigma_min) / log r; negative above the log-SNR of t = 0."""
        low, rate = self._log(ops(log_snr))
        return (-log_snr / 2 - low) / rate

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        names = ("sigma_min", "sigma_max", "t_max", "t_min")
        return {"process": "ve", **{name: getattr(self, name) for name in names}}
