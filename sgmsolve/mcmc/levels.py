"""Updates of the noise level sigma given x: the second half of a Gibbs sweep.

With a prior pi(sigma) the joint law is p(x, sigma) = p_sigma(x) pi(sigma), so

    p(sigma | x) = p_sigma(x) pi(sigma) / int p_u(x) pi(u) du

and sigma itself has the law pi. Kim & Ye (arXiv:2209.14593) train a classifier for it and take its
most likely class; a draw from it is the Gibbs step.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import on_device, to_host
from sgmsolve.errors import ChainError, unknown
from sgmsolve.mcmc import checks
from sgmsolve.mcmc.checks import check_range, level_table
from sgmsolve.mcmc.density import LevelDensity, check_target, log_density
from sgmsolve.mcmc.draws import JITTER, LEVEL, Draws

Prior = Any
"""``"log-uniform"``, a density pi(sigma) as a function of arrays, or masses, one a level."""


@dataclasses.dataclass(frozen=True, eq=False)
class Moment:
    """Where the chains are: x (n, *shape) at the levels sigma (n,), and their random numbers.

    ``noise()`` is the predicted noise E[eps | x] (n, *shape) at (x, sigma); the call is counted
    unless the step in x has made it already.
    """

    x: Any
    sigma: np.ndarray
    draws: Draws
    noise: Callable[[], Any]


class SigmaStep(abc.ABC):
    """A new level for each chain.

    ``low`` and ``high`` bound the levels it gives; ``tabled`` says that they are from a table.
    """

    low: float
    high: float
    tabled = False

    @abc.abstractmethod
    def __call__(self, at: Moment) -> np.ndarray:
        """New levels (n,), float64."""

    def first(self, x: Any) -> np.ndarray:
        """Levels (n,) for states that have none. Raises: ChainError where x does not tell."""
        msg = (
            f"{type(self).__name__} needs a level to start from; give start=(x, sigma), or start "
            "with the levels of another update."
        )
        raise ChainError(msg)


def geometric_levels(low: float, high: float, count: int) -> np.ndarray:
    """``count`` levels from low to high with equal ratios, (count,), float64.

    Raises: ChainError unless 0 < low < high and count >= 2.
    """
    check_range(low, high)
    return np.geomspace(low, high, checks.count("count", count, 2))


class LevelStep(SigmaStep):
    """A level out of a table, by weights log w_j(x) = log pi_j + log p_sigma_j(x) + constant.

    levels: (L,), in any order. draw: ``"categorical"`` is the Gibbs step, ``"argmax"`` the
    published one. jitter: then move sigma inside its cell, uniformly in log sigma, as if the
    posterior were constant there: good where cells are narrower than it. Where the largest weight
    is no number (NaN or Inf anywhere, -Inf everywhere) the level is NaN, which ends the chain.
    """

    def __init__(self, levels: Any, draw: str, jitter: bool) -> None:
        self.levels = level_table(levels)
        if draw not in ("categorical", "argmax"):
            raise ChainError(unknown("draw", str(draw), ("categorical", "argmax")))
        self.draw, self.jitter, self.tabled = draw, bool(jitter), not jitter
        self.low, self.high = float(self.levels.min()), float(self.levels.max())
        ordered = np.sort(self.levels)
        middle = np.sqrt(ordered[1:] * ordered[:-1])
        rank = np.argsort(np.argsort(self.levels))
        self._low = np.concatenate([ordered[:1], middle])[rank]
        self._high = np.concatenate([middle, ordered[-1:]])[rank]

    @abc.abstractmethod
    def logits(self, x: Any) -> Any:
        """Log w_j(x) up to a constant, (n, L)."""

    def first(self, x: Any) -> np.ndarray:
        """The most likely level, or NaN where no weight tells."""
        logits = self.logits(x)
        xp = array_namespace(logits)
        chosen = to_host(xp.argmax(logits, axis=1))
        good = to_host(xp.isfinite(xp.max(logits, axis=1)))
        return np.where(good, self.levels[chosen], np.nan)

    def __call__(self, at: Moment) -> np.ndarray:
        """See :class:`SigmaStep`."""
        logits = self.logits(at.x)
        xp = array_namespace(logits)
        top = xp.max(logits, axis=1, keepdims=True)  # NaN if any of them is
        good = xp.isfinite(top)
        if self.draw == "argmax":
            chosen = to_host(xp.argmax(logits, axis=1))
        else:
            zero = xp.zeros_like(top)
            weight = xp.exp(xp.where(good, logits, zero) - xp.where(good, top, zero))
            below = xp.cumulative_sum(weight, axis=1)
            u = xp.astype(on_device(at.draws.uniforms(LEVEL), logits), below.dtype)
            passed = xp.sum(xp.astype(below < (u * below[:, -1])[:, None], xp.int32), axis=1)
            chosen = np.minimum(to_host(passed), self.levels.size - 1)
        good = to_host(good)[:, 0]
        if not self.jitter:
            return np.where(good, self.levels[chosen], np.nan)
        low, high = np.log(self._low[chosen]), np.log(self._high[chosen])
        moved = np.exp(low + at.draws.uniforms(JITTER) * (high - low))
        return np.where(good, moved, np.nan)


def log_masses(prior: Prior, levels: np.ndarray, jitter: bool = False) -> np.ndarray:
    """Log pi_j of the levels, (L,), up to a constant; cells are equal in log sigma.

    jitter: the cells at the ends are half as wide, and so are their masses.

    Raises: ChainError for another number of masses, or masses that are not above 0.
    """
    if isinstance(prior, str):
        if prior != "log-uniform":
            raise ChainError(unknown("prior", prior, ("log-uniform",)))
        return _log_widths(levels, jitter)
    masses = prior(levels) * levels if callable(prior) else np.asarray(prior, dtype=np.float64)
    if np.shape(masses) != levels.shape or not np.all(np.isfinite(masses) & (masses > 0)):
        msg = (
            f"the prior has shape {np.shape(masses)}, expected {levels.size} finite masses above "
            "0, one a level, or a density as a function of sigma."
        )
        raise ChainError(msg)
    return np.log(masses) + (_log_widths(levels, jitter) if callable(prior) else 0.0)


def _log_widths(levels: np.ndarray, jitter: bool) -> np.ndarray:
    ends = (levels == levels.min()) | (levels == levels.max())
    return np.where(ends & jitter, -np.log(2.0), 0.0)


class ExactPosterior(LevelStep):
    """p(sigma | x) of an analytic target on a table of geometric levels, by log-sum-exp.

    target: of ``sgmsolve.target``; levels: (L,); prior: ``"log-uniform"``, a density pi(sigma), or
    masses (L,). In d dimensions the posterior is about 1/sqrt(2 d) wide in log sigma, which the
    ratio of levels should not exceed by much. Makes no call of the model.
    """

    def __init__(
        self,
        target: Any,
        levels: Any,
        prior: Prior = "log-uniform",
        *,
        draw: str = "categorical",
        jitter: bool = False,
    ) -> None:
        super().__init__(levels, draw, jitter)
        self.target = check_target(target)
        self._density = LevelDensity(self.target, self.levels)
        self._log_masses = log_masses(prior, self.levels, jitter)

    def logits(self, x: Any) -> Any:
        """See :class:`LevelStep`."""
        return self._density(x) + on_device(self._log_masses, x)


class NoiseLevelNetwork(LevelStep):
    """A classifier of noise levels: ``net(x)`` -> logits (n, L) over ``levels``.

    Trained by cross-entropy on (x0 + sigma_k eps, k) with k uniform, its logits are log p(sigma_k |
    x) for pi_k = 1/L: the log-uniform prior, if the levels are geometric. ``log_shift`` (L,) is
    added to them, log pi_k - log(1/L) for another prior. Its calls are not counted: it is meant to
    be far smaller than the score network. Published with ``draw="argmax"``.
    """

    def __init__(
        self,
        net: Callable[[Any], Any],
        levels: Any,
        log_shift: Any = None,
        *,
        draw: str = "categorical",
        jitter: bool = False,
    ) -> None:
        super().__init__(levels, draw, jitter)
        if not callable(net):
            raise ChainError(
                f"net is a {type(net).__name__}, expected a function net(x) -> logits."
            )
        self.net = net
        self._shift = np.zeros(self.levels.size) if log_shift is None else np.asarray(log_shift)
        if self._shift.shape != self.levels.shape:
            msg = (
                f"log_shift has shape {self._shift.shape}, expected {self.levels.shape}, one entry "
                "a level."
            )
            raise ChainError(msg)

    def logits(self, x: Any) -> Any:
        """See :class:`LevelStep`. Raises: ChainError if the network gives another shape."""
        given = self.net(x)
        wanted = (x.shape[0], self.levels.size)
        if tuple(getattr(given, "shape", ())) != wanted:
            msg = (
                f"the noise-level network returned shape {tuple(getattr(given, 'shape', ()))}, "
                f"expected {wanted}: logits of {self.levels.size} levels."
            )
            raise ChainError(msg)
        if not self._shift.any():
            return given
        return given + array_namespace(given).astype(on_device(self._shift, given), given.dtype)


class NormEstimate(SigmaStep):
    """sigma_new = sigma |E[eps | x]| / sqrt(d), kept in [low, high]: no network, no density.

    sigma E[eps | x] = x - E[x0 | x] is what the model takes for noise. Right where the data fills
    few of the d dimensions; a direction in which the data has the variance v only counts with the
    share (sigma^2/(v + sigma^2))^2 once sigma is right, so levels sink where v is not small. Takes
    one call more than the step in x, none after MALA. (Ours; no prior, so no exact chain.)
    """

    def __init__(self, low: float, high: float) -> None:
        check_range(low, high)
        self.low, self.high = float(low), float(high)

    def __call__(self, at: Moment) -> np.ndarray:
        """See :class:`SigmaStep`."""
        eps = at.noise()
        xp = array_namespace(eps)
        flat = xp.reshape(eps, (eps.shape[0], -1))
        size = np.sqrt(to_host(xp.mean(flat * flat, axis=1)).astype(np.float64))
        return np.asarray(np.clip(at.sigma * size, self.low, self.high))


class RandomWalk(SigmaStep):
    """Metropolis in log sigma.

    log sigma' = log sigma + width xi is accepted with probability

        min(1, p_sigma'(x) pi(sigma') sigma' / (p_sigma(x) pi(sigma) sigma)),

    0 outside [low, high]. Exact without a table. target: of ``sgmsolve.target``; prior:
    ``"log-uniform"`` or a density pi(sigma). ``moves`` of them make one update.
    """

    def __init__(
        self,
        target: Any,
        low: float,
        high: float,
        *,
        width: float = 0.5,
        prior: Prior = "log-uniform",
        moves: int = 1,
    ) -> None:
        check_range(low, high)
        self.low, self.high = float(low), float(high)
        self.target = check_target(target)
        self.width, self.moves = checks.number("width", width), checks.count("moves", moves)
        if not callable(prior) and prior != "log-uniform":
            raise ChainError("prior must be 'log-uniform' or a density pi(sigma) for RandomWalk.")
        self.prior = prior

    def __call__(self, at: Moment) -> np.ndarray:
        """See :class:`SigmaStep`."""
        sigma = np.clip(at.sigma, self.low, self.high)  # a start from elsewhere joins in
        weight = self._log_weight(at.x, sigma)
        for move in range(self.moves):
            column = LEVEL + 16 * (move + 1)
            tried = sigma * np.exp(self.width * at.draws.host_normals(column))
            inside = (tried >= self.low) & (tried <= self.high)
            new = self._log_weight(at.x, np.where(inside, tried, sigma))
            accepted = inside & (np.log(at.draws.uniforms(column + 1)) < new - weight)
            sigma, weight = np.where(accepted, tried, sigma), np.where(accepted, new, weight)
        return sigma

    def _log_weight(self, x: Any, sigma: np.ndarray) -> np.ndarray:
        """Log density in log sigma, (n,)."""
        found = to_host(log_density(self.target, x, sigma)).astype(np.float64)
        return found + np.log(self.prior(sigma) * sigma) if callable(self.prior) else found
