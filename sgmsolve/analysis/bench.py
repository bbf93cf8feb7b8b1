"""One problem of a comparison with what its runs share: starts, reference, floors.

A state of m > 1 components starts from exact samples of all of them at t_max, and every error is
that of component 0, the position: it is what one samples for, and what makes numbers comparable
with those of data-space problems.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis import exact
from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.analysis.moments import w2
from sgmsolve.analysis.reference import probability_flow
from sgmsolve.backends import solve
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan

REFERENCE_STEPS = 1000
REFERENCE: tuple[str, dict[str, Any]] = ("unipc-3", {"start": "matched"})
"""Order 4 with one evaluation a step: 1000 steps are good to about 1e-8 on smooth problems."""

PHASE_STEPS = (60, 40)
"""Steps of order 12 (``probability_flow``) of the reference for m > 1, and of its check.

On the phase-space problems 50 of them are 1e-9 (ring) and 1e-7 (digits) off; at the same cost 1000
steps of the splitting strang2-ode, of order 2, are 8e-6 off.
"""

State = np.ndarray | tuple[np.ndarray, ...]
"""An array (n, *shape), or a tuple of m such arrays for m > 1 components."""

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

    def starts(self, n: int, seed: int) -> State:
        """The first n of a fixed set of exact samples of x(t_max), or of z(t_max) as a tuple."""
        p = self.problem
        most = max(p.starts, p.view.count if p.exact else p.samples)
        key, t = f"starts {seed}", float(p.process.t_max)
        made = self._once(key, lambda: p.marginal(most, t, self.seed + seed))
        return tuple(part[:n] for part in made) if isinstance(made, tuple) else np.asarray(made)[:n]

    def exact_samples(self, seed: int) -> np.ndarray:
        """Exact samples of x(t_end) (its positions for m > 1), independent of the starts."""
        p = self.problem
        n = p.view.count if p.exact else p.samples
        other = self.seed + 1_000_000 + seed
        return np.asarray(
            self._once(f"exact {seed}", lambda: _position(p.marginal(n, p.t_end, other)))
        )

    def run(self, plan: Plan, z: State, seed: int) -> np.ndarray:
        """The plan's result from the states z, positions only, (n, *shape)."""
        state = z if isinstance(z, tuple) else (z,)
        solution = solve(plan, self.model, state, seed=self.seed + seed, on_nonfinite="ignore")
        return np.asarray(solution.x)

    def exact_w2(self, plan: Plan) -> float:
        """Exact W2 between the laws of the result and of x(t_end); the positions' for m > 1.

        For m > 1 and a plan that ends with a data prediction: the law of the data. Raises
        AnalysisError as ``exact.error``.
        """
        p = self.problem
        if p.process.m == 1 or plan.ends_with_data:
            return exact.error(plan, p.target, p.process, "w2")
        made = exact.output_moments(plan, p.target, p.process)
        wanted = exact.reference_law(plan, p.target, p.process)
        parts = len(wanted.mean) // p.process.m
        return w2(exact.leading(made, parts), exact.leading(wanted, parts))

    def reference(self) -> tuple[np.ndarray, float]:
        """End points of the reference, and how far those of a coarser one are off (rms).

        One component: 1000 steps and 500. More: a Gaussian's exact flow and the same in two parts,
        else PHASE_STEPS of order 12. Positions only, (n, *shape).
        """
        name, options = REFERENCE
        p = self.problem

        def ends(steps: int) -> np.ndarray:
            plan = build_plan(p.process, name, steps=steps, **p.grid_arguments, **options)
            return self.run(plan, self.starts(p.starts, 0), 0)

        def make() -> tuple[np.ndarray, float]:
            if p.process.m > 1:
                pair = self._phase_reference()
                return pair[0], rms(*pair)
            fine = ends(REFERENCE_STEPS)
            return fine, rms(fine, ends(REFERENCE_STEPS // 2))

        found: tuple[np.ndarray, float] = self._once("reference", make)
        return found

    def _phase_reference(self) -> list[np.ndarray]:
        """Positions at the end of two solutions of the probability flow, the finer one first."""
        p, z = self.problem, self.starts(self.problem.starts, 0)
        t_max, t_end = float(p.process.t_max), float(p.t_end)
        if p.exact:
            flow, middle = p.target.flow_map, float(np.sqrt(t_max * t_end))
            halfway = flow(z, t_max, middle, p.process)
            ends = [flow(z, t_max, t_end, p.process), flow(halfway, middle, t_end, p.process)]
            return [np.asarray(end[0]) for end in ends]
        points = np.stack([part.reshape(len(part), -1) for part in z], axis=1)
        made = [
            probability_flow(p.target, p.process, points, t_max, t_end, steps=n)[:, 0]
            for n in PHASE_STEPS
        ]
        return [end.reshape(z[0].shape) for end in made]

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


def _position(z: State) -> np.ndarray:
    """Component 0 of a state."""
    return z[0] if isinstance(z, tuple) else z


def rms(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference over all samples and entries."""
    return float(np.sqrt(np.mean(np.square(a - b))))
