"""A few methods written here, so that these tests need no other family."""

from __future__ import annotations

import math

from sgmsolve.plan import PlanBuilder


def ddim(process, grid, *, eta=0.0, denoise=False):
    """DDIM for any eta (arXiv:2010.02502, eq. 12 and 16), noise prediction."""
    b = PlanBuilder(process, grid, predicts="noise", name="ddim", denoise=denoise)
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        std = eta * process.sigma(s) / process.sigma(t)
        std *= math.sqrt(process.transition_variance(s, t))
        keep = math.sqrt(process.sigma(s) ** 2 - std**2)
        e = b.predict(b.z, t)
        z = psi * b.z + (keep - psi * process.sigma(t)) * e
        b.advance(z + std * b.xi() if eta else z)
    return b.plan()


def euler_maruyama(process, grid):
    """Euler-Maruyama for the reverse SDE, score prediction (arXiv:2011.13456, eq. 6)."""
    b = PlanBuilder(process, grid, predicts="score", name="em", orders={"weak": 1})
    for t, s in b.steps():
        h, g2 = t - s, process.g2(t)
        e = b.predict(b.z, t)
        b.advance((1 - h * process.f(t)) * b.z + h * g2 * e + math.sqrt(h * g2) * b.xi())
    return b.plan()


def heun(process, grid):
    """Heun on the probability flow in x/alpha against sigma/alpha, noise prediction."""
    b = PlanBuilder(process, grid, predicts="noise", name="heun", orders={"deterministic": 2})
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        e0 = b.predict(b.z, t)
        e1 = b.predict(psi * b.z + w * e0, s)
        b.advance(psi * b.z + w / 2 * (e0 + e1))
    return b.plan()


def ab2(process, grid, *, start="published"):
    """Variable-step Adams-Bashforth 2 in sigma/alpha, Euler or Heun first step."""
    b = PlanBuilder(process, grid, predicts="noise", name="ab2", orders={"deterministic": 2})
    last = None
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        e = b.predict(b.z, t)
        step = process.rho(s) - process.rho(t)
        if last is not None:
            e_old, step_old = last
            slope = (e - e_old) / step_old
            b.advance(psi * b.z + w * e + w * step / 2 * slope)
        elif start == "matched":
            e1 = b.predict(psi * b.z + w * e, s)
            b.advance(psi * b.z + w / 2 * (e + e1))
        else:
            b.advance(psi * b.z + w * e)
        last = e, step
    return b.plan()
