"""What a predictor step does to the state, the score and the noise, before any preconditioner.

x_mean = state x + score s(x, t), x_s = x_mean + noise xi. ``entered`` puts the preconditioner in,
on symbols and on the modes of a Gaussian alike.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import MethodError, StabilityWarning
from sgmsolve.methods.calibrated import following_gaps, gaps, noise_gain
from sgmsolve.plan.affine import Operators
from sgmsolve.precondition.places import WHOLE

PREDICTORS = ("reverse-diffusion", "euler-maruyama", "ancestral", "calibrated", "none")
PREDICTOR_NOISE = ("exact-split", "published", "noise", "forward")
"""Places at which the predictor's noise is M xi."""


class Move(NamedTuple):
    """x_s = state x + score s(x, t) + noise xi; ``level`` is the corrector's alpha_j there."""

    state: Any
    score: Any
    noise: Any
    level: Any = 1.0


def act(operator: Any, expression: Any) -> Any:
    """An operator on an expression: none (None), a number or gains of modes, or a word."""
    if operator is None:
        return expression
    return operator @ expression if isinstance(operator, Operators) else operator * expression


def entered(where: str, x: Any, score: Any, move: Move, gram: Any, skew: Any) -> Any:
    """x_mean with M M^T (``gram``) and S (``skew``) entering at ``where``; None for I and 0.

    exact-split      state x + score/2 (I + M M^T + S) s
    published        x + M M^T ((state - 1) x + score s) + score/2 S s          ("forward" too)
    noise, corrector state x + score s + score/2 S s
    """
    half = move.score / 2
    if gram is None or where not in (*WHOLE, "exact-split"):
        mean = move.state * x + move.score * score
    elif where == "exact-split":
        mean = move.state * x + half * score + half * act(gram, score)
    else:
        moved = move.score * score
        if move.state != 1:
            moved = (move.state - 1) * x + moved
        mean = x + act(gram, moved)
    return mean if skew is None else mean + half * act(skew, score)


def warn_of_overshoot(process: Any, moves: dict[Any, Move], where: str, M: Any) -> None:
    """StabilityWarning if M makes a predictor step overshoot a mode without signal.

    There the score is -x/sigma^2, so that a step multiplies the mode by what ``entered`` makes of
    1 and -1/sigma^2: by less than -1.5, or 1.5 times what M = I does. Operators that are diagonal
    nowhere are not looked at.
    """
    if M is None or (M.scalar is None and M.eigenvalues is None):
        return
    gains = np.array([M.scalar]) if M.eigenvalues is None else M.eigenvalues
    gains = np.unique(gains[[np.argmin(gains**2), np.argmax(gains**2)]] ** 2)
    for t, move in moves.items():
        score = -1 / process.sigma(t) ** 2
        factors = np.array([float(entered(where, 1.0, score, move, a, None)) for a in gains])
        plain = abs(float(entered(where, 1.0, score, move, None, None)))
        if factors.min() < -1.5 * max(1.0, plain):
            a = gains[np.argmin(factors)]
            msg = (
                f"with a gain of {a**0.5:.3g} the step from t = {float(t):.4g} multiplies noise by "
                f"{factors.min():.3g} (where={where!r}); take more steps or smaller gains."
            )
            warnings.warn(msg, StabilityWarning, stacklevel=5)
            return


def exact_moves(process: Any, predictor: str, times: Sequence[Any], kappa: float, n: int) -> Any:
    """Moves of all steps between ``times`` by the forward process's own transitions.

    kappa, n: the corrector's steps over sigma^2 and their number, see ``noise_gain``.
    """
    sizes = following = [None] * len(times)
    if predictor == "calibrated":
        sizes, following = gaps(process, times), following_gaps(process, times, "steps")
    found = {}
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        if process.has_no_signal(t):  # the builder leaves alpha = 0 by itself
            continue
        a, v, xp = process.alpha_ratio(s, t), process.transition_variance(s, t), ops(t)
        if predictor == "euler-maruyama":
            h, g2 = t - s, process.g2(t)
            move = Move(1 - h * process.f(t), h * g2, xp.sqrt(h * g2), a**2)
        elif predictor == "ancestral":
            noise = xp.sqrt(v) * process.sigma(s) / process.sigma(t)
            move = Move(1 / a, v / a, noise, a**2)
        elif predictor == "calibrated":
            gain = noise_gain(sizes[i], following[i], kappa, n)
            move = Move(1 / a, v / a, xp.sqrt(gain * v) / a, a**2)
        else:
            move = Move(2 - a, v, xp.sqrt(v), a**2)
        found[t] = move
    return found


