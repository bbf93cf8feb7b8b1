"""How far one step amplifies near the prior, and a warning where it does.

Near t_max the score is that of the stationary law N(0, S), -S^-1 z, and a step of any plan is one
matrix. Its spectral radius is 1 for the exact probability flow of CLD and PSLD (a rotation) and
below 1 for the reverse SDE; a scheme whose radius is above 1 lets errors grow from step to step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import StabilityWarning
from sgmsolve.plan import Plan

SLACK = 1e-4
"""A radius up to 1 + SLACK counts as stable: rotations are on the border."""

GROWTH = 0.1
"""Growth a step at which methods are reported that amplify a rotation a little at every step."""


def spectral_radius(plan: Plan, process: Any) -> float:
    """Largest eigenvalue modulus of a plan's mean map, the score being that of the prior.

    Meant for plans of one step. The initial state and the result are m components.
    """
    inverse = process.prior_inverse(np.eye(plan.m))
    history: list[np.ndarray] = []
    Z = np.array(plan.prelude_move, dtype=np.float64)
    for r in range(plan.rows):
        a, b = process.conversion("score", plan.predicts, float(plan.t[r]))
        history = [a @ Z[: plan.m] - b @ inverse @ Z[: plan.m], *history][: plan.history]
        Z = plan.move[r] @ Z
        for j, e in enumerate(history):
            Z = Z + plan.kick[r, :, :, j] @ e
    return float(np.abs(np.linalg.eigvals(Z[: plan.m])).max())


def stability_limit(
    process: Any, build: Callable[[Sequence[Any]], Plan], t: float, growth: float = SLACK
) -> float:
    """Largest step h from t with a spectral radius of at most 1 + growth, to 1e-4 of t; 0 if none.

    ``build(times)`` makes the plan of a scheme on any times.
    """

    def stable(h: float) -> bool:
        return _radius(process, build, t, t - h) <= 1 + growth

    # The first unstable step of a scan: stability may come back at longer ones.
    steps = np.linspace(0, 0.999 * t, 101)[1:]
    high = next((float(h) for h in steps if not stable(float(h))), float(steps[-1]))
    low = max(high - float(steps[0]), 0.0)
    while high - low > 1e-4 * t:
        middle = (low + high) / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


_CHECKED: ContextVar[bool] = ContextVar("checked", default=True)


@contextmanager
def unchecked() -> Iterator[None]:
    """No StabilityWarning, and no work for one: finding a limit takes longer than a plan."""
    token = _CHECKED.set(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)  # those of builders of one's own
            yield
    finally:
        _CHECKED.reset(token)


def warn_if_unstable(
    process: Any,
    build: Callable[[Sequence[Any]], Plan],
    grid: Sequence[Any],
    name: str,
    growth: float = SLACK,
) -> None:
    """StabilityWarning if the longest step, measured by int |F|, amplifies near the prior.

    That is, if its spectral radius is above 1 + growth.
    """
    if is_multiprecision(grid[0]) or not _CHECKED.get():
        return
    times = np.asarray(grid, dtype=np.float64)
    tops, lows = times[:-1], times[1:]
    size = np.abs(np.asarray(process.F((tops + lows) / 2))).max(axis=(1, 2))
    clock = size * (tops - lows)
    worst = int(np.flatnonzero(clock >= clock.max() * (1 - 1e-6))[0])
    if _radius(process, build, tops[worst], lows[worst]) <= 1 + growth:
        return
    pairs = zip(tops, lows, strict=True)
    first = next(i for i, p in enumerate(pairs) if _radius(process, build, *p) > 1 + growth)
    limit = stability_limit(process, build, float(tops[first]), growth)
    much = f" by more than {growth:.0%}" if growth > SLACK else ""
    msg = (
        f"{name!r} amplifies errors near the prior{much} in steps longer than {limit:.3g} from t = "
        f"{tops[first]:.4g}; step {first + 1} of this grid, to t = {lows[first]:.4g}, is "
        f"{tops[first] - lows[first]:.3g} long. Take more steps, or a grid with shorter ones there."
    )
    warnings.warn(msg, StabilityWarning, stacklevel=4)


def _radius(process: Any, build: Callable[[Sequence[Any]], Plan], t: Any, s: Any) -> float:
    return spectral_radius(build([float(t), float(s)]), process)
