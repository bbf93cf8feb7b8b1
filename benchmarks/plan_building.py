"""Milliseconds of processor time to build a 50-step plan of every method, best of 20.

    python benchmarks/plan_building.py [--json FILE]

Figures to reach: under 2 ms for one-step methods, under 10 ms for the rest; in phase space under 50
ms for 100 rows of a conjugate integrator with a time-varying B, which is the limit for all there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve import grid
from sgmsolve.methods.conjugate import conjugate
from sgmsolve.methods.registry import methods_for
from sgmsolve.process import EDM, PSLD

STEPS = 50


def milliseconds(method: Callable[..., Any], process: Any, times: Any, repeats: int = 20) -> float:
    """Best processor time of one build."""
    method(process, times)
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        method(process, times)
        best = min(best, time.process_time() - begin)
    return 1e3 * best


def turning(t: float) -> np.ndarray:
    """A matrix function that does not commute with itself."""
    return np.array([[t, 1.0], [0.0, 2 * t]])


def measure() -> dict[str, Any]:
    """Rows of method, milliseconds and the limit."""
    process: Any = EDM()
    times = grid.karras(process, STEPS)
    rows: list[dict[str, Any]] = []

    def add(name: str, build: Callable[..., Any], limit: float) -> None:
        ms = milliseconds(build, process, times)
        rows.append({"method": name, "ms": round(ms, 3), "limit": limit, "ok": ms < limit})

    for method in methods_for(process):
        add(method.name, method, 2.0 if method.family == "one-step" else 10.0)
    process = PSLD()
    times = grid.striding(process, STEPS)
    for method in methods_for(process):
        add(f"psld {method.name}", method, 50.0)
    times = grid.striding(process, 100)
    add("psld conjugate, B(t), 100 rows", lambda p, g: conjugate(p, g, B=turning), 50.0)
    return {"steps": STEPS, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    report = measure()
    for row in report["rows"]:
        print("{method:32s} {ms:7.2f} ms  (limit {limit:g})".format(**row))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
