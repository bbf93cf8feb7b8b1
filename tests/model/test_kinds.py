"""Exact conversions: the same function wrapped as any kind of network gives the same samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sgmsolve.errors import ModelError, ProcessError
from sgmsolve.model import CountCalls, as_model, to_kind
from sgmsolve.model.base import ConvertedModel
from sgmsolve.process import EDM, VE, VP, Flow, SubVP
from sgmsolve.target import Gaussian

KINDS = ["noise", "data", "score", "v", "flow"]
PROCESSES = [VP(), VP("cosine"), SubVP(), VE(), EDM(), Flow()]


def data(x, t):
    """A denoiser with no special structure."""
    return 0.7 * np.tanh(1.3 * x) + 0.1 * np.cos(3 * t)


def formula(kind, x, x0, alpha, sigma):
    """The definitions, from eps = (x - alpha x0) / sigma."""
    eps = (x - alpha * x0) / sigma
    return {
        "noise": eps,
        "data": x0,
        "score": -eps / sigma,
        "v": alpha * eps - sigma * x0,
        "flow": eps - x0,
    }[kind]


def network(process, kind):
    return lambda x, t: formula(kind, x, data(x, t), process.alpha(t), process.sigma(t))


def grid(process):
    start = min(float(process.t_max), process.largest_usable_time())
    return np.geomspace(start, float(process.t_min) or 1e-3, 25)


def ddim(model, times, x, eta, draws):
    """DDIM (Song et al. 2020, arXiv:2010.02502, equation 12) with a noise prediction."""
    process = model.process
    model = to_kind(model, "noise")
    for i in range(len(times) - 1):
        t, s = float(times[i]), float(times[i + 1])
        (eps,) = model((x,), t)
        x0 = (x - process.sigma(t) * eps) / process.alpha(t)
        ratio = process.alpha(t) / process.alpha(s)
        share = 1 - (ratio * process.sigma(s) / process.sigma(t)) ** 2
        noise = eta * process.sigma(s) * np.sqrt(max(share, 0.0))
        x = (
            process.alpha(s) * x0
            + np.sqrt(process.sigma(s) ** 2 - noise**2) * eps
            + noise * draws[i]
        )
    return x


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_every_kind_of_network_gives_the_same_samples(process, eta):
    times = grid(process)
    rng = np.random.default_rng(0)
    x = process.sigma(float(times[0])) * rng.standard_normal((4, 3))
    draws = rng.standard_normal((len(times), 4, 3))
    smallest = min(process.alpha(float(t)) * process.sigma(float(t)) for t in times)
    results = [
        ddim(as_model(network(process, kind), process, predicts=kind), times, x, eta, draws)
        for kind in KINDS
    ]
    assert np.abs(results[0]).max() > 0.1
    for result in results[1:]:
        error = np.abs(result - results[0]).max() / np.abs(results[0]).max()
        assert error < 1e-14 / smallest


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_conversions_are_the_definitions(process, source, kind):
    t = float(process.t_min) + 0.4 * (float(grid(process)[0]) - float(process.t_min))
    alpha, sigma = process.alpha(t), process.sigma(t)
    x = np.linspace(-2, 2, 6).reshape(2, 3)
    model = to_kind(as_model(network(process, source), process, predicts=source), kind)
    assert model.predicts == kind
    assert model.process is process
    (got,) = model((x,), t)
    expected = formula(kind, x, data(x, t), alpha, sigma)
    np.testing.assert_allclose(got, expected, rtol=1e-13 / min(1, alpha * sigma), atol=1e-13)


@pytest.mark.parametrize("kind", ["data", "v", "flow"])
def test_networks_that_know_the_data_start_at_alpha_zero(kind):
    process, x = Flow(), np.ones((1, 2))
    values = {"data": 0.3 + 0 * x, "v": -1.0 * (0.3 + 0 * x), "flow": x - 0.3}
    model = as_model(lambda x, t: values[kind], process, predicts=kind)
    t = float(process.t_max)
    np.testing.assert_allclose(to_kind(model, "data")((x,), t)[0], 0.3, rtol=1e-15)
    np.testing.assert_allclose(to_kind(model, "noise")((x,), t)[0], x, rtol=1e-15)


@pytest.mark.parametrize("kind", ["noise", "score"])
def test_networks_that_do_not_are_refused(kind):
    process = Flow()
    model = to_kind(as_model(lambda x, t: x, process, predicts=kind), "data")
    with pytest.raises(ProcessError, match="start at t <="):
        model((np.ones((1, 2)),), float(process.t_max))


def test_to_kind_makes_no_chains():
    process = VP()
    model = as_model(lambda x, t: x, process, predicts="noise")
    assert to_kind(model, "noise") is model
    assert to_kind(to_kind(model, "data"), "noise") is model
    assert to_kind(to_kind(model, "data"), "v").model is model
    exact = Gaussian([0.0], [1.0]).model(process, "data")
    assert to_kind(exact, "noise").target is exact.target
    assert not isinstance(to_kind(exact, "noise"), ConvertedModel)
    assert isinstance(to_kind(CountCalls(exact), "noise"), ConvertedModel)
    with pytest.raises(ModelError, match="Did you mean 'noise'"):
        to_kind(model, "noice")


@pytest.mark.parametrize("process", [VP(), EDM()], ids=repr)
def test_traced_times_convert_alike(process):
    x = np.linspace(-1, 1, 6).reshape(2, 3)
    nets = [as_model(lambda x, t: 0.5 * x + 0.1, process, predicts=kind) for kind in KINDS]
    models = [to_kind(net, kind) for net in nets for kind in KINDS]
    traced = jax.jit(lambda x, t: [model((x,), t)[0] for model in models])(jnp.asarray(x), 0.4)
    for model, got in zip(models, traced, strict=True):
        np.testing.assert_allclose(got, model((x,), 0.4)[0], rtol=1e-12, atol=1e-14)


def test_conversions_stay_in_the_states_dtype():
    process, t = VP(), 1.0
    x = np.ones((2, 3), dtype=np.float32)
    half = to_kind(as_model(lambda x, t: x.astype(np.float16), process, predicts="noise"), "data")
    (got,) = half((x,), t)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, (1 - process.sigma(t)) / process.alpha(t), rtol=3e-3)
    traced = jax.jit(lambda x, t: half((x,), t)[0])
    assert traced(jnp.asarray(x), t).dtype == jnp.float32
    z = torch.ones(2, 3, dtype=torch.bfloat16)
    plain = to_kind(as_model(lambda x, t: x, process, predicts="noise"), "v")
    assert plain((z,), t)[0].dtype == torch.bfloat16


class TwoComponents(VP):
    """A stand-in for a phase-space process: a conversion with full 2 x 2 blocks."""

    names = ("x", "v")

    def conversion(self, source, target, t):
        return np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[0.5, 0.0], [4.0, 1.0]])


def test_components_mix_as_the_matrices_say():
    process = TwoComponents()
    model = as_model(lambda x, v, t: (10 * x, 20 * v), process, predicts="noise")
    x, v = np.full((1, 2), 1.0), np.full((1, 2), 2.0)
    first, second = to_kind(model, "score")((x, v), 0.5)
    np.testing.assert_allclose(first, 1 * x + 2 * v + 0.5 * 10 * x)
    np.testing.assert_allclose(second, 3 * v + 4 * 10 * x + 20 * v)
