"""What a chain does at each step, as data."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import Any

import numpy as np

from sgmsolve.errors import ChainError, unknown
from sgmsolve.mcmc.checks import check_options, count, number
from sgmsolve.mcmc.density import check_target
from sgmsolve.mcmc.levels import ExactPosterior, SigmaStep
from sgmsolve.target import AbstractTarget


@dataclasses.dataclass(frozen=True)
class StepSize:
    """eta(sigma) = constant + scale (sigma^2 + v_min), the step of Langevin's dynamics.

    ``StepSize(constant=0.5)`` is the published rule. v_min is the variance of the data's narrowest
    direction or component. Without Metropolis' step stability needs eta < 4 (sigma^2 + v_min).
    Raises: ChainError for negative numbers, or a step that is 0.
    """

    constant: float = 0.0
    scale: float = 0.0
    v_min: float = 0.0

    def __post_init__(self) -> None:
        values = [self.constant, self.scale, self.v_min]
        fine = all(isinstance(v, numbers.Real) and 0 <= v < math.inf for v in values)
        if not fine or not self.constant + self.scale > 0:
            msg = f"{self!r} was given, expected numbers of at least 0 and a step above 0."
            raise ChainError(msg)

    def __call__(self, sigma: np.ndarray) -> np.ndarray:
        """Steps (n,) at the levels sigma (n,)."""
        return np.asarray(self.constant + self.scale * (sigma**2 + self.v_min))


def restart_after(eta: float, sigma: float, growth: float) -> int:
    """Steps after which a constant step eta has carried a level up by the factor ``growth``.

    In many dimensions, next to data of few, one unadjusted step adds eta^2/(4 sigma^2) to the mean
    square distance per dimension, and the update of sigma reads that off:

        sigma_n = (sigma_0^4 + eta^2 n / 2)^(1/4),   n = 2 sigma_0^4 (growth^4 - 1) / eta^2.

    Raises: ChainError unless all are above 0 and growth above 1, and for a number of steps that
    is beyond every float.
    """
    given = [number(*pair) for pair in (("eta", eta), ("sigma", sigma), ("growth", growth))]
    if not given[2] > 1:
        raise ChainError(f"growth = {growth!r}, expected a factor above 1.")
    try:
        steps = 2 * (given[1] ** 2 / given[0]) ** 2 * (given[2] ** 4 - 1)
        return max(1, math.floor(steps))
    except (OverflowError, ZeroDivisionError):
        msg = (
            f"eta = {eta!r} is so small next to sigma = {sigma!r} that a level never grows by the "
            f"factor {growth!r}; leave the restart out, or take larger steps."
        )
        raise ChainError(msg) from None


@dataclasses.dataclass(frozen=True)
class Restart:
    """Every ``every`` steps each chain is denoised and starts anew: x = x0 + sigma xi.

    This undoes the upward drift of unadjusted chains and keeps the mode a chain is in. ``every`` by
    :func:`restart_after`, say; denoiser: a :class:`Denoiser`, whose calls are counted.
    """

    every: int
    sigma: float
    denoiser: Any

    def __post_init__(self) -> None:
        count("every", self.every)
        number("Restart's sigma", self.sigma)
        if not callable(self.denoiser):
            msg = f"denoiser is a {type(self.denoiser).__name__}, expected a Denoiser."
            raise ChainError(msg)


@dataclasses.dataclass(frozen=True, eq=False)
class Chain:
    """Denoising Langevin Gibbs: what one chain on (x, sigma) does.

    Per step, with the score s of p_sigma (x is in the view with alpha = 1),

        x' = x + eta/2 s(x, sigma) + sqrt(eta) xi,    then sigma from ``sigma_step`` at x'.

    Attributes:
        sigma_step: the update of sigma.
        step: eta: a number, or a :class:`StepSize`.
        metropolis: None: x' is taken as it is (published, one call a step). A target: x' is
            accepted with its exact densities, min(1, p(x') q(x|x') / (p(x) q(x'|x))). ``"score"``:
            with log p(x') - log p(x) = (s(x) + s(x')).(x' - x)/2, the trapezoid rule, for networks.
            Two calls a step.
        n_skip: steps from one emission to the next, which thins the chain.
        emit: ``"last"``: the state at the end of the window; ``"lowest"``: the state of lowest
            sigma among its n_skip + 1 (published; biased even for an exact chain).
        burn_in: steps before the first window; not made again by a run that goes on from a state.
        restart: a :class:`Restart`, or None.
        limit: a chain whose root mean square passes this has diverged.

    Raises: ChainError for anything that makes no sense.
    Source: Kim & Ye 2022, arXiv:2209.14593 (the constant step, the most likely level and the lowest
    state are those of the released code; the exact versions are ours).
    """

    sigma_step: SigmaStep
    step: Any
    metropolis: Any = None
    n_skip: int = 5
    emit: str = "last"
    burn_in: int = 0
    restart: Restart | None = None
    limit: float = 1e6

    def __post_init__(self) -> None:
        if not isinstance(self.sigma_step, SigmaStep):
            msg = (
                f"sigma_step is a {type(self.sigma_step).__name__}, expected ExactPosterior, "
                "NoiseLevelNetwork, NormEstimate or RandomWalk."
            )
            raise ChainError(msg)
        if isinstance(self.step, numbers.Real) and not isinstance(self.step, bool):
            object.__setattr__(self, "step", StepSize(float(self.step)))
        if not isinstance(self.step, StepSize):
            raise ChainError(f"step = {self.step!r}, expected a number above 0 or a StepSize.")
        if self.metropolis is not None and self.metropolis != "score":
            if isinstance(self.metropolis, str):
                raise ChainError(unknown("metropolis", self.metropolis, ("score",)))
            check_target(self.metropolis)
        if self.emit not in ("last", "lowest"):
            raise ChainError(unknown("emit", str(self.emit), ("last", "lowest")))
        count("n_skip", self.n_skip)
        count("burn_in", self.burn_in, least=0)
        if not isinstance(self.restart, Restart | None):
            msg = f"restart = {self.restart!r}, expected a Restart(every, sigma, denoiser) or None."
            raise ChainError(msg)
        number("limit", self.limit, infinite=True)


OPTIONS = {field.name for field in dataclasses.fields(Chain)} - {"sigma_step", "step", "n_skip"}
"""What of a Chain the two ready-made ones leave open, but for what each of them sets."""


def exact_chain(
    target: AbstractTarget, levels: Any, *, scale: float = 1.0, n_skip: int = 5, **options: Any
) -> Chain:
    """The chain that leaves p_sigma(x) pi(sigma) as it is: MALA, a draw of sigma, the last state.

    eta = scale (sigma^2 + v_min), v_min the target's smallest variance; scale 1 to 2 suits two
    dimensions, about d^(-1/3) suits d. ``options``: of :class:`Chain`, and ``prior`` of sigma.
    Raises: ChainError for anything that makes no sense.
    """
    check_options(options, OPTIONS - {"metropolis"} | {"prior"})
    prior = options.pop("prior", "log-uniform")
    v_min = check_target(target)._smallest_variance()
    return Chain(
        ExactPosterior(target, levels, prior),
        StepSize(scale=scale, v_min=v_min),
        metropolis=target,
        n_skip=n_skip,
        **options,
    )


def published_chain(
    sigma_step: SigmaStep, *, step: float = 0.5, n_skip: int = 10, **options: Any
) -> Chain:
    """The released chain: a constant step without Metropolis, and the window's lowest sigma.

    ``sigma_step`` is NoiseLevelNetwork or ExactPosterior with ``draw="argmax"``. The published run
    on CelebA-HQ-256 (data in [0, 1]) has step 0.8 and n_skip 10, KAR2 with N = 20 as denoiser.
    Raises: ChainError for a table that draws its level, and for an unknown option.
    """
    check_options(options, OPTIONS - {"emit"})
    if getattr(sigma_step, "draw", "argmax") != "argmax":
        msg = (
            f"the published chain takes the most likely level, but {type(sigma_step).__name__} has "
            f"draw='categorical'; pass draw='argmax', or use Chain for a mixture of both."
        )
        raise ChainError(msg)
    return Chain(sigma_step, step, n_skip=n_skip, emit="lowest", **options)
