"""Work-precision: run methods on problems at several budgets and measure how far off they end.

Two kinds of error, never mixed in one ranking:

* deterministic methods: ``rms``, the root mean square over samples and entries of the distance to
  a fine reference from common starts, at the problem's ``t_end``;
* stochastic methods: ``w2``, the exact 2-Wasserstein distance, on Gaussian targets (deterministic
  ones get it as well, it costs nothing); elsewhere ``energy`` and ``sliced-w2`` of samples over
  three seeds, next to the same number between two sets of exact samples (the floor).

Solvers that are no plans have no exact law: where a stochastic one is compared, all stochastic
methods are measured by samples on Gaussian targets too. A solver that chooses its own steps is run
once, without a budget.

All runs start from exact samples (or the exact law) of x(t_max), of z(t_max) with all components in
phase space, where every error is that of the positions: what is measured is the solver.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve.analysis.bench import SAMPLE_METRICS, SEEDS, Bench, rms
from sgmsolve.analysis.trials import PlanTrial, Trial, budgets_of, kind_of, prepare_trial
from sgmsolve.errors import SgmsolveError
from sgmsolve.methods.registry import Method
from sgmsolve.solving import find_method


@dataclass(frozen=True)
class Choice:
    """A method with options, and the label it goes by in tables."""

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name, options in brackets."""
        inside = ", ".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.method} ({inside})" if inside else self.method

    def budgets(self, given: Sequence[int]) -> list[int | None]:
        """Those it can spend; [None] for one run of a solver that chooses its own steps."""
        return budgets_of(self.method, self.options, given)


@dataclass(frozen=True)
class Row:
    """One measurement, or one failure (``status`` "failed", ``message`` says why).

    ``budget`` is the number of evaluations asked for, None for solvers that choose their own steps;
    ``nfe`` the true number, the mean over samples where they differ, and then ``nfe_max`` the
    largest; ``steps`` likewise a mean, None where a library does not count them; ``seconds`` the
    time of the run (all seeds; with jax's compilation) or of the exact analysis; ``spread`` the
    standard deviation over seeds; ``floor`` the metric's mean between two sets of exact samples,
    for ``rms`` the reference's own error; ``floor_spread`` the standard deviation of that number
    for as many seeds.
    """

    problem: str
    method: str
    kind: str
    budget: int | None
    nfe: float
    steps: int | None
    metric: str
    error: float | None
    seconds: float
    spread: float | None = None
    floor: float | None = None
    floor_spread: float | None = None
    status: str = "ok"
    message: str = ""
    nfe_max: int | None = None


