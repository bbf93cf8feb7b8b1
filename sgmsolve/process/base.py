"""What a forward process is: ``dz = F(t) z dt + G(t) dw`` with m x m coefficients.

All times are forward time: they grow with noise, ``t_min`` is next to the data and ``t_max`` at
the prior. The state ``z`` is a tuple of m data-shaped arrays; coefficients act on the component
index only. Every function is generic: floats give float64 host numbers, mpmath numbers give mpmath
numbers, and arrays (numpy, torch, jax, traced or not) give arrays of shape ``t.shape + (...)``.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from sgmsolve._array import constant_like, ops
from sgmsolve.errors import GridError, ProcessError, unknown
from sgmsolve.process import _checks

KINDS = ("noise", "data", "score", "v", "flow")


class AbstractProcess(abc.ABC):
    """A linear forward SDE with exact Gaussian transitions.

    ``names`` are the components' names; ``len(names) = m``. Subclasses are frozen dataclasses.
    """

    names: tuple[str, ...] = ("x",)
    t_min: float
    t_max: float

    @property
    def m(self) -> int:
        """Number of components of the state."""
        return len(self.names)

    @property
    def t_limit(self) -> float:
        """Largest time at which the process is defined; churn may go above ``t_max`` up to here."""
        return self.t_max

    @property
    @abc.abstractmethod
    def starts_at_zero_alpha(self) -> bool:
        """Whether the data's weight in the state vanishes at ``t_max`` (flow, cosine)."""

    @property
    @abc.abstractmethod
    def initial_covariance(self) -> np.ndarray:
        """Covariance (m, m) of z(0) given x0, in units of the identity on data space."""

    @abc.abstractmethod
    def F(self, t: Any) -> Any:
        """Drift matrix, shape ``t.shape + (m, m)``."""

    @abc.abstractmethod
    def G(self, t: Any) -> Any:
        """Diffusion matrix, shape ``t.shape + (m, m)``; covariance rate is ``G G^T``."""

    @abc.abstractmethod
    def flow(self, start: Any, end: Any) -> Any:
        """Linear flow Psi (m, m) from ``start`` to ``end``, in either direction."""

    @abc.abstractmethod
    def transition(self, start: Any, end: Any) -> tuple[Any, Any]:
        """Law of z(end) given z(start), ``start <= end``: (Psi, Sigma), each (m, m).

        Sigma is computed without cancellation, however short the interval.
        """

    @abc.abstractmethod
    def loading(self, t: Any) -> Any:
        """E[z(t) | x0] = loading x0, shape ``t.shape + (m,)``."""

    @abc.abstractmethod
    def covariance(self, t: Any) -> Any:
        """Cov[z(t) | x0], shape ``t.shape + (m, m)``, the initial covariance included."""

    def check_kind(self, kind: str) -> None:
        """ProcessError, naming the nearest, for a kind of prediction this process does not have."""
        if str(kind).split(":")[0] not in KINDS:
            raise ProcessError(unknown("kind of prediction", str(kind), KINDS))

    @abc.abstractmethod
    def conversion(self, source: str, target: str, t: Any) -> tuple[Any, Any]:
        """Affine map between kinds of prediction at time t: ``target = a z + b source``.

        Returns ``a`` of shape ``t.shape + (p, m)`` and ``b`` of shape ``t.shape + (p, p)``.
        Raises ProcessError where the map does not exist (noise -> data at alpha = 0).
        """

    @abc.abstractmethod
    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""

    def has_no_signal(self, t: Any) -> bool:
        """Whether z(t) is independent of the data (alpha = 0)."""
        return not np.any(self.loading(t))

    def has_no_noise(self, t: Any) -> bool:
        """Whether z(t) is a function of the data (sigma = 0)."""
        return not np.any(self.covariance(t))

    def check_time(self, t: Any, what: str = "t") -> None:
        """Refuse a host time (float or mpmath number) outside ``[0, t_max]``.

        Raises: GridError naming the time, the range and what to do.
        """
        if not 0 <= t <= self.t_max:
            msg = (
                f"{what} = {float(t):.6g} lies outside the forward times [0, {self.t_max:.6g}] of "
                f"{self!r}; times are forward time: {self.t_max:.6g} at the prior, 0 at the data."
            )
            raise GridError(msg)

    def starting_covariance(self, t: Any) -> np.ndarray:
        """Covariance (m, m) of the law N(0, . I) a run starts with at ``t``: the prior at t_max."""
        if t == self.t_max:
            return self.prior()
        return np.asarray(self.covariance(float(t)), dtype=np.float64)

    def prior(self) -> np.ndarray:
        """Covariance (m, m) of the starting law N(0, . I) at ``t_max``."""
        return np.asarray(self.covariance(float(self.t_max)), dtype=np.float64)


