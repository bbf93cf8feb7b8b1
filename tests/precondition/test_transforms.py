"""Transforms against scipy, PyWavelets and dense matrices."""

import jax.numpy as jnp
import numpy as np
import pytest
import pywt
import torch
from scipy.fft import dctn

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import (
    CosineTransform,
    DenseTransform,
    FourierTransform,
    IdentityTransform,
    LowRankTransform,
    WaveletTransform,
    pca,
)

TRANSFORMS = {
    "pixel": lambda: IdentityTransform((2, 3, 4)),
    "fourier": lambda: FourierTransform((2, 5, 6)),
    "fourier odd": lambda: FourierTransform((3, 7)),
    "cosine": lambda: CosineTransform((2, 5, 6)),
    "cosine line": lambda: CosineTransform((1, 7)),
    "wavelet": lambda: WaveletTransform((2, 8, 12), "db2", 2),
    "haar": lambda: WaveletTransform((8, 8), "haar"),
    "dense": lambda: pca(samples((2, 3, 3), 40)).transform,
    "low rank": lambda: pca(samples((2, 3, 3), 12), 4).transform,
}

LIBRARIES = [
    (np.asarray, np.float32),
    (torch.asarray, np.float32),
    (torch.asarray, np.float64),
    (jnp.asarray, np.float32),
]
ON_JAX = ("fourier", "cosine", "wavelet", "low rank")  # compiling the others would show no more


def samples(shape, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, *shape)) * rng.uniform(0.5, 2, shape) + 1


def even(transform, values):
    """Eigenvalues that are symmetric under k -> -k where those of the transform must be."""
    if not isinstance(transform, FourierTransform):
        return values
    cube = values.reshape(transform.shape)
    return ((cube + np.roll(cube[..., ::-1, ::-1], 1, axis=(-2, -1))) / 2).reshape(-1)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_one_orthogonal_matrix(name):
    transform = TRANSFORMS[name]()
    dim, shape = transform.dim, transform.shape
    q = transform.forward(np.eye(dim).reshape(dim, *shape))
    np.testing.assert_allclose(q @ q.T, np.eye(dim), atol=1e-13)
    c = np.random.default_rng(1).standard_normal((3, dim))
    x = transform.inverse(c)
    np.testing.assert_allclose(x.reshape(3, dim), c @ q.T, atol=1e-13)
    lam = even(transform, np.random.default_rng(2).uniform(0.1, 3, dim))
    if name == "low rank":
        lam[4:] = lam[4]
    dense = q @ np.diag(lam) @ q.T
    filtered = transform.filter(x, transform.native(lam))
    np.testing.assert_allclose(filtered.reshape(3, dim), x.reshape(3, dim) @ dense, atol=1e-12)
    np.testing.assert_allclose(transform.pixel_variance(lam), np.diag(dense), atol=1e-13)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_libraries_and_precisions_agree(name):
    transform = TRANSFORMS[name]()
    x = samples(transform.shape, 2)
    c = transform.forward(x)
    lam = transform.native(even(transform, np.linspace(1, 2, transform.dim)))
    filtered = transform.filter(x, lam)
    for make, dtype in LIBRARIES if name in ON_JAX else LIBRARIES[:-1]:
        atol = 1e-12 if dtype == np.float64 else 1e-5
        y = make(x.astype(dtype))
        back = transform.inverse(make(c.astype(dtype)))
        through = transform.filter(y, make(lam.astype(dtype)))
        for got, wanted in ((transform.forward(y), c), (back, x), (through, filtered)):
            assert got.dtype == y.dtype
            np.testing.assert_allclose(np.asarray(got), wanted, atol=atol)


def test_cosine_is_scipys():
    x = samples((2, 7, 6), 3)
    wanted = dctn(x, axes=(-2, -1), norm="ortho")
    np.testing.assert_allclose(CosineTransform((2, 7, 6)).to_native(x), wanted, atol=1e-13)


