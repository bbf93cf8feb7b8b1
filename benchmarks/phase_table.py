"""The tables of docs/phase-results.md from benchmarks/results/phase.json, printed.

python benchmarks/phase_table.py            (a test holds the page to it)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "results" / "phase.json"
TITLES = {
    "psld-gaussian": "Gaussian, exact W2",
    "psld-ring": "Ring, sliced W2",
    "psld-digits": "Digits, sliced W2",
}
RIVALS = (
    ("EM", "PSLD", "euler-maruyama"),
    ("SSCS", "PSLD", "sscs"),
    ("DDIM on VP", "VP", "ddim"),
    ("DPM-Solver++2M on VP", "VP", "dpm++2m"),
)


def label(row: dict[str, Any]) -> str:
    """Method with its options, VP marked."""
    options = {k: v if isinstance(v, str) else f"{v:.2g}" for k, v in row["options"].items()}
    inside = ", ".join(f"{k} {v}" for k, v in options.items())
    name = f"{row['method']} ({inside})" if inside else row["method"]
    return name if row["process"] == "PSLD" else f"{name} on VP"


def number(value: float | None) -> str:
    """Two digits."""
    if value is None:
        return "-"
    return f"{value:.2g}" if 1e-2 <= value < 100 else f"{value:.1e}"


def whole(rows: list[dict[str, Any]], key: str) -> list[str]:
    """One table: a line a method, a column a budget, without the tuned values."""
    budgets = sorted({r["budget"] for r in rows})
    lines = ["| method | " + " | ".join(map(str, budgets)) + " |"]
    lines.append("|---|" + "---:|" * len(budgets))
    kinds: dict[tuple[str, str, str], dict[int, float | None]] = {}
    for r in rows:
        name = (r["process"], r["method"], r["options"].get("B", ""))
        kinds.setdefault(name, {})[r["budget"]] = r.get(key)
    for (process, method, B), found in kinds.items():
        if all(found.get(b) is None for b in budgets):
            continue
        name = method + (f", B {B}" if B else "") + (" on VP" if process == "VP" else "")
        cells = " | ".join(number(found.get(b)) for b in budgets)
        lines.append(f"| {name} | {cells} |")
    return lines


def best(rows: list[dict[str, Any]]) -> list[str]:
    """Best in phase space at each budget, and its factors over the rivals."""
    lines = ["| NFE | best in phase space | error | " + " | ".join(r[0] for r in RIVALS) + " |"]
    lines.append("|---:|---|---:|" + "---:|" * len(RIVALS))
    for budget in sorted({r["budget"] for r in rows}):
        here = [r for r in rows if r["budget"] == budget and r["error"] is not None]
        first = min((r for r in here if r["process"] == "PSLD"), key=lambda r: r["error"])
        by = {(r["process"], r["method"]): r["error"] for r in here}
        factors = [by[p, m] / first["error"] if (p, m) in by else None for _, p, m in RIVALS]
        cells = " | ".join("-" if f is None else f"{f:.2g}x" for f in factors)
        lines.append(f"| {budget} | {label(first)} | {number(first['error'])} | {cells} |")
    return lines


def tables() -> str:
    """All tables as markdown."""
    record = json.loads(RECORD.read_text())
    out: list[str] = []
    for name, title in TITLES.items():
        rows = [r for r in record["rows"] if r["problem"] == name]
        floor = record["floors"].get(name)
        out += [f"## {title}", ""]
        if floor is not None:
            out += [f"Two exact sets of samples differ by {number(floor)}: below about that", ""]
            out[-2] += " nothing can be told apart."
        out += [*best(rows), "", *whole(rows, "error"), ""]
        if any("rms" in r for r in rows):
            out += ["Deterministic methods, rms distance to the exact flow:", ""]
            out += [*whole(rows, "rms"), ""]
    return "\n".join(out)


if __name__ == "__main__":
    print(tables())
