"""Sub-VP process: the drift of VP with less noise.

Song et al., "Score-Based Generative Modeling through SDEs" (ICLR 2021), eqs. 13 and 29.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from sgmsolve._array import ops
from sgmsolve.process._checks import check_times, positive
from sgmsolve.process._schedules import Linear
from sgmsolve.process.base import ScalarProcess


@final
@dataclass(frozen=True, repr=False)
class SubVP(ScalarProcess):
    """dx = -beta/2 x dt + sqrt(beta (1 - exp(-2 B))) dw, beta linear, B = int_0^t beta.

    alpha = exp(-B/2) and sigma = 1 - exp(-B) (a standard deviation, not a variance). Forward time
    runs over [0, t_max], t_max <= 1. Components ``("x",)``, m = 1.

    Raises: ProcessError for rates that are not positive or impossible times.
    Reference: Song et al. 2021, eqs. 13 and 29.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_max: float = 1.0
    t_min: float = 1e-3
    _schedule: Linear = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("beta_min", "beta_max"):
            object.__setattr__(self, name, positive(name, getattr(self, name), "SubVP"))
        check_times(self, self.t_min, self.t_max, upper=1.0)
        object.__setattr__(self, "_schedule", Linear(self.beta_min, self.beta_max))

    def beta(self, t: Any) -> Any:
        """Rate beta_min + t (beta_max - beta_min)."""
        return self._schedule.beta(t)

    def alpha(self, t: Any) -> Any:
        """exp(-B / 2)."""
        return self._schedule.alpha(t)

    def sigma(self, t: Any) -> Any:
        """1 - exp(-B)."""
        return self._schedule.variance(t)

    def f(self, t: Any) -> Any:
        """-beta / 2."""
        return -self._schedule.beta(t) / 2

    def g2(self, t: Any) -> Any:
        """Squared diffusion beta (1 - exp(-2 B))."""
        return -self._schedule.beta(t) * ops(t).expm1(-2 * self._schedule.integral(t))

    def lam(self, t: Any) -> Any:
        """-log(2 sinh(B / 2)), written so that a large B does not overflow; +inf at t = 0."""
        xp, value = ops(t), self._schedule.integral(t)
        return -(value / 2 + xp.log(-xp.expm1(-value)))

    def alpha_ratio(self, start: Any, end: Any) -> Any:
        """exp(-(B(end) - B(start)) / 2)."""
        return self._schedule.ratio(start, end)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """sigma(end)^2 - ratio^2 sigma(start)^2 = (1 - e^-(Be - Bs)) (1 - e^-(Be + Bs))."""
        change = self._schedule.increment(start, end)
        total = self._schedule.integral(start) + self._schedule.integral(end)
        xp = ops(change)
        return xp.expm1(-change) * xp.expm1(-total)

    def time_of_log_snr(self, log_snr: Any) -> Any:
        """B = 2 asinh(exp(-lam) / 2), without overflow for any lam; +inf gives 0."""
        y = -log_snr / 2
        xp = ops(y)
        up, down = xp.where(y > 0, y, 0.0), xp.where(y > 0, 0.0, y)
        far = up + xp.log((1 + xp.sqrt(1 + 4 * xp.exp(-2 * up))) / 2)
        near = xp.asinh(xp.exp(down) / 2)
        return self._schedule.time_of_integral(2 * xp.where(y > 0, far, near))

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        names = ("beta_min", "beta_max", "t_max", "t_min")
        return {"process": "subvp", **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        rates = f"beta_min={self.beta_min:g}, beta_max={self.beta_max:g}"
        return f"SubVP({rates}, t_max={self.t_max:g}, t_min={self.t_min:g})"