class ScalarProcess(AbstractProcess):
    """One component: x(t) = alpha(t) x0 + sigma(t) eps. Subclasses give six scalar functions."""

    @property
    def initial_variance(self) -> float:
        """Var[x(0) | x0]."""
        return 0.0

    @abc.abstractmethod
    def alpha(self, t: Any) -> Any:
        """Weight of the data in x(t)."""

    @abc.abstractmethod
    def sigma(self, t: Any) -> Any:
        """Standard deviation of x(t) given x0."""

    @abc.abstractmethod
    def f(self, t: Any) -> Any:
        """Drift rate d log alpha / dt."""

    @abc.abstractmethod
    def g2(self, t: Any) -> Any:
        """Squared diffusion d sigma^2 / dt - 2 f sigma^2."""

    @abc.abstractmethod
    def transition_variance(self, start: Any, end: Any) -> Any:
        """Var[x(end) | x(start)] for ``start <= end``, without cancellation."""

    @abc.abstractmethod
    def time_of_log_snr(self, log_snr: Any) -> Any:
        """Inverse of ``log_snr``."""

    def alpha_ratio(self, start: Any, end: Any) -> Any:
        """alpha(end) / alpha(start), in either direction; ProcessError from alpha(start) = 0."""
        alpha = self.alpha(start)
        if ops(start).host and alpha == 0:
            raise ProcessError(_checks.no_signal(self, "the linear flow", start))
        return self.alpha(end) / alpha

    def log_snr(self, t: Any) -> Any:
        """Log signal-to-noise ratio log(alpha^2 / sigma^2), decreasing in t."""
        return 2 * self.lam(t)

    def lam(self, t: Any) -> Any:
        """Half log-SNR, lambda(t) = log(alpha / sigma)."""
        return ops(t).log(self.alpha(t) / self.sigma(t))

    def time_of_lam(self, lam: Any) -> Any:
        """Inverse of ``lam``."""
        return self.time_of_log_snr(2 * lam)

    def rho(self, t: Any) -> Any:
        """Noise-to-signal ratio rho(t) = sigma / alpha, the sigma of EDM."""
        return self.sigma(t) / self.alpha(t)

    def time_of_rho(self, rho: Any) -> Any:
        """Inverse of ``rho``."""
        return self.time_of_log_snr(-2 * ops(rho).log(rho))

    @property
    def initial_covariance(self) -> np.ndarray:
        """Covariance (1, 1) of x(0) given x0."""
        return np.array([[self.initial_variance]])

    @property
    def starts_at_zero_alpha(self) -> bool:
        """Whether alpha(t_max) = 0."""
        return self.alpha(float(self.t_max)) == 0.0

    def has_no_signal(self, t: Any) -> bool:
        """Whether alpha(t) = 0."""
        return bool(self.alpha(t) == 0)

    def has_no_noise(self, t: Any) -> bool:
        """Whether sigma(t) = 0."""
        return bool(self.sigma(t) == 0)

    def F(self, t: Any) -> Any:
        """Drift matrix (1, 1)."""
        return ops(t).matrix([[self.f(t)]])

    def G(self, t: Any) -> Any:
        """Diffusion matrix (1, 1)."""
        xp = ops(t)
        return xp.matrix([[xp.sqrt(self.g2(t))]])

    def flow(self, start: Any, end: Any) -> Any:
        """Linear flow alpha(end)/alpha(start), (1, 1)."""
        return ops(end).matrix([[self.alpha_ratio(start, end)]])

    def transition(self, start: Any, end: Any) -> tuple[Any, Any]:
        """(alpha ratio, variance), each (1, 1)."""
        xp = ops(end)
        return self.flow(start, end), xp.matrix([[self.transition_variance(start, end)]])

    def loading(self, t: Any) -> Any:
        """alpha(t), shape (1,)."""
        return ops(t).matrix([[self.alpha(t)]])[..., 0, :]

    def covariance(self, t: Any) -> Any:
        """sigma(t)^2, shape (1, 1)."""
        return ops(t).matrix([[self.sigma(t) ** 2]])

    def check_kind(self, kind: str) -> None:
        """ProcessError unless the kind is noise, data, score, v or flow."""
        if kind not in KINDS:
            raise ProcessError(unknown("kind of prediction", str(kind), KINDS))

    def weights_of(self, kind: str, t: Any) -> tuple[Any, Any]:
        """(u, w) such that ``kind = u x0 + w eps`` at time t.

        flow is eps - x0, v is alpha eps - sigma x0, score is -eps / sigma.
        """
        if kind == "noise":
            return 0.0, 1.0
        if kind == "data":
            return 1.0, 0.0
        if kind == "score":
            return 0.0, -self._inverse_sigma(t)
        if kind == "v":
            return -self.sigma(t), self.alpha(t)
        if kind == "flow":
            return -1.0, 1.0
        raise ProcessError(unknown("kind of prediction", kind, KINDS))

    def conversion_scalars(self, source: str, target: str, t: Any) -> tuple[Any, Any]:
        """(a, b) with ``target = a x + b source``, as scalars (or arrays shaped like t).

        Raises: ProcessError for an unknown kind, and for host times at which the map does not
        exist (noise -> data at alpha = 0, data -> noise at sigma = 0, anything -> score there).
        """
        for kind in (source, target):
            self.check_kind(kind)
        if source == target:
            return 0.0, 1.0
        # score = -eps / sigma exactly, also where alpha = 0: so it goes through noise.
        if target == "score":
            inverse = self._inverse_sigma(t)
            a, b = self.conversion_scalars(source, "noise", t) if source != "noise" else (0.0, 1.0)
            return -a * inverse, -b * inverse
        if source == "score":
            a, b = self.conversion_scalars("noise", target, t)
            return a, -b * self.sigma(t)
        alpha, sigma = self.alpha(t), self.sigma(t)
        (u1, w1), (u2, w2) = self.weights_of(source, t), self.weights_of(target, t)
        det = alpha * w1 - sigma * u1
        if ops(t).host and det == 0:
            no_map = _checks.no_noise if alpha else _checks.no_signal
            raise ProcessError(no_map(self, f"the map from {source} to {target}", t))
        return (u2 * w1 - w2 * u1) / det, (alpha * w2 - sigma * u2) / det

    def conversion(self, source: str, target: str, t: Any) -> tuple[Any, Any]:
        """(a, b) as (1, 1) matrices."""
        a, b = self.conversion_scalars(source, target, t)
        a, b = (constant_like(c, t) if isinstance(c, (int, float)) else c for c in (a, b))
        matrix = ops(t).matrix
        return matrix([[a]]), matrix([[b]])

    def largest_usable_time(self) -> float:
        """Largest t at which alpha >= 1e-3 sigma, where noise plans and log-SNR grids may start.

        It is ``t_max`` itself unless alpha(t_max) = 0; rounded down to six decimals.
        """
        if not self.starts_at_zero_alpha:
            return float(self.t_max)
        return math.floor(float(self.time_of_lam(math.log(1e-3))) * 1e6) / 1e6

    def _inverse_sigma(self, t: Any) -> Any:
        sigma = self.sigma(t)
        if ops(t).host and sigma == 0:
            raise ProcessError(_checks.no_score(self, t))
        return 1 / sigma
