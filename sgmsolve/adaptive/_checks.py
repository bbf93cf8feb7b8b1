"""What adaptive runs refuse, before any work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import State
from sgmsolve.adaptive.control import Control
from sgmsolve.adaptive.controllers import Controller
from sgmsolve.errors import BackendError, GridError, MethodError, unknown
from sgmsolve.reverse._checks import positive as positive
from sgmsolve.reverse._checks import tolerance


def check_state(z: Any, sde: Any) -> State:
    """The state as m floating arrays of one library with one batch; BackendError otherwise."""
    if not all(hasattr(sde, name) for name in ("drift", "noise", "direction", "m")):
        msg = (
            f"a {type(sde).__name__} was given, expected a ReverseSDE, ProbabilityFlow, ForwardSDE "
            "or GeneralSDE of sgmsolve.reverse; wrap the model in one."
        )
        raise MethodError(msg)
    parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    if len(parts) != sde.m:
        msg = f"the state has {len(parts)} array(s), expected {sde.m}; pass one a component."
        raise BackendError(msg)
    kinds = {kind_of(x) if hasattr(x, "dtype") else type(x).__name__ for x in parts}
    if len(kinds) > 1 or not kinds <= {"numpy", "torch", "jax"}:
        msg = (
            f"the state is made of {' and '.join(sorted(kinds))}, expected arrays of numpy, torch "
            "or jax, all of one library; convert them."
        )
        raise BackendError(msg)
    for x in parts:
        if not array_namespace(x).isdtype(x.dtype, "real floating"):
            msg = f"the state's dtype is {x.dtype}, expected a real floating type; cast it first."
            raise BackendError(msg)
        if x.ndim == 0 or x.shape[0] != parts[0].shape[0] or x.shape[0] == 0:
            msg = (
                f"the state has the shapes {[tuple(p.shape) for p in parts]}, expected (batch, "
                "*shape) with one batch of at least 1; use x[None] for one sample."
            )
            raise BackendError(msg)
    if kinds == {"jax"}:
        import jax

        if any(isinstance(x, jax.core.Tracer) for x in parts):
            msg = (
                "the state is traced by jax, but these steps are chosen on the host; call "
                "sgmsolve.adaptive.solve_masked inside jax.jit, vmap or grad."
            )
            raise BackendError(msg)
    return parts


def check_times(sde: Any, t_start: float, t_end: float, options: dict[str, Any]) -> np.ndarray:
    """Times from t_start over ``save_at`` (or the steps of ``steps``, ``grid``) to t_end."""
    t_start, t_end = (_time(t, name) for t, name in ((t_start, "t_start"), (t_end, "t_end")))
    for t in (t_start, t_end):
        sde.check_time(t)
        if hasattr(sde, "model") and sde.process.has_no_noise(t):
            msg = (
                f"t = {t:g} was given, where {sde.process!r} has no noise and there is no score; "
                "end a little above, and pass denoise=True for the last step to the data."
            )
            raise GridError(msg)
    if (t_end - t_start) * sde.direction <= 0:
        way = "down" if sde.direction < 0 else "up"
        msg = (
            f"t_start = {t_start:g} and t_end = {t_end:g}, but a {type(sde).__name__} runs {way} "
            f"in forward time; expected t_end {'<' if sde.direction < 0 else '>'} t_start."
        )
        raise GridError(msg)
    given = [name for name in ("steps", "grid", "save_at") if options.get(name) is not None]
    if len(given) > 1:
        raise MethodError(f"{' and '.join(given)} were given; give one of them.")
    if not given:
        return np.array([t_start, t_end])
    if given == ["steps"]:
        return np.linspace(t_start, t_end, positive("steps", options["steps"]) + 1)
    times = np.asarray(options[given[0]], dtype=np.float64)
    if given == ["save_at"]:
        times = np.concatenate([[t_start], np.atleast_1d(times), [t_end]])
    fine = times.ndim == 1 and np.isfinite(times).all() and times.size >= 2
    ordered = fine and bool((np.diff(times) * sde.direction > 0).all())
    if not ordered or times[0] != t_start or times[-1] != t_end:
        msg = (
            f"{given[0]} = {options[given[0]]!r}, expected forward times from t_start = "
            f"{t_start:g} to t_end = {t_end:g}, in the direction of the run and without repeats"
            f"{', ends left out' if given == ['save_at'] else ''}."
        )
        raise GridError(msg)
    return times


def check_noise(solver: Any, sde: Any) -> None:
    """MethodError for an ODE solver and an SDE, or the reverse."""
    if sde.noise != "none" and not solver.stochastic:
        msg = (
            f"{solver.name} solves ODEs, but the {type(sde).__name__} has {sde.noise} noise; use "
            "ProbabilityFlow, or a solver for SDEs such as gotta-go-fast."
        )
        raise MethodError(msg)
    if sde.noise == "none" and solver.stochastic:
        msg = (
            f"{solver.name} solves SDEs, but the {type(sde).__name__} has no noise (eta = 0); use "
            "eta > 0, or a solver for ODEs such as dopri5."
        )
        raise MethodError(msg)


def check_fixed(options: dict[str, Any]) -> None:
    """MethodError for options of error control next to fixed steps."""
    for name in ("compact", "jit"):
        flag(name, options, True)
    wrong = [
        name
        for name in ("rtol", "atol", "h0", "controller", "norm", "max_steps", "h_min", "dense")
        if name in options
    ]
    if wrong:
        msg = (
            f"{' and '.join(wrong)} belong to error control, but steps or grid fix the steps; "
            "leave one or the other out."
        )
        raise MethodError(msg)


def check_path(noise: Any, stepper: Any, options: dict[str, Any]) -> Any:
    """A path object, for fixed steps; MethodError otherwise."""
    if not callable(getattr(noise, "increment", None)):
        msg = (
            f"noise is a {type(noise).__name__}, expected 'bridge', 'redraw', 'reuse' or a path "
            "with increment(a, b), such as sgmsolve.adapters.brownian_noise(...)."
        )
        raise MethodError(msg)
    if "area" in stepper.draws and not callable(getattr(noise, "area", None)):
        msg = f"{stepper.name} needs areas, but this {type(noise).__name__} has no area(a, b)."
        raise MethodError(msg)
    if "sign" in stepper.draws:
        raise MethodError("random signs are no part of a path; use ito='correction'.")
    if "steps" not in options and "grid" not in options:
        msg = (
            "a path that all samples share at common times was given, but adaptive steps give "
            "every sample its own times; pass steps or grid, or noise='bridge'."
        )
        raise MethodError(msg)
    return noise


def check_control(
    solver: Any, stepper: Any, z: State, times: np.ndarray, options: dict[str, Any]
) -> Control:
    """Tolerances and limits; MethodError for numbers that make no sense."""
    rtol = tolerance("rtol", options.get("rtol", solver.rtol))
    atol = options.get("atol", solver.atol)
    parts = tuple(atol) if isinstance(atol, (tuple, list)) else (atol,) * len(z)
    if len(parts) != len(z):
        msg = f"atol has {len(parts)} entries, expected one number or {len(z)}, one a component."
        raise MethodError(msg)
    atols = tuple(tolerance("atol", a) for a in parts)
    span = float(abs(times[-1] - times[0]))
    controller = options.get("controller")
    controller = solver.controller(stepper) if controller is None else controller
    if not isinstance(controller, Controller):
        msg = (
            f"controller is a {type(controller).__name__}, expected one of "
            "sgmsolve.adaptive.controllers: integral(order), pi(order), pid(order)."
        )
        raise MethodError(msg)
    return Control(
        rtol=rtol,
        atol=atols,
        controller=controller,
        h0=tolerance("h0", options.get("h0", 0.01 * span)),
        h_min=max(_resolution(z, times, span), tolerance("h_min", options.get("h_min", 1e-300))),
        max_steps=positive("max_steps", options.get("max_steps", 100_000)),
        norm=one_of("norm", options, ("rms", "max")),
        mixing=solver.mixing,
        compact=flag("compact", options, True),
        jit=flag("jit", options, True),
    )


def _resolution(z: State, times: np.ndarray, span: float) -> float:
    """The smallest step that a time of this size can take."""
    eps = np.finfo(np.float64).eps
    if kind_of(z[0]) == "jax":
        import jax.numpy as jnp

        eps = np.finfo(np.dtype(jnp.result_type(float))).eps
    return max(1e-12 * span, 4 * float(eps) * float(np.abs(times).min()))


def _time(t: Any, name: str) -> float:
    try:
        value = float(t)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise GridError(f"{name} = {t!r}, expected a finite forward time.")
    return value


def flag(name: str, options: dict[str, Any], default: bool) -> bool:
    """True or False; MethodError otherwise."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise MethodError(f"{name} = {value!r}, expected True or False.")
    return value


def one_of(name: str, options: dict[str, Any], known: tuple[str, ...]) -> str:
    """One of the known words, the first by default; MethodError otherwise."""
    value = options.get(name, known[0])
    if value not in known:
        raise MethodError(unknown(f"value of {name}:", str(value), known))
    return str(value)
