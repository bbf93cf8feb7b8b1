"""Local errors on polynomial scores: schemes of known order, each with one coefficient changed."""

from __future__ import annotations

import functools
import math

import mpmath as mp
import numpy as np
import pytest
from phase_cases import CASES, THREE

from sgmsolve import VP
from sgmsolve.errors import PlanError
from sgmsolve.methods.registry import find
from sgmsolve.plan import PlanBuilder
from sgmsolve.plan.conditions_phase import local_slopes, weak_local_slopes
from sgmsolve.plan.polynomial_field import Generator, PolynomialField, flow, hermite
from sgmsolve.plan.polynomials import Polynomial, variables

DIGITS = 50
PSLD, LINEAR = CASES["psld"], CASES["linear"]
H = 1e-4, 1e-5


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(DIGITS):
        yield


def slope(measure, build, process, **options):
    (found,) = measure(build, process, mp.mpf(1) / 2, [mp.mpf(h) for h in H], **options)
    return float(found)


def rate(b, process, z, t, eta=0.0):
    """Drift in reverse time, one evaluation; ``predicts`` may be a noise."""
    g = process.G(t)
    score = b.converted("score", z, b.predict(z, t), t)
    return -(process.F(t) @ z) + ((1 + mp.mpf(eta) ** 2) / 2 * (g @ g.T)) @ score


def runge_kutta(process, grid, *, predicts="score", weight=1, node=1):
    """The classical method of order 4; its last weight and its last node can be changed."""
    b = PlanBuilder(process, grid, predicts=predicts)
    for t, s in b.steps():
        h, z, half = t - s, b.z, (t + s) / 2
        k1 = rate(b, process, z, t)
        k2 = rate(b, process, z + h / 2 * k1, half)
        k3 = rate(b, process, z + h / 2 * k2, half)
        k4 = rate(b, process, z + h * k3, t - node * h)
        b.advance(z + h / 6 * (k1 + 2 * k2 + 2 * k3 + weight * k4))
    return b.plan()


def adams(process, grid, *, wrong=0):
    """Adams-Bashforth 2 on unequal steps from an Euler step."""
    b, last = PlanBuilder(process, grid, predicts="score"), None
    for t, s in b.steps():
        h, now = t - s, rate(b, process, b.z, t)
        z = b.z + h * now
        if last is not None:
            z = z + h / (2 + wrong) * (h / last[1]) * (now - last[0])
        last = now, h
        b.advance(z)
    return b.plan()


def stochastic_heun(process, grid, *, noise=1, both=1):
    """Heun's step with one draw: weak order 2 for G that does not depend on time."""
    b = PlanBuilder(process, grid, predicts="score", draws="increment")
    for t, s in b.steps():
        h, z, kick = t - s, b.z, (mp.sqrt(t - s) * process.G(t)) @ b.xi()
        k1 = rate(b, process, z, t, 1.0)
        k2 = rate(b, process, z + h * k1 + both * kick, s, 1.0)
        b.advance(z + h / 2 * (k1 + k2) + noise * kick)
    return b.plan()


@pytest.mark.parametrize("process", [PSLD, LINEAR, VP()], ids=["psld", "linear", "vp"])
def test_euler_has_order_one(process):
    assert slope(local_slopes, find("pf-euler"), process) == pytest.approx(2, abs=0.01)
    em = find("euler-maruyama")
    assert slope(weak_local_slopes, em, process) == pytest.approx(2, abs=0.01)
    pf = functools.partial(weak_local_slopes, eta=0.0)
    assert slope(pf, find("pf-euler"), process) == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize("predicts", ["score", "noise:lower"])
def test_classical_runge_kutta_has_order_four(predicts):
    build = functools.partial(runge_kutta, predicts=predicts)
    assert slope(local_slopes, build, LINEAR) == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(("change", "expected"), [({"weight": 1.01}, 1), ({"node": 0.99}, 2)])
def test_one_per_cent_of_a_coefficient_shows(change, expected):
    build = functools.partial(runge_kutta, **change)
    assert slope(local_slopes, build, PSLD) == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
def test_three_components():
    assert slope(local_slopes, runge_kutta, THREE) == pytest.approx(5, abs=0.01)


@pytest.mark.slow
def test_three_components_weakly():
    assert slope(weak_local_slopes, stochastic_heun, THREE) == pytest.approx(3, abs=0.01)


