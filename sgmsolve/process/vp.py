"""Variance-preserving processes: dx = -beta(t)/2 x dt + sqrt(beta(t)) dw.

x(t) = alpha x0 + sigma eps with alpha = exp(-B/2), sigma^2 = 1 - exp(-B), B = int_0^t beta.
Song et al., "Score-Based Generative Modeling through SDEs" (ICLR 2021), eqs. 11, 29 and 32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast, final

from sgmsolve._array import ops
from sgmsolve.errors import ProcessError, unknown
from sgmsolve.process._checks import check_times, no_signal, positive
from sgmsolve.process._schedules import AbstractSchedule, Cosine, Linear, ScaledLinear
from sgmsolve.process._table import Table
from sgmsolve.process.base import ScalarProcess

SCHEDULES = ("linear", "scaled_linear", "cosine", "discrete")
_DEFAULTS: dict[str, dict[str, float]] = {
    "linear": {"beta_min": 0.1, "beta_max": 20.0},
    "scaled_linear": {"beta_min": 0.85, "beta_max": 12.0},
    "cosine": {"s": 0.008},
    "discrete": {},
}
_REQUIRED = {"discrete": ("betas",)}


def linear_betas(n: int, start: float = 1e-4, end: float = 2e-2) -> tuple[float, ...]:
    """N discrete rates from ``start`` to ``end``. Ho et al. 2020 (DDPM), section 4."""
    _check_table(n, start, end)
    return tuple(start + (end - start) * i / (n - 1) for i in range(n))


def scaled_linear_betas(n: int, start: float = 8.5e-4, end: float = 1.2e-2) -> tuple[float, ...]:
    """N discrete rates with linear square roots. Rombach et al. 2022 (Stable Diffusion)."""
    _check_table(n, start, end)
    low, high = math.sqrt(start), math.sqrt(end)
    return tuple((low + (high - low) * i / (n - 1)) ** 2 for i in range(n))


def cosine_betas(n: int, max_beta: float = 0.999, s: float = 0.008) -> tuple[float, ...]:
    """N discrete rates min(1 - abar((i+1)/N) / abar(i/N), max_beta), abar the cosine alpha^2.

    Nichol & Dhariwal 2021, eq. 17 and the clipping below it.
    """
    _check_table(n, max_beta, max_beta)
    schedule = Cosine(positive("s", s, "cosine_betas", zero=True))
    # 1 - abar ratio is the transition variance: no cancellation for the first, tiny rates.
    return tuple(min(schedule.transition_variance(i / n, (i + 1) / n), max_beta) for i in range(n))


def _check_table(n: int, start: float, end: float) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 2:
        msg = (
            f"a table of rates needs a whole number of at least 2 entries, but n = {n!r} was given."
        )
        raise ProcessError(msg)
    for value in (start, end):
        if not 0 < value < 1:
            msg = (
                f"a discrete rate must lie strictly between 0 and 1, but {value!r} was given; "
                f"rates of continuous processes (0.1 to 20) must be divided by the number of steps."
            )
            raise ProcessError(msg)


@final
@dataclass(frozen=True, repr=False)
class VP(ScalarProcess):
    """dx = -beta/2 x dt + sqrt(beta) dw; alpha^2 + sigma^2 = 1. Components ``("x",)``, m = 1.

    ``schedule`` is one of

    * ``"linear"``: beta = beta_min + t (beta_max - beta_min), 0.1 to 20 (score_sde);
    * ``"scaled_linear"``: sqrt(beta) linear in t, 0.85 to 12 (Stable Diffusion, times 1000);
    * ``"cosine"``: alpha = cos(k (t + s)) / cos(k s), k = pi / (2 (1 + s)); alpha(1) = 0 exactly;
    * ``"discrete"``: ``betas``, N rates; log alpha is linear in t between t_n = (n + 1) / N.

    Forward time runs over [0, t_max], t_max <= 1; t_min is 1e-3, or 1/N for a table. Parameters
    that belong to another schedule are refused, so that equal processes compare equal.

    Raises: ProcessError for impossible or foreign parameters.
    Reference: Song et al. 2021, eq. 11; Nichol & Dhariwal 2021, eq. 17; Lu et al. 2022, app. D.
    """

    schedule: str = "linear"
    beta_min: float | None = None
    beta_max: float | None = None
    s: float | None = None
    betas: tuple[float, ...] | None = None
    t_max: float = 1.0
    t_min: float = None  # type: ignore[assignment]
    _schedule: AbstractSchedule = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ProcessError(unknown("VP schedule", str(self.schedule), SCHEDULES))
        self._settle_parameters()
        if self.betas is not None:
            object.__setattr__(self, "betas", _checked_betas(self.betas))
        default = 1e-3 if self.betas is None else 1 / len(self.betas)
        t_min = default if self.t_min is None else self.t_min
        check_times(self, t_min, self.t_max, upper=1.0)
        object.__setattr__(self, "_schedule", self._make_schedule())

    def _settle_parameters(self) -> None:
        """Fill in the schedule's own defaults and refuse parameters of other schedules."""
        own = _DEFAULTS[self.schedule]
        for name in ("beta_min", "beta_max", "s", "betas"):
            value = getattr(self, name)
            if name in _REQUIRED.get(self.schedule, ()):
                if value is None:
                    msg = "VP(schedule='discrete') needs betas=, a table of rates; see VP.discrete."
                    raise ProcessError(msg)
                continue
            if name not in own and value is not None:
                msg = (
                    f"{name} = {value!r} was given, but the {self.schedule} schedule of VP has no "
                    f"such parameter; leave it out, or choose another schedule."
                )
                raise ProcessError(msg)
            if name in own:
                given = own[name] if value is None else value
                object.__setattr__(self, name, positive(name, given, "VP", zero=name == "s"))

    def _make_schedule(self) -> AbstractSchedule:
        if self.betas is not None:
            return Table(self.betas)
        if self.s is not None:
            return Cosine(self.s)
        kind = Linear if self.schedule == "linear" else ScaledLinear
        return kind(cast(float, self.beta_min), cast(float, self.beta_max))

    @staticmethod
    def scaled_linear(
        beta_min: float = 0.85, beta_max: float = 12.0, *, t_max: float = 1.0, t_min: float = 1e-3
    ) -> VP:
        """sqrt(beta) linear in t: Stable Diffusion's continuous limit."""
        return VP("scaled_linear", beta_min, beta_max, t_max=t_max, t_min=t_min)

    @staticmethod
    def cosine(s: float = 0.008, *, t_max: float = 1.0, t_min: float = 1e-3) -> VP:
        """Cosine schedule with alpha(1) = 0 (no clipping)."""
        return VP("cosine", s=s, t_max=t_max, t_min=t_min)

    @staticmethod
    def discrete(betas: Iterable[float], *, t_max: float = 1.0, t_min: float | None = None) -> VP:
        """A table of N rates, N >= 2 (``linear_betas`` and friends); t_min is 1/N by default."""
        table = _checked_betas(betas)
        low = 1 / len(table) if t_min is None else t_min
        return VP("discrete", betas=table, t_max=t_max, t_min=low)

    def beta(self, t: Any) -> Any:
        """Rate beta(t), per unit of forward time; ProcessError for numbers with alpha(t) = 0."""
        if self.s is not None and ops(t).host and t == 1:
            raise ProcessError(no_signal(self, "the rate beta", t))
        return self._schedule.beta(t)

    def alpha(self, t: Any) -> Any:
        """exp(-B / 2)."""
        return self._schedule.alpha(t)

    def sigma(self, t: Any) -> Any:
        """sqrt(1 - exp(-B))."""
        return ops(t).sqrt(self._schedule.variance(t))

    def f(self, t: Any) -> Any:
        """-beta / 2."""
        return -self.beta(t) / 2

    def g2(self, t: Any) -> Any:
        """Squared diffusion, beta."""
        return self.beta(t)

    def lam(self, t: Any) -> Any:
        """Half log-SNR -log(exp(B) - 1) / 2: +inf at t = 0."""
        return self._schedule.lam(t)

    def alpha_ratio(self, start: Any, end: Any) -> Any:
        """exp(-(B(end) - B(start)) / 2); ProcessError for numbers with alpha(start) = 0."""
        if self.s is not None and ops(start).host and start == 1:
            raise ProcessError(no_signal(self, "the linear flow", start))
        return self._schedule.ratio(start, end)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """1 - (alpha(end) / alpha(start))^2."""
        if self.s is not None and ops(start).host and start == 1:
            raise ProcessError(no_signal(self, "the transition", start))
        return self._schedule.transition_variance(start, end)

    def time_of_log_snr(self, log_snr: Any) -> Any:
        """Inverse of ``log_snr`` in closed form; +inf gives 0."""
        return self._schedule.time_of_lam(log_snr / 2)

    def time_of_lam(self, lam: Any) -> Any:
        """Inverse of ``lam``."""
        return self._schedule.time_of_lam(lam)

    def time_of_index(self, n: int) -> float:
        """Forward time (n + 1) / N of entry n of the table, 0 <= n < N.

        Raises: ProcessError without a table or outside it.
        """
        if self.betas is None:
            msg = (
                f"index {n!r} was given to {self!r}, which has no table of rates; use "
                f"VP.discrete(betas) or grid.table(..., train_steps=...)."
            )
            raise ProcessError(msg)
        if not 0 <= n < len(self.betas):
            msg = (
                f"index {n!r} lies outside the table, which has entries 0 to "
                f"{len(self.betas) - 1}; entry 0 is next to the data."
            )
            raise ProcessError(msg)
        return (n + 1) / len(self.betas)

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        names = ("schedule", "beta_min", "beta_max", "s", "t_max", "t_min")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.betas is not None:
            found["betas"] = list(self.betas)
        return {"process": "vp", **found}

    def __repr__(self) -> str:
        if self.betas is not None:
            ends = f"{self.betas[0]:.4g} to {self.betas[-1]:.4g}"
            return f"VP.discrete(<{len(self.betas)} betas, {ends}>)"
        if self.s is not None:
            return f"VP.cosine(s={self.s:g}, t_max={self.t_max:g}, t_min={self.t_min:g})"
        name = "VP" if self.schedule == "linear" else "VP.scaled_linear"
        rates = f"beta_min={self.beta_min:g}, beta_max={self.beta_max:g}"
        return f"{name}({rates}, t_max={self.t_max:g}, t_min={self.t_min:g})"


def _checked_betas(betas: Iterable[float]) -> tuple[float, ...]:
    table = tuple(float(b) for b in betas)
    if len(table) < 2:
        msg = f"a table of rates needs at least 2 entries, but {len(table)} were given."
        raise ProcessError(msg)
    for n, value in enumerate(table):
        if not 0 < value < 1:
            msg = (
                f"betas[{n}] = {value!r}, but a discrete rate must lie strictly between 0 and 1; "
                f"rescale or clip the table (cosine_betas clips at 0.999)."
            )
            raise ProcessError(msg)
    return table
