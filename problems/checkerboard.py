"""A checkerboard: flat squares with sharp edges."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import EDM

CELLS = 4  # squares along one side, every other one filled
SIDE = 0.5
BUMPS = 6  # along one side of a filled square
WIDTH = SIDE / BUMPS / 2


def centres() -> np.ndarray:
    """Centres of BUMPS x BUMPS Gaussians in every filled square of a board on [-1, 1]^2."""
    inside = (np.arange(BUMPS) + 0.5) / BUMPS * SIDE
    bumps = np.stack(np.meshgrid(inside, inside, indexing="ij"), axis=-1).reshape(-1, 2)
    corners = [
        (-1 + SIDE * i, -1 + SIDE * j) for i in range(CELLS) for j in range(CELLS) if (i + j) % 2
    ]
    return np.concatenate([bumps + np.array(corner) for corner in corners])


def make_target() -> Any:
    """Eight filled squares, each a lattice of Gaussians half as wide as their spacing."""
    from sgmsolve.target import Empirical

    return Empirical(centres(), WIDTH)


PROBLEM = Problem(
    name="checkerboard",
    title="A checkerboard",
    shows=(
        "Eight flat squares that touch at their corners. There are no bumps to fall into: the "
        "density is level inside a square and drops to nothing at its edge, so what counts is "
        "whether edges stay sharp and the inside stays level. Blurred edges are the mark of too "
        "much noise left at the end, clumps inside the squares that of steps too long at low "
        "noise."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(2,),
    t_end=0.002,
    grid="karras",
    starts=1000,
    view=View("scatter", -1.25, 1.25),
    facts={"Target": "8 squares of 36 Gaussians each, width 0.042", "Dimension": "2"},
)
