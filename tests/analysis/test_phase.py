"""The analysis with two components: moments, tables, reference, problems, coupled differences."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from phase_cases import CASES, THREE

from sgmsolve import grid as grids
from sgmsolve.analysis import exact, order, order_mixture
from sgmsolve.analysis.exact import error, marginal, output_moments
from sgmsolve.analysis.order import measure_builder, measure_on
from sgmsolve.analysis.order_mixture import coupled_slope, measure_weak_builder
from sgmsolve.analysis.order_problems import (
    INTERVALS,
    PHASE_INTERVALS,
    QUANTILES,
    TARGETS,
    OrderProblem,
    problem,
)
from sgmsolve.analysis.order_suite import runs_on, tasks
from sgmsolve.analysis.reference import probability_flow, run_points
from sgmsolve.analysis.tabulate import tabulate
from sgmsolve.backends import KeyedNoise, numpy_loop
from sgmsolve.errors import AnalysisError, StabilityWarning
from sgmsolve.methods.registry import all_methods, find
from sgmsolve.plan import PlanBuilder
from sgmsolve.target import Gaussian, GaussianMixture

PSLD, CLD = CASES["psld"], CASES["cld"]
GAUSSIAN = Gaussian([0.3, -0.2], [0.1, 1.0])
LINE = GaussianMixture([0.6, 0.4], [[-0.8], [1.0]], [0.09, 0.16])
PLANE = GaussianMixture([1.0, 2.0], [[0.0, 1.0], [1.0, 0.5]], 0.2)
KINDS = ("score", "data", "noise:lower", "noise:upper", "noise:rotation-free", "noise:lower:dsm")


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(order, "LAST", 256)


def midpoint(process, grid, *, eta=1.0, weight=1.0):
    """Explicit midpoint of the reverse SDE with one draw, a lagged prediction and a lag in z."""
    b, last, before = PlanBuilder(process, grid, predicts="score", draws="increment"), None, None
    for t, s in b.steps():
        h, z, half, g = t - s, b.z, (t + s) / 2, process.G(t)
        pull = (1 + eta**2) / 2 * (g @ g.T)
        kick = (eta * math.sqrt(h) * g) @ b.xi() if eta else 0.0 * z
        e = b.predict(z, t)
        last, before = (e, z) if last is None else (last, before)
        middle = z - (h / 2 * process.F(t)) @ z + (h / 2 * pull) @ e + 0.5 * kick
        e2 = b.predict(middle, half)
        drift = -(process.F(half) @ middle) + pull @ (e2 + 0.01 * h * (e - last))
        b.advance(z + weight * h * drift + kick + 1e-3 * h * (z - before))
        last, before = e, z
    return b.plan()


def dense_moments(plan, process, variance, mean):
    """Mean and covariance from the response: predictions by the score's own matrix inverse."""
    m, draws = plan.m, [(r, j) for r in range(-1, plan.rows) for j in plan.active_draws(r)]
    width = m + len(draws) + 1  # initial deviations, draws, 1
    u, noise = process.loading(plan.t_start), process.covariance(plan.t_start)
    z0 = np.zeros((m, width))
    z0[:, :m] = np.linalg.cholesky(variance * np.outer(u, u) + noise)
    z0[:, -1] = mean * u
    Z, past = plan.prelude_move @ z0, []
    for j in plan.active_draws(-1):
        Z[:, m + draws.index((-1, j))] += plan.prelude_noise[:, j]
    for r in range(plan.rows):
        t = float(plan.t[r])
        u, noise = process.loading(t), process.covariance(t)
        shift = np.zeros((m, width))
        shift[:, -1] = mean * u
        e = -np.linalg.solve(variance * np.outer(u, u) + noise, Z[:m] - shift)
        past = [e, *past][: plan.history]
        Z = plan.move[r] @ Z + sum(plan.kick[r, :, :, j] @ p for j, p in enumerate(past))
        for j in plan.active_draws(r):
            Z[:, m + draws.index((r, j))] += plan.noise[r, :, j]
    return Z[:m, -1], Z[:m, :-1] @ Z[:m, :-1].T


