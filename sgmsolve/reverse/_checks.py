"""What drift and diffusion objects, and the solvers that run them, refuse before any work."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import BackendError, GridError, MethodError, ModelError, ProcessError, unknown

State = tuple[Any, ...]

CALCULI = ("ito", "stratonovich")


def check_state(z: Any, m: int, t: Any, what: str) -> State:
    """``z`` as a tuple of m arrays of one library and shape, and a time that fits it.

    Looks at types and shapes only. Raises: ModelError for another number of arrays or other shapes,
    BackendError for mixed libraries.
    """
    if not isinstance(z, (tuple, list)):
        msg = (
            f"the state is a {type(z).__name__}, expected a tuple of {m} array(s) (batch, *shape) "
            f"for {what}; pass ({'x,' if m == 1 else 'x, v, ...'})."
        )
        raise ModelError(msg)
    if len(z) != m:
        msg = (
            f"the state has {len(z)} array(s), expected {m}, one for each component of {what}; "
            f"pass as many."
        )
        raise ModelError(msg)
    kinds = {kind_of(x) for x in z}
    shapes = {tuple(getattr(x, "shape", ("no array",))) for x in z}
    if len(shapes) > 1:
        msg = (
            f"the state's components have the shapes {sorted(shapes)}, expected one shape for all; "
            f"reshape them."
        )
        raise ModelError(msg)
    if not isinstance(t, (int, float, np.ndarray, np.generic)):
        kinds.add(kind_of(t))
    if len(kinds) > 1:
        msg = (
            f"arrays of {' and '.join(sorted(kinds))} were mixed in the state and the time, "
            f"expected one library; convert them, or give t as a float."
        )
        raise BackendError(msg)
    if not all(array_namespace(x).isdtype(x.dtype, "real floating") for x in z):
        msg = (
            f"the state has the types {', '.join(str(x.dtype) for x in z)}, expected real floating "
            f"ones; convert it to float32 or float64."
        )
        raise ModelError(msg)
    return tuple(z)


def check_like(made: Any, z: State, what: str, extra: int = 0) -> State:
    """``made`` as m arrays shaped like the state (with ``extra`` more axes), in its dtype.

    Raises: ModelError for anything that does not fit.
    """
    parts = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    if len(parts) != len(z):
        msg = (
            f"{what} returned {len(parts)} array(s), expected {len(z)}, one for each component of "
            f"the state; return a tuple of as many."
        )
        raise ModelError(msg)
    for part, x in zip(parts, z, strict=True):
        if not hasattr(part, "shape") or kind_of(part) != kind_of(x):
            name = f"{type(part).__module__}.{type(part).__name__}"
            msg = (
                f"{what} returned a {name}, expected a {kind_of(x)} array like the state; convert "
                f"it inside the function."
            )
            raise ModelError(msg)
        shape = tuple(part.shape)
        if shape[: len(x.shape)] != tuple(x.shape) or len(shape) != len(x.shape) + extra:
            more = " and one axis for the Brownian motions" if extra else ""
            msg = (
                f"{what} returned shape {shape}, expected the state's {tuple(x.shape)}{more}; "
                f"reshape it inside the function."
            )
            raise ModelError(msg)
    # Times may be float64 beside a float32 state, and torch promotes what they touch.
    return tuple(
        part if part.dtype == x.dtype else array_namespace(x).astype(part, x.dtype)
        for part, x in zip(parts, z, strict=True)
    )


def check_calculus(calculus: Any) -> str:
    """``calculus`` if it is "ito" or "stratonovich"; ProcessError otherwise."""
    if calculus not in CALCULI:
        raise ProcessError(unknown("calculus", str(calculus), CALCULI))
    return str(calculus)


def check_number_eta(eta: Any, when: str = "") -> float:
    """A finite number of at least 0; ProcessError otherwise."""
    try:
        value = float(eta)
    except (TypeError, ValueError):
        value = math.nan
    if isinstance(eta, bool) or not (math.isfinite(value) and value >= 0):
        msg = (
            f"eta = {eta!r}{when}, expected a finite number of at least 0 or a function of forward "
            f"time; 0 is the probability-flow ODE, 1 the reverse SDE."
        )
        raise ProcessError(msg)
    return value


def check_range(t: Any, times: tuple[float, float], what: str) -> None:
    """GridError for a host time outside the closed interval ``times``."""
    if isinstance(t, (int, float)) and not times[0] <= t <= times[1]:
        msg = (
            f"t = {float(t):.6g} lies outside the times [{times[0]:.6g}, {times[1]:.6g}] of "
            f"{what}; choose a time inside."
        )
        raise GridError(msg)


def check_model(model: Any, process: Any) -> None:
    """ModelError for something that is no model, or the model of another process."""
    if not callable(model) or not hasattr(model, "process") or not hasattr(model, "predicts"):
        msg = (
            f"the model is a {type(model).__name__}, expected one with .process and .predicts; "
            f"wrap the network with sgmsolve.as_model(net, process, predicts=...)."
        )
        raise ModelError(msg)
    if model.process.spec() != process.spec():
        msg = (
            f"the model belongs to {model.process!r}, but the SDE to {process!r}; pass "
            f"model.process."
        )
        raise ModelError(msg)


def tolerance(name: str, value: Any) -> float:
    """A finite number above 0; MethodError otherwise."""
    number = float(value) if isinstance(value, numbers.Real) else math.nan
    if isinstance(value, bool) or not (math.isfinite(number) and number > 0):
        msg = f"{name} = {value!r}, expected a finite number above 0; try 1e-3, say."
        raise MethodError(msg)
    return number


def positive(name: str, value: Any) -> int:
    """An integer of at least 1; MethodError otherwise."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise MethodError(f"{name} = {value!r}, expected an integer of at least 1.")
    return number
