"""Order conditions on methods whose answers are known by hand."""

import itertools
import math
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest

from sgmsolve.errors import PlanError
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.conditions import (
    defect,
    defect_slopes,
    noise_defects,
    polynomial_defects,
    tree_defects,
)
from sgmsolve.plan.steps import plan_steps, step_weights
from sgmsolve.plan.trees import coefficient, order, rooted_trees
from sgmsolve.process.edm import EDM
from sgmsolve.process.vp import VP

GRID = (3.0, 2.0, 1.5, 1.1)


def euler(process: Any, grid: Any, kind: str = "noise", eta: float = 0.0) -> Plan:
    """The exact step for a constant prediction, by the formulas of the module."""
    b = PlanBuilder(process, grid, predicts=kind)
    lam, sq = process.lam, eta**2
    for t, s in b.steps():
        h = lam(s) - lam(t)
        e = b.predict(b.z, t)
        if kind == "noise":
            psi = process.alpha(s) / process.alpha(t)
            w = process.alpha(s) * (1 + sq) * (process.rho(s) - process.rho(t))
            l = process.alpha(s) * eta * np.sqrt(process.rho(t) ** 2 - process.rho(s) ** 2)
        else:
            psi = process.sigma(s) / process.sigma(t) * np.exp(-sq * h)
            w = -process.alpha(s) * np.expm1(-(1 + sq) * h)
            l = process.sigma(s) * np.sqrt(-np.expm1(-2 * sq * h))
        b.advance(psi * b.z + w * e + l * b.xi() if eta else psi * b.z + w * e)
    return b.plan()


def rk2(grid: Any, c: Any, b2: Any) -> Plan:
    """Two stages on dx = e dsigma: order 2 if b2 = 1/(2c)."""
    b = PlanBuilder(EDM(), grid, predicts="noise")
    for t, s in b.steps():
        x, h = b.z, s - t
        e0 = b.predict(x, t)
        e1 = b.predict(x + c * h * e0, t + c * h)
        b.advance(x + h * ((1 - b2) * e0 + b2 * e1))
    return b.plan()


def test_steps_are_read_back() -> None:
    plan = rk2(GRID, 0.5, 0.75)
    t, s, psi, weights, draws = step_weights(plan, 1)
    assert (t, s, psi[0, 0], draws) == (2.0, 1.5, 1.0, {})
    assert {r: w[0, 0] for r, w in weights.items()} == pytest.approx({2: -0.125, 3: -0.375})
    stage = plan_steps(plan)[1].stages[3]
    assert stage.time == 1.75
    assert stage.weights[2][0, 0] == pytest.approx(-0.25)
    with pytest.raises(PlanError, match=r"has 3 steps, but step 3 was asked for; choose 0 to 2"):
        step_weights(plan, 3)


def test_history_and_draws_are_read_back() -> None:
    b = PlanBuilder(EDM(), GRID, predicts="noise")
    old = None
    for t, s in b.steps():
        e = b.predict(b.z, t)
        mixed = e if old is None else 1.5 * e - 0.5 * old
        b.advance(0.9 * b.z + (s - t) * mixed + 0.25 * b.xi())
        old = e
    _, _, psi, weights, draws = step_weights(b.plan(), 2)
    assert psi[0, 0] == pytest.approx(0.9)
    assert {r: w[0, 0] for r, w in weights.items()} == pytest.approx({2: -0.6, 1: 0.2})
    assert {d: l[0] for d, l in draws.items()} == pytest.approx({2: 0.25})


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kind", ["noise", "data"])
def test_exact_flow_of_the_family(kind: str, eta: float) -> None:
    """The closed forms agree with an integration of the SDE's own mean and variance."""
    process, grid = VP(), (0.8, 0.5)
    plan = euler(process, grid, kind, eta)
    mean = _moments(process, grid, kind, eta)
    got = [plan.move[0, 0, 0], plan.kick[0, 0, 0, 0], (plan.noise[0] ** 2).sum()]
    assert got == pytest.approx(mean, rel=1e-8)
    assert float(defect(polynomial_defects(plan, process, 1, "rho", eta=eta))) < 1e-13
    assert float(defect(noise_defects(plan, process, 1, eta=eta))) < 1e-13


