"""Orders of all methods at once, and what counts as a failure."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sgmsolve.analysis.order import OrderRow, measure_on
from sgmsolve.analysis.order_problems import INTERVALS, PHASE_INTERVALS, TARGETS, problem
from sgmsolve.methods.registry import Method, all_methods, find, methods_for


@dataclass(frozen=True)
class Task:
    """One method in one configuration on one interval; plain strings, for any process to run."""

    method: str
    kind: str
    start: str
    weights: str
    interval: str
    options: tuple[tuple[str, Any], ...] = ()
    statistical: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a set of rows passes, and if not why, one sentence a reason."""

    passed: bool
    reasons: tuple[str, ...]


def measure_all(
    methods: Iterable[str] | None = None,
    *,
    mixture_weak: bool = False,
    intervals: Sequence[str] = INTERVALS,
    jobs: int = 2,
) -> list[OrderRow]:
    """Rows of every registered method (or those named): each claim, start and kind of weights.

    Deterministic claims are measured on both targets and every interval, weak ones on the Gaussian;
    ``mixture_weak`` adds weak orders on the mixture (minutes, see ``order_mixture``). A method is
    measured on those of the ``intervals`` whose process it runs on. ``jobs``
    processes share the work; with more than one a script needs the usual ``if __name__ ==
    "__main__"``.

    Raises: MethodError for an unknown method; errors of a method's builder as they are.
    """
    records = all_methods() if methods is None else [find(name) for name in methods]
    work = [t for record in records for t in tasks(record, intervals, mixture_weak)]
    if jobs <= 1 or len(work) <= 2:
        return [row for task in work for row in run_task(task)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(jobs, os.cpu_count() or 1)) as pool:
        return [row for rows in pool.imap(run_task, work) for row in rows]


def tasks(record: Method, intervals: Sequence[str], mixture_weak: bool = False) -> list[Task]:
    """Everything one record claims; what it claims for other options than its own uses those.

    Variants that claim nothing else (other weights, a matched start that changes no order) are
    measured on the first interval only, of each kind of space. Weak orders on the mixture are
    measured on ``edm-start`` and ``psld-uniform``.
    """
    intervals = [name for name in intervals if runs_on(record, name)]
    first = [next((i for i in intervals if (i in PHASE_INTERVALS) == p), "") for p in (False, True)]
    first = [name for name in first if name]
    found = []
    for start in record.starts:
        for kind in record.claims(start):
            options = _options(record, kind)
            if options is None:
                continue
            for weights in record.weights if "weights" in record.options else record.weights[:1]:
                key = (record.name, kind, start, weights)
                same = record.claims(start) == record.claims() and start != record.starts[0]
                variant = same or weights != record.weights[0]
                where = first if variant else intervals
                found += [Task(*key, interval, options) for interval in where]
                if kind == "weak" and mixture_weak:
                    known = [i for i in ("edm-start", "psld-uniform") if runs_on(record, i)]
                    found += [Task(*key, i, options, statistical=True) for i in known]
    return found


def runs_on(record: Method, interval: str) -> bool:
    """Whether a method runs on an interval's process."""
    return record in methods_for(problem(TARGETS[0], interval).process)


def run_task(task: Task) -> list[OrderRow]:
    """The rows of one task: both targets share the plans of a deterministic method."""
    # A plan of thousands of rows is made of live objects without cycles: scanning them again and
    # again costs a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _run(task)
    finally:
        if collecting:
            gc.enable()


def _run(task: Task) -> list[OrderRow]:
    options = dict(task.options)
    if task.statistical:
        from sgmsolve.analysis.order_mixture import measure_weak

        chosen = {"start": task.start, "weights": task.weights, "interval": task.interval}
        row = measure_weak(task.method, **chosen, **options)
        return [row]
    names = TARGETS if task.kind == "deterministic" else TARGETS[:1]
    problems = [problem(name, task.interval) for name in names]
    return measure_on(
        task.method, problems, kind=task.kind, start=task.start, weights=task.weights, **options
    )


def verdict(rows: Sequence[OrderRow]) -> Verdict:
    """Fail for a ``wrong`` row, or a method and start on the mixture without an ``ok``."""
    reasons = []
    mixture = defaultdict(list)
    for row in rows:
        where = f"{row.method} ({row.kind}, start={row.start}"
        if row.problem == "mixture":
            mixture[where + ")"].append(row.status)
        if row.status == "wrong":
            reasons.append(
                f"{where}, weights={row.weights}) has order {row.measured:.2f} on {row.problem}, "
                f"{row.interval}, but claims {row.claimed:g}."
            )
    for where, statuses in mixture.items():
        if "ok" not in statuses:
            reasons.append(f"{where} has no ok row on the mixture, only {', '.join(statuses)}.")
    return Verdict(not reasons, tuple(reasons))


def _options(record: Method, kind: str) -> tuple[tuple[str, Any], ...] | None:
    """Options that make plans of a kind: the record's own, or eta 0 or 1; None if impossible."""
    if record.stochastic == (kind == "weak"):
        return ()
    if "eta" in record.options:
        return (("eta", 1.0 if kind == "weak" else 0.0),)
    return None
