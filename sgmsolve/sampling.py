"""``build_plan``: a method, a budget and a grid make a Plan. ``sample``: from prior to samples.

Solvers that are no plans (adaptive ones, other libraries') are methods of ``sample`` too, see
:mod:`sgmsolve.solving`, which is loaded when one is named.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sgmsolve import grid as grids
from sgmsolve.backends.noise import START_ROW, KeyedNoise
from sgmsolve.backends.place import empty_state
from sgmsolve.backends.solve import solve
from sgmsolve.backends.state import Solution
from sgmsolve.errors import GridError, MethodError, ProcessError
from sgmsolve.methods.registry import Method, all_methods, find
from sgmsolve.methods.stability import unchecked
from sgmsolve.phi import cholesky
from sgmsolve.plan import Plan
from sgmsolve.process.base import AbstractProcess, ScalarProcess

if TYPE_CHECKING:
    from sgmsolve.adapters import AdapterSolution
    from sgmsolve.adaptive import AdaptiveSolution
    from sgmsolve.solving import SolverMethod


def build_plan(
    process: AbstractProcess,
    method: str | Method,
    *,
    steps: int | None = None,
    nfe: int | None = None,
    grid: Any = None,
    grid_options: Mapping[str, Any] | None = None,
    denoise: bool = False,
    **options: Any,
) -> Plan:
    """The plan of a method: pure host work, no network, no backend.

    Args:
        process: the forward process.
        method: a name or alias (``sgmsolve methods`` lists them) or a Method record.
        steps: steps of the grid; or
        nfe: a budget of network evaluations, which buys the largest number of steps whose
            evaluations, start and denoising rows included, do not exceed it (``plan.nfe`` says how
            many they are).
        grid: name of a grid (``sgmsolve.grid``; default ``grid.default_grid(process)``) or
            decreasing forward times, which then fix the number of steps.
        grid_options: options of a named grid, for example ``{"rho": 5, "final": "zero"}``.
        denoise: end with the data prediction (one more row).
        options: the method's own.

    Raises:
        MethodError: unknown method or option, neither or both of steps and nfe, a budget that is
            too small; GridError: an impossible grid.
    """
    record = _record(process, method)
    if not isinstance(record, Method):
        msg = (
            f"{record.name} is no plan: it is not known before a run where it evaluates the model; "
            f"use sgmsolve.sample(..., method={record.name!r}), or sgmsolve.solving.prepare."
        )
        raise MethodError(msg)
    if denoise:
        options["denoise"] = True
    times = grids.default_grid(process) if grid is None else grid
    if grid_options is not None and not isinstance(grid_options, Mapping):
        msg = f"grid_options = {grid_options!r}, expected names and values; pass {{'rho': 5}}, say."
        raise GridError(msg)
    more = dict(grid_options or {})

    def build(count: int | None, choice: Mapping[str, Any] | None = None) -> Plan:
        given = {**(choice or {}), **options}
        return record(process, grids.make(times, process, count, **more), **given)

    if steps is not None and nfe is not None:
        msg = f"steps = {steps} and nfe = {nfe} were both given; give one of them."
        raise MethodError(msg)
    if nfe is None:
        if steps is None and isinstance(times, str):
            msg = f"neither steps nor nfe was given for the {times} grid; pass steps=20, say."
            raise MethodError(msg)
        return build(steps)
    if not isinstance(times, str):
        msg = f"nfe = {nfe} was given with a grid of fixed times; leave nfe out."
        raise MethodError(msg)
    free = [c for c in record.budget_options if not set(c) & set(options)] or [{}]
    with unchecked():  # candidates are tried in silence
        count, choice, plan = _spend(build, _budget(nfe), record, free)
    return plan if process.m == 1 else build(count, choice)  # again, for what there is to warn of


def default_method(process: AbstractProcess) -> str:
    """Name of a good deterministic method of order 2 with one evaluation a step."""
    return "dpm++2m" if isinstance(process, ScalarProcess) else "strang2-lagged-ode"


def _record(process: Any, method: Any) -> Method | SolverMethod:
    """The method's record, once both arguments are what they should be."""
    if not isinstance(process, AbstractProcess):
        given = process.__name__ if isinstance(process, type) else type(process).__name__
        msg = f"process is {given}, expected a forward process; pass sgmsolve.VP(), say."
        raise ProcessError(msg)
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        msg = (
            f"method is a {type(method).__name__}, expected a name such as 'ddim' or a Method "
            "record; `sgmsolve methods` lists the names."
        )
        raise MethodError(msg)
    if any(method in (m.name, *m.aliases) for m in all_methods()):
        return find(method)
    from sgmsolve.solving import find_method

    return find_method(method)


