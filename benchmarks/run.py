"""Measure everything the project set itself figures for; print a table, keep a record.

    python benchmarks/run.py [PART...] [--name NAME] [--seed N]      (or: make bench)

Parts: plan_building, analysis, executor, adapters, compaction; default all. Each runs in a process
of its own with one thread, so that none warms another's caches. The record is
``benchmarks/results/NAME.json``: every figure with its limit, what the parts wrote, versions,
machine and seed. A missed limit is shown, not an error: on a busy machine it may say nothing (the
load is in the record).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PARTS = {
    "plan_building": "--json",
    "analysis": "--out",
    "executor": "--json",
    "adapters": "--json",
    "compaction": "--json",
}
"""Script and the option that names the file it writes."""

PACKAGES = ("sgmsolve", "numpy", "scipy", "torch", "jax", "diffusers", "k-diffusion", "azula")
Figure = tuple[str, float, float | None]
"""Name, value, and the most it may be (None: no limit was set)."""


def run_part(name: str, seed: int) -> dict[str, Any]:
    """What a part wrote; its own output goes to the terminal. Raises if it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = [sys.executable, str(HERE / f"{name}.py"), PARTS[name], str(file)]
        if name == "executor":
            command += ["--seed", str(seed)]
        print(f"== {name}", flush=True)
        subprocess.run(command, check=True, env=environment)
        report: dict[str, Any] = json.loads(file.read_text())
    return report


def figures(name: str, report: dict[str, Any]) -> list[Figure]:
    """The figures of a part: of many methods the worst."""
    if name == "plan_building":
        found: dict[float, dict[str, Any]] = {}
        for row in report["rows"]:
            if row["limit"] not in found or row["ms"] > found[row["limit"]]["ms"]:
                found[row["limit"]] = row
        kinds = {2.0: "one-step", 10.0: "other", 50.0: "in phase space"}
        return [
            (f"50 rows, slowest {kinds[limit]} ({row['method']}), ms", row["ms"], limit)
            for limit, row in sorted(found.items())
        ]
    if name == "analysis":
        out: list[Figure] = []
        for key, label, limit in (
            ("modes_4096", "1000 rows on 4096 modes", 1.0),
            ("five_grids", "five-grid order study", 0.1),
        ):
            # Wall and processor seconds: the latter is what a busy machine leaves readable.
            worst = max(report["rows"], key=lambda row: row[key][1])
            out.append((f"{label}, slowest ({worst['method']}), s", worst[key][1], limit))
        return out
    limits = report["limits"]
    return [(key, value, limits.get(key)) for key, value in report["figures"].items()]


def table(rows: list[Figure]) -> str:
    """The figures for people."""
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'figure':{width}s} {'value':>10s} {'at most':>8s}"]
    for name, value, limit in rows:
        end = "" if limit is None else f" {limit:8g}  {'ok' if value <= limit else 'MISSED'}"
        lines.append(f"{name:{width}s} {value:10.3f}{end}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Where this was measured, and how busy it was."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    return {
        "platform": platform.platform(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def versions() -> dict[str, str]:
    """Versions of what is installed of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--name", default="figures", help="of the record, without .json")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = [part for part in given.parts if part not in PARTS]
    if wrong:
        parser.error(f"unknown part {wrong[0]!r}; known: {', '.join(PARTS)}")
    before = machine()
    reports = {name: run_part(name, given.seed) for name in given.parts or PARTS}
    rows = [row for name, report in reports.items() for row in figures(name, report)]
    print("\n" + table(rows))
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": before,
        "versions": versions(),
        "seed": given.seed,
        "figures": [{"figure": n, "value": v, "limit": limit} for n, v, limit in rows],
        "parts": reports,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{given.name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
