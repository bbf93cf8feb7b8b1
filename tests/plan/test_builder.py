"""Formulas in, tables out: registers, history, draws, nodes, components."""

import itertools
from typing import Any

import mpmath
import numpy as np
import pytest

from sgmsolve.backends import numpy_loop
from sgmsolve.errors import GridError, PlanError
from sgmsolve.plan import Node, Plan, PlanBuilder
from sgmsolve.process.base import AbstractProcess
from sgmsolve.process.vp import VP

GRID = (0.8, 0.6, 0.5, 0.3)
SHAPE = (5,)


class Oscillator(AbstractProcess):
    """A two-component stand-in: only what the builder asks of a process."""

    names = ("x", "v")
    t_min, t_max = 0.0, 1.0
    starts_at_zero_alpha = False
    initial_covariance = np.eye(2)

    def F(self, t: Any) -> Any:
        return np.array([[0.0, 1.0], [-1.0, -0.5]])

    def G(self, t: Any) -> Any:
        return np.diag([0.1, 0.7])

    def flow(self, start: Any, end: Any) -> Any:
        raise NotImplementedError

    def transition(self, start: Any, end: Any) -> Any:
        raise NotImplementedError

    def loading(self, t: Any) -> Any:
        return np.array([1.0 - t / 2, 0.3])

    def covariance(self, t: Any) -> Any:
        return (0.1 + t) * np.eye(2)

    def conversion(self, source: str, target: str, t: Any) -> Any:
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        return {"process": "oscillator"}


def noise(z: Any, t: float) -> Any:
    """A nonlinear stand-in for a network, different for each component."""
    return tuple(np.sin((i + 1) * x + t) for i, x in enumerate(z))


