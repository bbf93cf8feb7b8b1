"""What a conjugate integrator is told: the kind of prediction it freezes, and the matrix B."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.multistep import choose

NAMED = ("zero", "identity", "ones")
KINDS = ("noise", "data", "score")
FACTORS = ("lower", "upper", "rotation-free")


def kind_of_prediction(process: Any, kind: str, factor: str) -> str:
    """``noise`` names its factor where there is more than one component."""
    choose("kind", kind, KINDS)
    choose("factor", factor, FACTORS)
    return f"noise:{factor}" if kind == "noise" and process.m > 1 else kind


def matrix_function(B: Any, lam: float, m: int) -> Callable[[Any], Any] | None:
    """B as a function of forward times (array or mpmath number), or None for zero.

    ``B``: a name ("zero", "identity": lam I, "ones": lam times the all-ones matrix), a matrix
    (m, m), or a function of one forward time that returns one. Raises: MethodError otherwise.
    """
    check_size(lam)
    if isinstance(B, str):
        choose("B", B, NAMED)
        if B == "zero":
            return None
        B = lam * (np.eye(m) if B == "identity" else np.ones((m, m)))
    if callable(B):
        function = B

        def varying(t: Any) -> Any:
            if ops(t).host:
                return _checked(function(t), m, t)
            times = np.ravel(t).tolist()
            values = [function(x) for x in times]
            try:
                found = np.array(values)
                found = np.zeros(0) if found.dtype.kind == "c" else found.astype(np.float64)
            except (TypeError, ValueError):
                found = np.zeros(0)
            if found.shape != (len(times), m, m) or not np.isfinite(found).all():
                found = np.array([_checked(v, m, x) for v, x in zip(values, times, strict=True)])
            return found.reshape(*np.shape(t), m, m)

        return varying
    constant = _checked(B, m, None)
    return lambda t: constant


def check_size(lam: float) -> None:
    """MethodError unless lam, the size of B, is finite."""
    if not math.isfinite(lam):
        msg = f"lam = {lam} was given, but the size of B (1/time) is a finite number, such as 0.5."
        raise MethodError(msg)


def _checked(value: Any, m: int, t: Any) -> np.ndarray:
    try:
        found = np.asarray(value)
        good = (
            found.shape == (m, m)
            and not np.iscomplexobj(found)
            and (found.dtype == object or bool(np.isfinite(found.astype(np.float64)).all()))
        )
    except (TypeError, ValueError):
        good, found = False, np.asarray(None)
    if not good:
        where = "" if t is None else f" at t = {float(t):.6g}"
        msg = (
            f"B{where} is {value!r}, expected a finite matrix ({m}, {m}), one row and column a "
            f"component, a function of forward time that returns one, or one of {', '.join(NAMED)}."
        )
        raise MethodError(msg)
    return found