def _moments(process: VP, grid: Any, kind: str, eta: float) -> list[float]:
    """(psi, w, variance) by RK4 on the moment equations of the reverse SDE with this eta."""

    def rate(t: float, y: np.ndarray) -> np.ndarray:
        a, b = process.conversion_scalars(kind, "score", t)
        half = (1 + eta**2) / 2 * process.g2(t)
        linear = process.f(t) - half * a
        psi, w, v = y
        # Time runs down: the variance grows as t falls.
        return np.array(
            [linear * psi, linear * w - half * b, 2 * linear * v - eta**2 * process.g2(t)]
        )

    y, (t, end), n = np.array([1.0, 0.0, 0.0]), grid, 400
    h = (end - t) / n
    for i in range(n):
        u = t + i * h
        k1 = rate(u, y)
        k2 = rate(u + h / 2, y + h / 2 * k1)
        k3 = rate(u + h / 2, y + h / 2 * k2)
        k4 = rate(u + h, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return [float(v) for v in y]


def test_a_wrong_eta_is_noticed() -> None:
    plan = euler(VP(), (0.8, 0.5), "data", 1.0)
    assert float(defect(polynomial_defects(plan, VP(), 1, "lam", eta=0.99))) > 1e-3
    assert float(defect(noise_defects(plan, VP(), 1, eta=0.99))) > 1e-3


def test_ancestral_steps_are_odes_plus_noise() -> None:
    """DDIM's direction sqrt(sigma_s^2 - std^2) is the exact ODE step to below s."""
    process, std = VP(), 0.2
    b = PlanBuilder(process, (0.8, 0.5), predicts="noise")
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        w = math.sqrt(process.sigma(s) ** 2 - std**2) - psi * process.sigma(t)
        b.advance(psi * b.z + w * b.predict(b.z, t) + std * b.xi())
    plan = b.plan()
    assert float(defect(polynomial_defects(plan, process, 1, "rho", ancestral=True))) < 1e-14
    louder = plan.replace(noise=1.01 * plan.noise)
    assert float(defect(polynomial_defects(louder, process, 1, "rho", ancestral=True))) > 1e-4
    with pytest.raises(PlanError, match="adds more noise than"):
        polynomial_defects(plan.replace(noise=10 * plan.noise), process, 1, "rho", ancestral=True)


def test_polynomials_see_the_quadrature_and_trees_see_the_stages() -> None:
    """b2 c = 1/2 integrates u exactly at any c; the model's time and state must both be right."""
    plan = rk2(GRID, 0.7, 1 / 1.4)
    assert float(defect(polynomial_defects(plan, EDM(), 2, "rho"))) < 1e-14
    assert float(defect(tree_defects(plan, EDM(), 2))) < 1e-14
    third = tree_defects(plan, EDM(), 3).astype(float)
    assert np.abs(third).max() > 1e-3
    late = plan.t.copy()
    late[1] *= 1.01  # the wrong time: seen by the leaf "u"
    assert float(defect(tree_defects(plan.replace(t=late), EDM(), 2))) > 1e-4
    far = plan.kick.copy()
    far[0, 0, 0, 0] *= 1.01  # the wrong state at the second stage: no polynomial sees it
    assert float(defect(tree_defects(plan.replace(kick=far), EDM(), 2)[:1])) > 1e-4
    assert float(defect(polynomial_defects(plan.replace(kick=far), EDM(), 2, "rho")[:1])) < 1e-14


def test_a_wrong_linear_flow_in_a_stage_is_noticed() -> None:
    plan = rk2(GRID, 0.7, 1 / 1.4)
    move = plan.move.copy()
    assert move[0, 0, 0] == 1
    move[0, 0, 0] = 1.01
    assert float(defect(tree_defects(plan.replace(move=move), EDM(), 2)[:1])) > 1e-4


def test_tree_conditions_of_order_three() -> None:
    """Kutta's third-order method; sum b_i a_ij c_j = 1/6 is what the quadrature cannot see."""

    def kutta(a32: float) -> Plan:
        b = PlanBuilder(EDM(), GRID, predicts="noise")
        for t, s in b.steps():
            x, h = b.z, s - t
            e0 = b.predict(x, t)
            e1 = b.predict(x + h / 2 * e0, t + h / 2)
            e2 = b.predict(x + h * ((1 - a32) * e0 + a32 * e1), s)
            b.advance(x + h / 6 * (e0 + 4 * e1 + e2))
        return b.plan()

    assert float(defect(tree_defects(kutta(2.0), EDM(), 3))) < 1e-14
    assert float(defect(polynomial_defects(kutta(1.98), EDM(), 3, "rho"))) < 1e-14
    assert float(defect(tree_defects(kutta(1.98), EDM(), 3))) > 1e-5


def test_stage_noise_must_be_the_path_of_the_step() -> None:
    """Heun has weak order 2 only with the step's own noise in its second stage."""

    def plan(grid: Any, shared: bool) -> Plan:
        b = PlanBuilder(EDM(), grid, predicts="noise")
        for t, s in b.steps():
            x, h, l = b.z, 2 * (s - t), (t**2 - s**2) ** 0.5
            e0 = b.predict(x, t)
            xi = b.xi()
            e1 = b.predict(x + h * e0 + l * (xi if shared else b.xi()), s)
            b.advance(x + h / 2 * (e0 + e1) + l * xi)
        return b.plan()

    hs = [mpmath.mpf("1e-4"), mpmath.mpf("1e-5")]
    found = {}
    with mpmath.workdps(40):
        for shared, column in itertools.product((True, False), (0, 1, 2)):
            (slope,) = defect_slopes(
                lambda grid, shared=shared: plan(grid, shared),
                lambda p, c=column: defect(noise_defects(p, EDM(), 2, eta=1.0)[:, c : c + 1]),
                mpmath.mpf(2),
                hs,
            )
            found[shared, column] = float(slope)
    assert found[True, 0] == found[False, 0] == math.inf
    assert [found[True, 1], found[True, 2]] == pytest.approx([3, 3], abs=0.05)
    assert found[False, 1] == pytest.approx(2, abs=0.05)


def test_rooted_trees() -> None:
    trees = rooted_trees(5)
    counts = [sum(order(t) == n for t in trees) for n in range(1, 6)]
    assert counts == [1, 2, 5, 13, 37]
    plain = [t for t in trees if "u" not in str(t)]
    assert [sum(order(t) == n for t in plain) for n in range(1, 6)] == [1, 1, 2, 4, 9]
    assert len(set(trees)) == len(trees)
    # 1/density: bushy trees 1/n, tall trees 1/n!.
    assert coefficient(((), (), ())) == Fraction(1, 4)
    assert coefficient((((),),)) == Fraction(1, 6)
    assert coefficient((((), "u"),)) == Fraction(1, 12)


def test_what_cannot_be_judged_is_said() -> None:
    plan = euler(VP(), (0.8, 0.5))
    with pytest.raises(PlanError, match=r"unknown variable 'lamda'.*'lam'"):
        polynomial_defects(plan, VP(), 1, "lamda")
    with pytest.raises(PlanError, match="unknown kind of prediction"):
        polynomial_defects(plan.replace(predicts="flow"), VP(), 1, "rho")
    with pytest.raises(PlanError, match="leave none"):
        defect(polynomial_defects(plan, VP(), 1, "rho"), skip=1)
    with pytest.raises(PlanError, match="1 grid point"):
        plan_steps(plan.replace(nodes=plan.nodes[:1]))
