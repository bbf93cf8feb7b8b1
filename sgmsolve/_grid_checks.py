"""Validation of time grids and of what they are made from; every message is a sentence."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import GridError, unknown
from sgmsolve.process.base import AbstractProcess


def custom(times: Any, process: AbstractProcess) -> np.ndarray:
    """Validate times given by hand: at least two, strictly decreasing, within [0, t_max].

    Returns a float64 array of shape (n,); mpmath numbers are kept, in an object array, so that
    plans can be computed in high precision. Raises: GridError naming the first bad entry.
    """
    try:
        given = np.asarray(times)
    except ValueError:
        given = np.empty((len(times), 0))  # rows of unequal length: not a sequence of numbers
    if given.ndim != 1 or given.size < 2:
        msg = (
            f"a grid is a sequence of at least two times, but an array of shape {given.shape} was "
            f"given; one step needs [t_max, t_min]."
        )
        raise GridError(msg)
    if not all(is_multiprecision(t) or isinstance(t, numbers.Real) for t in given.tolist()):
        msg = f"a grid holds real numbers, but {times!r} was given."
        raise GridError(msg)
    exact = any(is_multiprecision(t) for t in given.tolist())
    grid = given if exact else given.astype(np.float64)
    for i, t in enumerate(grid.tolist()):
        process.check_time(t, f"grid[{i}]")
    for i, (t, s) in enumerate(zip(grid.tolist()[:-1], grid.tolist()[1:], strict=True)):
        if not s < t:
            msg = (
                f"a grid must decrease, but grid[{i}] = {float(t):.6g} <= grid[{i + 1}] = "
                f"{float(s):.6g}; times run from noise to data (pass grid[::-1]?)."
            )
            raise GridError(msg)
    return grid


def checked_ends(process: AbstractProcess, t_max: Any, t_min: Any) -> tuple[float, float]:
    """Both ends as floats, the process's own where none is given."""
    high = process.t_max if t_max is None else t_max
    low = process.t_min if t_min is None else t_min
    for name, t in (("t_max", high), ("t_min", low)):
        if isinstance(t, bool) or not isinstance(t, numbers.Real):
            msg = f"{name} must be a number, but {t!r} was given."
            raise GridError(msg)
        process.check_time(t, name)
    if not low < high:
        msg = f"t_min = {low:.6g} must be smaller than t_max = {high:.6g}; t_max is at the prior."
        raise GridError(msg)
    return float(high), float(low)


def ends_at_zero(process: AbstractProcess, final: str) -> bool:
    """Whether the grid ends at t = 0."""
    if final not in ("t_min", "zero"):
        raise GridError(unknown("end of a grid (final=)", str(final), ("t_min", "zero")))
    if final == "zero" and np.any(process.initial_covariance):
        msg = (
            f"final='zero' was given, but sigma(0) is not zero for {process!r}; end at t_min (the "
            f"default) and add a denoising step instead."
        )
        raise GridError(msg)
    return final == "zero"


def checked_steps(steps: Any) -> int:
    """A positive whole number of steps."""
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 1:
        msg = f"a grid needs a whole number of steps, at least 1, but steps = {steps!r} was given."
        raise GridError(msg)
    return int(steps)


def check_positive(name: str, value: Any) -> None:
    """Refuse an option that is not a finite positive number."""
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not good or not 0 < value < np.inf:
        msg = f"{name} must be a finite positive number, but {value!r} was given."
        raise GridError(msg)
