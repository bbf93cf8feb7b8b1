"""Exact propagation against samples, recursions by hand, dense matrices and changed tables."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from analysis.standins import ab2, ddim, euler_maruyama, heun

from sgmsolve.analysis import exact
from sgmsolve.analysis.exact import data_law, error, marginal, output_moments
from sgmsolve.analysis.moments import Moments
from sgmsolve.backends import numpy_loop
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import find
from sgmsolve.plan import PlanBuilder
from sgmsolve.process import EDM, VP
from sgmsolve.target import Gaussian, GaussianMixture

PROCESS = EDM(0.01, 10.0)
GRID = np.geomspace(3.0, 0.2, 7)
TARGET = Gaussian([0.5, -1.0, 0.2], [0.01, 0.3, 4.0])


def sde_multistep(process, grid):
    """Made up: two registers of state, two remembered predictions, and a draw used in two rows."""
    b = PlanBuilder(process, grid, predicts="data", name="mess")
    last = None
    for t, s in b.steps():
        r = s / t
        e = b.predict(b.z, t)
        last = last or e
        xi, zeta = b.xi(), b.xi()
        middle = 0.5 * (1 + r) * b.z + 0.5 * (1 - r) * e + 0.1 * s * xi
        e2 = b.predict(middle, (s + t) / 2)
        data = 1.5 * e2 - 0.4 * e - 0.1 * last
        b.advance(r * b.z + (1 - r) * data + 0.2 * s * (xi - 0.3 * zeta))
        last = e
    return b.plan()


def test_moments_agree_with_two_hundred_thousand_samples():
    plan = sde_multistep(PROCESS, GRID)
    assert plan.k > 1
    assert plan.history > 1
    rng, n = np.random.default_rng(5), 200_000
    model = TARGET.model(PROCESS, plan.predicts)
    z = TARGET.sample(n, 1) + GRID[0] * rng.standard_normal((n, 3))
    (x,) = numpy_loop.run(plan, model, (z,), lambda row, column: rng.standard_normal((n, 3)))
    law = output_moments(plan, TARGET, PROCESS)
    order = np.argsort([0.01, 0.3, 4.0])  # modes are sorted by eigenvalue
    variance = law.variance[0]
    z_mean = (x.mean(axis=0)[order] - law.mean[0]) / np.sqrt(variance / n)
    z_var = (x.var(axis=0)[order] - variance) / (variance * math.sqrt(2 / n))
    assert np.abs([z_mean, z_var]).max() < 4


def test_ddim_on_a_gaussian_is_the_product_of_its_factors():
    """With S = v + t^2 each step multiplies x - mu by 1 + (s - t) t / S(t)."""
    plan = ddim(PROCESS, GRID)
    law = output_moments(plan, TARGET, PROCESS)
    for i, (v, mu) in enumerate([(0.01, 0.5), (0.3, -1.0), (4.0, 0.2)]):
        factor = math.prod(1 + (s - t) * t / (v + t**2) for t, s in itertools.pairwise(GRID))
        assert law.variance[0, i] == pytest.approx(factor**2 * (v + GRID[0] ** 2), rel=1e-13)
        assert law.mean[0, i] == pytest.approx(mu, rel=1e-13)


def test_euler_maruyama_obeys_its_variance_recursion():
    process = VP()
    grid = np.linspace(1.0, 0.1, 9)
    law = output_moments(euler_maruyama(process, grid), TARGET, process, start="prior")
    v, mu = 0.3, -1.0
    mean, variance = 0.0, process.sigma(1.0) ** 2
    for t, s in itertools.pairwise(grid):
        h, g2, total = t - s, process.g2(t), process.alpha(t) ** 2 * v + process.sigma(t) ** 2
        factor = 1 - h * process.f(t) - h * g2 / total
        mean = factor * mean + h * g2 * process.alpha(t) * mu / total
        variance = factor**2 * variance + h * g2
    assert law.mean[0, 1] == pytest.approx(mean, rel=1e-12)
    assert law.variance[0, 1] == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("method", [sde_multistep, ab2, heun])
def test_modes_agree_with_a_dense_computation(method):
    """Every linear map written out in the original coordinates, from ``Plan.response``."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((3, 3))
    cov, mu = a @ a.T, rng.standard_normal(3)
    target, plan = Gaussian(mu, cov), method(PROCESS, GRID)
    m0, c0 = mu, cov + GRID[0] ** 2 * np.eye(3)
    draws = [(r, j) for r in range(plan.rows) for j in plan.active_draws(r)]
    inputs = 3 * (1 + len(draws))
    registers = [np.zeros((3, inputs)) for _ in range(plan.k)]
    for i, c in enumerate(plan.prelude_move[:, 0]):
        registers[i][:, :3] = c * np.eye(3)
    means, past = [c * m0 for c in plan.prelude_move[:, 0]], []
    model = target.model(PROCESS, plan.predicts)
    for r in range(plan.rows):
        t = plan.t[r]
        offset = model((np.zeros((1, 3)),), t)[0][0]
        gain = model((np.eye(3),), t)[0].T - offset[:, None]
        past = [(gain @ registers[0], gain @ means[0] + offset), *past][: plan.history]
        new, new_means = [], []
        for i in range(plan.k):
            total = sum(plan.move[r, i, j] * registers[j] for j in range(plan.k))
            mean = sum(plan.move[r, i, j] * means[j] for j in range(plan.k))
            for j, (e, e_mean) in enumerate(past):
                total = total + plan.kick[r, i, 0, j] * e
                mean = mean + plan.kick[r, i, 0, j] * e_mean
            for d, (row, column) in enumerate(draws):
                if row == r:
                    total[:, 3 + 3 * d : 6 + 3 * d] += plan.noise[r, i, column] * np.eye(3)
            new.append(total)
            new_means.append(mean)
        registers, means = new, new_means
    source = np.eye(inputs)
    source[:3, :3] = c0
    dense = registers[0] @ source @ registers[0].T
    _values, basis = np.linalg.eigh(cov)
    law = output_moments(plan, target, PROCESS)
    in_modes = basis.T @ dense @ basis
    np.testing.assert_allclose(in_modes, np.diag(law.variance[0]), atol=1e-11)
    np.testing.assert_allclose(np.abs(basis.T @ means[0]), np.abs(law.mean[0]), atol=1e-11)


