"""Tune a method's real options and its grid for one budget, and say whether that holds elsewhere.

The search sees the *train* error only. The *held-out* error is of the same kind on other starts,
seeds or Gaussians; the *transfer* error, of what was tuned on a Gaussian, is measured on a law that
is none. ``Tuned.warnings`` says in sentences where a gain is lost.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sgmsolve.analysis.tune_objective import Objective, StrongError, objective_of
from sgmsolve.analysis.tune_plans import Candidate, Plans
from sgmsolve.analysis.tune_problems import ModelProblem as ModelProblem
from sgmsolve.analysis.tune_problems import twin
from sgmsolve.analysis.tune_report import Scores, at_bounds, cautions
from sgmsolve.analysis.tune_search import Search, scipy_optimize
from sgmsolve.analysis.tune_space import Parameter
from sgmsolve.errors import AnalysisError, SgmsolveError, StabilityWarning
from sgmsolve.methods.registry import Method, find
from sgmsolve.methods.stability import unchecked
from sgmsolve.plan import Plan


@dataclass(frozen=True)
class Tuned:
    """The result of ``tune``.

    Attributes:
        plan, default_plan: the tuned plan, and the one it started from.
        options: the searched options of the method with their tuned values.
        grid, grid_options: the named grid and its options; "free" and the times for a free grid.
        times: the grid, decreasing forward times (N + 1,).
        objective: name of the error.
        train_on, held_out_on, transfer_on: what each error is measured on; the last is None for
            what was not tuned on a Gaussian, or where no other law could be measured.
        scores, default_scores: train, held-out and transfer errors of both plans.
        evaluations: how many plans the search measured.
        history: for each improvement (evaluation, train error, values found).
        warnings: sentences; empty if the figures give no reason for one.
    """

    plan: Plan
    default_plan: Plan
    options: dict[str, float]
    grid: str
    grid_options: dict[str, Any]
    times: np.ndarray
    objective: str
    train_on: str
    held_out_on: str
    transfer_on: str | None
    scores: Scores
    default_scores: Scores
    evaluations: int
    history: tuple[tuple[int, float, dict[str, Any]], ...]
    warnings: tuple[str, ...] = ()


def tune(
    problem: Any,
    method: str | Method,
    *,
    nfe: int,
    objective: str = "auto",
    search: Mapping[str, tuple[float, float] | None] | None = None,
    grid: str | None = None,
    grid_options: Mapping[str, Any] | None = None,
    free_grid: bool = False,
    budget: int | None = None,
    seed: int = 0,
    on_call: Callable[[], None] | None = None,
    **options: Any,
) -> Tuned:
    """Minimise a method's error at a budget of network evaluations.

    Args:
        problem: of ``sgmsolve.problems``, or a :class:`ModelProblem` for a network.
        method: name or record.
        nfe: network evaluations the plan may take.
        objective: ``"gaussian"`` (exact W2 of the output's law; a problem that is not Gaussian is
            replaced by the Gaussian with its moments), ``"strong"`` (rms distance to fine
            trajectories, deterministic methods), ``"energy"`` or ``"sliced-w2"`` (of samples, with
            the same noise for every candidate); ``"auto"``: gaussian for Gaussian problems, else
            strong for deterministic methods, else sliced-w2.
        search: what to search, name -> (low, high), None for the usual range. Left out: all real
            options of the method that do not make a deterministic one draw noise, and the grid's
            shape (``power`` or ``rho``).
        grid, grid_options: the named grid, the problem's own if left out. Where the problem's own
            has no shape parameter, the search runs over the family it belongs to (karras for
            log-snr, quadratic for uniform) unless it is named here.
        free_grid: also move every time between the ends, from the best named grid on.
        budget: plans that may be measured, ``default_budget`` if left out.
        seed: fixes search, starts and noise: the same seed gives the same result.
        on_call: called after each measurement, for progress bars.
        options: options of the method that are kept fixed.

    Raises:
        AnalysisError: nothing to tune, unknown parameters, bad ranges, an objective that does not
            fit, scipy missing; and what ``build_plan`` raises for this method, process and budget.
    """
    scipy_optimize()
    record = method if isinstance(method, Method) else find(method)
    if budget is not None and (isinstance(budget, bool) or not budget >= 1):
        msg = f"budget = {budget!r} was given, expected how many plans may be measured, 1 or more."
        raise AnalysisError(msg)
    with _quiet():
        plans = Plans(problem, record, nfe, options, grid, grid_options or {})
        coordinates = plans.coordinates(search, free_grid)
        measured = objective_of(objective, problem, plans.stochastic(coordinates), seed)
        if options.get("denoise") and measured.name != "gaussian":
            msg = (
                f"objective {measured.name!r} is measured at t_end, where a denoising row's result "
                f"is not; leave out denoise, or use objective 'gaussian'."
            )
            raise AnalysisError(msg)
        run = _Run(plans, coordinates, measured, on_call)
        run.search(free_grid, budget, seed)
        found = _result(problem, run, seed)
    return replace(found, warnings=(*found.warnings, *_unstable(record, plans, found)))


def default_budget(parameters: int, free_times: int) -> tuple[int, int]:
    """Measurements of the search over named grids and of the one over free times."""
    named = min(400, 120 * parameters) if parameters else 0
    free = min(2000, 100 * (free_times + 1)) if free_times else 0
    return named, free


@dataclass
class _Run:
    """A search in progress: the best candidate so far and how it was found."""

    plans: Plans
    coordinates: list[Parameter]
    measured: Objective
    on_call: Callable[[], None] | None
    evaluations: int = 0
    history: list[tuple[int, float, dict[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best, self.error = self.plans.default, math.inf
        self.measure(lambda: self.plans.default)
        self.best_is_default = True

    def measure(self, make: Callable[[], Candidate]) -> float:
        """The candidate's train error; inf for one that cannot be built or diverges."""
        self.evaluations += 1
        try:
            candidate = make()
            error = self.measured.train(candidate.plan)
        except SgmsolveError:
            return math.inf
        if error < self.error:  # NaN is not
            self.best, self.error, self.best_is_default = candidate, error, False
            names = {p.name for p in self.coordinates if p.grid} | {"times"}
            shape = {k: v for k, v in candidate.grid_options.items() if k in names}
            self.history.append((self.evaluations, error, {**candidate.options, **shape}))
        return error

    def search(self, free_grid: bool, budget: int | None, seed: int) -> None:
        """Options and shape first, then the free times from the best of those."""
        plans, coordinates = self.plans, self.coordinates
        steps = len(plans.default.times) - 1
        named, free = default_budget(len(coordinates), steps - 1 if free_grid else 0)
        if budget is not None:
            share = named / max(1, named + free)
            named = round(share * budget)
            free = budget - named
        if coordinates and named:
            cube = Search(
                lambda u: self.measure(lambda: plans.at(coordinates, u)),
                named,
                on_call=self.on_call,
            )
            cube.cube(plans.starts(coordinates), seed)
            if plans.nearest:  # the default grid is a limit of the family, not in it
                found = self.best.options
                self.measure(lambda: plans.on_default_grid(found))
        if free_grid and free and len(self.best.times) > 2:
            origin = self.best
            x, lower, upper = plans.free_start(coordinates, origin)
            times = Search(
                lambda x: self.measure(lambda: plans.free(coordinates, x, origin)),
                free,
                lower,
                upper,
                self.on_call,
            )
            times.descend(x)


