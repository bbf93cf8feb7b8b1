"""Work-precision: run methods on problems at several budgets and measure how far off they end.

Two kinds of error, never mixed in one ranking:

* deterministic methods: ``rms``, the root mean square over samples and entries of the distance to a
  1000-step reference from common starts, at the problem's ``t_end``;
* stochastic methods: ``w2``, the exact 2-Wasserstein distance, on Gaussian targets (deterministic ones
  get it as well, it costs nothing); elsewhere ``energy`` and ``sliced-w2`` of samples over three seeds,
  next to the same number between two sets of exact samples (the floor).

All runs start from exact samples (or the exact law) of x(t_max): what is measured is the solver alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve.analysis import exact
from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.backends import solve
from sgmsolve.errors import SgmsolveError
from sgmsolve.methods.registry import find
from sgmsolve.plan import Plan

REFERENCE_STEPS = 1000
REFERENCE_METHOD = "dpm++3m"
SEEDS = 3
SAMPLE_METRICS: dict[str, Callable[..., float]] = {
    "energy": energy_distance,
    "sliced-w2": sliced_w2,
}
METRICS = {
    "rms": (
        "Endpoint error (rms)",
        "Root mean square distance, per entry, between where a method ends and where a 1000-step "
        "reference ends from the same starting points. Deterministic methods only.",
    ),
    "w2": (
        "Exact Wasserstein distance",
        "2-Wasserstein distance between the law of the method's output and the exact law. Both are "
        "Gaussian here and known from the method's table: no sampling, no floor.",
    ),
    "energy": (
        "Energy distance",
        "Distance between 2000 samples and 2000 exact ones; it sees lost or misplaced mass. The "
        "dashed line is the value between two exact sets: nothing below it can be told apart.",
    ),
    "sliced-w2": (
        "Sliced Wasserstein distance",
        "2-Wasserstein distance between 2000 samples and 2000 exact ones, averaged over random "
        "directions; it sees wrong widths. The dashed line is the value between two exact sets.",
    ),
}
"""Metric -> (title, explanation for people)."""


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


@dataclass(frozen=True)
class Row:
    """One measurement, or one failure (``status`` "failed", ``message`` says why).

    ``budget`` is the number of evaluations asked for, ``nfe`` the true number; ``seconds`` the time to
    build the plan, run and measure; ``spread`` the standard deviation over seeds; ``floor`` the
    metric's value between two sets of exact samples, for ``rms`` the reference's own error.
    """

    problem: str
    method: str
    kind: str
    budget: int
    nfe: int
    steps: int
    metric: str
    error: float | None
    seconds: float
    spread: float | None = None
    floor: float | None = None
    status: str = "ok"
    message: str = ""


@dataclass
class Comparison:
    """Rows, and samples to look at: ``samples[problem][label, budget]``, label "" for exact ones."""

    rows: list[Row] = field(default_factory=list)
    samples: dict[str, dict[tuple[str, int], np.ndarray]] = field(default_factory=dict)


@dataclass
class _Bench:
    """One problem with what its runs share: starts, reference, exact samples, floors."""

    problem: Any
    seed: int

    def __post_init__(self) -> None:
        self.model = self.problem.target.model(self.problem.process)
        self.t_max = float(self.problem.process.t_max)
        self.last: np.ndarray | None = None
        self._shared: dict[str, Any] = {}

    def made(self, key: str) -> bool:
        """Whether something shared was needed at all."""
        return key in self._shared

    def once(self, key: str, make: Callable[[], Any]) -> Any:
        """The value made by ``make``, made once."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def starts(self, n: int, seed: int) -> np.ndarray:
        """n exact samples of x(t_max); the first ones are the same whatever n."""
        most = max(self.problem.samples, self.problem.starts)
        made = self.once(
            f"starts {seed}", lambda: self.problem.marginal(most, self.t_max, self.seed + seed)
        )
        return np.asarray(made[:n])

    def exact_samples(self, seed: int) -> np.ndarray:
        """Exact samples of x(t_end), independent of the starts."""
        return np.asarray(
            self.once(
                f"exact {seed}",
                lambda: self.problem.marginal(
                    self.problem.samples, self.problem.t_end, self.seed + 1000 + seed
                ),
            )
        )

    def run(self, plan: Plan, z: np.ndarray, seed: int) -> np.ndarray:
        """The plan's result from the states z."""
        solution = solve(plan, self.model, (z,), seed=self.seed + seed, on_nonfinite="ignore")
        return np.asarray(solution.x)

    def reference(self) -> tuple[np.ndarray, float]:
        """End points of the 1000-step reference, and how far 500 steps end from them (rms)."""

        def make() -> tuple[np.ndarray, float]:
            z = self.starts(self.problem.starts, 0)
            ends = [
                self.run(
                    find(REFERENCE_METHOD)(
                        self.problem.process, self.problem.times(n), start="matched"
                    ),
                    z,
                    0,
                )
                for n in (REFERENCE_STEPS, REFERENCE_STEPS // 2)
            ]
            return ends[0], rms(ends[0], ends[1])

        found: tuple[np.ndarray, float] = self.once("reference", make)
        return found

    def floor(self, metric: str) -> float:
        """The metric between two sets of exact samples, mean over the seeds."""

        def make() -> float:
            values = [
                SAMPLE_METRICS[metric](self.exact_samples(SEEDS + s), self.exact_samples(s))
                for s in range(SEEDS)
            ]
            return float(np.mean(values))

        return float(self.once(f"floor {metric}", make))


def rms(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference over all samples and entries."""
    return float(np.sqrt(np.mean(np.square(a - b))))


def compare(
    problems: Sequence[Any],
    choices: Sequence[Choice],
    budgets: Sequence[int],
    *,
    seed: int = 0,
    on_row: Callable[[str, str, int, list[Row]], None] | None = None,
) -> Comparison:
    """Measure every method on every problem at every budget of network evaluations.

    Args:
        problems: of ``sgmsolve.problems``, or anything with the same fields.
        choices: methods with their options.
        budgets: evaluations; the largest step count whose true evaluations fit is used.
        seed: fixes starts, noise and exact samples.
        on_row: called with (problem, label, budget, rows) after each run, for progress bars.

    A method that cannot run on a problem or with a budget gives a row with status "failed" and the
    sentence why; other errors than the library's own are raised.
    """
    found = Comparison()
    for problem in problems:
        bench = _Bench(problem, seed)
        shots = found.samples.setdefault(problem.name, {})
        shots["", 0] = bench.exact_samples(0)[: problem.view.count]
        for choice in choices:
            for budget in budgets:
                rows, samples = _attempt(bench, choice, budget)
                found.rows += rows
                if samples is not None:
                    shots[choice.label, budget] = samples[: problem.view.count]
                if on_row is not None:
                    on_row(problem.name, choice.label, budget, rows)
        if bench.made("reference"):
            shots["reference", 0] = bench.reference()[0][: problem.view.count]
    return found


def _attempt(bench: _Bench, choice: Choice, budget: int) -> tuple[list[Row], np.ndarray | None]:
    """Rows and samples of one method at one budget; a failure is a row too."""
    method = find(choice.method)
    kind = "stochastic" if method.stochastic else "deterministic"
    try:
        plan, steps = fit(bench.problem, choice, budget)
        kind = "stochastic" if plan.stochastic else "deterministic"
        with np.errstate(over="ignore", invalid="ignore"):
            measured = list(_measure(bench, plan))
            samples = bench.last
    except SgmsolveError as error:
        row = Row(
            bench.problem.name, choice.label, kind, budget, 0, 0, "", None, 0.0,
            status="failed", message=str(error),
        )  # fmt: skip
        return [row], None
    rows = []
    for metric, value, seconds, spread, floor in measured:
        fine = math.isfinite(value)
        rows.append(
            Row(
                problem=bench.problem.name,
                method=choice.label,
                kind=kind,
                budget=budget,
                nfe=plan.nfe,
                steps=steps,
                metric=metric,
                error=value if fine else None,
                seconds=seconds,
                spread=spread if fine else None,
                floor=floor,
                status="ok" if fine else "failed",
                message="" if fine else "the result is not finite: the method diverged on this grid.",
            )
        )
    return rows, samples


def fit(problem: Any, choice: Choice, budget: int) -> tuple[Plan, int]:
    """The plan with the most steps on the problem's grid whose evaluations fit, and its steps."""
    method = find(choice.method)
    made: dict[int, Plan] = {}

    def fits(steps: int) -> bool:
        made[steps] = method(problem.process, problem.times(steps), **choice.options)
        return made[steps].nfe <= budget

    steps = max(1, budget // method.evaluations)
    while steps > 1 and not fits(steps):
        steps -= 1
    if not fits(steps):
        msg = (
            f"{choice.label} needs {made[steps].nfe} evaluations for a single step, but the budget is "
            f"{budget}; give it more."
        )
        raise SgmsolveError(msg)
    while steps < budget and fits(steps + 1):
        steps += 1
    return made[steps], steps


Measured = tuple[str, float, float, float | None, float | None]
"""(metric, value, seconds, spread, floor)."""


def _measure(bench: _Bench, plan: Plan) -> Iterator[Measured]:
    """All metrics that fit this plan on this problem; leaves samples to look at in ``bench.last``."""
    problem = bench.problem
    bench.last = None
    if problem.exact:
        began = time.perf_counter()
        value = exact.error(plan, problem.target, problem.process, "w2")
        yield "w2", value, time.perf_counter() - began, None, None
    if not plan.stochastic:
        ends, accuracy = bench.reference()
        began = time.perf_counter()
        bench.last = bench.run(plan, bench.starts(problem.starts, 0), 0)
        yield "rms", rms(bench.last, ends), time.perf_counter() - began, None, accuracy
        return
    if problem.exact:
        bench.last = bench.run(plan, bench.starts(problem.view.count, 0), 0)
        return
    began = time.perf_counter()
    sets = [bench.run(plan, bench.starts(problem.samples, s), s) for s in range(SEEDS)]
    bench.last = sets[0]
    seconds = time.perf_counter() - began
    for metric, distance in SAMPLE_METRICS.items():
        values = [
            distance(x, bench.exact_samples(s)) if np.isfinite(x).all() else math.nan
            for s, x in enumerate(sets)
        ]
        yield (
            metric,
            float(np.mean(values)),
            seconds,
            float(np.std(values, ddof=1)),
            bench.floor(metric),
        )