def test_every_table_entry_matters():
    """One per cent of any nonzero entry changes the answer by far more than rounding."""
    plan = sde_multistep(PROCESS, GRID[:4])
    base = output_moments(plan, TARGET, PROCESS)
    changed = 0
    for name in ("move", "kick", "noise", "prelude_move"):
        table = getattr(plan, name)
        for index in np.argwhere(table != 0):
            other = table.copy()
            other[tuple(index)] *= 1.01
            law = output_moments(plan.replace(**{name: other}), TARGET, PROCESS)
            difference = (
                abs(law.covariance - base.covariance).max() + abs(law.mean - base.mean).max()
            )
            assert difference > 1e-7, (name, index)
            changed += 1
    assert changed > 30


def test_multiplicity_counts_equal_modes():
    once = error(ddim(PROCESS, GRID), Gaussian([0.3], [0.5]), PROCESS)
    target = Gaussian(np.full(9, 0.3), np.full(9, 0.5))
    assert len(target.modes()[0]) == 1
    assert error(ddim(PROCESS, GRID), target, PROCESS) == pytest.approx(3 * once, rel=1e-12)


def test_rows_in_chunks_give_the_same_answer(monkeypatch):
    plan, target = ab2(PROCESS, GRID), Gaussian(np.zeros(50), np.linspace(0.1, 1, 50))
    whole = output_moments(plan, target, PROCESS)
    monkeypatch.setattr(exact, "CHUNK", 101)  # two rows of 50 modes
    parts = output_moments(plan, target, PROCESS)
    np.testing.assert_array_equal(whole.covariance, parts.covariance)


def test_denoised_plans_are_compared_with_the_data():
    """A denoising row multiplies x by v / (v + t^2)."""
    v, t = 0.5, 0.4
    b = PlanBuilder(PROCESS, [0.8, t], predicts="noise", denoise=True)
    for high, low in b.steps():
        b.advance(b.z + (low - high) * b.predict(b.z, high))
    plan = b.plan()
    assert plan.ends_with_data
    target = Gaussian([0.0], [v])
    s1 = 1 + (t - 0.8) * 0.8 / (v + 0.64)
    std = s1 * math.sqrt(v + 0.64) * v / (v + t**2)
    assert error(plan, target, PROCESS) == pytest.approx(math.sqrt(v) - std, rel=1e-12)
    assert not ddim(PROCESS, GRID).ends_with_data


def test_starting_laws():
    plan = ddim(PROCESS, GRID)
    prior = output_moments(plan, TARGET, PROCESS, start="prior")
    given = Moments(np.zeros((1, 3)), np.full((1, 1, 3), GRID[0] ** 2), np.ones(3))
    same = output_moments(plan, TARGET, PROCESS, start=given)
    np.testing.assert_allclose(prior.covariance, same.covariance, rtol=1e-14)
    exact_start = output_moments(plan, TARGET, PROCESS)
    explicit = output_moments(plan, TARGET, PROCESS, start=marginal(TARGET, PROCESS, GRID[0]))
    np.testing.assert_array_equal(exact_start.mean, explicit.mean)
    assert abs(prior.mean - exact_start.mean).max() > 1e-3


class Phase:
    """A Gaussian seen through a made-up two-component process: x, and v that is pure noise."""

    def __init__(self, value):
        self.value = value

    def modes(self):
        return np.array([self.value]), np.array([0.7]), np.array([1])

    def affine(self, process, kind, times):
        gain = np.stack([np.array([[0.3 + t, -0.2]]) for t in times])[..., None]
        return gain, np.stack([np.array([[0.1 * t]]) for t in times])


