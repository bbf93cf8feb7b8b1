"""Noise schedules of VP processes, in closed form: everything follows from B(t) = int_0^t beta.

alpha = exp(-B/2), sigma^2 = 1 - exp(-B). Differences B(end) - B(start) have their own closed forms,
so that short transitions keep full relative precision. Generic in the number type (``_array.ops``).
"""

from __future__ import annotations

import abc
from typing import Any, final

from sgmsolve._array import REAL, ops, softplus


class AbstractSchedule(abc.ABC):
    """alpha, sigma^2, transitions and their inverses of a variance-preserving process."""

    @abc.abstractmethod
    def beta(self, t: Any) -> Any:
        """Rate beta(t) = dB / dt."""

    @abc.abstractmethod
    def alpha(self, t: Any) -> Any:
        """exp(-B / 2)."""

    @abc.abstractmethod
    def variance(self, t: Any) -> Any:
        """1 - exp(-B)."""

    @abc.abstractmethod
    def lam(self, t: Any) -> Any:
        """log(alpha / sigma)."""

    @abc.abstractmethod
    def ratio(self, start: Any, end: Any) -> Any:
        """alpha(end) / alpha(start)."""

    @abc.abstractmethod
    def transition_variance(self, start: Any, end: Any) -> Any:
        """1 - ratio^2."""

    @abc.abstractmethod
    def time_of_lam(self, lam: Any) -> Any:
        """Inverse of ``lam``."""


class AbstractIntegrated(AbstractSchedule):
    """A schedule given by its integral ``B``, the integral's differences and its inverse."""

    @abc.abstractmethod
    def integral(self, t: Any) -> Any:
        """B(t), exactly 0 at t = 0."""

    @abc.abstractmethod
    def increment(self, start: Any, end: Any) -> Any:
        """B(end) - B(start) without cancellation."""

    @abc.abstractmethod
    def time_of_integral(self, value: Any) -> Any:
        """Inverse of ``integral``."""

    def alpha(self, t: Any) -> Any:
        """exp(-B / 2)."""
        return ops(t).exp(-self.integral(t) / 2)

    def variance(self, t: Any) -> Any:
        """1 - exp(-B)."""
        return -ops(t).expm1(-self.integral(t))

    def lam(self, t: Any) -> Any:
        """-log(exp(B) - 1) / 2, written so that a large B does not overflow."""
        xp, value = ops(t), self.integral(t)
        return -(value + xp.log(-xp.expm1(-value))) / 2

    def ratio(self, start: Any, end: Any) -> Any:
        """exp(-(B(end) - B(start)) / 2)."""
        change = self.increment(start, end)
        return ops(change).exp(-change / 2)

    def transition_variance(self, start: Any, end: Any) -> Any:
        """1 - exp(-(B(end) - B(start)))."""
        change = self.increment(start, end)
        return -ops(change).expm1(-change)

    def time_of_lam(self, lam: Any) -> Any:
        """B = log(1 + exp(-2 lam)), then its time."""
        return self.time_of_integral(softplus(-2 * lam))


