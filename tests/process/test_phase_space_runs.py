"""Running plans of two and three components: backends, kinds, files, paths."""

import mpmath as mp
import numpy as np
import pytest
from executor_cases import to_backend, to_host
from phase_cases import THREE, Exact, Lifted, quadratic_striding

import sgmsolve
from sgmsolve import CLD, PSLD, Plan, PlanBuilder
from sgmsolve.analysis import exact
from sgmsolve.analysis.moments import Moments
from sgmsolve.backends import numpy_loop
from sgmsolve.methods.one_step import euler_maruyama

pytestmark = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
TARGET = Lifted(0.6, 0.25)
START = Moments(np.zeros((2, 1)), np.diag([1.0, 0.25])[:, :, None], np.ones(1))


class TracedScore:
    """Score for one Gaussian mode from the process's own array functions, traced by jax."""

    predicts = "score"

    def __init__(self, process, mean, variance):
        self.process, self.mean, self.variance = process, mean, variance

    def __call__(self, z, t):
        l, noise = self.process.loading(t), self.process.covariance(t)
        (xx, xm), (_, mm) = self.variance * l[:, None] * l[None, :] + noise
        x, v = z[0] - l[0] * self.mean, z[1] - l[1] * self.mean
        det = xx * mm - xm * xm
        return (xm * v - mm * x) / det, (xm * x - xx * v) / det


KINDS = ("score", "data", "noise:lower", "noise:upper", "noise:rotation-free", "noise:lower:dsm")


def run(process, predicts, z, plan, **options):
    model = Exact(Lifted([0.6, -0.4, 0.1], [0.25, 0.04, 1.0]), process, predicts, plan.t)
    return [to_host(part) for part in sgmsolve.solve(plan, model, z, noise="philox", **options).z]


def states(m, like="numpy"):
    rng = np.random.default_rng(3)
    made = [rng.standard_normal((4, 3)) * (1.0 if i == 0 else 0.5) for i in range(m)]
    return tuple(to_backend(part, like) for part in made)


@pytest.mark.parametrize("process", [PSLD(), THREE], ids=["m=2", "m=3"])
@pytest.mark.parametrize("method", ["pf-euler", "euler-maruyama"])
def test_backends_and_kinds_agree(process, method):
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    plan = sgmsolve.build_plan(process, method, steps=12, grid="quadratic")
    base = run(process, "score", states(process.m), plan)
    assert len(base) == process.m
    for predicts in KINDS:
        found = run(process, predicts, states(process.m), plan)
        np.testing.assert_allclose(found, base, atol=2e-11)
    for library in ("torch", "jax"):
        found = run(process, "noise:lower", states(process.m, library), plan)
        np.testing.assert_allclose(found, base, atol=2e-11)


def test_jax_scan_traces_the_process():
    jax = pytest.importorskip("jax")
    process = PSLD()
    plan = sgmsolve.build_plan(process, "euler-maruyama", steps=12, grid="quadratic")
    model = TracedScore(process, 0.6, 0.25)
    base = sgmsolve.solve(plan, model, states(2), noise="philox").z
    with jax.enable_x64(True):
        z = tuple(jax.numpy.asarray(part) for part in states(2))
        found = sgmsolve.solve(plan, model, z, noise="philox").z
        np.testing.assert_allclose([np.asarray(p) for p in found], base, atol=1e-12)


def test_samples_have_the_moments_that_exact_analysis_says():
    process = PSLD()
    plan = sgmsolve.build_plan(process, "em", steps=40, grid="quadratic", denoise=True)
    target, n = Lifted([0.6], [0.25]), 40_000
    rng = np.random.default_rng(7)
    z = tuple(rng.standard_normal((n, 1)) * scale for scale in (1.0, 0.5))
    model = Exact(target, process, "score", plan.t)
    x, v = sgmsolve.solve(plan, model, z, seed=5).z
    law = exact.output_moments(plan, target, process, START)
    both = np.concatenate([x, v], axis=1)
    sizes = np.sqrt(law.variance[:, 0])
    assert np.all(np.abs(both.mean(axis=0) - law.mean[:, 0]) < 4 * sizes / np.sqrt(n))
    gap = np.abs(np.cov(both.T) - law.covariance[..., 0]) / np.outer(sizes, sizes)
    assert gap.max() < 4 * np.sqrt(2 / n)


def test_one_predicted_component():
    """CLD needs the momentum's score only: a plan with p = 1, executed and analysed."""
    process, grid = CLD(), quadratic_striding(64)
    b = PlanBuilder(process, grid, predicts="score", draws="increment")
    for t, s in b.steps():
        h, G = t - s, b.G(t)
        score = b.predict(b.z, t)
        column = (h * G @ G.T)[:, 1:]
        b.advance(b.z - (h * b.F(t)) @ b.z + column @ score + (h**0.5 * G) @ b.xi())
    plan = b.plan()
    assert (plan.m, plan.p) == (2, 1)
    whole = sgmsolve.build_plan(process, "em", grid=grid)
    target = Lifted([0.6, -0.4, 0.1], [0.25, 0.04, 1.0])

    class Momentum(Exact):
        def __call__(self, z, t):
            return super().__call__(z, t)[1:]

    class Second(Lifted):
        def affine(self, process, kind, times):
            gain, offset = super().affine(process, kind, times)
            return gain[:, 1:], offset[:, 1:]

    one = sgmsolve.solve(plan, Momentum(target, process, "score", plan.t), states(2), seed=2).z
    two = sgmsolve.solve(whole, Exact(target, process, "score", plan.t), states(2), seed=2).z
    np.testing.assert_allclose(one, two, atol=1e-13)
    reduced = exact.output_moments(plan, Second(target.means, target.variances), process)
    full = exact.output_moments(whole, target, process)
    np.testing.assert_allclose(reduced.covariance, full.covariance, atol=1e-13)


