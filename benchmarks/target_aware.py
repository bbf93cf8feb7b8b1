"""Endpoint error of the target-aware conjugate integrator against samplers that know no target.

    python benchmarks/target_aware.py [--json FILE] [--seed N] [--starts N]
    python benchmarks/target_aware.py --table
    python benchmarks/target_aware.py --memory

Root mean square distance, over all starts and entries, from where the exact probability flow ends:
5, 8, 12, 20 and 40 evaluations, exact scores, common starts at t_max. Every method is run on three
grids (karras, log-snr, uniform) and its best one counts. The fit is made of samples: the pictures
of digits and photo-patches themselves, 2000 points of ring, 64 fields of field. Two more fits show
what the fit is worth: one read from the model's own denoiser, and no fit (variance 1 everywhere).

Figures to reach: at 5 and 8 evaluations better than the best of the others on at least three of the
four problems; at 20 and 40 never worse than 1.1 times.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
from sgmsolve.problems import find as find_problem

from sgmsolve import EDM, GaussianField, grid, solve
from sgmsolve.analysis import exact
from sgmsolve.analysis.bench import REFERENCE
from sgmsolve.methods.registry import find
from sgmsolve.precondition import GaussianFit
from sgmsolve.sampling import build_plan

EVALUATIONS = (5, 8, 12, 20, 40)
GRIDS = ("karras", "log-snr", "uniform")
OTHERS = ("ddim", "dpm++2m", "dpm++3m", "unipc-2", "unipc-3", "deis-tab-2", "deis-tab-3")
PROBLEMS: dict[str, int] = {"digits": 500, "photo-patches": 500, "ring": 2000, "field": 16}
"""Starts: a trajectory that ends at another picture counts hundreds of times one that does not."""

FINE = 1000
"""Steps of the reference."""

RECORD = Path(__file__).parent / "results" / "target_aware.json"


class Bench:
    """One problem: its starts, the ends of the exact flow from them, and errors of plans."""

    def __init__(self, name: str, starts: int, seed: int) -> None:
        self.problem = p = find_problem(name)
        self.model = p.target.model(p.process)
        self.x = np.asarray(p.marginal(starts, float(p.process.t_max), seed))
        if p.exact:
            ends = (float(p.process.t_max), p.t_end, p.process)
            self.ends, self.off = np.asarray(p.target.flow_map(self.x, *ends)), 0.0
        else:
            self.ends = self.run(self.fine(FINE))
            self.off = rms(self.run(self.fine(FINE // 2)), self.ends)

    def fine(self, steps: int) -> Any:
        """The reference's plan: unipc-3 of order 4."""
        name, options = REFERENCE
        p = self.problem
        return build_plan(p.process, name, steps=steps, **p.grid_arguments, **options)

    def run(self, plan: Any) -> np.ndarray:
        """End points."""
        return np.asarray(solve(plan, self.model, (self.x,)).x)

    def errors(self, name: str, **options: Any) -> list[dict[str, float]]:
        """For each number of evaluations the error on each grid."""
        p = self.problem
        rows = []
        for n in EVALUATIONS:
            times = {g: grid.make(g, p.process, n, t_min=p.t_end) for g in GRIDS}
            plans = {g: find(name)(p.process, t, **options) for g, t in times.items()}
            rows.append({g: rms(self.run(plan), self.ends) for g, plan in plans.items()})
        return rows


def rms(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean(np.square(a - b))))


def fits(bench: Bench, seed: int) -> dict[str, Any]:
    """Named fits of a problem."""
    target, shape = bench.problem.target, bench.problem.shape
    if hasattr(target, "data"):
        samples = target.data
    else:
        samples = target.sample(64 if bench.problem.exact else 2000, seed=seed)
    large = bench.problem.dimension > 1024
    own = GaussianFit.from_images(samples, "fourier" if large else "pca")
    read = GaussianFit.from_model(bench.model, shape, transform="fourier" if large else "full")
    return {"samples": own, "model": read, "none": None}


def measure(name: str, starts: int, seed: int) -> dict[str, Any]:
    """Best errors of all methods on one problem, and the verdict at each number of evaluations."""
    bench = Bench(name, starts, seed)
    table = {other: bench.errors(other) for other in OTHERS}
    for label, fit in fits(bench, seed).items():
        table[f"target-aware ({label})"] = bench.errors("target-aware", fit=fit)
    own = fits(bench, seed)["samples"]
    for order in (1, 2):
        table[f"target-aware-{order} (samples)"] = bench.errors(f"target-aware-{order}", fit=own)
    best = {method: [min(row.values()) for row in rows] for method, rows in table.items()}
    ratios = []
    for i in range(len(EVALUATIONS)):
        other = min(best[m][i] for m in OTHERS)
        ratios.append(best["target-aware (samples)"][i] / other)
    return {
        "problem": name,
        "starts": starts,
        "reference_off": bench.off,
        "errors": table,
        "best": best,
        "ratios": ratios,
    }


