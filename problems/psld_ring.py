"""The eight modes of ``ring`` in phase space."""

from __future__ import annotations

from sgmsolve.problems.base import Problem, View
from sgmsolve.problems.ring import make_target

from sgmsolve.process import PSLD

PROBLEM = Problem(
    name="psld-ring",
    title="Eight modes on a ring, in phase space",
    shows=(
        "The target of the problem ring, reached through positions and momenta. Trajectories "
        "swing instead of sliding: the momentum picks a bump early and the position follows. "
        "Splitting methods differ in how they time the two, and coarse steps overshoot the bumps "
        "rather than stop between them. The score is not linear, so orders measured here are "
        "not flattered. Errors are those of the positions."
    ),
    make_target=make_target,
    process=PSLD(),
    shape=(2,),
    t_end=1e-3,
    grid="striding",
    starts=2000,
    view=View("scatter", -1.6, 1.6),
    facts={"Target": "mixture of 8 Gaussians, width 0.1", "Dimension": "2 positions, 2 momenta"},
)
