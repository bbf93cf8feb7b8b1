"""The specification: what running a plan means, in one plain loop.

    e_r = model(Z_1, t[r]) converted to plan.predicts
    Z'  = move Z + sum_j kick_j e_{r-j} + noise xi

Every other backend is tested against this file. The loop reads term lists (``lowering``), the
nonzero entries of the tables; what a backend supplies are the functions of :class:`NumpyOps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sgmsolve.backends.acting import spread_outputs
from sgmsolve.backends.lowering import Lowered, Row, lower
from sgmsolve.backends.prediction import tables
from sgmsolve.plan import Plan

State = tuple[Any, ...]
Draw = Callable[[int, int], Any]
"""``draw(row, column)``: standard normals shaped like one component; row -1 is the prelude."""


class NumpyOps:
    """Array operations of the loop on numpy."""

    kind = "numpy"
    tables = staticmethod(tables)

    @staticmethod
    def combine(terms: Any, sources: list[Any]) -> Any:
        """Sum of coefficient times source; a source is let go after its last reader."""
        total: Any = None
        owned = False
        for c, s, last in terms:
            x = sources[s]
            if last:
                sources[s] = None
            term = x if c == 1.0 else c * x
            if total is None:
                total, owned = term, c != 1.0
            elif owned:
                total += term
            else:
                total, owned = total + term, True
            del term  # or the next product would find a third array alive
        return total

    @staticmethod
    def zeros(like: Any) -> Any:
        """Zeros shaped like an array."""
        return np.zeros_like(like)

    @staticmethod
    def is_floating(x: Any) -> bool:
        """Whether the dtype is real and floating."""
        return np.issubdtype(x.dtype, np.floating)

    @staticmethod
    def is_traced(x: Any) -> bool:
        """Never: only jax hands out arrays without values."""
        return False

    @staticmethod
    def cast(x: Any, like: Any) -> Any:
        """``x`` in the dtype of ``like``."""
        return x.astype(like.dtype, copy=False)

    @staticmethod
    def finite(arrays: Iterable[Any]) -> Any:
        """Whether all entries are finite."""
        # A finite sum of squares settles it in one call; only its overflow needs another look.
        return all(math.isfinite(np.vdot(a, a)) or bool(np.isfinite(a).all()) for a in arrays)

    truth = staticmethod(bool)

    @staticmethod
    def first_bad(flags: list[Any]) -> tuple[int | None, Any]:
        """Index of the first flag that is down, None if none is; and the flags as an array."""
        return next((i for i, flag in enumerate(flags) if not flag), None), np.array(flags, bool)


def start(lowered: Lowered, ops: Any, z: State, draw: Draw) -> tuple[list[Any], list[Any]]:
    """Registers (k m arrays) before the first row, and the (K - 1) p predictions not yet made."""
    sources = [*z, *(draw(-1, j) for j in lowered.prelude.draws)]
    registers = _outputs(lowered, lowered.prelude, ops, sources, z[0])
    return registers, [ops.zeros(z[0]) for _ in range(lowered.keep)]


def advance(
    lowered: Lowered,
    ops: Any,
    r: int,
    registers: list[Any],
    history: list[Any],
    predict: Callable[[State, int], State],
    draw: Draw,
) -> tuple[list[Any], list[Any], State]:
    """Row r. ``registers`` is emptied: its arrays are let go as soon as nothing reads them."""
    e = predict(tuple(registers[: lowered.m]), r)
    row, like = lowered.rows[r], e[0]
    predictions = [*e, *history]
    sources = [*registers, *predictions]
    if row.draws:
        sources += [draw(r, j) for j in row.draws]
    registers.clear()
    return _outputs(lowered, row, ops, sources, like), predictions[: lowered.keep], e


def _outputs(lowered: Lowered, row: Row, ops: Any, sources: list[Any], like: Any) -> list[Any]:
    out: list[Any] = [None] * len(row.outputs)
    if lowered.spread:
        made = spread_outputs(row, sources, lowered.frame)
        return [ops.zeros(like) if x is None else x for x in made]
    for i, terms in row.outputs:
        out[i] = ops.combine(terms, sources) if terms else ops.zeros(like)
    for i, acts in enumerate(row.acts):
        if acts and lowered.acting is not None:
            made = lowered.acting.apply({word: ops.combine(t, sources) for word, t in acts})
            out[i] = out[i] + made
    return out


def run(plan: Plan, predict: Callable[[State, float], State], z: State, draw: Draw) -> State:
    """Run all rows; ``predict(z, t)`` returns p arrays of the plan's kind. Returns the state."""
    lowered = lower(plan)
    registers, history = start(lowered, NumpyOps, z, draw)
    for r in range(plan.rows):
        registers, history, _ = advance(
            lowered,
            NumpyOps,
            r,
            registers,
            history,
            lambda point, row: predict(point, lowered.times[row]),
            draw,
        )
    return tuple(registers[: plan.m])