class Replay:
    """Standard normals by (row, column), the same whenever asked."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], np.ndarray] = {}

    def __call__(self, row: int, column: int) -> np.ndarray:
        rng = np.random.default_rng((row + 1) * 97 + column)
        return self.seen.setdefault((row, column), rng.standard_normal(SHAPE))


def run(plan: Plan, *z: np.ndarray) -> tuple[np.ndarray, ...]:
    return numpy_loop.run(plan, noise, z, Replay())


X, V = np.linspace(-1, 2, 5), np.linspace(0.5, -0.3, 5)


def test_one_step_method_needs_one_register() -> None:
    b = PlanBuilder(VP(), GRID, predicts="noise")
    for t, s in b.steps():
        b.advance(0.9 * b.z - (t - s) * b.predict(b.z, t))
    plan = b.plan()
    assert (plan.k, plan.history, plan.rows) == (1, 1, 3)
    assert plan.t.tolist() == [0.8, 0.6, 0.5]
    x = X
    for t, s in itertools.pairwise(GRID):
        x = 0.9 * x - (t - s) * np.sin(x + t)
    np.testing.assert_allclose(run(plan, X)[0], x, rtol=1e-14)


def test_two_stages_keep_their_base_in_a_second_register() -> None:
    b = PlanBuilder(VP(), GRID, predicts="noise")
    for t, s in b.steps():
        x, h = b.z, s - t
        e0 = b.predict(x, t)
        e1 = b.predict(1.1 * x + h * e0, s)
        b.advance(1.2 * x + h / 2 * (e0 + 3 * e1))
    plan = b.plan()
    assert (plan.k, plan.rows) == (2, 6)
    x = X
    for t, s in itertools.pairwise(GRID):
        e0 = np.sin(x + t)
        x = 1.2 * x + (s - t) / 2 * (e0 + 3 * np.sin(1.1 * x + (s - t) * e0 + s))
    np.testing.assert_allclose(run(plan, X)[0], x, rtol=1e-14)


def test_old_predictions_are_history_not_registers() -> None:
    b = PlanBuilder(VP(), GRID, predicts="noise")
    old = None
    for t, s in b.steps():
        e = b.predict(b.z, t)
        b.advance(b.z + (s - t) * (e if old is None else 1.5 * e - 0.5 * old))
        old = e
    plan = b.plan()
    assert (plan.k, plan.history) == (1, 2)
    assert plan.kick[0, 0, 0, 1] == 0
    assert plan.kick[1, 0, 0].tolist() == pytest.approx([-0.15, 0.05])


def test_a_rare_long_lag_goes_to_a_register() -> None:
    """Thirty remembered predictions for one use would cost more than one register."""
    b = PlanBuilder(VP(), np.linspace(0.9, 0.1, 31), predicts="noise")
    first, x = None, X
    es = []
    for t, s in b.steps():
        e = b.predict(b.z, t)
        es.append(np.sin(x + t))
        first = first or e
        last = s == b.times[-1]
        b.advance(b.z + (s - t) * e + (0.25 * first if last else 0))
        x = x + (s - t) * es[-1] + (0.25 * es[0] if last else 0)
    plan = b.plan()
    assert plan.history == 1
    assert plan.k == 2
    np.testing.assert_allclose(run(plan, X)[0], x, rtol=1e-13)


def test_a_draw_used_in_two_rows_is_carried() -> None:
    b = PlanBuilder(VP(), GRID[:3], predicts="noise", draws="increment")
    for t, s in b.steps():
        e0 = b.predict(b.z, t)
        xi = b.xi()
        e1 = b.predict(b.z + 0.3 * e0 + 0.4 * xi, s)
        b.advance(b.z + 0.2 * e1 + 0.7 * xi)
    plan = b.plan()
    drawn = [(r, j) for r in range(plan.rows) for j in plan.active_draws(r)]
    assert drawn == [(0, 0), (2, 0)]
    assert str(plan.draws["kind"][0, 0]) == "increment"
    assert (plan.draws["start"][2, 0], plan.draws["end"][2, 0]) == (0.5, 0.6)
    draw, x = Replay(), X
    for i, (t, s) in enumerate([(0.8, 0.6), (0.6, 0.5)]):
        xi = draw(2 * i, 0)
        x = x + 0.2 * np.sin(x + 0.3 * np.sin(x + t) + 0.4 * xi + s) + 0.7 * xi
    np.testing.assert_allclose(run(plan, X)[0], x, rtol=1e-14)


def test_noise_before_the_first_evaluation_is_the_prelude() -> None:
    b = PlanBuilder(VP(), GRID[:2], predicts="noise")
    for _, s in b.steps():
        b.advance(0.5 * b.z + 0.3 * b.xi(0.8, 0.9, kind="kernel"), 0.9)
        b.advance(b.z - 0.1 * b.predict(b.z, 0.9), s)
    plan = b.plan()
    assert plan.prelude_move.tolist() == [[0.5]]
    assert plan.prelude_noise.tolist() == [[0.3]]
    assert str(plan.prelude_draws["kind"][0]) == "kernel"
    up = 0.5 * X + 0.3 * Replay()(-1, 0)
    np.testing.assert_allclose(run(plan, X)[0], up - 0.1 * np.sin(up + 0.9), rtol=1e-14)
    assert plan.stochastic


def test_nodes_say_where_each_grid_point_is_held() -> None:
    b = PlanBuilder(VP(), GRID, predicts="noise")
    for t, s in b.steps():
        x = b.z
        e0 = b.predict(x, t)
        e1 = b.predict(x + 0.1 * e0, s)
        b.advance(x + 0.2 * e1)
    plan = b.plan()
    assert plan.nodes == tuple(Node(t, 2 * i, 0) for i, t in enumerate(GRID))
    values = plan.node_responses()
    assert len(values) == len(GRID)
    assert values[1].predictions[:, 0, 0].tolist() == pytest.approx([0, 0.2, 0, 0, 0, 0])
    assert values[-1].flat().tolist() == plan.response().flat().tolist()


def test_matrices_act_on_components() -> None:
    A = np.array([[1.0, 0.2], [-0.3, 0.9]])
    B = np.array([[0.0, 0.1], [0.4, -0.2]])
    C = np.array([[0.0, 0.0], [0.5, 0.6]])
    b = PlanBuilder(Oscillator(), GRID, predicts="noise")
    for t, _ in b.steps():
        b.advance(A @ b.z + B @ b.predict(b.z, t) + C @ b.xi())
    plan = b.plan()
    assert (plan.m, plan.k, plan.p, plan.noise.shape) == (2, 1, 2, (3, 2, 2))
    draw, z = Replay(), np.stack([X, V])
    for r, t in enumerate(GRID[:-1]):
        xi = np.stack([draw(r, 0), draw(r, 1)])
        z = A @ z + B @ np.stack(noise(z, t)) + C @ xi
    np.testing.assert_allclose(np.stack(run(plan, X, V)), z, rtol=1e-13)


def test_scalars_and_matrices_mix() -> None:
    """A scalar stands for a multiple of the identity, in sums too."""
    A = np.array([[1.0, 0.2], [-0.3, 0.9]])
    b = PlanBuilder(Oscillator(), GRID[:2], predicts="noise")
    for t, _ in b.steps():
        e = b.predict(b.z, t)
        b.advance(A @ b.z + 2 * b.z + e - A @ e)
    plan = b.plan()
    np.testing.assert_array_equal(plan.move[0], A + 2 * np.eye(2))
    np.testing.assert_array_equal(plan.kick[0, :, :, 0], np.eye(2) - A)


def test_two_components_two_stages() -> None:
    A = np.array([[1.0, 0.2], [-0.3, 0.9]])
    b = PlanBuilder(Oscillator(), GRID, predicts="noise")
    for t, s in b.steps():
        x = b.z
        e0 = b.predict(x, t)
        xi = b.xi()
        e1 = b.predict(A @ x + 0.1 * e0 + 0.2 * xi, s)
        b.advance(A @ x + A @ e1 + 0.5 * e0 + 0.3 * xi)
    plan = b.plan()
    z = np.stack([X, V])
    draw = Replay()
    for i, (t, s) in enumerate(itertools.pairwise(GRID)):
        xi = np.stack([draw(2 * i, 0), draw(2 * i, 1)])
        e0 = np.stack(noise(z, t))
        e1 = np.stack(noise(A @ z + 0.1 * e0 + 0.2 * xi, s))
        z = A @ z + A @ e1 + 0.5 * e0 + 0.3 * xi
    np.testing.assert_allclose(np.stack(run(plan, X, V)), z, rtol=1e-13)


def test_multiprecision_tables() -> None:
    with mpmath.workdps(40):
        grid = [mpmath.mpf(8) / 10, mpmath.mpf(1) / 3]
        b = PlanBuilder(VP(), grid, predicts="noise")
        for t, s in b.steps():
            b.advance((s / t) * b.z + (s - t) * b.predict(b.z, t))
        plan = b.plan()
        assert plan.move.dtype == object
        assert abs(plan.move[0, 0, 0] - mpmath.mpf(5) / 12) < mpmath.mpf(10) ** -39
        assert abs(plan.nodes[1].time - mpmath.mpf(1) / 3) < mpmath.mpf(10) ** -39
        assert (
            abs(plan.response().predictions[0, 0, 0] + mpmath.mpf(7) / 15) < mpmath.mpf(10) ** -39
        )


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([0.5], "one step needs two"),
        ([0.1, 0.5], "must decrease"),
        ([0.5, 0.5], "must decrease"),
        ([3.0, 0.5], "process lives on"),
    ],
)
def test_bad_grids_are_refused(grid: list[float], words: str) -> None:
    with pytest.raises(GridError, match=words):
        PlanBuilder(VP(), grid, predicts="noise")


def test_mistakes_of_method_authors_are_sentences() -> None:
    b = PlanBuilder(VP(), GRID, predicts="noise")
    steps = b.steps()
    next(steps)
    with pytest.raises(PlanError, match=r"did not advance from t = 0\.8"):
        next(steps)
    with pytest.raises(PlanError, match="no prediction"):
        PlanBuilder(VP(), GRID, predicts="noise").plan()
    with pytest.raises(PlanError, match="unknown draw kind 'brownian'"):
        b.xi(kind="brownian")
