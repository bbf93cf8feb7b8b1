"""Weak orders on the mixture: quadrature against samples, coupling against quadrature."""

from __future__ import annotations

import math

import numpy as np
import pytest
from analysis.standins import ab2, ddim, euler_maruyama

from sgmsolve.analysis import order_mixture
from sgmsolve.analysis.exact import error
from sgmsolve.analysis.order_mixture import (
    _jackknife,
    classify_interval,
    coupled_slope,
    measure_weak,
    measure_weak_builder,
)
from sgmsolve.analysis.order_problems import OrderProblem, problem
from sgmsolve.analysis.quadrature import (
    cuts,
    interpolate,
    observables,
    quadrature_error,
    without_memory,
)
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import find
from sgmsolve.process import EDM
from sgmsolve.target import GaussianMixture

P = problem("mixture", "edm-start")


def test_memory_is_recognised():
    def of(name):
        return without_memory(find(name)(P.process, P.times(8)))

    assert all(
        of(n) for n in ("euler-maruyama", "dpm2-ancestral", "edm-churn", "dpm++sde", "restart")
    )
    assert not any(of(n) for n in ("sde-dpm++2m", "sde-dpm++3m", "sa-solver"))
    assert [c.boundary for c in cuts(euler_maruyama(P.process, P.times(3)))] == [0, 1, 2, 3]
    assert len(cuts(ab2(P.process, P.times(8)))) < 8


@pytest.mark.parametrize("name", ["euler-maruyama", "dpm++sde", "edm-churn"])
def test_quadrature_agrees_with_samples(name):
    """Two steps of 200 000 samples: the rms error within four standard errors."""
    from sgmsolve.analysis.reference import run_points

    plan = find(name)(P.process, P.times(2))
    rng, n = np.random.default_rng(1), 200_000
    z = P.target.sample(n, rng) + 2.0 * rng.standard_normal((n, 1))
    x = run_points(plan, P.target, P.process, z, lambda r, j: rng.standard_normal((n, 1)))[:, 0]
    values = observables(x)
    exact = np.array(
        [
            0.6 * -0.8 + 0.4,
            *(sum(w * m for w, m in zip((0.6, 0.4), raw(k), strict=True)) for k in (2, 4)),
            0.6 * math.cos(1.6) * math.exp(-2 * 0.10) + 0.4 * math.cos(2.0) * math.exp(-2 * 0.17),
        ]
    )
    difference = values.mean(axis=1) - exact
    rms = math.sqrt(np.mean(difference**2))
    weight = difference / (4 * rms)
    standard = float(np.std(weight @ values) / math.sqrt(n))
    assert abs(quadrature_error(plan, P) - rms) < 4 * standard


def raw(k):
    """Raw moments of N(-0.8, 0.1) and N(1, 0.17): the components at sigma = 0.1."""
    for m, v in ((-0.8, 0.10), (1.0, 0.17)):
        yield m**2 + v if k == 2 else m**4 + 6 * m**2 * v + 3 * v**2


def test_quadrature_is_converged():
    plan = find("dpm2-ancestral")(P.process, P.times(8))
    coarse, fine = quadrature_error(plan, P), quadrature_error(plan, P, refine=2)
    assert coarse == pytest.approx(fine, rel=1e-7)


def test_quadrature_sees_one_per_cent_of_every_entry():
    plan = ddim(P.process, P.times(3), eta=1.0)
    base = quadrature_error(plan, P)
    for name in ("move", "kick", "noise"):
        for r in range(plan.rows):
            table = getattr(plan, name).copy()
            table[r] *= 1.01
            assert abs(quadrature_error(plan.replace(**{name: table}), P) - base) > 1e-5, (name, r)


