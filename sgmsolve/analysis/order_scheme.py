"""Order, cost and stability of a splitting scheme that nobody has made a claim about.

    found = measure_scheme("O s B/2 A s@end B/2")
    found.order, found.evaluations, found.stability

A scheme is written in the language of ``splitting``. It is measured on the order problems of phase
space: schemes without noise on both targets, root mean square over trajectories; schemes with noise
on the Gaussian, where the error is that of exact means and covariances (weak order).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sgmsolve.analysis.order import (
    FIRST,
    STOP,
    TOLERANCE,
    Build,
    plan_error,
    quietly,
    slopes_of,
)
from sgmsolve.analysis.order_problems import PHASE_INTERVALS, TARGETS, OrderProblem
from sgmsolve.analysis.order_problems import problem as order_problem
from sgmsolve.errors import MethodError, SolveError
from sgmsolve.methods.registry import find
from sgmsolve.methods.splitting import evaluations
from sgmsolve.methods.stability import stability_limit, unchecked
from sgmsolve.plan import Plan

FREE = ("scheme", "denoise")
"""Options of ``splitting`` that are not for measurements: one is given, the other has no order."""


@dataclass(frozen=True)
class SchemeRow:
    """Errors on one problem; ``measured`` is the median of the last three slopes.

    ``order`` is the integer that all of the last three slopes are within 0.15 of, None if there is
    none: then finer steps or another interval have to tell.
    """

    problem: str
    interval: str
    grid: str
    steps: tuple[int, ...]
    nfe: tuple[int, ...]
    errors: tuple[float, ...]
    slopes: tuple[float, ...]
    measured: float
    order: int | None


@dataclass(frozen=True)
class SchemeOrder:
    """All that was measured of a scheme.

    Attributes:
        scheme, options: what was measured.
        kind: ``"weak"`` if it draws noise, else ``"deterministic"``.
        evaluations: network evaluations a step, those of a first step that differs aside.
        stability: longest step from t_max that does not amplify near the prior (``stability``);
            0 if every step does, 0.999 t_max if none does.
        rows: one a problem and interval.
    """

    scheme: str
    options: dict[str, Any]
    kind: str
    evaluations: int
    stability: float
    rows: tuple[SchemeRow, ...]

    @property
    def order(self) -> int | None:
        """The smallest order of the rows that have one; None if none has."""
        return min((row.order for row in self.rows if row.order is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record."""
        return {**asdict(self), "order": self.order}


def measure_scheme(
    scheme: str, /, *, intervals: Sequence[str] = PHASE_INTERVALS, **options: Any
) -> SchemeOrder:
    """Measure a scheme; ``options`` are those of ``splitting`` (eta, flow, lam, lambda_s, ...).

    Raises: MethodError for a scheme that cannot be read and options that do not fit; AnalysisError
    for an unknown interval; PlanError
    for options so large that coefficients overflow.
    """
    taken = sorted(set(FREE) & set(options))
    if taken:
        msg = (
            f"{taken[0]} = {options[taken[0]]!r} was given as an option, but a measurement takes "
            f"the scheme by itself and never a denoising row; leave it out."
        )
        raise MethodError(msg)
    record = find("splitting")

    def build(process: Any, grid: Any) -> Plan:
        with np.errstate(all="ignore"):  # a plan with entries that are not finite is refused
            return record(process, grid, scheme=scheme, **options)

    names = list(intervals)
    first = order_problem(TARGETS[0], names[0])
    kind = "weak" if quietly(build, first, FIRST).stochastic else "deterministic"
    targets = TARGETS[:1] if kind == "weak" else TARGETS
    rows = [
        row
        for interval in names
        for row in _rows(build, [order_problem(t, interval) for t in targets], kind)
    ]
    limit = _stability(build, first.process)
    return SchemeOrder(scheme, options, kind, evaluations(scheme), limit, tuple(rows))


def _rows(build: Build, problems: Sequence[OrderProblem], kind: str) -> list[SchemeRow]:
    """Rows of problems that share process and grid, so that plans are built once."""
    found: list[list[float]] = [[] for _ in problems]
    steps, nfe = [], []
    count = FIRST
    while count <= problems[0].last and any(not e or not e[-1] <= STOP for e in found):
        plan = quietly(build, problems[0], count)
        steps.append(count)
        nfe.append(plan.nfe)
        for errors, problem in zip(found, problems, strict=True):
            errors.append(_error(plan, problem, kind))
        count *= 2
    return [_row(p, steps, nfe, e) for p, e in zip(problems, found, strict=True)]


def _error(plan: Plan, problem: OrderProblem, kind: str) -> float:
    """The error, infinite for a run that diverged."""
    with np.errstate(all="ignore"):
        try:
            error = plan_error(plan, problem, kind)
        except SolveError:
            error = np.inf
    return error if np.isfinite(error) else np.inf


def _row(
    problem: OrderProblem, steps: Sequence[int], nfe: Sequence[int], errors: Sequence[float]
) -> SchemeRow:
    # Slopes begin after the last run that diverged.
    first = next((i for i in range(len(errors), 0, -1) if not np.isfinite(errors[i - 1])), 0)
    slopes = slopes_of(steps[first:], errors[first:])
    last = np.array(slopes[-3:])
    measured = float(np.median(last)) if len(last) else float("nan")
    nearest = round(measured) if len(last) else 0
    settled = len(last) == 3 and bool(np.all(np.abs(last - nearest) <= TOLERANCE)) and nearest > 0
    order = nearest if settled else None
    table = (tuple(steps), tuple(nfe), tuple(errors))
    return SchemeRow(problem.name, problem.interval, problem.grid, *table, slopes, measured, order)


def _stability(build: Build, process: Any) -> float:
    """The limit from t_max. A step that overflows is an unstable one."""
    with unchecked(), np.errstate(all="ignore"):
        return stability_limit(process, lambda times: build(process, times), process.t_max)
