"""The order-12 reference, tabulated predictions and point runs against independent answers."""

from __future__ import annotations

import numpy as np
import pytest
from analysis.standins import ab2, ddim, heun

from sgmsolve.analysis.order_problems import DATA_INTERVALS, INTERVALS, problem
from sgmsolve.analysis.reference import probability_flow, run_points
from sgmsolve.analysis.tabulate import tabulate
from sgmsolve.backends import KeyedNoise, numpy_loop
from sgmsolve.errors import AnalysisError
from sgmsolve.process import EDM, VP, Flow
from sgmsolve.target import Gaussian, GaussianMixture

KINDS = ("noise", "data", "score", "v", "flow")


@pytest.mark.parametrize("interval", DATA_INTERVALS)
def test_reference_is_the_exact_flow_of_a_gaussian(interval):
    p = problem("gaussian", interval)
    found = probability_flow(p.target, p.process, p.starts, p.t_start, p.t_end)
    assert np.abs(found - p.ends).max() < 2e-13


@pytest.mark.parametrize("interval", INTERVALS)
def test_reference_on_the_mixture_does_not_change_with_its_steps(interval):
    p = problem("mixture", interval)
    finer = probability_flow(p.target, p.process, p.starts, p.t_start, p.t_end, steps=170)
    assert np.abs(finer - p.ends).max() < 3e-13


def test_reference_agrees_with_scipy_in_other_variables():
    """DOP853 on dx/dt = f x - g^2 score / 2, the probability flow in its first form."""
    integrate = pytest.importorskip("scipy.integrate")
    process, target = VP(), GaussianMixture([0.6, 0.4], [[-0.8], [1.0]], [0.09, 0.16])
    x = np.linspace(-1.5, 1.5, 5)[:, None]

    def rate(t, y):
        score = target.score(y[:, None], float(t), process)[:, 0]
        return process.f(float(t)) * y - 0.5 * process.g2(float(t)) * score

    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    other = integrate.solve_ivp(rate, (0.8, 0.05), x[:, 0], **options).y[:, -1]
    found = probability_flow(target, process, x, 0.8, 0.05)[:, 0]
    np.testing.assert_allclose(found, other, atol=1e-10)


def test_reference_refuses_infinite_ends():
    target = Gaussian([0.0], [1.0])
    for process, start, end in ((EDM(), 2.0, 0.0), (Flow(), 1.0, 0.1)):
        with pytest.raises(AnalysisError, match="needs alpha > 0 at its start and sigma > 0"):
            probability_flow(target, process, np.zeros((1, 1)), start, end)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("process", [VP(), EDM(), Flow()], ids=["vp", "edm", "flow"])
def test_tabulated_predictions_are_the_models(process, kind):
    times = np.array([0.7, 0.3, 0.05])
    x = np.random.default_rng(0).standard_normal((6, 1))
    line = GaussianMixture([1.0, 2.0, 1.0], [[-1.0], [0.2], [1.0]], [0.1, 0.02, 0.3])
    diagonal = Gaussian([0.3, -0.2], [0.1, 0.5])
    plane = GaussianMixture([1.0, 2.0], [[0.0, 1.0], [1.0, 0.5]], 0.2)
    for target, points in ((line, x), (diagonal, x.reshape(3, 2)), (plane, x.reshape(3, 2))):
        predict = tabulate(target, process, kind, times, len(points))
        for row, t in enumerate(times.tolist()):
            expected = target.model(process, kind)((points,), t)[0].reshape(-1)
            np.testing.assert_allclose(predict(row, points.reshape(-1)), expected, rtol=1e-12)


@pytest.mark.parametrize("method", [ddim, heun, ab2, lambda p, g: ddim(p, g, eta=1.0)])
def test_points_run_as_in_the_numpy_loop(method):
    process, target = VP(), GaussianMixture([0.6, 0.4], [[-0.8], [1.0]], [0.09, 0.16])
    plan = method(process, np.linspace(0.9, 0.1, 8))
    x = np.linspace(-2, 2, 5)[:, None]
    draw = KeyedNoise(3).bind(plan, (x,))
    (expected,) = numpy_loop.run(plan, target.model(process, plan.predicts), (x,), draw)
    np.testing.assert_allclose(run_points(plan, target, process, x, draw), expected, rtol=1e-12)


@pytest.mark.parametrize("method", [ddim, heun, ab2])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_gaussian_maps_are_those_of_the_loop(method, steps):
    """The composed map against the row-by-row loop, odd and even numbers of rows."""
    process, target = VP(), Gaussian([0.3, -0.2], [0.1, 1.0])
    plan = method(process, np.linspace(0.9, 0.1, steps + 1))
    x = np.random.default_rng(2).standard_normal((4, 2))
    loop = run_points(plan, target, process, x, lambda row, column: np.zeros((4, 2)))
    np.testing.assert_allclose(run_points(plan, target, process, x), loop, rtol=1e-13, atol=1e-15)


def test_starts_are_quantiles_of_the_marginal():
    p = problem("gaussian", "vp-working")
    alpha, sigma = p.process.alpha(1.0), p.process.sigma(1.0)
    std = np.sqrt(alpha**2 * np.array([0.1, 1.0]) + sigma**2)
    np.testing.assert_allclose(p.starts[4], alpha * 0.3, rtol=1e-12)
    np.testing.assert_allclose(p.starts[-1] - p.starts[4], 1.2816 * std, rtol=1e-12)
