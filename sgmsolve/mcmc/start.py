"""Where chains begin: as published, from a target's joint law, or from states of one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import on_device
from sgmsolve.backends.place import empty_state
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.denoiser import Denoiser
from sgmsolve.mcmc.density import check_target
from sgmsolve.mcmc.draws import PROPOSAL, Draws, derived_seed
from sgmsolve.mcmc.levels import Prior, SigmaStep, log_masses
from sgmsolve.mcmc.settings import count

START_CALLS = 37
"""Calls of kar2 with N = 20."""


def published_start(
    model: Any,
    sigma_step: SigmaStep,
    *,
    shape: tuple[int, ...],
    chains: int,
    sigma_max: float,
    sigma: float = 0.5,
    seed: int = 0,
    indices: Any = None,
    backend: str | None = None,
    dtype: Any = None,
    device: Any = None,
    like: Any = None,
) -> tuple[Any, np.ndarray]:
    """(x, levels) as in the released code: KAR2 with N = 20 from the prior, then a little noise.

    x ~ N(0, sigma_max^2 I), kar2 to the data (37 calls a chain), x += sigma xi (0.5), and the level
    is the most likely one, or sigma where ``sigma_step`` cannot tell without a level.
    backend, dtype, device, like: as in ``sgmsolve.sample``.
    """
    n = count("chains", chains)
    empty = empty_state(shape, n, backend, dtype=dtype, device=device, like=like, model=model)
    draws = Draws(derived_seed(seed, "start"), indices, n)
    x = float(sigma_max) * draws.normals(PROPOSAL, empty)
    x = Denoiser("kar2", 20)(model, x, sigma_max, seed=draws.seed, chains=draws.indices).x
    draws.step += 1
    x = x + float(sigma) * draws.normals(PROPOSAL, empty)
    try:
        return x, sigma_step.first(x)
    except ChainError:
        return x, np.full(n, float(sigma))


def exact_start(
    target: Any,
    levels: Any,
    *,
    chains: int,
    prior: Prior = "log-uniform",
    seed: int = 0,
    like: Any = None,
) -> tuple[Any, np.ndarray]:
    """(x, levels) from the joint law itself: sigma from the prior's masses, x = x0 + sigma xi.

    A test of a chain, not a start for a real model. ``like``: an array whose library, dtype and
    device x is to have; numpy float64 by default.
    """
    n, table = count("chains", chains), np.asarray(levels, dtype=np.float64)
    weight = np.exp(log_masses(prior, table) - np.max(log_masses(prior, table)))
    rng = np.random.default_rng([int(seed), 20220914])
    sigma = rng.choice(table, size=n, p=weight / weight.sum())
    x0 = check_target(target).sample(n, rng)
    x = x0 + sigma.reshape(n, *(1,) * (x0.ndim - 1)) * rng.standard_normal(x0.shape)
    if like is None:
        return x, sigma
    return array_namespace(like).astype(on_device(x, like), like.dtype), sigma
