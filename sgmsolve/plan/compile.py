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

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import PlanError
from sgmsolve.plan.affine import AMBIGUOUS, _plus, _times, is_zero
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
        kept = {builder.level[x]: x for x, _ in builder.nodes} if builder.keeps_nodes else {}
        for r in range(rows - 1, -1, -1):
            held = list(dict.fromkeys([builder.points[r][0], kept.get(r, builder.points[r][0])]))
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
        return {s: c for s, c in out.items() if (c if type(c) is float else not is_zero(c))}


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
    return _Tables(builder, sweep).plan()


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

    def _slots(self) -> list[dict[int, int]]:
        """Register of each held value; values that stay keep their place, so they cost nothing."""
        slots: list[dict[int, int]] = []
        before: dict[int, int] = {}
        for held in self.sweep.held:
            now = {held[0]: 0}
            if len(held) > 1:
                now.update({x: before[x] for x in held[1:] if before.get(x, 0) > 0})
                free = iter(sorted(set(range(1, len(held))) - set(now.values())))
                for x in held[1:]:
                    if x not in now:
                        now[x] = next(free)
            slots.append(now)
            before = now
        return slots

    def plan(self) -> Plan:
        """Fill move, kick, noise and the prelude."""
        b, m, rows = self.b, self.m, len(self.b.points)
        k = 1 + max(max(s.values()) for s in self.slots)
        dtype: Any = object if is_multiprecision(b.times[0]) else np.float64
        draws = [self._columns(r, u) for r, u in enumerate(self.sweep.updates)]
        width = max(map(len, draws), default=0)
        move = np.zeros((rows, k * m, k * m), dtype)
        kick = np.zeros((rows, k * m, self._predicted(), self.sweep.history), dtype)
        kicks = [kick[..., lag] for lag in range(self.sweep.history)]
        noise = np.zeros((rows, k * m, width), dtype)
        records = np.zeros((rows, width), DRAW)
        records["kind"] = "none"
        longest = 0
        for r, updates in enumerate(self.sweep.updates):
            slots, after, here = self.slots[r], self.slots[r + 1], _places(draws[r])
            for target, update in zip(self.sweep.held[r + 1], updates, strict=True):
                i = after[target]
                for symbol, block in update.items():
                    if symbol in slots:
                        _put(move, r, i, slots[symbol], (m, m), block)
                    elif symbol in here:
                        _put(noise, r, i, here[symbol], (m, m), block)
                    else:
                        lag = r - b.row_of[symbol]
                        longest = max(longest, lag)
                        _put(kicks[lag], r, i, 0, (m, kick.shape[2]), block)
            for j, (symbol, _) in enumerate(draws[r]):
                records[r, j] = b.draw_of[symbol]
        return self._assemble(move, kick[..., : longest + 1], noise, records, dtype)

    def _assemble(self, move: Any, kick: Any, noise: Any, records: Any, dtype: Any) -> Plan:
        b, m = self.b, self.m
        start_draws = self._columns(-1, self.sweep.prelude)
        here = _places(start_draws)
        prelude = np.zeros((move.shape[1], m), dtype)
        prelude_noise = np.zeros((move.shape[1], len(start_draws)), dtype)
        for target, update in zip(self.sweep.held[0], self.sweep.prelude, strict=True):
            i = self.slots[0][target]
            for symbol, block in update.items():
                if b.kind[symbol] == "z":
                    _put(prelude[None], 0, i, 0, (m, m), block)
                else:
                    _put(prelude_noise[None], 0, i, here[symbol], (m, m), block)
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
            nodes=self._nodes(),
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
        """Predicted components p: columns of a matrix on a prediction; a scalar means m."""
        kind = self.b.kind
        blocks = (
            block
            for updates in self.sweep.updates
            for update in updates
            for symbol, block in update.items()
            if kind[symbol] == "e"
        )
        first = next(blocks, None)
        return int(first.shape[1]) if isinstance(first, np.ndarray) else self.m

    def _nodes(self) -> tuple[Node, ...]:
        """Boundary and register of every grid point's solution that a register ever holds."""
        where: dict[int, tuple[int, int]] = {}
        for boundary, slots in enumerate(self.slots):
            for symbol, register in slots.items():
                where.setdefault(symbol, (boundary, register))
        return tuple(Node(t, *where[symbol]) for symbol, t in self.b.nodes if symbol in where)


def _places(columns: list[tuple[int, int]]) -> dict[int, int]:
    """Index of each draw symbol among a row's draws, in units of its components."""
    return {s: i for i, s in enumerate(s for s, c in columns if c == 0)}


def _put(table: np.ndarray, r: int, i: int, j: int, shape: tuple[int, int], block: Any) -> None:
    """Write the (m, p) block of register i and source j in row r; a scalar fills the diagonal."""
    m, p = shape
    if isinstance(block, np.ndarray):
        if block.shape != shape:
            msg = f"a coefficient has shape {block.shape}, expected a number or {shape}."
            raise PlanError(msg)
        table[r, i * m : (i + 1) * m, j * p : (j + 1) * p] = block
    elif shape == (1, 1):
        table[r, i, j] = block
    elif m != p:
        raise PlanError(AMBIGUOUS)
    else:
        for c in range(m):
            table[r, i * m + c, j * m + c] = block
