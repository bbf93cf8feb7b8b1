"""jax: one jitted ``lax.scan`` whose tables are array arguments.

A compiled run depends on the model, on which entries of the tables are ever nonzero and on shapes,
so another grid of the same length compiles nothing, and compile time does not grow with the number
of rows. Runs with hooks call the same row function, jitted once, from the host.

The model's arrays are constants of the compiled run, which is kept for as long as the model object
lives: make a new model after changing a network's weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sgmsolve.backends.acting import Acting
from sgmsolve.backends.jax_noise import normals, where
from sgmsolve.backends.lowering import flat
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.backends.prediction import checked, native, tables
from sgmsolve.backends.runner import Runner, finish
from sgmsolve.backends.state import Solution
from sgmsolve.plan import Plan
from sgmsolve.plan.parts import Word

Pattern = tuple[tuple[int, ...], ...]


class JaxOps:
    """Array operations of the loop on jax arrays, traced or not."""

    kind = "jax"
    tables = staticmethod(tables)
    truth = staticmethod(bool)
    where = staticmethod(jnp.where)
    both = staticmethod(jnp.logical_and)
    zeros = staticmethod(jnp.zeros_like)

    @staticmethod
    def combine(terms: Any, sources: list[Any]) -> Any:
        """Sum of coefficient (a Python float) times source."""
        total: Any = None
        for c, s, _ in terms:
            term = sources[s] if c == 1.0 else c * sources[s]
            total = term if total is None else total + term
        return total

    @staticmethod
    def is_floating(x: Any) -> bool:
        """Whether the dtype is real and floating."""
        return bool(jnp.issubdtype(x.dtype, jnp.floating))

    @staticmethod
    def is_traced(x: Any) -> bool:
        """Whether the array stands for values that are not known yet."""
        return isinstance(x, jax.core.Tracer)

    @staticmethod
    def cast(x: Any, like: Any) -> Any:
        """``x`` in the dtype of ``like``."""
        return x.astype(like.dtype)

    @staticmethod
    def finite(arrays: Iterable[Any]) -> Any:
        """Whether all entries are finite, as a 0-d array."""
        return jnp.all(jnp.stack([jnp.isfinite(a).all() for a in arrays]))

    @staticmethod
    def first_bad(flags: list[Any]) -> tuple[int | None, Any]:
        """Index of the first flag that is down; None as well where flags are traced."""
        return _first_bad(jnp.stack(flags)) if flags else (None, None)


def _first_bad(flags: Any) -> tuple[int | None, Any]:
    if isinstance(flags, jax.core.Tracer):
        return None, flags
    down = np.flatnonzero(~np.asarray(flags))
    return (int(down[0]) if len(down) else None), flags


class Static(NamedTuple):
    """What a compiled run is specialised to, besides model and shapes.

    ``outputs``: sources of every register component, over all rows; sources are registers,
    predictions (newest first), then ``columns``; ``always``: whether every row draws that column.
    ``conversion``: the same for the conversion of predictions, None if there is none. ``acts``: the
    same for what each word of operators acts on.
    """

    m: int
    p: int
    keep: int
    expected: int
    predicts: str
    outputs: Pattern
    columns: tuple[int, ...]
    always: tuple[bool, ...]
    conversion: Pattern | None
    freeze: bool
    acts: tuple[tuple[Word, Pattern], ...]
    acting: Acting | None


class Rows(NamedTuple):
    """Tables of the rows to run, the leading axis counting rows: arguments of the compiled run."""

    row: np.ndarray
    t: np.ndarray
    table: np.ndarray
    drawn: np.ndarray
    conversion: np.ndarray
    acts: tuple[np.ndarray, ...]


def _lowered(run: Runner) -> tuple[Static, Rows]:
    """Static structure and float64 tables of a run."""
    plan, low = run.plan, run.lowered
    active = [plan.active_draws(r) for r in range(plan.rows)]
    columns = np.unique(np.concatenate([np.array(row, dtype=int) for row in active]))
    drawn = np.array([np.isin(columns, row) for row in active])
    first = plan.k * plan.m + plan.history * plan.p
    kept = [*range(first), *(first + columns)]
    table, *acts = (flat(plan, source)[:, :, kept] for source in plan.sources)
    matrices = run.tables.matrices
    conversion = np.zeros((plan.rows, 0)) if matrices is None else np.stack(matrices)
    static = Static(
        m=low.m,
        p=low.p,
        keep=low.keep,
        expected=run.tables.expected,
        predicts=plan.predicts,
        outputs=_pattern(table),
        columns=tuple(columns.tolist()),
        always=tuple(bool(drawn[:, i].all()) for i in range(len(columns))),
        conversion=None if matrices is None else _pattern(conversion),
        freeze=run.on_nonfinite == "stop",
        acts=tuple((p.word, _pattern(a)) for p, a in zip(plan.parts, acts, strict=True)),
        acting=low.acting,
    )
    return static, Rows(np.arange(plan.rows), plan.t, table, drawn, conversion, tuple(acts))


def _pattern(table: np.ndarray) -> Pattern:
    return tuple(tuple(np.flatnonzero(u).tolist()) for u in (table != 0).any(axis=0))


_kept: weakref.WeakKeyDictionary[Plan, dict[Any, Any]] = weakref.WeakKeyDictionary()


def lowered(run: Runner) -> tuple[Static, Rows]:
    """:func:`_lowered` with the tables in the types they are used in, cached with the plan."""
    exact = run.z[0].dtype.itemsize == 8
    model = run.model
    key = (model.predicts, str(model.process.spec()), hasattr(model, "as_kind"))
    cache = _kept.setdefault(run.plan, {})
    found = cache.get((key, exact, run.on_nonfinite))
    if found is None:
        static, rows = _lowered(run)
        # 16-bit states are combined in float32: their coefficients would lose digits otherwise.
        real = np.float64 if exact else np.float32
        rows = Rows(
            rows.row.astype(np.int32),
            rows.t.astype(real),
            rows.table.astype(real),
            rows.drawn,
            rows.conversion.astype(real),
            tuple(table.astype(real) for table in rows.acts),
        )
        found = cache[key, exact, run.on_nonfinite] = static, rows
    return found


def _combine(pattern: Pattern, table: Any, sources: list[Any]) -> list[Any]:
    """All outputs of one row; ``table`` (outputs, sources) is an array."""
    like, out = sources[0], []
    for i, used in enumerate(pattern):
        total: Any = sum(table[i, j] * sources[j].astype(table.dtype) for j in used)
        out.append(total.astype(like.dtype) if used else jnp.zeros_like(like))
    return out


def _row(
    static: Static,
    model: Any,
    xs: Rows,
    registers: tuple[Any, ...],
    history: tuple[Any, ...],
    draws: list[Any],
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...], Any]:
    """One row: registers, history, prediction, finite flag."""
    z = registers[: static.m]
    e = checked(model(z, xs.t), z, static.expected, JaxOps, xs.row, xs.t)
    if static.conversion is not None:
        e = tuple(_combine(static.conversion, xs.conversion, [*z, *e]))
    predictions = (*e, *history)
    sources = [*registers, *predictions, *draws]
    after = tuple(_combine(static.outputs, xs.table, sources))
    if static.acting is not None:
        after = _acted(static.acting, static, xs, sources, after)
    return after, predictions[: static.keep], e, JaxOps.finite(e)


def _acted(
    acting: Acting, static: Static, xs: Rows, sources: list[Any], after: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The registers with what operators make of their sums added."""
    pairs = zip(static.acts, xs.acts, strict=True)
    made = [_combine(used, table, sources) for (_, used), table in pairs]
    out = list(after)
    for i in range(len(out)):
        words = {word: made[w][i] for w, (word, used) in enumerate(static.acts) if used[i]}
        out[i] = out[i] + acting.apply(words) if words else out[i]
    return tuple(out)