def verdict(found: list[dict[str, Any]]) -> dict[str, bool]:
    """The figures to reach, and whether they are."""
    early = [sum(row["ratios"][i] < 1 for row in found) for i in (0, 1)]
    late = [max(row["ratios"][i] for row in found) for i in (3, 4)]
    return {
        "better at 5 and 8 evaluations on three of four": min(early) >= 3,
        "at most 1.1 times at 20 and 40 evaluations": max(late) <= 1.1,
    }


def law(seed: int) -> dict[str, list[float]]:
    """Exact W2 between the law of the samples and the data's on field, each on its best grid."""
    p = find_problem("field")
    fit = GaussianFit.from_images(p.target.sample(64, seed=seed), "fourier")
    methods: dict[str, dict[str, Any]] = {"ddim-sde": {}, "sde-dpm++2m": {}, "dpm++2m": {}}
    methods |= {"target-aware-sde": {"fit": fit}, "target-aware": {"fit": fit}}
    found: dict[str, list[float]] = {}
    for name, options in methods.items():
        found[name] = []
        for n in EVALUATIONS:
            times = [grid.make(g, p.process, n, t_min=p.t_end) for g in GRIDS]
            plans = [find(name)(p.process, t, **options) for t in times]
            found[name].append(min(exact.error(plan, p.target, p.process) for plan in plans))
    return found


def memory() -> dict[str, float]:
    """MB allocated at most beyond state and fit, and seconds: 40 rows, 3 x 1024 x 1024, float32.

    The network is one multiplication. Figure to reach: 300 MB.
    """

    class Halving:
        process, predicts = EDM(), "data"

        def __call__(self, z: Any, t: Any) -> Any:
            return (z[0] * np.float32(0.5),)

    shape, model = (3, 1024, 1024), Halving()
    tracemalloc.start()
    fit = GaussianFit.from_target(GaussianField.power_law(shape))
    x = np.ones((1, *shape), np.float32)
    tracemalloc.reset_peak()
    before, begin = tracemalloc.get_traced_memory()[0], time.perf_counter()
    plan = find("target-aware")(model.process, grid.karras(model.process, 40), fit=fit)
    built = time.perf_counter()
    solve(plan, model, (x,))
    end = time.perf_counter()
    most = (tracemalloc.get_traced_memory()[1] - before) / 2**20
    return {"MB": most, "build_s": built - begin, "run_s": end - built}


def table(report: dict[str, Any]) -> str:
    """The table of docs/target-aware.md: the best other method, ours with three fits, the ratio."""
    header = "| problem | method |" + "".join(f" {n} |" for n in report["evaluations"])
    lines = [header, "|---|---|" + "---:|" * len(report["evaluations"])]
    for row in report["problems"]:
        best, name = row["best"], row["problem"]
        columns = zip(*([(v, m) for v in best[m]] for m in OTHERS), strict=True)
        cells = [f"{value:.3g} ({method})" for value, method in map(min, columns)]
        lines.append(f"| {name} | best other | " + " | ".join(cells) + " |")
        for fit in ("samples", "model", "none"):
            values = " | ".join(f"{v:.3g}" for v in best[f"target-aware ({fit})"])
            lines.append(f"| | target-aware, fit: {fit} | {values} |")
        ratios = " | ".join(f"{v:.2f}" for v in row["ratios"])
        lines.append(f"| | ratio, fit: samples | {ratios} |")
    for name, errors in report["law"].items():
        values = " | ".join(f"{v:.3g}" for v in errors)
        lines.append(f"| field, law | {name} | {values} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, help="starts of every problem but field")
    parser.add_argument("--table", action="store_true", help="print the page's table and stop")
    parser.add_argument("--memory", action="store_true", help="measure memory only")
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(memory()))
        return
    if given.table:
        print(table(json.loads(RECORD.read_text())))
        return
    found = []
    for name, starts in PROBLEMS.items():
        few = starts if given.starts is None or name == "field" else given.starts
        row = measure(name, few, given.seed)
        found.append(row)
        print(f"{name} ({few} starts, reference off by {row['reference_off']:.1e})")
        print(f"{'evaluations':28s}" + "".join(f"{n:>10d}" for n in EVALUATIONS))
        for method, values in row["best"].items():
            print(f"{method:28s}" + "".join(f"{v:10.3g}" for v in values))
        print(f"{'ratio to the best other':28s}" + "".join(f"{v:10.3g}" for v in row["ratios"]))
    report = {
        "evaluations": EVALUATIONS,
        "grids": GRIDS,
        "seed": given.seed,
        "problems": found,
        "law": law(given.seed),
        "verdict": verdict(found),
    }
    print(report["verdict"])
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
