"""solve and steps: bad input, non-finite predictions, hooks, memory, counting."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from executor_cases import (
    BACKENDS,
    GRID,
    PROCESS,
    Poisoned,
    Smooth,
    bashforth,
    euler,
    heun,
    random_plan,
    to_backend,
    to_host,
)

from sgmsolve import VP, CountCalls, KeyedNoise, State, Status, as_model, solve, steps
from sgmsolve.backends import numpy_loop
from sgmsolve.errors import BackendError, ModelError, PlanError, SolveError

Z = np.random.default_rng(1).standard_normal((4, 3))
PLANS = {
    "euler": euler(PROCESS, GRID, 0.6),
    "heun": heun(PROCESS, GRID),
    "bashforth": bashforth(PROCESS, GRID),
}
HOSTS = ("numpy", "torch")


class Returns(Smooth):
    """A model that returns a fixed thing."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, z: Any, t: Any) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ((np.ones((4, 2)),), r"shape \(4, 2\) in row 0 at t = 1, expected the state's \(4, 3\)"),
        ((np.ones((4, 3), int),), "dtype int64 in row 0"),
        ((np.ones((4, 3), complex),), "dtype complex128 in row 0"),
        ((1.0,), "builtins.float in row 0"),
        ((Z, Z), r"returned 2 array\(s\) in row 0 at t = 1, expected 1"),
        ((), r"returned 0 array\(s\)"),
        (to_backend(Z, "torch"), r"torch\.Tensor in row 0 at t = 1, expected a numpy array"),
    ],
)
def test_a_wrong_prediction_is_a_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        solve(PLANS["euler"], Returns(value), Z)


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_are_checked_and_cast_on_every_backend(backend: str) -> None:
    z = to_backend(Z, backend, "float32")
    with pytest.raises(ModelError, match=r"dtype .*int32"):
        solve(PLANS["euler"], Returns((to_backend(Z, backend, "int32"),)), z)
    with pytest.raises(ModelError, match=r"shape \(4, 2\)"):
        solve(PLANS["euler"], Returns((to_backend(Z[:, :2], backend, "float32"),)), z)
    cast = solve(PLANS["euler"], Returns((to_backend(Z, backend, "float64"),)), z)
    plain = solve(PLANS["euler"], Returns((to_backend(Z, backend, "float32"),)), z)
    assert cast.x.dtype == z.dtype
    assert (to_host(cast.x) == to_host(plain.x)).all()


