"""Two thin moons of unequal weight, each a chain of Gaussians: who visits both, and how often?"""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import EDM

BUMPS = 24  # on each moon; their spacing is 1.3 widths
WIDTH = 0.06
WEIGHTS = (1.0, 3.0)
"""Of the upper and the lower moon."""

MOONS = np.repeat([0, 1], BUMPS)
"""Moon of each component, for ``sgmsolve.mcmc.mode_coverage(..., groups=MOONS)``."""


def centres() -> np.ndarray:
    """Centres (2 BUMPS, 2) along two half circles of radius 0.6, nowhere nearer than 0.6."""
    angles = np.pi * (np.arange(BUMPS) + 0.5) / BUMPS
    arc = 0.6 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    shift = np.array([0.3, 0.0])
    return np.concatenate([arc - shift, shift - arc])


def make_target() -> Any:
    """A mixture of 2 BUMPS Gaussians; the lower moon weighs three times the upper one."""
    from sgmsolve.target import GaussianMixture

    return GaussianMixture(np.array(WEIGHTS)[MOONS], centres(), WIDTH**2)


PROBLEM = Problem(
    name="two-moons-chain",
    title="Two moons of unequal weight",
    shows=(
        "Two thin half circles that reach into each other, the lower one three times as likely as "
        "the upper one. A Markov chain at low noise creeps along one moon and hardly ever crosses "
        "the gap; at high noise it crosses, but sees no moons. So the share of samples on each "
        "moon tells whether a chain mixed, and the width of the moons whether it is exact: the "
        "problem that mode coverage of Denoising MCMC is measured on."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(2,),
    t_end=0.002,
    grid="karras",
    starts=2000,
    view=View("scatter", -1.2, 1.2),
    facts={"Target": "two arcs of 24 Gaussians, width 0.06, weights 1 : 3", "Dimension": "2"},
)