@pytest.mark.filterwarnings("ignore:Level value:UserWarning:pywt")  # about sizes below the filter
@pytest.mark.parametrize(
    ("wavelet", "shape", "levels"),
    [("haar", (8, 8), 3), ("db2", (16, 8), 2), ("coif2", (24, 40), 2), ("db4", (4, 6), 1)],
)
def test_wavelets_are_pywavelets(wavelet, shape, levels):
    x = samples((2, *shape), 2)
    transform = WaveletTransform((2, *shape), wavelet, levels)
    parts = pywt.wavedec2(x, wavelet, "periodization", level=levels, axes=(-2, -1))
    wanted = pywt.coeffs_to_array(parts, axes=(-2, -1))[0]
    np.testing.assert_allclose(transform.to_native(x), wanted, atol=1e-10)


def test_wavelet_levels():
    assert WaveletTransform((64, 48), "haar").levels == 4  # 48 = 3 x 2^4
    assert (
        WaveletTransform((64, 64), "db4").levels == 3
    )  # the coarsest images as long as the filter
    assert WaveletTransform((4, 4), "db8").levels == 1
    for levels in (0, 3):
        with pytest.raises(PreconditionError, match=r"expected 1 to 2, as both .* 2\^levels"):
            WaveletTransform((12, 16), "haar", levels)
    with pytest.raises(PreconditionError, match="have 6 x 7 pixels, expected even sizes"):
        WaveletTransform((6, 7), "haar")


@pytest.mark.parametrize(
    ("wavelet", "sentence"),
    [("bior2.2", "not orthogonal"), ("dmey", "not orthogonal"), ("db99", "Did you mean 'db9'")],
)
def test_wavelets_that_are_refused(wavelet, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        WaveletTransform((8, 8), wavelet)


def test_wavelets_say_what_they_need(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pywt", None)
    with pytest.raises(PreconditionError, match=r"sgmsolve\[lab\]"):
        WaveletTransform((8, 8))


def test_pca_is_the_covariance():
    x = samples((2, 3), 50)
    fit = pca(x)
    flat = x.reshape(50, 6)
    covariance = np.cov(flat.T, bias=True)
    q = fit.transform.forward(np.eye(6).reshape(6, 2, 3))
    np.testing.assert_allclose(q @ np.diag(fit.eigenvalues) @ q.T, covariance, atol=1e-13)
    assert (np.diff(fit.eigenvalues) <= 0).all()
    np.testing.assert_allclose(fit.mean, x.mean(0), rtol=1e-13)
    assert isinstance(fit.transform, DenseTransform)


@pytest.mark.parametrize("n", [5, 50])
def test_pca_of_few_components_shares_what_is_left(n):
    x = samples((2, 3), n)
    k, all_modes, fit = 3, pca(x), pca(x, 3)
    assert isinstance(fit.transform, LowRankTransform)
    np.testing.assert_allclose(fit.eigenvalues[:k], all_modes.eigenvalues[:k], rtol=1e-12)
    np.testing.assert_allclose(fit.eigenvalues[k:], all_modes.eigenvalues[k:].mean(), rtol=1e-12)
    own = fit.transform.forward(x)[:, :k]
    theirs = all_modes.transform.forward(x)[:, :k]
    np.testing.assert_allclose(np.abs(own), np.abs(theirs), atol=1e-12)


def test_pca_of_large_images_forms_no_matrix():
    x = np.random.default_rng(0).standard_normal((6, 3, 32, 32))
    fit = pca(x)
    assert isinstance(fit.transform, LowRankTransform)
    centred = x - x.mean(0)
    assert fit.eigenvalues.sum() == pytest.approx((centred**2).sum() / 6, rel=1e-12)
    c = fit.transform.forward(centred)
    np.testing.assert_allclose((c[:, :5] ** 2).mean(0), fit.eigenvalues[:5], rtol=1e-10)
    np.testing.assert_allclose(c[:, 5:], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "components", "sentence"),
    [
        (np.zeros((1, 4)), None, "n >= 2"),
        (np.zeros((5, 4)), 4, "expected 1 to 3"),
        (np.zeros((3, 4)), 3, "expected 1 to 2"),
        (np.full((3, 4), np.nan), None, "NaN or Inf"),
    ],
)
def test_pca_refuses(x, components, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        pca(x, components)
