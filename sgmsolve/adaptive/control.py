"""Tolerances and limits of a run, and the error that is held against them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive.controllers import Controller
from sgmsolve.adaptive.stepper import Attempt


@dataclasses.dataclass(frozen=True)
class Control:
    """Tolerances and limits of a run.

    E is the norm of error / tolerance over all entries of a sample, with the tolerance
    max(atol, rtol size) (``mixing="max"``) or atol + rtol size (``"sum"``); ``atol`` has one entry
    a component.
    """

    rtol: float
    atol: tuple[float, ...]
    controller: Controller
    h0: float
    h_min: float
    max_steps: int
    norm: str = "rms"
    mixing: str = "max"
    compact: bool = True
    jit: bool = True


def error_norm(tried: Attempt, control: Control) -> Any:
    """E (n,) of an attempt."""
    total: Any = None
    count = 0
    for i, e in enumerate(tried.error):
        xp = array_namespace(e)
        size = xp.abs(tried.sizes[0][i])
        for other in tried.sizes[1:]:
            size = xp.maximum(size, xp.abs(other[i]))
        size = control.rtol * size
        if control.mixing == "sum":
            allowed = size + control.atol[i]
        else:
            allowed = xp.clip(size, control.atol[i], None)
        flat = xp.reshape(e / allowed, (e.shape[0], -1))
        if control.norm == "max":
            worst = xp.max(xp.abs(flat), axis=1)
            total = worst if total is None else xp.maximum(total, worst)
        else:
            square = xp.sum(flat * flat, axis=1)
            total = square if total is None else total + square
            count += flat.shape[1]
    if control.norm == "max":
        return total
    xp = array_namespace(total)
    return xp.sqrt(total / count)


def settled(E: np.ndarray) -> np.ndarray:
    """E to 30 binary digits: rounding errors of the network do not reach the step sizes.

    Matrix products round a row differently in another batch. Steps that follow E to its last digit
    would carry that on to the path, whose bridges are as rough as a square root.
    """
    fraction, exponent = np.frexp(E)
    return np.ldexp(np.round(np.ldexp(fraction, 30)), exponent - 30)