@final
class Linear(AbstractIntegrated):
    """beta(t) = beta_min + t (beta_max - beta_min). Song et al. 2021, eq. 32 (score_sde)."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta_min, self.beta_max = beta_min, beta_max

    def beta(self, t: Any) -> Any:
        """Linear rate."""
        return self.beta_min + t * (ops(t).number(self.beta_max) - self.beta_min)

    def integral(self, t: Any) -> Any:
        """beta_min t + (beta_max - beta_min) t^2 / 2."""
        return t * (self.beta_min + t * (ops(t).number(self.beta_max) - self.beta_min) / 2)

    def increment(self, start: Any, end: Any) -> Any:
        """(end - start) times the mean rate."""
        slope = ops(end).number(self.beta_max) - self.beta_min
        return (end - start) * (self.beta_min + slope * (start + end) / 2)

    def time_of_integral(self, value: Any) -> Any:
        """Positive root of the quadratic, in the form without cancellation."""
        xp = ops(value)
        low = xp.number(self.beta_min)
        root = xp.sqrt(low * low + 2 * (xp.number(self.beta_max) - low) * value)
        return 2 * value / (low + root)


@final
class ScaledLinear(AbstractIntegrated):
    """sqrt(beta) is linear in t: Rombach et al. 2022 (latent diffusion), "scaled_linear"."""

    def __init__(self, beta_min: float, beta_max: float) -> None:
        self.beta_min, self.beta_max = beta_min, beta_max
        self._floats = self._root_in(REAL)

    def _root_in(self, host: Any) -> tuple[Any, Any]:
        low = host.sqrt(host.number(self.beta_min))
        return low, host.sqrt(host.number(self.beta_max)) - low

    def _root(self, xp: Any) -> tuple[Any, Any]:
        return self._root_in(xp) if xp.exact else self._floats

    def beta(self, t: Any) -> Any:
        """(sqrt(beta_min) + t (sqrt(beta_max) - sqrt(beta_min)))^2."""
        low, slope = self._root(ops(t))
        return (low + t * slope) ** 2

    def integral(self, t: Any) -> Any:
        """a^2 t + a d t^2 + d^2 t^3 / 3 for sqrt(beta) = a + d t."""
        low, slope = self._root(ops(t))
        return t * (low * low + t * slope * (low + t * slope / 3))

    def increment(self, start: Any, end: Any) -> Any:
        """(end - start) (p^2 + p q + q^2) / 3 with p, q the roots of beta at both ends."""
        low, slope = self._root(ops(end))
        p, q = low + slope * start, low + slope * end
        return (end - start) * (p * p + p * q + q * q) / 3

    def time_of_integral(self, value: Any) -> Any:
        """c^3 = a^3 + 3 d B, and c^3 - a^3 divided by c - a = d t."""
        xp = ops(value)
        low, slope = self._root(xp)
        top = xp.exp(xp.log(low * low * low + 3 * slope * value) / 3)
        return 3 * value / (top * top + top * low + low * low)


@final
class Cosine(AbstractSchedule):
    """alpha = cos(k (t + s)) / cos(k s), k = pi / (2 (1 + s)). Nichol & Dhariwal 2021, eq. 17.

    cos(k (t + s)) = sin(k (1 - t)): exact zero and full relative precision at t = 1.
    """

    def __init__(self, s: float) -> None:
        self.s = s
        self._floats = self._constants_in(REAL)

    def _constants_in(self, host: Any) -> tuple[Any, Any, Any]:
        k = host.pi / (2 * (1 + host.number(self.s)))
        return k, host.cos(k * self.s), host.sin(k * self.s)

    def _constants(self, t: Any) -> tuple[Any, Any, Any, Any]:
        """The functions for t, and k, cos(k s), sin(k s)."""
        xp = ops(t)
        return xp, *(self._constants_in(xp) if xp.exact else self._floats)

    def beta(self, t: Any) -> Any:
        """2 k cot(k (1 - t)), infinite at t = 1."""
        xp, k, _, _ = self._constants(t)
        return 2 * k / xp.tan(k * (1 - t))

    def alpha(self, t: Any) -> Any:
        """sin(k (1 - t)) / cos(k s)."""
        xp, k, scale, _ = self._constants(t)
        return xp.sin(k * (1 - t)) / scale

    def variance(self, t: Any) -> Any:
        """1 - alpha^2 = sin(k t) sin(k (t + 2 s)) / cos(k s)^2."""
        xp, k, scale, _ = self._constants(t)
        return xp.sin(k * t) * xp.sin(k * (t + 2 * self.s)) / (scale * scale)

    def lam(self, t: Any) -> Any:
        """Half log-SNR log(alpha / sigma)."""
        xp, k, _, _ = self._constants(t)
        # alpha^2 / sigma^2 as one quotient of sines: cos(k s) drops out.
        near = xp.log(xp.sin(k * t) * xp.sin(k * (t + 2 * self.s)))
        return xp.log(xp.sin(k * (1 - t))) - near / 2

    def ratio(self, start: Any, end: Any) -> Any:
        """sin(k (1 - end)) / sin(k (1 - start))."""
        xp, k, _, _ = self._constants(end)
        return xp.sin(k * (1 - end)) / ops(start).sin(k * (1 - start))

    def transition_variance(self, start: Any, end: Any) -> Any:
        """sin(k (end - start)) sin(k (start + end + 2 s)) / sin(k (1 - start))^2."""
        _, k, _, _ = self._constants(end)
        gap, both = k * (end - start), start + end
        xp = ops(gap)
        # k (start + end + 2 s) = pi - k (2 - start - end): the sine is taken of the smaller angle.
        angle = k * xp.where(both < 1, both + 2 * self.s, (1 - start) + (1 - end))
        return xp.sin(gap) * xp.sin(angle) / ops(start).sin(k * (1 - start)) ** 2

    def time_of_lam(self, lam: Any) -> Any:
        """With delta = k s, theta = k (t + s) and S = sigma^2 cos(delta)^2.

        sin^2(theta) = sin^2(delta) + S, and sin(k t) = sin(theta - delta) = S / sin(theta + delta).
        """
        xp, k, c, d = self._constants(lam)
        excess = xp.exp(-softplus(2 * lam)) * c * c
        sine = xp.sqrt(d * d + excess)
        cosine = xp.exp(-softplus(-2 * lam) / 2) * c
        return xp.atan(excess / (sine * c + cosine * d) / (cosine * c + sine * d)) / k
