"""Everything that is checked and decided before a solver runs.

What is solved follows from the solver: those for SDEs get ``ReverseSDE(process, model, eta)``, with
eta = 1 unless the option says otherwise, those for ODEs the ``ProbabilityFlow``; diffrax's that can
do both get the SDE unless eta = 0. Either takes the options ``preconditioner``, ``where`` and
``skew``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from sgmsolve import grid as grids
from sgmsolve._array import kind_of
from sgmsolve.adapters._common import check_library, need
from sgmsolve.adapters.run import IMPLICIT
from sgmsolve.adaptive import controllers, denoising
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.errors import BackendError, GridError, MethodError, unknown
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse import ProbabilityFlow, ReverseSDE
from sgmsolve.solving.job import Job
from sgmsolve.solving.records import OPERATORS, SolverMethod

GENERATORS = ("native", "philox")
REPORTS = ("warn", "raise", "ignore")
CONTROLLERS = {"integral": controllers.integral, "pi": controllers.pi, "pid": controllers.pid}


def prepare(
    process: AbstractProcess,
    model: Any,
    method: SolverMethod,
    *,
    steps: int | None = None,
    nfe: int | None = None,
    grid: Any = None,
    grid_options: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Job:
    """Check everything and decide what is solved, and on which times.

    The run goes from the first to the last time of the grid; a grid that ends at t = 0, where there
    is no score, ends at its smallest positive time. With ``steps``, ``nfe`` or a grid of given
    times the steps are fixed: those of the grid, for torchsde equal ones.

    Args:
        process, grid, grid_options: as in :func:`sgmsolve.build_plan`.
        model: the network, from ``as_model``.
        method: a record from :func:`find_method`.
        steps, nfe: number of fixed steps, or a budget that buys the most of them. Solvers that
            choose their steps by error estimates take no budget.
        options: the solver's own, ``eta``, ``preconditioner``, ``where`` and ``skew`` of the
            equation, and ``denoise``, ``noise`` and ``on_failure``. ``noise``
            is the generator of the start's normals (and of our own solvers'), ``"native"`` or
            ``"philox"``, or one of the kinds that ``solve_adaptive`` takes.

    Raises:
        MethodError: unknown options, steps or budgets that make no sense; GridError: times;
        BackendError: a library that is missing, or a model of another one.
    """
    given = dict(options or {})
    generator = _noise(method, given)
    for option in given:
        if option not in method.options:
            raise MethodError(_unknown_option(method, option))
    if method.library is not None:
        need(method.family)
        check_library(model, method.family)
    denoise_given, on_failure = given.pop("denoise", False), given.pop("on_failure", "warn")
    if on_failure not in REPORTS:
        raise MethodError(unknown("value of on_failure:", str(on_failure), REPORTS))
    stochastic = method.stochastic(given)
    fixed = _fixed(method, given, steps, nfe, grid)
    eta = given.pop("eta", 1.0)
    made: Any = functools.partial(ReverseSDE, eta=eta) if stochastic else ProbabilityFlow
    sde = made(process, model, **{k: given.pop(k) for k in OPERATORS if k in given})
    denoise = denoising.check(denoise_given, sde)
    if nfe is not None:
        steps = _steps(method, nfe, bool(denoise), given)
    times = _times(process, grid, grid_options, steps)
    if method.family == "torchsde" and given.get("adaptive"):
        given.setdefault("dt", 0.01 * float(times[0] - times[-1]))
    if fixed and method.family == "torchsde":
        given["steps"] = len(times) - 1
    elif fixed:
        given["grid"] = times
    if isinstance(given.get("controller"), str):
        given["controller"] = _controller(method, sde, given)
    count = len(times) - 1 if fixed else None
    ends = (float(times[0]), float(times[-1]))
    return Job(method, sde, *ends, count, stochastic, generator, denoise, on_failure, given)


def grid_for(method: SolverMethod, problem: Any) -> dict[str, Any]:
    """A problem's grid as arguments of ``prepare``: its end alone where steps are equal."""
    if method.family != "torchsde":
        return dict(problem.grid_arguments)
    return {"grid": "uniform", "grid_options": {"t_min": problem.t_end}}


def check_unused(
    method: SolverMethod,
    *,
    between: Any,
    callback: Any,
    keying: str,
    on_nonfinite: str,
    check: str,
) -> None:
    """MethodError for arguments of ``sample`` that only plans can follow."""
    given = [k for k, v in (("between", between), ("callback", callback)) if v is not None]
    given += [k for k, v in (("keying", keying != "sample"), ("check", check != "end")) if v]
    given += ["on_nonfinite"] if on_nonfinite != "raise" else []
    if given:
        instead = "use on_failure" if given == ["on_nonfinite"] else "leave it out"
        msg = (
            f"{given[0]} was given, but {method.name} is no plan, whose rows it belongs to; "
            f"{instead}, or name a method that is a plan."
        )
        raise MethodError(msg)


def backend_of(method: SolverMethod, backend: str | None, like: Any) -> str | None:
    """The backend that the solver's library forces; BackendError if another one was asked for."""
    wanted = method.library
    if wanted is None:
        return backend
    found = kind_of(like) if backend is None and like is not None else backend
    if found not in (None, wanted):
        what = f"backend = {backend!r}" if backend is not None else f"like is a {found} array"
        msg = f"{what}, but {method.name} runs on {wanted}; leave it out, or use another solver."
        raise BackendError(msg)
    return wanted


