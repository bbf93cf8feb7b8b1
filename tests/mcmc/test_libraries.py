"""torch and jax: states stay where they are, in their dtype, and torch's chains are numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_cases import LEVELS, ring

import sgmsolve
from sgmsolve.mcmc import (
    Chain,
    Denoiser,
    ExactPosterior,
    NoiseLevelNetwork,
    NormEstimate,
    RandomWalk,
    denoising_mcmc,
    exact_chain,
    exact_start,
    geometric_levels,
    published_chain,
    run_chains,
)
from sgmsolve.process import VP

RING = ring()
CHAINS = {
    "exact": exact_chain(RING, LEVELS, n_skip=2),
    "published": published_chain(ExactPosterior(RING, LEVELS, draw="argmax"), step=0.05, n_skip=2),
    "walk": Chain(RandomWalk(RING, 0.01, 2.0), 0.05, metropolis="score", n_skip=2),
    "norm": Chain(NormEstimate(0.01, 2.0), 0.05, n_skip=2),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("bits", [32, 64])
def test_torch_is_numpy(name: str, bits: int) -> None:
    """The same chain from the same draws; float32 states stay float32."""
    torch = pytest.importorskip("torch")
    model = RING.model(VP(), "noise")
    x, sigma = exact_start(RING, LEVELS, chains=12, seed=5)
    dtype = torch.float32 if bits == 32 else torch.float64
    like = torch.zeros(1, dtype=dtype)
    start = exact_start(RING, LEVELS, chains=12, seed=5, like=like)
    for denoiser in (Denoiser("kar2", 5), Denoiser("rk45", tolerance=1e-3, tweedie=0.01)):
        wanted = denoising_mcmc(CHAINS[name], model, denoiser, (x, sigma), emissions=2)
        found = denoising_mcmc(CHAINS[name], model, denoiser, start, emissions=2)
        assert found.x.dtype == found.run.x.dtype == found.run.state[0].dtype == dtype
        if bits == 64:
            assert np.allclose(found.sigma, wanted.sigma, rtol=1e-10)
            assert np.allclose(found.x.numpy(), wanted.x, rtol=1e-8, atol=1e-10)
        else:  # a decision may fall the other way in float32: for one sample in a hundred
            near = np.all(np.abs(found.x.numpy() - wanted.x) < 2e-2, axis=1)
            assert near.mean() > 0.9


def test_torch_network_keeps_no_graph() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(2, 2).to(torch.float64)
    classes = torch.nn.Linear(2, 10).to(torch.float64)
    model = sgmsolve.as_model(lambda x, t: net(x) + 0 * t[:, None], VP(), predicts="noise")
    step = NoiseLevelNetwork(classes, geometric_levels(0.05, 2.0, 10))
    chain = Chain(step, 0.01, metropolis="score", n_skip=2)
    start = (torch.zeros(4, 2, dtype=torch.float64), 0.5)
    found = denoising_mcmc(chain, model, Denoiser("heun", 3), start, emissions=2)
    assert not found.x.requires_grad
    assert not found.run.x.requires_grad


def test_jax_states_stay_jax_s() -> None:
    """One step of the chain that uses the least."""
    jax = pytest.importorskip("jax")
    x, sigma = exact_start(RING, LEVELS, chains=3, seed=5, like=jax.numpy.zeros(1))
    chain = Chain(NormEstimate(0.01, 2.0), 0.05, metropolis="score", n_skip=1)
    found = run_chains(chain, RING.model(VP(), "noise"), (x, sigma), emissions=1)
    assert isinstance(found.x, jax.Array)
    assert found.x.dtype == x.dtype


@pytest.mark.slow
def test_jax_chains_do_not_depend_on_their_mates() -> None:
    """Slow because jax compiles every shape."""
    jax = pytest.importorskip("jax")
    start = exact_start(RING, LEVELS, chains=4, seed=5, like=jax.numpy.zeros(1))
    chain, model = CHAINS["exact"], RING.model(VP(), "noise")
    whole = denoising_mcmc(chain, model, Denoiser("kar1", 3), start, emissions=2)
    assert isinstance(whole.x, jax.Array)
    assert isinstance(whole.run.x, jax.Array)
    half = (start[0][2:], start[1][2:])
    part = denoising_mcmc(
        chain, model, Denoiser("kar1", 3), half, emissions=2, indices=np.array([2, 3])
    )
    assert np.allclose(part.run.sigma, whole.run.sigma[:, 2:], rtol=1e-6)
    assert np.allclose(
        part.x, np.asarray(whole.x).reshape(2, 4, 2)[:, 2:].reshape(-1, 2), atol=1e-4
    )
