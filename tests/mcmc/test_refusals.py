"""What a user may get wrong about chains is told in sentences, before any work."""

from __future__ import annotations

import numpy as np
import pytest
from mcmc_cases import LEVELS, ring

from sgmsolve.errors import ChainError
from sgmsolve.mcmc import (
    Chain,
    Denoiser,
    ExactPosterior,
    Restart,
    denoise_run,
    denoising_mcmc,
    diagnose,
    exact_chain,
    exact_start,
    geometric_levels,
    published_chain,
    published_start,
    restart_after,
    run_chains,
)
from sgmsolve.process import CLD, VE, VP
from sgmsolve.target import Gaussian

RING = ring()
MODEL = RING.model(VP(), "data")
POSTERIOR = ExactPosterior(RING, LEVELS)
ARGMAX = ExactPosterior(RING, LEVELS, draw="argmax")


def test_runs_are_refused_in_sentences() -> None:
    x, sigma = exact_start(RING, LEVELS, chains=3, seed=1)
    chain = exact_chain(RING, LEVELS)

    def run(**changes: object) -> object:
        given = {"chain": chain, "model": MODEL, "start": (x, sigma), "emissions": 1, **changes}
        return run_chains(given.pop("chain"), given.pop("model"), given.pop("start"), **given)  # type: ignore[arg-type]

    def first(**changes: object) -> object:
        given = {"sigma_step": ARGMAX, "shape": (2,), "chains": 2, "sigma_max": 50.0, **changes}
        return published_start(MODEL, given.pop("sigma_step"), backend="numpy", **given)  # type: ignore[arg-type]

    high = ExactPosterior(RING, geometric_levels(0.01, 1e3, 20))
    low = ExactPosterior(RING, geometric_levels(0.01, 1.0, 20))
    psld = Gaussian(np.zeros(2), 1.0).model(CLD(), "score")
    cases = [
        (lambda: run(emissions=0), "emissions = 0, expected an integer of at least 1"),
        (lambda: run(start=x), "expected"),
        (lambda: run(start=(x, -1.0)), "3 finite numbers above 0"),
        (lambda: run(start=(x, sigma[:2])), "3 finite numbers above 0"),
        (lambda: run(start=(x.astype(int), 1.0)), "expected a floating array"),
        (lambda: run(chain="exact"), "expected sgmsolve.mcmc.Chain"),
        (lambda: run(model=psld), "a process of one component"),
        (lambda: run(chain=Chain(high, 0.1)), "choose levels inside"),
        (lambda: run(chain=Chain(low, 0.1), model=RING.model(VE(0.05, 5.0))), "0.05 to 5"),
        (lambda: Chain("exact", 0.1), "expected ExactPosterior"),
        (lambda: Chain(POSTERIOR, 0.0), "a step above 0"),
        (lambda: Chain(POSTERIOR, "big"), "a number above 0 or a StepSize"),
        (lambda: Chain(POSTERIOR, 0.1, metropolis="scores"), "mean 'score'"),
        (lambda: Chain(POSTERIOR, 0.1, metropolis=3), "distribution of sgmsolve.target"),
        (lambda: Chain(POSTERIOR, 0.1, emit="min"), "unknown emit 'min'"),
        (lambda: Chain(POSTERIOR, 0.1, n_skip=0), "n_skip = 0"),
        (lambda: Chain(POSTERIOR, 0.1, burn_in=-1), "burn_in = -1"),
        (lambda: Chain(POSTERIOR, 0.1, limit=0), "limit = 0"),
        (lambda: published_chain(POSTERIOR), "takes the most likely level"),
        (lambda: restart_after(0.0, 1.0, 2.0), "eta = 0.0, expected a finite number above 0"),
        (lambda: restart_after(0.1, 1.0, 1.0), "growth = 1.0, expected a factor above 1"),
        (lambda: restart_after("a", 1.0, 2.0), "eta = 'a'"),
        (lambda: restart_after(1e-200, 0.5, 2), "never grows by the factor 2"),
        (lambda: Restart(5, -1.0, Denoiser("kar1", 4)), "Restart's sigma = -1.0"),
        (lambda: Restart(5, "a", Denoiser("kar1", 4)), "Restart's sigma = 'a'"),
        (lambda: Chain(POSTERIOR, 0.1, restart=5), "restart = 5, expected a Restart"),
        (lambda: Chain(POSTERIOR, 0.1, limit="a"), "limit = 'a'"),
        (lambda: exact_chain(RING, LEVELS, bogus=1), "unknown option 'bogus'"),
        (lambda: exact_chain(RING, LEVELS, metropolis="score"), "unknown option 'metropolis'"),
        (lambda: published_chain(ARGMAX, emit="last"), "unknown option 'emit'"),
        (lambda: Restart(5, 1.0, "kar1"), "expected a Denoiser"),
        (lambda: denoising_mcmc(chain, MODEL, "kar1", (x, sigma), emissions=1), "a Denoiser"),
        (lambda: denoise_run(5, MODEL, Denoiser("kar1", 4)), "expected a ChainRun"),
        (lambda: diagnose(5), "run is a int, expected the ChainRun"),
        (lambda: run(start=(x[:0], sigma[:0])), "at least one chain"),
        (lambda: run(start_calls=-1), "start_calls = -1, expected a finite number of at least 0"),
        (lambda: first(sigma_max=-1), "sigma_max = -1"),
        (lambda: first(sigma=0), "sigma = 0"),
        (lambda: first(sigma_step="exact"), "expected the update of a Chain"),
        (lambda: Denoiser("kar1", 4, s_min="a"), "s_min = 'a'"),
        (lambda: Denoiser("rk45", tolerance="a"), "tolerance = 'a'"),
    ]
    for make, words in cases:
        with pytest.raises(ChainError, match=words):
            make()
