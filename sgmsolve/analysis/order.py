"""Measured orders of convergence, next to the orders that methods claim.

From one initial law to one fixed t_end > 0, no denoising row. The number of steps N doubles from 16
until the error is under 1e-11 or N = 4096 (1024 in phase space); slopes are log2(error(N) /
error(2N)); the measured order is the median of the last three.

* deterministic: root-mean-square endpoint error over nine common starting points, against the exact
  flow (Gaussian, m = 1) or an order-12 reference solution;
* weak: root mean square over modes of the errors in mean and covariance, by exact propagation
  (Gaussian); for the mixture see ``order_mixture``.

Every row has a status, with c the claim:

* ``ok``: the measured order is within 0.15 of c;
* ``preasymptotic``: it is not, but the last three slopes move towards c at every doubling and the
  last is within 0.5 of it: a larger N would tell;
* ``superconvergent``: otherwise and above c, an error already under 1e-11 at N = 16 (measured: inf)
  included;
* ``wrong``: otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgmsolve.analysis.exact import output_moments, reference_law
from sgmsolve.analysis.order_problems import LAST, OrderProblem
from sgmsolve.analysis.reference import run_points
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import Method, find
from sgmsolve.methods.stability import unchecked
from sgmsolve.plan import Plan

FIRST = 16
STOP = 1e-11
FLOOR = 1e-13
"""Errors below this are rounding: they make no slope."""

TOLERANCE = 0.15
KINDS = ("deterministic", "weak")
Build = Callable[[Any, Any], Plan]


@dataclass(frozen=True)
class OrderRow:
    """One measurement; ``steps``, ``errors`` and ``slopes`` hold all of it.

    ``half_width`` is that of the 95 % interval of ``measured`` where that is statistical, else 0.
    """

    method: str
    problem: str
    interval: str
    grid: str
    kind: str
    start: str
    weights: str
    claimed: float
    measured: float
    status: str
    slopes: tuple[float, ...]
    errors: tuple[float, ...]
    steps: tuple[int, ...]
    half_width: float = 0.0

    @property
    def spread(self) -> float:
        """``half_width`` where there is one, else half the range of the last three slopes.

        The second says how far the slopes have settled: nothing is sampled there.
        """
        last = self.slopes[-3:]
        return self.half_width or (max(last) - min(last)) / 2 if last else self.half_width

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; an infinite order becomes null."""
        record = {**asdict(self), "spread": self.spread}
        if not np.isfinite(self.measured):
            record["measured"] = None
        return record


def slopes_of(steps: Sequence[int], errors: Sequence[float]) -> tuple[float, ...]:
    """log2 of the error's ratio for every pair of neighbours above the rounding floor."""
    pairs = zip(steps, steps[1:], errors, errors[1:], strict=False)
    return tuple(
        float(np.log(a / b) / np.log(m / n)) for n, m, a, b in pairs if a > FLOOR and b > FLOOR
    )


def classify(slopes: Sequence[float], claimed: float) -> tuple[float, str]:
    """(measured order, status) as the module's docstring defines them."""
    if not slopes:
        return float("inf"), "superconvergent"
    last = np.asarray(slopes[-3:])
    measured = float(np.median(last))
    if abs(measured - claimed) <= TOLERANCE:
        return measured, "ok"
    distance = np.abs(last - claimed)
    if len(last) == 3 and np.all(np.diff(distance) < 0) and distance[-1] <= 0.5:
        return measured, "preasymptotic"
    return measured, "superconvergent" if measured > claimed else "wrong"


def measure_builder(
    build: Build,
    claimed: float,
    *,
    kind: str = "deterministic",
    problem: OrderProblem,
    name: str = "custom",
    start: str = "published",
    weights: str = "exact",
) -> OrderRow:
    """Measure a method that is any function ``build(process, grid) -> Plan``.

    Raises: AnalysisError for an unknown kind, or a kind that this plan and problem do not have.
    """
    rows = _measure(build, kind, [problem])
    return _row(name, start, weights, kind, claimed, problem, rows[0])


