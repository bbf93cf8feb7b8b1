"""``results.json``: the rows of a comparison, and where they come from."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sgmsolve.methods.references import REFERENCES
from sgmsolve.methods.registry import Method, all_methods
from sgmsolve.solving import SolverMethod, find_method, solver_methods

if TYPE_CHECKING:
    from sgmsolve.analysis.work_precision import Choice, Comparison

METRICS = {
    "w2": (
        "Exact Wasserstein distance",
        "2-Wasserstein distance between the law of the method's output and the exact law. Both are "
        "Gaussian here and follow from the method's table: no sampling, no floor. In phase space "
        "it is that of the positions.",
    ),
    "rms": (
        "Endpoint error (rms)",
        "Root mean square distance, per entry, between where a method ends and where a fine "
        "reference (1000 steps, or order 12 in phase space) ends from the same starting points. "
        "Deterministic methods only.",
    ),
    "energy": (
        "Energy distance",
        "Distance between samples and as many exact ones, mean over three seeds; it sees lost or "
        "misplaced mass. Stochastic methods only; on Gaussian problems, only beside solvers that "
        "have no exact law. The dashed line is the mean between two exact sets.",
    ),
    "sliced-w2": (
        "Sliced Wasserstein distance",
        "2-Wasserstein distance between samples and as many exact ones, averaged over random "
        "directions and three seeds; it sees wrong widths. Stochastic methods only; on Gaussian "
        "problems, only beside solvers that have no exact law. The dashed line is the mean between "
        "two exact sets.",
    ),
}
"""Metric -> (title, explanation for people)."""

FORMAT, VERSION = "sgmsolve-compare", 1
PACKAGES = ("sgmsolve", "numpy", "scipy", "scikit-learn")


def results(
    found: Comparison,
    problems: Sequence[Any],
    choices: Sequence[Choice],
    budgets: Sequence[int],
    *,
    seed: int,
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """A JSON-able dictionary: ``meta``, ``metrics``, ``problems``, ``methods`` and ``rows``.

    ``methods`` holds all plans of the registry, and those other solvers that were compared.
    """
    used = {find_method(choice.method).name for choice in choices}
    others = [record for name, record in solver_methods().items() if name in used]
    listed: list[Method | SolverMethod] = [*all_methods(), *others]
    return {
        "format": FORMAT,
        "version": VERSION,
        "meta": {
            "command": command,
            "seed": seed,
            "nfe": list(budgets),
            "started": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "seconds": seconds,
            "machine": machine(),
            "versions": versions(),
        },
        "metrics": {
            name: {"title": title, "text": text} for name, (title, text) in METRICS.items()
        },
        "problems": [problem_record(p) for p in problems],
        "methods": [{**method_record(m), "used": m.name in used} for m in listed],
        "rows": [dataclasses.asdict(row) for row in found.rows],
    }


def method_record(method: Method | SolverMethod) -> dict[str, Any]:
    """Everything the registry knows about a method, or about a solver that is no plan."""
    if isinstance(method, SolverMethod):
        return _solver_record(method)
    paper = REFERENCES.get(method.reference)
    return {
        "name": method.name,
        "family": method.family,
        "summary": method.summary,
        "predicts": method.predicts,
        "stochastic": method.stochastic,
        "evaluations": method.evaluations,
        "orders": method.claims("published"),
        "matched": method.claims("matched") if method.matched else None,
        "options": dict(method.options),
        "processes": list(method.processes),
        "aliases": list(method.aliases),
        "reference": paper.text() if paper else method.reference,
        "equation": method.equation,
        "notes": method.notes,
        "order_notes": method.order_notes,
    }


SOLVES = {
    "ode": "Solves the probability flow.",
    "sde": "Solves the reverse SDE.",
    "either": "Solves the reverse SDE; with eta = 0 the probability flow.",
}


def _solver_record(method: SolverMethod) -> dict[str, Any]:
    """The same keys for a solver, whose evaluations are those of a fixed step, None if it varies.

    Orders depend on the SDE: `sgmsolve order --strong` measures them.
    """
    return {
        "name": method.name,
        "family": method.family,
        "summary": method.summary,
        "predicts": "",
        "stochastic": method.kind != "ode",
        "evaluations": method.cost[1] if method.cost else None,
        "orders": {},
        "matched": None,
        "options": dict(method.options),
        "processes": [],
        "aliases": list(method.aliases),
        "reference": method.reference,
        "equation": "",
        "notes": SOLVES[method.kind],
        "order_notes": "",
    }


def problem_record(problem: Any) -> dict[str, Any]:
    """What is known about a problem without reading its data."""
    if hasattr(problem, "process"):
        exact = problem.exact
        interval = {
            "Process": repr(problem.process),
            "Interval": f"t = {problem.process.t_max:g} to {problem.t_end:g}",
            "Grid": problem.grid,
        }
    else:  # a general SDE
        exact = problem.exact_path is not None
        interval = {"Interval": f"t = {problem.t_start:g} to {problem.t_end:g}"}
    return {
        "name": problem.name,
        "title": problem.title,
        "shows": problem.shows,
        "shape": list(problem.shape),
        "exact": exact,
        "facts": {**problem.facts, **interval},
    }


def machine() -> dict[str, str]:
    """The machine in words."""
    return {
        "cores": str(os.cpu_count()),
        "system": platform.system(),
        "platform": platform.platform(),
        "processor": _processor(),
    }


def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
