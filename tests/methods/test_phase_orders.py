"""Global orders of phase-space methods on a Gaussian (exact moments) and a mixture (one path)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from phase_cases import CASES, Lifted
from phase_methods import build, distance, marginal_law, slope, striding
from phase_oracle import score

from sgmsolve import PSLD, AugmentedProcess
from sgmsolve.analysis.exact import output_moments
from sgmsolve.analysis.moments import Moments

PROCESSES = {
    "psld": PSLD(),
    "cld": CASES["cld"],
    "underdamped": PSLD(0.02, 2.0),
    "overdamped": PSLD(0.01, 6.0),
    "linear": PSLD(0.02, beta=(2.0, 14.0)),
    "three": AugmentedProcess(
        4.0 * np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0], [0.0, -2.0, -3.0]]),
        2.0 * np.diag([0.0, 0.0, np.sqrt(6.0)]),
        np.diag([0.0, 0.04, 0.04]),
        np.eye(3),
    ),
}
"""The last: third-order Langevin, stationary law I."""

MEANS, VARIANCES = np.array([0.6, -0.4]), np.array([0.25, 0.04])
TARGET = Lifted(MEANS, VARIANCES)


def _errors(process: Any, name: str, grid: str, counts: Any, **options: Any) -> list[float]:
    """Start and end in the exact marginal, which every member of the family keeps."""
    end = marginal_law(process, 0.1, MEANS, VARIANCES)
    mean, cov = marginal_law(process, 1.0, MEANS, VARIANCES)
    law, found = Moments(mean, cov, np.ones(2)), []
    for n in counts:
        uniform = np.linspace(1.0, 0.1, n + 1)
        times = uniform if grid == "uniform" else striding(process, n, t_min=0.1)
        out = output_moments(build(process, times, name, **options), TARGET, process, law)
        found.append(distance((out.mean, out.covariance), end))
    return found


SECOND = ["strang2", "strang2-ode", "strang2-lagged", "strang2-lagged-ode", "conjugate-sde-2"]
SECOND += ["gddim-2"]
COUNTS = (256, 512)
SLOW = pytest.mark.slow
COUNTS_OF_THREE = {"strang2-lagged": (512, 1024)}  # 1.82 at (128, 256): slow to settle


@pytest.mark.parametrize("grid", ["uniform", "striding"])
@pytest.mark.parametrize("name", SECOND)
def test_second_order(name: str, grid: str) -> None:
    assert slope(_errors(PROCESSES["psld"], name, grid, COUNTS)) == pytest.approx(2, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["uniform", "striding"])
@pytest.mark.parametrize("process", ["cld", "underdamped", "overdamped", "linear"])
@pytest.mark.parametrize("name", SECOND)
def test_second_order_elsewhere(name: str, process: str, grid: str) -> None:
    found = slope(_errors(PROCESSES[process], name, grid, (512, 1024)))
    assert found == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("process", ["psld", pytest.param("linear", marks=pytest.mark.slow)])
def test_third_order(process: str) -> None:
    found = slope(_errors(PROCESSES[process], "gddim-3", "uniform", COUNTS))
    assert found == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize(
    "name",
    ["strang2", *[pytest.param(n, marks=SLOW) for n in ("strang2-ode", "strang2-lagged")]],
)
def test_three_components(name: str) -> None:
    found = slope(
        _errors(PROCESSES["three"], name, "uniform", COUNTS_OF_THREE.get(name, (128, 256)))
    )
    assert found == pytest.approx(2, abs=0.1)


FIRST = ["rse", "rvv", "roba", "robab", "sscs", "conjugate", "gddim", "conjugate-sde", "cvv"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("rse", "roba", "gddim") else SLOW) for n in FIRST]
)
def test_first_order(name: str) -> None:
    found = slope(_errors(PROCESSES["psld"], name, "uniform", (512, 1024)))
    assert found == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIRST)
def test_first_order_with_three_components(name: str) -> None:
    found = slope(_errors(PROCESSES["three"], name, "uniform", (512, 1024)))
    assert found == pytest.approx(1, abs=0.15)


def _exact_end(process: Any, z: np.ndarray) -> np.ndarray:
    from scipy.integrate import solve_ivp

    def rate(tau: float, y: np.ndarray) -> np.ndarray:
        t, point = 1.0 - tau, y.reshape(2, -1)
        G = process.G(t)
        return (-process.F(t) @ point + 0.5 * G @ G.T @ score(process, point, t)).ravel()

    out = solve_ivp(rate, (0, 0.9), z.ravel(), method="DOP853", rtol=1e-12, atol=1e-13)
    return out.y[:, -1].reshape(2, -1)


@pytest.mark.parametrize("process", ["psld", pytest.param("linear", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "order"),
    [("strang2-ode", 2), ("strang2-lagged-ode", 2), ("gddim-2", 2), ("gddim-3", 3), ("rvv", 1)],
)
def test_order_on_a_mixture(name: str, order: int, process: str) -> None:
    """Paths against DOP853 with the score by dense matrices."""
    process = PROCESSES[process]
    z = np.random.default_rng(0).standard_normal((2, 8)) * np.array([[1.0], [0.5]])
    exact, errors = _exact_end(process, z), []
    for n in (128, 256, 512):
        plan = build(process, np.linspace(1.0, 0.1, n + 1), name)
        Z, history = plan.prelude_move @ z, []
        for r in range(plan.rows):
            a, b = process.conversion("score", plan.predicts, float(plan.t[r]))
            e = a @ Z[:2] + b @ score(process, Z[:2], float(plan.t[r]))
            history = [e, *history][: plan.history]
            Z = plan.move[r] @ Z
            for j, past in enumerate(history):
                Z = Z + plan.kick[r, :, :, j] @ past
        errors.append(np.sqrt(np.mean((Z[:2] - exact) ** 2)))
    assert slope(errors) == pytest.approx(order, abs=0.15)
