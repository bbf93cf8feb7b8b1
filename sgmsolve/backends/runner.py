"""One run, advanced row by row by the host: hooks, counting, finite flags, stop and resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.backends._seeds import like_array
from sgmsolve.backends.framed import Framed
from sgmsolve.backends.lowering import plan_key
from sgmsolve.backends.noise import Noise
from sgmsolve.backends.numpy_loop import NumpyOps, advance, start
from sgmsolve.backends.prediction import Predictor
from sgmsolve.backends.state import Solution, State, Step
from sgmsolve.errors import BackendError, SolveError, Status
from sgmsolve.plan import Plan


def operations(kind: str) -> Any:
    """The array operations of a backend; imports its library."""
    if kind == "torch":
        from sgmsolve.backends.torch_loop import TorchOps

        return TorchOps
    if kind == "jax":
        from sgmsolve.backends.jax_scan import JaxOps

        return JaxOps
    return NumpyOps


class Counted:
    """The model that ``between`` sees: the same one, its calls counted."""

    def __init__(self, model: Any) -> None:
        self.model, self.calls = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, z: Any, t: Any) -> Any:
        """The model's prediction."""
        self.calls += 1
        return self.model(z, t)


class Runner:
    """The state of a run; arguments are those of ``solve``, checked."""

    def __init__(
        self,
        plan: Plan,
        model: Any,
        z: tuple[Any, ...],
        noise: Noise,
        between: Callable[..., Any] | None,
        on_nonfinite: str,
        check: str,
    ) -> None:
        self.framed = None if plan.frame is None else Framed(plan, model)
        self.counted = Counted(model)
        if self.framed is not None:  # from here on states and predictions are coefficients
            z, model = self.framed.encode(z, plan.t_start), self.framed
        self.plan, self.model, self.z, self.noise = plan, model, z, noise
        self.between, self.on_nonfinite = between, on_nonfinite
        self.kind = kind_of(z[0])
        self.ops = operations(self.kind)
        # numpy flags are host values already: stopping at once costs nothing.
        self.immediate = check == "each-row" or self.kind == "numpy"
        self.tables = self.ops.tables(plan, model)
        self.lowered = self.tables.lowered
        self.predictor = Predictor(plan, model, self.tables, self.ops)
        self.draw = noise.bind(plan, z)
        self._noise: str | None = None
        self.r = 0
        self.nfe = 0
        self.stopped = False
        self.bad: int | None = None
        self.flags: list[Any] = []
        self.registers: list[Any] = []
        self.history: list[Any] = []
        self.clear: Any = None  # whether all rows so far were finite, on the device ("stop" only)

    def begin(self, resume: State | None) -> None:
        """Registers before the first row, or those of a saved state."""
        if resume is None:
            self.registers, self.history = start(self.lowered, self.ops, self.z, self.draw)
            return
        identity = self._identity(self.z[0])
        for name, given, expected in (
            ("plan", plan_key(self.plan), resume.plan_key),
            ("noise", identity, resume.noise),
        ):
            if given != expected:
                msg = (
                    f"the state to resume was made with another {name} ({expected}) than the one "
                    f"given ({given}); pass the same {name} as in the run that was stopped."
                )
                raise BackendError(msg)
        like, low = self.z[0], self.lowered
        sizes = (len(resume.registers), len(resume.history))
        if sizes != (low.k * low.m, low.keep) or not 0 <= resume.row <= self.plan.rows:
            msg = (
                f"the state to resume holds {sizes[0]} registers and {sizes[1]} predictions at row "
                f"{resume.row}, expected {low.k * low.m} and {low.keep} at a row from 0 to "
                f"{self.plan.rows}; it is damaged, start again."
            )
            raise BackendError(msg)
        if tuple(like.shape) != tuple(resume.registers[0].shape):
            msg = (
                f"the state to resume has shape {tuple(resume.registers[0].shape)}, but z has "
                f"shape {tuple(like.shape)}; pass z=None to take the state's own arrays."
            )
            raise BackendError(msg)
        self.registers = [like_array(a, like) for a in resume.registers]
        self.history = [like_array(a, like) for a in resume.history]
        self.r, self.nfe = resume.row, resume.nfe

    def advance(self) -> tuple[Any, ...]:
        """Run one row and the hook after it; return the prediction."""
        # Only "stop" goes back a row, so only it pays for keeping one.
        before = (list(self.registers), self.history) if self.on_nonfinite == "stop" else None
        self.registers, self.history, prediction = self._row()
        self.nfe += 1
        if self.on_nonfinite != "ignore":
            flag = self.ops.finite(prediction)
            if not self._accept(flag, before):
                return prediction
        if self.between is not None:
            self._between(self.between)
        self.r += 1
        return prediction

    def _row(self) -> tuple[list[Any], list[Any], tuple[Any, ...]]:
        if self.kind == "jax" and not self.lowered.spread:
            from sgmsolve.backends.jax_scan import advance as jax_advance

            return jax_advance(self)
        return advance(
            self.lowered,
            self.ops,
            self.r,
            self.registers,
            self.history,
            self.predictor,
            self.draw,
        )

    def _accept(self, flag: Any, before: Any) -> bool:
        """Record a row's flag; freeze or stop where that is asked for. False: the row is undone."""
        if self.immediate:
            if self.ops.truth(flag):
                return True
            self.bad, self.stopped = self.r, True
            if before is not None:
                self.registers, self.history = before
            return False
        self.flags.append(flag)
        if self.on_nonfinite == "stop":
            self.clear = flag if self.clear is None else self.ops.both(self.clear, flag)
            where = self.ops.where
            pairs = zip(self.registers, before[0], strict=True)
            self.registers = [where(self.clear, new, old) for new, old in pairs]
            pairs = zip(self.history, before[1], strict=True)
            self.history = [where(self.clear, new, old) for new, old in pairs]
        return True

    def _between(self, hook: Callable[..., Any]) -> None:
        m, calls = self.lowered.m, self.counted.calls
        t = self.lowered.after[self.r]
        z = self.shown(self.registers, self.r + 1)
        given = hook(self.r, z, t, self.counted)
        self.nfe += self.counted.calls - calls
        if given is None:
            return
        parts = tuple(given) if isinstance(given, (tuple, list)) else (given,)
        fits = len(parts) == m and all(
            kind_of(p) == self.kind
            and tuple(p.shape) == tuple(z[0].shape)
            and p.dtype == z[0].dtype
            for p in parts
        )
        if not fits:
            msg = (
                f"between returned something else than {m} {self.kind} array(s) of shape "
                f"{tuple(z[0].shape)} and dtype {z[0].dtype} after row {self.r}; return None to "
                "leave the state alone."
            )
            raise BackendError(msg)
        if self.clear is not None:  # what is frozen stays so
            parts = tuple(self.ops.where(self.clear, a, b) for a, b in zip(parts, z, strict=True))
        if self.framed is not None:
            parts = self.framed.encode(parts, t, self._is_data(self.r + 1))
        self.registers[:m] = parts

    def shown(self, registers: Any, row: int) -> tuple[Any, ...]:
        """The state that the first register holds after ``row`` rows, as the user knows it."""
        z = tuple(registers[: self.lowered.m])
        if self.framed is None:
            return z
        time = self.lowered.after[row - 1] if row else self.plan.t_start
        return self.framed.decode(z, time, self._is_data(row))

    def _is_data(self, row: int) -> bool:
        return row == self.plan.rows and self.plan.ends_with_data

    def step(self, prediction: tuple[Any, ...]) -> Step:
        """The moment after the row just run."""
        r, registers = self.r - 1, tuple(self.registers)
        t, z = self.lowered.after[r], self.shown(self.registers, self.r)
        return Step(r, t, z, registers, prediction, self.nfe, self.state(self.r))

    def state(self, row: int) -> State:
        """Where to go on from."""
        return State(
            row,
            tuple(self.registers),
            tuple(self.history),
            plan_key(self.plan),
            self._identity(self.registers[0]),
            self.nfe,
        )

    def solution(self) -> Solution:
        """Read the flags, decide the status; raises SolveError."""
        z, flags = self.shown(self.registers, self.r), None
        if self.on_nonfinite != "ignore" and self.bad is None:
            if not self.stopped:
                self.flags.append(self.ops.finite(z))
            first = self.r - len(self.flags) + (not self.stopped)
            found, flags = self.ops.first_bad(self.flags)
            self.bad = None if found is None else first + found
        return finish(self, z, self.bad, flags, self.state)

    def _identity(self, like: Any) -> str:
        if self._noise is None:
            self._noise = self.noise.identity(int(like.shape[0]))
        return self._noise


def finish(
    run: Runner, z: tuple[Any, ...], bad: int | None, flags: Any, state: Callable[[int], State]
) -> Solution:
    """The Solution of a run whose first bad row is ``bad``; raises SolveError if asked to."""
    plan = run.plan
    if bad is None:
        stopped = run.r < plan.rows
        status = Status.STOPPED if stopped else Status.FINISHED
        return Solution(
            z, run.nfe, status, plan, state=state(run.r) if stopped else None, flags=flags
        )
    time = plan.t_end if bad == plan.rows else float(np.max(plan.t[bad]))
    if run.on_nonfinite == "raise":
        what = "the model returned NaN or Inf" if bad < plan.rows else "the result is NaN or Inf"
        msg = (
            f"{what} in row {bad} of {plan.rows} at t = {time:.6g} (plan {plan.name!r}); look at "
            "the network there, or pass on_nonfinite='stop' to get what was finished."
        )
        raise SolveError(msg, Status.NONFINITE)
    kept = state(bad) if bad < plan.rows else None
    return Solution(z, run.nfe, Status.NONFINITE, plan, bad, time, kept, flags)
