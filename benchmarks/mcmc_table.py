"""The tables of docs/mcmc.md from benchmarks/results/mcmc.json, printed.

python benchmarks/mcmc_table.py            (a test holds the page to it)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "results" / "mcmc.json"
REACHED = {"grid25": (0.05, 1.2), "digits": (0.05, 1.2)}
"""Sliced W2, and variance of a mode, that count as reached."""

BUDGET = 20.5


def reached(rows: list[dict[str, Any]], problem: str) -> str:
    """Fewest calls with both errors small enough; a dash where none of the runs has them."""
    w2, variance = REACHED[problem]
    good = [r["nfe"] for r in rows if r["sw2"] <= w2 and r["variance"] <= variance]
    return f"{min(good):.0f}" if good else "–"


def at_budget(rows: list[dict[str, Any]]) -> str:
    """Errors of the largest run within the budget."""
    inside = [r for r in rows if r["nfe"] <= BUDGET]
    if not inside:
        return "–"
    best = max(inside, key=lambda r: r["nfe"])
    return f"{best['sw2']:.3f} ({best['variance']:.2f})"


def table(problem: str) -> str:
    """A line a denoiser: errors at 20 calls, then calls that reach the errors of ``REACHED``."""
    rows = [r for r in json.loads(RECORD.read_text()) if r["problem"] == problem]
    kinds = [k for k in dict.fromkeys(r["chain"] for r in rows) if k != "exact samples"]
    names = [*kinds, *(f"calls, {k}" for k in kinds)]
    lines = ["| denoiser | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for denoiser in dict.fromkeys(r["denoiser"] for r in rows if r["chain"] == "none"):
        mine = [[r for r in rows if (r["chain"], r["denoiser"]) == (k, denoiser)] for k in kinds]
        cells = [at_budget(m) for m in mine] + [reached(m, problem) for m in mine]
        lines.append(f"| {denoiser} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name in REACHED:
        print(f"{table(name)}\n")