def _scan(static: Static, model: Any) -> Callable[..., Any]:
    """The run: (rows, registers, history, at) -> (registers, history, flags)."""

    def body(carry: Any, xs: Rows, at: Any) -> Any:
        registers, history, clear = carry
        like, draws = registers[0], []
        shape, dtype = tuple(like.shape[1:]), like.dtype
        for i, column in enumerate(static.columns):

            def draw(row: Any, column: int = column) -> Any:
                return normals(at, row, column, shape, dtype)

            draws.append(
                draw(xs.row)
                if static.always[i]
                else jax.lax.cond(xs.drawn[i], draw, lambda _: jnp.zeros_like(like), xs.row)
            )
        after, kept, _, flag = _row(static, model(), xs, registers, history, draws)
        if static.freeze:
            clear = clear & flag
            after, kept = jax.tree.map(
                lambda new, old: jnp.where(clear, new, old), (after, kept), (registers, history)
            )
        return (after, kept, clear), flag

    def run(rows: Rows, registers: Any, history: Any, at: Any) -> Any:
        carry = (registers, history, jnp.bool_(True))
        (registers, history, clear), flags = jax.lax.scan(
            lambda carry, xs: body(carry, xs, at), carry, rows
        )
        flags = jnp.append(flags, JaxOps.finite(registers[: static.m]) | ~clear)
        return registers, history, flags

    return run


