"""From recorded formulas to tables: which values must be held when, and where.

Boundary r is the moment after r rows. The values held there are the point the next row evaluates at
(register 1) and whatever later rows still need. A backward sweep finds them: the values needed at
boundary r + 1 are expanded through their definitions until only three things are left: values
already known at boundary r (held), predictions young enough for the history, and draws made in row
r.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sgmsolve.plan.affine import _plus, _times, is_zero
from sgmsolve.plan.plan import DRAW, Node, Plan

if TYPE_CHECKING:
    from sgmsolve.plan.builder import PlanBuilder

Terms = dict[int, Any]


class _Sweep:
    """The backward sweep for one choice of K (history length)."""

    def __init__(self, builder: PlanBuilder, final: int, history: int) -> None:
        self.b, self.history = builder, history
        rows = len(builder.points)
        self.held: list[list[int]] = [[] for _ in range(rows)] + [[final]]
        self.updates: list[list[Terms]] = [[] for _ in range(rows)]
        for r in range(rows - 1, -1, -1):
            held = [builder.points[r][0]]
            self.updates[r] = [self._expand({x: 1}, r, held) for x in self.held[r + 1]]
            self.held[r] = held
        self.prelude = [self._expand({x: 1}, -1, []) for x in self.held[0]]

    @property
    def registers(self) -> int:
        return max(len(h) for h in self.held)

    def _expand(self, terms: Terms, row: int, held: list[int]) -> Terms:
        """Express terms by what is available in ``row``; values known before it join ``held``."""
        b = self.b
        out: Terms = {}
        stack = list(terms.items())
        while stack:
            symbol, block = stack.pop()
            kind, level = b.kind[symbol], b.level[symbol]
            if level <= row or (kind == "z" and row < 0):
                recent = kind == "e" and row - b.row_of[symbol] < self.history
                if not recent and row >= 0 and symbol not in held:
                    held.append(symbol)
            elif kind == "s":
                stack.extend((s, _chain(block, c)) for s, c in b.defined[symbol].items())
                continue
            out[symbol] = _plus(out[symbol], block) if symbol in out else block
        return {s: c for s, c in out.items() if not is_zero(c)}


def _chain(outer: Any, inner: Any) -> Any:
    """Outer times inner, either a scalar or a matrix."""
    if isinstance(outer, np.ndarray):
        return _times(outer, inner)
    return outer * inner


def compile_plan(builder: PlanBuilder) -> Plan:
    """Choose the history length that needs the least memory, then write the tables."""
    final = next(iter(builder.z.terms))
    lags = _lags(builder)
    sweep = _Sweep(builder, final, lags[-1])
    usual = lags[len(lags) * 9 // 10]
    if usual < lags[-1]:  # a rare long lag is cheaper in a register than in every row's history
        other = _Sweep(builder, final, usual)
        if other.registers + other.history < sweep.registers + sweep.history:
            sweep = other
    return _Tables(builder, sweep).plan(final)


def _lags(builder: PlanBuilder) -> list[int]:
    """Sorted: how many predictions each definition reaches back to, at least 1."""
    lags = [1]
    for symbol, terms in builder.defined.items():
        rows = [builder.row_of[i] for i in terms if i in builder.row_of]
        if rows:
            lags.append(builder.level[symbol] - min(rows))
    return sorted(lags)


class _Tables:
    """Writes a sweep's updates into arrays."""

    def __init__(self, builder: PlanBuilder, sweep: _Sweep) -> None:
        self.b, self.sweep = builder, sweep
        self.m = builder.m
        self.slots = self._slots()
        self.held = {s for held in sweep.held for s in held}

    def _slots(self) -> list[dict[int, int]]:
        """Register of each held value; values that stay keep their place, so they cost nothing."""
        slots: list[dict[int, int]] = []
        before: dict[int, int] = {}
        for held in self.sweep.held:
            now = {held[0]: 0}
            for x in held[1:]:
                if before.get(x, 0) > 0:
                    now[x] = before[x]
            taken = set(now.values())
            free = (i for i in range(1, len(self.b.kind)) if i not in taken)
            for x in held[1:]:
                if x not in now:
                    now[x] = next(free)
            slots.append(now)
            before = now
        return slots

    def plan(self, final: int) -> Plan:
        """Fill move, kick, noise and the prelude."""
        b, m, rows = self.b, self.m, len(self.b.points)
        k = 1 + max(max(s.values()) for s in self.slots)
        terms = [t for u in self.sweep.updates for t in u] + self.sweep.prelude
        exact = any(_exact(c) for t in terms for c in t.values())
        dtype: Any = object if exact else np.float64
        p = self._predicted()
        draws = [self._columns(r, u) for r, u in enumerate(self.sweep.updates)]
        width = max((len(d) for d in draws), default=0)
        move = np.zeros((rows, k * m, k * m), dtype)
        kick = np.zeros((rows, k * m, p, self._used_history()), dtype)
        noise = np.zeros((rows, k * m, width), dtype)
        records = np.zeros((rows, width), DRAW)
        records["kind"] = "none"
        for r in range(rows):
            slots, here = self.slots[r], {s: i for i, (s, _) in enumerate(_first(draws[r]))}
            for target, update in zip(self.sweep.held[r + 1], self.sweep.updates[r], strict=True):
                i = self.slots[r + 1][target] * m
                for symbol, block in update.items():
                    if symbol in slots:
                        j = slots[symbol] * m
                        _put(move[r, i : i + m, j : j + m], block)
                    elif b.kind[symbol] == "e":
                        _put(kick[r, i : i + m, :, r - b.row_of[symbol]], block)
                    else:
                        j = here[symbol] * m
                        _put(noise[r, i : i + m, j : j + m], block)
            for j, (symbol, _) in enumerate(draws[r]):
                records[r, j] = b.draw_of[symbol]
        return self._assemble(final, move, kick, noise, records, dtype)

    def _assemble(
        self, final: int, move: Any, kick: Any, noise: Any, records: Any, dtype: Any
    ) -> Plan:
        b, m = self.b, self.m
        start_draws = self._columns(-1, self.sweep.prelude)
        here = {s: i for i, (s, _) in enumerate(_first(start_draws))}
        prelude = np.zeros((move.shape[1], m), dtype)
        prelude_noise = np.zeros((move.shape[1], len(start_draws)), dtype)
        for target, update in zip(self.sweep.held[0], self.sweep.prelude, strict=True):
            i = self.slots[0][target] * m
            for symbol, block in update.items():
                if b.kind[symbol] == "z":
                    _put(prelude[i : i + m], block)
                else:
                    j = here[symbol] * m
                    _put(prelude_noise[i : i + m, j : j + m], block)
        prelude_records = np.zeros(len(start_draws), DRAW)
        for j, (symbol, _) in enumerate(start_draws):
            prelude_records[j] = b.draw_of[symbol]
        return Plan(
            name=b.name,
            process=b.process.spec(),
            predicts=b.predicts,
            t=np.array([t for _, t in b.points], dtype=dtype),
            move=move,
            kick=kick,
            noise=noise,
            draws=records,
            prelude_move=prelude,
            prelude_noise=prelude_noise,
            prelude_draws=prelude_records,
            t_start=float(b.times[0]),
            t_end=float(b.time),
            nodes=self._nodes(final),
            orders=b.orders,
            start=b.start,
            reference=b.reference,
            options=b.options,
        )

    def _columns(self, row: int, updates: list[Terms]) -> list[tuple[int, int]]:
        """(draw symbol, component) of every column of one row (-1: prelude), in order of creation.

        A draw of an earlier row is a register here; a draw is made once, in the row its level
        names.
        """
        if not self.b.draw_of:
            return []
        level, kind = self.b.level, self.b.kind
        fresh = {s for u in updates for s in u if kind[s] == "x" and level[s] == row + 1}
        return [(s, c) for s in sorted(fresh) for c in range(self.m)]

    def _predicted(self) -> int:
        """Predicted components p, from the first matrix on a prediction (a scalar means m)."""
        for updates in self.sweep.updates:
            for update in updates:
                for symbol, block in update.items():
                    if self.b.kind[symbol] == "e" and isinstance(block, np.ndarray):
                        return int(block.shape[1])
        return self.m

    def _used_history(self) -> int:
        lags = [
            r - self.b.row_of[symbol]
            for r, updates in enumerate(self.sweep.updates)
            for update in updates
            for symbol in update
            if self.b.kind[symbol] == "e" and symbol not in self.slots[r]
        ]
        return 1 + max(lags, default=0)

    def _nodes(self, final: int) -> tuple[Node, ...]:
        """Boundary and register of every grid point's solution that a register ever holds."""
        where: dict[int, tuple[int, int]] = {}
        for boundary, slots in enumerate(self.slots):
            for symbol, register in slots.items():
                where.setdefault(symbol, (boundary, register))
        return tuple(Node(t, *where[symbol]) for symbol, t in self.b.nodes if symbol in where)


def _first(columns: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """One entry a draw symbol."""
    return [(s, c) for s, c in columns if c == 0]


def _exact(block: Any) -> bool:
    if isinstance(block, np.ndarray):
        return block.dtype == object
    return not isinstance(block, (int, float))


def _put(view: np.ndarray, block: Any) -> None:
    """Write a block: a scalar fills the diagonal."""
    if isinstance(block, np.ndarray):
        view[...] = block
    elif view.shape == (1, 1):
        view[0, 0] = block
    else:
        for i in range(min(view.shape)):
            view[i, i] = block
