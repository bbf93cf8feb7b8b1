"""Have the chains mixed? R-hat, effective sample sizes and trace plots by ArviZ (the lab extra)."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np

from sgmsolve.adaptive._rows import take, to_host
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.chain import ChainRun, ChainStatus
from sgmsolve.mcmc.checks import count
from sgmsolve.mcmc.sampler import ChainWarning

DIRECTIONS = 4
"""Projections of x that are looked at."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What ArviZ says of the emissions of chains that finished; names of summaries -> numbers.

    Attributes:
        r_hat: rank-normalised split R-hat; 1 for chains that have mixed.
        ess: ArviZ's estimate of the bulk effective sample size; it may pass the number of draws,
            where successive ones alternate, or where they are too few for it.
        chains, draws: how many chains, and emissions together.
        threshold: above which R-hat is too large.
    """

    r_hat: dict[str, float]
    ess: dict[str, float]
    chains: int
    draws: int
    threshold: float

    @property
    def message(self) -> str:
        """A sentence about what has not mixed; empty if all has."""
        worst = max(self.r_hat, key=lambda name: self.r_hat[name])
        value = self.r_hat[worst]
        if value <= self.threshold:
            return ""
        size = f"an effective sample size of {self.ess[worst]:.0f} of {self.draws} draws"
        if self.ess[worst] > self.draws:
            size = f"{self.draws} draws, too few to estimate an effective sample size"
        still = " (no chain moved it)" if np.isinf(value) else ""
        return (
            f"the chains have not mixed: R-hat of {worst} is {value:.3f}{still}, above "
            f"{self.threshold:g}, with {size}; run them longer, drop more of the start (burn_in), "
            "or restart chains whose level drifts up."
        )


def summaries(run: ChainRun, seed: int = 0) -> dict[str, np.ndarray]:
    """What is watched of the emissions, each (chains, emissions) float64, of chains that finished.

    ``log sigma``, the root mean square of x, and up to four coordinates of it: its own in at most
    four dimensions, else projections on random unit vectors, times sqrt(dimension).
    Raises: ChainError with fewer than 2 chains or 4 emissions, and for anything but a run.
    """
    if not isinstance(run, ChainRun):
        msg = f"run is a {type(run).__name__}, expected the ChainRun of run_chains (samples.run)."
        raise ChainError(msg)
    kept = np.flatnonzero([s is ChainStatus.FINISHED for s in run.statuses])
    if len(kept) < 2 or len(run.sigma) < 4:
        msg = (
            f"{len(kept)} finished chains with {len(run.sigma)} emissions were given, expected at "
            "least 2 and 4 to compare them; run more."
        )
        raise ChainError(msg)
    sigma = run.sigma[:, kept]
    x = np.stack([to_host(take(part, kept)).reshape(len(kept), -1) for part in run.x])
    x = x.astype(np.float64)
    out = {"log sigma": np.log(sigma).T, "rms of x": np.sqrt(np.mean(x * x, axis=-1)).T}
    dim = x.shape[-1]
    if dim > DIRECTIONS:
        axes = np.random.default_rng(seed).standard_normal((dim, DIRECTIONS))
        axes *= np.sqrt(dim) / np.linalg.norm(axes, axis=0)
    else:
        axes = np.eye(dim)
    for i in range(axes.shape[1]):
        out[f"x along {i}"] = (x @ axes[:, i]).T
    return out


def diagnose(run: ChainRun, *, threshold: float = 1.01) -> Diagnosis:
    """R-hat and effective sample sizes of the emissions.

    Warns: ChainWarning with the number where R-hat passes the threshold. Raises: ChainError with
    too few chains or emissions, or without ArviZ.
    Source: Vehtari, Gelman, Simpson, Carpenter & Bürkner 2021, Bayesian Analysis 16:667.
    """
    watched = summaries(run)
    arviz = _arviz()
    r_hat, ess = {}, {}
    for name, values in watched.items():
        half = values.shape[1] // 2
        parts = np.concatenate([values[:, :half], values[:, -half:]])
        if np.all(np.ptp(parts, axis=1) == 0):
            r_hat[name], ess[name] = float("inf"), 1.0  # nothing moves: nothing has mixed
            continue
        with np.errstate(divide="ignore", invalid="ignore"):  # folded values may all be alike
            found = float(arviz.rhat(values)), float(arviz.ess(values))
        r_hat[name], ess[name] = np.inf if np.isnan(found[0]) else found[0], found[1]
    chains, draws = watched["log sigma"].shape
    told = Diagnosis(r_hat, ess, chains, chains * draws, threshold)
    if told.message:
        warnings.warn(told.message, ChainWarning, stacklevel=2)
    return told


def trace_plot(run: ChainRun, *, chains: int = 8) -> Any:
    """ArviZ's trace plots of what ``summaries`` watches, for the first chains: a Figure.

    Raises: ChainError as ``diagnose``.
    """
    shown = count("chains", chains)
    watched = {name: values[:shown] for name, values in summaries(run).items()}
    arviz = _arviz()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's and matplotlib's, of no use to the reader
        axes = arviz.plot_trace(arviz.from_dict(watched), compact=False)
    figure = axes.ravel()[0].figure
    figure.tight_layout()
    return figure


def _arviz() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # news of its next major version
            import arviz
    except ImportError:
        msg = "diagnostics need ArviZ, which is not installed; run: pip install 'sgmsolve[lab]'."
        raise ChainError(msg) from None
    return arviz
