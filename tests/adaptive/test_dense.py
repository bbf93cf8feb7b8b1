"""Dense output: orders of the interpolants, against exact flows; ends, failures, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ode_cases import EXPONENTIAL, PAIRS, Ode, flow

import sgmsolve
from sgmsolve import ReverseSDE
from sgmsolve.adaptive import runge_kutta, solve_adaptive
from sgmsolve.adaptive.controllers import Controller
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.errors import GridError, MethodError


def logistic(x, t):
    """x' = x (1 - x) cos(t), in closed form in ``exact``."""
    return (x * (1 - x) * np.cos(t),)


def exact(x, t):
    grown = np.exp(np.sin(t))
    return x * grown / (1 - x + x * grown)


Z = np.array([[0.2], [0.5], [0.9]])
EQUAL = Controller((0.0,), safety=1.0)
"""Never changes the step: with loose tolerances all steps are h0 long."""


def worst(name, h):
    """Largest error between the ends of equal steps, less that at the ends."""
    loose = {"rtol": 1e3, "atol": 1e3, "controller": EQUAL, "dense": True}
    found = solve_adaptive(name, Ode(logistic), Z, 0.0, 3.0, h0=h, **loose)
    assert np.all(found.accepted == round(3.0 / h))
    inside = [k * h + f * h for k in range(0, round(3.0 / h)) for f in (0.25, 0.5, 0.8)]
    return max(np.abs(found.dense(t)[0] - exact(Z, t)).max() for t in inside)


