"""Drift and diffusion as objects: reverse SDEs, probability flows and SDEs of the user's own.

    reverse = ReverseSDE(process, model, eta=1.0)
    flow = ProbabilityFlow(process, model)
    sde = GeneralSDE(drift, diffusion)

All of them answer ``drift(z, t)``, ``split(z, t)``, ``diffuse(z, t, dw)`` and ``forward()``; any
solver that knows these can run them, and :mod:`sgmsolve.adapters` hands them to other libraries.
Times are forward time throughout. ``direction`` says which way an object runs: -1 for a reverse
SDE, whose own time tau grows where t falls, and 1 for the others.
"""

from __future__ import annotations

from sgmsolve.reverse.additive import ForwardSDE as ForwardSDE
from sgmsolve.reverse.general import GeneralSDE as GeneralSDE
from sgmsolve.reverse.linear import ProbabilityFlow as ProbabilityFlow
from sgmsolve.reverse.linear import ReverseSDE as ReverseSDE
