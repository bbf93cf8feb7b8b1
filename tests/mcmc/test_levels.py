"""p(sigma | x) on a table, its draws, and the other updates of the level."""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_cases import LEVELS, ring

from sgmsolve.errors import ChainError
from sgmsolve.mcmc import (
    Chain,
    ChainStatus,
    ExactPosterior,
    NoiseLevelNetwork,
    NormEstimate,
    RandomWalk,
    exact_start,
    geometric_levels,
    run_chains,
)
from sgmsolve.mcmc.density import LevelDensity
from sgmsolve.mcmc.draws import Draws
from sgmsolve.mcmc.levels import Moment, log_masses
from sgmsolve.process import EDM
from sgmsolve.target import Empirical, Gaussian, GaussianField, GaussianMixture

RNG = np.random.default_rng(0)


def targets() -> dict[str, object]:
    cov = RNG.standard_normal((3, 3))
    return {
        "isotropic mixture": ring(),
        "wide and narrow": GaussianMixture([1, 2], [[0, 0], [1.0, 0]], [0.01, 0.2]),
        "dense mixture": GaussianMixture(
            [1, 1], RNG.standard_normal((2, 3)), np.stack([cov @ cov.T] * 2)
        ),
        "data": Empirical(RNG.standard_normal((20, 2, 3)), 0.1),
        "dense gaussian": Gaussian(np.ones(3), cov @ cov.T),
        "point": Gaussian(np.zeros(4), 0.0),
        "field": GaussianField.power_law((4, 4)),
    }


@pytest.mark.parametrize("name", targets())
def test_densities_at_all_levels_are_the_targets_own(name: str) -> None:
    target = targets()[name]
    sigmas = np.array([0.02, 0.3, 5.0])
    x = target.sample(6, 1) + 0.2 * RNG.standard_normal((6, *target.shape))
    found = LevelDensity(target, sigmas)(x)
    for j, sigma in enumerate(sigmas):
        wanted = target.marginal_log_prob(x, float(sigma), EDM())
        assert np.allclose(found[:, j], wanted, rtol=1e-10, atol=1e-9)


def test_large_batches_are_worked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    target = ring()
    x = target.sample(11, 0)
    whole = LevelDensity(target, LEVELS)(x)
    monkeypatch.setattr("sgmsolve.mcmc.density.LARGEST_BLOCK", 24)
    assert np.allclose(LevelDensity(target, LEVELS)(x), whole, rtol=1e-13)


@pytest.mark.parametrize("d", [2, 3072])
def test_point_mass_has_its_mode_at_the_norm(d: int) -> None:
    """Acceptance test 10: mode^2 = |x|^2 / d within one cell, for the log-uniform prior."""
    levels = geometric_levels(0.01, 50.0, 1000)
    step = ExactPosterior(Gaussian(np.zeros(d), 0.0), levels, draw="argmax")
    x, size = RNG.standard_normal((50, d)), np.geomspace(0.03, 20, 50)
    x *= (size / np.sqrt(np.mean(x * x, axis=1)))[:, None]
    ratio = levels[1] / levels[0]
    assert np.all(np.abs(np.log(step.first(x) / size)) <= 0.5 * np.log(ratio) * 1.02)
    # Its width in log sigma is 1 / sqrt(2 d).
    logits = step.logits(x)
    weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    mean = weight @ np.log(levels)
    spread = np.sqrt(weight @ np.log(levels) ** 2 - mean**2)
    if d > 2:
        assert np.allclose(spread * np.sqrt(2 * d), 1, atol=0.02)


