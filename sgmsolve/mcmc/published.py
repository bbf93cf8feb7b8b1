"""The five fixed-grid denoisers of Kim & Ye's released code, as plans in the view sigma = t.

From a level a, with s_min = 0.01 and N as the code counts it:

* ``kar1``, ``kar2``: N levels of Karras' grid, the last of them 0: N - 1 steps, 2N - 3 calls. kar2
  churns with gamma = min(80/N, sqrt(2) - 1) for sigma in [0.05, 1] and noise 1.007.
* ``probability-flow``, ``reverse-diffusion``: levels s_k = s_min (a/s_min)^(k/(N-1)), then 0; a
  step adds G^2/2 score, or G^2 score + G xi, with G^2 = s_k^2 - s_(k-1)^2. N calls.
* ``euler-maruyama``: sigma(t) = s_min (a/s_min)^t at N equidistant times from 1 to 1e-5, each step
  of length 1/N: g^2/N score + g/sqrt(N) xi, g^2 = 2 sigma^2 log(a/s_min). N calls.

The last noise is left out of both stochastic ones. Karras et al. 2022 (arXiv:2206.00364) algorithms
1 and 2; Song et al. 2021 (arXiv:2011.13456) eq. 46 and 47; numbers from the released code.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from sgmsolve import grid as grids
from sgmsolve.mcmc.density import VIEW
from sgmsolve.methods.registry import find
from sgmsolve.plan import Plan, PlanBuilder

CHURN = {"s_t_min": 0.05, "s_t_max": 1.0, "s_noise": 1.007}


def kar(start: float, n: int, s_min: float, churn: float) -> Plan:
    """Heun's method on Karras' grid; ``churn`` 0 (kar1) or the published 80 (kar2)."""
    ends = {"t_max": start, "t_min": s_min, "final": "zero"}
    times = grids.karras(VIEW, n - 1, **ends)  # type: ignore[arg-type]
    if not churn:
        return find("heun")(VIEW, times)
    # gamma is churn / N there, and s_churn / (N - 1) in ours.
    return find("edm-churn")(VIEW, times, s_churn=churn * (n - 1) / n, **CHURN)


def variance_steps(start: float, n: int, s_min: float, *, noise: bool) -> Plan:
    """Probability flow and reverse diffusion: Euler steps in sigma^2 on geometric levels."""
    levels = [*np.geomspace(start, s_min, n).tolist(), 0.0]
    name = "reverse-diffusion" if noise else "probability-flow"
    b = PlanBuilder(VIEW, levels, predicts="score", name=name, draws="kernel")
    for i, (t, s) in enumerate(itertools.pairwise(levels)):
        gap = t * t - s * s
        x = b.z + (gap if noise else gap / 2) * b.predict(b.z, t)
        b.advance(x + math.sqrt(gap) * b.xi(s, t) if noise and i < n - 1 else x, s)
    return b.plan()


def euler_maruyama(start: float, n: int, s_min: float) -> Plan:
    """Euler-Maruyama in log sigma with the published step 1/N."""
    rate = math.log(start / s_min)
    later = s_min * np.exp(rate * np.linspace(1.0, 1e-5, n)[1:])
    levels = [start, *later.tolist(), 0.0]
    b = PlanBuilder(VIEW, levels, predicts="score", name="euler-maruyama")
    for i, (t, s) in enumerate(itertools.pairwise(levels)):
        gain = 2 * rate * t * t / n
        x = b.z + gain * b.predict(b.z, t)
        b.advance(x if i == n - 1 else x + math.sqrt(gain) * b.xi(s, t), s)
    return b.plan()


LEAST = {
    "kar1": 3,
    "kar2": 3,
    "probability-flow": 2,
    "reverse-diffusion": 2,
    "euler-maruyama": 2,
}
"""Smallest N of each."""


def published_plan(name: str, start: float, n: int, s_min: float) -> Plan:
    """The plan of one of ``LEAST`` from the level ``start``, in the view sigma = t."""
    if name in ("kar1", "kar2"):
        return kar(start, n, s_min, 80.0 if name == "kar2" else 0.0)
    if name == "euler-maruyama":
        return euler_maruyama(start, n, s_min)
    return variance_steps(start, n, s_min, noise=name == "reverse-diffusion")
