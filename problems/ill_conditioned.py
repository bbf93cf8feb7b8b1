"""A Gaussian whose directions differ by a factor of a million in variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import VP

VARIANCES = np.geomspace(1.0, 1e-6, 64)


def make_target() -> Any:
    """N(0, diag(VARIANCES)) in 64 dimensions."""
    from sgmsolve.target import Gaussian

    return Gaussian(np.zeros(64), VARIANCES)


def outer_directions(x: np.ndarray) -> np.ndarray:
    """First and last coordinate in units of their own standard deviations at ``t_end``."""
    noise = float(PROBLEM.process.sigma(PROBLEM.t_end)) ** 2
    return np.asarray(x[:, [0, -1]] / np.sqrt(VARIANCES[[0, -1]] + noise))


PROBLEM = Problem(
    name="ill-conditioned",
    title="An ill-conditioned Gaussian",
    shows=(
        "Sixty-four independent directions whose variances fall from 1 to one millionth, as the "
        "spectra of natural images do. Each direction is decided at its own noise level, so a "
        "sampler has to get the whole range of noise levels right, not just one. The picture "
        "shows the widest direction against the narrowest, each in units of its own width: a "
        "circle is right, an ellipse says which of the two a method gets wrong. Errors are "
        "exact, with no sampling."
    ),
    make_target=make_target,
    process=VP(),
    shape=(64,),
    t_end=1e-3,
    grid="log-snr",
    exact=True,
    starts=2000,
    view=View("scatter", -4.0, 4.0, project=outer_directions),
    facts={"Target": "N(0, diag(1 ... 1e-6))", "Dimension": "64", "Condition number": "1e6"},
)
