"""Target-aware plans: exact on a Gaussian, isotropic at both ends, and of the orders claimed."""

from __future__ import annotations

import functools

import mpmath
import numpy as np
import pytest
import torch

from sgmsolve import EDM, VP, Flow, Gaussian, GaussianField, GaussianMixture, Plan, grid, solve
from sgmsolve.analysis import exact
from sgmsolve.analysis.order import measure_builder
from sgmsolve.analysis.order_problems import problem
from sgmsolve.analysis.reference import probability_flow
from sgmsolve.errors import MethodError, PlanError
from sgmsolve.methods.registry import find
from sgmsolve.precondition import DenseTransform, GaussianFit

RNG = np.random.default_rng(3)
FACTOR = RNG.standard_normal((5, 5))
MEAN = RNG.standard_normal(5)
GAUSSIANS = {
    "dense": Gaussian(MEAN, FACTOR @ np.diag([1e-6, 0.01, 1.0, 5.0, 900.0]) @ FACTOR.T),
    "field": GaussianField.power_law((2, 6, 5), exponent=3.0, mean=0.4),
}
PROCESSES = {"vp": VP(), "edm": EDM(), "flow": Flow(), "cosine": VP.cosine()}


def run(plan, target, process, z):
    return np.asarray(solve(plan, target.model(process, "data"), (z,), seed=0).x)


@pytest.mark.parametrize("target", GAUSSIANS.values(), ids=GAUSSIANS)
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
def test_one_step_is_exact_on_the_fitted_gaussian(target, process):
    start, end = 0.95 * process.t_max, 0.02 * process.t_max
    fit = GaussianFit.from_target(target)
    z = target.sample(4, 0) + RNG.standard_normal((4, *target.shape))
    wanted = target.flow_map(z, start, end, process)
    size = np.abs(wanted).max()
    for name, options in (("target-aware", {}), ("target-aware-1", {}), ("target-aware-sde", {})):
        options = {**options, "eta": 0.0} if name == "target-aware-sde" else options
        plan = find(name)(process, [start, end], fit=fit, **options)
        assert plan.nfe == 1
        assert np.abs(run(plan, target, process, z) - wanted).max() < 1e-12 * size
    for times in (np.geomspace(start, end, 6), np.linspace(start, end, 30)):
        for first in ("published", "matched"):
            plan = find("target-aware")(process, times, fit=fit, start=first)
            assert np.abs(run(plan, target, process, z) - wanted).max() < 1e-11 * size


@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("eta", [0.4, 1.0, 1.7])
def test_sde_steps_are_exact_in_law_on_the_fitted_gaussian(process, eta):
    target = GAUSSIANS["field"]
    fit = GaussianFit.from_target(target)
    for times in ([0.95, 0.02], [0.95, 0.6, 0.5, 0.1]):
        times = process.t_max * np.array(times)
        plan = find("target-aware-sde")(process, times, fit=fit, eta=eta)
        assert exact.error(plan, target, process) < 1e-12
        made = exact.output_moments(plan, target, process)
        wanted = exact.marginal(target, process, times[-1])
        np.testing.assert_allclose(made.covariance, wanted.covariance, rtol=1e-12)


@pytest.mark.parametrize("process", [Flow(), VP.cosine()], ids=["flow", "cosine"])
def test_the_step_from_pure_noise_is_exact_too(process):
    """At alpha = 0 nothing of the data is left, and the fit alone says where to go."""
    target = GAUSSIANS["field"]
    fit = GaussianFit.from_target(target)
    for name in ("target-aware", "target-aware-1", "target-aware-sde"):
        plan = find(name)(process, [process.t_max, 0.4 * process.t_max, 0.1], fit=fit)
        assert exact.error(plan, target, process) < 1e-12
    held = find("target-aware-1")(process, [process.t_max, 0.3], fit=0.2)
    angle = np.arctan(np.sqrt(0.2) / process.rho(0.3)) / np.sqrt(0.2)
    weight = np.sqrt(0.2 * process.alpha(0.3) ** 2 + process.sigma(0.3) ** 2) * angle
    assert held.kick[0, 0, 0, 0] == pytest.approx(weight, rel=1e-13)