def measure(
    method: str | Method,
    problem: OrderProblem,
    *,
    kind: str | None = None,
    start: str = "published",
    weights: str | None = None,
    **options: Any,
) -> OrderRow:
    """Measure a registered method against its claim; ``kind`` defaults to what its options make it.

    The claim is that of a plan with these options. Raises: AnalysisError if it claims no such
    order, or what ``measure_builder`` raises.
    """
    return measure_on(method, [problem], kind=kind, start=start, weights=weights, **options)[0]


def measure_on(
    method: str | Method,
    problems: Sequence[OrderProblem],
    *,
    kind: str | None = None,
    start: str = "published",
    weights: str | None = None,
    **options: Any,
) -> list[OrderRow]:
    """``measure`` on several problems that share process and grid, so that plans are built once."""
    record = find(method) if isinstance(method, str) else method
    weights = weights or record.weights[0]
    if "start" in record.options:
        options["start"] = start
    if "weights" in record.options:
        options["weights"] = weights

    def build(process: Any, grid: Any) -> Plan:
        return record(process, grid, **options)

    plan = quietly(build, problems[0], FIRST)
    kind = kind or ("weak" if plan.stochastic else "deterministic")
    claims = record.claims_of(plan, {**record.options, **options}, LAST)
    if kind not in claims:
        msg = (
            f"method {record.name!r} claims no {kind} order with start={start!r} and these options "
            f"(it claims {claims or 'none'}); use measure_builder with the order you expect."
        )
        raise AnalysisError(msg)
    measured = _measure(build, kind, problems)
    return [
        _row(record.name, start, weights, kind, claims[kind], p, m)
        for p, m in zip(problems, measured, strict=True)
    ]


def _measure(
    build: Build, kind: str, problems: Sequence[OrderProblem]
) -> list[tuple[list[int], list[float]]]:
    """Steps and errors on each problem."""
    if kind not in KINDS:
        msg = f"unknown kind of order {kind!r}; known: {', '.join(KINDS)}."
        raise AnalysisError(msg)
    found: list[tuple[list[int], list[float]]] = [([], []) for _ in problems]
    steps = FIRST
    while steps <= min(LAST, problems[0].last):
        open_ = [i for i, (_, e) in enumerate(found) if not e or e[-1] > STOP]
        if not open_:
            break
        plan = quietly(build, problems[0], steps)
        for i in open_:
            found[i][0].append(steps)
            found[i][1].append(plan_error(plan, problems[i], kind))
        steps *= 2
    return found


def quietly(build: Build, problem: OrderProblem, steps: int) -> Plan:
    """A problem's plan without warnings of unstable steps: orders are taken from fine grids."""
    with unchecked():
        return build(problem.process, problem.times(steps))


def plan_error(plan: Plan, problem: OrderProblem, kind: str) -> float:
    """The error of one plan on one problem; see the module's docstring.

    Raises: AnalysisError for a deterministic order of a plan with noise, or a weak one without
    moments.
    """
    if kind == "deterministic":
        if plan.stochastic:
            msg = (
                f"plan {plan.name!r} draws noise, so it has no deterministic order; ask for "
                f"kind='weak'."
            )
            raise AnalysisError(msg)
        difference = (
            run_points(plan, problem.target, problem.process, problem.starts) - problem.ends
        )
        return float(np.sqrt(np.mean(difference**2)))
    if not problem.gaussian:
        msg = (
            f"problem {problem.name!r} has no moments in closed form, so no weak order by "
            f"propagation; use a Gaussian target, or order_mixture.measure_weak_builder."
        )
        raise AnalysisError(msg)
    law, exact = output_moments(plan, problem.target, problem.process), problem.end_law
    if not plan.plain:  # its modes may be others
        exact = reference_law(plan, problem.target, problem.process)
    mean, variance = law.mean - exact.mean, law.covariance - exact.covariance
    return float(np.sqrt((np.sum(mean**2) + np.sum(variance**2)) / law.mean.size))


def _row(
    name: str,
    start: str,
    weights: str,
    kind: str,
    claimed: float,
    problem: OrderProblem,
    found: tuple[list[int], list[float]],
) -> OrderRow:
    steps, errors = found
    slopes = slopes_of(steps, errors)
    measured, status = classify(slopes, claimed)
    where = (problem.name, problem.interval, problem.grid)
    key = (name, *where, kind, start, weights, float(claimed), measured, status)
    return OrderRow(*key, slopes, tuple(errors), tuple(steps))
