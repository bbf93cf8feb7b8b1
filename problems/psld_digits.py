"""The handwritten digits of ``digits`` in phase space."""

from __future__ import annotations

from sgmsolve.problems.base import Problem, View
from sgmsolve.problems.digits import BANDWIDTH, make_target

from sgmsolve.process import PSLD

PROBLEM = Problem(
    name="psld-digits",
    title="Handwritten digits, in phase space",
    shows=(
        "The pictures of the problem digits, each pixel with a momentum of its own; the exact "
        "score of both is known, so no trained network gets in the way. It is the setting of the "
        "samplers for CLD and PSLD on data that looks like theirs: many directions without any "
        "width but the bandwidth's, and digits that drop out one after the other. What is drawn "
        "and measured is the positions; the momenta are thrown away at the end."
    ),
    make_target=make_target,
    process=PSLD(),
    shape=(8, 8),
    t_end=1e-3,
    grid="striding",
    starts=128,
    view=View("image", -1.0, 1.0, real="real digits, smoothed", count=40),
    facts={
        "Target": f"1797 pictures, each a Gaussian of width {BANDWIDTH}",
        "Dimension": "64 positions, 64 momenta",
        "Data": "scikit-learn's load_digits (UCI, Alpaydin and Kaynak 1998)",
    },
)
