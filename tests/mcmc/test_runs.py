"""Runs of many chains: their books, their independence, what ends one, and bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from mcmc_cases import LEVELS, WIDTH, ring

import sgmsolve
from sgmsolve.errors import ChainError
from sgmsolve.mcmc import (
    Chain,
    ChainStatus,
    ChainWarning,
    Denoiser,
    ExactPosterior,
    NormEstimate,
    RandomWalk,
    Restart,
    StepSize,
    denoising_mcmc,
    exact_chain,
    exact_start,
    geometric_levels,
    published_chain,
    published_start,
    restart_after,
    run_chains,
)
from sgmsolve.process import EDM, VE, VP
from sgmsolve.target import Gaussian

RING = ring()
MODEL = RING.model(VP(), "data")
POSTERIOR = ExactPosterior(RING, LEVELS)
ARGMAX = ExactPosterior(RING, LEVELS, draw="argmax")


def test_levels_drift_upwards_in_many_dimensions() -> None:
    """Acceptance test 9: d = 3072, eta = 0.5, from 0.5: medians at 10, 30 and 100 steps."""
    target, levels = Gaussian(np.zeros(3072), 0.0), geometric_levels(0.1, 10.0, 500)
    x = 0.5 * np.random.default_rng(0).standard_normal((8, 3072))
    chain = Chain(ExactPosterior(target, levels), 0.5, n_skip=100)
    trace = run_chains(chain, target.model(EDM()), (x, 0.5), emissions=1).trace
    median = np.median(trace, axis=1)
    assert abs(median[99] - 1.88) < 0.1
    assert np.allclose(median[[9, 29]], [1.09, 1.41], atol=0.04)
    assert np.isclose(median[99], (0.5**4 + 0.5**2 * 100 / 2) ** 0.25, rtol=0.03)


@pytest.mark.parametrize("eta", [0.3, 0.003])
def test_restart_after_inverts_the_formula(eta) -> None:
    n = restart_after(eta, 0.7, 1.5)
    assert (0.7**4 + eta**2 * n / 2) ** 0.25 <= 1.5 * 0.7
    assert (0.7**4 + eta**2 * (n + 1) / 2) ** 0.25 > 1.5 * 0.7


def test_restarts_bring_the_level_back_and_are_counted() -> None:
    """One chain with and one without; between restarts they make the same 8 steps."""
    target, levels = Gaussian(np.zeros(400), 0.0), geometric_levels(0.1, 10.0, 500)
    x = 0.5 * np.random.default_rng(0).standard_normal((4, 400))
    chain = Chain(ExactPosterior(target, levels), 0.5, n_skip=8)
    again = dataclasses.replace(chain, restart=Restart(8, 0.5, Denoiser("kar1", 4)))
    plain, restarted = (
        run_chains(c, target.model(EDM()), (x, 0.5), emissions=4) for c in (chain, again)
    )
    assert np.all(np.median(plain.trace, axis=1)[15:] > 1.1)
    assert np.array_equal(restarted.trace[7::8], np.full((4, 4), 0.5))
    assert restarted.trace.max() < 1.3
    assert np.array_equal(restarted.trace[:7], plain.trace[:7])
    assert restarted.calls == {"start": 0.0, "burn_in": 0.0, "chain": 32.0, "restart": 20.0}
    # A point mass is denoised to nothing: what is left is the fresh noise of level 0.5.
    assert np.isclose(np.sqrt(np.mean(restarted.x[0] ** 2)), 0.5, rtol=0.05)
    assert not np.allclose(restarted.x[0], restarted.x[1])


def test_lowest_state_of_the_window_is_emitted() -> None:
    """With n_skip = 4 and the trace of every step: the window starts with the state before it."""
    start = exact_start(RING, LEVELS, chains=30, seed=1)
    low = run_chains(exact_chain(RING, LEVELS, n_skip=4, emit="lowest"), MODEL, start, emissions=3)
    last = run_chains(exact_chain(RING, LEVELS, n_skip=4), MODEL, start, emissions=3)
    each = run_chains(exact_chain(RING, LEVELS, n_skip=1), MODEL, start, emissions=12)
    assert np.array_equal(low.trace, last.trace)
    assert np.array_equal(each.sigma, last.trace)
    levels = np.concatenate([start[1][None], low.trace])
    states = np.concatenate([start[0][None], each.x])
    for w in range(3):
        window = levels[4 * w : 4 * w + 5]
        assert np.array_equal(low.sigma[w], window.min(axis=0))
        at = 4 * w + window.argmin(axis=0)
        assert np.array_equal(low.x[w], states[at, np.arange(30)])
        assert np.array_equal(last.sigma[w], window[-1])
        assert np.array_equal(last.x[w], states[4 * w + 4])


def test_a_chain_does_not_depend_on_its_mates() -> None:
    x, sigma = exact_start(RING, LEVELS, chains=6, seed=1)
    for chain in (
        exact_chain(RING, LEVELS),
        published_chain(ARGMAX, step=0.05),
        Chain(RandomWalk(RING, 0.01, 2.0, moves=2), 0.05, metropolis="score"),
    ):
        whole = denoising_mcmc(chain, MODEL, Denoiser("kar2", 5), (x, sigma), emissions=3, seed=9)
        rows = [4, 1]
        part = denoising_mcmc(
            *(chain, MODEL, Denoiser("kar2", 5), (x[rows], sigma[rows])),
            **{"emissions": 3, "seed": 9, "indices": rows, "batch": 4},
        )
        assert np.allclose(part.run.sigma, whole.run.sigma[:, rows], rtol=1e-12)
        mine = whole.x.reshape(3, 6, 2)[:, rows].reshape(-1, 2)
        assert np.allclose(part.x, mine, rtol=1e-9, atol=1e-12)
        assert part.chain.tolist() == rows * 3
        assert part.emission.tolist() == [0, 0, 1, 1, 2, 2]
        other = run_chains(chain, MODEL, (x, sigma), emissions=3, seed=10)
        assert not np.array_equal(other.sigma, whole.run.sigma)


@pytest.mark.parametrize("burn_in", [0, 13])
def test_a_run_goes_on_from_its_state(burn_in: int) -> None:
    """10 steps and 10 more with the same seed are 20: draws, restarts, burn-in and denoising."""
    start = exact_start(RING, LEVELS, chains=4, seed=1)
    chain = exact_chain(
        RING, LEVELS, n_skip=5, burn_in=burn_in, restart=Restart(7, 0.3, Denoiser("kar2", 4))
    )
    denoiser, kept = Denoiser("kar2", 5), {"seed": 3, "indices": [2, 9, 4, 7]}
    whole = denoising_mcmc(chain, MODEL, denoiser, start, emissions=4, **kept)
    first = denoising_mcmc(chain, MODEL, denoiser, start, emissions=2, **kept)
    state = first.run.state
    assert np.array_equal(state.x, first.run.x[-1])
    assert np.array_equal(state.sigma, first.run.sigma[-1])
    assert (state.steps, state.emissions) == (burn_in + 10, 2)
    second = denoising_mcmc(chain, MODEL, denoiser, state, emissions=2, **kept)
    assert np.array_equal(np.concatenate([first.run.trace, second.run.trace]), whole.run.trace)
    assert np.array_equal(np.concatenate([first.run.x, second.run.x]), whole.run.x)
    assert np.allclose(np.concatenate([first.x, second.x]), whole.x, rtol=1e-10, atol=1e-13)
    assert second.run.calls["burn_in"] == 0
    assert second.run.state[2:] == whole.run.state[2:]
    share = (10 + burn_in) * first.run.acceptance + 10 * second.run.acceptance
    assert np.allclose(share, (20 + burn_in) * whole.run.acceptance)


@pytest.mark.parametrize("process", [VP(), VE(0.005, 50.0)], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", ["data", "score", "v"])
def test_chains_are_the_same_under_every_process(process: sgmsolve.VP, kind: str) -> None:
    """x / alpha at sigma / alpha: the chain of EDM, whatever the model predicts."""
    start = exact_start(RING, LEVELS, chains=20, seed=1)
    chain = exact_chain(RING, LEVELS, n_skip=3)
    wanted = run_chains(chain, RING.model(EDM()), start, emissions=2)
    found = run_chains(chain, RING.model(process, kind), start, emissions=2)
    assert np.array_equal(found.sigma, wanted.sigma)
    assert np.allclose(found.x, wanted.x, rtol=1e-7, atol=1e-9)


class Counted:
    """Counts the samples that are evaluated."""

    def __init__(self, model: object) -> None:
        self.model, self.process, self.predicts, self.rows = model, VP(), "data", 0

    def __call__(self, z: tuple[np.ndarray, ...], t: object) -> tuple[np.ndarray, ...]:
        self.rows += len(z[0])
        return self.model(z, t)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize(
    ("chain", "calls"),
    [
        (published_chain(ARGMAX, step=0.05, n_skip=4, burn_in=3), 1),
        (exact_chain(RING, LEVELS, n_skip=4, burn_in=3), 2),
        (Chain(NormEstimate(0.01, 2.0), 0.05, n_skip=4, burn_in=3), 2),
        (Chain(NormEstimate(0.01, 2.0), 0.05, metropolis="score", n_skip=4, burn_in=3), 2),
    ],
    ids=["published", "exact", "norm", "norm-mala"],
)
def test_every_call_is_counted(chain: Chain, calls: int) -> None:
    """Acceptance test 11 for the chain: 1 call a step, with MALA 2; and all books add up."""
    model = Counted(MODEL)
    start = published_start(
        model, chain.sigma_step, shape=(2,), chains=8, sigma_max=50.0, seed=3, backend="numpy"
    )
    assert model.rows == 8 * 37
    chain = dataclasses.replace(chain, restart=Restart(9, 0.5, Denoiser("kar1", 3)))
    for denoiser in (Denoiser("kar1", 5, tweedie=0.01), Denoiser("rk45", tolerance=1e-3)):
        model.rows = 8 * 37
        found = denoising_mcmc(chain, model, denoiser, start, emissions=5, start_calls=37)
        nfe = found.nfe
        assert np.isclose(nfe.total * len(found.sigma), model.rows)
        assert nfe.start == 37 / 5
        assert np.isclose(nfe.burn_in, 3 * calls / 5)
        assert np.isclose(nfe.chain, 4 * calls)
        assert np.isclose(nfe.restart, 2 * 3 / 5)
        if denoiser.method == "kar1":
            assert (nfe.denoise, nfe.tweedie) == (7, 1)
            assert nfe.published == 4 * calls + 7


def test_published_start() -> None:
    """KAR2 from the prior ends on the ring; what is then added has the deviation asked for."""
    given = {"shape": (2,), "sigma_max": 50.0, "seed": 3, "backend": "numpy"}
    x, sigma = published_start(MODEL, ARGMAX, chains=400, **given)
    clean, _ = published_start(MODEL, ARGMAX, chains=400, sigma=1e-9, **given)
    assert abs(np.mean(np.hypot(*clean.T)) - 1) < 0.03
    assert np.isclose(np.std(x - clean), 0.5, rtol=0.05)
    assert np.array_equal(sigma, ARGMAX.first(x))
    some, _ = published_start(MODEL, ARGMAX, chains=2, indices=[7, 3], **given)
    assert np.allclose(some, x[[7, 3]], rtol=1e-10)
    _, level = published_start(MODEL, NormEstimate(0.01, 2.0), chains=2, **given)
    assert np.array_equal(level, [0.5, 0.5])


@pytest.mark.parametrize("how", ["nan", "far"])
def test_chains_that_diverge_end_and_the_others_go_on(how: str) -> None:
    """Two of five chains break: their emissions become NaN from there, the others are untouched."""
    start = exact_start(RING, LEVELS, chains=5, seed=1)
    model = RING.model(EDM(), "noise")
    chain = Chain(POSTERIOR, StepSize(scale=0.5, v_min=WIDTH**2), n_skip=2, limit=50.0)
    calls = 0

    def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        out = model((x,), t)[0]
        if calls > 4:
            out = out.copy()
            out[[1, 3]] = np.nan if how == "nan" else 1e9
        return out

    broken = run_chains(
        chain, sgmsolve.as_model(net, EDM(), predicts="noise"), start, emissions=4, seed=2
    )
    whole = run_chains(chain, model, start, emissions=4, seed=2)
    wanted = ChainStatus.NONFINITE if how == "nan" else ChainStatus.DIVERGED
    assert [broken.statuses[i] for i in range(5)] == [
        wanted if i in (1, 3) else ChainStatus.FINISHED for i in range(5)
    ]
    assert broken.ended.tolist() == [-1, 4, -1, 4, -1]
    assert np.array_equal(broken.sigma[:, [0, 2, 4]], whole.sigma[:, [0, 2, 4]])
    assert np.array_equal(broken.sigma[:2], whole.sigma[:2])
    assert np.all(np.isnan(broken.sigma[2:, [1, 3]]))
    assert np.all(np.isnan(broken.x[2:, [1, 3]]))
    assert np.all(np.isfinite(broken.state[0]))
    assert "2 of 5 chains ended early (chain 1 at step 4" in broken.message
    assert not whole.message


@pytest.mark.parametrize("where", ["here", "there"])
def test_nan_under_metropolis(where: str) -> None:
    """A score of NaN where a chain is ends it; where it only wants to go, it stays and lives on."""
    target = Gaussian(np.zeros(2), 1.0)
    exact, calls = target.model(EDM(), "noise"), 0

    def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        out = exact((x,), t)[0].copy()
        if calls % 2 == (where == "here"):
            out[1] = np.nan
        return out

    model = sgmsolve.as_model(net, EDM(), predicts="noise")
    step = ExactPosterior(target, geometric_levels(0.1, 1.0, 20))
    x = target.sample(3, 0)
    found = run_chains(Chain(step, 0.1, metropolis="score"), model, (x, 0.5), emissions=2)
    if where == "here":
        assert found.statuses[1] is ChainStatus.NONFINITE
        assert found.ended.tolist() == [-1, 0, -1]
    else:
        assert found.statuses == (ChainStatus.FINISHED,) * 3
        assert found.acceptance[1] == 0
        assert np.array_equal(found.state[0][1], x[1])
    assert np.all(found.acceptance[[0, 2]] > 0.3)


def test_chains_that_stand_still_are_warned_about() -> None:
    target = Gaussian(np.zeros(1000), 1.0)
    levels, x = geometric_levels(0.1, 1.0, 20), target.sample(3, 0)
    for scale, still in ((1.0, True), (0.1, False)):
        chain = exact_chain(target, levels, scale=scale)
        run = run_chains(chain, target.model(EDM()), (x, 0.5), emissions=2)
        assert ("accepted 0.0% of its proposals" in run.message) is still
        assert ("in 1000 dimensions a scale of 0.1" in run.message) is still


def test_samples_of_ended_chains_are_left_out_and_warned_about() -> None:
    model = RING.model(EDM(), "noise")
    wild = Chain(POSTERIOR, 0.5, limit=1.3, n_skip=1)
    start = exact_start(RING, LEVELS, chains=40, seed=1)
    with pytest.warns(ChainWarning, match="of 40 chains ended early"):
        found = denoising_mcmc(wild, model, Denoiser("kar1", 4), start, emissions=2)
    assert 0 < len(found.x) < 80
    assert np.all(np.isfinite(found.x))
    assert np.isclose(found.nfe.chain, 80 / len(found.x))
    tight = dataclasses.replace(wild, limit=1e-3)
    with (
        pytest.raises(ChainError, match="no chain lived to its first emission"),
        pytest.warns(ChainWarning),
    ):
        denoising_mcmc(tight, model, Denoiser("kar1", 4), start, emissions=2)
