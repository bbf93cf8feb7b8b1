"""The square-root diffusion of Cox, Ingersoll and Ross (Econometrica 1985)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sgmsolve.problems.base import SDEProblem

from sgmsolve._array import array_namespace
from sgmsolve.reverse import GeneralSDE

RATE, LEVEL, SIGMA = 1.0, 1.0, 0.5
X0 = 0.5


def make_sde(calculus: str) -> GeneralSDE:
    """Ito: dX = RATE (LEVEL - X) dt + SIGMA sqrt(X) dW.

    Stratonovich: LEVEL is less by SIGMA^2 / (4 RATE). Below zero, where only discrete paths
    can come, there is no noise.
    """
    level = LEVEL if calculus == "ito" else LEVEL - SIGMA**2 / (4 * RATE)

    def root(x: Any) -> tuple[Any, Any]:
        """(where x > 0, sqrt(x) there and 1 elsewhere), so that gradients stay finite."""
        xp, inside = array_namespace(x), x > 0
        return inside, xp.sqrt(xp.where(inside, x, xp.ones_like(x)))

    def diffusion(z: Any, t: Any) -> Any:
        inside, value = root(z[0])
        return (SIGMA * array_namespace(value).where(inside, value, 0 * value),)

    def derivative(z: Any, t: Any) -> Any:
        inside, value = root(z[0])
        return (array_namespace(value).where(inside, SIGMA / (2 * value), 0 * value),)

    return GeneralSDE(
        lambda z, t: (RATE * (level - z[0]),),
        diffusion,
        derivative=derivative,
        linear=lambda z, t: (-RATE * z[0],),
        calculus=calculus,
    )


def moments(t: float) -> tuple[float, float]:
    """Mean and variance of X(t): Cox, Ingersoll & Ross 1985, eq. 19."""
    decay = math.exp(-RATE * t)
    mean = LEVEL + (X0 - LEVEL) * decay
    grown = -math.expm1(-RATE * t)
    return mean, SIGMA**2 / RATE * (X0 * decay * grown + LEVEL * grown**2 / 2)


def law(t: float) -> tuple[float, float, float]:
    """(scale, degrees of freedom, noncentrality): X(t) = scale chi'^2, t > 0; their eq. 18."""
    scale = -(SIGMA**2) * math.expm1(-RATE * t) / (4 * RATE)
    return scale, 4 * RATE * LEVEL / SIGMA**2, X0 * math.exp(-RATE * t) / scale


def cdf(x: np.ndarray, t: float) -> np.ndarray:
    """The distribution function of a noncentral chi-square variable, scaled."""
    from scipy.stats import ncx2

    scale, freedom, noncentrality = law(t)
    return np.asarray(ncx2.cdf(np.asarray(x) / scale, freedom, noncentrality))


def laplace(u: float, t: float) -> float:
    """E exp(-u X(t)) = (1 + 2 u c)^(-d/2) exp(-l u c / (1 + 2 u c)) with (c, d, l) of ``law``."""
    scale, freedom, noncentrality = law(t)
    below = 1 + 2 * u * scale
    return float(below ** (-freedom / 2) * math.exp(-noncentrality * u * scale / below))


PROBLEM = SDEProblem(
    name="cox-ingersoll-ross",
    title="The square-root diffusion",
    shows=(
        "Interest rates after Cox, Ingersoll and Ross: the noise goes with the square root of the "
        "state and vanishes at zero, where its slope is infinite. Exact paths never reach zero "
        "(Feller's condition holds), but coarse discrete ones may. Laws at all times are known, so "
        "that weak errors can be measured, and a wrong choice between Ito and Stratonovich shows "
        "as a shifted mean."
    ),
    make_sde=make_sde,
    make_start=lambda n, rng: np.full((n, 1), X0),
    moments=moments,
    cdf=cdf,
    facts={
        "Equation": (
            f"dX = {RATE:g} ({LEVEL:g} - X) dt + {SIGMA:g} sqrt(X) dW (Ito), X(0) = {X0:g}"
        ),
        "Known": "law (noncentral chi-square), moments, Laplace transform",
    },
)
