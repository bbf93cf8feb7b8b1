"""Tables to term lists: only the nonzero entries, as Python floats, made once a plan.

A row computes each register component as a sum of ``coefficient * source`` over the flat list

    sources = registers (k m) + predictions, newest first (K p) + this row's draws

so one ``combine(terms, sources)`` is all that a backend has to supply. Python floats take the dtype
of the array they multiply, so a float32 state stays float32 while the table stays float64. In plans
whose entries have a trailing axis coefficients are arrays (Q,) or (B,), see ``spread``; what
operators act on are sums of their own, see ``acting``.
"""

from __future__ import annotations

import hashlib
import weakref
from typing import Any, NamedTuple

import numpy as np

from sgmsolve.backends.acting import Acting
from sgmsolve.errors import PlanError, PreconditionError
from sgmsolve.plan import Frame, Plan
from sgmsolve.plan.parts import TABLES, Word

Term = tuple[Any, int, bool]
"""(coefficient, source, whether no later term of the row reads this source)."""

Terms = tuple[Term, ...]


class Row(NamedTuple):
    """What one row computes: ``outputs`` (register component, terms), ``draws`` its columns.

    ``acts``: for each register component, the sums (word, terms) that operators act on.
    """

    outputs: tuple[tuple[int, Terms], ...]
    draws: tuple[int, ...]
    acts: tuple[tuple[tuple[Word, Terms], ...], ...] = ()


class Lowered(NamedTuple):
    """A plan as term lists. ``keep`` = (K - 1) p prediction arrays are carried from row to row.

    (Named tuples, here and in ``prediction``, are what torch.compile takes as constants.)
    """

    name: str
    m: int
    k: int
    p: int
    keep: int
    times: tuple[Any, ...]
    after: tuple[Any, ...]
    prelude: Row
    rows: tuple[Row, ...]
    acting: Acting | None = None
    frame: Any = None
    spread: bool = False


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
        tables = [plan.t, *(getattr(p, name) for p in plan.sources for name in TABLES)]
        for letter in sorted(plan.operands):
            words, arrays = operator_key(plan.operands[letter])
            digest.update(f"{letter} {words}".encode())
            tables += arrays
        digest.update(" ".join(plan.operators).encode())
        if plan.frame is not None:
            words, arrays = operator_key(plan.frame)
            digest.update(words.encode())
            tables += [*arrays, plan.frame.mean]
        for table in tables:
            digest.update(str(table.shape).encode())
            digest.update(np.ascontiguousarray(table, dtype=np.float64).tobytes())
        found = _keys[plan] = digest.hexdigest()[:32]
    return found


def operator_key(operator: Any) -> tuple[str, list[np.ndarray]]:
    """What tells an operator, or the modes of a frame, from others: words and arrays.

    Operators of a user's own class are told by what they make of one sample.
    """
    from sgmsolve.precondition import Spectral, to_arrays

    if isinstance(operator, Frame):
        operator = Spectral(operator.transform, operator.eigenvalues)
    try:
        header, arrays = to_arrays(operator)
        return str(sorted(header.items())), [arrays[name] for name in sorted(arrays)]
    except PreconditionError:
        x = np.random.default_rng(0).standard_normal((1, *(operator.shape or (2,))))
        return type(operator).__name__, [np.asarray(operator.apply(x))]


def _lower(plan: Plan) -> Lowered:
    km = plan.k * plan.m
    check_history(plan)
    table, prelude = flat(plan, plan), flat_prelude(plan)
    rows, start = _rows(table, km + plan.history * plan.p), _rows(prelude[None], plan.m)
    acting = None
    if plan.parts:
        acting = Acting.of(plan)
        parts = [(p.word, flat(plan, p)) for p in plan.parts]
        rows = [
            _with_acts(plan, r, row, [(word, table[r]) for word, table in parts])
            for r, row in enumerate(rows)
        ]
        parts = [(p.word, flat_prelude(p)) for p in plan.parts]
        start = [_with_acts(plan, -1, start[0], parts)]
    times = list(np.asarray(plan.t, dtype=np.float64)) if plan.each_sample else plan.t.tolist()
    return Lowered(
        name=plan.name,
        m=plan.m,
        k=plan.k,
        p=plan.p,
        keep=(plan.history - 1) * plan.p,
        times=tuple(times),
        after=(*times[1:], float(plan.t_end)),
        prelude=start[0],
        rows=tuple(rows),
        acting=acting,
        frame=plan.frame,
        spread=bool(plan.tail),
    )


def check_history(plan: Plan) -> None:
    """PlanError if a row reads a prediction from before the first row."""
    for lag in range(1, plan.history):
        if any(np.any(source.kick[:lag, :, :, lag]) for source in plan.sources):
            msg = (
                f"plan {plan.name!r} reads the prediction of {lag} row(s) ago in its first {lag} "
                "row(s), where there is none; those weights must be zero."
            )
            raise PlanError(msg)


def flat(plan: Plan, source: Any) -> np.ndarray:
    """(R, km, km + K p + L): move, kick with predictions newest first, noise, of plan or part."""
    kicks = np.swapaxes(source.kick, 2, 3)
    kicks = kicks.reshape(*kicks.shape[:2], plan.history * plan.p, *plan.tail)
    return np.concatenate([source.move, kicks, source.noise], axis=2).astype(np.float64)


def flat_prelude(source: Any) -> np.ndarray:
    """(km, m + L0): the prelude's two tables side by side."""
    both = [source.prelude_move, source.prelude_noise]
    return np.concatenate(both, axis=1).astype(np.float64)


def _rows(table: np.ndarray, first: int) -> list[Row]:
    """Term lists of all rows; sources from ``first`` on are draws, those with an entry."""
    if table.ndim > 3:  # coefficients are arrays: no number is compared with 1
        return [Row(_spread_terms(row), tuple(range(table.shape[2] - first))) for row in table]
    drawn = (table[:, :, first:] != 0).any(axis=1).tolist()
    out = []
    for entries, used in zip(table.tolist(), drawn, strict=True):
        draws = tuple([j for j, u in enumerate(used) if u])
        if len(draws) < len(used):
            entries = [x[:first] + [x[first + j] for j in draws] for x in entries]
        out.append(Row(mark_last(pattern(entries)), draws))
    return out


def _spread_terms(table: np.ndarray) -> tuple[tuple[int, Terms], ...]:
    """Term lists of one row whose coefficients are arrays."""
    return tuple(
        (i, tuple((c, j, False) for j, c in enumerate(entries) if np.any(c)))
        for i, entries in enumerate(table)
    )


def _with_acts(plan: Plan, r: int, row: Row, parts: list[tuple[Word, np.ndarray]]) -> Row:
    """A row with what operators act on; its sources are kept alive, and all its draws are made."""
    draws = tuple(plan.active_draws(r))
    first = plan.m if r < 0 else plan.k * plan.m + plan.history * plan.p

    def place(source: int, made: tuple[int, ...]) -> int:
        return source if source < first else first + draws.index(made[source - first])

    everything = tuple(range(plan.draws.shape[-1] if r >= 0 else len(plan.prelude_draws)))
    outputs = [
        (i, tuple((c, place(s, row.draws), False) for c, s, _ in terms)) for i, terms in row.outputs
    ]
    acts = []
    for i in range(plan.k * plan.m):
        found = []
        for word, table in parts:
            used = np.flatnonzero(table[i]).tolist()
            terms = tuple((float(table[i, j]), place(j, everything), False) for j in used)
            found += [(word, terms)] if terms else []
        acts.append(tuple(found))
    return Row(tuple(outputs), draws, tuple(acts))


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