class TwoComponents:
    """Only what exact analysis needs of a process with m = 2."""

    m, t_max = 2, 1.0

    def loading(self, t):
        return np.array([1 - t, 0.5 * t])

    def covariance(self, t):
        return np.array([[t, 0.1 * t], [0.1 * t, 0.5]])

    def spec(self):
        return {"process": "two"}


def test_two_components_agree_with_matrices_multiplied_out():
    process, target = TwoComponents(), Phase(2.0)
    rng = np.random.default_rng(3)
    rows, k = 3, 2
    one = ddim(PROCESS, GRID[: rows + 1])
    plan = one.replace(
        process=process.spec(),
        t=np.array([0.9, 0.5, 0.3]),
        move=rng.standard_normal((rows, 2 * k, 2 * k)) / 2,
        kick=rng.standard_normal((rows, 2 * k, 1, 2)),
        noise=rng.standard_normal((rows, 2 * k, 2)),
        draws=np.zeros((rows, 2), one.draws.dtype),
        prelude_move=rng.standard_normal((2 * k, 2)),
        prelude_noise=np.zeros((2 * k, 0)),
        nodes=(),
        t_start=1.0,
    )
    mean = plan.prelude_move @ process.loading(1.0) * 0.7
    outer = 2.0 * np.outer(process.loading(1.0), process.loading(1.0))
    cov = plan.prelude_move @ (outer + process.covariance(1.0)) @ plan.prelude_move.T
    joint = np.zeros((5, 5))  # registers and the last prediction
    joint[:4, :4], mean = cov, np.append(mean, 0.0)
    for r, t in enumerate(plan.t):
        e = np.array([0.3 + t, -0.2, 0, 0, 0])
        a = np.zeros((5, 5))
        a[:4, :4] = plan.move[r] + np.outer(plan.kick[r, :, 0, 0], e[:4])
        a[:4, 4] = plan.kick[r, :, 0, 1]
        a[4] = e
        shift = np.append(plan.kick[r, :, 0, 0], 1.0) * 0.1 * t
        joint, mean = a @ joint @ a.T, a @ mean + shift
        joint[:4, :4] += plan.noise[r] @ plan.noise[r].T
    law = output_moments(plan, target, process)
    np.testing.assert_allclose(law.covariance[..., 0], joint[:2, :2], rtol=1e-12)
    np.testing.assert_allclose(law.mean[:, 0], mean[:2], rtol=1e-12)


def test_refusals_are_sentences():
    plan = ddim(PROCESS, GRID)
    mixture = GaussianMixture([1, 1], [[0.0], [1.0]], 0.1)
    with pytest.raises(AnalysisError, match="need a Gaussian target, but GaussianMixture is not"):
        output_moments(plan, mixture, PROCESS)
    with pytest.raises(AnalysisError, match="was built for"):
        output_moments(plan, TARGET, VP())
    with pytest.raises(AnalysisError, match=r"unknown starting law 'exakt'. Did you mean 'exact'"):
        output_moments(plan, TARGET, PROCESS, start="exakt")
    with pytest.raises(AnalysisError, match=r"starting law has \(components, modes\) \(1, 1\)"):
        output_moments(plan, TARGET, PROCESS, start=data_law(Gaussian([0.0], [1.0])))
    with pytest.raises(AnalysisError, match="unknown metric 'w3'"):
        error(plan, TARGET, PROCESS, metric="w3")


@pytest.mark.parametrize("name", ["ddim-sde", "dpm++sde", "sde-dpm++3m", "sa-solver", "unipc-3"])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_composed_rows_are_the_rows_one_after_another(monkeypatch, name, steps):
    """Few modes take batched products, many a loop: the same law, history and noise included."""
    process, target = VP(), Gaussian([0.3, -0.2, 0.0], [0.1, 1.0, 1e-3])
    plan = find(name)(process, np.linspace(0.9, 0.05, steps + 1), denoise=True)
    fast = output_moments(plan, target, process)
    monkeypatch.setattr(exact, "FEW", 0)
    loop = output_moments(plan, target, process)
    np.testing.assert_allclose(fast.mean, loop.mean, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(fast.covariance, loop.covariance, rtol=1e-10)


@pytest.mark.parametrize("few", [0, 8])
def test_noise_before_the_first_row_counts(monkeypatch, few):
    """Up from t by exact noise, then one data prediction: both moments by hand."""
    monkeypatch.setattr(exact, "FEW", few)
    b = PlanBuilder(PROCESS, [1.0, 0.5], predicts="data", draws="iid")
    for t, s in b.steps():
        up = b.z + 0.75 * b.xi(t, 1.25)
        b.advance(b.predict(up, 1.25), s)
    plan = b.plan()
    assert plan.active_draws(-1) == [0]
    law = output_moments(plan, Gaussian([0.5], [2.0]), PROCESS)
    gain = 2.0 / (2.0 + 1.25**2)
    assert law.mean[0, 0] == pytest.approx(0.5, rel=1e-14)
    assert law.variance[0, 0] == pytest.approx(gain**2 * (2.0 + 1.25**2), rel=1e-14)
