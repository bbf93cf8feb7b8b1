"""What each ingredient of the published chain of Denoising MCMC changes, on a ring of Gaussians.

    python benchmarks/mcmc_biases.py

Eight modes (radius 1, width 0.05, weights 1 and 2), the exact posterior of the level on 200
geometric levels from 0.01 to 2, 500 chains that start from the joint law, 20 windows of 5 steps
after 40; KAR1 with N = 10. Prints the rows of docs/mcmc.md: distance of the visited levels from the
prior, their median, TV of the modes' weights, variance of a mode, share of windows in which the
mode changes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from sgmsolve.mcmc import (
    Chain,
    Denoiser,
    ExactPosterior,
    RandomWalk,
    StepSize,
    denoising_mcmc,
    exact_chain,
    exact_start,
    geometric_levels,
    mode_coverage,
    published_chain,
)
from sgmsolve.process import EDM
from sgmsolve.target import GaussianMixture

LEVELS = geometric_levels(0.01, 2.0, 200)
WIDTH = 0.05


def ring() -> GaussianMixture:
    angles = 2 * np.pi * np.arange(8) / 8
    means = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixture(np.where(np.arange(8) % 2, 2.0, 1.0), means, WIDTH**2)


def chains(target: GaussianMixture) -> dict[str, Chain]:
    """The table's rows."""
    draw, mode = (ExactPosterior(target, LEVELS, draw=d) for d in ("categorical", "argmax"))
    half, one, two = (StepSize(scale=c, v_min=WIDTH**2) for c in (0.5, 1.0, 2.0))
    return {
        "MALA 1, draw, last": exact_chain(target, LEVELS),
        "MALA 2, draw, last": exact_chain(target, LEVELS, scale=2.0),
        "MALA by scores 1, draw, last": Chain(draw, one, metropolis="score"),
        "MALA 1, random walk, last": Chain(
            RandomWalk(target, 0.01, 2.0, width=1.0), one, metropolis=target
        ),
        "MALA 1, draw, lowest": exact_chain(target, LEVELS, emit="lowest"),
        "no Metropolis 1/2, draw, last": Chain(draw, half),
        "no Metropolis 2, draw, last": Chain(draw, two),
        "no Metropolis eta 0.05, draw, last": Chain(draw, 0.05),
        "no Metropolis eta 1, draw, last": Chain(draw, 1.0),
        "no Metropolis 1/2, argmax, last": Chain(mode, half),
        "no Metropolis eta 1, argmax, last": Chain(mode, 1.0),
        "published eta 0.05": published_chain(mode, step=0.05, n_skip=5),
    }


def main() -> None:
    target = ring()
    model, start = target.model(EDM()), exact_start(target, LEVELS, chains=500, seed=1)
    for name, chain in chains(target).items():
        chain = dataclasses.replace(chain, burn_in=40)
        made = denoising_mcmc(chain, model, Denoiser("kar1", 10), start, emissions=20, seed=2)
        trace = np.sort(made.run.trace[40:].ravel())
        share = np.searchsorted(trace, LEVELS * (1 + 1e-9), side="right") / trace.size
        distance = np.max(np.abs(share - np.arange(1, 201) / 200))
        found = mode_coverage(made, target)
        print(
            f"{name:36} KS {distance:.3f}  median {np.median(trace):.3f}  TV {found.tv:.3f}  "
            f"variance {found.variance_ratio:.2f}  changes {found.switches:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
