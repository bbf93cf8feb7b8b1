"""The table of docs/adaptive.md from benchmarks/results/gotta_go_fast.json, printed.

python benchmarks/gotta_go_fast_table.py            (a test holds the page to it)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent / "results" / "gotta_go_fast.json"
COLUMNS = ("bridge", "redraw", "Euler–Maruyama")


def cell(value: list[float], digits: str) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{value[0]:{digits}} ± {value[1]:.2g}"


def table() -> str:
    """A line a case and tolerance: evaluations, then the errors of the three."""
    rows: list[dict[str, Any]] = json.loads(RECORD.read_text())
    names = [f"variance, {c}" for c in COLUMNS] + [f"sliced W2, {c}" for c in ("bridge", "EM")]
    lines = ["| case | rtol | evaluations (largest) | " + " | ".join(names) + " |"]
    lines.append("|---|---:|" + "---:|" * (len(names) + 1))
    for exact in (r for r in rows if r["method"] == "exact samples"):
        case = exact["case"]
        w2 = cell(exact["sliced_w2"], ".3f")
        lines.append(f"| {case} | exact | | | | | {w2} | |")
        for rtol in sorted({r["rtol"] for r in rows if r["case"] == case and "rtol" in r}):
            kinds = ("ggf bridge", "ggf redraw", "em")
            found = {r["method"]: r for r in rows if r["case"] == case and r.get("rtol") == rtol}
            bridge = found["ggf bridge"]
            cells = [f"{bridge['nfe'][0]:.0f} ({bridge['largest'][0]:.0f})"]
            cells += [cell(found[kind]["variance"], ".2f") for kind in kinds]
            cells += [cell(found[kind]["sliced_w2"], ".3f") for kind in ("ggf bridge", "em")]
            lines.append(f"| {case} | {rtol:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
