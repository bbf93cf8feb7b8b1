"""A method with its options and budget on one problem, ready to run: a plan, or a solver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sgmsolve.adaptive import AdaptiveSolution
from sgmsolve.analysis.bench import Bench, State
from sgmsolve.methods.registry import Method
from sgmsolve.methods.stability import unchecked
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan
from sgmsolve.solving import Job, SolverMethod, find_method, grid_for, prepare, spent, with_objects


class Trial(Protocol):
    """What a comparison runs.

    Attributes: stochastic: whether it draws noise. parallel: whether several runs of it may go on
    at once.
    """

    stochastic: bool
    parallel: bool

    def run(self, bench: Bench, z: State, seed: int) -> np.ndarray:
        """The positions where it ends from the states z, (n, *shape)."""

    def counts(self) -> dict[str, Any]:
        """``nfe``, ``steps`` and ``nfe_max`` of a row, once it has run."""


class PlanTrial:
    """A plan: its counts are known beforehand."""

    parallel = True

    def __init__(self, plan: Plan) -> None:
        self.plan, self.stochastic = plan, plan.stochastic

    def run(self, bench: Bench, z: State, seed: int) -> np.ndarray:
        """See Trial."""
        return bench.run(self.plan, z, seed)

    def counts(self) -> dict[str, Any]:
        """See Trial."""
        steps = len({node.time for node in self.plan.nodes}) - 1
        return {"nfe": self.plan.nfe, "steps": steps, "nfe_max": None}


class SolverTrial:
    """A solver that is no plan: counts are means over all samples of its runs."""

    # Counters, and jax's settings of precision, belong to one run at a time.
    parallel = False

    def __init__(self, job: Job) -> None:
        self.job, self.stochastic = job, job.stochastic
        self.spent: list[tuple[float, int]] = []
        self.steps: list[float] = []

    def run(self, bench: Bench, z: State, seed: int) -> np.ndarray:
        """See Trial."""
        state = z if isinstance(z, tuple) else (z,)
        made, solution = self.job.run_on_host(state, seed=bench.seed + seed)
        self.spent.append(spent(solution))
        if isinstance(solution, AdaptiveSolution):
            self.steps.append(float(solution.accepted.mean()))
        elif self.job.steps is not None:
            self.steps.append(self.job.steps)
        return made[0]

    def counts(self) -> dict[str, Any]:
        """See Trial; ``steps`` is None where a library does not count them."""
        mean = float(np.mean([nfe for nfe, _ in self.spent]))
        steps = round(float(np.mean(self.steps))) if self.steps else None
        nfe = int(mean) if mean == int(mean) else mean
        return {"nfe": nfe, "steps": steps, "nfe_max": max(most for _, most in self.spent)}


def budgets_of(method: str, options: Mapping[str, Any], budgets: Any) -> list[int | None]:
    """The budgets that a method can spend: [None] for one run of a solver that asks for none."""
    record = find_method(method)
    if isinstance(record, SolverMethod) and not record.spends(options):
        return [None]
    return list(budgets)


def kind_of(method: str, options: Mapping[str, Any]) -> str:
    """``"deterministic"`` or ``"stochastic"``: with its default options, for a plan's record."""
    record = find_method(method)
    noisy = record.stochastic if isinstance(record, Method) else record.stochastic(options)
    return "stochastic" if noisy else "deterministic"


def prepare_trial(
    problem: Any, model: Any, method: str, options: Mapping[str, Any], budget: int | None
) -> PlanTrial | SolverTrial:
    """The trial, checked; raises as ``build_plan`` and ``solving.prepare``.

    Options that stand for objects may be words, see ``solving.objects``.
    """
    record, options = find_method(method), with_objects(options, problem.target)
    if isinstance(record, SolverMethod):
        given = {"on_failure": "raise", **options}
        job = prepare(
            problem.process, model, record, nfe=budget, options=given, **grid_for(record, problem)
        )
        return SolverTrial(job)
    with unchecked():  # the errors measured say more than a limit
        return PlanTrial(
            build_plan(problem.process, record, nfe=budget, **{**options, **problem.grid_arguments})
        )
