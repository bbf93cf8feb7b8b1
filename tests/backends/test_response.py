"""Every backend runs the same numbers: one-hot inputs give back the plan's own response matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_cases import (
    GRID,
    PROCESS,
    Tabled,
    bashforth,
    euler,
    heun,
    random_plan,
    to_backend,
    to_host,
    with_times,
)

from sgmsolve import KeyedNoise, ReplayNoise, build_plan, solve, steps
from sgmsolve.backends.noise import draw_order
from sgmsolve.methods.registry import methods_for
from sgmsolve.plan import Plan

PLANS = {
    "random": random_plan(0),
    "random-one": random_plan(1, m=1, k=1, history=1, columns=1),
    "random-tall": random_plan(2, m=3, k=4, history=2, columns=3, rows=3),
    "euler": with_times(euler(PROCESS, GRID, 0.5)),
    "heun": with_times(heun(PROCESS, GRID)),
    "bashforth": with_times(bashforth(PROCESS, GRID)),
}


def one_hot(plan: Plan, backend: str) -> tuple[Any, Any, Any, np.ndarray]:
    """State, predictions and noise, entry d the d-th unit vector; and the expected result."""
    response, m, rows, p = plan.response(), plan.m, plan.rows, plan.p
    draws = len(response.noise)
    size = m + rows * p + draws
    eye = np.eye(size)
    z = tuple(to_backend(eye[i : i + 1], backend) for i in range(m))
    table = to_backend(eye[m : m + rows * p].reshape(rows, p, 1, size), backend)
    xi = [to_backend(eye[m + rows * p + i][None], backend) for i in range(draws)]
    predictions = response.predictions.transpose(1, 0, 2).reshape(m, rows * p)
    return z, table, xi, np.concatenate([response.z0, predictions, response.noise.T], axis=1)


def check(plan: Plan, backend: str) -> None:
    z, table, xi, expected = one_hot(plan, backend)
    solution = solve(plan, Tabled(plan, table), z, noise=ReplayNoise(xi))
    got = np.concatenate([to_host(c) for c in solution.z])
    assert np.abs(got - expected).max() <= 1e-14 * np.abs(expected).max()
    assert solution.nfe == plan.nfe == plan.rows


@pytest.mark.parametrize(
    ("name", "backend"),
    [(n, b) for b in ("numpy", "torch") for n in PLANS] + [("random", "jax"), ("heun", "jax")],
)
def test_response(name: str, backend: str) -> None:
    check(PLANS[name], backend)


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("method", [m.name for m in methods_for(PROCESS)])
def test_response_of_methods(method: str, backend: str) -> None:
    check(with_times(build_plan(PROCESS, method, steps=6)), backend)


@pytest.mark.slow
@pytest.mark.parametrize("method", [m.name for m in methods_for(PROCESS)])
def test_response_of_methods_on_jax(method: str) -> None:
    check(with_times(build_plan(PROCESS, method, steps=6)), "jax")


@pytest.mark.parametrize("name", ["random", "random-one"])
def test_scan_is_the_response_on_its_own_draws(name: str) -> None:
    """The compiled scan makes its draws inside; the host makes the same ones through ``bind``."""
    plan, rng = PLANS[name], np.random.default_rng(5)
    z = tuple(to_backend(rng.standard_normal((4, 3)), "jax") for _ in range(plan.m))
    table = rng.standard_normal((plan.rows, plan.p, 4, 3))
    draw = KeyedNoise(11).bind(plan, z)
    xi = np.stack([np.asarray(draw(r, c)) for r, c in draw_order(plan)])
    response = plan.response()
    expected = np.einsum("ij,jbd->ibd", response.z0, np.stack(z))
    expected += np.einsum("rij,rjbd->ibd", response.predictions, table)
    expected += np.einsum("ni,nbd->ibd", response.noise, xi)
    model = Tabled(plan, to_backend(table, "jax"))
    for last in (solve(plan, model, z, seed=11), *list(steps(plan, model, z, seed=11))[-1:]):
        got = np.stack([np.asarray(c) for c in last.z])
        assert np.abs(got - expected).max() <= 3e-14 * np.abs(expected).max()
