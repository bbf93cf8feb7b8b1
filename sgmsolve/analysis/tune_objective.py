"""What ``tune`` minimises, and the same kind of error on what was not used for it."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from sgmsolve.analysis import exact
from sgmsolve.analysis.bench import SAMPLE_METRICS, SEEDS, Bench
from sgmsolve.analysis.tune_problems import ModelProblem, gaussian_of, perturbed
from sgmsolve.errors import AnalysisError, unknown
from sgmsolve.plan import Plan

OBJECTIVES = ("auto", "gaussian", "strong", *SAMPLE_METRICS)
STARTS = 512
"""Most trajectories of a strong error."""
HELD_OUT = 10_000_000
"""Added to the seed of everything that is held out."""
GAUSSIANS = 8
"""Held-out Gaussians; their error is a root mean square."""


class Objective(abc.ABC):
    """An error of plans: ``train`` to minimise, ``held_out`` to believe.

    Attributes: name, one of OBJECTIVES; on, held_out_on: what each is measured on, for people.
    """

    name: str
    on: str
    held_out_on: str

    @abc.abstractmethod
    def train(self, plan: Plan) -> float:
        """The error the search sees."""

    @abc.abstractmethod
    def held_out(self, plan: Plan) -> float:
        """The error on what it never saw."""


class GaussianError(Objective):
    """Exact Wasserstein-2 distance of the output's law; no sampling.

    Train: the problem, or the Gaussian with its mean and covariance. Held out: root mean square
    over GAUSSIANS Gaussians with other eigenvalues and means (``perturbed``).
    """

    name = "gaussian"

    def __init__(self, problem: Any, seed: int) -> None:
        self.process, self.target = problem.process, gaussian_of(problem)
        self.others = [perturbed(self.target, seed + HELD_OUT + i) for i in range(GAUSSIANS)]
        own = not isinstance(problem, ModelProblem) and self.target is problem.target
        what = problem.name if own else f"the Gaussian fit of {problem.name}"
        self.on = f"exact W2 on {what}"
        self.held_out_on = f"exact W2 on {GAUSSIANS} Gaussians with other eigenvalues"

    def train(self, plan: Plan) -> float:
        """W2 on the Gaussian."""
        return exact.error(plan, self.target, self.process, "w2")

    def held_out(self, plan: Plan) -> float:
        """Root mean square of W2 over the other Gaussians."""
        found = [exact.error(plan, other, self.process, "w2") for other in self.others]
        return float(np.sqrt(np.mean(np.square(found))))


class StrongError(Objective):
    """Root mean square distance to fine reference trajectories from common starts.

    Train and held out: other starts. ``accuracy`` is how far the reference itself may be off.
    """

    name = "strong"

    def __init__(self, problem: Any, seed: int) -> None:
        small = _smaller(problem)
        self.benches = [Bench(small, seed), Bench(small, seed + HELD_OUT)]
        self.on = f"rms to fine trajectories of {problem.name}, {small.starts} starts"
        self.held_out_on = f"the same, {small.starts} other starts"

    def train(self, plan: Plan) -> float:
        """Rms on the first starts."""
        return self._rms(0, plan)

    def held_out(self, plan: Plan) -> float:
        """Rms on the others."""
        return self._rms(1, plan)

    @property
    def accuracy(self) -> float:
        """Rms between the train reference and one of half as many steps."""
        return float(self.benches[0].reference()[1])

    def _rms(self, which: int, plan: Plan) -> float:
        bench = self.benches[which]
        ends = bench.run(plan, bench.starts(bench.problem.starts, 0), 0)
        return float(np.sqrt(np.mean(np.square(_joined(ends) - _joined(bench.reference()[0])))))


class SampleError(Objective):
    """Energy distance or sliced W2 to exact samples, with the same noise for every plan.

    Train: one set of starts, noise and exact samples. Held out: the mean over SEEDS other ones.
    Both have a floor: two exact sets differ too.
    """

    def __init__(self, problem: Any, seed: int, metric: str) -> None:
        if isinstance(problem, ModelProblem):
            msg = (
                f"objective {metric!r} compares with exact samples, which a network alone does not "
                f"have; tune a deterministic method by objective 'strong', or pass gaussian= and "
                f"use objective 'gaussian'."
            )
            raise AnalysisError(msg)
        small = _smaller(problem)
        self.name, self.distance = metric, SAMPLE_METRICS[metric]
        self.benches = [Bench(small, seed), Bench(small, seed + HELD_OUT)]
        self.on = f"{metric} to exact samples of {problem.name}, fixed noise"
        self.held_out_on = f"the same, mean over {SEEDS} other seeds"

    def train(self, plan: Plan) -> float:
        """Distance with the first seed."""
        return self._distance(0, plan, 0)

    def held_out(self, plan: Plan) -> float:
        """Mean distance over other seeds."""
        return float(np.mean([self._distance(1, plan, s) for s in range(SEEDS)]))

    def _distance(self, which: int, plan: Plan, seed: int) -> float:
        bench = self.benches[which]
        right = _joined(bench.exact_samples(seed))
        ends = _joined(bench.run(plan, bench.starts(len(right), seed), seed))
        return self.distance(ends, right) if np.isfinite(ends).all() else math.inf


def objective_of(name: str, problem: Any, stochastic: bool, seed: int) -> Objective:
    """The objective of that name; ``auto``: gaussian, strong or sliced-w2, the first that fits.

    Raises: AnalysisError for unknown names and for strong errors of stochastic plans.
    """
    if name not in OBJECTIVES:
        raise AnalysisError(unknown("objective", str(name), OBJECTIVES))
    if name == "auto":
        if getattr(problem, "exact", False):
            name = "gaussian"
        else:
            name = "sliced-w2" if stochastic else "strong"
    if name == "strong" and stochastic:
        msg = (
            "objective 'strong' follows single trajectories of a deterministic method, but this "
            "one draws noise; use 'gaussian' or 'sliced-w2'."
        )
        raise AnalysisError(msg)
    if name == "gaussian":
        return GaussianError(problem, seed)
    if name == "strong":
        return StrongError(problem, seed)
    return SampleError(problem, seed, name)


def _smaller(problem: Any) -> Any:
    """At most STARTS trajectories; the target is kept, not made again."""
    if problem.starts <= STARTS:
        return problem
    if isinstance(problem, ModelProblem):
        return problem.replace(starts=STARTS)
    return problem.replace(starts=STARTS, make_target=lambda: problem.target)


def _joined(z: Any) -> np.ndarray:
    """A state of several components as one array (batch, m, *shape); an array as it is."""
    return np.stack(z, axis=1) if isinstance(z, (tuple, list)) else np.asarray(z)
