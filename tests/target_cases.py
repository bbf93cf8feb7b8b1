"""Targets and processes that the tests of targets run over."""

import numpy as np

from sgmsolve.process import EDM, VE, VP, Flow, SubVP
from sgmsolve.target import Empirical, Gaussian, GaussianField, GaussianMixture

# A time of each process at which alpha, sigma and their derivatives all matter.
PROCESSES = {
    "vp": (VP(), 0.3),
    "ve": (VE(sigma_max=10.0), 0.6),
    "subvp": (SubVP(), 0.35),
    "edm": (EDM(), 0.7),
    "flow": (Flow(), 0.4),
}


def covariance(d, seed, k=None):
    a = np.random.default_rng(seed).standard_normal((d, d) if k is None else (k, d, d))
    return a @ np.swapaxes(a, -1, -2) / d + 0.1 * np.eye(d)


def make_targets():
    rng = np.random.default_rng(5)
    normal = rng.standard_normal
    return {
        "dense": Gaussian(normal(3), covariance(3, 1)),
        "diagonal": Gaussian(normal((2, 3)), rng.uniform(0.1, 2, (2, 3))),
        "number": Gaussian(normal(2), 0.7),
        "low-rank": Gaussian.low_rank(normal(6), normal((6, 2)), [2.0, 0.3], 0.4),
        "field": GaussianField.power_law((2, 5, 4), mean=0.3),
        "isotropic mixture": GaussianMixture([1, 2, 3], normal((3, 2)), [0.1, 0.2, 0.4]),
        "diagonal mixture": GaussianMixture([3, 1], normal((2, 3)), rng.uniform(0.1, 1, (2, 3))),
        "dense mixture": GaussianMixture([1, 2, 1], normal((3, 2)), covariance(2, 2, 3)),
        "ring": GaussianMixture.ring(5, 1.0, 0.3),
        "grid": GaussianMixture.grid(3, 0.8, 0.25),
        "empirical": Empirical(normal((9, 3, 2)), 0.5),
    }


TARGETS = make_targets()


def noisy(target, process, t):
    """A batch of plausible x(t)."""
    rng = np.random.default_rng(11)
    x0 = target.sample(6, rng)
    return process.alpha(t) * x0 + process.sigma(t) * rng.standard_normal(x0.shape)