def _unstable(record: Method, plans: Plans, found: Tuned) -> list[str]:
    """What the method says about the steps of the grid that was found."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", StabilityWarning)
        record(plans.process, found.times, **{**plans.options_of(found.plan), **found.options})
    return [str(w.message) for w in caught if issubclass(w.category, StabilityWarning)]


def _result(problem: Any, run: _Run, seed: int) -> Tuned:
    """Held-out and transfer errors of both plans, and what they say."""
    best, default, measured = run.best, run.plans.default, run.measured
    other, other_on = None, None
    on_gaussian = measured.name == "gaussian" or getattr(problem, "exact", False)
    if on_gaussian:
        other, other_on = _transfer(problem, (best.plan, default.plan), seed)
    pair = []
    for which, plan in enumerate((best.plan, default.plan)):
        transfer = None if other is None else other[which]
        pair.append(Scores(measured.train(plan), measured.held_out(plan), transfer))
    accuracy = measured.accuracy if isinstance(measured, StrongError) else None
    said = list(cautions(pair[0], pair[1], other_on, accuracy))
    if on_gaussian and other is None:
        said.append(
            "this was tuned on a Gaussian, and no other law was measured; settings tuned on a "
            "Gaussian often do not transfer: tune or at least compare on the actual model."
        )
    options = {p.name: p.default for p in run.coordinates if not p.grid} | best.options
    if not run.best_is_default and best.grid != "free":
        said += at_bounds(run.coordinates, {**options, **best.grid_options})
    return Tuned(
        plan=best.plan,
        default_plan=default.plan,
        options=options,
        grid=best.grid,
        grid_options=best.grid_options,
        times=best.times,
        objective=measured.name,
        train_on=measured.on,
        held_out_on=measured.held_out_on,
        transfer_on=other_on,
        scores=pair[0],
        default_scores=pair[1],
        evaluations=run.evaluations,
        history=tuple(run.history),
        warnings=tuple(said),
    )


def _transfer(
    problem: Any, plans: tuple[Plan, Plan], seed: int
) -> tuple[tuple[float, float] | None, str | None]:
    """Errors of the plans on a law that is not Gaussian: the problem itself, else its twin."""
    actual, name = problem, None
    try:
        if getattr(problem, "exact", False):
            actual = twin(problem)
            name = f"two bumps with the moments of {problem.name}"
        if actual is None:
            return None, None
        stochastic = any(plan.stochastic for plan in plans)
        other = objective_of("auto", actual, stochastic, seed)
        found = other.held_out(plans[0]), other.held_out(plans[1])
    except SgmsolveError:
        return None, None
    kind = (
        "rms to fine trajectories of" if other.name == "strong" else f"{other.name} to samples of"
    )
    return found, f"{kind} {name or problem.name}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Candidates may be bad: overflow and warnings about too long steps are part of the search."""
    with unchecked(), np.errstate(all="ignore"):
        yield
