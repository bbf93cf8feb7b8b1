"""Runs of adaptive ODE solvers: phase space, failures, batches, saved times, libraries."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from ode_cases import EXPONENTIAL, PAIRS, RING, Ode, flow, reference

import sgmsolve
from sgmsolve import PSLD, Flow, ProbabilityFlow, ReverseSDE, Status
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.adaptive.masked import solve_masked
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.errors import GridError, IncompleteWarning, MethodError, SolveError

# Phase space: a black box, and the last evaluation


def sigma_points(mean, low):
    """Points (1 + 2 m, m): the mean, and the mean moved along every column of a root."""
    return np.concatenate([mean[None], mean + low.T, mean - low.T])


@pytest.mark.parametrize("kind", [None, "drift-ode", "drift-sde", "data"])
def test_moments_in_phase_space_with_every_last_evaluation(kind):
    """The flow of a Gaussian is affine: sigma points carry its moments without sampling error."""
    process, mu, v, end = PSLD(), 0.8, 0.09, 1e-3
    sde = ProbabilityFlow(
        process, sgmsolve.Gaussian(np.full(1, mu), np.full(1, v)).model(process, "noise:lower")
    )

    def law(t):
        u = process.loading(t)
        return mu * u, v * np.outer(u, u) + process.covariance(t)

    mean, V = law(1.0)
    points = sigma_points(mean, np.linalg.cholesky(V))
    z = tuple(points[:, i : i + 1] for i in range(2))
    options = {"denoise": kind} if kind else {}
    found = solve_adaptive("rk45", sde, z, 1.0, end, rtol=1e-7, atol=1e-7, **options)
    plain = solve_adaptive("rk45", sde, z, 1.0, end, rtol=1e-7, atol=1e-7)
    assert np.array_equal(found.nfe, plain.nfe + (kind is not None))
    # The last evaluation is affine too, from the moments at its time.
    m, V = law(end)
    F, GG = process.F(end), process.G(end) @ process.G(end).T
    eye, pull = np.eye(2), -np.linalg.inv(V)
    if kind is None:
        A, b = eye, 0 * m
    elif kind == "data":
        psi, start = process.transition(0.0, end)[0], np.diag([v, process.initial_covariance[1, 1]])
        A = -start @ psi.T @ pull
        b = np.array([mu, 0.0]) - A @ m
    else:
        amount = 0.5 if kind == "drift-ode" else 1.0
        A = eye + end * (-F + amount * GG @ pull)
        b = -end * amount * GG @ pull @ m
    made = np.concatenate(found.z, axis=1)
    root = (made[1:3] - made[3:]) / 2
    assert np.abs(made[0] - (A @ m + b)).max() < 1e-5
    assert np.abs(root.T @ root - A @ V @ A.T).max() < 1e-5


def test_evaluations_in_phase_space_are_those_published():
    """Six modes of width 0.03; CIFAR-10 with one step for all: 228, 158, 111 (psld.md, 11.6)."""
    sde, _, start, _ = flow("psld", target=sgmsolve.GaussianMixture.ring(6, 0.9, 0.03))
    z = tuple(
        s * np.random.default_rng(i).standard_normal((64, 2)) for i, s in enumerate((1.0, 0.5))
    )
    for tol, published in ((1e-4, 158), (1e-3, 111)):
        found = solve_adaptive("rk45", sde, z, start, 1e-3, rtol=tol, atol=tol, denoise="drift-ode")
        assert abs(found.nfe.mean() / published - 1) < 0.2


# One sample and the others


def grow(x, t):
    return (x**2 * np.cos(t),)


@pytest.mark.parametrize("name", PAIRS)
def test_a_sample_does_not_see_its_batch(name):
    """Bitwise, with a rate that is computed entry by entry."""
    z = np.random.default_rng(0).uniform(-0.9, 0.9, (7, 3))
    options = {"rtol": 1e-4, "atol": 1e-4, "dense": True}
    whole = solve_adaptive(name, Ode(grow), z, 0.0, 3.0, **options)
    assert len(set(whole.nfe)) > 2
    for i in range(7):
        alone = solve_adaptive(name, Ode(grow), z[i : i + 1], 0.0, 3.0, **options)
        assert np.array_equal(alone.x[0], whole.x[i])
        assert (alone.nfe[0], alone.rejected[0]) == (whole.nfe[i], whole.rejected[i])
        assert np.array_equal(alone.dense(1.1)[0][0], whole.dense(1.1)[0][i])
    assert whole.rows == whole.nfe.sum()
    exact = z / (1 - z * np.sin(3.0))
    assert np.abs(whole.x - exact).max() < 1e-2


@pytest.mark.parametrize("name", PAIRS)
def test_evaluations_are_counted_and_firsts_kept(name):
    calls = []

    def rate(x, t):
        calls.append(x.shape[0])
        return (-50 * (x - np.cos(20 * t)),)

    found = solve_adaptive(name, Ode(rate), np.ones((3, 1)), 0.0, 1.0, rtol=1e-3, atol=1e-3, h0=0.5)
    stages, attempts = len(PAIRS[name].b), found.accepted + found.rejected
    firsts = 1 if PAIRS[name].fsal else found.accepted
    assert np.array_equal(found.nfe, firsts + (stages - 1) * attempts)
    assert found.rejected.min() > 0
    assert (sum(calls), len(calls)) == (found.rows, found.calls)
    assert found.rows == found.nfe.sum()


def blow_up(x, t):
    """x' = x^2: from 2 there is no solution beyond t = 1/2."""
    return (x**2,)


