"""Checks of what users give: arrays, shapes and numbers, before any work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import PreconditionError


def host(value: Any, what: str) -> np.ndarray:
    """``value`` as a finite float64 host array. Raises: PreconditionError otherwise."""
    if kind_of(value) == "torch":
        value = value.detach().cpu()
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            msg = f"entries of type {array.dtype}"
            raise TypeError(msg)
        array = np.array(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{what} is no array of real numbers ({error}); pass an array."
        raise PreconditionError(msg) from error
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        msg = (
            f"{what} has {len(bad)} entries that are NaN or Inf, the first at "
            f"{tuple(map(int, bad[0]))}; expected finite numbers, remove them."
        )
        raise PreconditionError(msg)
    return array


def sample_shape(shape: Sequence[int], axes: int = 0, why: str = "") -> tuple[int, ...]:
    """``shape`` as a tuple of positive sizes with at least so many axes."""
    try:
        size = tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        size = ()
    if not size or min(size) < 1 or len(size) < axes:
        wanted = "(H, W) or (C, H, W)" if axes == 2 else "positive sizes"
        msg = f"shape is {shape!r}, expected {wanted}{why}; pass one sample's, without the batch."
        raise PreconditionError(msg)
    return size


def gains(value: Any, shape: tuple[int, ...], what: str, axes: int) -> np.ndarray:
    """Positive finite gains of ``shape``; the last ``axes`` sizes must be given, others repeat.

    Raises: PreconditionError for other shapes, and for entries that make M singular.
    """
    given = host(value, what)
    fits = given.shape[-axes:] == shape[-axes:] and given.ndim >= axes
    try:
        fits = fits and np.broadcast_shapes(given.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        other = f"{shape[-axes:]} or " if shape[-axes:] != shape else ""
        msg = (
            f"{what} has shape {given.shape}, expected {other}{shape} for samples of that shape; "
            f"make it from statistics at this resolution."
        )
        raise PreconditionError(msg)
    if not (given > 0).all():
        where = tuple(map(int, np.argwhere(given <= 0)[0]))
        msg = (
            f"{what} has {int((given <= 0).sum())} entries that are not positive, the first is "
            f"{given[where]:.6g} at {where}; the operator would be singular, pass gains > 0."
        )
        raise PreconditionError(msg)
    return np.array(np.broadcast_to(given, shape))


def interval(value: Any, what: str) -> tuple[float, float]:
    """Two finite numbers (low, high), low < high."""
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (-math.inf < low < high < math.inf):
        msg = f"{what} is {value!r}, expected (low, high) with low < high; pass (0, 1) or (-1, 1)."
        raise PreconditionError(msg)
    return low, high


def positive(value: Any, what: str) -> float:
    """A finite number > 0."""
    return above(value, 0.0, what)


def above(value: Any, bound: float, what: str) -> float:
    """A finite number > ``bound``."""
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (bound < number < math.inf):
        msg = f"{what} is {value!r}, expected a finite number > {bound:g}; pass one."
        raise PreconditionError(msg)
    return number
