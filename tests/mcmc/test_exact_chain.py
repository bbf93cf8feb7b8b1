"""What the exact chain leaves invariant, one step by hand, and the biases of the published one."""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_cases import LEVELS, WIDTH, distance_to_prior, ring

from sgmsolve.mcmc import (
    Chain,
    Denoiser,
    ExactPosterior,
    RandomWalk,
    StepSize,
    denoising_mcmc,
    exact_chain,
    exact_start,
    mode_coverage,
    run_chains,
)
from sgmsolve.mcmc.draws import ACCEPT, PROPOSAL, Draws
from sgmsolve.process import EDM, VP
from sgmsolve.target import GaussianMixture

RING = ring()
SCALED = StepSize(scale=1.0, v_min=WIDTH**2)


def test_exact_chain_keeps_the_joint_law() -> None:
    """Acceptance test 8 of the specification: 1000 chains, 100 steps."""
    found = denoising_mcmc(
        exact_chain(RING, LEVELS),
        RING.model(EDM()),
        Denoiser("kar1", 10),
        exact_start(RING, LEVELS, chains=1000, seed=1),
        emissions=20,
    )
    assert found.run.trace.shape == (100, 1000)
    assert distance_to_prior(found.run.trace) < 0.015
    covered = mode_coverage(found, RING)
    assert 0.95 < covered.variance_ratio < 1.01
    assert covered.tv < 0.03
    assert covered.switches is not None
    assert abs(covered.switches - 0.44) < 0.04


def test_random_walk_keeps_the_joint_law() -> None:
    chain = Chain(RandomWalk(RING, 0.01, 2.0, width=1.0), SCALED, metropolis=RING)
    start = exact_start(RING, LEVELS, chains=1000, seed=1)
    assert distance_to_prior(run_chains(chain, RING.model(EDM()), start, emissions=20).trace) < 0.02


def test_random_walk_with_a_prior_of_its_own() -> None:
    """pi(sigma) = constant on [0.1, 1]: sigma is uniform there. Low dimension, so it mixes."""
    walk = RandomWalk(RING, 0.1, 1.0, width=0.8, prior=np.ones_like, moves=2)
    chain = Chain(walk, SCALED, metropolis=RING)
    x, _ = exact_start(RING, LEVELS, chains=1000, seed=2)
    trace = run_chains(chain, RING.model(EDM()), (x, 0.5), emissions=24).trace[40:]
    shares = np.histogram(trace, bins=9, range=(0.1, 1.0))[0] / trace.size
    assert np.all(np.abs(shares - 1 / 9) < 0.01)


@pytest.mark.parametrize("metropolis", [None, "score", "density"])
def test_one_step_in_x_by_hand(metropolis: str | None) -> None:
    """x' and its acceptance against the textbook's formulas, with the chain's own draws."""
    n, eta = 400, 0.05
    x, sigma = exact_start(RING, LEVELS, chains=n, seed=3)
    exact = RING if metropolis == "density" else metropolis
    chain = Chain(ExactPosterior(RING, LEVELS), eta, metropolis=exact, n_skip=1)
    found = run_chains(chain, RING.model(VP()), (x, sigma), emissions=1, seed=5)

    process, draws = EDM(), Draws(5, None, n)
    xi, u = draws.normals(PROPOSAL, x), draws.uniforms(ACCEPT)
    s = RING.score(x, sigma, process)
    new = x + eta / 2 * s + np.sqrt(eta) * xi
    if metropolis is None:
        assert np.allclose(found.state[0], new, rtol=1e-9, atol=1e-12)
        return
    s_new = RING.score(new, sigma, process)
    if metropolis == "score":
        ratio = 0.5 * np.sum((s + s_new) * (new - x), axis=1)
    else:
        ratio = RING.marginal_log_prob(new, sigma, process)
        ratio = ratio - RING.marginal_log_prob(x, sigma, process)
    there = np.sum((x - new - eta / 2 * s_new) ** 2, axis=1)
    ratio += (np.sum((new - x - eta / 2 * s) ** 2, axis=1) - there) / (2 * eta)
    near = np.abs(np.log(u) - ratio) < 1e-6
    accept = np.log(u) < ratio
    wanted = np.where(accept[:, None], new, x)
    assert np.allclose(found.state[0][~near], wanted[~near], rtol=1e-9, atol=1e-12)
    assert 0.3 < accept.mean() < 0.9
    assert np.array_equal(found.acceptance[~near] == 1, accept[~near])


def test_trapezoid_ratio_is_exact_on_a_gaussian() -> None:
    """The score is linear there, so that both kinds of MALA take the same decisions."""
    one = GaussianMixture([1.0], [[0.3, -0.2]], 0.01)
    start, model = exact_start(one, LEVELS, chains=200, seed=1), one.model(EDM())
    runs = [
        run_chains(
            Chain(ExactPosterior(one, LEVELS), 0.05, metropolis=how), model, start, emissions=3
        )
        for how in (one, "score")
    ]
    assert np.array_equal(runs[0].sigma, runs[1].sigma)
    assert 0.1 < runs[0].acceptance.mean() < 0.9


ANCHORS = {
    # step, draw, emit -> KS of the levels, median level, share of window switches
    "ula-scaled-2": (StepSize(scale=2.0, v_min=WIDTH**2), "categorical", 0.277, 0.514, 0.77),
    "ula-0.05": (0.05, "categorical", 0.42, 0.71, 0.42),
    "argmax-0.2": (0.2, "argmax", 0.52, 1.49, 0.51),
    "argmax-1": (1.0, "argmax", 0.64, 2.0, 0.70),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANCHORS)
def test_biases_of_the_published_chain(name: str) -> None:
    """Rows of table 4.5; its chains had settled longer, and its medians have an error of 0.05."""
    step, draw, distance, median, switches = ANCHORS[name]
    chain = Chain(ExactPosterior(RING, LEVELS, draw=draw), step, burn_in=40)
    found = denoising_mcmc(
        chain,
        RING.model(EDM()),
        Denoiser("kar1", 10),
        exact_start(RING, LEVELS, chains=1000, seed=1),
        emissions=20,
    )
    kept = found.run.trace[40:]
    assert abs(distance_to_prior(kept) - distance) < 0.05
    assert abs(np.median(kept) / median - 1) < 0.1
    covered = mode_coverage(found, RING).switches
    assert covered is not None
    assert abs(covered - switches) < 0.05


def test_argmax_sticks_to_the_lowest_level() -> None:
    """Pitfall 18: with a step that goes with sigma the most likely level sinks to the bottom."""
    chain = Chain(
        ExactPosterior(RING, LEVELS, draw="argmax"), StepSize(scale=0.5, v_min=WIDTH**2), burn_in=60
    )
    start = exact_start(RING, LEVELS, chains=300, seed=1)
    trace = run_chains(chain, RING.model(EDM()), start, emissions=4).trace[60:]
    assert np.median(trace) == LEVELS[0]


def test_lowest_state_is_too_wide_even_for_an_exact_chain() -> None:
    """Pitfall 19: variance ratios 1.30 to 1.62 in the specification."""
    found = denoising_mcmc(
        exact_chain(RING, LEVELS, emit="lowest"),
        RING.model(EDM()),
        Denoiser("kar1", 10),
        exact_start(RING, LEVELS, chains=500, seed=1),
        emissions=8,
    )
    assert 1.2 < mode_coverage(found, RING).variance_ratio < 1.7
    assert 0.02 < np.median(found.sigma) < 0.032
