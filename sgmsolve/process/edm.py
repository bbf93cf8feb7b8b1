"""Processes whose noise level is time itself: EDM and rectified flow."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

from sgmsolve._array import constant_like, ops, softplus
from sgmsolve.errors import ProcessError
from sgmsolve.process._checks import check_times, no_signal, positive
from sgmsolve.process.base import ScalarProcess


@final
@dataclass(frozen=True)
class EDM(ScalarProcess):
    """dx = sqrt(2 t) dw, x(t) = x0 + t eps: sigma(t) = t, alpha = 1.

    Forward time runs over [0, t_max] with t_max = sigma_max; t_min = sigma_min. Components
    ``("x",)``, m = 1.

    Raises: ProcessError unless 0 < sigma_min < sigma_max.
    Reference: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models"
    (NeurIPS 2022), table 1, column "Ours".
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    t_max: float = field(init=False, repr=False)
    t_min: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("sigma_min", "sigma_max"):
            object.__setattr__(self, name, positive(name, getattr(self, name), "EDM"))
        if not self.sigma_min < self.sigma_max:
            msg = (
                f"sigma_min = {self.sigma_min:g} must be smaller than sigma_max = "
                f"{self.sigma_max:g}; swap them?"
            )
            raise ProcessError(msg)
        object.__setattr__(self, "t_max", self.sigma_max)
        object.__setattr__(self, "t_min", self.sigma_min)

    @property
    def t_limit(self) -> float:
        """No limit: sigma = t is defined for every t."""
        return math.inf

    def alpha(self, t: Any) -> Any:
        """One."""
        return constant_like(1.0, t)

    def sigma(self, t: Any) -> Any:
        """The time itself."""
        return t

    def f(self, t: Any) -> Any:
        """Zero."""
        return constant_like(0.0, t)

    def g2(self, t: Any) -> Any:
        """2 t."""
        return 2 * t

    def lam(self, t: Any) -> Any:
        """-log t: +inf at t = 0."""
        return -ops(t).log(t)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """end^2 - start^2 = (end - start) (end + start)."""
        return (end - start) * (end + start)

    def time_of_log_snr(self, log_snr: Any) -> Any:
        """exp(-log_snr / 2); +inf gives 0."""
        return ops(log_snr).exp(-log_snr / 2)

    def time_of_rho(self, rho: Any) -> Any:
        """The noise level itself."""
        return rho

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        return {"process": "edm", "sigma_min": self.sigma_min, "sigma_max": self.sigma_max}


@final
@dataclass(frozen=True)
class Flow(ScalarProcess):
    """Rectified flow: x(t) = (1 - t) x0 + t eps; dx = -x / (1 - t) dt + sqrt(2 t / (1 - t)) dw.

    Forward time runs over [0, 1]; alpha(1) = 0 exactly, where the drift and the diffusion are
    infinite. Components ``("x",)``, m = 1.

    Raises: ProcessError unless 0 <= t_min < 1.
    Reference: Liu et al., "Flow Straight and Fast" (ICLR 2023), eq. 1; Lipman et al., "Flow
    Matching for Generative Modeling" (ICLR 2023), eq. 20 with sigma_min = 0.
    """

    t_min: float = 1e-3
    t_max: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_times(self, self.t_min, 1.0, upper=1.0)

    def alpha(self, t: Any) -> Any:
        """1 - t."""
        return 1.0 - t

    def sigma(self, t: Any) -> Any:
        """The time itself."""
        return t

    def f(self, t: Any) -> Any:
        """-1 / (1 - t); ProcessError for the number t = 1."""
        return -1 / self._remaining(t, "the drift f")

    def g2(self, t: Any) -> Any:
        """2 t / (1 - t); ProcessError for the number t = 1."""
        return 2 * t / self._remaining(t, "the diffusion")

    def _remaining(self, t: Any, what: str) -> Any:
        if ops(t).host and t == 1:
            raise ProcessError(no_signal(self, what, t))
        return 1 - t

    def lam(self, t: Any) -> Any:
        """log((1 - t) / t): +inf at t = 0, -inf at t = 1."""
        xp = ops(t)
        return xp.log(1.0 - t) - xp.log(t)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """(end - start) (end (1 - start) + start (1 - end)) / (1 - start)^2."""
        left = self._remaining(start, "the transition")
        return (end - start) * (end * left + start * (1 - end)) / left**2

    def time_of_log_snr(self, log_snr: Any) -> Any:
        """1 / (1 + exp(log_snr / 2)) without overflow; +inf gives 0."""
        return ops(log_snr).exp(-softplus(log_snr / 2))

    def time_of_rho(self, rho: Any) -> Any:
        """Inverse of t / (1 - t): rho / (1 + rho)."""
        return rho / (1 + rho)

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        return {"process": "flow", "t_min": self.t_min}
