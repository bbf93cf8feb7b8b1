"""Chains and a denoiser together: samples, and what each of them cost."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import take
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.chain import ChainRun, no_graph, run_chains
from sgmsolve.mcmc.checks import count
from sgmsolve.mcmc.denoiser import Denoiser
from sgmsolve.mcmc.settings import Chain
from sgmsolve.mcmc.view import View


class ChainWarning(UserWarning):
    """Chains that ended early, stand still, or have not mixed."""


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """Calls of the model for one emitted sample, on average.

    ``start``, ``burn_in`` and ``restart`` are shared by a chain's emissions. ``published`` counts
    as the paper does: the window and the denoiser, without a last Tweedie step and what came
    before the first window.
    """

    start: float
    burn_in: float
    chain: float
    restart: float
    denoise: float
    tweedie: float

    @property
    def total(self) -> float:
        """All calls of the model over the number of samples."""
        return self.start + self.burn_in + self.chain + self.restart + self.denoise + self.tweedie

    @property
    def published(self) -> float:
        """n_skip + n_den for the published chain."""
        return self.chain + self.denoise


@dataclasses.dataclass(frozen=True, eq=False)
class MCMCSamples:
    """Denoised samples.

    Attributes:
        x: (samples, *shape) at the data, emission by emission, without those of chains that ended.
        sigma: (samples,) levels they were denoised from.
        chain, emission: (samples,) where each comes from; emissions of a run count from 0.
        nfe: :class:`Evaluations` of one sample.
        run: the chains, with their statuses, trace and last state.
    """

    x: Any
    sigma: np.ndarray
    chain: np.ndarray
    emission: np.ndarray
    nfe: Evaluations
    run: ChainRun


def denoising_mcmc(
    chain: Chain,
    model: Any,
    denoiser: Denoiser,
    start: tuple[Any, Any],
    *,
    emissions: int,
    seed: int = 0,
    indices: Any = None,
    start_calls: float = 0,
    batch: int = 4096,
    progress: bool = False,
) -> MCMCSamples:
    """Run chains on (x, sigma) and denoise what they emit.

    chain, model, start, emissions, seed, indices, start_calls, progress: as in
    :func:`run_chains`; denoiser: a :class:`Denoiser`; batch: samples denoised at once.

    Warns: ChainWarning for chains that ended early or stand still. Raises: ChainError as
    ``run_chains``, and if no chain is left.
    """
    if not isinstance(denoiser, Denoiser):
        raise ChainError(f"denoiser is a {type(denoiser).__name__}, expected a Denoiser.")
    count("batch", batch)
    if isinstance(chain, Chain):
        denoiser.check(View(model).base, [chain.sigma_step.low, chain.sigma_step.high])
    run = run_chains(
        chain,
        model,
        start,
        emissions=emissions,
        seed=seed,
        indices=indices,
        start_calls=start_calls,
        progress=progress,
    )
    if run.message:
        warnings.warn(run.message, ChainWarning, stacklevel=2)
    return denoise_run(run, model, denoiser, batch=batch)


def denoise_run(run: ChainRun, model: Any, denoiser: Denoiser, *, batch: int = 4096) -> MCMCSamples:
    """Denoise what chains emitted; another denoiser costs no new chain.

    Raises: ChainError if every chain ended before its first emission, or for anything but a run
    and a Denoiser.
    """
    if not isinstance(run, ChainRun) or not isinstance(denoiser, Denoiser):
        msg = (
            f"a {type(run).__name__} and a {type(denoiser).__name__} were given, expected a "
            "ChainRun (of run_chains) and a Denoiser."
        )
        raise ChainError(msg)
    count("batch", batch)
    valid = run.valid
    if not valid.any():
        msg = f"no chain lived to its first emission, so there is nothing to denoise. {run.message}"
        raise ChainError(msg)
    emission, place = np.nonzero(valid)
    xp = array_namespace(run.x)
    flat = take(xp.reshape(run.x, (-1, *run.x.shape[2:])), np.flatnonzero(valid))
    sigma = run.sigma[valid]
    made, nfe = [], []
    with no_graph(run.x):
        for i in range(0, len(sigma), batch):
            rows = np.arange(i, min(i + batch, len(sigma)))
            found = denoiser(
                *(model, take(flat, rows), sigma[rows]),
                seed=run.seed,
                chains=run.indices[place[rows]],
                emissions=run.emitted + emission[rows],
                raised=not run.settings.sigma_step.tabled,
            )
            made.append(found.x)
            nfe.append(found.nfe)
    # Chains that ended were paid for too.
    each = valid.shape[1] / len(sigma)
    calls = {name: value * each for name, value in run.calls.items()}
    tweedie = float(denoiser.tweedie is not None)
    spent = Evaluations(
        **calls, denoise=float(np.mean(np.concatenate(nfe))) - tweedie, tweedie=tweedie
    )
    return MCMCSamples(xp.concat(made), sigma, run.indices[place], emission, spent, run)
