"""The loop of Denoising Langevin Gibbs: many chains at once, levels on the host, x where it is."""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import on_device, to_host
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.checks import count, number
from sgmsolve.mcmc.density import log_density
from sgmsolve.mcmc.draws import ACCEPT, PROPOSAL, Draws, derived_seed
from sgmsolve.mcmc.levels import Moment
from sgmsolve.mcmc.settings import Chain
from sgmsolve.mcmc.start import ChainState, check_start
from sgmsolve.mcmc.view import View
from sgmsolve.model.base import scalar_for

STILL = 0.01
"""Share of accepted proposals under which a run says that its chains stand still."""


class ChainStatus(enum.Enum):
    """How a chain ended; the value is the sentence shown to people."""

    FINISHED = "All steps were made."
    NONFINITE = "The state, or its level, became NaN or Inf."
    DIVERGED = "The state passed the limit of its root mean square."


@dataclasses.dataclass(frozen=True, eq=False)
class ChainRun:
    """What the chains emitted, and how.

    Attributes:
        x: (emissions, chains, *shape), data plus sigma times noise (the view with alpha = 1); NaN
            from a chain that had ended.
        sigma: (emissions, chains) float64 levels, NaN likewise.
        trace: (burn_in + steps, chains) levels after every step of this run.
        statuses: (chains,) ChainStatus; ``ended`` (chains,) is the step a chain ended in, counted
            from the start of the first run, or -1.
        acceptance: (chains,) share of accepted proposals; 1 without Metropolis.
        indices: (chains,) numbers of the chains.
        calls: calls of the model for each chain: ``"start"``, ``"burn_in"``, ``"chain"``,
            ``"restart"``.
        state: a :class:`ChainState` (x, sigma, steps, emissions) after the last step, to go on
            from; of a chain that ended, its last good one.
        settings, seed: what ran.
        emitted: emissions of the runs that this one goes on from.
    """

    x: Any
    sigma: np.ndarray
    trace: np.ndarray
    statuses: tuple[ChainStatus, ...]
    ended: np.ndarray
    acceptance: np.ndarray
    indices: np.ndarray
    calls: dict[str, float]
    state: ChainState
    settings: Chain
    seed: int
    emitted: int = 0

    @property
    def valid(self) -> np.ndarray:
        """(emissions, chains) bools: which emissions come from a chain that still ran."""
        return np.isfinite(self.sigma)

    @property
    def message(self) -> str:
        """Sentences about chains that ended early, or that stand still; empty if none did."""
        said = []
        good = np.array([s is ChainStatus.FINISHED for s in self.statuses])
        if not good.all():
            first = int(np.argmin(good))
            said.append(
                f"{np.sum(~good)} of {len(good)} chains ended early (chain {self.indices[first]} "
                f"at step {self.ended[first]}: {self.statuses[first].value}); their later "
                "emissions are NaN, the others are complete. Take smaller steps: "
                "eta < 4 (sigma^2 + v_min)."
            )
        share = np.mean(self.acceptance[good]) if good.any() else 1.0
        if share < STILL:
            d = math.prod(self.x.shape[2:])
            said.append(
                f"Metropolis' step accepted {share:.1%} of its proposals, so the chains stand "
                f"still: take smaller steps (in {d} dimensions a scale of {d ** (-1 / 3):.2g} "
                "or so)."
            )
        return " ".join(said)


