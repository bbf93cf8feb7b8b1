"""PDS, TDAS and relatives on a Gaussian, mode by mode in plain numpy: an oracle for our plans.

Written from sections 1 to 5 of the spec (pds_tdas.md), sharing no code with the library. A mode has
data variance lam, a gain m of M, and a state variance v; means are the target's throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray
N = 64
PIXEL_VARIANCE = 0.25**2
MEAN = 0.5


def radii(n: int = N) -> Array:
    f = np.fft.fftfreq(n, d=1 / n)
    return np.asarray(np.hypot(f[:, None], f[None, :]))


def eigenvalues(n: int = N, exponent: float = 2.0) -> Array:
    """The spectrum of section 5: 1/|k|^exponent, DC as |k| = 1, pixel standard deviation 0.25."""
    r = radii(n)
    r[0, 0] = 1
    power = r**-exponent
    return np.asarray(power * PIXEL_VARIANCE / power.mean())


def published_gain(lam: Array, alpha: float, mean: float = MEAN) -> Array:
    """1 / R-hat: logs of the unnormalised power, mean included, over its maximum."""
    power = lam * lam.size
    power[0, 0] += (mean * lam.size) ** 2
    statistic = np.log1p(power)
    return np.asarray(alpha / (statistic / statistic.max() + alpha - 1))


def disc_gain(radius: float, outside: float, n: int = N) -> Array:
    return np.where(radii(n) <= radius * n, 1.0, outside)


@dataclass(frozen=True)
class Rule:
    """What a row does with the gain m: score gain, noise variance gain, and so on.

    where: "published", "noise", "exact-split"; noise: multiplies the predictor's noise variance, a
    function of rho = sigma_{j-1}^2 / sigma_j^2 (VE) or of the ancestral ratio (VP); snr: of the
    Langevin corrector, None without.
    """

    gain: Any = 1.0
    where: str = "published"
    noise: Callable[[float], float] | None = None
    snr: float | None = None

    def with_gain(self, gain: Any) -> Rule:
        return replace(self, gain=gain)


def corrected(rule: Rule, v: Array, c: Array, weight: Array, alpha: float) -> Array:
    """One Langevin step, norms replaced by their exact second moments."""
    m2 = np.asarray(rule.gain) ** 2 * np.ones_like(v)
    a = np.ones_like(v) if rule.where == "noise" else m2
    zeta = np.sum(weight * m2)
    score = np.sum(weight * a**2 * v / c**2)
    h = 2 * rule.snr**2 * zeta / score * alpha
    return np.asarray((1 - h * a / c) ** 2 * v + 2 * h * m2)


def predicted(
    rule: Rule, v: Array, c: Array, f: float, g2: float, noise: float
) -> tuple[Array, Array]:
    """(variance of x_mean, variance of x) after x_mean = x - f x + g2 score, noise g2 * noise."""
    m2 = np.asarray(rule.gain) ** 2 * np.ones_like(v)
    if rule.where == "exact-split":
        factor = 1 - f - 0.5 * g2 * (1 + m2) / c
    elif rule.where == "noise":
        factor = 1 - f - g2 / c
    else:
        factor = 1 - m2 * (f + g2 / c)
    mean = factor**2 * v
    return mean, mean + g2 * m2 * noise


def ve(
    rule: Rule,
    lam: Array,
    weight: Array,
    steps: int,
    limits: tuple[float, float],
    eps: float = 0.0,
    denoise: bool = True,
) -> Array:
    """Output variance under VE with T = steps rows; ``denoise``: the mean of the last row.

    eps: end of the time grid linspace(1, eps, T) at which scores are taken, while noise comes from
    the table of sigma_j, whose times end at 0; 0 makes both agree.
    """
    sigma = np.geomspace(limits[1], limits[0], steps)
    label = limits[0] * (limits[1] / limits[0]) ** np.linspace(1, eps, steps)
    m2 = np.asarray(rule.gain) ** 2 * np.ones_like(lam)
    v = sigma[0] ** 2 * (np.ones_like(lam) if rule.where == "exact-split" else m2)
    mean = v
    for i, s in enumerate(sigma):
        below = sigma[i + 1] if i + 1 < steps else 0.0
        g2, rho = s**2 - below**2, (below / s) ** 2
        c = lam + label[i] ** 2
        if rule.snr is not None:
            v = corrected(rule, v, c, weight, 1.0)
        mean, v = predicted(rule, v, c, 0.0, g2, rule.noise(rho) if rule.noise else 1.0)
    return mean if denoise else v


def vp(rule: Rule, lam: Array, weight: Array, steps: int, eps: float, start: float = 1.0) -> Array:
    """Mean of the last row under VP as score_sde runs it: T = steps, scores at linspace(1, eps).

    start: variance of the prior, before M.
    """
    times = np.linspace(1, eps, steps)
    betas = np.linspace(0.1 / steps, 20 / steps, steps)[::-1]
    bars = np.cumprod(1 - betas[::-1])[::-1]
    m2 = np.asarray(rule.gain) ** 2 * np.ones_like(lam)
    v = start * (np.ones_like(lam) if rule.where == "exact-split" else m2)
    mean = v
    for i, (t, beta) in enumerate(zip(times, betas, strict=True)):
        decay = np.exp(-(0.1 * t + 9.95 * t**2))
        c = lam * decay + 1 - decay
        if rule.snr is not None:
            v = corrected(rule, v, c, weight, 1 - beta)
        below = bars[i + 1] if i + 1 < steps else 1.0
        ratio = (1 - below) / (1 - bars[i])
        noise = rule.noise(ratio) if rule.noise else 1.0
        mean, v = predicted(rule, v, c, np.sqrt(1 - beta) - 1, beta, noise)
    return mean


def vp_ancestral(rule: Rule, lam: Array, weight: Array, steps: int, eps: float) -> Array:
    """DDPM on the discrete chain, scores of that chain: the posterior's mean and variance.

    The corrector takes its scores at linspace(1, eps), as in ``vp``.
    """
    betas = np.linspace(0.1 / steps, 20 / steps, steps)[::-1]
    bars = np.cumprod(1 - betas[::-1])[::-1]
    times = np.linspace(1, eps, steps)
    v, mean = np.ones_like(lam), np.ones_like(lam)
    for i, (t, beta) in enumerate(zip(times, betas, strict=True)):
        below = bars[i + 1] if i + 1 < steps else 1.0
        c = lam * bars[i] + 1 - bars[i]
        if rule.snr is not None:
            decay = np.exp(-(0.1 * t + 9.95 * t**2))
            v = corrected(rule, v, lam * decay + 1 - decay, weight, 1 - beta)
        # E[x_0 | x] = lam sqrt(bar) x / c, put in the posterior's mean of x_below.
        keep = np.sqrt(1 - beta) * (1 - below) / (1 - bars[i])
        factor = keep + np.sqrt(below) * beta / (1 - bars[i]) * lam * np.sqrt(bars[i]) / c
        mean = factor**2 * v
        v = mean + beta * (1 - below) / (1 - bars[i])
    return mean


def distance(v: Array, lam: Array, weight: Array) -> float:
    """W2 per pixel."""
    return float(np.sqrt(np.sum(weight * (np.sqrt(v) - np.sqrt(lam)) ** 2) / np.sum(weight)))