def test_a_fit_of_another_spectrum_is_not_exact():
    """The oracle of the tests above notices 1 % in the fit's variances."""
    target, process = GAUSSIANS["field"], VP()
    fit = GaussianFit.from_target(target)
    wrong = GaussianFit(fit.transform, 1.01 * fit.eigenvalues, fit.mean)
    plan = find("target-aware-sde")(process, [0.9, 0.1], fit=wrong)
    assert exact.error(plan, target, process) > 1e-4


RING = GaussianMixture.ring(5, 1.0, 0.3)


def ends(name, process, times, **options):
    """Results of a plan on the ring from fixed starts."""
    plan = find(name)(process, times, **options)
    model = RING.model(process, plan.predicts)
    z = process.sigma(times[0]) * np.random.default_rng(1).standard_normal((6, 2))
    return np.asarray(solve(plan, model, (z,), seed=5).x)


def test_no_variance_is_dpm_solver_plus_plus():
    times = np.linspace(0.9, 0.2, 10)
    pairs = [
        ("target-aware-1", {}, "ddim-data", {}),
        ("target-aware-2", {}, "dpm++2m", {"weights": "exact"}),
        ("target-aware", {"corrector": 0.0}, "dpm++3m", {}),
        ("target-aware", {"corrector": 9.0}, "unipc-3", {"weights": "exact"}),
        ("target-aware-sde", {}, "sde-dpm++2m", {"weights": "exact"}),
        ("target-aware-sde", {"order": 3, "eta": 0.7}, "sde-dpm++3m", {"eta": 0.7}),
    ]
    for name, options, other, others in pairs:
        ours = find(name)(VP(), times, fit=0.0, **options).response()
        want = find(other)(VP(), times, **others).response()
        for field in ("z0", "predictions", "noise"):
            got, expected = getattr(ours, field), getattr(want, field)
            np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-12, err_msg=name)


def test_endless_variance_is_dpm_solver():
    times = np.linspace(0.9, 0.2, 10)
    pairs = [
        ("target-aware-1", {}, "ddim", {}),
        ("target-aware-2", {}, "dpm-solver-2m", {"weights": "exact"}),
        ("target-aware", {"corrector": 0.0}, "dpm-solver-3m", {}),
        ("target-aware", {"corrector": 9.0}, "unipc-noise-3", {"weights": "exact"}),
    ]
    for name, options, other, others in pairs:
        ours = ends(name, VP(), times, fit=1e12, **options)
        np.testing.assert_allclose(ours, ends(other, VP(), times, **others), atol=1e-6)


def test_a_mean_moves_with_the_data():
    """The plan for data shifted by a mean is the plan for centred data, shifted."""
    process, shift = VP(), np.array([3.0, -2.0])
    times = np.linspace(0.95, 0.01, 6)
    moved = GaussianMixture(np.ones(5), RING.means + shift, 0.3**2)
    values, basis = np.array([0.2, 0.9]), DenseTransform(np.eye(2)[::-1].copy(), (2,))
    z = np.random.default_rng(1).standard_normal((6, 2))
    results = []
    for target, mean in ((RING, np.zeros(2)), (moved, shift)):
        plan = find("target-aware")(process, times, fit=GaussianFit(basis, values, mean))
        start = z + process.alpha(times[0]) * mean
        results.append(run(plan, target, process, start) - process.alpha(times[-1]) * mean)
    np.testing.assert_allclose(*results, atol=1e-12)


