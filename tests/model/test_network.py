"""Wrapping a network: labels, dtypes, scalings and the check of its output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sgmsolve.errors import ModelError
from sgmsolve.model import Scalings, as_model, check_prediction, edm_scalings
from sgmsolve.process import EDM, VP, Flow

X = np.linspace(-1, 1, 6).reshape(2, 3)


def call(x, t=0.25, **options):
    got = []
    as_model(lambda x, label: got.extend([x, label]) or x, VP(), predicts="noise", **options)(
        (x,), t
    )
    return got


def test_labels():
    assert call(X)[1] == 0.25
    assert call(X, label=lambda t: 999 * t)[1] == 999 * 0.25
    batch = call(X, time="batch")[1]
    assert batch.shape == (2,)
    assert batch.dtype == np.float64
    np.testing.assert_array_equal(batch, 0.25)
    whole = call(X, time="batch", label=lambda t: round(1000 * t))[1]
    assert whole.dtype == np.int64
    np.testing.assert_array_equal(whole, 250)
    own = call(X, time="batch", label=lambda t: np.array([1.0, 2.0], np.float32))[1]
    np.testing.assert_array_equal(own, [1, 2])


def test_batch_labels_on_torch_and_jax():
    z = torch.ones(2, 3, dtype=torch.bfloat16)
    label = call(z, time="batch", label=lambda t: 999.0)[1]
    assert label.dtype == torch.float32  # bfloat16 would say 1000
    assert label.tolist() == [999.0, 999.0]
    assert call(z, time="batch", label=lambda t: 7)[1].dtype == torch.int64
    assert call(z.float(), time="batch", label=lambda t: torch.tensor(3.0))[1].shape == (2,)

    def net(x, label):
        assert label.shape == (2,)
        assert label.dtype == jnp.float32
        return x * label[:, None]

    model = as_model(net, VP(), predicts="noise", time="batch", label=lambda t: 4 * t)
    out = jax.jit(lambda x, t: model((x,), t)[0])(jnp.ones((2, 3), jnp.float32), 0.25)
    np.testing.assert_allclose(out, 1.0)
    assert call(jnp.ones((2, 3)), time="batch", label=lambda t: 7)[1].tolist() == [7, 7]


def test_net_dtype():
    assert call(X, net_dtype="float32")[0].dtype == np.float32
    assert call(X, net_dtype=np.float32)[0].dtype == np.float32
    z = torch.ones(2, 3)
    assert call(z, net_dtype="float16")[0].dtype == torch.float16
    assert call(z, net_dtype=torch.bfloat16, time="batch")[1].dtype == torch.float32
    with pytest.raises(ModelError, match="net_dtype is 'float17'"):
        call(X, net_dtype="float17")


@pytest.mark.parametrize("process", [EDM(), VP(), Flow()], ids=repr)
def test_edm_scalings_make_a_zero_network_the_gaussian_denoiser(process):
    """Karras et al. 2022, appendix B.6: the skip is the best linear denoiser of N(0, 0.25)."""
    from sgmsolve.target import Gaussian

    scalings, t = edm_scalings(process, 0.5), 0.4
    model = as_model(lambda x, c: 0 * x, process, predicts="data", scalings=scalings)
    exact = Gaussian(np.zeros(3), 0.25).predict("data", X, t, process)
    np.testing.assert_allclose(model((X,), t)[0], exact, rtol=1e-14)
    # The input has unit variance, and c_out is the standard deviation of what is left to predict.
    alpha, sigma = process.alpha(t), process.sigma(t)
    variance = alpha**2 * 0.25 + sigma**2
    assert scalings.c_in(t) ** 2 * variance == pytest.approx(1, rel=1e-14)
    left = 0.25 - (alpha * 0.25) ** 2 / variance
    assert scalings.c_out(t) ** 2 == pytest.approx(left, rel=1e-13)


def test_edm_scalings_are_table_1():
    process, s, d = EDM(), 3.0, 0.5
    scalings = edm_scalings(process, d)
    assert scalings.c_skip(s) == pytest.approx(d**2 / (s**2 + d**2), rel=1e-15)
    assert scalings.c_out(s) == pytest.approx(s * d / np.sqrt(s**2 + d**2), rel=1e-15)
    assert scalings.c_in(s) == pytest.approx(1 / np.sqrt(s**2 + d**2), rel=1e-15)


def test_scalings_are_applied_as_they_say():
    scalings = Scalings(lambda t: 2.0, lambda t: 3 * t, lambda t: 0.5)
    model = as_model(lambda x, c: x**2 + c, VP(), predicts="v", scalings=scalings)
    np.testing.assert_allclose(
        model((X,), 0.25)[0], 2 * X + 0.75 * (0.25 * X**2 + 0.25), rtol=1e-15
    )
    traced = jax.jit(lambda x, t: model((x,), t)[0])(jnp.asarray(X, jnp.float32), 0.25)
    assert traced.dtype == jnp.float32
    half = as_model(lambda x, c: x, VP(), predicts="v", scalings=scalings, net_dtype="float16")
    assert half((X.astype(np.float32),), 0.25)[0].dtype == np.float32


def test_the_network_is_called_once_and_no_more():
    calls = []
    model = as_model(lambda x, t: calls.append(t) or x, VP(), predicts="noise")
    assert calls == []
    out = model((X,), 0.3)
    assert calls == [0.3]
    assert isinstance(out, tuple)
    assert out[0] is X


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.zeros((2, 6)), r"shape \(2, 6\) at t = 0.25, expected the state's shape \(2, 3\)"),
        (np.zeros((2, 1)), "expected the state's shape"),
        (np.zeros((2, 3), dtype=int), "dtype int64"),
        (np.zeros((2, 3), dtype=complex), "dtype complex128"),
        ((np.zeros((2, 3)),) * 2, "2 arrays"),
        ((), "0 arrays"),
        (None, "NoneType"),
        (torch.zeros(2, 3), "numpy array like the state"),
        ({"sample": 1}, "builtins.dict"),
    ],
)
@pytest.mark.parametrize("scalings", [None, edm_scalings(VP(), 1.0)])
def test_wrong_outputs_are_named(output, words, scalings):
    model = as_model(lambda x, t: output, VP(), predicts="data", scalings=scalings)
    with pytest.raises(ModelError, match=words):
        model((X,), 0.25)


def test_check_names_the_row():
    with pytest.raises(ModelError, match=r"in row 3 at t = 0\.5"):
        check_prediction(np.zeros(2), (X,), 3, 0.5)
    (out,) = check_prediction([X.astype(np.float16)], (X,))
    assert out.dtype == np.float16  # casting is the executor's


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"predicts": "nois"}, "Did you mean 'noise'"),
        ({"predicts": None}, "unknown kind"),
        ({"time": "batched"}, "Did you mean 'batch'"),
        ({"label": 999}, "expected a function of forward time"),
        ({"scalings": object()}, "without c_skip and c_out and c_in"),
        ({"scalings": edm_scalings(VP(), 1.0)}, "pass predicts='data'"),
        ({"process": "vp"}, "expected a forward process"),
        ({"net": 3}, "net is a int"),
    ],
)
def test_bad_options(options, words):
    given = {"net": lambda x, t: x, "process": VP(), "predicts": "noise", **options}
    with pytest.raises(ModelError, match=words):
        as_model(given.pop("net"), given.pop("process"), **given)


def test_bad_sigma_data():
    with pytest.raises(ModelError, match="sigma_data is 0"):
        edm_scalings(EDM(), 0)


def test_gradients_pass_through():
    weight = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    model = as_model(
        lambda x, t: weight * x, EDM(), predicts="data", scalings=edm_scalings(EDM(), 1.0)
    )
    model((torch.ones(2, 3, dtype=torch.float64),), 1.0)[0].sum().backward()
    assert weight.grad == pytest.approx(6 * 0.5, rel=1e-12)  # c_out c_in = 1/2 at sigma = 1
