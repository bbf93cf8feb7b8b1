"""The numbers of a comparison arranged for people: one table and one chart a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sgmsolve.analysis.results import METRICS

SAMPLED = ("energy", "sliced-w2")
Rows = Sequence[Mapping[str, Any]]


def metric_tables(rows: Rows) -> list[dict[str, Any]]:
    """For each measured metric: title, explanation, budgets, lines sorted by the last error.

    Every line is a method with one cell a budget; the last budget is None where solvers chose their
    own steps, and their cells say how many evaluations those took. The smallest error of a budget
    is marked, and so is every one within two deviations of the floor of exact samples. Metrics
    never share a table.
    """
    tables = []
    for metric, (title, text) in METRICS.items():
        own = [r for r in rows if r["metric"] == metric]
        if not own:
            continue
        budgets = sorted_budgets(own)
        cells = {(r["method"], r["budget"]): r for r in own}
        best = {b: _best(r for r in own if r["budget"] == b is not None) for b in budgets}
        methods = sorted(dict.fromkeys(r["method"] for r in own), key=lambda m: _rank(m, own))
        lines = [
            {
                "method": m,
                "kind": next(r["kind"] for r in own if r["method"] == m),
                "cells": [_cell(cells.get((m, b)), best[b]) for b in budgets],
            }
            for m in methods
        ]
        floors = [r["floor"] for r in own if r["floor"] is not None]
        floor = max(floors) if floors else None
        spread = max((r["floor_spread"] or 0.0 for r in own), default=0.0)
        tables.append(
            {
                "metric": metric,
                "title": title,
                "text": text,
                "floor": floor,
                "floor_text": _floor_text(metric, floor, spread),
                "budgets": budgets,
                "columns": ["own steps" if b is None else str(b) for b in budgets],
                "lines": lines,
                "chart": {"title": title, "floor": floor, "rows": [_point(r) for r in own]},
            }
        )
    return tables


def sorted_budgets(rows: Rows) -> list[int | None]:
    """The budgets of rows, in order; None, for steps of a solver's own, last."""
    given = {r["budget"] for r in rows}
    return sorted(given, key=lambda b: (b is None, b or 0))


def _best(rows: Any) -> float | None:
    errors = [r["error"] for r in rows if r["error"] is not None]
    return min(errors) if errors else None


def _rank(method: str, rows: Rows) -> tuple[float, float]:
    """Smallest error at the largest budget first, then own steps, methods with no number last."""
    own = [r for r in rows if r["method"] == method and r["error"] is not None]
    if not own:
        return (1, 0.0)
    last = max(own, key=lambda r: r["budget"] or 0)
    return (-(last["budget"] or 0), last["error"])


def _cell(row: Mapping[str, Any] | None, best: float | None) -> dict[str, Any]:
    if row is None or row["error"] is None:
        return {"text": "–", "best": False, "hint": row["message"] if row else "not measured"}
    spread = f", spread over seeds {short(row['spread'])}" if row["spread"] is not None else ""
    steps = "" if row["steps"] is None else f", {row['steps']} steps"
    own = f" ({row['nfe']:.0f} NFE)" if row["budget"] is None else ""
    return {
        "text": short(row["error"]) + own,
        "best": row["error"] == best or _at_floor(row),
        "hint": f"{evaluations(row)}{steps}, {row['seconds']:.2f} s{spread}",
    }


def evaluations(row: Mapping[str, Any]) -> str:
    """How many evaluations of the model a row took, in words."""
    if row.get("nfe_max") in (None, row["nfe"]):
        return f"{row['nfe']} evaluations"
    return f"{row['nfe']:.1f} evaluations on average, at most {row['nfe_max']}"


def _at_floor(row: Mapping[str, Any]) -> bool:
    """Whether sampling could not tell this result from an exact one: within two deviations."""
    return row["metric"] in SAMPLED and row["error"] <= row["floor"] + 2 * row["floor_spread"]


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("method", "kind", "budget", "nfe", "steps", "error", "seconds", "spread")
    return {**{k: row[k] for k in keys}, "evaluations": evaluations(row)}


def _floor_text(metric: str, floor: float | None, spread: float) -> str:
    if floor is None:
        return ""
    if metric == "rms":
        return f"The reference itself is good to about {short(floor)}."
    return (
        f"Two sets of exact samples differ by {short(floor)} ± {short(spread)}; up to "
        f"{short(floor + 2 * spread)} a result cannot be told from exact."
    )


def short(value: float) -> str:
    """Two digits: 0.034, 1.2, 3.4e-7."""
    if value == 0:
        return "0"
    if 0.00095 <= abs(value) < 99.5:
        return f"{value:#.2g}" if abs(value) < 9.95 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def order_text(orders: Mapping[str, float] | None, kind: str) -> str:
    """A claimed order, or an empty text."""
    return f"{orders[kind]:g}" if orders and kind in orders else ""


def sentence_list(items: Sequence[Any]) -> str:
    """5, 10 and 20."""
    texts = [str(i) for i in items]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def failures(rows: Rows) -> list[dict[str, str]]:
    """What was not measured and why: method, budgets ("6 and 20"), metric, message, each once.

    ``budgets`` is empty for a solver that chooses its own steps.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if row["status"] != "ok":
            key = (row["method"], row["metric"], row["message"])
            budgets = found.setdefault(key, [])
            budgets += [] if row["budget"] is None else [str(row["budget"])]
    return [
        {
            "method": method,
            "budgets": sentence_list(budgets) if budgets else "",
            "metric": metric,
            "message": message,
        }
        for (method, metric, message), budgets in found.items()
    ]
