"""diffrax on one path; imported on first use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from sgmsolve.adapters import solve_with, to_diffrax
from sgmsolve.analysis.strong_problems import Path, StrongProblem

_Base: Any = diffrax.AbstractBrownianPath  # its abstract fields are nothing a checker knows


class TabulatedPath(_Base):
    """A path of one sample that has been looked at on equal cells, where steps must end.

    w, integral: values and integrals from the beginning at the cells' ends, (cells + 1, d); t0, t1:
    begin and end in diffrax's time.
    """

    w: Any
    integral: Any
    t0: Any
    t1: Any
    levy_area = diffrax.SpaceTimeLevyArea

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        """Increment, and space-time area H = I / h - w / 2, of a step: one array (1, d)."""
        cell = (self.t1 - self.t0) / (self.w.shape[0] - 1)
        i, k = (jnp.round((t - self.t0) / cell).astype(int) for t in (t0, t1))
        w = self.w[k] - self.w[i]
        if not use_levy:
            return (w[None],)
        h = jnp.where(k > i, k - i, 1) * cell
        area = self.integral[k] - self.integral[i] - h * self.w[i]
        return diffrax.SpaceTimeLevyArea(dt=(h,), W=(w[None],), H=((area / h - w / 2)[None],))


class DiffraxDriver:
    """Solvers of diffrax on one VirtualBrownianTree; see ``strong_drivers``.

    The tree is read once, where any step may end: the solvers are handed a table of it, which
    compiles in a quarter of the time.
    """

    def __init__(self, p: StrongProblem, z: np.ndarray, seed: int, cells: int) -> None:
        self.p, self.z, self.cells = p, z, cells
        with jax.enable_x64(True):
            self.table = _reader(p, cells)(jnp.asarray(z), jax.random.key(seed))

    def run(self, solver: str, steps: int) -> np.ndarray:
        """End points."""
        with jax.enable_x64(True):
            made = _compiled(self.p, solver)(jnp.asarray(self.z), *self.table, steps)
            return np.asarray(made)

    def path(self) -> Path:
        """The path on the fine cells."""
        w, integral = (np.asarray(x) for x in self.table)
        areas = np.diff(integral, axis=0) - self.p.length / self.cells * w[:-1]
        times = np.linspace(self.p.t_start, self.p.t_end, self.cells + 1)
        return Path(times, np.diff(w, axis=0), areas)


@functools.lru_cache(maxsize=16)
def _reader(p: StrongProblem, cells: int) -> Callable[..., Any]:
    """(z, key) -> the tree's values, and integrals from the beginning, (cells + 1, n, d)."""

    def read(z: Any, key: Any) -> Any:
        wrapped = to_diffrax(p.sde, z.shape[1:])
        ends = (wrapped.tau(p.t_start), wrapped.tau(p.t_end))
        tree = wrapped.brownian((z,), *ends, key, p.length / (2 * cells))

        def at(tau: Any) -> Any:
            made = tree.evaluate(tau, use_levy=True)
            w, h = (jax.tree_util.tree_leaves(x)[0] for x in (made.W, made.H))
            return w, (tau - tree.t0) * (w / 2 + h)

        return jax.lax.map(at, jnp.linspace(*ends, cells + 1))

    return jax.jit(read)


@functools.lru_cache(maxsize=64)
def _compiled(p: StrongProblem, solver: str) -> Callable[..., Any]:
    """(z, values, integrals, steps) -> end points; compiled once for all step sizes.

    Samples are vmapped: the work of solvers of Milstein's kind grows with the state's square.
    """
    tau = (p.sde.direction * p.t_start, p.sde.direction * p.t_end)

    def one(z: Any, w: Any, integral: Any, steps: Any) -> Any:
        path = TabulatedPath(w, integral, *tau)
        options = {"controller": diffrax.ConstantStepSize(), "dt": p.length / steps}
        options |= {"adjoint": diffrax.ForwardMode(), "max_steps": 4096, "brownian": path}
        method, ends = f"diffrax:{solver}", (p.t_start, p.t_end)
        return solve_with(method, p.sde, z[None], *ends, **options).x[0]

    return jax.jit(jax.vmap(one, in_axes=(0, 1, 1, None)))
