"""One evaluation of the network: call, check, cast to the state's dtype, convert its kind."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.backends._seeds import cast
from sgmsolve.backends.acting import spread_outputs, wide
from sgmsolve.backends.lowering import Lowered, Row, Terms, lower, mark_last, pattern
from sgmsolve.errors import BackendError, ModelError
from sgmsolve.plan import Plan

State = tuple[Any, ...]


def check_process(plan: Plan, model: Any) -> None:
    """Raise BackendError if the model's process is not the one the plan was built for."""
    for name in ("process", "predicts"):
        if not hasattr(model, name):
            msg = (
                f"the model is a {type(model).__name__} without .{name}; wrap the network with "
                "sgmsolve.as_model(net, process, predicts=...)."
            )
            raise BackendError(msg)
    given = model.process.spec()
    if given != plan.process:
        changed = sorted(k for k in {*given, *plan.process} if given.get(k) != plan.process.get(k))
        msg = (
            f"plan {plan.name!r} was built for the process {plan.process}, but the model's process "
            f"is {given} (different: {', '.join(changed)}); build the plan with model.process."
        )
        raise BackendError(msg)


def native(kind: str, model: Any) -> Any:
    """The model asked for the plan's kind directly where it can give every kind (``as_kind``)."""
    as_kind = getattr(model, "as_kind", None)
    return as_kind(kind) if as_kind is not None else model


def conversions(plan: Plan, model: Any) -> list[np.ndarray] | None:
    """Matrices (p, m + p_model), one a row: prediction = matrix (z, model(z, t)); None: as it is.

    Plans whose samples have times of their own have a last axis (B,).

    Raises ProcessError, before any evaluation, where the conversion does not exist.
    """
    if model.predicts == plan.predicts:
        return None

    def at(t: float) -> np.ndarray:
        a, b = model.process.conversion(model.predicts, plan.predicts, t)
        return np.concatenate([np.asarray(a, np.float64), np.asarray(b, np.float64)], axis=-1)

    times = np.asarray(plan.t, dtype=np.float64)
    if not plan.each_sample:
        return [at(t) for t in times.tolist()]
    distinct, where = np.unique(times, return_inverse=True)
    made = np.stack([at(t) for t in distinct.tolist()], axis=-1)
    return [made[..., row] for row in where.reshape(times.shape)]


class Tables(NamedTuple):
    """What the host prepares before a run: the plan's and the conversion's term lists.

    ``expected`` is the number of arrays the model returns; ``matrices`` are ``conversions``,
    ``terms`` the same as term lists on the sources z and model(z, t); both are None if no
    conversion is needed.
    """

    lowered: Lowered
    expected: int
    matrices: list[np.ndarray] | None
    terms: list[tuple[tuple[int, Terms], ...]] | None


def tables(plan: Plan, model: Any) -> Tables:
    """Lower the plan and the conversion. Raises BackendError, PlanError, ProcessError."""
    check_process(plan, model)
    matrices = conversions(plan, native(plan.predicts, model))
    expected = plan.p if matrices is None else matrices[0].shape[1] - plan.m
    terms = None if matrices is None else [_terms(x) for x in matrices]
    return Tables(lower(plan), expected, matrices, terms)


def _terms(matrix: np.ndarray) -> tuple[tuple[int, Terms], ...]:
    if matrix.ndim == 2:
        return mark_last(pattern(matrix.tolist()))
    return tuple(
        (i, tuple((c, j, False) for j, c in enumerate(row))) for i, row in enumerate(matrix)
    )


class Predictor:
    """``predict(z, row)``: the checked, cast and converted prediction, p arrays."""

    def __init__(self, plan: Plan, model: Any, made: Tables, ops: Any) -> None:
        self.model, self.ops = native(plan.predicts, model), ops
        self.times, self.expected, self.terms = made.lowered.times, made.expected, made.terms
        # Coefficients of predictions are one a sample where times are, but never one a mode.
        self.spread = made.lowered.spread and made.lowered.frame is None

    def __call__(self, z: State, r: int) -> State:
        """The prediction of row ``r`` at the point ``z``."""
        t = cast(self.times[r], wide(z[0])) if self.spread else self.times[r]
        e = self.model(z, t)
        e = checked(e, z, self.expected, self.ops, r, self.times[r])
        if self.terms is None:
            return e
        sources, out = [*z, *e], [None] * len(self.terms[r])
        del e
        if self.spread:
            return tuple(spread_outputs(Row(self.terms[r], ()), sources, None))
        for i, terms in self.terms[r]:
            out[i] = self.ops.combine(terms, sources) if terms else self.ops.zeros(z[0])
        return tuple(out)


def checked(e: Any, z: State, expected: int, ops: Any, r: Any, t: Any) -> State:
    """The prediction as ``expected`` arrays shaped like the state, cast to its dtype.

    Raises ModelError for another number of arrays, another shape, library or type. No arithmetic.
    """
    x = z[0]
    parts = e if type(e) is tuple else tuple(e) if isinstance(e, list) else (e,)
    if len(parts) == expected:
        for part in parts:
            if type(part) is not type(x) or part.shape != x.shape or part.dtype != x.dtype:
                break
        else:
            return parts
    where = f" in row {r} at t = {t:.6g}" if isinstance(t, float) else ""
    if len(parts) != expected:
        msg = (
            f"the model returned {len(parts)} array(s){where}, expected {expected}; return one "
            "array for each predicted component."
        )
        raise ModelError(msg)
    for part in parts:
        if not hasattr(part, "dtype") or kind_of(part) != ops.kind:
            name = f"{type(part).__module__}.{type(part).__name__}"
            msg = (
                f"the model returned a {name}{where}, expected a {ops.kind} array like the state; "
                "give solve a state of the network's library, or convert inside the network you "
                "pass."
            )
            raise ModelError(msg)
        if tuple(part.shape) != tuple(x.shape):
            msg = (
                f"the model returned shape {tuple(part.shape)}{where}, expected the state's "
                f"{tuple(x.shape)}; slice or reshape in the network you pass."
            )
            raise ModelError(msg)
        if not ops.is_floating(part):
            msg = (
                f"the model returned dtype {part.dtype}{where}, expected a real floating type such "
                f"as the state's {x.dtype}; convert it in the network you pass."
            )
            raise ModelError(msg)
    return tuple(ops.cast(part, x) for part in parts)