def _budget(nfe: Any) -> int:
    try:
        value = operator.index(nfe)
    except TypeError:
        value = 0
    if value < 1:
        msg = f"nfe = {nfe!r}, expected a number of evaluations; pass an integer of at least 1."
        raise MethodError(msg)
    return value


def _spend(
    build: Any, nfe: int, record: Method, choices: Sequence[Mapping[str, Any]]
) -> tuple[int, Mapping[str, Any], Plan]:
    """Steps, choice and plan with the most steps, then evaluations, that fit the budget."""
    found = [(*_most_steps(lambda n, c=c: build(n, c), nfe, record), c) for c in choices]
    fitting = [one for one in found if one[1].nfe <= nfe]
    if not fitting:
        least = min(plan.nfe for _, plan, _ in found)
        msg = (
            f"one step of {record.name!r} takes {least} evaluations with these options, but the "
            f"budget is nfe = {nfe}; give nfe >= {least}."
        )
        raise MethodError(msg)
    count, plan, choice = max(fitting, key=lambda one: (one[0], one[1].nfe))
    return count, choice, plan


def _most_steps(build: Any, nfe: int, record: Method) -> tuple[int, Plan]:
    """Steps and plan with the most steps in the budget; evaluations do not fall with steps.

    Where not even one step fits, that one step's plan.
    """
    count = max(1, nfe // max(1, record.evaluations))
    plan = build(count)
    while plan.nfe > nfe and count > 1:
        count = max(1, min(count - 1, count * nfe // plan.nfe))
        plan = build(count)
    jump = 1
    while plan.nfe <= nfe:
        longer = build(count + jump)
        if longer.nfe <= nfe:
            plan, count = longer, count + jump
            jump = max(1, (nfe - plan.nfe) * count // plan.nfe)
        elif jump == 1:
            break
        else:
            jump //= 2
    return count, plan


def sample(
    process: AbstractProcess,
    model: Any,
    *,
    shape: tuple[int, ...],
    batch: int = 1,
    method: str | Method | None = None,
    steps: int | None = None,
    nfe: int | None = None,
    seed: int = 0,
    indices: Any = None,
    grid: Any = None,
    grid_options: Mapping[str, Any] | None = None,
    denoise: bool | str = False,
    backend: str | None = None,
    dtype: Any = None,
    device: Any = None,
    like: Any = None,
    noise: Any = None,
    keying: str = "sample",
    between: Any = None,
    callback: Any = None,
    progress: bool = False,
    on_nonfinite: str = "raise",
    check: str = "end",
    **options: Any,
) -> Solution | AdaptiveSolution | AdapterSolution:
    """Draw samples: build the plan, draw the start from the prior, solve.

    Args:
        process, steps, nfe, grid, grid_options, denoise, options: as in :func:`build_plan`.
        method: likewise, or a solver that is no plan, such as ``"gotta-go-fast"``,
            ``"torchsde:srk"`` or ``"diffrax:tsit5"``; default: :func:`default_method`.
        model: the network, from ``as_model``.
        shape: shape of one sample, without the batch axis.
        batch: number of samples.
        seed, indices, keying, noise: see :mod:`sgmsolve.backends.noise`. The start is keyed like
            the draws, so sample ``indices[i]`` is the same in any batch.
        backend: ``"numpy"``, ``"torch"`` or ``"jax"``; default: that of ``like``, else torch if the
            model holds a torch module (on its device, in its dtype), else numpy.
        dtype, device: of the state, in the backend's own terms.
        like: an array whose library, dtype and device are to be used.
        between, callback, progress, on_nonfinite, check: as in :func:`sgmsolve.solve`.

    Solvers that are no plans start from the same draws, and solve the reverse SDE with the option
    ``eta`` (1) or the probability flow: see :func:`sgmsolve.solving.prepare` for what steps, nfe
    and grid mean to them. Their ``options`` are their own (rtol, atol, dt, ...) and ``on_failure``
    (``"warn"``, ``"raise"`` or ``"ignore"``), in place of ``on_nonfinite``; ``between``,
    ``callback``, ``keying`` and ``check`` belong to plans. torchsde and torchdiffeq run on torch,
    diffrax on jax. Other libraries' noise is drawn for the whole batch, not for each sample.

    Returns:
        A Solution with ``x`` (batch, *shape); from solvers that are no plans an AdaptiveSolution,
        whose ``nfe`` and ``statuses`` have one entry a sample, or an AdapterSolution.

    Raises:
        As ``build_plan`` and ``solve``, or as ``solving.prepare``; BackendError for a backend that
        the solver does not run on.
    """
    found = _record(process, default_method(process) if method is None else method)
    grids_of = {"steps": steps, "nfe": nfe, "grid": grid, "grid_options": grid_options}
    place = {"dtype": dtype, "device": device, "like": like, "model": model}
    keyed: dict[str, Any] = {"noise": noise, "seed": seed, "indices": indices, "keying": keying}
    of_plans = {"between": between, "callback": callback, "check": check}
    of_plans["on_nonfinite"] = on_nonfinite
    if isinstance(found, Method):
        plan = build_plan(process, found, **grids_of, denoise=_flag(denoise), **options)
        given = empty_state(shape, batch, backend, **place)
        z = start(process, plan.t_start, given, **keyed)
        return solve(plan, model, z, **keyed, progress=progress, **of_plans)
    from sgmsolve.solving import prepare
    from sgmsolve.solving.preparing import backend_of, check_unused

    check_unused(found, keying=keying, **of_plans)
    options |= {} if noise is None else {"noise": noise}
    options |= {} if denoise is False else {"denoise": denoise}
    job = prepare(process, model, found, **grids_of, options=options)
    given = empty_state(shape, batch, backend_of(found, backend, like), **place)
    z = start(process, job.t_start, given, seed=seed, indices=indices, noise=job.generator)
    return job.run(z, seed=seed, indices=indices, progress=progress)


def _flag(denoise: bool | str) -> bool:
    if not isinstance(denoise, bool):
        msg = f"denoise = {denoise!r} was given, but methods that are plans take True or False."
        raise MethodError(msg)
    return denoise


def start(
    process: AbstractProcess,
    t: float,
    like: Any,
    *,
    seed: int = 0,
    indices: Any = None,
    keying: str = "sample",
    noise: Any = None,
) -> tuple[Any, ...]:
    """The state at forward time ``t`` >> 0: m arrays shaped like ``like`` with law N(0, Sigma I).

    Sigma is ``process.starting_covariance(t)``. Keyed by (seed,
    sample index); ``noise`` that is itself keyed (KeyedNoise, PathNoise) brings its own seed and
    indices, any other source says nothing about the start.
    """
    source = noise if isinstance(noise, KeyedNoise) else getattr(noise, "keyed", None)
    if not isinstance(source, KeyedNoise):
        name = noise if isinstance(noise, str) else None
        source = KeyedNoise(seed, indices, keying=keying, generator=name or "native")
    draw = source.bind(None, (like,))
    factor = np.asarray(cholesky(process.starting_covariance(t)), dtype=np.float64)
    xi = [draw(START_ROW, j) for j in range(process.m)]
    return tuple(
        sum((float(factor[i, j]) * xi[j] for j in range(i + 1) if factor[i, j]), 0 * xi[i])
        for i in range(process.m)
    )
