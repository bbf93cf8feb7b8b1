"""Two interlocking half moons: thin curved sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import VP

BUMPS = 40  # on each arc; their spacing is 0.6 widths, so that the arcs are smooth
WIDTH = 0.08


def centres() -> np.ndarray:
    """Centres (2 BUMPS, 2) along an upper and a lower half circle of radius 0.6."""
    angles = np.pi * (np.arange(BUMPS) + 0.5) / BUMPS
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    upper = 0.6 * arc + np.array([-0.3, -0.15])
    lower = -0.6 * arc + np.array([0.3, 0.15])
    return np.concatenate([upper, lower])


def make_target() -> Any:
    """Two half circles, each a chain of BUMPS overlapping Gaussians of deviation WIDTH."""
    from sgmsolve.target import Empirical

    return Empirical(centres(), WIDTH)


PROBLEM = Problem(
    name="moons",
    title="Two moons",
    shows=(
        "Two curved bands that reach into each other. Data near a curved surface is what images "
        "look like to a sampler: along the band the score is small, across it large. A method "
        "that overshoots makes the bands too thin or too fat, and a few points take the wrong "
        "band."
    ),
    make_target=make_target,
    process=VP(),
    shape=(2,),
    t_end=1e-3,
    grid="log-snr",
    starts=2000,
    view=View("scatter", -1.3, 1.3),
    facts={"Target": "two arcs of 40 Gaussians each, width 0.08", "Dimension": "2"},
)