def spoiled(x, t):
    return (np.where((x > 1.5) & (t > 0.25), np.nan, -x),)


def test_failures_of_one_sample_leave_the_others_alone():
    z = np.array([[0.5], [2.0], [0.25]])
    with pytest.warns(IncompleteWarning, match=r"1 of 3 samples did not reach the end"):
        found = solve_adaptive("dopri5", Ode(blow_up), z, 0.0, 1.0, rtol=1e-6, atol=1e-6)
    assert [s is Status.FINISHED for s in found.statuses] == [True, False, True]
    assert found.statuses[1] in (Status.STEP_TOO_SMALL, Status.NONFINITE)
    assert abs(found.t[1] - 0.5) < 1e-5
    assert found.x[1, 0] > 1e5
    assert np.abs(found.x[[0, 2], 0] - [1.0, 1 / 3]).max() < 1e-5

    z = np.array([[0.5], [2.0]])
    with pytest.raises(SolveError, match="NaN or Inf") as raised:
        solve_adaptive("bosh3", Ode(spoiled), z, 0.0, 1.0, on_failure="raise")
    found = raised.value.solution
    assert found.statuses == (Status.FINISHED, Status.NONFINITE)
    assert 0.2 < found.t[1] <= 0.2501
    assert abs(found.x[1, 0] - 2 * np.exp(-found.t[1])) < 1e-3
    assert abs(found.x[0, 0] - 0.5 * np.exp(-1)) < 1e-3


