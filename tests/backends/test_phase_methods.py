"""Phase-space methods on numpy, torch and jax; plan files; denoising; default grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_cases import Tabled, to_backend, to_host, with_times
from phase_methods import build, striding

from sgmsolve import PSLD, Gaussian, ReplayNoise, build_plan, grid, solve
from sgmsolve.methods.registry import methods_for
from sgmsolve.plan import Plan

P = PSLD()
METHODS = [m.name for m in methods_for(P)]
ON_JAX = ("robab", "strang2-lagged", "gddim-3")
pytestmark = pytest.mark.filterwarnings("ignore:.*amplifies errors")


def _check(plan: Plan, backend: str) -> None:
    """One-hot inputs give back the plan's own response matrix."""
    plan = with_times(plan)
    response, m, rows = plan.response(), plan.m, plan.rows
    draws = len(response.noise)
    size = m + rows * m + draws
    eye = np.eye(size)
    z = tuple(to_backend(eye[i : i + 1], backend) for i in range(m))
    table = to_backend(eye[m : m + rows * m].reshape(rows, m, 1, size), backend)
    xi = [to_backend(eye[m + rows * m + i][None], backend) for i in range(draws)]
    found = solve(plan, Tabled(plan, table), z, noise=ReplayNoise(xi))
    made = response.predictions.transpose(1, 0, 2).reshape(m, rows * m)
    expected = np.concatenate([response.z0, made, response.noise.T], axis=1)
    got = np.concatenate([to_host(c) for c in found.z])
    assert np.abs(got - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("name", METHODS)
def test_response(name: str, backend: str) -> None:
    _check(build_plan(P, name, steps=6), backend)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ON_JAX else pytest.mark.slow) for n in METHODS]
)
def test_response_on_jax(name: str) -> None:
    _check(build_plan(P, name, steps=6), "jax")


TABLES = ("t", "move", "kick", "noise", "draws", "prelude_move", "prelude_noise", "prelude_draws")


@pytest.mark.parametrize("name", METHODS)
def test_plan_files_are_bitwise(name: str, tmp_path: Any) -> None:
    plan = build_plan(P, name, steps=6)
    plan.save(tmp_path / "plan.npz")
    again = Plan.load(tmp_path / "plan.npz")
    for table in TABLES:
        assert getattr(again, table).tobytes() == getattr(plan, table).tobytes()
    assert (again.name, again.options, again.orders) == (plan.name, plan.options, plan.orders)
    assert again.nodes == plan.nodes


@pytest.mark.parametrize("name", METHODS)
def test_default_grid_and_denoising(name: str) -> None:
    """One more row, whose result is the data prediction of the state before it."""
    plain, plan = build_plan(P, name, steps=8), build_plan(P, name, steps=8, denoise=True)
    assert [n.time for n in plain.nodes] == list(striding(P, 8))
    assert plan.rows == plain.rows + 1
    assert plan.t[-1] == plan.t_end == P.t_min
    target = Gaussian([0.6], [0.25])
    model = target.model(P, "score")
    rng = np.random.default_rng(1)
    z = tuple(rng.standard_normal((2, 5, 1)) * np.array([[[1.0]], [[0.5]]]))
    before = solve(plain, model, z, seed=3).z
    after = solve(plan, model, z, seed=3).z
    expected = target.model(P, "data")(before, P.t_min)
    for got, wanted in zip(after, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9 * np.abs(wanted).max())


def test_default_grid_is_striding() -> None:
    assert grid.default_grid(P) == "striding"
    last = build(P, grid.make("striding", P, 6), "rse", denoise=True)
    np.testing.assert_allclose(last.t[-2:], [last.nodes[-3].time, 1e-3])
