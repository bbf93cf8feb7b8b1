"""Where chains begin: as published, from a target's joint law, or from states of one's own."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import on_device, to_host
from sgmsolve.backends.place import empty_state
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.checks import count, level_table, number
from sgmsolve.mcmc.denoiser import Denoiser
from sgmsolve.mcmc.density import check_target
from sgmsolve.mcmc.draws import PROPOSAL, Draws, derived_seed
from sgmsolve.mcmc.levels import Prior, SigmaStep, log_masses

START_CALLS = 37
"""Calls of kar2 with N = 20."""


class ChainState(NamedTuple):
    """Where chains are, to go on from: ``run_chains(chain, model, run.state, ...)``.

    x (chains, *shape), sigma (chains,), and how many steps and emissions were made to get there.
    Draws are keyed by those counts, so that the same seed continues the stream of random numbers.
    """

    x: Any
    sigma: Any
    steps: int = 0
    emissions: int = 0


def check_start(start: Any) -> ChainState:
    """The start with one level a chain; ChainError otherwise."""
    given = isinstance(start, ChainState) or (isinstance(start, (tuple, list)) and len(start) == 2)
    if not given or not hasattr(start[0], "dtype"):
        msg = (
            f"start is a {type(start).__name__}, expected (x, sigma): an array (chains, *shape) "
            "and the levels (chains,); exact_start or published_start make one."
        )
        raise ChainError(msg)
    state = ChainState(*start)
    x = state.x
    if x.ndim < 2 or not x.shape[0] or not array_namespace(x).isdtype(x.dtype, "real floating"):
        msg = (
            f"the chains start at shape {tuple(x.shape)}, dtype {x.dtype}, expected a floating "
            "array (chains, *shape) of at least one chain."
        )
        raise ChainError(msg)
    sigma = np.asarray(to_host(state.sigma) if hasattr(state.sigma, "dtype") else state.sigma)
    fits = sigma.shape in ((), (x.shape[0],)) and np.issubdtype(sigma.dtype, np.number)
    wrong = int(np.sum(~(np.isfinite(sigma) & (sigma > 0)))) if fits else 0
    if not fits or wrong:
        found = f", {wrong} of them NaN, Inf or not above 0" if wrong else ""
        msg = (
            f"the starting levels have shape {sigma.shape}{found}; expected {x.shape[0]} finite "
            "numbers above 0, or one for all chains."
        )
        raise ChainError(msg)
    steps, emissions = count("steps", state.steps, 0), count("emissions", state.emissions, 0)
    levels = np.broadcast_to(sigma.astype(np.float64), (x.shape[0],)).copy()
    return ChainState(x, levels, steps, emissions)


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
    backend, dtype, device, like: as in ``sgmsolve.sample``. Raises: ChainError for levels and
    counts that make no sense.
    """
    n, top = count("chains", chains), number("sigma_max", sigma_max)
    level = number("sigma", sigma)
    if not isinstance(sigma_step, SigmaStep):
        msg = f"sigma_step is a {type(sigma_step).__name__}, expected the update of a Chain."
        raise ChainError(msg)
    empty = empty_state(shape, n, backend, dtype=dtype, device=device, like=like, model=model)
    draws = Draws(derived_seed(seed, "start"), indices, n)
    x = top * draws.normals(PROPOSAL, empty)
    x = Denoiser("kar2", 20)(model, x, top, seed=draws.seed, chains=draws.indices).x
    draws.step += 1
    x = x + level * draws.normals(PROPOSAL, empty)
    try:
        return x, sigma_step.first(x)
    except ChainError:
        return x, np.full(n, level)


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
    device x is to have; numpy float64 by default. Raises: ChainError for levels, masses and counts
    that make no sense.
    """
    n, table = count("chains", chains), level_table(levels, least=1)
    weight = np.exp(log_masses(prior, table) - np.max(log_masses(prior, table)))
    rng = np.random.default_rng([count("seed", seed, 0), 20220914])
    sigma = rng.choice(table, size=n, p=weight / weight.sum())
    x0 = check_target(target).sample(n, rng)
    x = x0 + sigma.reshape(n, *(1,) * (x0.ndim - 1)) * rng.standard_normal(x0.shape)
    if like is None:
        return x, sigma
    return array_namespace(like).astype(on_device(x, like), like.dtype), sigma
