"""Plans as a solver of diffrax; imported on first use.

One step of diffrax is one grid step of the plan: the rows between two of its nodes. The rows inside
evaluate at times that need not be in order, which diffrax cannot step to. Registers, remembered
predictions and the number of the step are the solver's state.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sgmsolve.adapters._common import check_library
from sgmsolve.adapters.brownian import BrownianNoise, interval
from sgmsolve.backends.jax_noise import normals, where
from sgmsolve.backends.jax_scan import JaxOps, Rows, Static, _row, lowered
from sgmsolve.backends.noise import KeyedNoise, make_noise
from sgmsolve.backends.numpy_loop import start
from sgmsolve.backends.prediction import native
from sgmsolve.backends.solve import prepare
from sgmsolve.errors import BackendError, MethodError
from sgmsolve.plan import Plan

OFF_GRID = (
    "a step was asked for that is none of the plan's; pass "
    "stepsize_controller=diffrax.StepTo(ts=solver.times), or to leave early a beginning of them, "
    "and to resume a solver_state with the times that follow it."
)


class PlanTerm(diffrax.AbstractTerm):
    """What a plan solves: a model, and where its draws come from (keyed, or a Brownian path)."""

    model: Any
    keyed: Any
    path: Any

    def vf(self, t: Any, y: Any, args: Any) -> Any:
        """The model's prediction at the library's time."""
        return self.model(tuple(y), -t)

    def contr(self, t0: Any, t1: Any, **kwargs: Any) -> Any:
        """Time."""
        return t1 - t0

    def prod(self, vf: Any, control: Any) -> Any:
        """Prediction times time; a plan has weights of its own instead."""
        return jax.tree.map(lambda e: control * e, vf)


class PlanSolver(diffrax.AbstractItoSolver):
    """See :func:`sgmsolve.adapters.plan_solver`."""

    plan: Plan = eqx.field(static=True)

    term_structure = diffrax.AbstractTerm
    interpolation_cls = diffrax.LocalLinearInterpolation

    @property
    def times(self) -> np.ndarray:
        """Times -t of the grid points, as diffrax sees them: upwards, float64."""
        return np.array([-node.time for node in self.plan.nodes])

    def terms(
        self,
        model: Any,
        z: Any,
        *,
        noise: Any = None,
        seed: int = 0,
        indices: Any = None,
        keying: str = "sample",
    ) -> PlanTerm:
        """The terms of a run from a state like ``z``; arguments as in ``sgmsolve.solve``.

        noise: None, a KeyedNoise, or ``brownian_noise(tree)`` for draws of kind ``increment``.

        Raises: as ``sgmsolve.solve``; BackendError for a torch model, for noise that no compiled
        run can draw, and for states of 16 bits.
        """
        check_library(model, "diffrax")
        source = make_noise(noise, seed, indices, keying)
        run = prepare(self.plan, model, z, source, 0, None, keying, None, *IGNORE, None)
        if run.kind != "jax" or run.z[0].dtype.itemsize < 4:
            msg = (
                f"the state is made of {run.kind} {run.z[0].dtype}, expected float32 or float64 of "
                f"jax, which diffrax runs; convert it, or use sgmsolve.solve."
            )
            raise BackendError(msg)
        if not self.plan.stochastic:
            return PlanTerm(model, None, None)
        if isinstance(source, BrownianNoise):
            return PlanTerm(model, None, source.source)
        if isinstance(source, KeyedNoise) and source.generator == "native":
            return PlanTerm(model, where(source, int(run.z[0].shape[0])), None)
        what = "keyed by 'philox'" if isinstance(source, KeyedNoise) else type(source).__name__
        msg = (
            f"the noise is {what}, which draws on the host, but diffrax draws inside a compiled "
            f"run; pass a seed, a KeyedNoise or brownian_noise(tree), or use sgmsolve.solve."
        )
        raise BackendError(msg)

    def arguments(self, model: Any, z: Any, **noise: Any) -> dict[str, Any]:
        """Everything ``diffeqsolve`` needs: terms, solver, t0, t1, dt0, y0, controller, max_steps.

        z: m arrays (batch, *shape) in a tuple, or one array if m = 1; ``noise`` as in ``terms``.
        The times get the state's dtype, as diffrax promotes a state to the dtype of its times.
        """
        parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
        terms = self.terms(model, parts, **noise)
        times = jnp.asarray(self.times, parts[0].dtype)
        return {
            "terms": terms,
            "solver": self,
            "t0": times[0],
            "t1": times[-1],
            "dt0": None,
            "y0": parts,
            "stepsize_controller": diffrax.StepTo(ts=times),
            "max_steps": len(times) - 1,
        }

    def order(self, terms: Any) -> int | None:
        """The claimed deterministic order, where it is whole."""
        claimed = self.plan.orders.get("deterministic")
        return int(claimed) if claimed is not None and claimed == int(claimed) else None

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """(step, registers and predictions) before the first step."""
        term = _own(terms)
        run = _prepared(self.plan, term.model, y0)
        at, like = term.keyed, y0[0]

        def draw(row: int, column: int) -> Any:
            return normals(at, row, column, tuple(like.shape[1:]), like.dtype)

        registers, history = start(run.lowered, JaxOps, tuple(y0), draw)
        return jnp.asarray(0), (*registers, *history)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> Any:
        """The rows from one node of the plan to the next."""
        term, nodes, m = _own(terms), self.plan.nodes, self.plan.m
        km = self.plan.k * m
        n, kept = solver_state
        times = jnp.asarray(self.times, t0.dtype)
        off = jnp.abs(t0 - times[n]) + jnp.abs(t1 - times[n + 1])
        n = eqx.error_if(n, off > 1e-3 * (t1 - t0), OFF_GRID)
        boundaries = np.array([node.boundary for node in nodes])
        counts = np.diff(boundaries)
        static, rows = lowered(_prepared(self.plan, term.model, y0))
        tables = jax.tree.map(jnp.asarray, rows)
        draws = _draws(term, self.plan, static, y0[0])
        first, count = jnp.asarray(boundaries)[n], jnp.asarray(counts)[n]
        model = native(static.predicts, term.model)

        def run_row(i: Any, kept: Any) -> Any:
            xs = jax.tree.map(lambda table: table[first + i], tables)
            registers, history, _, _ = _row(static, model, xs, kept[:km], kept[km:], draws(xs))
            return *registers, *history

        def body(kept: Any, i: Any) -> Any:
            if counts.min() == counts.max():
                return run_row(i, kept), None
            return jax.lax.cond(i < count, run_row, lambda _, same: same, i, kept), None

        if counts.max() == 1:
            kept, _ = body(kept, 0)
        else:
            kept, _ = jax.lax.scan(body, kept, jnp.arange(counts.max()))
        blocks = [kept[i : i + m] for i in range(0, km, m)]
        y1 = _select([node.register for node in nodes[1:]], blocks, n)
        return y1, None, {"y0": y0, "y1": y1}, (n + 1, kept), diffrax.RESULTS.successful

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The model's prediction."""
        return terms.vf(t0, y0, args)


