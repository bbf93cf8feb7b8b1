"""Kinds of prediction in phase space, and every number type."""

import itertools

import mpmath as mp
import numpy as np
import pytest
from phase_cases import CASES, reference

from sgmsolve.errors import ProcessError
from sgmsolve.process import CLD, PSLD, AugmentedProcess

FACTORS = ("lower", "upper", "rotation-free")
NOISES = [f"noise:{f}{end}" for f in FACTORS for end in ("", ":dsm")]
KINDS = ["score", "data", *NOISES]
LAW = 0.6, 0.25  # mean and variance of the data
POINT = np.array([0.3, -0.8])


def predictions(process, t):
    """Every kind at POINT for Gaussian data, each by conditioning a joint Gaussian law.

    With y = (x0, v0) and z = Psi y + n: E[q | z] = mean + Cov(q, z) Cov(z)^-1 (z - mu).
    """
    psi = process.flow(0.0, t)
    mean = np.array([LAW[0], 0.0])
    prior = process.initial_covariance + np.diag([LAW[1], 0.0])
    marginal = psi @ prior @ psi.T + process.transition(0.0, t)[1]
    inside = np.linalg.solve(marginal, POINT - psi @ mean)
    found = {"score": -inside, "data": mean + prior @ psi.T @ inside}
    for kind in NOISES:
        # Cov(eps, z) = L^T: z is the mean given x0 (or y) plus L eps, eps independent of it.
        kernel = "dsm" if kind.endswith("dsm") else "hsm"
        found[kind] = process.factor(kind.split(":")[1], t, kernel).T @ inside
    return found


@pytest.mark.parametrize("name", ["psld", "cld", "underdamped", "equal", "overdamped"])
def test_conversions_against_conditioning(name):
    process = CASES[name]
    for t in (0.02, 0.3, 0.7):
        exact = predictions(process, t)
        for source, target in itertools.product(KINDS, KINDS):
            a, b = process.conversion(source, target, t)
            got = a @ POINT + b @ exact[source]
            # data -> score divides by the noise, of which there is little where the flow is fast.
            size = np.abs(b).max() * np.abs(exact[source]).max() + np.abs(a).max()
            tolerance = 1e-13 * (size + 1) + 1e-12 * np.abs(exact[target]).max()
            np.testing.assert_allclose(got, exact[target], atol=tolerance, rtol=0)


def test_tweedie_with_either_covariance():
    """Component 0 of the data prediction may use Sigma in place of Q; the other one may not."""
    process, t = PSLD(), 0.15
    score = predictions(process, t)["score"]
    back = process.flow(t, 0.0)
    a, b = process.conversion("score", "data", t)
    other = back @ (POINT + process.covariance(t) @ score)
    data = a @ POINT + b @ score
    assert data[0] == pytest.approx(other[0], abs=1e-13)
    assert other[1] == pytest.approx(0.0, abs=1e-13)
    assert abs(data[1]) > 4e-3


def test_lower_noise_as_written_out_in_section_2_4():
    process, t = PSLD(), 0.2
    (xx, xm), (_, mm) = process.covariance(t)
    delta = xx * mm - xm * xm
    first, second = 0.7, -1.1
    a, b = process.conversion("noise:lower", "score", t)
    momentum = -np.sqrt(xx / delta) * second
    position = -first / np.sqrt(xx) + xm / (np.sqrt(xx) * np.sqrt(delta)) * second
    np.testing.assert_allclose(b @ [first, second], [position, momentum], rtol=1e-12)
    assert not a.any()
    _, b = process.conversion("noise:upper", "score", t)
    position = -np.sqrt(mm / delta) * first
    momentum = xm / (np.sqrt(mm) * np.sqrt(delta)) * first - second / np.sqrt(mm)
    np.testing.assert_allclose(b @ [first, second], [position, momentum], rtol=1e-12)


def test_noise_to_noise_is_a_rotation_at_small_times():
    for process in (PSLD(), CLD()):
        for source, target in itertools.permutations(("lower", "upper", "rotation-free"), 2):
            a, b = process.conversion(f"noise:{source}", f"noise:{target}", 1e-6)
            assert not a.any()
            np.testing.assert_allclose(b @ b.T, np.eye(2), atol=1e-11)
            assert np.linalg.det(b) == pytest.approx(1.0, abs=1e-11)


def test_same_kind_is_the_identity():
    for kind in KINDS:
        a, b = PSLD().conversion(kind, kind, 0.0)
        np.testing.assert_array_equal(a, np.zeros((2, 2)))
        np.testing.assert_array_equal(b, np.eye(2))


