"""Eight Gaussians on a circle: the smallest problem with several modes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import EDM

ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
WIDTH = 0.1


def make_target() -> Any:
    """Eight equal Gaussians of standard deviation WIDTH on the unit circle."""
    from sgmsolve.target import GaussianMixture

    return GaussianMixture(np.ones(8), CENTRES, WIDTH**2)


PROBLEM = Problem(
    name="ring",
    title="Eight modes on a ring",
    shows=(
        "Eight narrow, equally likely bumps on a circle. Between two bumps the score turns "
        "sharply, and a start near such a border ends in one bump or the other: that is where "
        "coarse grids go wrong, and why points appear between the bumps when steps are too long. "
        "The score is not linear, so orders measured here are not flattered as they are on a "
        "Gaussian."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(2,),
    t_end=0.002,
    grid="karras",
    starts=2000,
    view=View("scatter", -1.6, 1.6),
    facts={"Target": "mixture of 8 Gaussians, width 0.1", "Dimension": "2"},
)