IGNORE = ("ignore", "end")
"""diffrax has results of its own; NaN stay where they are."""


def make_solver(plan: Any) -> PlanSolver:
    """The solver; see :func:`sgmsolve.adapters.plan_solver`."""
    if not isinstance(plan, Plan):
        msg = f"plan_solver was given a {type(plan).__name__}; build a plan with build_plan."
        raise BackendError(msg)
    if plan.tail:
        msg = (
            f"plan {plan.name!r} has coefficients for each mode or sample, which diffrax does not "
            f"run; use sgmsolve.solve."
        )
        raise BackendError(msg)
    nodes = plan.nodes
    pairs = list(itertools.pairwise(nodes))
    whole = len(nodes) > 1 and (nodes[0].boundary, nodes[-1].boundary) == (0, plan.rows)
    if not whole or any(b.time >= a.time or b.boundary <= a.boundary for a, b in pairs):
        msg = (
            f"plan {plan.name!r} holds its solution at the times "
            f"{[round(node.time, 4) for node in nodes]}, expected each later one smaller, from "
            f"t_start to t_end, as diffrax steps one way in time; use sgmsolve.solve."
        )
        raise BackendError(msg)
    return PlanSolver(plan)


def _prepared(plan: Plan, model: Any, z: Any) -> Any:
    """The tables of a run; its noise is never asked."""
    return prepare(plan, model, tuple(z), None, 0, None, "sample", None, *IGNORE, None)


def _own(terms: Any) -> PlanTerm:
    """The plan's terms without diffeqsolve's wrapper; MethodError for any others."""
    term = getattr(terms, "term", terms)
    if not isinstance(term, PlanTerm):
        msg = (
            f"a plan was given {type(term).__name__} as its terms, expected those of "
            f"solver.terms(model, z): plans weigh predictions, and have no vector field; with "
            f"BacksolveAdjoint, which makes terms of its own, use RecursiveCheckpointAdjoint."
        )
        raise MethodError(msg)
    return term


def _select(registers: list[int], blocks: list[Any], n: Any) -> Any:
    """The block of registers that holds the solution after step n."""
    used = sorted(set(registers))
    if len(used) == 1:
        return blocks[used[0]]
    place = jnp.asarray([used.index(k) for k in registers])[n]
    return jax.lax.switch(place, [lambda k=k: blocks[k] for k in used])


def _draws(term: PlanTerm, plan: Plan, static: Static, like: Any) -> Callable[[Rows], list[Any]]:
    """The draws of a row whose number is traced, one for each column that is ever used."""
    shape, dtype = tuple(like.shape[1:]), like.dtype
    if term.path is not None:
        make = _increments(term.path, plan, static, dtype)
    else:

        def make(row: Any, column: int) -> Any:
            return normals(term.keyed, row, column, shape, dtype)

    def draws(xs: Rows) -> list[Any]:
        return [
            make(xs.row, column)
            if static.always[i]
            else jax.lax.cond(
                xs.drawn[i],
                lambda row, column=column: make(row, column),
                lambda _: jnp.zeros_like(like),
                xs.row,
            )
            for i, column in enumerate(static.columns)
        ]

    return draws


def _increments(path: Any, plan: Plan, static: Static, dtype: Any) -> Callable[[Any, int], Any]:
    """``draw(row, column)`` of kind increment from a path of diffrax; see ``brownian``."""
    tables = {}
    for column in static.columns:
        used = [r for r in range(plan.rows) if column in plan.active_draws(r)]
        # Rows that draw nothing take another's interval: under vmap they are evaluated as well.
        ends = [interval(plan, r if r in used else used[0], column) for r in range(plan.rows)]
        tables[column] = np.array(ends)

    def draw(row: Any, column: int) -> Any:
        a, b = jnp.asarray(tables[column], dtype)[row]
        made = jax.tree.leaves(path.evaluate(-b, -a))[column % plan.m]
        return (made / jnp.sqrt(b - a)).astype(dtype)

    return draw
