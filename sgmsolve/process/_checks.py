"""Validation of process parameters, and the sentences all processes share."""

from __future__ import annotations

import math
from typing import Any

from sgmsolve.errors import ProcessError


def positive(name: str, value: Any, owner: str, *, zero: bool = False) -> float:
    """Return a parameter as a float; ProcessError unless finite and positive (or allowed zero)."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        wanted = "a finite number, zero or positive" if zero else "a finite positive number"
        msg = f"{name} of {owner} must be {wanted}, but {value!r} was given."
        raise ProcessError(msg)
    return float(value)


def check_times(process: Any, t_min: Any, t_max: Any, *, upper: float) -> None:
    """Validate ``0 <= t_min < t_max <= upper`` and store both as floats on a frozen process."""
    owner = type(process).__name__
    low = positive("t_min", t_min, owner, zero=True)
    high = positive("t_max", t_max, owner)
    if not low < high <= upper:
        msg = (
            f"t_min = {low:g} and t_max = {high:g} were given, but {owner} needs 0 <= t_min < "
            f"t_max <= {upper:g} (forward time: t_min is next to the data)."
        )
        raise ProcessError(msg)
    object.__setattr__(process, "t_min", low)
    object.__setattr__(process, "t_max", high)


def no_score(process: Any, t: Any) -> str:
    """The sentence for a score where sigma = 0."""
    return (
        f"there is no score at t = {float(t):.6g}, where sigma = 0; stop at a t > 0 "
        f"(t_min = {process.t_min:.6g}) or use a model that predicts noise, data, v or flow."
    )


def no_noise(process: Any, what: str, t: Any) -> str:
    """The sentence for what does not exist where sigma = 0."""
    return (
        f"{what} does not exist at t = {float(t):.6g}, where sigma = 0 and the state holds no "
        f"noise; stop at a t > 0 (t_min = {process.t_min:.6g}) or use another kind of model."
    )


def no_signal(process: Any, what: str, t: Any) -> str:
    """The sentence for what does not exist where alpha = 0."""
    return (
        f"{what} does not exist at t = {float(t):.6g}, where alpha = 0 and the state holds "
        f"nothing of the data; start at t <= {process.largest_usable_time():.6g} or use a method "
        f"that predicts data (its first step has a limit there)."
    )
