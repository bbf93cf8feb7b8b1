"""A Gaussian random field with the spectrum of natural images."""

from __future__ import annotations

from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.process import VP

SIZE = 64


def spectrum() -> np.ndarray:
    """Variance (SIZE, SIZE) of each Fourier mode, 1/f^2 with a flat top, mean pixel variance 1."""
    f = np.fft.fftfreq(SIZE, d=1 / SIZE)
    power = 1 / (1 + f[:, None] ** 2 + f[None, :] ** 2)
    return np.asarray(power / power.mean())


def make_target() -> Any:
    """A stationary Gaussian field, SIZE x SIZE pixels, that never forms a covariance matrix."""
    from sgmsolve.target import GaussianField

    return GaussianField((SIZE, SIZE), spectrum())


PROBLEM = Problem(
    name="field",
    title="A 1/f² random field",
    shows=(
        "Pictures of clouds: Gaussian fields whose power falls with the square of the frequency, "
        "as in photographs. Coarse structure appears at high noise and fine texture at low "
        "noise, so blurry or grainy pictures tell which half of the grid is too coarse. In the "
        "Fourier basis the 4096 modes are independent, and errors are exact in each of them."
    ),
    make_target=make_target,
    process=VP(),
    shape=(SIZE, SIZE),
    t_end=1e-3,
    grid="log-snr",
    exact=True,
    starts=16,
    view=View("image", -2.5, 2.5, count=6),
    facts={"Target": "stationary Gaussian field, power 1/(1 + f²)", "Dimension": "4096 (64 × 64)"},
)
