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
from sgmsolve.plan.affine import AMBIGUOUS, Operators, is_matrix, is_zero, plus, times
from sgmsolve.plan.parts import TABLES, Part
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
                stack.extend((s, times(block, c)) for s, c in b.defined[symbol].items())
                continue
            out[symbol] = plus(out[symbol], block) if symbol in out else block
        return {s: c for s, c in out.items() if (c if type(c) is float else not is_zero(c))}


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
        """Fill move, kick, noise and the prelude, the identity's and those of every word."""
        b, m, rows = self.b, self.m, len(self.b.points)
        k = 1 + max(max(s.values()) for s in self.slots)
        dtype: Any = object if is_multiprecision(b.times[0]) else np.float64
        draws = [self._columns(r, u) for r, u in enumerate(self.sweep.updates)]
        start_draws = self._columns(-1, self.sweep.prelude)
        width = max(map(len, draws), default=0)
        tail: tuple[int, ...] = () if b.frame is None else b.frame.values.shape
        shapes = {
            "move": (rows, k * m, k * m),
            "kick": (rows, k * m, self._predicted(), self.sweep.history),
            "noise": (rows, k * m, width),
            "prelude_move": (1, k * m, m),
            "prelude_noise": (1, k * m, len(start_draws)),
        }
        self._made: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        self._new = lambda: {name: np.zeros(s + tail, dtype) for name, s in shapes.items()}
        self._made[()] = self._new()
        records = np.zeros((rows, width), DRAW)
        records["kind"] = "none"
        self._longest = 0
        for r, updates in enumerate(self.sweep.updates):
            here = _places(draws[r])
            for target, update in zip(self.sweep.held[r + 1], updates, strict=True):
                self._write(r, self.slots[r + 1][target], update, here)
            for j, (symbol, _) in enumerate(draws[r]):
                records[r, j] = b.draw_of[symbol]
        here = _places(start_draws)
        for target, update in zip(self.sweep.held[0], self.sweep.prelude, strict=True):
            self._write(-1, self.slots[0][target], update, here)
        prelude_records = np.zeros(len(start_draws), DRAW)
        for j, (symbol, _) in enumerate(start_draws):
            prelude_records[j] = b.draw_of[symbol]
        return self._assemble(records, prelude_records, dtype)

    def _write(self, r: int, i: int, update: Terms, here: dict[int, int]) -> None:
        """The update of register i in row r (-1: prelude) into the tables of its words."""
        for symbol, block in update.items():
            lag = 0
            if r < 0:
                name, j = ("prelude_noise", here[symbol]) if symbol in here else ("prelude_move", 0)
            elif symbol in self.slots[r]:
                name, j = "move", self.slots[r][symbol]
            elif symbol in here:
                name, j = "noise", here[symbol]
            else:
                name, j, lag = "kick", 0, r - self.b.row_of[symbol]
                self._longest = max(self._longest, lag)
            words = block.terms if isinstance(block, Operators) else {(): block}
            for word, part in words.items():
                if word not in self._made:
                    self._made[word] = self._new()
                table = self._made[word][name]
                width = table.shape[2] if name == "kick" else self.m
                table = table[:, :, :, lag] if name == "kick" else table
                _put(table, max(r, 0), i, j, (self.m, width), part)

    def _assemble(self, records: Any, prelude_records: Any, dtype: Any) -> Plan:
        b = self.b
        for tables in self._made.values():
            tables["kick"] = tables["kick"][:, :, :, : self._longest + 1]
            for name in ("prelude_move", "prelude_noise"):
                tables[name] = tables[name][0]
        plain = self._made.pop(())
        parts = [Part(word, *(t[n] for n in TABLES)) for word, t in sorted(self._made.items())]
        return Plan(
            name=b.name,
            process=b.process.spec(),
            predicts=b.predicts,
            t=np.array([t for _, t in b.points], dtype=dtype),
            move=plain["move"],
            kick=plain["kick"],
            noise=plain["noise"],
            prelude_move=plain["prelude_move"],
            prelude_noise=plain["prelude_noise"],
            draws=records,
            prelude_draws=prelude_records,
            t_start=float(b.times[0]),
            t_end=float(b.time),
            nodes=self._nodes(),
            orders=b.orders,
            start=b.start,
            reference=b.reference,
            options=b.options,
            parts=tuple(p for p in parts if any(np.any(getattr(p, n)) for n in TABLES)),
            operands=b.operands if parts else {},
            frame=b.frame,
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
        if isinstance(first, Operators):
            first = next(iter(first.terms.values()))
        return int(first.shape[1]) if first is not None and is_matrix(first) else self.m

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
    if is_matrix(block):
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