def test_plans_print_save_resume_and_compress(tmp_path):
    process = PSLD()
    plan = sgmsolve.build_plan(process, "euler-maruyama", steps=9, grid="quadratic")
    plan.save(tmp_path / "plan.npz")
    again = Plan.load(tmp_path / "plan.npz")
    assert sgmsolve.process.from_spec(again.process) == process
    np.testing.assert_array_equal(again.kick, plan.kick)
    assert "2 components" in str(plan)
    model = Exact(Lifted([0.6, -0.4, 0.1], [0.25, 0.04, 1.0]), process, "score", plan.t)
    base = sgmsolve.solve(plan, model, states(2), seed=4).z
    state = next(s.state for s in sgmsolve.steps(plan, model, states(2), seed=4) if s.row == 4)
    rest = sgmsolve.solve(plan, model, None, seed=4, resume=state).z
    np.testing.assert_array_equal(rest, base)
    found = exact.output_moments(plan.compress(), TARGET, process)
    law = exact.output_moments(plan, TARGET, process)
    np.testing.assert_allclose(found.covariance, law.covariance, rtol=1e-13)


def test_one_path_on_two_grids():
    """Strong convergence on one Brownian path: m channels, increments on both components."""
    process = PSLD()
    plans = [sgmsolve.build_plan(process, "em", steps=n, grid="quadratic") for n in (100, 200, 400)]
    noise = sgmsolve.PathNoise(plans, process, seed=1)
    rng = np.random.default_rng(0)
    z = tuple(rng.standard_normal((200, 1)) * s for s in (1.0, 0.5))
    ends = [
        sgmsolve.solve(plan, Exact(TARGET, process, "score", plan.t), z, noise=noise).x
        for plan in plans
    ]
    near, far = (
        np.sqrt(np.mean((a - b) ** 2)) for a, b in ((ends[1], ends[2]), (ends[0], ends[1]))
    )
    assert near < 0.7 * far < 0.07


def test_the_specification_runs_it():
    """numpy_loop.run, the plain loop, on two components with draws and without a Runner."""
    process = PSLD()
    plan = sgmsolve.build_plan(process, "euler-maruyama", steps=5, grid="quadratic")
    model = Exact(Lifted([0.6, -0.4, 0.1], [0.25, 0.04, 1.0]), process, "score", plan.t)
    rng = np.random.default_rng(1)
    draws = {(r, j): rng.standard_normal((4, 3)) for r in range(5) for j in range(2)}
    found = numpy_loop.run(plan, model, states(2), lambda r, j: draws[r, j])
    z = np.stack(states(2))
    for r in range(5):
        t = plan.t[r]
        s = plan.t[r + 1] if r < 4 else plan.t_end
        h, F, G = t - s, process.F(t), process.G(t)
        score = np.stack(model(tuple(z), t))
        drift = np.einsum("ij,j...->i...", F, z) - np.einsum("ij,j...->i...", G @ G.T, score)
        xi = np.stack([draws[r, 0], draws[r, 1]])
        z = z - h * drift + np.sqrt(h) * np.einsum("ij,j...->i...", G, xi)
    np.testing.assert_allclose(found, z, atol=1e-13)


def test_plans_in_mpmath():
    with mp.workdps(40):
        grid = [mp.mpf(v) for v in ("1", "0.5", "0.1")]
        plan = euler_maruyama(PSLD(), grid)
    low = euler_maruyama(PSLD(), [1.0, 0.5, 0.1])
    assert plan.move.dtype == object
    np.testing.assert_allclose(plan.noise.astype(float), low.noise, rtol=1e-15)
    np.testing.assert_allclose(plan.kick.astype(float), low.kick, rtol=1e-15)


def test_sample_starts_at_the_stationary_law():
    process = CLD()
    plan = sgmsolve.build_plan(process, "em", steps=1, grid="uniform")
    model = Exact(Lifted([0.6], [0.25]), process, "score", plan.t)
    recorder = _Recorder(model)
    sgmsolve.sample(process, recorder, shape=(1,), batch=20_000, method="em", steps=1)
    cov = np.cov(np.concatenate(recorder.found[0], axis=1).T)
    np.testing.assert_allclose(cov, np.diag([1.0, 0.25]), atol=0.03)


class _Recorder:
    def __init__(self, model):
        self.model, self.found = model, []
        self.process, self.predicts = model.process, model.predicts

    def __call__(self, z, t):
        self.found.append(z)
        return self.model(z, t)
