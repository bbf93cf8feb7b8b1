"""Strong orders: the path, the reference, the interval, the verdict, and orders that are known."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import math
from typing import Any

import numpy as np
import pytest

from sgmsolve.analysis import strong, strong_methods
from sgmsolve.analysis.strong import (
    classify,
    fitted_slope,
    local_slopes,
    measure_strong,
    strong_tasks,
)
from sgmsolve.analysis.strong_drivers import PlanDriver, StepperDriver, make_driver
from sgmsolve.analysis.strong_methods import CLAIMS, DEFAULT, find_subject, known_subjects
from sgmsolve.analysis.strong_problems import (
    STRONG_PROBLEMS,
    Path,
    StrongProblem,
    random_path,
    reference,
    strong_problem,
)
from sgmsolve.errors import AnalysisError, BackendError, MethodError
from sgmsolve.reverse import GeneralSDE

# --- the path ---


def test_random_path_has_the_law_of_increment_and_area() -> None:
    p = strong_problem("double-well")
    path = random_path(p, 4, np.zeros((40_000, 1)), seed=0)
    for made, h in ((path, 0.25), (path.coarse(2), 0.5), (path.coarse(1), 1.0)):
        assert made.areas is not None
        assert len(made.times) == len(made.dw) + 1 == round(1 / h) + 1
        pairs = np.stack([made.dw.ravel(), made.areas.ravel()])
        right = [[h, h**2 / 2], [h**2 / 2, h**3 / 3]]
        scale = np.sqrt(np.outer(np.diag(right), np.diag(right)))
        assert np.max(np.abs(np.cov(pairs) - right) / scale) < 4.5 * math.sqrt(2 * h / 40_000)
    neighbours = np.corrcoef(path.dw[0].ravel(), path.areas[1].ravel())[0, 1]
    assert abs(neighbours) < 0.025


def test_coarse_cells_are_the_same_path() -> None:
    """Against the integral of the polygon through the path, plus what bends it in each cell."""
    p = strong_problem("gaussian")
    fine = random_path(p, 24, np.zeros((3, 2)), seed=1)
    few = fine.coarse(3)
    w = np.concatenate([np.zeros((1, 3, 2)), np.cumsum(fine.dw, axis=0)])
    h = p.length / 24
    for i in range(3):
        part = slice(8 * i, 8 * i + 8)
        below = np.sum((w[part] - w[8 * i]) * h + fine.areas[part], axis=0)
        np.testing.assert_allclose(few.areas[i], below, atol=1e-14)
        np.testing.assert_allclose(few.dw[i], w[8 * i + 8] - w[8 * i], atol=1e-14)
        a, b = few.times[i], few.times[i + 1]
        assert np.array_equal(few.increment(a, b)[0], few.dw[i])
        assert np.array_equal(few.area(a, b)[0], few.areas[i])
    assert (few.times[0], few.times[-1]) == (2.0, 0.3)
    np.testing.assert_allclose(few.end, fine.end, atol=1e-14)


@pytest.mark.parametrize("method", ["euler-maruyama", "ddim-sde", "dpm++sde"])
def test_the_path_of_a_plan_is_what_its_draws_come_from(method: str) -> None:
    """Increments have the law of dw; a plan that adds up G dw along them ends with its noise."""
    p = strong_problem("gaussian")
    driver = PlanDriver(p, p.start(800, 0), 0, 64, method, (16,))
    path = driver.path()
    assert path.areas is None
    assert np.all(np.diff(path.times) < 0)
    assert (path.times[0], path.times[-1]) == (2.0, pytest.approx(0.3))
    ratio = path.dw.var(axis=(1, 2)) / np.abs(np.diff(path.times))
    assert np.max(np.abs(ratio - 1)) < 4.5 * math.sqrt(2 / 1600)
    # The right path halves the error when the steps halve; another one leaves it as large as G dw.
    error = np.sqrt(np.mean((driver.run(method, 16) - reference(p, driver.z, path)) ** 2))
    other = Path(path.times, path.dw[:, ::-1])
    apart = np.sqrt(np.mean((driver.run(method, 16) - reference(p, driver.z, other)) ** 2))
    assert error < 0.15 * apart


@pytest.mark.slow
def test_the_table_of_a_tree_is_the_tree() -> None:
    pytest.importorskip("diffrax")
    import jax

    from sgmsolve.adapters import solve_with, to_diffrax

    p = strong_problem("double-well")
    z = p.start(20, 0)
    driver = make_driver("diffrax", p, z, 7, 64)
    with jax.enable_x64(True):
        x = jax.numpy.asarray(z)
        tree = to_diffrax(p.sde, (1,)).brownian((x,), 0.0, 1.0, jax.random.key(7), 1 / 128)
        for name in ("sra1", "heun"):
            right = solve_with(f"diffrax:{name}", p.sde, x, 0.0, 1.0, steps=16, brownian=tree).x
            np.testing.assert_allclose(driver.run(name, 16), np.asarray(right), atol=1e-12)


# --- the reference ---


def linear(additive: bool = True) -> StrongProblem:
    """dX = -X dt + (1 + t^2) dW on [0, 1]: X(1) = x / e + integral of (1 + t^2) e^(t - 1) dW."""
    sde = GeneralSDE(lambda z, t: (-z[0],), lambda t: np.array([[1.0 + t**2]]), noise="additive")
    if not additive:
        sde = GeneralSDE(lambda z, t: (-z[0],), lambda z, t: (z[0],), noise="diagonal")
    return StrongProblem("linear", sde, lambda n, seed: np.ones((n, 1)), 0.0, 1.0)


def test_reference_on_an_equation_with_a_closed_form() -> None:
    p, z = linear(), np.full((400, 1), 0.7)
    fine = random_path(p, 1 << 13, z, seed=0)
    t, h = fine.times[:-1, None, None], 1 / (1 << 13)
    kernel, slope = (1 + t**2) * np.exp(t - 1), (1 + 2 * t + t**2) * np.exp(t - 1)
    # int k dW over a cell = k(t) dw + k'(t) (h dw - I) + O(h^(5/2))
    exact = z / math.e + np.sum(kernel * fine.dw + slope * (h * fine.dw - fine.areas), axis=0)

    def error(cells: int, areas: bool) -> float:
        path = fine.coarse(cells)
        path = path if areas else Path(path.times, path.dw)
        return float(np.sqrt(np.mean((reference(p, z, path) - exact) ** 2)))

    with_areas = [error(n, True) for n in (8, 16, 32)]
    assert 1.8 < math.log2(with_areas[0] / with_areas[1]) < 2.3
    assert 1.8 < math.log2(with_areas[1] / with_areas[2]) < 2.3
    assert with_areas[2] < 1e-3
    without = [error(n, False) for n in (8, 16, 32)]
    assert 0.85 < math.log2(without[1] / without[2]) < 1.15


def test_reference_where_the_drift_bends() -> None:
    """Strong order 3/2 on the double well, against another scheme (SRA1) 16 times finer."""
    p = strong_problem("double-well")
    z = p.start(400, 0)
    driver = StepperDriver(p, z, 0, 2048)
    right = driver.run("sra1", 2048)
    made = [reference(p, z, driver.fine.coarse(n)) for n in (32, 64, 128)]
    errors = [math.sqrt(np.mean((x - right) ** 2)) for x in made]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert all(1.35 < s < 1.85 for s in slopes), slopes
    assert errors[-1] < 4e-4


def test_reference_is_the_closed_form_where_there_is_one() -> None:
    p = strong_problem("gbm")
    path = random_path(p, 8, np.zeros((5, 1)), seed=0)
    right = np.exp((0.5 - 0.18) + 0.6 * path.dw.sum(axis=0))
    np.testing.assert_allclose(reference(p, np.ones((5, 1)), path), right, rtol=1e-14)
    with pytest.raises(AnalysisError, match="neither a closed form nor additive noise"):
        reference(linear(additive=False), np.ones((5, 1)), path)


# --- slopes and their intervals ---


def test_slopes_of_a_power_law() -> None:
    rng = np.random.default_rng(0)
    size = rng.chisquare(1, 300)
    squares = np.stack([size * 4.0**-level for level in range(4)])  # e ~ N^-1 on every path
    assert fitted_slope(squares) == pytest.approx((1.0, 0.0), abs=1e-12)
    errors, slopes, half_widths = local_slopes(squares)
    assert errors[0] == pytest.approx(math.sqrt(size.mean()))
    assert slopes == pytest.approx((1, 1, 1))
    assert half_widths == pytest.approx((0, 0, 0), abs=1e-12)
    assert fitted_slope(0 * squares) == (math.inf, 0.0)
    slope, half_width = fitted_slope(np.where(size > 8, np.inf, squares))
    assert math.isnan(slope)
    assert half_width == math.inf


def test_interval_is_that_of_the_bootstrap() -> None:
    """Errors that share half their variance between the N, as those on one path do."""
    rng = np.random.default_rng(1)
    common = rng.standard_normal(400)
    squares = np.stack(
        [(common + rng.standard_normal(400)) ** 2 * 2.0**-level for level in range(4)]
    )
    slope, half_width = fitted_slope(squares)
    assert slope == pytest.approx(0.5, abs=2 * half_width)
    drawn = [fitted_slope(squares[:, rng.integers(0, 400, 400)])[0] for _ in range(1500)]
    assert half_width == pytest.approx(1.96 * np.std(drawn), rel=0.12)


@pytest.mark.parametrize(
    ("claimed", "measured", "half_width", "last", "two_sided", "status"),
    [
        (1.0, 1.14, 0.05, 1.1, True, "ok"),
        (1.0, 1.16, 0.05, 1.1, True, "wrong"),
        (1.0, 0.86, 0.05, 0.7, True, "ok"),
        (1.0, 0.84, 0.05, 1.0, True, "wrong"),
        (1.0, 1.16, 0.05, 1.1, False, "superconvergent"),
        (1.0, 0.84, 0.05, 0.81, False, "preasymptotic"),
        (1.0, 0.84, 0.05, 0.79, False, "wrong"),
        (1.0, 1.40, 0.05, 0.79, False, "wrong"),
        (1.0, 0.95, 0.05, 0.79, False, "wrong"),
        (1.0, 1.0, 0.1, 1.0, True, "undecided"),
        (1.0, math.nan, math.inf, math.nan, True, "undecided"),
        (1.0, math.inf, 0.0, math.inf, False, "superconvergent"),
        (None, 1.0, 0.01, 1.0, True, "no claim"),
    ],
)
def test_statuses(
    claimed: Any, measured: float, half_width: float, last: float, two_sided: bool, status: str
) -> None:
    assert classify(claimed, measured, half_width, last, two_sided) == status


# --- orders ---


@pytest.mark.parametrize(
    ("method", "problem", "low", "high"),
    [
        ("milstein", "gbm", 0.9, 1.1),
        ("gotta-go-fast", "gbm", 0.9, 1.1),
        ("milstein", "double-well", 0.9, 1.1),
        ("sra1", "double-well", 1.35, 1.65),
        ("gotta-go-fast", "mixture", 0.9, 1.1),
        ("euler-maruyama", "gaussian", 0.9, 1.1),
        ("ddim-sde", "gaussian", 0.9, 1.1),
    ],
)
def test_orders_that_are_known(method: str, problem: str, low: float, high: float) -> None:
    row = measure_strong(method, problem)
    assert row.status == "ok"
    assert low < row.measured < high
    assert row.half_width < 0.1
    assert row.paths >= strong_problem(problem).paths
    assert len(row.steps) == len(row.errors) == len(row.slopes) + 1 == len(row.half_widths) + 1
    assert row.source


def test_euler_on_geometric_brownian_motion_has_order_one_half() -> None:
    pytest.importorskip("torchsde")
    row = measure_strong("torchsde:euler", "gbm")
    assert row.status == "ok"
    assert 0.4 < row.measured < 0.62
    assert row.errors[-1] > 10 * measure_strong("torchsde:srk", "gbm").errors[-1]


def claiming(method: str, order: float) -> Any:
    return dataclasses.replace(find_subject(method), claims=(order, order, "a mistake"))


def test_wrong_claims_are_found() -> None:
    for order in (0.5, 1.5):
        row = measure_strong(claiming("milstein", order), "gbm", rounds=1)
        assert (row.status, row.claimed, row.source) == ("wrong", order, "a mistake")
        assert (
            measure_strong(claiming("milstein", order), "double-well", rounds=1).status == "wrong"
        )
    assert measure_strong(claiming("sra1", 2.0), "mixture", rounds=1).status == "wrong"
    assert measure_strong(claiming("sra1", 1.0), "mixture", rounds=1).status == "superconvergent"


def test_a_wrong_order_is_looked_at_again_with_more_paths_and_steps() -> None:
    row = measure_strong(claiming("milstein", 1.5), "gbm", rounds=2)
    assert (row.status, row.paths, row.steps) == ("wrong", 1000, (16, 32, 64, 128, 256))


def test_paths_grow_while_the_interval_is_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strong, "HALF_WIDTH", 0.04)
    row = measure_strong("gotta-go-fast", "gbm", rounds=2)
    assert (row.paths, row.steps[-1]) == (1000, 128)
    assert row.status in ("ok", "undecided")
    assert measure_strong("gotta-go-fast", "gbm", rounds=1, seed=5).measured != row.measured


def test_solvers_of_another_calculus_are_converted() -> None:
    """Stratonovich's milstein, run on the equation rewritten, still meets the exact Ito path."""
    p = strong_problem("gbm")
    from sgmsolve.problems import find

    strat = dataclasses.replace(p, sde=find("gbm").sde("stratonovich"))
    z = p.start(300, 0)
    path = random_path(p, 128, z, 0)
    for one in (p, strat):
        driver = StepperDriver(one, z, 0, 128)
        error = driver.run("milstein", 128) - reference(p, z, path)
        assert np.sqrt(np.mean(error**2)) < 1.2e-2