_compiled: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def compiled(model: Any, static: Static, what: str) -> Callable[..., Any]:
    """The jitted scan or row of a model, kept until the model is gone."""
    try:
        ref, cache = weakref.ref(model), _compiled.setdefault(model, {})
    except TypeError:  # unhashable or without weak references: compile every time
        ref, cache = (lambda: model), {}  # type: ignore[assignment]
    if (what, static) not in cache:

        def alive() -> Any:
            return native(static.predicts, ref())

        if what == "scan":
            cache[what, static] = jax.jit(_scan(static, alive))
        else:
            cache[what, static] = jax.jit(
                lambda xs, registers, history, draws: _row(
                    static, alive(), xs, registers, history, draws
                )
            )
    return cache[what, static]


def advance(run: Runner) -> tuple[list[Any], list[Any], tuple[Any, ...]]:
    """One row driven by the host: registers, history, prediction."""
    static, rows = lowered(run)
    r = run.r
    like = run.registers[0]
    draws = [
        run.draw(r, column) if rows.drawn[r, i] else jnp.zeros_like(like)
        for i, column in enumerate(static.columns)
    ]
    function = compiled(run.model, static, "row")
    xs = jax.tree.map(lambda table: table[r], rows)
    after, kept, e, _ = function(xs, tuple(run.registers), tuple(run.history), draws)
    return list(after), list(kept), e


def scan(run: Runner) -> Solution:
    """The whole run (from where the Runner is) in one compiled scan."""
    static, rows = lowered(run)
    noise = run.noise
    batch = int(run.z[0].shape[0])
    at = where(noise, batch) if static.columns and isinstance(noise, KeyedNoise) else None
    first = run.r
    if first:
        rows = jax.tree.map(lambda table: table[first:], rows)
    function = compiled(run.model, static, "scan")
    registers, history, flags = function(rows, tuple(run.registers), tuple(run.history), at)
    run.registers, run.history = list(registers), list(history)
    run.nfe, run.r = run.nfe + run.plan.rows - first, run.plan.rows
    found, flags = _first_bad(flags)
    bad = None if found is None or run.on_nonfinite == "ignore" else first + found
    return finish(run, registers[: static.m], bad, flags, run.state)


def scannable(run: Runner) -> bool:
    """Whether all draws can be made inside the scan: native keyed noise, or none."""
    if run.immediate or run.lowered.spread:
        return False
    native_noise = isinstance(run.noise, KeyedNoise) and run.noise.generator == "native"
    return native_noise or not run.plan.stochastic
