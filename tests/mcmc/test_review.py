"""Edges of the level table, starts from elsewhere, 16-bit states."""

from __future__ import annotations

import numpy as np
import pytest

from sgmsolve import VE, Gaussian
from sgmsolve.mcmc import (
    Chain,
    ExactPosterior,
    RandomWalk,
    exact_start,
    geometric_levels,
    run_chains,
)
from sgmsolve.mcmc.chain import dot

TARGET = Gaussian([0.0, 0.0], 0.04)
MODEL = TARGET.model(VE(0.01, 50.0))
LEVELS = geometric_levels(0.05, 2.0, 12)


def test_jitter_keeps_the_prior_at_the_ends() -> None:
    """Half cells carry half masses: the outer sixth of the range has a sixth of the levels."""
    step = ExactPosterior(TARGET, LEVELS, jitter=True)
    chain = Chain(step, 0.02, metropolis=TARGET, n_skip=3)
    start = exact_start(TARGET, LEVELS, chains=4000, seed=3)
    run = run_chains(chain, MODEL, start, emissions=30, seed=1)
    where = np.log(run.state.sigma / 0.05) / np.log(2.0 / 0.05)
    for share in (np.mean(where < 1 / 22), np.mean(where > 21 / 22)):
        assert share == pytest.approx(1 / 22, abs=0.012)


def test_a_walk_that_starts_outside_its_range_joins_in() -> None:
    walk = RandomWalk(TARGET, 0.1, 1.0)
    chain = Chain(walk, 0.01, metropolis=TARGET, n_skip=5)
    x = np.zeros((50, 2))
    run = run_chains(chain, MODEL, (x, np.full(50, 0.02)), emissions=10, seed=0)
    assert run.state.sigma.min() >= 0.1
    assert len(np.unique(run.state.sigma)) > 20


def test_inner_products_of_sixteen_bits() -> None:
    torch = pytest.importorskip("torch")
    a = torch.full((2, 3072), 7.0)
    for dtype in (torch.bfloat16, torch.float16):
        np.testing.assert_allclose(dot(a.to(dtype), a.to(dtype)), 3072 * 49.0)


def test_raising_a_level_adds_just_what_parts_the_two() -> None:
    """The mean square of x' - x is s'^2 - s^2; 200 000 numbers know it to 0.3 %."""
    from sgmsolve.mcmc.denoiser import _raised
    from sgmsolve.mcmc.draws import EmissionNoise

    sigma = np.array([0.3, 1.7])
    noise = EmissionNoise(5, np.arange(2), np.zeros(2, dtype=np.int64))
    x, up = _raised(np.zeros((2, 200_000)), sigma, noise, 10.0)
    assert (up >= sigma).all()
    assert (up <= 1.011 * sigma).all()
    np.testing.assert_allclose((x**2).mean(axis=1), up**2 - sigma**2, rtol=0.012)
