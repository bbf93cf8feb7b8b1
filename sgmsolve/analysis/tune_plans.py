"""The plans among which ``tune`` chooses: options, named grids of a family, free grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sgmsolve.analysis.tune_space import (
    Parameter,
    Search,
    log_steps,
    parameters,
    real_options,
    shape_options,
    split,
    times_of,
)
from sgmsolve.errors import AnalysisError, GridError, SgmsolveError
from sgmsolve.methods.registry import Method
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan

SHAPED = {"log-snr": ("karras", {"rho": 100.0}), "uniform": ("quadratic", {"power": 1.0})}
"""A grid with no shape parameter -> the family it belongs to, and the member nearest to it (karras
tends to log-snr as rho grows)."""

STEEPEST = 30.0
"""Free grids: the largest |log| of a step size relative to the last one."""


@dataclass(frozen=True)
class Candidate:
    """A plan and how it was made; ``grid`` "free" has the times themselves among its options."""

    plan: Plan
    options: dict[str, float]
    grid: str
    grid_options: dict[str, Any]

    @property
    def times(self) -> np.ndarray:
        """The grid, decreasing forward times (N + 1,), float64."""
        found = sorted({node.time for node in self.plan.nodes}, reverse=True)
        return np.array(found, dtype=np.float64)


class Plans:
    """Makes candidates. The default one is made first and raises whatever cannot be built.

    Args:
        problem: process and default grid are taken from it.
        record, nfe, fixed: method, budget, options that are not searched.
        grid: a named grid instead of the problem's; grid_options: fixed options of it.
    """

    def __init__(
        self,
        problem: Any,
        record: Method,
        nfe: int,
        fixed: Mapping[str, Any],
        grid: str | None,
        grid_options: Mapping[str, Any],
    ) -> None:
        own = problem.grid_arguments
        if grid is not None and not isinstance(grid, str):
            msg = (
                f"grid = {grid!r} was given, expected the name of a grid; fixed times leave "
                f"nothing to tune in it (free_grid=True moves all of them)."
            )
            raise GridError(msg)
        self.process, self.record, self.nfe = problem.process, record, nfe
        self.fixed, self.kept = dict(fixed), dict(grid_options)
        self.grid = own["grid"] if grid is None else grid
        ends = {k: v for k, v in own["grid_options"].items() if k in ("t_min", "t_max", "final")}
        base = own["grid_options"] if self.grid == own["grid"] else ends
        self.base = {**base, **grid_options}
        self._first: Candidate | None = None
        self._first = self.default = self._named(self.grid, self.base, {}, {})
        self.family = self.grid
        self.nearest: dict[str, float] = {}
        if grid is None and self.grid in SHAPED:  # a grid named by the user is left as it is
            self._widen(*SHAPED[self.grid])

    def _widen(self, family: str, nearest: dict[str, float]) -> None:
        try:
            self._named(family, self.base, nearest, {})
        except SgmsolveError:
            return
        self.family, self.nearest = family, nearest

    def _named(
        self, grid: str, base: Mapping[str, Any], shape: dict[str, float], options: dict[str, float]
    ) -> Candidate:
        more = {**base, **shape}
        given: dict[str, Any] = {"grid": grid, "grid_options": more, **self.fixed, **options}
        known = self._first
        if known is not None:  # as many steps mostly cost as many evaluations: one build, not three
            given |= {k: known.plan.options[k] for c in self.record.budget_options for k in c}
            count = len(known.times) - 1
            plan = build_plan(self.process, self.record, steps=count, **given)
            if plan.nfe == known.plan.nfe:
                return Candidate(plan, options, grid, more)
        plan = build_plan(self.process, self.record, nfe=self.nfe, **given)
        return Candidate(plan, options, grid, more)

    def options_of(self, plan: Plan) -> dict[str, Any]:
        """The options that make a plan again: objects as they were given, not their names."""
        known = self.record.options
        return {**{k: v for k, v in plan.options.items() if k in known}, **self.fixed}

    def at(self, coordinates: Sequence[Parameter], unit: Any) -> Candidate:
        """The candidate at a point of the unit cube, with the most steps in the budget."""
        options, shape = split(coordinates, unit)
        return self._named(self.family, self.base, shape, options)

    def on_default_grid(self, options: dict[str, float]) -> Candidate:
        """The candidate with these options on the default's grid."""
        return self._named(self.grid, self.base, {}, options)

    def free(self, coordinates: Sequence[Parameter], x: np.ndarray, origin: Candidate) -> Candidate:
        """Options at the first entries of x, the log step sizes between origin's ends after."""
        own = [p for p in coordinates if not p.grid]
        options, _ = split(own, x[: len(own)])
        ends = origin.times
        times = times_of(x[len(own) :], float(ends[0]), float(ends[-1]))
        given = {**self.options_of(origin.plan), **options}
        plan = build_plan(self.process, self.record, grid=times, **given)
        if plan.nfe > self.nfe:
            msg = f"{plan.nfe} evaluations exceed the budget of {self.nfe}."
            raise AnalysisError(msg)
        return Candidate(plan, options, "free", {"times": times.tolist()})

    def free_start(
        self, coordinates: Sequence[Parameter], origin: Candidate
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(x, lower, upper) of ``free`` at a candidate."""
        own = [p for p in coordinates if not p.grid]
        units = np.array([p.unit(origin.options.get(p.name, p.default)) for p in own])
        steps = np.clip(log_steps(origin.times), -STEEPEST, STEEPEST)
        lower = np.append(np.zeros(len(own)), np.full(len(steps), -STEEPEST))
        upper = np.append(np.ones(len(own)), np.full(len(steps), STEEPEST))
        return np.append(units, steps), lower, upper

    def coordinates(self, search: Search | None, free_grid: bool) -> list[Parameter]:
        """What is searched; AnalysisError if that is nothing."""
        found = parameters(self.record, self.family, self.fixed, self.kept, search)
        idle = [p.name for p in found if self._idle(p)]
        if idle and search is not None:
            msg = (
                f"{', '.join(idle)} was to be searched, but has no effect on {self.record.name!r} "
                f"with these options; set the option that brings it in, or leave it out."
            )
            raise AnalysisError(msg)
        found = [p for p in found if p.name not in idle]
        if search is None and not self.default.plan.stochastic:
            found = [p for p in found if not self._noisy(p)]
        found = [
            replace(p, default=float(self.base[p.name])) if p.grid and p.name in self.base else p
            for p in found
        ]
        if not found and not free_grid:
            names = ", ".join(real_options(self.record)) or "none"
            shapes = ", ".join(shape_options(self.family)) or "none"
            msg = (
                f"there is nothing to tune: the real options of {self.record.name!r} are {names} "
                f"(not searched unless named: fixed ones and ones that would add noise; never: "
                f"ones without effect), the shape parameters of the {self.family} grid {shapes}; "
                f"free the grid (--free-grid), choose another (--grid quadratic or karras) or name "
                f"an option (--search)."
            )
            raise AnalysisError(msg)
        return found

    def starts(self, coordinates: Sequence[Parameter]) -> list[np.ndarray]:
        """Points of the unit cube to begin with: defaults, and the problem's own grid."""
        found = [np.array([p.unit(p.default) for p in coordinates])]
        if self.nearest:
            near = [
                self.nearest.get(p.name, p.default) if p.grid else p.default for p in coordinates
            ]
            found.append(np.array([p.unit(v) for p, v in zip(coordinates, near, strict=True)]))
        return found

    def _noisy(self, p: Parameter) -> bool:
        """Whether another value of an option makes the plan draw noise."""
        if p.grid:
            return False
        try:
            made = self.on_default_grid({p.name: p.value(0.5)})
        except SgmsolveError:
            return False
        return made.plan.stochastic

    def _idle(self, p: Parameter) -> bool:
        """Whether two values of an option give one plan."""
        if p.grid:
            return False
        try:
            pair = [self.on_default_grid({p.name: p.value(u)}).plan for u in (0.25, 0.7)]
        except SgmsolveError:
            return False
        a, b = (np.concatenate([t.ravel() for t in _tables(plan)]) for plan in pair)
        return a.shape == b.shape and bool(np.array_equal(a, b))

    def stochastic(self, coordinates: Sequence[Parameter]) -> bool:
        """Whether any candidate draws noise."""
        return self.default.plan.stochastic or any(self._noisy(p) for p in coordinates)


def _tables(plan: Plan) -> tuple[np.ndarray, ...]:
    """All numbers of a plan."""
    times = plan.t.astype(np.float64)
    return times, plan.move, plan.kick, plan.noise, plan.prelude_move, plan.prelude_noise