@pytest.mark.parametrize(
    ("z", "sentence"),
    [
        ((Z, Z), r"has 2 component\(s\), but plan 'euler' is for 1"),
        ([1.0], "component of the state is a float"),
        (np.float64(1.0), "component of the state is a float64"),
        (np.array(1.0), "0-dimensional"),
        (np.ones((2, 3), int), "dtype is int64"),
        (np.ones((2, 3), complex), "dtype is complex128"),
        (None, "is a NoneType"),
    ],
)
def test_a_wrong_state_is_a_sentence(z: Any, sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        solve(PLANS["euler"], Smooth(), z)


def test_components_that_differ_are_a_sentence() -> None:
    plan, model = random_plan(0), Smooth()
    model.process = type("P", (), {"spec": lambda self: {"process": "none"}})()  # type: ignore[assignment]
    with pytest.raises(BackendError, match="mixes numpy and torch arrays"):
        solve(plan, model, (Z, to_backend(Z, "torch")))
    with pytest.raises(BackendError, match=r"\(4, 3\) float64 and \(4, 2\) float64"):
        solve(plan, model, (Z, Z[:, :2]))


def test_other_processes_and_options_are_sentences() -> None:
    plan = PLANS["euler"]
    with pytest.raises(BackendError, match=r"different: .*beta_max"):
        solve(plan, as_model(lambda x, t: x, VP(beta_max=19.0), predicts="noise"), Z)
    with pytest.raises(BackendError, match=r"function without \.process; wrap the network"):
        solve(plan, lambda z, t: z, Z)
    with pytest.raises(BackendError, match="str as its plan"):
        solve("euler", Smooth(), Z)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="Did you mean 'raise'"):
        solve(plan, Smooth(), Z, on_nonfinite="rais")
    with pytest.raises(BackendError, match="Did you mean 'each-row'"):
        solve(plan, Smooth(), Z, check="each_row")
    with pytest.raises(BackendError, match="resume is a int, expected a State"):
        solve(plan, Smooth(), Z, resume=3)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="callback is a int, expected a function"):
        solve(plan, Smooth(), Z, callback=3)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="between is a int, expected a function"):
        steps(plan, Smooth(), Z, between=3)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="noise is the class KeyedNoise"):
        solve(plan, Smooth(), Z, noise=KeyedNoise)  # type: ignore[arg-type]
    kick = np.zeros((*plan.kick.shape[:3], 2))
    kick[0, 0, 0, 1] = 1.0
    with pytest.raises(PlanError, match="reads the prediction of 1 row"):
        solve(plan.replace(kick=kick), Smooth(), Z)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nonfinite_predictions(backend: str) -> None:
    plan, z = PLANS["bashforth"], to_backend(Z, backend)
    bad_t = float(plan.t[3])
    good = [to_host(s.x) for s in steps(plan, Smooth(), z)]
    with pytest.raises(SolveError, match=f"in row 3 of 8 at t = {bad_t:.6g}") as caught:
        solve(plan, Poisoned(bad_t), z)
    assert caught.value.status is Status.NONFINITE
    for check in ("end", "each-row"):
        model = Poisoned(bad_t)
        stopped = solve(plan, model, z, on_nonfinite="stop", check=check)
        assert (stopped.status, stopped.nonfinite_row) == (Status.NONFINITE, 3)
        assert stopped.nonfinite_time == bad_t
        assert np.abs(to_host(stopped.x) - good[2]).max() <= 1e-14 * np.abs(good[2]).max()
        assert stopped.nfe == (8 if check == "end" and backend != "numpy" else 4)
        if backend == "torch":
            assert model.calls == stopped.nfe
        resumed = solve(plan, Smooth(), z, resume=stopped.state)
        assert np.abs(to_host(resumed.x) - good[-1]).max() <= 1e-13 * np.abs(good[-1]).max()
    model = Poisoned(bad_t)
    with pytest.raises(SolveError, match="in row 3 of 8"):
        solve(plan, model, z, check="each-row")
    if backend != "jax":
        assert model.calls == 4
    ignored = solve(plan, Poisoned(bad_t), z, on_nonfinite="ignore")
    assert ignored.status is Status.FINISHED
    assert np.isnan(to_host(ignored.x)).all()
    assert ignored.nfe == 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_result_that_overflows_is_named(backend: str) -> None:
    plan = PLANS["heun"]
    move = plan.move.copy()
    move[-1] *= 1e300
    z = to_backend(1e30 * Z, backend)
    with np.errstate(over="ignore"), pytest.raises(SolveError, match="the result is NaN or Inf"):
        solve(plan.replace(move=move), Smooth(), z)


