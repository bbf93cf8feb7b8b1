"""Overdamped Langevin dynamics in a double well: additive noise, a drift that is not linear."""

from __future__ import annotations

import functools

import numpy as np
from sgmsolve.problems.base import SDEProblem

from sgmsolve.reverse import GeneralSDE

SIGMA = 0.7
NODES = np.linspace(-3.0, 3.0, 4001)
"""Where the density is tabulated; it is below 1e-30 of its height at the ends."""


def make_sde(calculus: str) -> GeneralSDE:
    """The equation dX = (X - X^3) dt + SIGMA dW; additive, so that both calculi agree."""
    return GeneralSDE(
        lambda z, t: (z[0] - z[0] ** 3,),
        lambda t: np.array([[SIGMA]]),
        noise="additive",
        linear=lambda z, t: (z[0],),
        calculus=calculus,
    )


@functools.cache
def tabulated() -> tuple[np.ndarray, np.ndarray]:
    """(density, distribution function) at NODES of p(x) ~ exp((x^2 - x^4 / 2) / SIGMA^2)."""

    def height(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp((x**2 - x**4 / 2 - 0.5) / SIGMA**2))

    at, middle = height(NODES), height((NODES[1:] + NODES[:-1]) / 2)
    step = NODES[1] - NODES[0]
    masses = step * (at[1:] + 4 * middle + at[:-1]) / 6  # Simpson's rule
    return at / masses.sum(), np.concatenate([[0.0], np.cumsum(masses)]) / masses.sum()


def make_start(n: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of the stationary law, by inverting its distribution function."""
    return np.interp(rng.random((n, 1)), tabulated()[1], NODES)


def moments(t: float) -> tuple[float, float]:
    """0 and the stationary variance, at all times.

    The density is smooth and vanishes at the ends, where plain sums are exact to rounding.
    """
    density = tabulated()[0]
    return 0.0, float(np.sum(density * NODES**2) * (NODES[1] - NODES[0]))


def cdf(x: np.ndarray, t: float) -> np.ndarray:
    """The stationary distribution function, at all times; interpolated, error below 1e-6."""
    return np.interp(np.asarray(x, dtype=np.float64), NODES, tabulated()[1])


PROBLEM = SDEProblem(
    name="double-well",
    title="A particle in a double well",
    shows=(
        "Langevin dynamics between two wells: the noise is the same everywhere, the drift is a "
        "cubic. It is what a reverse SDE looks like without its times, and it separates methods "
        "for additive noise: Euler's has strong order 1, those that use space-time areas 3/2. "
        "Runs start from the stationary law and must keep it; long steps leave the wells, where "
        "the cubic throws them out for good."
    ),
    make_sde=make_sde,
    make_start=make_start,
    moments=moments,
    cdf=cdf,
    facts={
        "Equation": f"dX = (X - X^3) dt + {SIGMA:g} dW, X(0) stationary",
        "Known": "law and moments, by one quadrature",
    },
)