def test_the_floor_and_the_largest_number_of_steps():
    z = np.array([[0.5], [0.9]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = solve_adaptive(
            "dopri5",
            Ode(blow_up),
            z,
            0.0,
            1.0,
            h_min=0.02,
            rtol=1e-8,
            atol=1e-8,
            on_failure="ignore",
        )
    assert found.statuses == (Status.FINISHED, Status.STEP_TOO_SMALL)
    t = found.t[1]
    assert abs(found.x[1, 0] - 0.9 / (1 - 0.9 * t)) < 1e-6
    found = solve_adaptive("dopri5", Ode(blow_up), z, 0.0, 1.0, max_steps=6, on_failure="ignore")
    assert found.statuses == (Status.FINISHED, Status.MAX_STEPS)
    assert (found.accepted + found.rejected).max() == 6
    assert found.status is Status.MAX_STEPS


def test_flows_up_in_time_with_arrays_of_other_shapes():
    """A state and its log-determinant, as a likelihood wants them."""

    def rate(x, logdet, t):
        slope = np.cos(t)
        return slope * x, 3 * np.broadcast_to(np.reshape(slope, (-1,)), logdet.shape)

    z = (np.random.default_rng(0).standard_normal((4, 3)), np.zeros(4))
    found = solve_adaptive("dopri5", Ode(rate, 2), z, 0.5, 2.0, rtol=1e-9, atol=(1e-9, 1e-9))
    change = np.sin(2.0) - np.sin(0.5)
    assert np.abs(found.z[0] - z[0] * np.exp(change)).max() < 1e-8
    assert np.abs(found.z[1] - 3 * change).max() < 1e-8


# Times to save


@pytest.mark.parametrize("name", ["dopri5", "heun-euler", "dpm-solver-23", "exp-heun-euler"])
def test_saved_states_are_those_of_runs_that_end_there(name):
    sde, z, start, end = flow("vp")
    options = {"rtol": 1e-4, "atol": 1e-4}
    times = [0.8, 0.4, 0.05]
    found = solve_adaptive(name, sde, z, start, end, save_at=times, **options)
    assert found.saved[0].shape == (3, *z[0].shape)
    for t, saved in zip(times, found.saved[0], strict=True):
        there = solve_adaptive(name, sde, z, start, t, **options)
        assert np.all(there.t == t)
        assert np.abs(saved - there.x).max() < 5e-3
        assert np.abs(saved - there.x).max() > 0 or t == 0.8
    assert np.abs(found.x - solve_adaptive(name, sde, z, start, end, **options).x).max() < 5e-3
    assert np.all(found.t == end)


def test_times_that_were_not_reached_are_nan():
    z = np.array([[0.5], [2.0]])
    found = solve_adaptive(
        "dopri5", Ode(blow_up), z, 0.0, 1.0, save_at=[0.25, 0.75], on_failure="ignore"
    )
    assert np.abs(found.saved[0][0, :, 0] - z[:, 0] / (1 - 0.25 * z[:, 0])).max() < 1e-3
    assert np.array_equal(np.isnan(found.saved[0][1, :, 0]), [False, True])


def test_times_to_save_do_not_slow_the_steps_after_them():
    sde, z, start, end = flow("ve")
    plain = solve_adaptive("bosh3", sde, z, start, end, rtol=1e-3, atol=1e-3)
    saved = solve_adaptive(
        "bosh3", sde, z, start, end, rtol=1e-3, atol=1e-3, save_at=np.linspace(start, end, 12)[1:-1]
    )
    assert saved.nfe.mean() < 1.35 * plain.nfe.mean()


# Libraries


def libraries():
    """One jax program a solver and a batch size: a few seconds each."""
    for name in (*PAIRS, *EXPONENTIAL):
        yield name, "torch"
        slow = () if name == "heun-euler" else (pytest.mark.slow,)
        yield pytest.param(name, "jax", marks=slow)


@pytest.mark.parametrize(("name", "library"), list(libraries()))
def test_torch_and_jax_give_the_same(name, library):
    module = pytest.importorskip(library)
    sde, z, start, end = flow("vp", batch=2)
    options = {"rtol": 1e-3, "atol": 1e-3}
    right = solve_adaptive(name, sde, z, start, end, **options)
    convert = module.tensor if library == "torch" else module.numpy.asarray
    made = solve_adaptive(name, sde, tuple(map(convert, z)), start, end, **options)
    exact = str(made.x.dtype).endswith("64")
    assert np.abs(np.asarray(made.x) - right.x).max() < (1e-8 if exact else 1e-3)
    assert not exact or np.array_equal(made.nfe, right.nfe)
    assert np.abs(right.x - reference(sde, z, start, end)[0]).max() < 0.05
    if library == "jax":
        whole = solve_masked(name, sde, tuple(map(convert, z)), start, end, **options)
        assert np.abs(np.asarray(whole.z[0]) - right.x).max() < (1e-8 if exact else 1e-3)
        assert np.abs(np.asarray(whole.t) - end).max() < 1e-6


# Refusals


def test_names_options_and_sdes_that_do_not_fit():
    sde, z, start, end = flow("vp")
    assert find_solver("rk45").name == "dopri5"
    with pytest.raises(MethodError, match="Did you mean 'dopri5'"):
        solve_adaptive("dopri", sde, z, start, end)
    with pytest.raises(MethodError, match="unknown option of dopri5 'prediction'"):
        solve_adaptive("dopri5", sde, z, start, end, prediction="data")
    with pytest.raises(MethodError, match="unknown prediction: 'score'"):
        solve_adaptive("dpm-solver-12", sde, z, start, end, prediction="score")
    with pytest.raises(MethodError, match="solves ODEs, but the ReverseSDE has additive noise"):
        solve_adaptive("dopri5", ReverseSDE(sde.process, sde.model), z, start, end)
    phase, points, start, end = flow("psld")
    with pytest.raises(MethodError, match=r"one component.* but PSLD.*use dopri5"):
        solve_adaptive("dpm-solver-23", phase, points, start, end)
    with pytest.raises(MethodError, match="but a Ode was given"):
        solve_adaptive("exp-heun-euler", Ode(grow), z, 0.0, 1.0)
    process = Flow()
    straight = ProbabilityFlow(process, RING.model(process, "flow"))
    with pytest.raises(GridError, match=r"not finite at t = 1, .* use dopri5"):
        solve_adaptive("dpm-solver-12", straight, z, 1.0, 0.1)
