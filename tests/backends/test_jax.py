"""jax only: compilation, transformations, dtypes."""

from __future__ import annotations

import gc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from executor_cases import GRID, PROCESS, Poisoned, Smooth, bashforth, euler, heun

from sgmsolve import solve
from sgmsolve.backends import jax_scan
from sgmsolve.errors import BackendError

Z = jnp.asarray(np.random.default_rng(1).standard_normal((4, 3)))


class Counting(Smooth):
    """Counts how often it is traced."""

    def __init__(self) -> None:
        self.traces = 0

    def __call__(self, z: Any, t: Any) -> Any:
        self.traces += 1
        return super().__call__(z, t)


def test_another_grid_of_the_same_length_compiles_nothing() -> None:
    model = Counting()
    first = solve(euler(PROCESS, GRID, 0.5), model, Z)
    traced = model.traces
    other = solve(euler(PROCESS, GRID**1.2, 0.4), model, Z, seed=1)
    assert model.traces == traced
    assert np.abs(other.x - first.x).min() > 0
    expected = solve(euler(PROCESS, GRID**1.2, 0.4), Smooth(), Z, seed=1).x
    assert (other.x == expected).all()


def test_tracing_does_not_grow_with_rows() -> None:
    """The network is traced as often for 400 rows as for 8, and the program is as long."""
    sizes, traces = [], []
    for rows in (8, 400):
        model = Counting()
        plan = bashforth(PROCESS, np.linspace(1, 0.01, rows + 1))
        text = jax.jit(lambda z, p=plan, m=model: solve(p, m, z).x).lower(Z).as_text()
        sizes.append(text.count(" = "))
        traces.append(model.traces)
    assert sizes[0] == sizes[1]
    assert traces[0] == traces[1] <= 2


def test_compiled_runs_die_with_their_model() -> None:
    gc.collect()
    before = len(jax_scan._compiled)
    model = Smooth()
    solve(heun(PROCESS, GRID), model, Z)
    assert len(jax_scan._compiled) == before + 1
    del model
    gc.collect()
    assert len(jax_scan._compiled) == before


@pytest.mark.parametrize("build", [heun, bashforth, lambda p, g: euler(p, g, 0.5)])
def test_gradients_are_those_of_finite_differences(build: Any) -> None:
    plan, model = build(PROCESS, GRID), Smooth()

    def loss(z: Any) -> Any:
        return (solve(plan, model, z, seed=2).x ** 2).mean()

    gradient = jax.grad(loss)(Z)
    e = jnp.zeros_like(Z).at[1, 2].set(1e-6)
    difference = (loss(Z + e) - loss(Z - e)) / 2e-6
    assert np.isclose(difference, gradient[1, 2], rtol=1e-4)


def test_gradients_in_a_networks_weights() -> None:
    """A model made inside the differentiated function closes over traced weights."""
    plan = heun(PROCESS, GRID)

    def loss(w: Any) -> Any:
        class Scaled(Smooth):
            def __call__(self, z: Any, t: Any) -> Any:
                return (w * z[0] * t,)

        return (solve(plan, Scaled(), Z).x ** 2).mean()

    gradient = jax.grad(loss)(0.5)
    assert np.isclose((loss(0.5 + 1e-6) - loss(0.5 - 1e-6)) / 2e-6, gradient, rtol=1e-6)


def test_jit_and_vmap() -> None:
    plan, model = euler(PROCESS, GRID, 0.5), Poisoned(0.3)

    def run(z: Any) -> Any:
        solution = solve(plan, model, z, seed=2)
        return solution.x, solution.flags

    good = Smooth()
    expected = solve(plan, good, Z, seed=2).x
    got = jax.jit(lambda z: solve(plan, good, z, seed=2).x)(Z)
    assert np.abs(got - expected).max() <= 1e-14 * np.abs(expected).max()
    stacked = jax.vmap(lambda z: solve(plan, good, z, seed=2).x)(jnp.stack([Z, 2 * Z]))
    assert np.abs(stacked[0] - expected).max() <= 1e-14 * np.abs(expected).max()
    _, flags = jax.jit(run)(Z)  # nothing can be raised here: the flags say what happened
    first = int(np.flatnonzero(plan.t <= 0.3)[0])
    assert flags.tolist() == [r < first for r in range(plan.rows)] + [False]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_states_keep_their_dtype(dtype: str) -> None:
    for plan in (bashforth(PROCESS, GRID), euler(PROCESS, GRID, 0.5)):
        model = Smooth()
        solution = solve(plan, model, Z.astype(dtype), noise="philox")
        exact = solve(plan, model, Z, noise="philox").x
        assert solution.x.dtype == dtype
        error = np.abs(solution.x.astype(float) - exact).max() / np.abs(exact).max()
        assert error < 8 * float(jnp.finfo(dtype).eps)


def test_a_draw_is_skipped_where_its_column_is_zero() -> None:
    """Rows without noise keep the deterministic result: column entries, not draws, decide."""
    plan = euler(PROCESS, GRID, 0.5)
    noise = plan.noise.copy()
    noise[::2] = 0.0
    some, model = plan.replace(noise=noise), Smooth()
    static, rows = jax_scan.lowered(_runner(some, model))
    assert static.always == (False,)
    assert rows.drawn[:, 0].tolist() == [False, True] * 4
    by_host = [*jax.tree.map(np.asarray, _steps(some, model))][-1]
    assert np.abs(solve(some, model, Z, seed=4).x - by_host).max() <= 1e-14 * np.abs(by_host).max()


def _runner(plan: Any, model: Any) -> Any:
    from sgmsolve.backends.solve import prepare

    return prepare(plan, model, Z, None, 0, None, "sample", None, "raise", "end", None)


def _steps(plan: Any, model: Any) -> list[Any]:
    from sgmsolve import steps

    return [s.x for s in steps(plan, model, Z, seed=4)]


def test_reading_each_row_inside_jit_is_a_sentence() -> None:
    with pytest.raises(BackendError, match=r"cannot be done inside jax\.jit"):
        jax.jit(lambda z: solve(heun(PROCESS, GRID), Smooth(), z, check="each-row").x)(Z)
