"""What the tests of the adaptive ODE solvers share: flows, black boxes, an oracle."""

from __future__ import annotations

import numpy as np
import pytest

import sgmsolve
from sgmsolve import EDM, PSLD, VE, VP, Flow, ProbabilityFlow, SubVP
from sgmsolve.adaptive import runge_kutta

PAIRS = {
    "dopri5": runge_kutta.DORMAND_PRINCE,
    "bosh3": runge_kutta.BOGACKI_SHAMPINE,
    "heun-euler": runge_kutta.HEUN_EULER,
}
EXPONENTIAL = ("dpm-solver-12", "dpm-solver-23", "exp-heun-euler")
RING = sgmsolve.GaussianMixture.ring(5, 1.0, 0.15)
PROCESSES = {
    "vp": (VP(), "noise", 1.0, 1e-2),
    "ve": (VE(sigma_max=20.0), "score", 1.0, 0.1),
    "subvp": (SubVP(), "noise", 1.0, 2e-2),
    "edm": (EDM(sigma_max=20.0), "data", 20.0, 0.01),
    "flow": (Flow(), "flow", 0.99, 1e-2),
    "psld": (PSLD(), "noise:lower", 1.0, 1e-2),
}


class Ode:
    """A black box, rate per unit of its own time; ``t`` comes as a float or (n,)."""

    noise, calculus = "none", "ito"

    def __init__(self, rate, m=1, direction=1):
        self.rate, self.m, self.direction = rate, m, direction

    def check_time(self, t):
        pass

    def drift(self, z, t):
        t = np.asarray(t, dtype=np.float64)
        return self.rate(*z, t[:, None] if t.ndim else t)


def flow(name, batch=6, target=RING):
    """(probability flow, start, t_start, t_end)."""
    process, kind, start, end = PROCESSES[name]
    low = np.linalg.cholesky(process.starting_covariance(start))
    drawn = np.random.default_rng(3).standard_normal((process.m, batch, 2))
    z = tuple(np.einsum("ij,jnd->ind", low, drawn))
    return ProbabilityFlow(process, target.model(process, kind)), z, start, end


def reference(sde, z, start, end):
    """All samples as one vector with scipy's DOP853."""
    integrate = pytest.importorskip("scipy.integrate")
    shape = (len(z), *z[0].shape)

    def rate(s, y):
        return np.stack(sde.drift(tuple(y.reshape(shape)), start - s)).ravel()

    kind = {"method": "DOP853", "rtol": 1e-11, "atol": 1e-12}
    y = integrate.solve_ivp(rate, (0.0, start - end), np.stack(z).ravel(), **kind).y[:, -1]
    return tuple(y.reshape(shape))


def error(a, b):
    """Largest error of each sample."""
    return np.max([np.abs(x - y).max(axis=1) for x, y in zip(a, b, strict=True)], axis=0)
