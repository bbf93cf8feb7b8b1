"""A field, operators and plans for tests of predictor-corrector samplers."""

from __future__ import annotations

import numpy as np

from sgmsolve import VE, VP, SubVP, build_plan
from sgmsolve.plan import Plan
from sgmsolve.precondition import Skew, Spectral
from sgmsolve.target import GaussianField

SHAPE = (4, 6)
FIELD = GaussianField.power_law(SHAPE, 2.0, 0.3, mean=0.2)
GAINS = np.random.default_rng(0).uniform(0.8, 1.3, SHAPE)
GAINS = (GAINS + np.roll(GAINS[::-1, ::-1], 1, axis=(0, 1))) / 2
M = Spectral(FIELD.transform, GAINS)
S = Skew(SHAPE, (1, 2), 0.4)
PROCESSES = {"VE": VE(0.01, 5.0), "VP": VP(), "SubVP": SubVP()}
TIMES = np.linspace(1.0, 0.02, 25)


def sizes(plan: Plan, row: int) -> float:
    """The step h of a corrector row, from its noise sqrt(2h) M xi."""
    tables = [plan.noise[row], *(part.noise[row] for part in plan.parts)]
    return float(sum(np.sum(t**2) for t in tables) / 2)


def plain_pc(process, **options):
    return build_plan(process, "pc", grid=TIMES, **options)