def run_chains(
    chain: Chain,
    model: Any,
    start: tuple[Any, Any],
    *,
    emissions: int,
    seed: int = 0,
    indices: Any = None,
    start_calls: float = 0,
    progress: bool = False,
) -> ChainRun:
    """Run many chains side by side; each depends on its own start, index and the seed alone.

    Args:
        chain: the settings.
        model: a model of any kind of a scalar process.
        start: (x, sigma), x (chains, *shape) in the view with alpha = 1 (divide a state of VP by
            alpha), sigma (chains,) or a number; see :mod:`sgmsolve.mcmc.start`. Or the ``state``
            of a run, to go on from: with its seed and indices two runs are one long one, burn-in
            included. ``state[:2]`` begins to count, and to draw, anew.
        emissions: emissions of each chain.
        seed, indices: of the keyed draws; indices number the chains, 0, 1, ... by default.
        start_calls: calls that the start took for each chain, for the books.
        progress: show a bar of emissions.

    Returns:
        A ChainRun. Chains that diverge end, with a status; the others go on.

    Raises:
        ChainError: settings and starts that make no sense, levels that the process does not have;
        ModelError: what the model returned.
    """
    if not isinstance(chain, Chain):
        raise ChainError(f"chain is a {type(chain).__name__}, expected sgmsolve.mcmc.Chain.")
    emissions = count("emissions", emissions)
    start_calls = number("start_calls", start_calls, zero=True)
    view = View(model)
    state = check_start(start)
    x, sigma = state.x, state.sigma
    low, high = chain.sigma_step.low, chain.sigma_step.high
    view.check_levels(min(low, sigma.min()), max(high, sigma.max()))
    with no_graph(x):
        loop = _Loop(chain, view, state, Draws(seed, indices, x.shape[0]))
        return loop.run(emissions, start_calls, progress)


def no_graph(x: Any) -> Any:
    """A context without torch's graph: a chain of many steps would hold on to all of them."""
    import contextlib
    import sys

    return sys.modules["torch"].no_grad() if kind_of(x) == "torch" else contextlib.nullcontext()


def per_row(mask: np.ndarray, new: Any, old: Any) -> Any:
    """Rows of ``new`` where the host mask (n,) is true, else of ``old``."""
    xp = array_namespace(new)
    chosen = on_device(mask.reshape(mask.shape + (1,) * (new.ndim - 1)), new)
    return xp.where(chosen, new, old)


def dot(a: Any, b: Any) -> np.ndarray:
    """Inner products (n,) of samples, float64 on the host."""
    xp = array_namespace(a)
    if a.dtype.itemsize < 4:  # sums of 16 bits lose their digits, and overflow
        a, b = xp.astype(a, xp.float32), xp.astype(b, xp.float32)
    return to_host(xp.sum(xp.reshape(a * b, (a.shape[0], -1)), axis=1)).astype(np.float64)


