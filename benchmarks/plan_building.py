"""Milliseconds of processor time to build a 50-step plan of every method, best of 20.

    python benchmarks/plan_building.py [--json FILE]

The figure to reach: under 2 ms for one-step methods, under 10 ms for the rest.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from sgmsolve import grid
from sgmsolve.methods.registry import Method, all_methods
from sgmsolve.process import EDM

STEPS = 50


def milliseconds(method: Method, process: Any, times: Any, repeats: int = 20) -> float:
    """Best processor time of one build."""
    method(process, times)
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        method(process, times)
        best = min(best, time.process_time() - begin)
    return 1e3 * best


def measure() -> dict[str, Any]:
    """Rows of method, milliseconds and the limit."""
    process = EDM()
    times = grid.karras(process, STEPS)
    rows = []
    for method in all_methods():
        limit = 2.0 if method.family == "one-step" else 10.0
        ms = milliseconds(method, process, times)
        rows.append({"method": method.name, "ms": round(ms, 3), "limit": limit, "ok": ms < limit})
    return {"steps": STEPS, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    report = measure()
    for row in report["rows"]:
        print("{method:24s} {ms:7.2f} ms  (limit {limit:g})".format(**row))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
