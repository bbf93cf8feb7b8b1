"""What the settings of this room have in common: counts, numbers and tables of levels, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from sgmsolve.errors import ChainError, unknown


def count(name: str, value: Any, least: int = 1) -> int:
    """An integer of at least ``least``; ChainError otherwise."""
    try:
        found = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = least - 1
    if found < least:
        raise ChainError(f"{name} = {value!r}, expected an integer of at least {least}.")
    return found


def number(name: str, value: Any, *, zero: bool = False, infinite: bool = False) -> float:
    """A number above 0, finite unless ``infinite``, or 0 with ``zero``; ChainError otherwise."""
    found = _real(value)
    if not (found > 0 or (zero and found == 0)) or (math.isinf(found) and not infinite):
        kind = "number" if infinite else "finite number"
        bound = "of at least 0" if zero else "above 0"
        raise ChainError(f"{name} = {value!r}, expected a {kind} {bound}.")
    return found


def check_range(low: Any, high: Any) -> None:
    """ChainError unless 0 < low < high < inf."""
    if not 0 < _real(low) < _real(high) < math.inf:
        msg = (
            f"levels from {low!r} to {high!r} were given, expected 0 < low < high; noise levels "
            "are standard deviations in data units."
        )
        raise ChainError(msg)


def level_table(levels: Any, least: int = 2) -> np.ndarray:
    """Levels (L,), float64, L >= ``least``: finite, above 0 and distinct; ChainError otherwise."""
    try:
        table = np.asarray(levels, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(())
    if table.ndim != 1 or table.size < least or not np.all(np.isfinite(table) & (table > 0)):
        given = repr(levels) if np.size(table) < 8 else f"levels of shape {table.shape}"
        msg = (
            f"{given} were given as levels, expected (L,) finite standard deviations above 0, "
            f"L >= {least}; pass geometric_levels(0.01, 2.0, 200), say."
        )
        raise ChainError(msg)
    if np.unique(table).size < table.size:
        raise ChainError("a level occurs twice; remove the second.")
    return table


def check_options(given: Iterable[str], known: Iterable[str]) -> None:
    """ChainError for an option that is not known."""
    for name in given:
        if name not in known:
            raise ChainError(unknown("option", name, known))


def _real(value: Any) -> float:
    """The number, or NaN, which passes no comparison."""
    if isinstance(value, (str, bytes, bool)):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