CLAIMS = [
    ("target-aware", {}, 3),
    ("target-aware", {"start": "matched"}, 4),
    ("target-aware", {"corrector": 0.0}, 2),
    ("target-aware", {"corrector": 0.0, "start": "matched"}, 3),
    ("target-aware", {"order": 2}, 3),
    ("target-aware", {"order": 1, "start": "matched"}, 2),
    ("target-aware-1", {}, 1),
    ("target-aware-2", {}, 2),
]


def anisotropic():
    """A mixture of three in the plane, and a fit that is neither isotropic nor its covariance."""
    means = np.array([[-1.0, 0.3], [0.6, -0.2], [1.5, 1.0]])
    target = GaussianMixture([0.3, 0.5, 0.2], means, np.array([0.35**2, 0.2, 0.4**2]))
    turn = np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    return target, GaussianFit(DenseTransform(turn, (2,)), np.array([0.15, 0.8]), np.ones(2) / 4)


ORDER_STARTS = 2.2 * np.random.default_rng(0).standard_normal((4, 2))


@functools.cache
def reference():
    return probability_flow(anisotropic()[0], EDM(), ORDER_STARTS, 2.0, 0.1, steps=40)


@pytest.mark.parametrize(("name", "options", "order"), CLAIMS, ids=str)
def test_orders_on_a_mixture_with_a_fit_of_its_own_modes(name, options, order):
    target, fit = anisotropic()
    errors = []
    for steps in (96, 192):
        times = grid.karras(EDM(), steps, t_max=2.0, t_min=0.1)
        plan = find(name)(EDM(), times, fit=fit, **options)
        off = run(plan, target, EDM(), ORDER_STARTS) - reference()
        errors.append(np.sqrt(np.mean(off**2)))
    assert plan.orders == {"deterministic": order}
    assert order - 0.2 < np.log2(errors[0] / errors[1]) < order + 0.3


@pytest.mark.parametrize(("order", "weak"), [(1, 1), (2, 2)])
def test_weak_orders_on_a_gaussian_that_is_not_the_fit(order, weak):
    def build(process, times):
        return find("target-aware-sde")(process, times, fit=0.3, order=order)

    row = measure_builder(build, weak, kind="weak", problem=problem("gaussian", "edm-start"))
    assert row.status == "ok"
    assert abs(row.measured - weak) < 0.1
    assert build(EDM(), [2.0, 1.0, 0.1]).orders == {"weak": weak}
    still = find("target-aware-sde")(EDM(), [2.0, 1.0, 0.1], order=order, eta=0.0)
    assert still.orders == {"deterministic": weak}


def test_only_short_steps_are_corrected():
    process = EDM()
    # Steps of 2, 0.9 and 1.1 in lam; the last one is never corrected, having no evaluation after.
    times = 10 * np.exp(-np.array([0.0, 2.0, 2.9, 4.0, 4.5]))
    predictor = find("target-aware")(process, times, corrector=0.0).response().predictions
    plans = {c: find("target-aware")(process, times, corrector=c) for c in (0.5, 0.8, 1.0, 1.2, 3)}
    made = {c: plan.response().predictions for c, plan in plans.items()}
    assert np.array_equal(made[0.5], predictor)
    assert np.array_equal(made[0.8], predictor)
    assert not np.allclose(made[1.0], predictor)
    assert not np.allclose(made[1.2], made[1.0])
    assert not np.allclose(made[3], made[1.2])
    assert all(plan.nfe == 4 for plan in plans.values())


def test_long_steps_do_not_reach_far_back():
    """On uniform grids the last step is many times the one before: there the residual is held."""
    process, steps = Flow(), 8
    plan = find("target-aware")(process, grid.uniform(process, steps), corrector=0.0)
    used = [len(np.flatnonzero(row)) for row in plan.kick[:, 0, 0]]
    lams = [process.lam(t) for t in plan.t[1:]] + [process.lam(plan.t_end)]
    growth = np.diff(lams)[1:] / np.diff(lams)[:-1]
    assert growth[-1] > 4 > growth[-2] > 1.4
    assert used == [1, 1, 2, 3, 3, 3, 2, 1]
    for ratio, count in ((3.9, 2), (4.1, 1)):  # two residuals reach 1 + ratio
        times = np.exp([0.0, -0.1, -0.1 - 0.1 * ratio])
        row = find("target-aware-2")(EDM(), times).kick[-1, 0, 0]
        assert len(np.flatnonzero(row)) == count