def _unknown_option(method: SolverMethod, option: str) -> str:
    if option == "eta":
        return (
            f"eta was given, but {method.name} solves the probability flow, which is eta = 0; "
            "leave it out, or use a solver for SDEs such as gotta-go-fast."
        )
    return unknown(f"option of method {method.name!r}:", option, method.options)


def _noise(method: SolverMethod, given: dict[str, Any]) -> str:
    """The generator of normals; other kinds of ``noise`` stay with the solver's options."""
    noise = given.get("noise")
    if noise is None or (isinstance(noise, str) and noise in GENERATORS):
        given.pop("noise", None)
        return noise or "native"
    if isinstance(noise, KeyedNoise):
        msg = f"noise is a KeyedNoise, but {method.name} takes seed and indices; pass those."
        raise MethodError(msg)
    return "native"


def _fixed(
    method: SolverMethod, options: Mapping[str, Any], steps: Any, nfe: Any, grid: Any
) -> bool:
    """Whether the steps are given; MethodError where they cannot be, or must be."""
    name = method.name
    times = grid is not None and not isinstance(grid, str)
    if method.family == "diffrax" and name.partition(":")[2] in IMPLICIT:
        if {"rtol", "controller"}.isdisjoint(options):
            raise MethodError(
                f"{name} is implicit and was given no tolerances; give rtol and atol."
            )
    given = [k for k, v in (("steps", steps), ("nfe", nfe)) if v is not None]
    given += ["a grid of given times"] if times else []
    if len(given) > 1 and given != ["steps", "a grid of given times"]:
        raise MethodError(f"{' and '.join(given)} were both given; give one of them.")
    if not given:
        if method.spends(options):
            also = ", or rtol and atol" if method.family == "diffrax" else ""
            msg = (
                f"{name} was given no steps, expected steps, nfe or dt{also}; pass steps=100, say."
            )
            raise MethodError(msg)
        return False
    if "dt" in options and not options.get("adaptive"):
        raise MethodError(f"{given[0]} and dt were both given; give one of them.")
    if method.controls(options) and (method.family != "adaptive" or nfe is not None):
        own = "; or steps, for fixed ones" if method.family == "adaptive" else ""
        msg = (
            f"{given[0]} was given, but {name} chooses its own steps, and how many evaluations "
            f"they take is known afterwards; give rtol and atol{own}."
        )
        raise MethodError(msg)
    if method.family == "torchsde" and grid not in (None, "uniform") and not times:
        msg = f"grid = {grid!r} was given, but {name} takes equal steps; leave it out."
        raise GridError(msg)
    if times and method.family == "torchsde":
        msg = (
            f"{name} takes equal steps, but a grid of given times was given; pass steps and "
            "grid_options={'t_min': ...}."
        )
        raise GridError(msg)
    return True


def _steps(method: SolverMethod, nfe: Any, denoise: bool, options: Mapping[str, Any]) -> int:
    """The largest number of steps that a budget buys."""
    cost = method.cost_of(options)
    if isinstance(nfe, bool) or not isinstance(nfe, (int, np.integer)) or nfe < 1:
        msg = f"nfe = {nfe!r}, expected a number of evaluations; pass an integer of at least 1."
        raise MethodError(msg)
    if cost is None:
        msg = (
            f"nfe = {nfe} was given, but the evaluations of {method.name} in a step are no fixed "
            "number; give steps or dt."
        )
        raise MethodError(msg)
    first, each = cost
    first += denoise
    if nfe < first + each:
        msg = (
            f"one step of {method.name!r} takes {first + each} evaluations with these options, but "
            f"the budget is nfe = {nfe}; give nfe >= {first + each}."
        )
        raise MethodError(msg)
    return int(nfe - first) // each


def _times(process: Any, grid: Any, grid_options: Any, steps: int | None) -> np.ndarray:
    """Forward times, the last one positive; only the ends count where ``steps`` is None."""
    if grid_options is not None and not isinstance(grid_options, Mapping):
        msg = f"grid_options = {grid_options!r}, expected names and values; pass {{'rho': 5}}, say."
        raise GridError(msg)
    named, more = grids.default_grid(process) if grid is None else grid, dict(grid_options or {})
    count = 2 if steps is None and isinstance(named, str) else steps
    times = np.asarray(grids.make(named, process, count, **more), dtype=np.float64)
    if times[-1] == 0 and isinstance(named, str) and count is not None:
        times = np.asarray(grids.make(named, process, count + 1, **more), dtype=np.float64)
    times = times[:-1] if times[-1] == 0 else times
    if len(times) < 2:
        msg = "the grid has one positive time, expected two or more: there is no score at t = 0."
        raise GridError(msg)
    return times


def _controller(method: SolverMethod, sde: Any, options: Mapping[str, Any]) -> Any:
    """The controller of that name, for the solver's order."""
    name = options["controller"]
    if name not in CONTROLLERS or method.family != "adaptive":
        msg = unknown(f"controller of {method.name}:", name, CONTROLLERS)
        if method.family != "adaptive":
            msg = f"controller = {name!r}, expected one of {method.family}'s controllers."
        raise MethodError(msg)
    solver = find_solver(method.name)
    own = {k: v for k, v in options.items() if k in inspect.signature(solver.make).parameters}
    return CONTROLLERS[name](solver.make(sde, **own)[0].order)
