"""One path for phase-space draws: two exact steps are one, whatever cuts the interval."""

from __future__ import annotations

import itertools
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from phase_cases import CASES, THREE, clock

import sgmsolve
from sgmsolve.backends import PathNoise
from sgmsolve.errors import BackendError
from sgmsolve.plan import Plan, PlanBuilder

VARYING = sgmsolve.AugmentedProcess(
    lambda t: np.array([[-0.3 - t, 2.0 + t], [-2.0, -3.0 + t * t]]),
    lambda t: np.diag([0.5 + t, 1.0 + 2 * t]),
    label="varying",
)
PROCESSES: dict[str, Any] = {
    **{name: CASES[name] for name in ("psld", "cld", "underdamped", "linear", "position-only")},
    "three": THREE,
    "varying": VARYING,
}
FINE = np.array([1.0, 0.81, 0.8, 0.45, 0.1, 0.02])
COARSE = FINE[[0, 2, 3, 5]]


def drawing(process: Any, grid: Any, kind: str, matrix: Any = None) -> Plan:
    """Steps that add ``matrix`` times a draw of a kind; the model is asked and ignored."""
    b = PlanBuilder(process, grid, predicts="score", draws=kind)
    matrix = np.eye(process.m) if matrix is None else matrix
    for t, _ in b.steps():
        b.advance(b.z + 1e-3 * b.predict(b.z, t) + matrix @ b.xi())
    return b.plan()


def noisy(process: Any) -> np.ndarray:
    return np.diag(np.any(process.G(0.5) != 0, axis=1).astype(float))


def weights(noise: PathNoise, kind: str, m: int, a: float, b: float) -> np.ndarray:
    """The draw on [a, b] as a matrix (components, cells * components)."""
    cells = noise.cells[kind]
    out = np.zeros((m, (len(cells.times) - 1) * m))
    for component in range(m):
        try:
            found = cells.weights(a, b, component)
        except BackendError:
            continue
        for cell, column, weight in found:
            out[component, cell * m + column] += weight
    return out


def exact_step(process: Any, kind: str, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
    if kind == "relaxation":
        decay, variance = process.relaxation(a, b)
        return np.diag(decay), np.diag(np.sqrt(variance))
    psi, sigma = process.reversed_linear(a, b)
    return psi, np.linalg.cholesky(sigma)


@pytest.mark.parametrize("kind", ["relaxation", "kernel"])
@pytest.mark.parametrize("name", PROCESSES)
def test_two_steps_are_one(name: str, kind: str) -> None:
    """z -> Psi z + C xi twice, with the finer draws, is the step over the union with its draw."""
    process = PROCESSES[name]
    m, matrix = process.m, noisy(process) if kind == "relaxation" else None
    plans = [drawing(process, g, kind, matrix) for g in (COARSE, FINE)]
    noise = PathNoise(plans, process)
    for a, b in zip(COARSE[1:], COARSE, strict=False):
        psi, factor = exact_step(process, kind, a, b)
        whole = factor @ weights(noise, kind, m, a, b)
        inside = FINE[(a <= FINE) & (b >= FINE)]
        z, parts = np.eye(m), np.zeros_like(whole)
        for low, high in zip(inside[1:], inside, strict=False):
            flow, small = exact_step(process, kind, low, high)
            z, parts = flow @ z, flow @ parts + small @ weights(noise, kind, m, low, high)
        size = np.abs(whole).max(axis=1, keepdims=True) + 1e-300
        assert np.abs(z - psi).max() < 1e-13 * np.abs(psi).max()
        assert (np.abs(whole - parts) / size).max() < (1e-14 if kind == "relaxation" else 1e-13)


@pytest.mark.parametrize("kind", ["relaxation", "kernel", "increment"])
@pytest.mark.parametrize("name", PROCESSES)
def test_draws_are_standard_normal(name: str, kind: str) -> None:
    process = PROCESSES[name]
    matrix = noisy(process) if kind == "relaxation" else np.eye(process.m)
    plans = [drawing(process, g, kind, matrix) for g in (COARSE, FINE)]
    noise = PathNoise(plans, process)
    for grid in (COARSE, FINE):
        rows = [weights(noise, kind, process.m, a, b) for a, b in zip(grid[1:], grid, strict=False)]
        table = np.concatenate(rows)
        gram = np.kron(np.eye(len(rows)), matrix)
        assert np.abs(table @ table.T - gram).max() < 1e-14


@pytest.mark.parametrize("name", ["psld", "linear"])
def test_relaxation_weights_are_those_of_the_clock(name: str) -> None:
    """A Brownian motion in the clock exp(-int rate): weights from mpmath at 50 digits."""
    process = PROCESSES[name]
    plans = [drawing(process, g, "relaxation") for g in (COARSE, FINE)]
    noise = PathNoise(plans, process)
    found = weights(noise, "relaxation", 2, COARSE[1], COARSE[0])
    with mp.workdps(50):
        for component, rate in enumerate((process.gamma, process.nu)):
            c = [mp.exp(-mp.mpf(rate) * clock(process, mp.mpf(t))) for t in (0.8, 0.81, 1.0)]
            expected = [mp.sqrt((x - y) / (c[0] - c[2])) for x, y in itertools.pairwise(c)]
            row = found[component].reshape(-1, 2)
            np.testing.assert_allclose(row[3:, component], np.array(expected, float), rtol=1e-13)
            assert not row[:, 1 - component].any()


def test_draws_on_states_follow_the_weights() -> None:
    """What ``bind`` hands out: the fine draws put together as the coarse one's weights say."""
    process = CASES["psld"]
    plans = [drawing(process, g, "kernel") for g in (COARSE, FINE)]
    noise = PathNoise(plans, process, seed=3)
    z = (np.zeros((5, 3)), np.zeros((5, 3)))
    few, many = (noise.bind(plan, z) for plan in plans)
    psi, first = exact_step(process, "kernel", 0.8, 0.81)
    second = exact_step(process, "kernel", 0.81, 1.0)[1]
    xi = [[many(row, c) for c in range(2)] for row in range(2)]
    parts = np.einsum("ij,jnd->ind", psi @ second, xi[0]) + np.einsum("ij,jnd->ind", first, xi[1])
    whole = np.einsum(
        "ij,jnd->ind", exact_step(process, "kernel", 0.8, 1.0)[1], [few(0, 0), few(0, 1)]
    )
    assert np.abs(parts - whole).max() < 1e-14


def test_impossible_draws_are_sentences() -> None:
    cld = CASES["cld"]
    plan = drawing(cld, FINE, "relaxation")
    z = (np.zeros((1, 2)),) * 2
    with pytest.raises(BackendError, match="'relaxation' noise of component 0"):
        PathNoise([plan], cld).bind(plan, z)(0, 0)
    scalar = drawing(sgmsolve.VP(), FINE, "relaxation")
    with pytest.raises(BackendError, match=r"need a process with relaxation\(start, end\)"):
        PathNoise([scalar], sgmsolve.VP())