def test_sentences():
    process = PSLD()
    with pytest.raises(ProcessError, match=r"does not say which factor.*write noise:lower"):
        process.conversion("noise", "score", 0.5)
    with pytest.raises(ProcessError, match="Did you mean 'noise:lower'"):
        process.conversion("noise:lowr", "score", 0.5)
    with pytest.raises(ProcessError, match=r"unknown kind of prediction in phase space: 'flow'"):
        process.conversion("score", "flow", 0.5)
    for source, target in (("noise:lower", "score"), ("data", "score"), ("data", "noise:upper")):
        with pytest.raises(ProcessError, match="singular at t = 0"):
            process.conversion(source, target, 0.0)


TIMES = (1e-6, 0.013, 0.2, 0.5, 0.99)
PAIRS = (("noise:lower", "score"), ("score", "data"), ("noise:upper:dsm", "noise:rotation-free"))


def everything(process, t):
    """Every function of time, on numbers or on an array of times."""
    out = [process.F(t), process.G(t), process.loading(t), process.covariance(t)]
    out += [process.flow(0.5 * t, t), process.flow(t, 0.5 * t), *process.transition(0.5 * t, t)]
    for name in ("lower", "upper", "rotation-free"):
        out += [process.factor(name, t), process.inverse_factor(name, t, "dsm")]
    for source, target in PAIRS:
        out += process.conversion(source, target, t)
    return out


@pytest.mark.parametrize(
    ("library", "name"),
    [
        *(("numpy", name) for name in ("psld", "cld", "underdamped", "overdamped", "linear")),
        ("torch", "psld"),
        ("torch", "underdamped"),
        ("jax", "overdamped"),
    ],
)
def test_arrays_of_times(library, name):
    process = CASES[name]
    wanted = [np.stack(v) for v in zip(*(everything(process, t) for t in TIMES), strict=True)]
    if library == "jax":
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            found = jax.jit(lambda t: everything(process, t))(jax.numpy.asarray(TIMES))
    elif library == "torch":
        torch = pytest.importorskip("torch")
        found = everything(process, torch.tensor(TIMES, dtype=torch.float64))
    else:
        found = everything(process, np.array(TIMES))
    for got, exact in zip(found, wanted, strict=True):
        assert got.shape == exact.shape
        size = np.sqrt((exact**2).sum(axis=(-1,), keepdims=True))
        assert (np.abs(np.asarray(got) - exact) / (size + 1e-300)).max() < 1e-11


def test_shapes_and_dtypes_of_arrays():
    torch = pytest.importorskip("torch")
    t = torch.full((2, 3), 0.4, dtype=torch.float32)
    process = PSLD()
    for got in everything(process, t):
        assert got.dtype == torch.float32
        assert tuple(got.shape[:2]) == (2, 3)
    assert tuple(process.loading(t).shape) == (2, 3, 2)
    np.testing.assert_allclose(process.covariance(t)[0, 0], process.covariance(0.4), rtol=1e-5)


@pytest.mark.parametrize("name", ["psld", "cld", "overdamped", "linear"])
def test_mpmath_keeps_every_digit(name):
    process = CASES[name]
    tiny = mp.mpf("1e-37")
    with mp.workdps(40):
        for text in ("1e-8", "0.3"):
            t = mp.mpf(text)
            psi, noise = process.transition(0 * t, t)
            cov, lower = process.covariance(t), process.factor("lower", t)
            with mp.workdps(90):
                for kernel, found in (("hsm", cov), ("dsm", noise)):
                    exact_psi, exact = reference(process, text, kernel)
                    for i, j in ((0, 0), (0, 1), (1, 1)):
                        scale = mp.sqrt(exact[i, i] * exact[j, j])
                        assert abs(found[i, j] - exact[i, j]) < tiny * scale
                        assert abs(psi[i, j] - exact_psi[i, j]) < tiny
                root = mp.sqrt(mp.det(reference(process, text)[1]))
                assert abs(lower[0, 0] * lower[1, 1] / root - 1) < tiny
            assert {v.dtype for v in (process.F(t), process.G(t), process.loading(t))} == {
                np.dtype(object)
            }
            _, b = process.conversion("noise:lower", "data", t)
            _, again = process.conversion("data", "noise:lower", t)
            defect = again @ b - np.eye(2)
            assert max(abs(v) for v in defect.ravel()) < mp.mpf("1e-20")


def test_augmented_process_has_the_same_conversions():
    process = PSLD(0.3, 2.0, 3.0)
    same = AugmentedProcess(process.F(0.5), process.G(0.5), process.initial_covariance)
    for source, target in itertools.product(KINDS, KINDS):
        for t in (0.05, 0.6):
            wanted = process.conversion(source, target, t)
            for got, exact in zip(same.conversion(source, target, t), wanted, strict=True):
                np.testing.assert_allclose(got, exact, atol=1e-12 * (1 + np.abs(exact).max()))
