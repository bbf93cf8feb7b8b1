"""A solver, an equation and its times: a Job only lacks its start."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from sgmsolve.adapters import AdapterSolution, solve_with
from sgmsolve.adaptive import AdaptiveSolution, denoising, solve_adaptive
from sgmsolve.adaptive.predictor_corrector import solve_with_norms
from sgmsolve.errors import IncompleteWarning, MethodError, SolveError, Status
from sgmsolve.reverse import ReverseSDE
from sgmsolve.solving.records import SolverMethod

Solved = AdaptiveSolution | AdapterSolution
State = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A run that only lacks its start.

    Attributes:
        method: the solver's record. sde: what it solves. t_start, t_end: forward times.
        steps: number of fixed steps; None if it chooses them itself or takes them from ``dt``.
        stochastic: whether it draws noise.
        generator: of the normals of the start, and of our own solvers' noise.
        denoise: kind of the last evaluation, or "".
        on_failure: what to do with runs that do not reach t_end.
        options: for ``solve_with`` or ``solve_adaptive``.
    """

    method: SolverMethod
    sde: ReverseSDE
    t_start: float
    t_end: float
    steps: int | None
    stochastic: bool
    generator: str
    denoise: str
    on_failure: str
    options: Mapping[str, Any]

    def run(
        self, z: State, *, seed: int = 0, indices: Any = None, progress: bool = False
    ) -> Solved:
        """Solve from the state z at t_start: m arrays (batch, *shape) of the solver's library.

        z is a draw of the process's own starting law; ``ReverseSDE.starting`` makes it one of the
        law to start from, as the prelude of a plan does.

        Our own solvers key their noise by (seed, sample index). Other libraries draw for the whole
        batch: from ``seed``, or, with ``indices``, from a seed derived from both, so that shards
        differ and each can be made again.
        """
        name, ends, options = self.method.name, (self.t_start, self.t_end), dict(self.options)
        z = self.sde.starting(z)
        if self.method.family == "predictor-corrector":
            options |= {"seed": seed, "indices": indices, "generator": self.generator}
            options |= {"progress": progress, "on_failure": self.on_failure}
            return solve_with_norms(self.sde, z, **options)
        if self.method.family == "adaptive":
            options |= {"seed": seed, "indices": indices, "generator": self.generator}
            options |= {"denoise": self.denoise, "on_failure": self.on_failure}
            return solve_adaptive(name, self.sde, z, *ends, progress=progress, **options)
        if progress:
            msg = f"progress was given, but {name} shows none; leave it out."
            raise MethodError(msg)
        if self.stochastic:
            options["seed"] = _batch_seed(seed, indices)
        found = solve_with(name, self.sde, z, *ends, **options)
        if self.denoise and found.status in (None, Status.FINISHED):
            made = denoising.denoised(self.sde, found.z, self.t_end, self.denoise)
            nfe = None if found.nfe is None else found.nfe + 1
            found = dataclasses.replace(found, z=made, nfe=nfe)
        return _report(found, name, self.on_failure)

    def run_on_host(
        self, z: State, *, seed: int = 0, indices: Any = None
    ) -> tuple[tuple[np.ndarray, ...], Solved]:
        """``run`` from numpy arrays, in float64 on the CPU: (numpy arrays, the solution)."""
        if self.method.library == "torch":
            import torch

            with torch.no_grad():
                given = tuple(torch.tensor(x, dtype=torch.float64) for x in z)
                found = self.run(given, seed=seed, indices=indices)
                return tuple(x.numpy() for x in found.z), found
        if self.method.library == "jax":
            import jax
            import jax.numpy as jnp

            with jax.enable_x64(True):
                start = tuple(jnp.asarray(x, dtype=jnp.float64) for x in z)
                found = self.run(start, seed=seed, indices=indices)
                return tuple(np.asarray(x) for x in found.z), found
        found = self.run(z, seed=seed, indices=indices)
        return found.z, found


def spent(solution: Solved) -> tuple[float, int]:
    """Evaluations a sample: (mean, largest)."""
    nfe = np.atleast_1d(np.asarray(solution.nfe))
    return float(nfe.mean()), int(nfe.max())


def _batch_seed(seed: int, indices: Any) -> int:
    """The seed as it is, or one derived from it and the samples' indices (jax takes 32 bits)."""
    if indices is None and seed < 2**32:
        return seed
    entropy = [seed, *([] if indices is None else np.asarray(indices, dtype=np.uint64).tolist())]
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def _report(found: AdapterSolution, name: str, on_failure: str) -> AdapterSolution:
    """Itself; warns or raises if the other library's solver did not get to a finite end."""
    if found.status in (None, Status.FINISHED) or on_failure == "ignore":
        return found
    words = f" ({found.message})" if found.message else ""
    msg = f"{name}: {found.status.value}{words} Loosen the tolerances, or take more steps."
    if on_failure == "raise":
        error = SolveError(msg, found.status)
        error.solution = found
        raise error
    warnings.warn(msg, IncompleteWarning, stacklevel=3)
    return found
