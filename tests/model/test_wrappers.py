"""Guidance, thresholding and counting, each against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sgmsolve.errors import ModelError, ProcessError
from sgmsolve.model import (
    CountCalls,
    as_model,
    classifier_free,
    classifier_free_batched,
    classifier_guidance,
    clip_data,
    dynamic_threshold,
    to_kind,
)
from sgmsolve.process import EDM, VP, Flow
from sgmsolve.target import Gaussian, GaussianMixture

KINDS = ["noise", "data", "score", "v", "flow"]
P, T = VP(), 0.3
X = np.linspace(-1, 1, 6).reshape(2, 3)
COND, UNCOND = Gaussian([0.5, 0, -1], 0.3), Gaussian([0.0, 0, 0.2], [0.5, 1.0, 2.0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", ["noise", "data"])
def test_classifier_free_extrapolates_the_score(kind, other):
    model = classifier_free(COND.model(P, kind), CountCalls(UNCOND.model(P, other)), 2.5)
    assert model.predicts == kind
    cond, uncond = COND.score(X, T, P), UNCOND.score(X, T, P)
    got = to_kind(model, "score")((X,), T)[0]
    np.testing.assert_allclose(got, uncond + 2.5 * (cond - uncond), rtol=1e-11)


def test_classifier_free_scales():
    cond, uncond = CountCalls(COND.model(P)), CountCalls(UNCOND.model(P))
    np.testing.assert_array_equal(
        classifier_free(cond, uncond, 1)((X,), T)[0], cond.model((X,), T)[0]
    )
    assert (cond.calls, uncond.calls) == (1, 0)
    out = classifier_free(cond, uncond, 0.0)((X,), T)[0]
    np.testing.assert_array_equal(out, uncond.model((X,), T)[0])
    assert (cond.calls, uncond.calls) == (1, 1)
    interval = classifier_free(cond, uncond, lambda t: 3.0 if t > 0.2 else 1.0)
    np.testing.assert_array_equal(interval((X,), 0.1)[0], cond((X,), 0.1)[0])
    at = interval((X,), T)[0]
    np.testing.assert_allclose(at, classifier_free(cond, uncond, 3.0)((X,), T)[0], rtol=1e-15)
    with pytest.raises(ModelError, match="same process"):
        classifier_free(COND.model(P), UNCOND.model(EDM()), 2.0)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy, jnp.asarray])
def test_one_network_on_a_doubled_batch(library):
    def net(x, t):
        n = x.shape[0] // 2
        xp = {"torch": torch, "jax": jnp}.get(type(x).__module__.split(".")[0], np)
        if library is jnp.asarray:
            xp = jnp
        return xp.concatenate([0.1 * x[:n], 0.7 * x[n:] + 1])

    calls = CountCalls(as_model(net, P, predicts="noise"))
    model = classifier_free_batched(calls, 3.0)
    (got,) = model((library(X),), T)
    assert (calls.calls, calls.samples) == (1, 4)
    free, given = 0.1 * X, 0.7 * X + 1
    np.testing.assert_allclose(np.asarray(got), free + 3.0 * (given - free), rtol=1e-14)
    assert model.predicts == "noise"


@pytest.mark.parametrize("kind", KINDS)
def test_classifier_guidance_is_bayes(kind):
    """p(x | y) of a mixture is its component: prior score + grad log p(y | x, t), scale 1."""
    mixture = GaussianMixture([1, 2], [[0.5, 0.0, -1.0], [0.0, 1.0, 0.2]], [0.3, 0.5])
    part = Gaussian([0.5, 0.0, -1.0], 0.3)

    def gradient(z, t):
        return part.score(z[0], t, P) - mixture.score(z[0], t, P)

    model = classifier_guidance(mixture.model(P, kind), gradient)
    assert model.predicts == kind
    np.testing.assert_allclose(model((X,), T)[0], part.predict(kind, X, T, P), rtol=1e-11)
    twice = to_kind(classifier_guidance(mixture.model(P, kind), gradient, lambda t: 2.0), "score")
    expected = mixture.score(X, T, P) + 2 * gradient((X,), T)
    np.testing.assert_allclose(twice((X,), T)[0], expected, rtol=1e-11)
    traced = jax.jit(lambda x, t: model((x,), t)[0])(jnp.asarray(X), T)
    np.testing.assert_allclose(traced, part.predict(kind, X, T, P), rtol=1e-11)


def test_classifier_guidance_checks_the_gradient():
    model = classifier_guidance(COND.model(P), lambda z, t: z[0][:, :2])
    with pytest.raises(ModelError, match="expected the state's shape"):
        model((X,), T)
    with pytest.raises(ModelError, match="expected a function of"):
        classifier_guidance(COND.model(P), 3.0)
    at_zero = classifier_guidance(COND.model(Flow(), "data"), lambda z, t: z[0])
    with pytest.raises(ProcessError, match="alpha"):
        at_zero((X,), 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy, jnp.asarray])
def test_clip_data(kind, library):
    model = clip_data(COND.model(P, kind), -0.4, 0.3)
    assert model.predicts == "data"
    (got,) = model((library(X),), T)
    raw = COND.predict("data", X, T, P)
    assert raw.min() < -0.4
    assert raw.max() > 0.3
    np.testing.assert_allclose(np.asarray(got), np.clip(raw, -0.4, 0.3), rtol=1e-13)
    # Back in the network's own kind, the clipped data is what the conversion sees.
    (eps,) = to_kind(model, "noise")((X,), T)
    expected = (X - P.alpha(T) * np.clip(raw, -0.4, 0.3)) / P.sigma(T)
    np.testing.assert_allclose(eps, expected, rtol=1e-12)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.995, 1.0])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy, jnp.asarray])
def test_dynamic_threshold_is_imagens(quantile, library):
    x0 = (
        np.random.default_rng(0).standard_normal((3, 2, 7))
        * np.array([0.3, 1.0, 4.0])[:, None, None]
    )
    model = as_model(lambda x, t: library(x0), P, predicts="data")
    for limit in (np.inf, 1.5):
        (got,) = dynamic_threshold(model, quantile, limit)((library(x0),), T)
        s = np.clip(np.quantile(np.abs(x0).reshape(3, -1), quantile, axis=1), 1.0, limit)
        s = s[:, None, None]
        np.testing.assert_allclose(np.asarray(got), np.clip(x0, -s, s) / s, rtol=1e-14)


def test_dynamic_threshold_of_single_entries_and_its_dtype():
    x0 = np.array([[3.0], [0.5]], dtype=np.float32)
    (got,) = dynamic_threshold(as_model(lambda x, t: x0, P, predicts="data"))((x0,), T)
    np.testing.assert_allclose(got, [[1.0], [0.5]])
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda m: clip_data(m, 1.0, -1.0), "swap"),
        (lambda m: dynamic_threshold(m, 0.0), "quantile is 0"),
        (lambda m: dynamic_threshold(m, 1.5), "quantile is 1.5"),
        (lambda m: dynamic_threshold(m, 0.9, 0.5), "at least 1"),
    ],
)
def test_bad_thresholds(build, words):
    with pytest.raises(ModelError, match=words):
        build(COND.model(P))


def test_count_calls():
    model = CountCalls(COND.model(P, "v"))
    assert (model.predicts, model.process) == ("v", P)
    for n in (2, 5):
        model((np.zeros((n, 3)),), T)
    assert (model.calls, model.samples) == (2, 7)
    model.reset()
    assert (model.calls, model.samples) == (0, 0)
