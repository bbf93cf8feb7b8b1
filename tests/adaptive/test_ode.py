"""Runs of adaptive ODE solvers: phase space, failures, batches, saved times, libraries."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest
from ode_cases import EXPONENTIAL, PAIRS, PROCESSES, error, flow, reference
from toy import predictor, run

import sgmsolve
from sgmsolve import EDM, VE, VP, Flow, ProbabilityFlow, Status, SubVP
from sgmsolve.adaptive import controllers, solve_adaptive
from sgmsolve.adaptive.exponential import Exponential, phi
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.adaptive.stepper import Field
from sgmsolve.phi import phi as exact_phi
from sgmsolve.plan.trees import LEAF, coefficient, order, rooted_trees


@functools.cache
def solved(name, end):
    """(probability flow, start, t_start, scipy's end)."""
    sde, z, start, _ = flow(name)
    return sde, z, start, reference(sde, z, start, end)


# Coefficients


def values(pair, tree):
    """What every stage makes of a tree: exact fractions."""
    if tree == LEAF:
        return pair.c
    out = [Fraction(1)] * len(pair.b)
    for child in tree:
        made = values(pair, child)
        if child != LEAF:
            made = [sum(x * y for x, y in zip(row, made, strict=False)) for row in pair.a]
        out = [x * y for x, y in zip(out, made, strict=True)]
    return out


def defects(pair, weights, highest, theta=1):
    """Defects of the order conditions up to ``highest``, by number of nodes."""
    found = dict.fromkeys(range(1, highest + 1), Fraction(0))
    for tree in rooted_trees(highest):
        made = sum(w * v for w, v in zip(weights, values(pair, tree), strict=True))
        gap = abs(made - coefficient(tree) * Fraction(theta) ** order(tree))
        found[order(tree)] = max(found[order(tree)], gap)
    return found


@pytest.mark.parametrize("name", PAIRS)
def test_both_weights_fulfil_all_order_conditions_exactly(name):
    pair = PAIRS[name]
    assert pair.fsal == (name != "heun-euler")
    for weights, p in zip((pair.b, pair.lower), pair.orders, strict=True):
        found = defects(pair, weights, p + 1)
        assert all(found[q] == 0 for q in range(1, p + 1))
        assert found[p + 1] != 0


def test_the_interpolant_of_dopri5_has_order_4_everywhere():
    pair = PAIRS["dopri5"]
    for theta in (Fraction(1, 7), Fraction(1, 2), Fraction(5, 6)):
        left = 1 - theta
        weights = [
            theta**2 * (3 - 2 * theta) * b + theta**2 * left**2 * d
            for b, d in zip(pair.b, pair.bump, strict=True)
        ]
        weights[0] += theta * left**2
        weights[-1] -= theta**2 * left
        found = defects(pair, weights, 5, theta)
        assert [found[q] for q in (1, 2, 3, 4)] == [0] * 4
        assert found[5] != 0


@pytest.mark.parametrize("k", [1, 2])
def test_phi_of_arrays(k):
    z = np.concatenate([[0.0], np.geomspace(1e-12, 30, 60), -np.geomspace(1e-12, 30, 60)])
    z = np.concatenate([z, np.nextafter([0.5, -0.5], 0)])
    assert np.allclose(phi(k, z), exact_phi(k, z), rtol=2e-15, atol=0)


# Orders, against scipy and exact flows


@pytest.mark.parametrize(
    ("process", "name", "N"),
    [
        ("vp", "dopri5", 8),
        ("psld", "dopri5", 64),
        ("vp", "bosh3", 64),
        ("psld", "bosh3", 128),
        ("vp", "heun-euler", 128),
        ("psld", "heun-euler", 256),
    ],
)
def test_orders_of_runge_kutta_on_equal_steps(process, name, N):
    p = PAIRS[name].orders[0]
    sde, z, start, right = solved(process, 0.3)
    found = [error(solve_adaptive(name, sde, z, start, 0.3, steps=n).z, right) for n in (N, 2 * N)]
    rate = np.log2(found[0].max() / found[1].max())
    assert abs(rate - p) < 0.3, rate


@pytest.mark.parametrize("prediction", ["noise", "data"])
@pytest.mark.parametrize(
    ("name", "p"), [("dpm-solver-12", 2), ("dpm-solver-23", 3), ("exp-heun-euler", 2)]
)
@pytest.mark.parametrize("process", ["vp", "edm"])
def test_orders_of_exponential_pairs_on_equal_steps(name, p, process, prediction):
    end = PROCESSES[process][3]
    sde, z, start, right = solved(process, end)
    options = {"prediction": prediction}
    found = [
        error(solve_adaptive(name, sde, z, start, end, steps=n, **options).z, right).max()
        for n in (80, 160)
    ]
    rate = np.log2(found[0] / found[1])
    assert abs(rate - p) < 0.15, rate


@pytest.mark.parametrize("name", [*PAIRS, *EXPONENTIAL])
def test_the_error_estimate_has_its_order(name):
    sde, z, _, _ = flow("vp")
    stepper, own = find_solver(name).make(sde)
    t = own.clock(np.array([0.4]))[0] if hasattr(own, "clock") else 0.4
    field, sizes = Field(own), []
    for h in (0.02, 0.01):
        tried = stepper.attempt(field, z, float(t), h, stepper.first(field, z, float(t)), {}, z)
        sizes.append(np.abs(tried.error[0]).max())
    assert abs(np.log2(sizes[0] / sizes[1]) - stepper.order) < 0.15


@pytest.mark.parametrize("name", [*PAIRS, *EXPONENTIAL])
def test_the_estimate_is_the_difference_of_the_pair(name):
    """One step: error = high - low, with low from the formula of the lower order."""
    sde, z, start, _ = flow("ve")
    stepper, own = find_solver(name).make(sde)
    field, t, h = Field(own), start, 0.05
    if isinstance(stepper, Exponential):
        t = float(own.clock(np.array([start]))[0])
    first = stepper.first(field, z, t)
    tried = stepper.attempt(field, z, t, h, first, {}, z)
    low = tried.z[0] - tried.error[0]
    if name == "heun-euler":
        assert np.allclose(low, z[0] + h * first[0], rtol=1e-14)
    elif name == "exp-heun-euler":
        lam = float(own.process.lam(start)) + h
        s = own.process.time_of_lam(lam)
        ratio = own.process.sigma(s) / own.process.sigma(start)
        assert np.allclose(low, ratio * z[0] - np.expm1(-h) * first[0], rtol=1e-13)
    elif isinstance(stepper, Exponential):
        assert np.allclose(low, tried.previous[0], rtol=1e-15)
        assert np.allclose(low, tried.sizes[0][0], rtol=1e-15)
    assert np.array_equal(
        tried.sizes[1][0], z[0] if name in ("dpm-solver-12", "dpm-solver-23") else tried.z[0]
    )


@pytest.mark.parametrize("process", PROCESSES)
def test_errors_follow_the_tolerance(process):
    """Against scipy: every sample within 30 tolerances, and an exponent near 1."""
    end = PROCESSES[process][3]
    sde, z, start, right = solved(process, end)
    names = ("dopri5", "exp-heun-euler") if process != "psld" else ("dopri5",)
    for name in names:
        tols = np.array([1e-3, 1e-5] if name != "dopri5" else [1e-5, 1e-8])
        found = []
        for tol in tols:
            made = solve_adaptive(name, sde, z, start, end, rtol=tol, atol=tol)
            assert made.status is Status.FINISHED
            found.append(error(made.z, right))
            assert found[-1].max() < 30 * tol * max(1.0, np.abs(right[0]).max())
        slope = np.log(np.median(found[0]) / np.median(found[1])) / np.log(tols[0] / tols[1])
        assert 0.7 < slope < 1.3, (name, slope)


def test_gaussian_flows_in_closed_form():
    """The flow of N(mu, v): (x - alpha mu)/(v alpha^2 + sigma^2)^(1/2) is constant."""
    target = sgmsolve.Gaussian(np.array([0.7, -0.4]), np.array([0.3, 2.0]))
    for name in ("dpm-solver-12", "dpm-solver-23"):
        for process, prediction in (("vp", "noise"), ("ve", "data"), ("flow", "data")):
            sde, z, start, end = flow(process, target=target)
            made = solve_adaptive(
                name, sde, z, start, end, rtol=1e-4, atol=1e-4, prediction=prediction
            )
            a, s = (
                np.array([float(f(t)) for t in (start, end)])
                for f in (sde.process.alpha, sde.process.sigma)
            )
            mean, sd = (
                np.outer(a, target.mean),
                np.sqrt(np.outer(a**2, [0.3, 2.0]) + s[:, None] ** 2),
            )
            right = mean[1] + sd[1] / sd[0] * (z[0] - mean[0])
            assert np.abs(made.x - right).max() < 2e-3


# Plans: the same step as the fixed-grid methods


@pytest.mark.parametrize("process", [VP(), VE(sigma_max=20.0), SubVP(), EDM(), Flow()], ids=repr)
@pytest.mark.parametrize("prediction", ["noise", "data"])
def test_one_step_is_the_plans_step(process, prediction):
    t, s = 0.8, 0.5
    x = np.array([[0.3], [-1.2], [0.9]])

    class Model:
        predicts = prediction

        def __call__(self, z, t):
            return predictor(self.process, prediction)(z, float(np.max(t)))

    model = Model()
    model.process = process
    h = float(process.lam(s)) - float(process.lam(t))
    for name, order_, fixed, options in (
        ("dpm-solver-12", "high", "2", {"r": 0.5}),
        ("dpm-solver-23", "high", "3", {}),
        ("dpm-solver-23", "low", "2", {"r": 1 / 3}),
        ("exp-heun-euler", "high", "2", {"r": 1.0, "weights": "exact"}),
    ):
        method = f"dpm-solver-{fixed}" if prediction == "noise" else f"dpm++{fixed}s"
        plan = sgmsolve.build_plan(process, method, grid=[t, s], **options)
        expected = run(plan, predictor(process, prediction), x)
        stepper, own = find_solver(name).make(
            ProbabilityFlow(process, model), prediction=prediction
        )
        field, lam = Field(own), float(process.lam(t))
        for convert in (float, lambda v: np.full(3, v)):
            start = convert(lam)
            first = stepper.first(field, (x,), start)
            tried = stepper.attempt(field, (x,), start, convert(h), first, {}, (x,))
            made = tried.z[0] if order_ == "high" else tried.previous[0]
            assert np.abs(made - expected).max() < 1e-13 * max(1.0, np.abs(expected).max())


def published(process, x, t, s, h, rtol, atol, formulas, p):
    """Appendix C of arXiv:2206.00927 for one sample: (state, attempts)."""
    lam, last = process.lam(t), process.lam(s)
    previous, tries, h = x, 0, min(h, process.lam(s) - process.lam(t))
    while last - lam > 1e-12:
        times = process.time_of_lam(lam), process.time_of_lam(lam + h)
        low, high = (formula(process, x, *times) for formula in formulas)
        size = np.maximum(atol, rtol * np.maximum(np.abs(low), np.abs(previous)))
        E, tries = np.sqrt(np.mean(((high - low) / size) ** 2)), tries + 1
        if E <= 1:
            x, previous, lam = high, low, lam + h
        h = min(0.9 * h * E ** (-1 / p), last - lam)
    return x, tries


def by_plan(method, **options):
    def step(process, x, t, s):
        plan = sgmsolve.build_plan(process, method, grid=[t, s], **options)
        return run(plan, predictor(process, "noise"), x)

    return step


@pytest.mark.parametrize("name", ["dpm-solver-12", "dpm-solver-23"])
def test_whole_runs_are_the_published_algorithm(name):
    """Its steps from the fixed-grid plans, its loop written down again."""
    process, x = VP(), np.array([[0.3, -1.2, 0.9]])
    if name == "dpm-solver-12":
        p, formulas = 2, (by_plan("dpm-solver-1"), by_plan("dpm-solver-2"))
    else:
        p, formulas = 3, (by_plan("dpm-solver-2", r=1 / 3), by_plan("dpm-solver-3"))
    expected, tries = published(process, x, 1.0, 1e-3, 0.05, 0.05, 0.0078, formulas, p)

    class Model:
        predicts = "noise"

        def __call__(self, z, t):
            return predictor(process, "noise")(z, float(np.max(t)))

    model = Model()
    model.process = process
    unbounded = controllers.integral(p, shrink=0.0, grow=np.inf)
    ode = ProbabilityFlow(process, model)
    made = solve_adaptive(name, ode, x, 1.0, 1e-3, h0=0.05, controller=unbounded)
    assert made.accepted[0] + made.rejected[0] == tries
    assert np.abs(made.x - expected).max() < 1e-9
    # The first evaluation of a step is made once, however often it is tried.
    assert made.nfe[0] == p * made.accepted[0] + (p - 1) * made.rejected[0]
