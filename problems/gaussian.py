"""A correlated Gaussian in the plane: everything about it is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import VP

MEAN = np.array([0.6, -0.3])
COVARIANCE = np.array([[0.50, 0.28], [0.28, 0.25]])


def make_target() -> Any:
    """N(MEAN, COVARIANCE) in two dimensions."""
    from sgmsolve.target import Gaussian

    return Gaussian(MEAN, COVARIANCE)


PROBLEM = Problem(
    name="gaussian",
    title="A correlated Gaussian",
    shows=(
        "Two correlated coordinates with a mean away from zero. The exact score is linear, so "
        "the law of any sampler's output is a Gaussian whose mean and covariance follow from its "
        "table: errors are exact, not estimated. It is the first thing to try with a new method. "
        "A warning goes with it: a linear score forgives some wrong coefficients, so a method "
        "that looks good here must still prove itself on a mixture."
    ),
    make_target=make_target,
    process=VP(),
    shape=(2,),
    t_end=1e-3,
    grid="log-snr",
    exact=True,
    starts=2000,
    view=View("scatter", -2.0, 2.6),
    facts={"Target": "N(m, C) with correlation 0.79", "Dimension": "2"},
)
