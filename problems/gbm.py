"""Geometric Brownian motion: noise in proportion to the state, solved path by path."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sgmsolve.problems.base import SDEProblem

from sgmsolve._array import array_namespace
from sgmsolve.reverse import GeneralSDE

MU = 0.5
SIGMA = 0.6


def make_sde(calculus: str) -> GeneralSDE:
    """Ito: dX = MU X dt + SIGMA X dW. Stratonovich: the rate is MU - SIGMA^2 / 2."""
    rate = MU if calculus == "ito" else MU - SIGMA**2 / 2
    return GeneralSDE(
        lambda z, t: (rate * z[0],),
        lambda z, t: (SIGMA * z[0],),
        derivative=lambda z, t: (0 * z[0] + SIGMA,),
        linear=lambda z, t: (rate * z[0],),
        calculus=calculus,
    )


def exact_path(x: Any, t: float, w: Any) -> Any:
    """X(t) = X(0) exp((MU - SIGMA^2/2) t + SIGMA W(t)): Kloeden & Platen 1992, eq. 4.4.7."""
    return x * array_namespace(w).exp((MU - SIGMA**2 / 2) * t + SIGMA * w)


def moments(t: float) -> tuple[float, float]:
    """Of the log-normal law: mean exp(MU t), variance mean^2 (exp(SIGMA^2 t) - 1)."""
    mean = math.exp(MU * t)
    return mean, mean**2 * math.expm1(SIGMA**2 * t)


def cdf(x: np.ndarray, t: float) -> np.ndarray:
    """Phi((log x - (MU - SIGMA^2/2) t) / (SIGMA sqrt t)), t > 0."""
    from scipy.special import ndtr

    x = np.asarray(x, dtype=np.float64)
    logs = np.log(np.where(x > 0, x, 1.0)) - (MU - SIGMA**2 / 2) * t
    return np.where(x > 0, ndtr(logs / (SIGMA * math.sqrt(t))), 0.0)


PROBLEM = SDEProblem(
    name="gbm",
    title="Geometric Brownian motion",
    shows=(
        "Noise in proportion to the state, and a solution in closed form on every Brownian path. "
        "Here strong orders can be measured against the truth: Euler's method has order 1/2 and no "
        "more, Milstein's 1, and only methods that look at areas of the path reach 3/2. A solver "
        "that takes Ito's equation for Stratonovich's ends wrong by a factor that no step size "
        "cures."
    ),
    make_sde=make_sde,
    make_start=lambda n, rng: np.ones((n, 1)),
    moments=moments,
    cdf=cdf,
    exact_path=exact_path,
    facts={
        "Equation": f"dX = {MU:g} X dt + {SIGMA:g} X dW (Ito), X(0) = 1",
        "Known": "path, law, moments",
    },
)