class _Loop:
    """State and books of a run."""

    def __init__(self, chain: Chain, view: View, start: ChainState, draws: Draws) -> None:
        self.chain, self.view, self.draws, self.start = chain, view, draws, start
        self.x, self.sigma = start.x, start.sigma
        draws.step = start.steps
        n = len(start.sigma)
        self.alive, self.ended = np.ones(n, dtype=bool), np.full(n, -1)
        self.statuses = np.full(n, ChainStatus.FINISHED, dtype=object)
        self.accepted = np.zeros(n)
        self.known: Any = None  # predicted noise at (x, sigma), where it has been asked for
        self.trace: list[np.ndarray] = []
        self.restarts = 0.0

    def run(self, emissions: int, start_calls: float, progress: bool) -> ChainRun:
        chain, xp = self.chain, array_namespace(self.x)
        for _ in range(chain.burn_in - self.start.steps):
            self._step()
        burn, restarted = self.view.calls, self.restarts
        made: list[tuple[Any, np.ndarray]] = []
        for _ in _bar(emissions) if progress else range(emissions):
            made.append(self._window())
        calls = {
            "start": start_calls,
            "burn_in": burn + restarted,
            "chain": float(self.view.calls - burn),
            "restart": self.restarts - restarted,
        }
        return ChainRun(
            xp.stack([x for x, _ in made]),
            np.stack([s for _, s in made]),
            np.stack(self.trace),
            tuple(self.statuses),
            self.ended,
            self.accepted / len(self.trace),
            self.draws.indices,
            calls,
            ChainState(self.x, self.sigma, self.draws.step, self.start.emissions + emissions),
            chain,
            self.draws.seed,
            self.start.emissions,
        )

    def _window(self) -> tuple[Any, np.ndarray]:
        """``n_skip`` steps, and the state that stands for them."""
        x, sigma = self.x, self.sigma
        for _ in range(self.chain.n_skip):
            self._step()
            if self.chain.emit == "lowest":
                lower = self.sigma < sigma
                x, sigma = per_row(lower, self.x, x), np.where(lower, self.sigma, sigma)
        if self.chain.emit == "last":
            x, sigma = self.x, self.sigma
        if self.alive.all():
            return x, sigma
        gone = array_namespace(x).full_like(x, np.nan)
        return per_row(self.alive, x, gone), np.where(self.alive, sigma, np.nan)

    def _step(self) -> None:
        x, sigma = self.x, self.sigma
        self._move()
        at = Moment(self.x, sigma, self.draws, self._noise)
        self.sigma = self.chain.sigma_step(at)
        self.known = None
        self._bury(x, sigma)
        self.draws.step += 1
        restart = self.chain.restart
        if restart is not None and self.draws.step % restart.every == 0:
            self._restart()
        self.trace.append(np.where(self.alive, self.sigma, np.nan))

    def _noise(self) -> Any:
        if self.known is None:
            self.known = self.view.noise(self.x, self.sigma)
        return self.known

    def _move(self) -> None:
        """Langevin's step in x at fixed sigma, adjusted by Metropolis or not."""
        x, sigma, metropolis = self.x, self.sigma, self.chain.metropolis
        eta = self.chain.step(sigma)
        eps, xi = self._noise(), self.draws.normals(PROPOSAL, x)
        drift = scalar_for(-0.5 * eta / sigma, x) * eps
        proposed = x + drift + scalar_for(np.sqrt(eta), x) * xi
        if metropolis is None:
            self.x, self.known = proposed, None
            self.accepted += self.alive
            return
        there = self.view.noise(proposed, sigma)
        # log q(x|x') - log q(x'|x) = -h.xi - |h|^2/2 with h = sqrt(eta)/2 (s + s').
        h = scalar_for(-0.5 * np.sqrt(eta) / sigma, x) * (eps + there)
        log_ratio = -dot(h, xi) - 0.5 * dot(h, h)
        if metropolis == "score":
            log_ratio += dot(scalar_for(1 / np.sqrt(eta), x) * h, proposed - x)
        else:
            pair = [to_host(log_density(metropolis, p, sigma)) for p in (proposed, x)]
            log_ratio += pair[0] - pair[1]
        accept = np.log(self.draws.uniforms(ACCEPT)) < log_ratio
        if not np.isfinite(log_ratio).all():
            # Without a score of its own a chain would stand still for ever: it goes to its NaN.
            accept = accept | ~np.isfinite(dot(eps, eps))
        self.accepted += accept & self.alive
        self.x, self.known = per_row(accept, proposed, x), per_row(accept, there, eps)

    def _bury(self, x: Any, sigma: np.ndarray) -> None:
        """End chains that left every range: they keep their last good state."""
        square = dot(self.x, self.x) / float(np.prod(self.x.shape[1:]))
        lost = ~np.isfinite(square) | ~np.isfinite(self.sigma)
        lost = self.alive & (lost | ~(square <= self.chain.limit**2))
        if lost.any():
            finite = np.isfinite(square) & np.isfinite(self.sigma)
            for i in np.flatnonzero(lost):
                self.statuses[i] = ChainStatus.DIVERGED if finite[i] else ChainStatus.NONFINITE
            self.ended[lost] = self.draws.step
            self.alive = self.alive & ~lost
        if not self.alive.all():
            self.x = per_row(self.alive, self.x, x)
            self.sigma = np.where(self.alive, self.sigma, sigma)

    def _restart(self) -> None:
        """Denoise every chain and add the noise of the restart's level."""
        restart = self.chain.restart
        assert restart is not None  # only called with one
        seed = derived_seed(self.draws.seed, f"restart {self.draws.step}")
        found = restart.denoiser(
            *(self.view.model, self.x, self.sigma),
            seed=seed,
            chains=self.draws.indices,
            raised=not self.chain.sigma_step.tabled,
        )
        self.restarts += float(np.mean(found.nfe))
        fresh = Draws(seed, self.draws.indices, len(self.sigma))
        fresh.step = -1
        xi = fresh.normals(PROPOSAL, self.x)
        x, sigma = self.x, self.sigma
        self.x, self.sigma = found.x + restart.sigma * xi, np.full(len(sigma), restart.sigma)
        self.known = None
        self._bury(x, sigma)


def _bar(total: int) -> Any:
    from tqdm import tqdm

    return tqdm(range(total), unit="emission", desc="chains")
