"""A Gaussian in phase space, where everything about a sampler's output is known in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import PSLD

VARIANCES = np.geomspace(1.0, 1e-3, 8)
MEAN = np.linspace(0.6, -0.4, 8)


def make_target() -> Any:
    """N(MEAN, diag(VARIANCES)) in eight dimensions."""
    from sgmsolve.target import Gaussian

    return Gaussian(MEAN, VARIANCES)


def outer_directions(x: np.ndarray) -> np.ndarray:
    """First and last coordinate, centred, in units of their own standard deviations at t_end."""
    t = PROBLEM.t_end
    u = float(PROBLEM.process.loading(t)[0])
    noise = float(PROBLEM.process.covariance(t)[0, 0])
    ends = [0, -1]
    return np.asarray((x[:, ends] - u * MEAN[ends]) / np.sqrt(u**2 * VARIANCES[ends] + noise))


PROBLEM = Problem(
    name="psld-gaussian",
    title="A Gaussian in phase space",
    shows=(
        "Eight directions whose variances fall from 1 to a thousandth, each with a position and a "
        "momentum. The momentum carries most of the noise, the position little of its own, so a "
        "step must turn one into the other: near the prior the exact motion is a rotation, which "
        "plain Euler steps spiral out of. Errors are exact and are those of the positions, which "
        "are what one samples for; the momenta are thrown away at the end."
    ),
    make_target=make_target,
    process=PSLD(),
    shape=(8,),
    t_end=1e-3,
    grid="striding",
    exact=True,
    starts=2000,
    view=View("scatter", -4.0, 4.0, project=outer_directions),
    facts={"Target": "N(m, diag(1 ... 1e-3))", "Dimension": "8 positions, 8 momenta"},
)
