"""Many step sizes on one Brownian path, for our plans, torchsde, diffrax and our adaptive steppers.

A driver belongs to one problem and a batch of samples. ``run(solver, steps)`` gives end points of a
solver with that many steps, always on the driver's path, and ``path()`` that path on fine cells,
from which the reference is computed. Each library brings its own kind of path: plans PathNoise,
torchsde a BrownianInterval, diffrax a VirtualBrownianTree, steppers increments and areas on a grid.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sgmsolve.adapters import solve_with
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.analysis.strong_methods import path_kind
from sgmsolve.analysis.strong_problems import Path, StrongProblem, random_path
from sgmsolve.backends import PathNoise, solve
from sgmsolve.methods.registry import find
from sgmsolve.methods.stability import unchecked


class Driver(Protocol):
    """See the module's docstring; end points and starting points are (n, d), float64."""

    z: np.ndarray

    def run(self, solver: str, steps: int) -> np.ndarray:
        """End points."""
        ...

    def path(self) -> Path:
        """The path on the fine cells."""
        ...


class PlanDriver:
    """Plans of one method; their grids are the order problem's, whose points are nested."""

    def __init__(
        self,
        p: StrongProblem,
        z: np.ndarray,
        seed: int,
        cells: int,
        solver: str,
        steps: Sequence[int],
    ) -> None:
        self.p, self.z = p, z
        with unchecked():
            grids = {n: p.times(n) for n in (*steps, cells)}
            self.plans = {n: find(solver)(p.process, grids[n]) for n in steps}
            probe = find("euler-maruyama")(p.process, grids[cells])
        # The probe reads the path: its draws lie on the cells, in the clock of the method's kind.
        draws = probe.draws.copy()
        draws["kind"] = path_kind(self.plans[steps[0]])
        self.probe = probe.replace(draws=draws)
        self.noise = PathNoise([*self.plans.values(), self.probe], p.process, seed=seed)

    def run(self, solver: str, steps: int) -> np.ndarray:
        """End points."""
        return np.asarray(solve(self.plans[steps], self.p.model, self.z, noise=self.noise).x)

    def path(self) -> Path:
        """Increments on the cells. Over a short cell the clock's density is all but constant."""
        draw, records = self.noise.bind(self.probe, (self.z,)), self.probe.draws[:, 0]
        times = np.concatenate([records["end"][:1], records["start"]])
        roots = np.sqrt(records["end"] - records["start"])
        return Path(times, np.stack([h * draw(row, 0) for row, h in enumerate(roots)]))


class TorchDriver:
    """Solvers of torchsde on one BrownianInterval."""

    def __init__(self, p: StrongProblem, z: np.ndarray, seed: int, cells: int) -> None:
        torch = importlib.import_module("torch")
        self.p, self.z, self.cells, self.torch = p, z, cells, torch
        sign = p.sde.direction
        self.ends = (sign * p.t_start, sign * p.t_end)
        # Areas of all kinds, so that every solver finds what it needs on the same path.
        self.bm = importlib.import_module("torchsde").BrownianInterval(
            *self.ends,
            size=z.shape,
            dtype=torch.float64,
            entropy=seed,
            levy_area_approximation="foster",
            cache_size=None,
        )

    def run(self, solver: str, steps: int) -> np.ndarray:
        """End points."""
        z, ends = self.torch.asarray(self.z), (self.p.t_start, self.p.t_end)
        made = solve_with(f"torchsde:{solver}", self.p.sde, z, *ends, steps=steps, bm=self.bm)
        return np.asarray(made.x.detach())

    def path(self) -> Path:
        """Increments and areas on the cells; the end alone where that is enough."""
        cells = 1 if self.p.exact is not None else self.cells
        tau = np.linspace(*self.ends, cells + 1).tolist()
        found = [self.bm(a, b, return_U=True) for a, b in itertools.pairwise(tau)]
        dw, area = (np.stack([np.asarray(x[i]) for x in found]) for i in (0, 1))
        return Path(np.linspace(self.p.t_start, self.p.t_end, cells + 1), dw, area)


class StepperDriver:
    """Our adaptive steppers with fixed steps, on increments and areas of a grid; numpy."""

    def __init__(self, p: StrongProblem, z: np.ndarray, seed: int, cells: int) -> None:
        self.p, self.z = p, z
        self.fine = random_path(p, cells, z, seed)

    def run(self, solver: str, steps: int) -> np.ndarray:
        """End points."""
        ends, noise = (self.p.t_start, self.p.t_end), self.fine.coarse(steps)
        options: dict[str, Any] = {"steps": steps, "noise": noise, "on_failure": "ignore"}
        return np.asarray(solve_adaptive(solver, self.p.sde, (self.z,), *ends, **options).x)

    def path(self) -> Path:
        """The path on the fine cells."""
        return self.fine


def make_driver(
    library: str,
    p: StrongProblem,
    z: np.ndarray,
    seed: int,
    cells: int,
    solver: str = "",
    steps: Sequence[int] = (),
) -> Driver:
    """The driver of ``"plan"`` (which needs to know its solver and steps), "torchsde", ..."""
    if library == "plan":
        return PlanDriver(p, z, seed, cells, solver, steps)
    if library == "diffrax":
        from sgmsolve.analysis.strong_jax import DiffraxDriver

        return DiffraxDriver(p, z, seed, cells)
    return (TorchDriver if library == "torchsde" else StepperDriver)(p, z, seed, cells)