def moment(x: np.ndarray, sigma: np.ndarray, seed: int = 0, noise: object = None) -> Moment:
    return Moment(x, sigma, Draws(seed, None, len(x)), noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", [1, -1])
def test_draws_have_the_posterior_s_probabilities(order: int) -> None:
    """20 000 draws at one x against softmax(log pi + log p), with a density as prior."""
    levels = geometric_levels(0.05, 1.0, 12)[::order]
    target = ring()
    step = ExactPosterior(target, levels, prior=lambda s: 1 / s**2)
    x = np.broadcast_to([[0.8, 0.3]], (20000, 2))
    drawn = step(moment(x, np.ones(20000), seed=4))
    logits = np.array([target.marginal_log_prob(x[:1], float(s), EDM())[0] for s in levels])
    p = np.exp(logits - logits.max()) / levels  # 1/s^2 times the cell's width s
    p /= p.sum()
    found = np.array([np.mean(drawn == s) for s in levels])
    assert np.all(np.abs(found - p) < 4 * np.sqrt(p * (1 - p) / 20000) + 1e-6)


def test_jitter_stays_in_its_cell_and_fills_it() -> None:
    levels = geometric_levels(0.1, 1.0, 4)
    step = ExactPosterior(Gaussian(np.zeros(2), 0.0), levels, draw="argmax", jitter=True)
    ratio = levels[1] / levels[0]
    x = np.full((4000, 2), levels[1])
    drawn = step(moment(x, np.ones(4000)))
    place = np.log(drawn / levels[1]) / np.log(ratio)
    assert -0.5 <= place.min() < -0.498
    assert 0.498 < place.max() <= 0.5
    assert abs(place.mean()) < 0.015
    edge = step(moment(np.full((4000, 2), 0.01), np.ones(4000)))
    assert edge.min() >= levels[0]
    assert edge.max() <= levels[0] * np.sqrt(ratio)


def test_priors() -> None:
    levels = geometric_levels(0.1, 1.0, 5)
    assert np.array_equal(log_masses("log-uniform", levels), np.zeros(5))
    assert np.allclose(np.exp(log_masses(lambda s: s, levels)), levels**2)
    assert np.allclose(np.exp(log_masses([1, 2, 3, 4, 5], levels)), [1, 2, 3, 4, 5])


def test_network_with_the_exact_logits_is_the_exact_posterior() -> None:
    """Also with logits of the uniform prior and a shift to another one."""
    levels, target = geometric_levels(0.05, 1.0, 30), ring()
    density = LevelDensity(target, levels)
    shift = np.log(np.linspace(1, 3, 30))
    net = NoiseLevelNetwork(density, levels, shift)
    exact = ExactPosterior(target, levels, np.linspace(1, 3, 30))
    x, sigma = exact_start(target, levels, chains=300, seed=0)
    assert np.array_equal(net(moment(x, sigma)), exact(moment(x, sigma)))
    assert np.array_equal(net.first(x), exact.first(x))


LOGITS = np.array(
    [
        [0.0, np.nan, 1.0],
        [-np.inf, -np.inf, -np.inf],
        [0.0, np.inf, 1.0],
        [-np.inf, -np.inf, 3.0],
    ]
)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_logits_that_tell_nothing_give_no_level(library: str) -> None:
    """NaN, all of them -Inf, and Inf; a level of weight 0 is nothing bad."""
    xp = np if library == "numpy" else pytest.importorskip(library)
    xp = xp.numpy if library == "jax" else xp
    logits, x = xp.asarray(LOGITS), xp.zeros((4, 2))
    for draw in ("argmax", "categorical"):
        for jitter in (False, True):
            step = NoiseLevelNetwork(lambda x: logits, [0.1, 0.2, 0.4], draw=draw, jitter=jitter)
            found = step(moment(x, np.ones(4)))
            assert np.array_equal(np.isnan(found), [True, True, True, False])
            assert np.sqrt(0.08) <= found[3] <= 0.4
            assert jitter or found[3] == 0.4
            assert np.array_equal(step.first(x), [np.nan, np.nan, np.nan, 0.4], equal_nan=True)


def test_a_chain_whose_network_gives_nan_ends() -> None:
    """The second of three; the others go on. A start without levels is refused."""
    target, levels = ring(), geometric_levels(0.05, 1.0, 3)

    def net(x: np.ndarray) -> np.ndarray:
        return np.where((np.arange(len(x)) == 1)[:, None], np.nan, np.zeros((len(x), 3)))

    step, x = NoiseLevelNetwork(net, levels), target.sample(3, 0)
    run = run_chains(Chain(step, 0.01, n_skip=1), target.model(EDM()), (x, 0.5), emissions=2)
    assert [s is ChainStatus.NONFINITE for s in run.statuses] == [False, True, False]
    assert run.ended.tolist() == [-1, 0, -1]
    start = (x, step.first(x))
    with pytest.raises(ChainError, match="1 of them NaN, Inf or not above 0"):
        run_chains(Chain(step, 0.01), target.model(EDM()), start, emissions=1)


def test_norm_estimate() -> None:
    """On a point mass E[eps | x] = x / sigma, so the estimate is |x| / sqrt(d), and is clipped."""
    target = Gaussian(np.zeros(50), 0.0)
    x = RNG.standard_normal((4, 50)) * np.array([0.001, 0.1, 1.0, 30.0])[:, None]
    sigma = np.full(4, 0.7)
    step = NormEstimate(0.01, 5.0)
    found = step(moment(x, sigma, noise=lambda: x / 0.7))
    size = np.sqrt(np.mean(x * x, axis=1))
    assert np.allclose(found, np.clip(size, 0.01, 5.0), rtol=1e-12)
    run = run_chains(Chain(step, 0.2, n_skip=1), target.model(EDM()), (x[1:3], 0.5), emissions=1)
    after = np.sqrt(np.mean(run.state[0] ** 2, axis=1))
    assert np.allclose(run.sigma[0], after, rtol=1e-10)


def test_levels_are_refused_in_sentences() -> None:
    target = ring()
    cases = [
        (lambda: geometric_levels(1.0, 0.1, 5), "expected 0 < low < high"),
        (lambda: geometric_levels(0.1, 1.0, 1), "at least 2"),
        (lambda: ExactPosterior("ring", LEVELS), "expected a distribution of sgmsolve.target"),
        (lambda: ExactPosterior(target, [0.1, -1]), "above 0"),
        (lambda: ExactPosterior(target, [0.1, 0.1]), "occurs twice"),
        (lambda: ExactPosterior(target, LEVELS, "uniform"), "unknown prior 'uniform'"),
        (lambda: ExactPosterior(target, LEVELS, [1, 2]), "200 finite masses"),
        (lambda: ExactPosterior(target, LEVELS, draw="mode"), "unknown draw 'mode'"),
        (lambda: NoiseLevelNetwork(3, LEVELS), "expected a function net"),
        (lambda: NoiseLevelNetwork(len, LEVELS, [1.0]), "one entry a level"),
        (lambda: NormEstimate(0.0, 1.0), "expected 0 < low < high"),
        (lambda: RandomWalk(target, 0.1, 1.0, width=0), "width = 0, expected a finite number"),
        (lambda: RandomWalk(target, 0.1, 1.0, width="a"), "width = 'a', expected a finite number"),
        (lambda: RandomWalk(target, 0.1, 1.0, moves=1.5), "moves = 1.5, expected an integer"),
        (lambda: geometric_levels("a", 1.0, 5), "levels from 'a' to 1.0"),
        (lambda: geometric_levels(0.1, 1.0, 5.5), "count = 5.5, expected an integer"),
        (lambda: ExactPosterior(target, "a"), "'a' were given as levels"),
        (lambda: ExactPosterior(target, [0.1, np.inf]), "finite standard deviations"),
        (lambda: exact_start(target, [0.1, -1], chains=3), r"\[0.1, -1\] were given as levels"),
        (lambda: exact_start(target, LEVELS, chains=3, seed=-1), "seed = -1"),
        (lambda: RandomWalk(target, 0.1, 1.0, prior="flat"), "log-uniform"),
        (lambda: NormEstimate(0.1, 1.0).first(np.ones((2, 2))), "needs a level to start from"),
    ]
    for make, words in cases:
        with pytest.raises(ChainError, match=words):
            make()
    net = NoiseLevelNetwork(lambda x: x, LEVELS)
    with pytest.raises(ChainError, match=r"returned shape \(3, 2\), expected \(3, 200\)"):
        net.first(np.ones((3, 2)))
