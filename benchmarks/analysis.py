"""Exact analysis: time against the figures the project set itself, everything in one run.

    python benchmarks/analysis.py [--orders] [--out results.json]

``--orders`` adds the whole of ``sgmsolve order --all`` on two processes (about two minutes).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter
from pathlib import Path

import numpy as np

from sgmsolve import grid
from sgmsolve.analysis.exact import error, output_moments
from sgmsolve.analysis.order_suite import measure_all, verdict
from sgmsolve.methods.registry import find
from sgmsolve.process import EDM
from sgmsolve.target import Gaussian

METHODS = ("ddim", "euler-maruyama", "heun", "dpm++2m", "dpm++3m", "unipc-3", "deis-tab-4")


def best(run, repeats=5):
    """Shortest (wall, processor) seconds of a few runs: other work on the machine only adds.

    On a busy machine only the processor time means something (set OMP_NUM_THREADS=1).
    """
    wall, cpu = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        run()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return min(wall), min(cpu)


def propagation(record, process):
    """A plan of about 1000 rows on 4096 modes, plan building excluded."""
    target = Gaussian(np.full(4096, 0.3), np.geomspace(1e-3, 10, 4096))
    plan = record(process, grid.karras(process, 1000 // record.evaluations))
    return plan.rows, best(lambda: output_moments(plan, target, process))


def study(record, process):
    """Errors at N = 16 ... 256 on four modes, plan building included."""
    target = Gaussian(np.full(4, 0.3), [0.01, 0.1, 1.0, 2.0])

    def run():
        for steps in (16, 32, 64, 128, 256):
            times = grid.karras(process, steps, t_max=2.0, t_min=0.1)
            error(record(process, times), target, process)

    return best(run)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    process = EDM()
    report = {"machine": platform.platform(), "numpy": np.__version__, "rows": []}
    print("wall and processor seconds; to reach: 4096 modes < 1, five grids < 0.1")
    print(f"{'method':16s} {'rows':>5s} {'4096 modes':>15s} {'five grids':>15s}")
    for name in METHODS:
        record = find(name)
        rows, modes = propagation(record, process)
        grids = study(record, process)
        times = "  ".join(f"{wall:6.3f} {cpu:6.3f}" for wall, cpu in (modes, grids))
        print(f"{name:16s} {rows:5d}   {times}")
        found = {"method": name, "rows": rows, "modes_4096": modes, "five_grids": grids}
        report["rows"].append(found)
    if options.orders:
        start = time.perf_counter()
        rows = measure_all(jobs=2)
        seconds = time.perf_counter() - start
        counts = dict(Counter(row.status for row in rows))
        print(f"order --all: {seconds:.0f} s (< 120 s), {counts}, {verdict(rows)}")
        report["orders"] = {"seconds": seconds, **counts}
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
