"""A plan as text that a person can read, and as rows for JSON.

Row r reads ``Z1' = 0.9 Z1 - 0.1 e3 + 0.2 xi3``: the registers after the row from the registers
before it, the predictions (``e3`` is the network's output in row 3) and the row's standard normal
draws.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np

from sgmsolve.plan.plan import Plan

WIDTH = 100
GLUE = "\u00a0"
"""No line is broken inside a term."""


def to_rows(plan: Plan) -> list[dict[str, Any]]:
    """The table as JSON-able dictionaries, the prelude first (row -1, t None), zeros left out.

    Each has ``row``, ``t``, ``updates`` (register -> {term: coefficient}) and ``draws`` (draw ->
    kind, start, end). A register that is absent becomes 0. With m > 1, ``Z2.1`` is component 1 of
    register 2.
    """
    return [_row(plan, r) for r in range(-1, plan.rows)]


def as_text(plan: Plan, max_rows: int = 24) -> str:
    """The plan as text at most 100 columns wide, without the middle rows of a long plan."""
    shown: list[int] = list(range(-1, plan.rows))
    dropped = plan.rows - max_rows
    if dropped > 1:  # leaving out one row would save nothing
        first = (max_rows + 1) // 2
        shown = [*range(-1, first), *range(first + dropped, plan.rows)]
    lines = _header(plan)
    before = -2
    for r in shown:
        if r != before + 1 and before >= -1:
            lines.append(f"{'...':>5}  {r - before - 1} more rows")
        lines += _lines(_row(plan, r))
        before = r
    return "\n".join(lines)


def _header(plan: Plan) -> list[str]:
    spec = ", ".join(f"{k}={_short(v)}" for k, v in plan.process.items() if k != "process")
    components = f" of {plan.m} components" if plan.m > 1 else ""
    used = sorted({str(k) for k in plan.draws["kind"].ravel()} - {"none"})
    drawn = sum(len(plan.active_draws(r)) for r in range(-1, plan.rows))
    orders = ", ".join(f"{kind} {order:g}" for kind, order in plan.orders.items())
    options = ", ".join(f"{k}={_short(v)}" for k, v in plan.options.items())
    facts = [
        ("plan", f"{plan.name}, {plan.t_start:.6g} -> {plan.t_end:.6g} in forward time t"),
        ("process", f"{plan.process.get('process', 'unnamed')}({spec})"),
        ("network", f"{plan.rows} rows, one evaluation each, converted to {plan.predicts!r}"),
        ("memory", f"{plan.k} register(s){components}, {plan.history} remembered prediction(s)"),
        ("noise", f"{drawn} draw(s) of kind {', '.join(used)}" if drawn else "none"),
        ("order", (orders or "no claim") + f", start={plan.start}"),
        ("options", options),
        ("reference", plan.reference),
    ]
    if not plan.pathwise:
        facts.append(("path", "draws were merged: right in law, no longer tied to a Brownian path"))
    if plan.parts:
        facts.append(("operators", ", ".join(plan.operators)))
    if plan.frame is not None:
        facts.append(("modes", f"runs in {plan.frame}; its coefficients are shown as ranges"))
    elif plan.each_sample:
        facts.append(("samples", f"{plan.tail[0]}, each with coefficients and times of its own"))
    lines: list[str] = []
    for name, value in facts:
        if value:
            lines += _wrap(f"{name:<10}", value)
    return [*lines, "", " row          t  registers after the row (not shown: 0)"]


def _short(value: Any) -> str:
    """A value of an option or of the process's specification, long lists abbreviated."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:34]} ...{text[-1]}"


def _wrap(head: str, text: str) -> list[str]:
    """``head`` and ``text``, continued under the text."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def _lines(row: dict[str, Any]) -> list[str]:
    """Text lines of one row, one or more a register."""
    r, t = row["row"], row["t"]
    times = [t] if isinstance(t, float) else t or []
    head = "start" + " " * 10 if r < 0 else f"{r:>4} {min(times):>10.6g}"
    lines = []
    for register, terms in row["updates"].items():
        mark = "" if r < 0 else "'"
        text = " ".join(_signed(terms.items())).removeprefix(f"+{GLUE}")
        wrapped = _wrap(f"{head}  {register}{mark} = ", text or "0")
        lines += [line.replace(GLUE, " ") for line in wrapped]
        head = " " * 15
    return lines


def _signed(terms: Iterable[tuple[str, Any]]) -> list[str]:
    out = []
    for name, c in terms:
        if isinstance(c, list):
            out.append(f"+{GLUE}[{min(c):.4g}{GLUE}..{GLUE}{max(c):.4g}]{GLUE}{name}")
            continue
        size = "" if abs(c) == 1 else f"{abs(c):.6g}{GLUE}"
        out.append(f"{'-' if c < 0 else '+'}{GLUE}{size}{name}")
    return out


def _row(plan: Plan, r: int) -> dict[str, Any]:
    """Row r as a dictionary; -1 is the prelude."""
    m = plan.m
    active = plan.active_draws(r)
    names = {j: f"xi{r}" if len(active) == 1 else f"xi{r}.{i}" for i, j in enumerate(active, 1)}
    if r < 0:
        names = {j: name.replace("xi-1", "xi") for j, name in names.items()}
    records = plan.prelude_draws if r < 0 else plan.draws[r]
    blocks = _blocks(plan, plan, r, names, "")
    for part in plan.parts:
        blocks += _blocks(plan, part, r, names, f"{part.name} ")
    updates = {}
    for i in range(plan.k * m):
        terms = {
            name: c.tolist() if np.ptp(c) else float(np.ravel(c)[0])
            for table, head in blocks
            for c, name in zip(table[i], head, strict=True)
            if np.any(c)
        }
        if terms or i < m:
            updates[_register(i, m)] = terms
    return {
        "row": r,
        "t": None if r < 0 else plan.t[r].tolist(),
        "updates": updates,
        "draws": {
            name: {
                "kind": str(records[j]["kind"]),
                "start": float(records[j]["start"]),
                "end": float(records[j]["end"]),
            }
            for j, name in names.items()
        },
    }


def _blocks(
    plan: Plan, source: Any, r: int, names: dict[int, str], before: str
) -> list[tuple[np.ndarray, list[str]]]:
    """Tables of row r of the plan or of a part, with the names of what their columns multiply."""
    m, drawn = plan.m, [before + name for name in names.values()]
    if r < 0:
        states = [f"{before}z{_component(c, m)}" for c in range(m)]
        return [
            (source.prelude_move, states),
            (source.prelude_noise[:, list(names)], drawn),
        ]
    blocks = [(source.move[r], [before + _register(i, m) for i in range(plan.k * m)])]
    for j in range(min(plan.history, r + 1)):
        made = [f"{before}e{r - j}{_component(c, plan.p)}" for c in range(plan.p)]
        blocks.append((source.kick[r, :, :, j], made))
    return [*blocks, (source.noise[r][:, list(names)], drawn)]


def _component(c: int, m: int) -> str:
    return f".{c + 1}" if m > 1 else ""


def _register(i: int, m: int) -> str:
    return f"Z{i // m + 1}{_component(i % m, m)}"