@pytest.mark.parametrize("process", [PSLD, CLD, THREE], ids=["psld", "cld", "three"])
@pytest.mark.parametrize("few", [0, 8])
def test_moments_are_those_of_the_dense_response(monkeypatch, process, few):
    """Both ways, with a history and two registers, against inverses and Cholesky factors."""
    monkeypatch.setattr(exact, "FEW", few)
    plan = midpoint(process, np.linspace(1, 0.1, 12))
    assert plan.k > 1
    assert plan.history > 1
    law = output_moments(plan, GAUSSIAN, process)
    for i, (v, mu) in enumerate([(0.1, 0.3), (1.0, -0.2)]):
        mean, covariance = dense_moments(plan, process, v, mu)
        np.testing.assert_allclose(law.mean[:, i], mean, atol=1e-12)
        np.testing.assert_allclose(law.covariance[:, :, i], covariance, atol=1e-12)


def test_rounding_does_not_grow_with_the_flow(monkeypatch):
    """Row by row as by composition: without symmetry of the covariance they differ by 1e-10."""
    plan = find("euler-maruyama")(PSLD, grids.striding(PSLD, 300))
    composed = output_moments(plan, GAUSSIAN, PSLD)
    monkeypatch.setattr(exact, "FEW", 0)
    rows = output_moments(plan, GAUSSIAN, PSLD)
    assert np.abs(rows.covariance - composed.covariance).max() < 1e-14


def test_error_is_the_distance_to_the_marginal():
    """W2 and KL by matrix square root and logarithm of determinants."""
    linalg = pytest.importorskip("scipy.linalg")
    plan = find("euler-maruyama")(PSLD, np.linspace(1, 0.1, 40))
    law, end = output_moments(plan, GAUSSIAN, PSLD), marginal(GAUSSIAN, PSLD, 0.1)
    w2 = kl = 0.0
    for i, (v, mu) in enumerate([(0.1, 0.3), (1.0, -0.2)]):
        u = PSLD.loading(0.1)
        b = v * np.outer(u, u) + PSLD.covariance(0.1)
        np.testing.assert_allclose(end.covariance[:, :, i], b, rtol=1e-14)
        a, d = law.covariance[:, :, i], law.mean[:, i] - mu * u
        root = linalg.sqrtm(b)
        w2 += d @ d + np.trace(a + b - 2 * linalg.sqrtm(root @ a @ root).real)
        inverse = np.linalg.inv(b)
        ratio = np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]
        kl += 0.5 * (np.trace(inverse @ a) + d @ inverse @ d - 2 + ratio)
    assert error(plan, GAUSSIAN, PSLD) == pytest.approx(math.sqrt(w2), rel=1e-9)
    assert error(plan, GAUSSIAN, PSLD, "kl") == pytest.approx(kl, rel=1e-9)


def test_a_denoised_plan_is_compared_with_the_data():
    plan = find("euler-maruyama")(PSLD, grids.striding(PSLD, 400), denoise=True)
    found = error(plan, GAUSSIAN, PSLD)
    law = output_moments(plan, GAUSSIAN, PSLD).component(0)
    spread = np.sqrt(law.variance[0]) - np.sqrt([0.1, 1.0])
    shift = law.mean[0] - np.array([0.3, -0.2])
    assert found == pytest.approx(math.sqrt(np.sum(spread**2 + shift**2)), rel=1e-12)
    assert 1e-5 < found < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("process", [PSLD, CLD, THREE], ids=["psld", "cld", "three"])
