"""Comparisons in phase space: errors are those of the positions, references are independent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.analysis.bench import Bench
from sgmsolve.analysis.work_precision import Choice, compare


def test_w2_is_that_of_the_positions() -> None:
    """A deterministic plan is affine in each mode: three starts give the law of the positions."""
    problem = find("psld-gaussian").replace(starts=3)
    p, lam = problem.process, np.geomspace(1.0, 1e-3, 8)
    plan = sgmsolve.build_plan(p, "pf-euler", steps=60, **problem.grid_arguments)
    bench = Bench(problem, 0)
    x, v = np.zeros((3, 8)), np.zeros((3, 8))
    x[1], v[2] = 1.0, 1.0
    ends = bench.run(plan, (x, v), 0)
    move = ends[1:] - ends[0]
    mean_0 = problem.target.mean
    u, noise = p.loading(1.0), p.covariance(1.0)
    start = lam[:, None, None] * np.outer(u, u) + noise
    mean = ends[0] + (u[:, None] * mean_0 * move).sum(axis=0)
    width = np.sqrt(np.einsum("iM,Mij,jM->M", move, start, move))
    t = problem.t_end
    right = np.sqrt(p.loading(t)[0] ** 2 * lam + p.covariance(t)[0, 0])
    wanted = np.sqrt(np.sum((mean - p.loading(t)[0] * mean_0) ** 2 + (width - right) ** 2))
    assert bench.exact_w2(plan) == pytest.approx(wanted, rel=1e-8)
    found = compare([problem], [Choice("pf-euler")], [60])
    assert {r.metric for r in found.rows} == {"w2", "rms"}
    row = next(r for r in found.rows if r.metric == "w2")
    assert row.error == pytest.approx(wanted, rel=1e-8)
    assert found.samples["psld-gaussian"]["pf-euler", 60].shape == (3, 8)


@pytest.mark.parametrize("name", ["psld-gaussian", "psld-ring"])
def test_references_are_the_probability_flow(name: str) -> None:
    problem = find(name).replace(starts=4)
    p, bench = problem.process, Bench(problem, 1)
    z = bench.starts(4, 0)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        state = y.reshape(2, *z[0].shape)
        score = np.array(problem.target.score(tuple(state), float(t), p))
        G = p.G(float(t))
        moved = np.tensordot(p.F(float(t)), state, axes=1)
        return np.ravel(moved - 0.5 * np.tensordot(G @ G.T, score, axes=1))

    times = (1.0, problem.t_end)
    solved = solve_ivp(slope, times, np.ravel(z), method="DOP853", rtol=1e-10, atol=1e-12)
    ends, accuracy = bench.reference()
    wanted = solved.y[:, -1].reshape(2, *z[0].shape)[0]
    assert np.abs(ends - wanted).max() < 1e-6
    assert accuracy < 1e-6