def data_move(process: Any, t: Any) -> Move:
    """The noise-free mean of the data given the state: (x + sigma^2 s)/alpha."""
    alpha = process.alpha(t)
    return Move(1 / alpha, process.sigma(t) ** 2 / alpha, 0.0)


def score_sde_moves(
    process: Any, predictor: str, times: Sequence[Any], kappa: float, n: int
) -> dict[Any, Move]:
    """Moves of the T = len(times) iterations of score_sde; the last one's noise is to be left out.

    Index j = T - 1 - i at times[i], whatever that time is: VE sigma_j geometric from sigma_max to
    sigma_min, G_j^2 = sigma_j^2 - sigma_{j-1}^2 with sigma_{-1} = 0; VP beta_j linear, over T;
    sub-VP Euler-Maruyama with step 1/T. The network is told times[i].

    Raises: MethodError for other processes and grids, or predictors that score_sde lacks there.
    """
    name = type(process).__name__
    grid = np.asarray(times, dtype=np.float64)
    if name not in ("VE", "VP", "SubVP") or (name == "VP" and process.schedule != "linear"):
        msg = (
            f"discretisation='score_sde' is for VE, linear VP and SubVP, but the process is "
            f"{process!r}; use discretisation='exact'."
        )
        raise MethodError(msg)
    if abs(grid[0] - 1) > 1e-12 or np.ptp(np.diff(grid)) > 1e-9:
        msg = (
            f"discretisation='score_sde' takes equal steps from t = 1, but the grid starts at "
            f"{grid[0]:g} with steps of {-np.diff(grid).max():.3g} to {-np.diff(grid).min():.3g}; "
            f"use grid='uniform', or discretisation='exact'."
        )
        raise MethodError(msg)
    made = _ve_moves if name == "VE" else _vp_moves if name == "VP" else _sub_vp_moves
    return dict(zip(times, made(process, predictor, grid, kappa, n), strict=True))


def _ve_moves(process: Any, predictor: str, t: np.ndarray, kappa: float, n: int) -> list[Move]:
    total = len(t)
    if predictor == "euler-maruyama":
        g2 = process.g2(t) / total
        return [Move(1.0, g, g**0.5) for g in g2.tolist()]
    low, high = np.log(process.sigma_min), np.log(process.sigma_max)
    variance = np.append(np.exp(2 * np.linspace(high, low, total)), 0.0)
    g2 = variance[:-1] - variance[1:]
    noise = g2.copy()
    if predictor == "ancestral":
        noise *= variance[1:] / variance[:-1]
    elif predictor == "calibrated":
        following = np.append(g2[1:-1], [0.0, 0.0])
        noise *= [noise_gain(a, b, kappa, n) for a, b in zip(g2, following, strict=True)]
    return [Move(1.0, g, e**0.5) for g, e in zip(g2.tolist(), noise.tolist(), strict=True)]


def _vp_moves(process: Any, predictor: str, t: np.ndarray, kappa: float, n: int) -> list[Move]:
    total = len(t)
    if predictor == "euler-maruyama":
        rates = process.beta(t) / total
        return [Move(1 + b / 2, b, b**0.5, 1 - b) for b in rates.tolist()]
    if predictor == "calibrated":
        raise MethodError(_no_predictor(predictor, process))
    betas = np.linspace(process.beta_max, process.beta_min, total) / total
    if betas[0] > 1 or (betas[0] == 1 and predictor == "ancestral"):
        msg = (
            f"discretisation='score_sde' needs beta_max/T <= 1, < 1 for ancestral sampling, but "
            f"beta_max = {process.beta_max:g} and T = {total}; take more steps, or "
            f"discretisation='exact'."
        )
        raise MethodError(msg)
    found = []
    for b in betas.tolist():
        a = (1 - b) ** 0.5
        mean = (1 / a, b / a) if predictor == "ancestral" else (2 - a, b)
        found.append(Move(*mean, b**0.5, 1 - b))
    return found


def _sub_vp_moves(process: Any, predictor: str, t: np.ndarray, kappa: float, n: int) -> list[Move]:
    if predictor in ("ancestral", "calibrated"):
        raise MethodError(_no_predictor(predictor, process))
    total = len(t)
    betas = np.linspace(process.beta_max, process.beta_min, total) / total
    pairs = zip(process.f(t) / total, process.g2(t) / total, betas, strict=True)
    # The released class has no alphas, and its corrector fails; VP's are used.
    return [Move(1 - float(f), float(g), float(g) ** 0.5, 1 - float(b)) for f, g, b in pairs]


def _no_predictor(predictor: str, process: Any) -> str:
    return (
        f"predictor = {predictor!r} does not exist in score_sde for {type(process).__name__}; use "
        f"discretisation='exact', or another predictor."
    )