@pytest.mark.parametrize("backend", BACKENDS)
def test_hooks_see_rows_and_change_them(backend: str) -> None:
    plan, z, seen = PLANS["heun"], to_backend(Z, backend), []

    def between(row: int, point: Any, t: float, model: Any) -> Any:
        seen.append((row, t))
        if row == 1:
            (e,) = model(point, t)
            return point[0] - 0.1 * e
        return None

    solution = solve(plan, Smooth(), z, between=between)
    assert seen == [(r, float(t)) for r, t in enumerate([*plan.t[1:], plan.t_end])]
    assert solution.nfe == plan.nfe + 1
    # By hand: two rows, the change, and the rest from a saved state.
    first = next(s for s in steps(plan, Smooth(), z) if s.row == 1)
    (e,) = Smooth()(first.z, first.t)
    state = first.state
    changed = State(
        state.row,
        (first.x - 0.1 * e, *state.registers[1:]),
        state.history,
        state.plan_key,
        state.noise,
        2,
    )
    expected = to_host(solve(plan, Smooth(), z, resume=changed).x)
    assert np.abs(to_host(solution.x) - expected).max() < 1e-14 * np.abs(expected).max()
    with pytest.raises(BackendError, match="between returned something else than 1 "):
        solve(plan, Smooth(), z, between=lambda row, point, t, model: point[0][:1])


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_hook_does_not_move_what_is_frozen(backend: str) -> None:
    plan, z = PLANS["euler"], to_backend(Z, backend)

    def shift(row: int, point: Any, t: float, model: Any) -> Any:
        return point[0] + 1.0

    good = [to_host(s.x) for s in steps(plan, Smooth(), z, between=shift)]
    stopped = solve(plan, Poisoned(float(plan.t[3])), z, between=shift, on_nonfinite="stop")
    assert stopped.nonfinite_row == 3
    assert np.abs(to_host(stopped.x) - good[2]).max() <= 1e-14 * np.abs(good[2]).max()


def test_progress_bar_and_callback(capsys: pytest.CaptureFixture[str]) -> None:
    nfe: list[int] = []
    solution = solve(
        PLANS["heun"], Smooth(), Z, progress=True, callback=lambda s: nfe.append(s.nfe)
    )
    assert "16/16" in capsys.readouterr().err
    assert nfe == list(range(1, 17))
    assert solution.status is Status.FINISHED
    assert solution.state is None


@pytest.mark.parametrize("backend", HOSTS)
@pytest.mark.parametrize("name", PLANS)
def test_counted_calls_are_the_plans_nfe(name: str, backend: str) -> None:
    model = CountCalls(Smooth())
    solution = solve(PLANS[name], model, to_backend(Z, backend))
    assert model.calls == solution.nfe == PLANS[name].nfe


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_states_keep_their_dtype_on_numpy(dtype: str) -> None:
    solution = solve(PLANS["bashforth"], Smooth(), Z.astype(dtype))
    assert solution.x.dtype == np.dtype(dtype)
    exact = solve(PLANS["bashforth"], Smooth(), Z).x
    assert np.abs(solution.x - exact).max() < 40 * np.finfo(dtype).eps * np.abs(exact).max()


def test_the_input_is_never_written_to() -> None:
    z = Z.copy()
    for plan in PLANS.values():
        for _ in steps(plan, as_model(lambda x, t: x, PROCESS, predicts="noise"), z):
            pass
    assert (z == Z).all()


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("steps_", [8, 64])
def test_peak_memory_on_numpy(name: str, steps_: int) -> None:
    """Registers, histories and two states above what was there, whatever the number of rows."""
    build = {"euler": lambda p, g: euler(p, g, 0.5), "heun": heun, "bashforth": bashforth}
    plan = build[name](PROCESS, np.linspace(1, 0.01, steps_ + 1))
    z = np.ones((8, 40000))
    model = as_model(lambda x, t: np.zeros_like(x), PROCESS, predicts="noise")
    solve(plan, model, z, seed=1)
    tracemalloc.start()
    solve(plan, model, z, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (plan.k * plan.m + plan.history * plan.p + 2 + 0.2) * z.nbytes


def test_the_specification_runs_by_itself() -> None:
    """``numpy_loop.run`` with plain callables is the same run."""
    plan = PLANS["bashforth"]

    def predict(z: Any, t: float) -> Any:
        return Smooth()(z, t)

    (got,) = numpy_loop.run(plan, predict, (Z,), lambda row, column: np.zeros_like(Z))
    assert (got == solve(plan, Smooth(), Z).x).all()
