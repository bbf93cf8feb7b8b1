"""What ``log_density`` refuses, before any work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import BackendError, GridError, MethodError, ModelError, unknown
from sgmsolve.likelihood.divergence import DERIVATIVES, ESTIMATORS, LARGEST
from sgmsolve.likelihood.probes import DISTRIBUTIONS
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse._checks import check_state

State = tuple[Any, ...]

OPTIONS = (
    *("h0", "h_min", "max_steps", "controller", "norm", "steps", "grid", "compact", "jit"),
    *("progress", "on_failure"),
)
TOLERANCE = 3e-7
"""Default of rtol and atol: at 1e-6 one in 300 points of the ring misses 1e-4 nats in float32 (VE,
benchmarks/likelihood.py); at 3e-7 the largest error there is 2e-5."""


def check_input(process: AbstractProcess, x: Any) -> State:
    if process.m > 1 and not isinstance(x, (tuple, list)):
        names = ", ".join(process.names)
        msg = (
            f"x is one array, but {process!r} has the components {names}, and the flow gives the "
            f"density of all together, not of x alone; pass a tuple ({names}), with the others "
            f"drawn from their law at t_min."
        )
        raise ModelError(msg)
    given = x if isinstance(x, (tuple, list)) else (x,)
    if not all(hasattr(part, "shape") and hasattr(part, "dtype") for part in given):
        msg = f"x is a {type(x).__name__}, expected an array of numpy, torch or jax; convert it."
        raise ModelError(msg)
    z = check_state(given, process.m, 0.0, repr(process))
    xp = array_namespace(z[0])
    if kind_of(z[0]) == "jax":
        import jax

        if any(isinstance(part, jax.core.Tracer) for part in z):
            msg = (
                "log_density was called inside a jax transformation, but its steps are chosen on "
                "the host; call it outside of jit, grad and vmap."
            )
            raise BackendError(msg)
    if xp.finfo(z[0].dtype).bits < 32:
        msg = f"x has the type {z[0].dtype}, expected float32 or float64; convert it."
        raise BackendError(msg)
    if z[0].ndim < 2 or 0 in z[0].shape:
        msg = f"x has the shape {tuple(z[0].shape)}, expected (batch, *shape); reshape it."
        raise ModelError(msg)
    return z


def check_times(
    process: AbstractProcess, t_min: float | None, t_max: float | None
) -> tuple[float, float]:
    start = float(process.t_min if t_min is None else t_min)
    if t_max is None:
        usable = process.starts_at_zero_alpha and hasattr(process, "largest_usable_time")
        t_max = process.largest_usable_time() if usable else process.t_max  # type: ignore[attr-defined]
    end = float(t_max)
    for name, t in (("t_min", start), ("t_max", end)):
        process.check_time(t, name)
    if not start < end:
        msg = f"t_min = {start:g} and t_max = {end:g}, expected t_min < t_max; swap them."
        raise GridError(msg)
    if np.linalg.matrix_rank(process.covariance(start)) < process.m:
        msg = (
            f"at t_min = {start:g} some direction of {process!r} holds no noise, where no score "
            f"exists; pass t_min={process.t_min:g}."
        )
        raise GridError(msg)
    return start, end


def check_estimator(divergence: Any, distribution: Any, derivative: Any, z: State) -> None:
    for what, given, known in (
        ("divergence", divergence, ESTIMATORS),
        ("distribution of probes", distribution, DISTRIBUTIONS),
        ("derivative", derivative, DERIVATIVES),
    ):
        if given not in known:
            raise MethodError(unknown(what, str(given), known))
    if derivative == "automatic" and kind_of(z[0]) == "numpy":
        msg = (
            "numpy arrays carry no derivatives, which the divergence needs; pass x as a torch or "
            "jax array, or derivative='differences'."
        )
        raise BackendError(msg)
    xp = array_namespace(z[0])
    if derivative == "differences" and z[0].dtype != xp.float64:
        msg = (
            f"derivative='differences' was given for {z[0].dtype}, expected float64, as "
            f"differences cancel; convert x."
        )
        raise BackendError(msg)


def count_probes(divergence: str, probes: Any, z: State) -> tuple[int | None, int]:
    """(random vectors to draw, products an evaluation)."""
    size = len(z) * math.prod(z[0].shape[1:])
    if divergence == "exact":
        if probes is not None:
            msg = f"probes = {probes!r}, but the exact divergence has none; pass 'hutchinson'."
            raise MethodError(msg)
        if size > LARGEST:
            msg = (
                f"the exact divergence takes one product for each of {size} entries an "
                f"evaluation, expected at most {LARGEST}; pass divergence='hutchinson' or "
                f"'hutch++'."
            )
            raise MethodError(msg)
        return None, size
    thirds = divergence == "hutch++"
    count = (3 if thirds else 1) if probes is None else probes
    whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool) and count > 0
    if not whole or (thirds and count % 3):
        many = "a multiple of 3" if thirds else "a whole number of at least 1"
        msg = f"probes = {count!r}, expected {many} for {divergence}; pass {3 if thirds else 1}."
        raise MethodError(msg)
    if thirds and count // 3 > size:
        msg = (
            f"probes = {count} sketch {count // 3} directions, but a sample has {size}; pass at "
            f"most {3 * size}, or divergence='exact'."
        )
        raise MethodError(msg)
    return (2 * count // 3 if thirds else count), int(count)


def check_options(
    options: dict[str, Any], rtol: Any, atol: Any, estimate_error: bool
) -> dict[str, Any]:
    """The tolerances for the solver; MethodError for options that it does not get from here."""
    for option in options:
        if option not in OPTIONS:
            raise MethodError(unknown("option of log_density", option, OPTIONS))
    given = {k: v for k, v in (("rtol", rtol), ("atol", atol)) if v is not None}
    if "steps" in options or "grid" in options:
        if estimate_error:
            msg = (
                "estimate_error compares two tolerances, but steps or grid fix the steps; leave "
                "one of the two out."
            )
            raise MethodError(msg)
        return given
    return {"rtol": TOLERANCE, "atol": TOLERANCE, **given}
