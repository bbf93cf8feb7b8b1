"""The ring of the specification's section 4.5, its levels, and the distance of a sigma marginal."""

from __future__ import annotations

import numpy as np

from sgmsolve.mcmc import geometric_levels
from sgmsolve.target import GaussianMixture

LEVELS = geometric_levels(0.01, 2.0, 200)
WIDTH = 0.05


def ring() -> GaussianMixture:
    angles = 2 * np.pi * np.arange(8) / 8
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixture(np.where(np.arange(8) % 2, 2.0, 1.0), means, WIDTH**2)


def distance_to_prior(trace: np.ndarray, levels: np.ndarray = LEVELS) -> float:
    """Kolmogorov-Smirnov distance of visited levels from equal masses on the table."""
    edges = levels * (1 + 1e-9)
    share = np.searchsorted(np.sort(trace.ravel()), edges, side="right") / trace.size
    return float(np.max(np.abs(share - np.arange(1, len(levels) + 1) / len(levels))))
