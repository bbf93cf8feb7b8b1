"""Twenty-five narrow Gaussians on a square lattice."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import EDM

AXIS = np.linspace(-1.0, 1.0, 5)
CENTRES = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(25, 2)
WIDTH = 0.03


def make_target() -> Any:
    """Twenty-five equal Gaussians of standard deviation WIDTH on a 5 x 5 lattice."""
    from sgmsolve.target import GaussianMixture

    return GaussianMixture(np.ones(25), CENTRES, WIDTH**2)


PROBLEM = Problem(
    name="grid25",
    title="A lattice of 25 modes",
    shows=(
        "Twenty-five bumps, each a sixteenth as wide as the gap to the next. The bumps separate "
        "at one noise level and get their width at another, more than ten times lower; a grid "
        "that spends its steps at one of them pays at the other. Lost or doubled weight of "
        "single bumps shows in the energy distance, fuzzy bumps in the sliced W2."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(2,),
    t_end=0.002,
    grid="karras",
    starts=2000,
    view=View("scatter", -1.4, 1.4),
    facts={"Target": "mixture of 25 Gaussians, width 0.03", "Dimension": "2"},
)