def test_tables_hold_the_models_predictions(process, kind):
    """Every target's own model, called sample by sample at one time."""
    times, m = np.array([0.9, 0.3, 0.02]), process.m
    x = np.random.default_rng(0).standard_normal((m, 6))
    wide = GaussianMixture([1.0, 2.0, 1.0], [[-1.0], [0.2], [1.0]], [0.1, 0.02, 0.3])
    for target, d in ((wide, 1), (GAUSSIAN, 2), (PLANE, 2)):
        predict = tabulate(target, process, kind, times, 6 // d)
        model = target.model(process, kind)
        for row, t in enumerate(times.tolist()):
            expected = model(tuple(part.reshape(-1, d) for part in x), t)
            got = predict(row, x)
            assert got.shape == (m, 6)
            for a, b in zip(got, expected, strict=True):
                size = np.abs(b).max()
                np.testing.assert_allclose(a, b.reshape(-1), rtol=1e-11, atol=1e-13 * size)


def test_table_of_scores_is_the_gradient_of_the_density():
    """Central differences of log sum_k w_k N(z; u mu_k, v_k u u^T + Sigma), written out."""
    t, h = 0.2, 1e-5
    u, noise = PSLD.loading(t), PSLD.covariance(t)

    def log_density(z):
        total = 0.0
        for w, mu, v in ((0.6, -0.8, 0.09), (0.4, 1.0, 0.16)):
            cov, d = v * np.outer(u, u) + noise, z - mu * u
            total += (
                w * math.exp(-0.5 * d @ np.linalg.solve(cov, d)) / math.sqrt(np.linalg.det(cov))
            )
        return math.log(total)

    predict = tabulate(LINE, PSLD, "score", np.array([t]), 1)
    for z in ([0.1, -0.3], [-0.5, 0.4], [0.9, 0.0]):
        z = np.array(z)
        steps = h * np.eye(2)
        expected = [(log_density(z + e) - log_density(z - e)) / (2 * h) for e in steps]
        np.testing.assert_allclose(predict(0, z[:, None])[:, 0], expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("process", [PSLD, CLD], ids=["psld", "cld"])
@pytest.mark.parametrize("target", [GAUSSIAN, LINE], ids=["gaussian", "mixture"])
def test_reference_agrees_with_scipy(process, target):
    """DOP853 on dz/dt = F z - G G^T score / 2 over the working interval, and more steps."""
    integrate = pytest.importorskip("scipy.integrate")
    dim = 2 if target is GAUSSIAN else 1
    x = np.random.default_rng(1).standard_normal((4, 2, dim)) * np.array([[1.0], [0.5]])

    def rate(t, y):
        z = np.moveaxis(y.reshape(x.shape), 1, 0)
        score = target.model(process, "score")(tuple(z), float(t))
        g = process.G(float(t))
        slope = np.einsum("ij,jnd->nid", process.F(float(t)), z)
        return (slope - np.einsum("ij,jnd->nid", g @ g.T / 2, np.array(score))).reshape(-1)

    span = (1.0, 1e-3)
    options = {"method": "DOP853", "rtol": 1e-13, "atol": 1e-14}
    other = integrate.solve_ivp(rate, span, x.reshape(-1), **options).y[:, -1].reshape(x.shape)
    found = probability_flow(target, process, x, *span)
    assert np.abs(found - other).max() < 1e-12
    finer = probability_flow(target, process, x, *span, steps=200)
    assert np.abs(found - finer).max() < 3e-13
    with pytest.raises(AnalysisError, match="needs an end > 0"):
        probability_flow(target, process, x, 1.0, 0.0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_points_run_as_in_the_numpy_loop(eta):
    plan = midpoint(PSLD, np.linspace(0.9, 0.1, 8), eta=eta)
    x = np.random.default_rng(4).standard_normal((5, 2, 1))
    parts = (x[:, 0], x[:, 1])
    draw = KeyedNoise(3).bind(plan, parts)
    expected = numpy_loop.run(plan, LINE.model(PSLD, "score"), parts, draw)
    found = run_points(plan, LINE, PSLD, x, draw)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_gaussian_maps_are_those_of_the_loop(steps):
    plan = midpoint(PSLD, np.linspace(0.9, 0.1, steps + 1), eta=0.0)
    x = np.random.default_rng(2).standard_normal((4, 2, 2))
    loop = run_points(plan, GAUSSIAN, PSLD, x, lambda row, column: np.zeros((4, 2)))
    found = run_points(plan, GAUSSIAN, PSLD, x)
    np.testing.assert_allclose(found, loop, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("interval", PHASE_INTERVALS)
@pytest.mark.parametrize("name", TARGETS)
def test_starts_have_quantiles_through_the_factor(name, interval):
    p = problem(name, interval)
    modes = [(0.1, 0.3), (1.0, 0.3)]
    if name == "mixture":
        mean = 0.6 * -0.8 + 0.4
        modes = [(0.6 * (0.09 + 0.64) + 0.4 * (0.16 + 1.0) - mean**2, mean)]
    u = PSLD.loading(1.0)
    for i, (v, mu) in enumerate(modes):
        cov = v * np.outer(u, u) + PSLD.covariance(1.0)
        centred = p.starts[:, :, i] - mu * u
        std = math.sqrt(cov[0, 0])
        np.testing.assert_allclose(np.sort(centred[:, 0]), std * QUANTILES, atol=1e-12)
        rest = centred[:, 1] - cov[0, 1] / cov[0, 0] * centred[:, 0]
        std = math.sqrt(cov[1, 1] - cov[0, 1] ** 2 / cov[0, 0])
        np.testing.assert_allclose(np.sort(rest), std * QUANTILES, atol=1e-12)
    flat = p.starts.reshape(9, -1)
    assert np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False).min() > 0.2


def test_gaussian_ends_are_the_flow_map():
    p = problem("gaussian", "psld-working")
    z = tuple(np.moveaxis(p.starts, 1, 0))
    expected = p.target.flow_map(z, p.t_start, p.t_end, p.process)
    np.testing.assert_allclose(p.ends, np.stack(expected, axis=1), atol=1e-11)


def heun(process, grid, *, weight=0.5):
    b = PlanBuilder(process, grid, predicts="noise:lower")
    for t, s in b.steps():
        h, z = t - s, b.z

        def rate(point, time):
            g = process.G(time)
            score = b.converted("score", point, b.predict(point, time), time)
            return -(process.F(time) @ point) + (0.5 * g @ g.T) @ score

        k1 = rate(z, t)
        b.advance(z + h * (0.5 * k1 + weight * rate(z + h * k1, s)))
    return b.plan()


@pytest.mark.parametrize("name", TARGETS)
def test_known_orders(short, name):
    p = problem(name, "psld-uniform")
    assert measure_builder(heun, 2, problem=p).status == "ok"

    def wrong(process, grid):
        return heun(process, grid, weight=0.505)

    assert measure_builder(wrong, 2, problem=p).status == "wrong"


def test_weak_orders_on_the_gaussian(short):
    for interval in PHASE_INTERVALS:
        p = problem("gaussian", interval)
        assert measure_builder(find("euler-maruyama"), 1, kind="weak", problem=p).status == "ok"
    assert measure_builder(midpoint, 1, kind="weak", problem=p).status != "wrong"


def test_phase_problems_stop_at_1024():
    assert {problem("mixture", i).last for i in PHASE_INTERVALS} == {1024}
    steps = []

    def counting(process, grid):
        steps.append(len(grid) - 1)
        return heun(process, grid[:2])

    few = problem("mixture", "psld-working")
    measure_builder(counting, 2, problem=few)
    assert steps == [16, 32, 64, 128, 256, 512, 1024]


def test_other_targets_and_processes(short):
    p = OrderProblem("plane", "short", PLANE, CLD, "uniform", 1.0, 0.2)
    assert p.starts.shape == (9, 2, 2)
    assert measure_builder(heun, 2, problem=p).status == "ok"


def test_methods_are_measured_where_they_run():
    for record in all_methods():
        where = {i for i in INTERVALS if runs_on(record, i)}
        found = tasks(record, INTERVALS)
        assert {t.interval for t in found} == (where if record.orders else set())
        if record.phase_only:
            assert where == set(PHASE_INTERVALS)
        elif record.scalar:
            assert not where & set(PHASE_INTERVALS)
        else:
            assert where == set(INTERVALS)
    found = tasks(find("euler-maruyama"), INTERVALS, mixture_weak=True)
    assert {t.interval for t in found if t.statistical} == {"edm-start", "psld-uniform"}


def test_warnings_of_unstable_steps_are_not_shown(short):
    def build(process, grid):
        warnings.warn("too long a step", StabilityWarning, stacklevel=2)
        return heun(process, grid)

    assert measure_builder(build, 2, problem=problem("gaussian", "psld-uniform")).status == "ok"


def test_both_targets_share_plans(short):
    problems = [problem(n, "psld-uniform") for n in TARGETS]
    rows = measure_on("pf-euler", problems)
    assert rows == [measure_on("pf-euler", [p])[0] for p in problems]
    assert rows[0].errors != rows[1].errors


def test_coupled_starts_and_observables_are_exact():
    p = problem("mixture", "psld-uniform")
    z, parts = order_mixture._exact_starts(p, np.random.default_rng(0))
    u, noise = PSLD.loading(1.0), PSLD.covariance(1.0)
    mean = 0.6 * -0.8 + 0.4
    v = 0.6 * (0.09 + 0.64) + 0.4 * (0.16 + 1.0) - mean**2
    cov = v * np.outer(u, u) + noise
    n = len(z)
    found = np.cov(z[:, :, 0].T)
    spread = np.sqrt((cov**2 + np.outer(np.diag(cov), np.diag(cov))) / n)
    assert (np.abs(found - cov) < 4.5 * spread).all()
    assert (np.abs(z[:, :, 0].mean(axis=0) - mean * u) < 4.5 * np.sqrt(np.diag(cov) / n)).all()
    assert (np.stack(parts, axis=1) == z).all()
    u, noise = PSLD.loading(0.1), PSLD.covariance(0.1)
    std = math.sqrt(v * u[1] ** 2 + noise[1, 1])
    point = np.array([[[0.3], [2 * std]]])
    values = [0.3, 0.3**2, 0.3**4, math.cos(0.6), 4.0]
    np.testing.assert_allclose(order_mixture._observed(point, p)[:, 0], values, rtol=1e-13)


def test_coupled_slopes_see_first_order(monkeypatch):
    """Euler-Maruyama on 64, 128, 256 steps of one path; plans without memory are coupled too."""
    monkeypatch.setattr(order_mixture, "PHASE_BATCH", 1000)
    row = measure_weak_builder(find("euler-maruyama"), 1, interval="psld-uniform")
    assert row.status == "ok", row
    assert row.half_width < 0.3


@pytest.mark.slow
def test_coupled_slopes_agree_with_independent_runs():
    """E phi(N) - E phi(2N) without a common path: within five standard errors."""
    p = problem("mixture", "psld-uniform")
    plans = [find("euler-maruyama")(PSLD, p.times(n)) for n in (16, 32, 64)]
    sizes, _, _ = coupled_slope(plans, p)
    rng, means, variances = np.random.default_rng(9), [], []
    for plan in plans[:2]:
        z = np.concatenate([order_mixture._exact_starts(p, rng)[0] for _ in range(10)])
        shape = (len(z), 1)
        end = run_points(plan, LINE, PSLD, z, lambda r, j, s=shape: rng.standard_normal(s))
        values = order_mixture._observed(end, p)
        means.append(values.mean(axis=1))
        variances.append(values.var(axis=1) / len(z))
    difference, total = means[0] - means[1], math.sqrt(np.sum(variances))
    assert abs(np.linalg.norm(difference) - sizes[0]) < 5 * total