@dataclass
class Comparison:
    """Rows, and samples to look at.

    ``samples[problem][label, budget]``; label "" holds exact samples, "reference" the reference's.
    """

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, dict[tuple[str, int | None], np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One number: metric, value, seconds, spread over seeds, floor and its spread."""

    metric: str
    value: float
    seconds: float
    spread: float | None = None
    floor: float | None = None
    floor_spread: float | None = None


def compare(
    problems: Sequence[Any],
    choices: Sequence[Choice],
    budgets: Sequence[int],
    *,
    seed: int = 0,
    on_run: Callable[[str, str, int | None], None] | None = None,
) -> Comparison:
    """Measure every method on every problem at every budget of network evaluations.

    Args:
        problems: of ``sgmsolve.problems``, or anything with the same fields.
        choices: methods with their options.
        budgets: evaluations; the largest step count whose true evaluations fit is used. Solvers
            that choose their own steps are run once.
        seed: fixes starts, noise and exact samples.
        on_run: called with (problem, label, budget) before each run, for progress bars.

    A method that cannot run on a problem or with a budget gives a row with status "failed" and the
    sentence why; other errors than the library's own are raised.
    """
    found, sampled = Comparison(), _sampled(choices)
    with _single_threaded_blas():
        for problem in problems:
            bench = Bench(problem, seed)
            shots = found.samples.setdefault(problem.name, {})
            shown = min(problem.view.count, problem.starts)
            shots["", 0] = bench.exact_samples(0)[:shown]
            for choice in choices:
                for budget in choice.budgets(budgets):
                    if on_run is not None:
                        on_run(problem.name, choice.label, budget)
                    rows, samples = _attempt(bench, choice, budget, sampled)
                    found.rows += rows
                    if samples is not None:
                        shots[choice.label, budget] = samples[:shown]
            if bench.made("reference"):
                shots["reference", 0] = bench.reference()[0][:shown]
    return found


def _sampled(choices: Sequence[Choice]) -> bool:
    """Whether Gaussian targets are measured by samples too: for solvers that have no exact law."""
    return any(
        not isinstance(find_method(c.method), Method)
        and kind_of(c.method, c.options) == "stochastic"
        for c in choices
    )


def _attempt(
    bench: Bench, choice: Choice, budget: int | None, sampled: bool
) -> tuple[list[Row], np.ndarray | None]:
    """Rows and samples of one method at one budget; a failure is a row too."""
    name, label = bench.problem.name, choice.label
    kind = kind_of(choice.method, choice.options)
    try:
        trial = prepare_trial(bench.problem, bench.model, choice.method, choice.options, budget)
        kind = "stochastic" if trial.stochastic else "deterministic"
        with np.errstate(over="ignore", invalid="ignore"):
            samples = _run(bench, trial, sampled)
            measured = list(_measure(bench, trial, samples, sampled))
    except SgmsolveError as error:
        nothing = (label, kind, budget, 0, 0, "", None, 0.0)
        return [Row(name, *nothing, status="failed", message=str(error))], None
    rows, counts = [], trial.counts()
    for m in measured:
        numbers: dict[str, Any] = {"seconds": m.seconds, "floor": m.floor}
        key: dict[str, Any] = {"problem": name, "method": label, "kind": kind, "budget": budget}
        if math.isfinite(m.value):
            numbers |= {"error": m.value, "spread": m.spread, "floor_spread": m.floor_spread}
        else:
            message = "the result is not finite: the method diverged on this grid."
            numbers |= {"error": None, "status": "failed", "message": message}
        rows.append(Row(**key, **counts, metric=m.metric, **numbers))
    return rows, samples.sets[0]


@dataclass(frozen=True)
class _Run:
    """End points, one set a seed, and the time they took."""

    sets: list[np.ndarray]
    seconds: float


def _run(bench: Bench, trial: Trial, sampled: bool) -> _Run:
    """The samples that this trial's errors (or pictures) need on this problem."""
    problem = bench.problem
    if not trial.stochastic:
        count, seeds = problem.starts, 1
    elif problem.exact:
        count, seeds = problem.view.count, SEEDS if sampled else 1
    else:
        count, seeds = problem.samples, SEEDS
    starts = [bench.starts(count, s) for s in range(seeds)]
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count() if trial.parallel else 1) as pool:
        sets = list(pool.map(trial.run, [bench] * seeds, starts, range(seeds)))
    return _Run(sets, time.perf_counter() - began)


def _measure(bench: Bench, trial: Trial, run: _Run, sampled: bool) -> Iterator[Measurement]:
    """All metrics that fit this trial on this problem."""
    problem = bench.problem
    if problem.exact and isinstance(trial, PlanTrial):
        began = time.perf_counter()
        value = bench.exact_w2(trial.plan)
        yield Measurement("w2", value, time.perf_counter() - began)
    if not trial.stochastic:
        ends, accuracy = bench.reference()
        yield Measurement("rms", rms(run.sets[0], ends), run.seconds, floor=accuracy)
    elif sampled or not problem.exact:
        for metric, distance in SAMPLE_METRICS.items():
            values = [
                distance(x, bench.exact_samples(s)) if np.isfinite(x).all() else math.nan
                for s, x in enumerate(run.sets)
            ]
            mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
            yield Measurement(metric, mean, run.seconds, spread, *bench.floor(metric))


def _single_threaded_blas() -> Any:
    """Products are small and many: threads are spent on whole runs, not inside one product."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(limits=1, user_api="blas")
