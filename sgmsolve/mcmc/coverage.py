"""Are all modes of a mixture visited, as often and as widely as they should be?"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.sampler import MCMCSamples
from sgmsolve.target import GaussianMixture


@dataclasses.dataclass(frozen=True)
class ModeCoverage:
    """Samples against the modes of a mixture.

    Attributes:
        weights: (G,) shares of the samples in each group of components; ``expected`` (G,) the
            mixture's.
        tv: total variation distance between the two, half the sum of |differences|; above 0 for a
            finite set: about sqrt((G - 1) / (2 pi n)) for n independent samples of G equal modes.
        missed: number of groups without a sample.
        switches: share of windows in which a chain changed its group; None for samples that do not
            come from chains.
        variance_ratio: mean square distance from a sample to its component's mean, over the
            mixture's own; 1 is right, v/(v + tau^2) after a denoising step of radius tau.
    """

    weights: np.ndarray
    expected: np.ndarray
    tv: float
    missed: int
    switches: float | None
    variance_ratio: float


def mode_coverage(samples: Any, mixture: GaussianMixture, groups: Any = None) -> ModeCoverage:
    """How samples cover a mixture's modes; a sample belongs to its most likely component.

    samples: (n, d), or :class:`MCMCSamples`, whose chains then tell how often modes change. groups:
    (K,) integers 0..G-1 that gather components to modes (the two moons of a chain of bumps, say);
    each component is its own by default.
    Raises: ChainError for another shape, or groups that do not fit.
    """
    if not isinstance(mixture, GaussianMixture):
        raise ChainError(f"mixture is a {type(mixture).__name__}, expected a GaussianMixture.")
    given = samples.x if isinstance(samples, MCMCSamples) else samples
    given = given.detach().cpu() if kind_of(given) == "torch" else given
    x = np.asarray(given, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != mixture.dim or not len(x):
        msg = f"samples have shape {x.shape}, expected (n, {mixture.dim}) for this mixture."
        raise ChainError(msg)
    k = len(mixture.weights)
    group = np.arange(k) if groups is None else np.asarray(groups)
    if group.shape != (k,) or not np.issubdtype(group.dtype, np.integer) or group.min() < 0:
        msg = (
            f"groups have shape {group.shape}, expected one integer of at least 0 for each of {k}."
        )
        raise ChainError(msg)
    which = _most_likely(x, mixture)
    expected = np.bincount(group, weights=mixture.weights)
    mine = group[which]
    found = np.bincount(mine, minlength=len(expected)) / len(x)
    spread = np.sum((x - mixture.means[which]) ** 2, axis=1)
    full = np.broadcast_to(mixture.eigenvalues, mixture.means.shape).sum(axis=1)
    return ModeCoverage(
        found,
        expected,
        float(0.5 * np.sum(np.abs(found - expected))),
        int(np.sum((found == 0) & (expected > 0))),
        _switches(samples, mine) if isinstance(samples, MCMCSamples) else None,
        float(spread.mean() / full[which].mean()),
    )


def _most_likely(x: np.ndarray, mixture: GaussianMixture) -> np.ndarray:
    """The component of largest responsibility, (n,)."""
    logits = mixture._components(x, 1.0, 0.0)[-1]
    return np.asarray(logits.argmax(axis=0))


def _switches(samples: MCMCSamples, group: np.ndarray) -> float | None:
    """Share of neighbouring emissions of one chain that are in different groups."""
    order = np.lexsort((samples.emission, samples.chain))
    chain, emission, mode = samples.chain[order], samples.emission[order], group[order]
    pairs = (np.diff(chain) == 0) & (np.diff(emission) == 1)
    return float(np.mean(np.diff(mode)[pairs] != 0)) if pairs.any() else None