def test_history_is_judged_after_its_start():
    assert slope(local_slopes, adams, PSLD) == pytest.approx(2, abs=0.01)
    assert slope(local_slopes, adams, PSLD, steps=2) == pytest.approx(3, abs=0.01)
    wrong = functools.partial(adams, wrong=0.02)
    assert slope(local_slopes, wrong, PSLD, steps=2) == pytest.approx(2, abs=0.1)


def strang(process, grid):
    """Half a linear flow, a kick at the middle, half a flow: the evaluation is off the grid."""
    b = PlanBuilder(process, grid, predicts="score")
    for t, s in b.steps():
        middle, g = (t + s) / 2, process.G(t)
        z = process.flow(t, middle) @ b.z
        z = z + ((t - s) / 2 * (g @ g.T)) @ b.predict(z, middle)
        b.advance(process.flow(middle, s) @ z)
    return b.plan()


def test_steps_that_evaluate_off_the_grid_are_judged_whole():
    """An Euler kick between half flows: a whole step is of order one, half of one of none."""
    assert slope(local_slopes, strang, PSLD) == pytest.approx(2, abs=0.05)
    assert slope(local_slopes, strang, PSLD, steps=2) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("degree", [2, 3])
def test_stochastic_heun_has_weak_order_two(degree):
    found = slope(weak_local_slopes, stochastic_heun, PSLD, degree=degree)
    assert found == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(("change", "expected"), [({"noise": 1.01}, 1), ({"both": 1.01}, 2)])
def test_one_per_cent_of_a_noise_coefficient_shows(change, expected):
    build = functools.partial(stochastic_heun, **change)
    assert slope(weak_local_slopes, build, PSLD) == pytest.approx(expected, abs=0.1)


def test_weak_slopes_reach_five_without_noise():
    found = slope(weak_local_slopes, runge_kutta, LINEAR, eta=0.0)
    assert found == pytest.approx(5, abs=0.01)


def test_two_steps_of_their_own_past():
    assert slope(weak_local_slopes, stochastic_heun, PSLD, steps=2) == pytest.approx(3, abs=0.01)


def test_stochastic_plans_have_no_local_error():
    with pytest.raises(PlanError, match="use weak_local_slopes"):
        local_slopes(find("euler-maruyama"), PSLD, mp.mpf(1) / 2, [mp.mpf(1e-4)])


def test_the_flow_is_mpmaths():
    """Taylor's method of mpmath on the same equation."""
    field, start = PolynomialField(2, mp.mpf(1) / 2, 3), [mp.mpf(1) / 3, mp.mpf(-1) / 5]

    def f(tau, z):
        t = field.t0 - tau
        g = LINEAR.G(t)
        z = np.array(z, dtype=object)
        return list(-(LINEAR.F(t) @ z) + (g @ g.T) @ field(z, t) / 2)

    end = field.t0 - mp.mpf(1) / 1000
    with mp.workdps(30):
        other = mp.odefun(f, 0, start)(field.t0 - end)
    found = flow(field, LINEAR, np.array(start, dtype=object), [end])[end]
    assert max(abs(a - b) for a, b in zip(found, other, strict=True)) < 1e-27


def test_the_generator_on_ornstein_uhlenbeck():
    """With s = 0 the mean is e^(-F h) z and the variance int e^(-F u) G G^T e^(-F^T u) du."""
    field = PolynomialField(2, mp.mpf(1) / 2)
    field.polynomials = [Polynomial({}), Polynomial({})]
    generator, z = Generator(field, PSLD, 1.0), [mp.mpf(2), mp.mpf(-1)]
    x, v, _ = variables(2)
    F, D = mp.matrix(PSLD.F(0.5).tolist()), mp.matrix((PSLD.G(0.5) @ PSLD.G(0.5).T).tolist())
    h = mp.mpf(1) / 10**6
    mean = mp.expm(-F * h) * mp.matrix(z)
    cov = mp.quad(lambda u: (mp.expm(-F * u) * D * mp.expm(-F.T * u))[0, 1], [0, h])
    for phi, exact in ((x, mean[0]), (v, mean[1]), (x * v, mean[0] * mean[1] + cov)):
        terms = generator.expansion(phi, z)
        assert abs(sum(c * h**k for k, c in enumerate(terms)) - exact) < 1e-23


def test_hermite_moments():
    x, w = hermite(5)
    for k in range(10):
        exact = 0 if k % 2 else math.prod(range(k - 1, 0, -2))
        assert abs((x**k) @ w - exact) < mp.mpf(10) ** -45
