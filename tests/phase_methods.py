"""What the tests of phase-space methods share: oracles by scipy, moments and slopes.

The oracles know a process by F, G and the marginal's loading and covariance only, and the score of
a Gaussian by a dense inverse; none of the methods' code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve import Gaussian, grid
from sgmsolve.analysis.exact import output_moments
from sgmsolve.analysis.moments import Moments
from sgmsolve.methods.registry import find


def build(process: Any, times: Any, name: str, **options: Any) -> Any:
    """A registered method's plan."""
    return find(name)(process, times, **options)


def striding(process: Any, steps: int, **ends: Any) -> np.ndarray:
    return grid.make("striding", process, steps, **ends)


def prior_law(process: Any, modes: int) -> Moments:
    """Moments of N(0, prior) in every mode."""
    m = process.m
    cov = np.repeat(process.prior()[:, :, None], modes, axis=2)
    return Moments(np.zeros((m, modes)), cov, np.ones(modes))


def marginal_law(process: Any, t: float, means: Any, variances: Any) -> tuple[Any, Any]:
    """Mean (m, M) and covariance (m, m, M) of z(t) for modes N(mean, variance)."""
    u, noise = process.loading(t), process.covariance(t)
    mean = np.outer(u, means)
    cov = np.stack([v * np.outer(u, u) + noise for v in variances], axis=-1)
    return mean, cov


def reference(
    process: Any, eta: float, t: float, s: float, start: tuple[Any, Any], means: Any, variances: Any
) -> tuple[Any, Any]:
    """Mean and covariance at s of the reverse family, by DOP853 on their own equations."""
    from scipy.integrate import solve_ivp

    m, found = process.m, []
    for i, (mu, v) in enumerate(zip(means, variances, strict=True)):

        def rate(tau: float, y: np.ndarray, mu: float = mu, v: float = v) -> np.ndarray:
            r = t - tau
            u, noise = process.loading(r), process.covariance(r)
            D = process.G(r) @ process.G(r).T
            pull = (1 + eta**2) / 2 * D @ np.linalg.inv(v * np.outer(u, u) + noise)
            A = -process.F(r) - pull
            mean, cov = y[:m], y[m:].reshape(m, m)
            drift = A @ mean + pull @ u * mu
            change = A @ cov + cov @ A.T + eta**2 * D
            return np.concatenate([drift, change.ravel()])

        first = np.concatenate([start[0][:, i], start[1][:, :, i].ravel()])
        out = solve_ivp(rate, (0, t - s), first, method="DOP853", rtol=1e-12, atol=1e-15)
        found.append(out.y[:, -1])
    y = np.array(found).T
    return y[:m], y[m:].reshape(m, m, -1)


def moments(plan: Any, process: Any, means: Any, variances: Any, start: Any = None) -> Any:
    """Mean and covariance of a plan's result; ``start`` a Moments, default the prior's."""
    law = prior_law(process, len(means)) if start is None else start
    target = Gaussian(means, variances)
    values, mu, _ = target.modes()  # in ascending order; given back as they came
    pairs = zip(variances, means, strict=True)
    order = [int(np.argmin(abs(values - v) + abs(mu - c))) for v, c in pairs]
    found = output_moments(plan, target, process, law)
    return found.mean[:, order], found.covariance[:, :, order]


def distance(a: tuple[Any, Any], b: tuple[Any, Any]) -> float:
    """Largest difference of any entry of mean and covariance."""
    return float(max(np.abs(x - y).max() for x, y in zip(a, b, strict=True)))


def slope(errors: Any) -> float:
    """log2 of the last ratio of errors, for steps halved each time."""
    return math.log2(errors[-2] / errors[-1])


def entries(mean: Any, cov: Any) -> np.ndarray:
    """Mean (x, m) and covariance (xx, xm, mm) of the only mode."""
    return np.array([*mean[:, 0], cov[0, 0, 0], cov[0, 1, 0], cov[1, 1, 0]])
