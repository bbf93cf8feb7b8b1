"""What every target must do: scores, posteriors, densities and moments, checked independently."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from target_cases import PROCESSES, TARGETS, noisy

from sgmsolve.errors import AnalysisError, ModelError
from sgmsolve.process import EDM, VP
from sgmsolve.target import Empirical, Gaussian, GaussianMixture, TargetError

KINDS = ["noise", "data", "score", "v", "flow"]


def relative(a, b):
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    return np.abs(a - b).max() / np.abs(b).max()


def test_score_is_the_gradient_of_the_density_torch(target, process, t, states):
    x = torch.from_numpy(states).requires_grad_()
    log_p = target.marginal_log_prob(x, t, process)
    assert log_p.shape == (6,)
    (gradient,) = torch.autograd.grad(log_p.sum(), x)
    assert relative(target.score(states, t, process), gradient) < 1e-11


@pytest.mark.parametrize("name", ["field", "empirical"])
def test_score_is_the_gradient_of_the_density_jax(name):
    target = TARGETS[name]
    x, p = jnp.asarray(target.sample(4, 3)), VP()
    gradient = jax.jit(jax.grad(lambda x: target.marginal_log_prob(x, 0.2, p).sum()))(x)
    assert relative(target.score(np.asarray(x), 0.2, p), gradient) < 1e-11


def test_kinds_are_the_affine_images_of_each_other(target, process, t, states):
    data = target.predict("data", states, t, process)
    for kind in KINDS:
        a, b = process.conversion("data", kind, t)
        expected = float(a[0, 0]) * states + float(b[0, 0]) * data
        assert relative(target.predict(kind, states, t, process), expected) < 1e-12


ONE_DIMENSIONAL = {
    "gaussian": Gaussian([0.4], [0.3]),
    "dense": Gaussian([0.4], [[0.3]]),
    "mixture": GaussianMixture([1, 3], [[-0.7], [0.8]], [0.04, 0.3]),
    "empirical": Empirical([[-1.0], [0.2], [0.7], [0.75]], 0.25),
}


@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_posterior_by_quadrature(name, process, t):
    """All kinds as posterior means of x0 and of eps = (x - alpha x0) / sigma, in one dimension."""
    target = ONE_DIMENSIONAL[name]
    x0 = np.linspace(-6, 6, 6001)
    x = np.array([-1.3, 0.1, 0.9])
    alpha, sigma = process.alpha(t), process.sigma(t)
    eps = (x[:, None] - alpha * x0) / sigma
    weight = np.exp(target.log_prob(x0[:, None]) - eps**2 / 2)
    weight /= weight.sum(axis=1, keepdims=True)
    values = {
        "noise": eps,
        "data": x0 + 0 * eps,
        "score": -eps / sigma,
        "v": alpha * eps - sigma * x0,
        "flow": eps - x0,
    }
    for kind, value in values.items():
        got = target.predict(kind, x[:, None], t, process)[:, 0]
        assert relative(got, (weight * value).sum(axis=1)) < 1e-9, kind


@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_densities_integrate_to_one_in_1d(name, process, t):
    target = ONE_DIMENSIONAL[name]
    x, h = np.linspace(-30, 30, 30001, retstep=True)
    p0 = np.exp(target.log_prob(x[:, None]))
    assert h * p0.sum() == pytest.approx(1, abs=1e-10)
    pt = np.exp(target.marginal_log_prob(x[:, None], t, process))
    assert h * pt.sum() == pytest.approx(1, abs=1e-10)
    # The marginal is the convolution of the scaled density with the noise, here at one point.
    alpha, sigma = process.alpha(t), process.sigma(t)
    kernel = np.exp(-((0.6 - alpha * x) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    log_p = target.marginal_log_prob(np.array([[0.6]]), t, process)
    assert math.exp(log_p[0]) == pytest.approx(h * (p0 * kernel).sum(), rel=1e-9)


@pytest.mark.parametrize(
    "target",
    [
        Gaussian([0.2, -0.3], [[0.5, 0.2], [0.2, 0.3]]),
        Gaussian.low_rank([0.2, -0.3], [[1.0], [2.0]], [0.2], 0.4),
        GaussianMixture.ring(5, 1.0, 0.3),
        GaussianMixture([1, 2], [[0, 0.5], [-0.4, 0]], [[[0.3, 0.1], [0.1, 0.2]], np.eye(2)]),
        GaussianMixture([1, 2], [[0, 0.5], [-0.4, 0.2]], [[0.3, 0.1], [0.1, 0.6]]),
        Empirical(np.random.default_rng(0).standard_normal((7, 2)), 0.4),
    ],
)
def test_density_and_moments_by_quadrature_in_2d(target):
    line, h = np.linspace(-9, 9, 601, retstep=True)
    x = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    weight = np.exp(target.log_prob(x)) * h * h
    assert weight.sum() == pytest.approx(1, abs=1e-10)
    mean, cov = target.moments()
    centred = x - mean
    np.testing.assert_allclose(mean, weight @ x, atol=1e-10)
    np.testing.assert_allclose(cov.matrix(), (weight[:, None] * centred).T @ centred, atol=1e-9)
    np.testing.assert_allclose(cov.diagonal(), np.diag(cov), rtol=1e-12)
    assert cov.trace() == pytest.approx(np.trace(cov.matrix()), rel=1e-12)


def test_samples_have_the_exact_moments(target):
    """z-scores of the mean and second moments; the samples see 1 % of a standard deviation."""
    n = min(200_000, 1_600_000 // target.dim)
    x = target.sample(n, 7).reshape(n, -1)
    mean, cov = target.moments()
    centred = x - mean.reshape(-1)
    z = centred.mean(axis=0) / np.sqrt(cov.diagonal() / n)
    assert np.abs(z).max() < 4.5
    pairs = [(i, j) for i in range(min(4, x.shape[1])) for j in range(i + 1)]
    for i, j in pairs:
        product = centred[:, i] * centred[:, j]
        error = product.mean() - cov.matrix()[i, j]
        assert abs(error) < 4.5 * product.std() / math.sqrt(n)
    # All directions at once: |x|^2 averaged has the smallest relative error.
    square = (centred**2).sum(axis=1)
    assert abs(square.mean() - cov.trace()) < 4.5 * square.std() / math.sqrt(n)


def everything(target, process, x, t):
    out = [target.model(process, "v")((x,), t)[0], target.log_prob(x)]
    out.append(target.marginal_log_prob(x, t, process))
    return [*out, target.flow_map(x, t, t / 2, process)] if hasattr(target, "modes") else out


def test_numpy_and_torch_agree(target, process, t, states):
    expected = everything(target, process, states, t)
    got = everything(target, process, torch.from_numpy(states), t)
    for one, other in zip(got, expected, strict=True):
        assert isinstance(one, torch.Tensor)
        assert relative(one, other) < 1e-13


# Compiling for jax takes longer than all else: every code path and every process is met, not every
# pair of them.
JAX_PAIRS = [
    ("dense", "flow"),
    ("diagonal", "subvp"),
    ("low-rank", "ve"),
    ("field", "vp"),
    ("isotropic mixture", "edm"),
    ("dense mixture", "vp"),
    ("empirical", "vp"),
]


@pytest.mark.parametrize(("name", "process_name"), JAX_PAIRS)
def test_numpy_and_traced_jax_agree(name, process_name):
    target, (process, t) = TARGETS[name], PROCESSES[process_name]
    states = noisy(target, process, t)
    expected = everything(target, process, states, t)
    got = jax.jit(lambda x, t: everything(target, process, x, t))(jnp.asarray(states), t)
    for one, other in zip(got, expected, strict=True):
        assert isinstance(one, jax.Array)
        assert relative(one, other) < 1e-13
    single = jnp.asarray(states, jnp.float32)
    out = jax.jit(lambda x, t: target.model(process)((x,), t)[0])(single, t)
    assert out.dtype == jnp.float32
    assert relative(out, target.predict("data", states, t, process)) < 2e-5


def test_jax_without_jit():
    target, p = TARGETS["low-rank"], VP()
    x = target.sample(2, 0)
    for dtype, tolerance in ((jnp.float64, 1e-13), (jnp.bfloat16, 0.05)):
        out = target.score(jnp.asarray(x, dtype), 0.3, p)
        assert out.dtype == dtype
        assert relative(np.asarray(out, dtype=float), target.score(x, 0.3, p)) < tolerance


def test_dtypes_stay(target, process, t, states):
    model = target.model(process)
    exact = model((states,), t)[0]
    single = states.astype(np.float32)
    for x in (single, torch.from_numpy(single)):
        out = model((x,), t)[0]
        assert out.dtype == x.dtype
        assert relative(out, exact) < 2e-5
        assert target.log_prob(x).dtype == x.dtype
    half = torch.from_numpy(single).bfloat16()
    out = model((half,), t)[0]
    assert out.dtype == half.dtype
    assert relative(np.asarray(out.tolist()), exact) < 0.05


def test_times_of_each_sample(target, process, t, states):
    times = np.linspace(0.5 * t, t, 6)
    for x, ts in ((states, times), (torch.from_numpy(states), torch.from_numpy(times))):
        for kind in KINDS:
            together = target.predict(kind, x, ts, process)
            for i in range(6):
                one = target.predict(kind, x[i : i + 1], float(times[i]), process)
                assert relative(together[i : i + 1], one) < 1e-11
        log_p = target.marginal_log_prob(x, ts, process)
        one = target.marginal_log_prob(x[:1], float(times[0]), process)
        assert relative(log_p[:1], one) < 1e-11


def test_pieces_of_a_batch_are_the_whole(monkeypatch):
    import sgmsolve.target.empirical
    import sgmsolve.target.mixture

    p, times = VP(), np.linspace(0.1, 0.5, 7)
    for target in (GaussianMixture.ring(), Empirical(np.eye(5), 0.3)):
        x = target.sample(7, 1)
        whole = target.score(x, times, p), target.marginal_log_prob(x, times, p)
        monkeypatch.setattr(sgmsolve.target.mixture, "LARGEST_BLOCK", 40)
        monkeypatch.setattr(sgmsolve.target.empirical, "CACHE_BLOCK", 10)
        parts = target.score(x, times, p), target.marginal_log_prob(x, times, p)
        monkeypatch.undo()
        for a, b in zip(whole, parts, strict=True):
            assert relative(b, a) < 1e-14


def test_constants_made_in_special_modes_serve_later():
    target, p = Gaussian([0.1, 0.2], [[1.0, 0.2], [0.2, 0.5]]), EDM()
    with torch.inference_mode():
        target.score(torch.zeros(1, 2, dtype=torch.float64), 1.0, p)
    x = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    target.score(x, 1.0, p).sum().backward()
    assert x.grad is not None
    jax.jit(lambda x: target.score(x, 1.0, p))(jnp.zeros((1, 2)))
    expected = target.score(np.zeros((1, 2)), 1.0, p)
    assert relative(target.score(jnp.zeros((1, 2)), 1.0, p), expected) < 1e-15


# array_api_compat looks a namespace up in a cache, which dynamo traces through and mentions.
@pytest.mark.filterwarnings("ignore:.*functools.lru_cache:UserWarning")
def test_models_compile_without_graph_breaks():
    model, x = GaussianMixture.ring(3).model(VP(), "noise"), torch.ones(2, 2, dtype=torch.float64)
    eager = model((x,), 0.5)[0]
    compiled = torch.compile(lambda x: model((x,), 0.5)[0], fullgraph=True, backend="eager")
    assert relative(compiled(x), eager) < 1e-15


def test_samples_are_the_same_for_every_library(target):
    x = target.sample(3, 4)
    assert x.dtype == np.float64
    assert x.shape == (3, *target.shape)
    assert target.dim == math.prod(target.shape)
    assert np.array_equal(x, target.sample(3, np.random.default_rng(4)))
    assert np.array_equal(target.sample(3, 4, torch).numpy(), x)
    assert np.array_equal(np.asarray(target.sample(3, 4, jnp)), x)
    assert target.sample(3, 4, torch, dtype=torch.float32).dtype == torch.float32


def test_bad_input_is_answered_with_a_sentence(target):
    p = VP()
    with pytest.raises(TargetError, match=r"x has shape .* expected \(batch"):
        target.score(np.zeros((2, 9, 9, 9, 9)), 0.5, p)
    with pytest.raises(TargetError, match="floating"):
        target.score(np.zeros((2, *target.shape), dtype=int), 0.5, p)
    with pytest.raises(ModelError, match="Did you mean 'noise'"):
        target.model(p, "nois")
    with pytest.raises(TargetError, match="at least 1"):
        target.sample(0)


@pytest.mark.parametrize("target", [GaussianMixture.ring(), Empirical(np.eye(2), 0.1)])
def test_no_flow_map_without_a_closed_form(target):
    with pytest.raises(AnalysisError, match="closed-form"):
        target.flow_map(np.zeros((1, 2)), 0.5, 0.1, VP())


@pytest.mark.parametrize(
    "target",
    [
        Gaussian([0.0, 1.0], [1.0, 0.0]),
        Empirical(np.eye(2), 0.0),
        GaussianMixture([1], [[0, 0]], 0.0),
    ],
)
def test_singular_targets(target):
    with pytest.raises(AnalysisError, match="no density"):
        target.log_prob(np.zeros((1, 2)))
    with pytest.raises(TargetError, match="larger t"):
        target.score(np.zeros((1, 2)), 0.0, EDM())
    assert np.all(np.isfinite(target.score(np.zeros((1, 2)), 0.01, EDM())))