# --- names ---


def test_names_and_refusals() -> None:
    names = known_subjects()
    assert set(DEFAULT) <= set(names)
    assert set(CLAIMS) <= set(names)
    assert "edm-churn" not in names
    assert find_subject("em").name == find_subject("euler-maruyama").name
    for name, said in (
        ("heun", "draws no noise"),
        ("edm-churn", "draws noise of kind iid"),
        ("roba", "runs in phase space"),
        ("torchsde:millstein", "'torchsde:milstein'"),
        ("dopri5", "unknown method with a strong order"),
    ):
        with pytest.raises(MethodError, match=said):
            find_subject(name)
    with pytest.raises(AnalysisError, match="unknown strong problem 'gmb'"):
        measure_strong("milstein", "gmb")
    with pytest.raises(AnalysisError, match="needs an SDE with additive noise"):
        measure_strong("sra1", "gbm")
    with pytest.raises(AnalysisError, match="needs a reverse SDE"):
        measure_strong("ddim-sde", "gbm")


def test_a_library_that_is_missing_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torchsde" else found(name)
    )
    left = strong_methods.default_subjects()
    assert set(DEFAULT) - set(left) == {n for n in DEFAULT if n.startswith("torchsde:")}
    with pytest.raises(BackendError, match="needs torchsde, which is not installed"):
        find_subject("torchsde:srk")


def test_tasks_are_what_can_be_solved() -> None:
    tasks = [(s.name, p.name) for s, p in strong_tasks(["sra1", "ddim-sde", "milstein", "sra1"])]
    assert len(tasks) == 3 + 2 + 4
    assert [p for _, p in tasks] == sorted((p for _, p in tasks), key=STRONG_PROBLEMS.index)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRONG_PROBLEMS)
def test_every_claim(name: str) -> None:
    """The whole table: torchsde, diffrax, steppers, and all plans whose draws follow a path."""
    pytest.importorskip("torchsde")
    pytest.importorskip("diffrax")
    rows = [measure_strong(subject, p) for subject, p in strong_tasks(known_subjects(), [name])]
    good = {"ok", "superconvergent", "no claim"}
    bad = [f"{r.method} {r.measured:.2f} ({r.claimed})" for r in rows if r.status not in good]
    assert not bad
    if strong_problem(name).two_sided:
        assert all(r.status == "ok" for r in rows if r.claimed is not None)
