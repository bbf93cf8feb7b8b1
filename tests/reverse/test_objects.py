"""Reverse SDEs and SDEs of the user's own: libraries, kinds, calculus and sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import BackendError, GridError, ModelError, ProcessError
from sgmsolve.reverse import GeneralSDE, ProbabilityFlow, ReverseSDE

VP, PSLD, CLD = sgmsolve.VP(), sgmsolve.PSLD(), sgmsolve.CLD()
TARGET = sgmsolve.Gaussian([0.6, -0.3], [[0.5, 0.2], [0.2, 0.9]])
RNG = np.random.default_rng(0)


def state(m: int, shape: tuple[int, ...] = (4, 2)) -> tuple[np.ndarray, ...]:
    return tuple(np.random.default_rng(m).standard_normal((m, *shape)))


def as_library(library: str, z: Any) -> Any:
    if library == "torch":
        torch = pytest.importorskip("torch")
        return tuple(torch.tensor(x) for x in z)
    jnp = pytest.importorskip("jax.numpy")
    return tuple(jnp.asarray(x) for x in z)


@pytest.mark.parametrize("process", [VP, PSLD, CLD], ids=["vp", "psld", "cld"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_libraries_and_kinds_of_time_agree(process: Any, library: str) -> None:
    kind = "noise" if process.m == 1 else "noise:lower"
    sde = ReverseSDE(process, TARGET.model(process, kind), lambda t: 0.2 + t)
    z = state(process.m)
    right = sde.drift(z, 0.37)
    other = as_library(library, z)
    times = other[0].reshape(-1)[:1].reshape(()) * 0 + 0.37
    batch = other[0][:, 0] * 0 + 0.37
    for t in (0.37, times, batch):
        linear, score = sde.split(other, t)
        both = zip(right, sde.drift(other, t), linear, score, strict=True)
        for a, b, part, rest in both:
            assert type(b) is type(other[0])
            assert np.allclose(a, np.asarray(b), rtol=1e-13, atol=1e-13)
            assert np.allclose(a, np.asarray(part + rest), rtol=1e-12, atol=1e-12)
    noise = sde.diffuse(z, 0.37, z)
    for a, b in zip(noise, sde.diffuse(other, times, other), strict=True):
        assert np.allclose(a, np.asarray(b), rtol=1e-13)
    assert np.allclose(noise[-1], 0.57 * process.G(0.37)[-1, -1] * z[-1], rtol=1e-12)
    assert tuple(sde.diffusion(batch).shape) == (4, process.m, process.m)


@pytest.mark.parametrize("process", [VP, PSLD], ids=["vp", "psld"])
def test_the_drift_is_the_formula(process: Any) -> None:
    z, t, eta = state(process.m), 0.4, 0.7
    score = TARGET.score(z if process.m > 1 else z[0], t, process)
    score = np.stack(score if process.m > 1 else (score,))
    F, G = process.F(t), process.G(t)
    right = -np.tensordot(F, np.stack(z), 1) + (1 + eta**2) / 2 * np.tensordot(G @ G.T, score, 1)
    kinds = ["score", "data", "noise" if process.m == 1 else "noise:rotation-free:dsm"]
    for kind in kinds:
        model = TARGET.model(process, kind)
        wrapped = sgmsolve.as_model(
            lambda *a, model=model: model(a[:-1], a[-1]), process, predicts=kind
        )
        for given in (model, wrapped):
            got = np.stack(ReverseSDE(process, given, eta).drift(z, t))
            assert np.abs(got - right).max() < 1e-11
    assert np.allclose(ReverseSDE(process, model, eta).diffusion(t), eta * G, rtol=1e-15)


def test_a_network_of_half_precision_is_converted_in_the_dtype_of_the_state() -> None:
    def net(x: Any, t: float) -> Any:
        return (0.25 * x).astype(np.float16)

    z = (np.full((1, 2), 0.5),)
    sde = ReverseSDE(VP, sgmsolve.as_model(net, VP, predicts="noise"))
    t = 0.01
    right = VP.beta(t) * (0.5 * z[0] - 0.125 / VP.sigma(t))
    (got,) = sde.drift(z, t)
    assert got.dtype == np.float64
    assert np.allclose(got, right, rtol=1e-12)


def gbm(calculus: str = "ito", **options: Any) -> GeneralSDE:
    return GeneralSDE(
        lambda z, t: 0.3 * z[0], lambda z, t: 0.5 * z[0], calculus=calculus, **options
    )


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_geometric_brownian_motion_in_both_calculi(library: str) -> None:
    z = state(1)
    known = {} if library != "numpy" else {"derivative": lambda z, t: 0.5 + 0 * z[0]}
    other = z if library == "numpy" else as_library(library, z)
    there = gbm(**known).as_calculus("stratonovich")
    assert there.calculus == "stratonovich"
    assert np.allclose(there.drift(other, 0.0)[0], (0.3 - 0.125) * z[0], rtol=1e-14)
    back = there.as_calculus("ito")
    assert np.allclose(back.drift(other, 0.0)[0], 0.3 * z[0], rtol=1e-14)
    assert gbm().as_calculus("ito").drift(other, 0.0)[0] is not None
    assert np.allclose(
        gbm("stratonovich", **known).as_calculus("ito").drift(other, 0.0)[0],
        (0.3 + 0.125) * z[0],
        rtol=1e-14,
    )


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_general_noise_is_corrected_by_the_whole_sum(library: str) -> None:
    """g = [[z2, 0], [z1 z2, z1]] (entries, motions): c = 1/2 sum_jk g_jk d_j g_ik, by hand."""

    def stack(*a: Any) -> Any:
        xp = (
            pytest.importorskip("torch") if library == "torch" else pytest.importorskip("jax.numpy")
        )
        return xp.stack(a, -1)

    def diffusion(z: Any, t: Any) -> Any:
        a, b = z[0][:, 0], z[0][:, 1]
        return (stack(stack(b, a * b), stack(0 * a, a)),)

    sde = GeneralSDE(lambda z, t: z, diffusion, noise="general")
    z = as_library(library, state(1))
    a, b = np.asarray(z[0]).T
    # columns: g_1 = (b, ab), g_2 = (0, a); (D g_1) g_1 = (ab, b b + a (ab)), (D g_2) g_2 = (0, 0)
    right = 0.5 * np.stack([a * b, b * b + a * a * b], -1)
    assert np.allclose(np.asarray(sde.correction(z, 0.0)[0]), right, rtol=1e-13)
    dw = as_library(library, state(1))[0]
    p, q = np.asarray(dw).T
    moved = np.asarray(sde.diffuse(z, 0.0, dw)[0])
    assert np.allclose(moved, np.stack([b * p, a * b * p + a * q], -1), rtol=1e-13)


def test_split_of_a_general_sde_sums_to_its_drift() -> None:
    sde = GeneralSDE(
        lambda z, t: z[0] - z[0] ** 3,
        lambda t: np.array([[0.4]]),
        noise="additive",
        linear=lambda z, t: z[0],
    )
    z = state(1)
    linear, rest = sde.split(z, 0.0)
    assert np.array_equal(linear[0], z[0])
    assert np.allclose(rest[0], -(z[0] ** 3), rtol=1e-13, atol=1e-15)
    assert np.array_equal(sde.diffuse(z, 0.0, z)[0], 0.4 * z[0])
    assert not np.any(sde.correction(z, 0.0)[0])


MODEL = TARGET.model(VP, "noise")


def test_impossible_reverse_sdes_are_refused_in_a_sentence() -> None:
    with pytest.raises(ProcessError, match=r"eta = -0.5, expected a finite number of at least 0"):
        ReverseSDE(VP, MODEL, -0.5)
    with pytest.raises(ProcessError, match="eta = 'full'"):
        ReverseSDE(VP, MODEL, "full")  # type: ignore[arg-type]
    with pytest.raises(ProcessError, match=r"eta = -0.5 at t = 0.5"):
        ReverseSDE(VP, MODEL, lambda t: -t).drift(state(1), 0.5)
    with pytest.raises(ModelError, match=r"without|as_model"):
        ReverseSDE(VP, lambda z, t: z)
    with pytest.raises(ModelError, match=r"the model belongs to VP.*pass model.process"):
        ProbabilityFlow(PSLD, MODEL)


def test_states_that_do_not_fit_are_refused_in_a_sentence() -> None:
    sde = ReverseSDE(VP, MODEL)
    with pytest.raises(ModelError, match=r"the state has 2 array\(s\), expected 1"):
        sde.drift(state(2), 0.5)
    with pytest.raises(ModelError, match=r"the state is a ndarray, expected a tuple of 1 array"):
        sde.drift(state(1)[0], 0.5)
    with pytest.raises(GridError, match=r"t = 1.2 lies outside the forward times"):
        sde.drift(state(1), 1.2)
    with pytest.raises(GridError, match=r"t = -0.1 lies outside"):
        sde.diffusion(-0.1)
    with pytest.raises(ModelError, match="int64"):
        sde.drift((np.ones((3, 2), dtype=np.int64),), 0.5)
    two = ReverseSDE(PSLD, TARGET.model(PSLD, "score"))
    with pytest.raises(ModelError, match="one shape for all"):
        two.drift((np.ones((3, 2)), np.ones((2, 2))), 0.5)
    (tensor,) = as_library("torch", state(1))
    with pytest.raises(BackendError, match="numpy and torch were mixed"):
        two.drift((state(1)[0], tensor), 0.5)
    (array,) = as_library("jax", state(1))
    with pytest.raises(BackendError, match="jax and torch were mixed"):
        sde.drift((tensor,), array[0, 0])


def test_a_score_of_too_few_components_is_refused() -> None:
    class Half:
        process, predicts = PSLD, "score"

        def __call__(self, z: Any, t: float) -> Any:
            return z[:1]

    with pytest.raises(ModelError, match=r"1 component\(s\) of the score, expected 2"):
        ReverseSDE(PSLD, Half()).drift(state(2), 0.5)


def test_impossible_general_sdes_are_refused_in_a_sentence() -> None:
    with pytest.raises(ProcessError, match="Did you mean 'stratonovich'"):
        gbm("stratonovitch")
    with pytest.raises(ProcessError, match="Did you mean 'additive'"):
        gbm(noise="aditive")
    with pytest.raises(ProcessError, match="diffusion is a float, expected a function"):
        GeneralSDE(lambda z, t: z, 0.5)  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="numpy cannot differentiate"):
        gbm().correction(state(1), 0.0)
    with pytest.raises(GridError, match=r"outside the times \[0, 1\]"):
        gbm(times=(0.0, 1.0)).drift(state(1), 2.0)
    with pytest.raises(ModelError, match=r"drift returned shape \(4,\), expected"):
        GeneralSDE(lambda z, t: z[0][:, 0], lambda z, t: z).drift(state(1), 0.0)
    with pytest.raises(ProcessError, match=r"expected a matrix \(1, k\)"):
        GeneralSDE(lambda z, t: z, lambda t: 1.0, noise="additive").diffusion(0.0)
