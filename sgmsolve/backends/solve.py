"""``solve`` and ``steps``: run a plan on the arrays the state is made of: numpy, torch or jax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.backends.framed import Framed
from sgmsolve.backends.noise import Noise, make_noise
from sgmsolve.backends.runner import Runner, operations
from sgmsolve.backends.state import Solution, State, Step
from sgmsolve.errors import BackendError, unknown
from sgmsolve.plan import Plan

ON_NONFINITE = ("raise", "stop", "ignore")
CHECKS = ("end", "each-row")


def solve(
    plan: Plan,
    model: Any,
    z: Any,
    *,
    noise: Noise | str | None = None,
    seed: int = 0,
    indices: Any = None,
    between: Callable[..., Any] | None = None,
    callback: Callable[[Step], Any] | None = None,
    progress: bool = False,
    on_nonfinite: str = "raise",
    check: str = "end",
    resume: State | None = None,
    keying: str = "sample",
) -> Solution:
    """Run a plan from the state ``z`` at ``plan.t_start``.

        e_r = model(Z_1, t[r]),   Z' = move[r] Z + sum_j kick[r, ..., j] e_{r-j} + noise[r] xi_r

    Gradients flow wherever the library records them: under torch wrap the call in
    ``torch.no_grad()`` if none are wanted, as a network's parameters alone make torch keep every
    row. Under jax a compiled run is kept with its model object, weights included: make a new model
    after changing them.

    Args:
        plan: the table.
        model: an object with ``process``, ``predicts`` and ``model(z, t) -> p arrays``.
        z: m arrays (batch, *shape) in a tuple, or one array if m = 1; their library, dtype and
            device are those of the run. With ``resume`` only these are read, and None takes the
            state's own.
        noise: None (keyed), ``"philox"`` (keyed, drawn on the host, identical on all backends) or a
            source from ``sgmsolve.backends``, which then has its own seed.
        seed, indices, keying: of the keyed noise, see :mod:`sgmsolve.backends.noise` for what they
            fix.
        between: ``between(row, z, t, model)`` after each row, z being the point (m arrays) of the
            next evaluation at forward time t or the result; returns None or a replacement. Calls of
            this ``model`` are counted.
        callback: ``callback(step)`` after each row; the run stops if it returns True.
        progress: show a tqdm bar.
        on_nonfinite: what a NaN or Inf from the network means: ``"raise"`` SolveError naming row
            and time; ``"stop"``: the state before the first such row is frozen and returned;
            ``"ignore"``.
        check: ``"end"``: one flag a row stays on the device and is read after the last row;
            ``"each-row"``: read at once, so that no further evaluation is made. (On numpy flags
            cost nothing to read.)
        resume: a state to go on from; result and draws are those of the uninterrupted run.

    Returns:
        A Solution: ``x``, ``z``, ``nfe``, ``status``, ``plan``, ``nonfinite_row``, ``state``.

    Raises:
        BackendError: arrays, noise or options that do not fit; ModelError: the network returned
            something else than p floating arrays like the state's; ProcessError: no conversion at
            some row's time; SolveError: NaN or Inf with ``on_nonfinite="raise"``.
    """
    if callback is not None and not callable(callback):
        raise BackendError(_no_function("callback", callback))
    run = prepare(
        plan, model, z, noise, seed, indices, keying, between, on_nonfinite, check, resume
    )
    hooked = callback is not None or progress or between is not None
    run.begin(resume)
    if run.kind == "jax" and not hooked:
        from sgmsolve.backends.jax_scan import scan, scannable

        if scannable(run):
            return scan(run)
    with _bar(plan.rows, run.r) if progress else nullcontext() as bar:
        _drive(run, callback, bar)
    return run.solution()


def _drive(run: Runner, callback: Callable[[Step], Any] | None, bar: Any) -> None:
    """All rows that are left, or those until a stop."""
    while run.r < run.plan.rows and not run.stopped:
        prediction = run.advance()
        if bar is not None:
            bar.update()
        if callback is not None and not run.stopped and callback(run.step(prediction)) is True:
            run.stopped = True
        del prediction  # one array less while the next row runs


def steps(
    plan: Plan,
    model: Any,
    z: Any,
    *,
    noise: Noise | str | None = None,
    seed: int = 0,
    indices: Any = None,
    between: Callable[..., Any] | None = None,
    on_nonfinite: str = "raise",
    check: str = "end",
    resume: State | None = None,
    keying: str = "sample",
) -> Iterator[Step]:
    """Run a plan row by row, yielding a Step after each; arguments as in :func:`solve`.

    Leaving the loop early stops the run; ``step.state`` (which can be saved as a plain npz) resumes
    it to identical results. With ``check="end"`` a NaN raises after the last row.
    """
    run = prepare(
        plan, model, z, noise, seed, indices, keying, between, on_nonfinite, check, resume
    )
    return _steps(run, resume)


def _steps(run: Runner, resume: State | None) -> Iterator[Step]:
    run.begin(resume)
    while run.r < run.plan.rows and not run.stopped:
        prediction = run.advance()
        if not run.stopped:
            yield run.step(prediction)
    run.solution()


def prepare(
    plan: Plan,
    model: Any,
    z: Any,
    noise: Any,
    seed: int,
    indices: Any,
    keying: str,
    between: Callable[..., Any] | None,
    on_nonfinite: str,
    check: str,
    resume: State | None,
) -> Runner:
    """Check everything that can be known before the first evaluation."""
    if on_nonfinite not in ON_NONFINITE:
        raise BackendError(unknown("value of on_nonfinite:", str(on_nonfinite), ON_NONFINITE))
    if check not in CHECKS:
        raise BackendError(unknown("value of check:", str(check), CHECKS))
    if not isinstance(plan, Plan):
        msg = f"solve was given a {type(plan).__name__} as its plan; build one with build_plan."
        raise BackendError(msg)
    if between is not None and not callable(between):
        raise BackendError(_no_function("between", between))
    if not (resume is None or isinstance(resume, State)):
        msg = (
            f"resume is a {type(resume).__name__}, expected a State; pass solution.state or "
            "State.load(path)."
        )
        raise BackendError(msg)
    given = z
    if z is None and resume is not None:
        z = resume.registers[: plan.m]
    state = check_state(plan, z)
    if given is None and plan.frame is not None:  # a saved state holds coefficients
        state = Framed(plan, model).decode(state, plan.t_start)
    if check == "each-row" and operations(kind_of(state[0])).is_traced(state[0]):
        msg = (
            "check = 'each-row' reads flags on the host, which cannot be done inside jax.jit, grad "
            "or vmap; use check='end' and look at solution.flags."
        )
        raise BackendError(msg)
    source = make_noise(noise, seed, indices, keying)
    return Runner(plan, model, state, source, between, on_nonfinite, check)


def check_state(plan: Plan, z: Any) -> tuple[Any, ...]:
    """``z`` as m floating arrays of one library, shape and dtype; BackendError otherwise."""
    parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    if len(parts) != plan.m:
        msg = (
            f"the state has {len(parts)} component(s), but plan {plan.name!r} is for {plan.m}; "
            f"pass a tuple of {plan.m} array(s) (batch, *shape)."
        )
        raise BackendError(msg)
    for part in parts:
        if not hasattr(part, "shape") or not hasattr(part, "dtype") or isinstance(part, np.generic):
            msg = (
                f"a component of the state is a {type(part).__name__}, expected a numpy, torch or "
                "jax array (batch, *shape)."
            )
            raise BackendError(msg)
    kinds = sorted({kind_of(part) for part in parts})
    if len(kinds) > 1:
        msg = (
            f"the state mixes {' and '.join(kinds)} arrays; convert all components to one library."
        )
        raise BackendError(msg)
    like = parts[0]
    for part in parts:
        if tuple(part.shape) != tuple(like.shape) or part.dtype != like.dtype:
            msg = (
                f"components of the state differ: {tuple(like.shape)} {like.dtype} and "
                f"{tuple(part.shape)} {part.dtype}; give all the same shape and dtype."
            )
            raise BackendError(msg)
    if like.ndim == 0:
        msg = "the state is 0-dimensional, expected (batch, *shape); use x[None] for one sample."
        raise BackendError(msg)
    for operator in plan.operands.values():
        operator.check(tuple(like.shape[1:]))
    if plan.each_sample and like.shape[0] != plan.tail[0]:
        msg = (
            f"plan {plan.name!r} has {plan.tail[0]} samples with times of their own, but the batch "
            f"has {like.shape[0]}; stack one plan a sample."
        )
        raise BackendError(msg)
    if not operations(kinds[0]).is_floating(like):
        msg = f"the state's dtype is {like.dtype}, expected a real floating type; cast it first."
        raise BackendError(msg)
    return parts


def _no_function(name: str, given: Any) -> str:
    return f"{name} is a {type(given).__name__}, expected a function; pass one or leave it out."


def _bar(total: int, done: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=done, unit="row", desc="solve")
