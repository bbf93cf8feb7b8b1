"""Real data: scikit-learn's bundled handwritten digits with their exact score."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.errors import SgmsolveError
from sgmsolve.process import EDM

BANDWIDTH = 0.1


def images() -> np.ndarray:
    """All 1797 pictures as (1797, 8, 8) float64, grey values scaled to [-1, 1]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        msg = (
            "the problem 'digits' reads the pictures that come with scikit-learn, which is not "
            "installed; run: pip install 'sgmsolve[lab]'."
        )
        raise SgmsolveError(msg) from None
    return np.asarray(load_digits().images, dtype=np.float64) / 8 - 1


def make_target() -> Any:
    """Every picture smoothed by a Gaussian of standard deviation BANDWIDTH."""
    from sgmsolve.target import Empirical

    return Empirical(images(), bandwidth=BANDWIDTH)


PROBLEM = Problem(
    name="digits",
    title="Handwritten digits",
    shows=(
        "All 1797 handwritten digits that come with scikit-learn, 8 × 8 pixels. Their score is "
        "known exactly: the data is a mixture of 1797 narrow Gaussians, one a picture. So real "
        "data is sampled with no trained network, and whatever is wrong in a picture is the "
        "solver's doing. At high noise all digits pull at once; then one after the other drops "
        "out, and steps that are too long there leave a blend of several digits."
    ),
    make_target=make_target,
    process=EDM(),
    shape=(8, 8),
    t_end=0.002,
    grid="karras",
    starts=128,
    view=View("image", -1.0, 1.0, real="real digits, smoothed", count=40),
    facts={
        "Target": f"1797 pictures, each a Gaussian of width {BANDWIDTH}",
        "Dimension": "64 (8 × 8)",
        "Data": "scikit-learn's load_digits (UCI, Alpaydin and Kaynak 1998)",
    },
)
