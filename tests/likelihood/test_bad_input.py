"""What ``log_density`` refuses: one sentence each, before any work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import BackendError, GridError, MethodError, ModelError, ProcessError
from sgmsolve.likelihood import log_density

torch = pytest.importorskip("torch")

VP, PSLD = sgmsolve.VP(), sgmsolve.PSLD()
X = torch.zeros((2, 3), dtype=torch.float64)


def forbidden(x: Any, t: Any) -> Any:
    raise AssertionError("the network was called")


MODEL = sgmsolve.as_model(forbidden, VP, predicts="noise")
PHASE = sgmsolve.as_model(lambda x, v, t: forbidden(x, t), PSLD, predicts="score")

CASES: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
    (MethodError, "unknown divergence 'hutch'. Did you mean 'hutch", X, {"divergence": "hutch"}),
    (MethodError, "unknown distribution of probes", X, {"distribution": "sign"}),
    (MethodError, "unknown derivative", X, {"derivative": "forward"}),
    (MethodError, "unknown option of log_density 'step'. Did you mean 'steps'", X, {"step": 3}),
    (MethodError, "unknown option of log_density 'denoise'", X, {"denoise": True}),
    (MethodError, "unknown adaptive solver 'dopri6'. Did you mean", X, {"method": "dopri6"}),
    (MethodError, "gotta-go-fast solves SDEs", X, {"method": "gotta-go-fast"}),
    (MethodError, "rtol = -1.0", X, {"rtol": -1.0}),
    (MethodError, "rtol = 'small'", X, {"rtol": "small"}),
    (MethodError, "atol = 0", X, {"atol": 0}),
    (MethodError, "steps or grid fix the steps", X, {"steps": 5, "estimate_error": True}),
    (MethodError, "rtol belong to error control", X, {"steps": 5, "rtol": 1e-3}),
    (MethodError, "probes = 4, but the exact divergence has none", X, {"probes": 4}),
    (MethodError, "whole number", X, {"divergence": "hutchinson", "probes": 0}),
    (MethodError, "a multiple of 3", X, {"divergence": "hutch++", "probes": 4}),
    (MethodError, "at most 9", X, {"divergence": "hutch++", "probes": 12}),
    (MethodError, "for each of 600 entries", torch.zeros((1, 600)), {}),
    (ProcessError, "unknown prior 'standard'. Did you mean", X, {"prior": "standard"}),
    (ProcessError, "prior is a float", X, {"prior": 1.0}),
    (GridError, "expected t_min < t_max", X, {"t_min": 0.5, "t_max": 0.5}),
    (GridError, "t_max = 2 lies outside", X, {"t_max": 2.0}),
    (GridError, "holds no noise", X, {"t_min": 0.0}),
    (BackendError, "numpy arrays carry no derivatives", np.zeros((2, 3)), {}),
    (BackendError, "expected float64", X.float(), {"derivative": "differences"}),
    (BackendError, "expected float32 or float64", X.half(), {}),
    (BackendError, "seed is -1", X, {"seed": -1, "divergence": "hutchinson"}),
    (BackendError, "indices", X, {"indices": [1], "divergence": "hutchinson"}),
    (ModelError, r"expected \(batch, \*shape\)", X[0], {}),
    (ModelError, r"expected \(batch, \*shape\)", X[:0], {}),
    (ModelError, "2 array", (X, X), {}),
    (ModelError, "x is a str, expected an array", "picture", {}),
]


@pytest.mark.parametrize(("error", "words", "x", "options"), CASES, ids=lambda c: str(c)[:30])
def test_bad_input_is_a_sentence(
    error: type[Exception], words: str, x: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(error, match=words) as caught:
        log_density(VP, MODEL, x, **options)
    assert str(caught.value).rstrip().endswith((".", "?"))


def test_phase_space_wants_all_components() -> None:
    with pytest.raises(ModelError, match=r"not of x alone; pass a tuple \(x, v\)"):
        log_density(PSLD, PHASE, X)


def test_a_model_of_another_process() -> None:
    with pytest.raises(ModelError, match="the model belongs to"):
        log_density(sgmsolve.EDM(), MODEL, X)


@pytest.mark.parametrize("kind", ["noise", "score", "scaled"])
def test_a_network_without_derivatives(kind: str) -> None:
    process = sgmsolve.EDM() if kind == "scaled" else VP

    @torch.no_grad()
    def net(x: Any, t: Any) -> Any:
        return 0.8 * x if kind != "score" else -x

    # Scalings and conversions add multiples of x, which have a derivative of their own.
    model = sgmsolve.as_model(net, process, predicts="noise" if kind == "noise" else "score")
    if kind == "scaled":
        scalings = sgmsolve.model.edm_scalings(process, 0.5)
        model = sgmsolve.as_model(net, process, predicts="data", scalings=scalings)
    with pytest.raises(ModelError, match="derivative='differences'"):
        log_density(process, model, X + 1)
    found = log_density(process, model, X + 1, derivative="differences", steps=20)
    assert torch.isfinite(found.log_p).all()


def test_a_rough_network_is_not_taken_for_one_without_derivatives() -> None:
    torch.manual_seed(0)
    half = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
    half = half.bfloat16()
    model = sgmsolve.as_model(lambda x, t: half(x.bfloat16()), VP, predicts="noise")
    assert torch.isfinite(log_density(VP, model, X + 1, steps=20).log_p).all()


def test_a_prior_of_another_shape() -> None:
    model = sgmsolve.as_model(lambda x, t: x, VP, predicts="noise")
    with pytest.raises(ModelError, match=r"prior returned a Tensor of shape \(2, 3\)"):
        log_density(VP, model, X, prior=lambda z: -0.5 * z**2, steps=2)


def test_a_traced_state() -> None:
    jax = pytest.importorskip("jax")
    with pytest.raises(BackendError, match="call it outside of jit"):
        jax.jit(lambda x: log_density(VP, MODEL, x).log_p)(jax.numpy.zeros((2, 3)))