def test_float32_tensors_follow_the_float64_run():
    process, target = EDM(), GAUSSIANS["field"]
    fit = GaussianFit.from_target(GaussianField.power_law((2, 6, 5), exponent=2.0, mean=0.3))
    z = 20.0 * np.random.default_rng(0).standard_normal((3, 2, 6, 5))
    plan = find("target-aware")(process, grid.karras(process, 12, t_max=20.0, t_min=0.01), fit=fit)
    model = target.model(process, "data")
    slow = solve(plan, model, (z,)).x
    quick = solve(plan, model, (torch.tensor(z, dtype=torch.float32),)).x
    assert quick.dtype == torch.float32
    np.testing.assert_allclose(quick.numpy(), slow, atol=2e-5)


def test_plans_with_a_fit_are_saved_with_it(tmp_path):
    target, fit = anisotropic()
    plan = find("target-aware")(VP(), np.linspace(0.9, 0.1, 5), fit=fit)
    plan.save(tmp_path / "plan.npz")
    again = Plan.load(tmp_path / "plan.npz")
    z = np.random.default_rng(0).standard_normal((2, 2))
    assert np.array_equal(run(plan, target, VP(), z), run(again, target, VP(), z))
    assert again.options["fit"] == "GaussianFit"


@pytest.mark.parametrize("bad", [-1.0, np.inf, np.nan, True, "pca", [1.0], object()])
def test_what_is_no_fit_is_a_sentence(bad):
    with pytest.raises(MethodError, match=r"fit = .* expected a variance of at least 0 or a Gauss"):
        find("target-aware")(VP(), [0.9, 0.1], fit=bad)


def test_other_bad_options_are_sentences():
    with pytest.raises(MethodError, match="order = 4 was given"):
        find("target-aware")(VP(), [0.9, 0.1], order=4)
    with pytest.raises(MethodError, match=r"corrector = -1\.0 was given"):
        find("target-aware")(VP(), [0.9, 0.1], corrector=-1.0)
    with pytest.raises(MethodError, match=r"eta = -1\.0"):
        find("target-aware-sde")(VP(), [0.9, 0.1], eta=-1.0)
    fit = GaussianFit.from_target(RING)
    with pytest.raises(MethodError, match="the grid holds mpmath numbers; pass floats"):
        find("target-aware")(VP(), [mpmath.mpf("0.9"), mpmath.mpf("0.1")], fit=fit)
    object.__setattr__(fit, "eigenvalues", np.array([1.0, np.nan]))
    with pytest.raises(PlanError, match="eigenvalues have shape"):
        find("target-aware")(VP(), [0.9, 0.1], fit=fit)


@pytest.mark.slow
def test_memory_of_a_40_row_plan():
    """At 3 x 256 x 256, a 16th of 300 MB plus what does not grow with the image (15 MB)."""
    import tracemalloc

    shape, process = (3, 256, 256), EDM()
    fit, model = GaussianFit.from_target(GaussianField.power_law(shape)), Halving(process)
    x = np.ones((1, *shape), np.float32)
    tracemalloc.start()
    try:
        plan = find("target-aware")(process, grid.karras(process, 40), fit=fit)
        out = solve(plan, model, (x,)).x
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert out.dtype == np.float32
    assert peak < (300 / 16 + 15) * 2**20


class Halving:
    """A network that costs nothing."""

    predicts = "data"

    def __init__(self, process):
        self.process = process

    def __call__(self, z, t):
        return (z[0] * np.float32(0.5),)