@pytest.mark.parametrize(("name", "order"), [("dopri5", 5), ("bosh3", 3), ("heun-euler", 2)])
def test_orders_between_the_ends_of_steps(name, order):
    """dopri5's own term: O(h^5) inside, where Hermite's cubic alone would give O(h^4)."""
    errors = [worst(name, h) for h in (0.25, 0.125, 0.0625)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert abs(rates[-1] - order) < 0.35, rates


def test_hermites_cubic_has_order_4():
    solver = find_solver("dopri5")
    bare = dataclasses.replace(runge_kutta.DORMAND_PRINCE, bump=())

    def make(sde):
        return runge_kutta.RungeKutta("bare", bare), sde

    bare_solver = dataclasses.replace(solver, make=make)
    errors = [worst(bare_solver, h) for h in (0.25, 0.125, 0.0625)]
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert abs(rates[-1] - 4) < 0.2, rates
    assert errors[-1] > 5 * worst("dopri5", 0.0625)


@pytest.mark.parametrize("process", ["vp", "ve", "edm", "psld"])
def test_dense_output_keeps_the_tolerance(process):
    """Against the exact flow of a Gaussian, at times of its own for every sample."""
    mean, variance = np.array([0.7, -0.4]), np.array([0.3, 2.0])
    sde, z, start, end = flow(process, target=sgmsolve.Gaussian(mean, variance))
    fine = solve_adaptive("dopri5", sde, z, start, end, rtol=1e-8, atol=1e-8, dense=True)
    shares = np.linspace(0.0, 1.0, 6)
    times = start * (end / start) ** shares
    if process != "psld":
        a, s = (
            np.array([float(f(t)) for t in times]) for f in (sde.process.alpha, sde.process.sigma)
        )
        a0, s0 = (float(f(start)) for f in (sde.process.alpha, sde.process.sigma))
        sd = np.sqrt(np.outer(a**2, variance) + s[:, None] ** 2)
        sd0 = np.sqrt(a0**2 * variance + s0**2)
        right = np.outer(a, mean) + sd / sd0 * (z[0] - a0 * mean)
        assert np.abs(fine.dense(times)[0] - right).max() < 1e-6 * np.abs(z[0]).max()
    right = fine.dense(times)
    names = ("dopri5", "bosh3", *EXPONENTIAL) if process != "psld" else ("dopri5", "bosh3")
    options = {"rtol": 1e-4, "atol": 1e-4, "dense": True}
    for name in names:
        predictions = [{"prediction": p} for p in ("noise", "data")]
        for own in predictions if name in EXPONENTIAL else [{}]:
            found = solve_adaptive(name, sde, z, start, end, **options, **own)
            for made, exactly in zip(found.dense(times), right, strict=True):
                allowed = 1e-4 + 1e-4 * np.abs(exactly)
                assert (np.abs(made - exactly) / allowed).max() < 40, (name, own)


@pytest.mark.parametrize("name", [*PAIRS, *EXPONENTIAL])
def test_ends_are_the_states_of_the_run_and_cost_one_evaluation(name):
    sde, z, start, end = flow("vp")
    options = {"rtol": 1e-2, "atol": 1e-2}
    found = solve_adaptive(name, sde, z, start, end, dense=True, **options)
    plain = solve_adaptive(name, sde, z, start, end, **options)
    assert np.array_equal(found.x, plain.x)
    assert plain.dense is None
    assert np.array_equal(found.nfe, plain.nfe + 1)
    assert (found.rows, found.calls) == (plain.rows + len(z[0]), plain.calls + 1)
    assert np.abs(found.dense(start)[0] - z[0]).max() < 1e-13
    assert np.abs(found.dense(end)[0] - found.x).max() < 1e-12
    # Every sample at its own time, and one after another.
    times = np.linspace(0.9, 0.1, len(z[0]))
    together = found.dense(times)[0]
    for i, t in enumerate(times):
        assert np.array_equal(found.dense(float(t))[0][i], together[i])


def test_samples_that_stopped_are_nan_beyond():
    z = np.array([[0.5], [2.0]])

    def blow_up(x, t):
        return (x**2,)

    found = solve_adaptive(
        "dopri5", Ode(blow_up), z, 0.0, 1.0, rtol=1e-8, atol=1e-8, dense=True, on_failure="ignore"
    )
    assert np.abs(found.dense(0.4)[0] - z / (1 - 0.4 * z)).max() < 1e-5
    late = found.dense(0.7)[0]
    assert abs(late[0, 0] - 0.5 / (1 - 0.35)) < 1e-6
    assert np.isnan(late[1, 0])


def test_torch_and_its_gradients():
    torch = pytest.importorskip("torch")
    sde, z, start, end = flow("vp", target=sgmsolve.Gaussian(np.zeros(2), np.full(2, 0.25)))
    x = torch.tensor(z[0], requires_grad=True)
    found = solve_adaptive("dopri5", sde, x, start, end, rtol=1e-6, atol=1e-6, dense=True)
    made = found.dense(0.3)[0]
    process = sde.process

    def sd(t):
        return np.sqrt(0.25 * process.alpha(t) ** 2 + process.sigma(t) ** 2)

    (slope,) = torch.autograd.grad(made.sum(), x)
    # Gradients of the accepted steps, at fixed step sizes.
    assert np.abs(slope.numpy() - sd(0.3) / sd(start)).max() < 1e-4


def test_what_dense_refuses():
    sde, z, start, end = flow("vp")
    with pytest.raises(MethodError, match=r"ReverseSDE has noise.*give the times .* save_at"):
        solve_adaptive(
            "gotta-go-fast", ReverseSDE(sde.process, sde.model), z, start, end, dense=True
        )
    with pytest.raises(MethodError, match="belong to error control"):
        solve_adaptive("dopri5", sde, z, start, end, steps=4, dense=True)
    for name in ("dopri5", "exp-heun-euler"):
        found = solve_adaptive(name, sde, z, start, end, rtol=1e-2, dense=True)
        with pytest.raises(GridError, match=r"from 0.001 to 0.001, expected times between t_start"):
            found.dense(0.001)
        with pytest.raises(GridError, match=r"shape \(2,\), expected a float or \(6,\)"):
            found.dense([0.5, 0.6])
        with pytest.raises(GridError):
            found.dense(np.nan)
