"""One problem of a comparison with what its runs share: starts, reference, floors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.backends import solve
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan

REFERENCE_STEPS = 1000
REFERENCE: tuple[str, dict[str, Any]] = ("unipc-3", {"start": "matched"})
"""Order 4 with one evaluation a step: 1000 steps are good to about 1e-8 on smooth problems."""

SEEDS = 3
FLOOR_PAIRS = 12
"""Pairs of exact sets behind a floor: a single pair is off by a third of the floor or more."""

SAMPLE_METRICS: dict[str, Callable[..., float]] = {
    "energy": energy_distance,
    "sliced-w2": sliced_w2,
}


class Bench:
    """Everything is made when first asked for, and made once.

    Args:
        problem: of ``sgmsolve.problems``, or anything with the same fields.
        seed: fixes starts, noise and exact samples.
    """

    def __init__(self, problem: Any, seed: int) -> None:
        self.problem, self.seed = problem, seed
        self.model = problem.target.model(problem.process)
        self._shared: dict[str, Any] = {}

    def _once(self, key: str, make: Callable[[], Any]) -> Any:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    def made(self, key: str) -> bool:
        """Whether something shared was needed at all."""
        return key in self._shared

    def starts(self, n: int, seed: int) -> np.ndarray:
        """The first n of a fixed set of exact samples of x(t_max)."""
        p = self.problem
        most = max(p.starts, p.view.count if p.exact else p.samples)
        key, t = f"starts {seed}", float(p.process.t_max)
        return np.asarray(self._once(key, lambda: p.marginal(most, t, self.seed + seed))[:n])

    def exact_samples(self, seed: int) -> np.ndarray:
        """Exact samples of x(t_end), independent of the starts."""
        p = self.problem
        n = p.view.count if p.exact else p.samples
        other = self.seed + 1_000_000 + seed
        return np.asarray(self._once(f"exact {seed}", lambda: p.marginal(n, p.t_end, other)))

    def run(self, plan: Plan, z: np.ndarray, seed: int) -> np.ndarray:
        """The plan's result from the states z."""
        solution = solve(plan, self.model, (z,), seed=self.seed + seed, on_nonfinite="ignore")
        return np.asarray(solution.x)

    def reference(self) -> tuple[np.ndarray, float]:
        """End points of the 1000-step reference, and how far those of 500 steps are off (rms)."""
        name, options = REFERENCE
        p = self.problem

        def ends(steps: int) -> np.ndarray:
            plan = build_plan(p.process, name, steps=steps, **p.grid_arguments, **options)
            return self.run(plan, self.starts(p.starts, 0), 0)

        def make() -> tuple[np.ndarray, float]:
            fine = ends(REFERENCE_STEPS)
            return fine, rms(fine, ends(REFERENCE_STEPS // 2))

        found: tuple[np.ndarray, float] = self._once("reference", make)
        return found

    def floor(self, metric: str) -> tuple[float, float]:
        """The metric between two sets of exact samples, and the deviation of a mean over the seeds.

        The mean is over FLOOR_PAIRS pairs that share no set with each other or with a measurement.
        """

        def make() -> tuple[float, float]:
            distance = SAMPLE_METRICS[metric]
            first = range(SEEDS, SEEDS + 2 * FLOOR_PAIRS, 2)
            values = [distance(self.exact_samples(i), self.exact_samples(i + 1)) for i in first]
            return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(SEEDS))

        found: tuple[float, float] = self._once(f"floor {metric}", make)
        return found


def rms(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference over all samples and entries."""
    return float(np.sqrt(np.mean(np.square(a - b))))
