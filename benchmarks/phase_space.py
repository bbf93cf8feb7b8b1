"""Error against network evaluations in phase space: every scheme, and VP beside it.

    python benchmarks/phase_space.py [--out FILE.json] [--problems ring,...] [--nfe 6,10,...]

Errors are those of the positions at t_end = 1e-3 from exact starts: exact W2 on the Gaussian,
sliced W2 of samples on the ring and the digits (mean over three seeds, with the same number between
two exact sets as the floor), next to it the rms distance of deterministic runs to the exact flow.
lambda and lambda_s are tuned for each problem and budget by ``sgmsolve.analysis.tune``. VP runs
have the same target, t_end = 1e-3 and a log-SNR grid.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sgmsolve.problems import find

from sgmsolve import VP, build_plan
from sgmsolve.analysis.bench import SEEDS, Bench, rms
from sgmsolve.analysis.metrics import sliced_w2
from sgmsolve.analysis.tune import tune
from sgmsolve.analysis.work_precision import _single_threaded_blas
from sgmsolve.errors import SgmsolveError, StabilityWarning

PROBLEMS = {"psld-gaussian": {}, "psld-ring": {"samples": 16_000}, "psld-digits": {"samples": 500}}
BUDGETS = (6, 10, 20, 50, 100, 200)
LAM, NOISE = "lam", "lambda_s"
CHOICES: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("euler-maruyama", {}, ()),
    ("pf-euler", {}, ()),
    ("sscs", {}, ()),
    ("sscs-mid", {}, ()),
    ("conjugate", {}, ()),
    ("lambda-ddim-1", {}, (LAM,)),
    ("lambda-ddim-2", {}, (LAM,)),
    ("gddim", {}, ()),
    ("gddim-2", {}, ()),
    ("gddim-3", {}, ()),
    ("conjugate-sde", {}, ()),
    ("conjugate-sde-2", {}, ()),
    ("nse", {}, ()),
    ("nvv", {}, ()),
    ("rse", {}, ()),
    ("rvv", {}, ()),
    ("noba", {}, ()),
    ("nbao", {}, ()),
    ("nobab", {}, ()),
    ("roba", {}, (NOISE,)),
    ("rbao", {}, (NOISE,)),
    ("robab", {}, (NOISE,)),
    ("cse", {"B": "full"}, (LAM,)),
    ("cvv", {"B": "zero"}, ()),
    ("cvv", {"B": "full"}, (LAM,)),
    ("coba", {"B": "full"}, (LAM, NOISE)),
    ("strang2", {}, ()),
    ("strang2-lagged", {}, ()),
    ("strang2-ode", {}, ()),
    ("strang2-lagged-ode", {}, ()),
)
ON_VP = ("euler-maruyama", "ddim", "dpm++2m", "sde-dpm++2m")
TRIES = {"psld-gaussian": 24, "psld-ring": 10, "psld-digits": 8}


def measure(bench: Bench, method: str, nfe: int, options: dict[str, Any]) -> dict[str, Any]:
    """Error of one method; ``error`` is None where it cannot run or diverges."""
    problem, more = bench.problem, {}
    try:
        plan = build_plan(problem.process, method, nfe=nfe, **problem.grid_arguments, **options)
    except SgmsolveError as reason:
        return {"error": None, "why": str(reason)}
    if problem.exact:
        value, spread = bench.exact_w2(plan), 0.0
    else:
        with np.errstate(all="ignore"):
            ends = [bench.run(plan, bench.starts(problem.samples, s), s) for s in range(SEEDS)]
        if not all(np.isfinite(x).all() and np.abs(x).max() < 1e6 for x in ends):
            return {"error": None, "why": "diverged", "nfe": plan.nfe}
        found = [sliced_w2(x, bench.exact_samples(s)) for s, x in enumerate(ends)]
        if not plan.stochastic:
            reference = bench.reference()[0]
            more["rms"] = rms(ends[0][: len(reference)], reference)
        value, spread = float(np.mean(found)), float(np.std(found, ddof=1))
    good = np.isfinite(value) and value < 1e6
    return {"error": float(value) if good else None, "spread": spread, "nfe": plan.nfe, **more}


def tuned(problem: Any, method: str, nfe: int, options: dict[str, Any], names: Any) -> dict:
    """The options with the best value of ``names``."""
    small = problem.replace(starts=256, samples=400) if not problem.exact else problem
    small = small.replace(starts=96, samples=128) if problem.name == "psld-digits" else small
    try:
        found = tune(
            small,
            method,
            nfe=nfe,
            search=dict.fromkeys(names),
            budget=TRIES[problem.name],
            grid=problem.grid,
            **options,
        )
    except SgmsolveError:
        return options
    return {**options, **{k: v for k, v in found.options.items() if k in names}}


def run(name: str, changes: dict[str, Any], budgets: Any) -> list[dict[str, Any]]:
    """All rows of one problem."""
    problem = find(name).replace(**changes)
    bench, rows = Bench(problem, 0), []
    on_vp = problem.replace(process=VP(), grid="log-snr", grid_options={})
    vp = Bench(on_vp, 0)
    for nfe in budgets:
        for method, options, names in CHOICES:
            began = time.perf_counter()
            chosen = tuned(problem, method, nfe, options, names) if names else options
            row = measure(bench, method, nfe, chosen)
            seconds = round(time.perf_counter() - began, 2)
            key = {"problem": name, "process": "PSLD", "method": method, "budget": nfe}
            rows.append({**key, "options": chosen, "seconds": seconds, **row})
        for method in ON_VP:
            key = {"problem": name, "process": "VP", "method": method, "budget": nfe}
            rows.append({**key, "options": {}, **measure(vp, method, nfe, {})})
        best = [r for r in rows if r["budget"] == nfe and r["error"] is not None]
        best.sort(key=lambda r: r["error"])
        top = ", ".join(f"{r['process']} {r['method']} {r['error']:.3g}" for r in best[:5])
        print(f"{name} {nfe}: {top}", flush=True)
    return rows


def floor(name: str, changes: dict[str, Any]) -> float | None:
    """Sliced W2 between two exact sets; None where W2 is exact."""
    problem = find(name).replace(**changes)
    return None if problem.exact else Bench(problem, 0).floor("sliced-w2")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/phase.json")
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--nfe", default=",".join(map(str, BUDGETS)))
    given = parser.parse_args()
    warnings.simplefilter("ignore", StabilityWarning)
    budgets = [int(x) for x in given.nfe.split(",")]
    names = given.problems.split(",")
    with _single_threaded_blas():
        floors = {name: floor(name, PROBLEMS[name]) for name in names}
        rows = [row for name in names for row in run(name, PROBLEMS[name], budgets)]
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps({"floors": floors, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
