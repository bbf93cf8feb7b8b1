"""Real data: grey patches cut from two photographs, with their exact score."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View
from sgmsolve.problems.photo_field import planes

from sgmsolve.process import EDM

SIZE = 16
BANDWIDTH = 0.1


def patches() -> np.ndarray:
    """The 2080 disjoint patches of both photographs, (2080, 16, 16), grey in [-1, 1], row by row.

    The mean of a patch stays in it: the sky is brighter than the trees.
    """
    out = []
    for (plane,) in planes(1):
        rows, columns = (n // SIZE for n in plane.shape)
        cut = plane[: rows * SIZE, : columns * SIZE].reshape(rows, SIZE, columns, SIZE)
        out.append(cut.swapaxes(1, 2).reshape(-1, SIZE, SIZE))
    return np.concatenate(out)


def make_target() -> Any:
    """Every patch smoothed by a Gaussian of standard deviation BANDWIDTH."""
    from sgmsolve.target import Empirical

    return Empirical(patches(), bandwidth=BANDWIDTH)


PROBLEM = Problem(
    name="photo-patches",
    title="Patches of photographs",
    shows=(
        "All 2080 disjoint patches of 16 × 16 grey pixels of the two photographs that come with "
        "scikit-learn, with their exact score as for the digits. Most are smooth and some have "
        "edges: the covariance is that of 1/f² noise, the distribution is far from Gaussian. "
        "So the problem tells what a method gains that knows the second moments of its target "
        "from what it gains on Gaussian targets only."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(SIZE, SIZE),
    t_end=0.002,
    grid="karras",
    starts=128,
    view=View("image", -1.0, 1.0, real="real patches, smoothed", count=40),
    facts={
        "Target": f"2080 patches, each a Gaussian of width {BANDWIDTH}",
        "Dimension": f"{SIZE * SIZE} ({SIZE} × {SIZE})",
        "Data": "scikit-learn's load_sample_images (china.jpg, flower.jpg, CC BY 2.0)",
    },
)
