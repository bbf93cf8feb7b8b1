"""``solve_adaptive``: one call for every solver of this room."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sgmsolve.adaptive import _checks, denoising
from sgmsolve.adaptive._rows import State
from sgmsolve.adaptive.brownian import Bridge, Source
from sgmsolve.adaptive.driver import Batch
from sgmsolve.adaptive.fixed import run_fixed
from sgmsolve.adaptive.registry import Solver, find_solver
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.adaptive.stepper import Stepper, motions
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.errors import MethodError, unknown

COMMON = (
    *("rtol", "atol", "h0", "controller", "norm", "max_steps", "h_min", "steps", "grid", "noise"),
    *("seed", "indices", "generator", "compact", "denoise", "save_at", "dense", "on_failure"),
    *("progress", "jit"),
)
"""Options that every solver has, besides its own."""


def solve_adaptive(
    method: str | Solver, sde: Any, z: Any, t_start: float, t_end: float, **options: Any
) -> AdaptiveSolution:
    """Solve an SDE or ODE with a step size of its own for every sample.

    method: a name of ``known_methods()``. sde: ReverseSDE and ProbabilityFlow run from t_start down
    to t_end, ForwardSDE and GeneralSDE upwards. z: m arrays (batch, *shape) of numpy, torch or jax
    in a tuple, or one array if m = 1.

    Options of all solvers (None stands for the default):
        rtol, atol: tolerances; atol may have one entry a component. An error estimate e is held
            against max(atol, rtol |z|) by ``gotta-go-fast`` and ``dpm-solver-*``, against atol +
            rtol |z| by the others.
        norm: ``"rms"`` over all entries of a sample, or ``"max"``.
        controller: of ``sgmsolve.adaptive.controllers``.
        h0: first step, default 1 % of the interval. h_min: floor of the step size, where a sample
            gives up; default 1e-12 of the interval, and what the time's precision can tell apart.
            Both in half log-SNR for ``dpm-solver-*`` and ``exp-*``, which step in it, as are
            ``steps``.
        max_steps: attempts of one sample, 100 000.
        steps or grid: equal steps, or forward times from t_start to t_end: no error control.
        noise: ``"bridge"``: a rejected step keeps to its Brownian path (default); ``"redraw"``: new
            noise after a rejection, as published and biased in low dimension; ``"reuse"``: the same
            normals scaled; or, with steps or grid, a path with ``increment(a, b)`` and
            ``area(a, b)``.
        seed, indices, generator: of the normals, see ``KeyedNoise``; a sample's result depends on
            its own index, not on its batch.
        compact: whether finished samples leave the batch (True). jit: whether to compile on jax.
        save_at: forward times strictly between; steps end there, see ``AdaptiveSolution.saved``.
        dense: keep what is needed to interpolate in time (ODEs).
        denoise: one more evaluation at t_end, see :mod:`sgmsolve.adaptive.denoising`.
        on_failure: what to do when samples do not reach t_end: ``"warn"``, ``"raise"`` (SolveError
            with ``.solution``) or ``"ignore"``. No sample is lost: see ``AdaptiveSolution``.
        progress: show a bar of finished samples.

    Gradients are recorded by torch as in ``sgmsolve.solve``; call under ``torch.no_grad()`` where
    none are wanted.

    Raises: MethodError: unknown names and options, tolerances and numbers that make no sense, a
    solver that cannot do this noise; GridError: times; BackendError: arrays; all before any work.
    """
    solver = method if isinstance(method, Solver) else find_solver(method)
    options = {name: value for name, value in options.items() if value is not None}
    for option in options:
        if option not in (*COMMON, *solver.options):
            names = (*solver.options, *COMMON)
            raise MethodError(unknown(f"option of {solver.name}", option, names))
    own = {k: options.pop(k) for k in solver.options if k in options}
    z = _checks.check_state(z, sde)
    times = _checks.check_times(sde, t_start, t_end, options)
    _checks.check_noise(solver, sde)
    stepper, run = solver.make(sde, **own)
    stepper.check(run, z, float(times[0]))
    on_failure = _checks.one_of("on_failure", options, ("warn", "raise", "ignore"))
    denoise = denoising.check(options.pop("denoise", False), sde)
    source = make_source(stepper, run, z, times, options)
    clocked = own_times(run, times, "steps" in options)
    if "steps" in options or "grid" in options:
        _checks.check_fixed(options)
        found = run_fixed(stepper, run, z, clocked, source)
    else:
        found = _controlled(solver, stepper, run, z, clocked, source, options)
    if clocked is not times:
        t = np.where(found.finished, times[-1], run.time(found.t))
        found = dataclasses.replace(found, t=t)
    if denoise:
        found = denoising.finish(found, sde, denoise)
    return found.report(on_failure)


def own_times(sde: Any, times: np.ndarray, equal: bool) -> np.ndarray:
    """Forward times in the SDE's own clock, if it has one; ``equal`` steps are equal there."""
    if not hasattr(sde, "clock"):
        return times
    made = sde.clock(times)
    return np.linspace(made[0], made[-1], len(made)) if equal else made


def _controlled(
    solver: Solver,
    stepper: Stepper,
    sde: Any,
    z: State,
    times: np.ndarray,
    source: Any,
    options: dict[str, Any],
) -> AdaptiveSolution:
    """Adaptive steps."""
    control = _checks.check_control(solver, stepper, z, times, options)
    recorder = None
    if _checks.flag("dense", options, False):
        from sgmsolve.adaptive.dense import Recorder

        recorder = Recorder(stepper, sde)
    batch = Batch(stepper, sde, z, tuple(times.tolist()), control, source, recorder)
    if options.get("progress"):
        from tqdm import tqdm

        with tqdm(total=z[0].shape[0], unit="sample", desc=solver.name) as bar:
            found = batch.run(bar)
    else:
        found = batch.run()
    return found if recorder is None else recorder.finish(found, times)


def make_source(
    stepper: Stepper, sde: Any, z: State, times: np.ndarray, options: dict[str, Any]
) -> Any:
    """Where the stepper's draws come from; None if it takes none."""
    noise = options.get("noise", "bridge")
    generator = options.get("generator", "native")
    keyed = KeyedNoise(options.get("seed", 0), options.get("indices"), generator=generator)
    if not stepper.draws:
        if "noise" in options:
            msg = f"noise was given, but {stepper.name} solves ODEs; leave it out."
            raise MethodError(msg)
        return None
    if not isinstance(noise, str):
        return _checks.check_path(noise, stepper, options)
    shapes = motions(sde, z, float(times[0]))
    area = "area" in stepper.draws
    if noise == "bridge":
        return Bridge(keyed, z[0], shapes, area)
    if noise not in ("redraw", "reuse"):
        raise MethodError(unknown("noise:", noise, ("bridge", "redraw", "reuse")))
    return Source(keyed, z[0], shapes, area, keep=noise == "reuse")
