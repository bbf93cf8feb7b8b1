"""Controllers of the step size: formulas, odd errors, a model problem, all libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sgmsolve
from sgmsolve.adaptive import controllers
from sgmsolve.adaptive.controllers import Controller
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.errors import MethodError

YES, NO = np.array([True]), np.array([False])


def one(value):
    return np.array([float(value)])


def run(controller, errors, accepted=None):
    """Factors for a sequence of errors of one sample."""
    past, out = controller.begin(one(0.0)), []
    for i, E in enumerate(errors):
        yes = YES if accepted is None or accepted[i] else NO
        factor, past = controller(one(E), past, yes)
        out.append(float(factor[0]))
    return np.array(out)


@pytest.mark.parametrize("p", [2.0, 3.0, 5.0])
def test_factors_are_those_of_the_velocity_form_of_a_pid_controller(p):
    """log h moves by kI e + kP (e - e') + kD (e - 2 e' + e''), e = -log(E)/p (Gustafsson 1991)."""
    errors = np.random.default_rng(0).uniform(0.2, 0.99, 12)
    kP, kI, kD = 0.37, 0.29, 0.05
    e = -np.log(errors) / p
    # The first error counts once, elementary, and is remembered as 1.
    e[0] = 0.0
    steps = kI * e[2:] + kP * (e[2:] - e[1:-1]) + kD * (e[2:] - 2 * e[1:-1] + e[:-2])
    made = run(controllers.pid(p, kP, kI, kD), errors)
    assert np.allclose(made[2:], 0.9 * np.exp(steps), rtol=1e-13)
    assert math.isclose(made[0], 0.9 * errors[0] ** (-1 / p), rel_tol=1e-14)
    made = run(controllers.pi(p, kI, kP, safety=0.8), errors)
    steps = kI * e[1:] + kP * (e[1:] - e[:-1])
    assert np.allclose(made[1:], 0.8 * np.exp(steps), rtol=1e-13)
    assert np.allclose(run(controllers.integral(p), errors), 0.9 * errors ** (-1 / p), rtol=1e-14)


def test_default_gains_are_gustafssons():
    assert controllers.pi(5.0).gains == pytest.approx((0.7 / 5, -0.4 / 5), rel=1e-15)
    assert controllers.pid(5.0, derivative=0.1).gains == pytest.approx((0.16, -0.12, 0.02))
    published = controllers.gotta_go_fast(0.8, 0.7)
    assert (published.gains, published.safety, published.hold) == ((0.7,), 0.8, False)
    assert (published.shrink, published.grow) == (0.0, math.inf)


def respond(controller, p, n=60, jump=100.0):
    """Errors of a model problem, E = c h^p with c times ``jump`` at step 200."""
    h, c, past, errors = 1.0, 1.0, controller.begin(one(0.0)), []
    for i in range(200 + n):
        c = jump if i == 200 else c
        E = c * h**p
        factor, past = controller(one(E), past, np.array([E <= 1]))
        h *= float(factor[0])
        errors.append(E)
    return np.array(errors)


@pytest.mark.parametrize("p", [2.0, 5.0])
def test_an_elementary_controller_settles_in_one_step(p):
    errors = respond(controllers.integral(p, shrink=0.01), p)
    assert np.allclose(errors[1:200], 0.9**p, rtol=1e-12)
    assert np.allclose(errors[201:], 0.9**p, rtol=1e-12)


@pytest.mark.parametrize("p", [2.0, 5.0])
def test_a_pi_controller_settles_with_the_roots_of_its_characteristic_equation(p):
    """log h: x_(n+1) = (1 - kI - kP) x_n + kP x_(n-1); 0.3, 0.4: roots 0.8 and -0.5."""
    errors = respond(controllers.pi(p, shrink=0.01), p)
    rest = 0.9 ** (p / 0.3)
    assert np.allclose(errors[150:200], rest, rtol=1e-9)
    after = np.log(errors[200:] / rest)
    assert np.allclose(after[31:40] / after[30:39], 0.8, atol=2e-4)


def test_a_rejected_step_never_grows_and_forgets_nothing():
    controller = controllers.pi(3.0)
    past = (one(1e-9),)
    factor, after = controller(one(1.2), past, NO)
    assert math.isclose(float(factor[0]), 0.9 * 1.2 ** (-0.7 / 3), rel_tol=1e-14)
    assert after[0] == past[0]
    # On acceptance the tiny last error damps the next step: 1e-9^(0.4/3) = 0.063.
    factor, after = controller(one(0.5), past, YES)
    expected = 0.9 * 0.5 ** (-0.7 / 3) * 1e-9 ** (0.4 / 3)
    assert float(factor[0]) == max(expected, 0.2)
    assert after[0] == 0.5
    # Whatever a solver calls a rejection, and however small its error.
    assert controller(one(1e-6), past, NO)[0] == 1.0
    assert Controller((1.0,), hold=False)(one(0.5), (), NO)[0] == 1.8


def test_the_first_accepted_step_is_elementary_and_remembered_as_one():
    controller = controllers.pi(5.0)
    factors = run(controller, [3.0, 0.5, 0.6], [False, True, True])
    assert math.isclose(factors[0], 0.9 * 3.0 ** (-1 / 5), rel_tol=1e-14)
    assert math.isclose(factors[1], 0.9 * 0.5 ** (-1 / 5), rel_tol=1e-14)
    assert math.isclose(factors[2], 0.9 * 0.6 ** (-0.7 / 5), rel_tol=1e-14)
    plain = Controller((0.14, -0.08))
    factors = run(plain, [0.5, 0.6])
    assert np.allclose(factors, [0.9 * 0.5**-0.14, 0.9 * 0.6**-0.14 * 0.5**0.08], rtol=1e-14)


@pytest.mark.parametrize("make", [controllers.integral, controllers.pi, controllers.pid])
def test_errors_that_are_zero_or_not_finite(make):
    controller = make(4.0, shrink=0.25, grow=6.0)
    past = tuple(one(0.3) for _ in controller.gains[1:])
    for E, accepted, expected in (
        (0.0, YES, 6.0),
        (math.inf, NO, 0.25),
        (math.nan, NO, 0.25),
        (1e-300, YES, 6.0),
        (1e300, NO, 0.25),
    ):
        factor, after = controller(one(E), past, accepted)
        assert float(factor[0]) == expected
        if not 0 < E < math.inf:
            assert after == past
    unbounded = Controller((0.5,), shrink=0.0, grow=math.inf)
    assert unbounded(one(math.nan), (), NO)[0] == 0.1
    assert unbounded(one(0.0), (), YES)[0] == math.inf


@pytest.mark.parametrize("make", [controllers.integral, controllers.pi, controllers.pid])
def test_all_libraries_agree(make):
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    controller = make(3.0)
    rng = np.random.default_rng(1)
    E = np.concatenate([rng.uniform(0.01, 3, 20), [0.0, np.inf, np.nan]])
    past = tuple(
        rng.uniform(0.0, 1, len(E)) * (np.arange(len(E)) > 3) for _ in controller.gains[1:]
    )
    accepted = E <= 1
    factor, after = controller(E, past, accepted)
    for convert, call in (
        (torch.tensor, controller),
        (jax.numpy.asarray, controller),
        (jax.numpy.asarray, jax.jit(controller)),
    ):
        found, moved = call(convert(E), tuple(map(convert, past)), convert(accepted))
        # Without 64 bits jax keeps 7 digits.
        tight = 1e-14 if str(found.dtype).endswith("64") else 1e-6
        assert np.allclose(np.asarray(found), factor, rtol=tight, atol=0)
        assert all(np.allclose(a, b, rtol=tight) for a, b in zip(moved, after, strict=True))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gains": ()},
        {"gains": (1.0, 0.0, 0.0, 0.0)},
        {"gains": (math.nan,)},
        {"gains": (1.0,), "safety": 0.0},
        {"gains": (1.0,), "safety": 1.1},
        {"gains": (1.0,), "shrink": 1.0},
        {"gains": (1.0,), "grow": 1.0},
        {"gains": (1.0, 0.1), "start": math.inf},
    ],
)
def test_impossible_controllers_are_refused(wrong):
    with pytest.raises(MethodError, match=r"is no controller; expected one to three finite gains"):
        Controller(**wrong)


@pytest.mark.parametrize(
    ("name", "grow"),
    [
        ("gotta-go-fast", 5.0),
        ("dpm-solver-12", 2.0),
        ("dpm-solver-23", 2.0),
        ("exp-heun-euler", 2.0),
        ("sra1", 1.5),
        ("sra3", 1.5),
        ("milstein", 1.5),
    ],
)
def test_the_growth_that_the_solvers_document_is_what_they_allow(name, grow):
    """By default a chance estimate of zero may not send a step over the rest of the interval."""
    solver, process = find_solver(name), sgmsolve.VP()
    kind = sgmsolve.ReverseSDE if solver.stochastic else sgmsolve.ProbabilityFlow
    sde = kind(process, sgmsolve.Gaussian([0.0], [1.0]).model(process))
    control = solver.controller(solver.make(sde)[0])
    zero = np.zeros(1)
    assert control(zero, control.begin(zero), zero == 0)[0] == grow
