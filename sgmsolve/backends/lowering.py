"""Tables to term lists: only the nonzero entries, as Python floats, made once a plan.

A row computes each register component as a sum of ``coefficient * source`` over the flat list

    sources = registers (k m) + predictions, newest first (K p) + this row's draws

so one ``combine(terms, sources)`` is all that a backend has to supply. Python floats take the dtype
of the array they multiply, so a float32 state stays float32 while the table stays float64.
"""

from __future__ import annotations

import hashlib
import weakref
from typing import Any, NamedTuple

import numpy as np

from sgmsolve.errors import PlanError
from sgmsolve.plan import Plan

Term = tuple[float, int, bool]
"""(coefficient, source, whether no later term of the row reads this source)."""

Terms = tuple[Term, ...]


class Row(NamedTuple):
    """What one row computes: ``outputs`` (register component, terms), ``draws`` its columns."""

    outputs: tuple[tuple[int, Terms], ...]
    draws: tuple[int, ...]


class Lowered(NamedTuple):
    """A plan as term lists. ``keep`` = (K - 1) p prediction arrays are carried from row to row.

    (Named tuples, here and in ``prediction``, are what torch.compile takes as constants.)
    """

    name: str
    m: int
    k: int
    p: int
    keep: int
    times: tuple[float, ...]
    after: tuple[float, ...]
    prelude: Row
    rows: tuple[Row, ...]


_lowered: weakref.WeakKeyDictionary[Plan, Lowered] = weakref.WeakKeyDictionary()
_keys: weakref.WeakKeyDictionary[Plan, str] = weakref.WeakKeyDictionary()


def lower(plan: Plan) -> Lowered:
    """Term lists of a plan; cached for as long as the plan lives.

    Raises:
        PlanError: a row reads a prediction from before the first row.
    """
    found = _lowered.get(plan)
    if found is None:
        found = _lowered[plan] = _lower(plan)
    return found


def plan_key(plan: Plan) -> str:
    """A digest of the tables: two plans with one key run alike."""
    found = _keys.get(plan)
    if found is None:
        digest = hashlib.sha256()
        tables = (plan.t, plan.move, plan.kick, plan.noise, plan.prelude_move, plan.prelude_noise)
        for table in tables:
            digest.update(str(table.shape).encode())
            digest.update(np.ascontiguousarray(table, dtype=np.float64).tobytes())
        found = _keys[plan] = digest.hexdigest()[:32]
    return found


def _lower(plan: Plan) -> Lowered:
    rows, km = plan.rows, plan.k * plan.m
    move = np.asarray(plan.move, dtype=np.float64)
    kick = np.asarray(plan.kick, dtype=np.float64)
    noise = np.asarray(plan.noise, dtype=np.float64)
    for lag in range(1, plan.history):
        if np.any(kick[:lag, :, :, lag]):
            msg = (
                f"plan {plan.name!r} reads the prediction of {lag} row(s) ago in its first {lag} "
                "row(s), where there is none; those weights must be zero."
            )
            raise PlanError(msg)
    # (R, km, km + K p + L): predictions newest first, as the executors keep them.
    kicks = kick.transpose(0, 1, 3, 2).reshape(rows, km, plan.history * plan.p)
    table = np.concatenate([move, kicks, noise], axis=2)
    prelude = np.concatenate([plan.prelude_move, plan.prelude_noise], axis=1).astype(np.float64)
    times = np.asarray(plan.t, dtype=np.float64).tolist()
    return Lowered(
        name=plan.name,
        m=plan.m,
        k=plan.k,
        p=plan.p,
        keep=(plan.history - 1) * plan.p,
        times=tuple(times),
        after=(*times[1:], float(plan.t_end)),
        prelude=_rows(prelude[None], plan.m)[0],
        rows=tuple(_rows(table, km + plan.history * plan.p)),
    )


def _rows(table: np.ndarray, first: int) -> list[Row]:
    """Term lists of all rows; sources from ``first`` on are draws, those with an entry."""
    drawn = (table[:, :, first:] != 0).any(axis=1).tolist()
    out = []
    for entries, used in zip(table.tolist(), drawn, strict=True):
        draws = tuple([j for j, u in enumerate(used) if u])
        if len(draws) < len(used):
            entries = [x[:first] + [x[first + j] for j in draws] for x in entries]
        out.append(Row(mark_last(pattern(entries)), draws))
    return out


def pattern(values: list[list[float]]) -> list[tuple[int, list[tuple[float, int]]]]:
    """(output, [(coefficient, source), ...]) of a matrix; coefficients 1 come first: no product."""
    out = []
    for i, entries in enumerate(values):
        terms = [(c, j) for j, c in enumerate(entries) if c]
        if 1.0 in entries:
            terms.sort(key=lambda term: term[0] != 1.0)
        out.append((i, terms))
    return out


def mark_last(outputs: list[tuple[int, list[tuple[float, int]]]]) -> tuple[Any, ...]:
    """Order outputs so that buffers die early, and mark the last reader of every source.

    A value that merely stays where it is comes last: it costs nothing, and nothing waits for it.
    """
    if len(outputs) == 1:  # a sum names each source once
        i, terms = outputs[0]
        return ((i, tuple([(c, s, True) for c, s in terms])),)
    ordered = sorted(outputs, key=lambda o: o[1] == [(1.0, o[0])])
    seen: set[int] = set()
    marked: list[tuple[int, Terms]] = []
    for i, terms in reversed(ordered):
        backwards: list[Term] = []
        for c, s in reversed(terms):
            backwards.append((c, s, s not in seen))
            seen.add(s)
        marked.append((i, tuple(reversed(backwards))))
    return tuple(reversed(marked))