def test_quadrature_on_one_component_is_exact_propagation():
    """A mixture of one component is a Gaussian; errors in x and x^2 follow from its moments."""
    target = GaussianMixture([1.0], [[0.0]], [0.5])
    p = OrderProblem("one", "short", target, EDM(), "karras", 2.0, 0.1)
    plan = euler_maruyama(p.process, p.times(8))
    from sgmsolve.target import Gaussian

    change = error(plan, Gaussian([0.0], [0.5]), p.process, metric="variance") * 0.51
    v = 0.51 + change
    d4 = 3 * v**2 - 3 * 0.51**2
    dcos = math.exp(-2 * v) - math.exp(-2 * 0.51)
    expected = math.sqrt((change**2 + d4**2 + dcos**2) / 4)
    assert quadrature_error(plan, p) == pytest.approx(expected, rel=1e-8)


def test_interpolation_is_exact_for_degree_seven():
    x = np.linspace(-1, 1, 40)
    at = np.array([-1.0, -0.99, 0.013, 0.5, 0.999, 1.0])
    values = np.stack([x**7 - x**2, x**8 * 1e3])
    got = interpolate(x, values, at)
    np.testing.assert_allclose(got[0], at**7 - at**2, atol=1e-13)
    assert interpolate(x, values, np.array([5.0]))[0, 0] == pytest.approx(0, abs=1e-13)


def test_intervals_are_judged():
    assert classify_interval(1.8, 0.1, 2) == "ok"
    assert classify_interval(1.65, 0.1, 2) == "ok"
    assert classify_interval(1.55, 0.1, 2) == "wrong"
    assert classify_interval(2.55, 0.1, 2) == "superconvergent"
    assert classify_interval(2.0, 0.7, 2) == "preasymptotic"
    assert classify_interval(2.0, float("nan"), 2) == "preasymptotic"


def test_first_orders_by_quadrature(monkeypatch):
    monkeypatch.setattr(order_mixture, "LAST", 64)
    row = measure_weak("euler-maruyama")
    assert (row.status, row.kind, row.problem, row.half_width) == ("ok", "weak", "mixture", 0.0)
    with pytest.raises(AnalysisError, match="claims no weak order"):
        measure_weak("heun")
    with pytest.raises(AnalysisError, match="draws no noise"):
        measure_weak_builder(ddim, 1)


@pytest.mark.slow
def test_coupled_differences_agree_with_quadrature():
    """Differences of quadrature errors are what the coupled runs estimate."""
    plans = [find("ddim-sde")(P.process, P.times(n)) for n in (16, 32, 64)]
    _, slope, half_width = coupled_slope(plans, P)
    e = [quadrature_error(plan, P) for plan in plans]
    assert abs(slope - math.log2((e[0] - e[1]) / (e[1] - e[2]))) < half_width + 0.05


# At N = 16, 32, 64 a higher-order term hides the claim: measured 2.56, and 2.00 on the Gaussian.
# Twice the steps take more than ten minutes to bring the interval down.
HIDDEN = pytest.mark.xfail(reason="superconvergent at affordable step counts", strict=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["sde-dpm++2m", pytest.param("sa-solver", marks=HIDDEN), "edm-churn", "dpm++sde"],
)
def test_second_orders_on_the_mixture(name):
    row = measure_weak(name)
    assert row.status == "ok", row


def test_the_interval_is_the_delta_methods():
    """log2 of a ratio of means: its standard error to first order, from the batches' covariance."""
    rng = np.random.default_rng(5)
    batches = np.array([4.0, 1.0]) + rng.standard_normal((4000, 2)) * [0.8, 0.3]
    slope, half_width = _jackknife(batches[:, :, None])
    a, b = batches.mean(axis=0)
    each = (batches[:, 0] / a - batches[:, 1] / b) / math.log(2)
    assert slope == pytest.approx(math.log2(a / b), rel=1e-12)
    # 1.96 is the 97.5 % point of the standard normal.
    assert half_width == pytest.approx(1.959964 * each.std() / math.sqrt(4000), rel=3e-3)


def test_the_mixture_is_the_documented_one():
    np.testing.assert_array_equal(P.target.means[:, 0], [-0.8, 1.0])
    np.testing.assert_allclose(P.target.eigenvalues[:, 0], [0.09, 0.16], rtol=1e-15)
    np.testing.assert_allclose(P.target.weights, [0.6, 0.4], rtol=1e-15)
