"""Gaussian fields against the same law as a dense Gaussian."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sgmsolve.process import EDM, VP
from sgmsolve.target import FourierTransform, Gaussian, GaussianField, TargetError


def circulant(power):
    """Covariance matrix of the field with this spectrum, from its covariance function."""
    h, w = power.shape
    function = np.real(np.fft.ifft2(power))
    i, j = np.divmod(np.arange(h * w), w)
    return function[(i[:, None] - i) % h, (j[:, None] - j) % w]


def symmetric_power(h, w, seed=0):
    power = np.random.default_rng(seed).uniform(0.2, 3, (h, w))
    return (power + np.roll(power[::-1, ::-1], 1, axis=(0, 1))) / 2


SIZES = [(6, 5), (5, 6), (4, 4), (3, 7), (1, 4), (5, 1)]


@pytest.mark.parametrize("size", SIZES)
def test_field_is_the_dense_gaussian(size, process, t):
    power = symmetric_power(*size)
    mean = np.random.default_rng(1).standard_normal(size)
    field, dense = GaussianField(size, power, mean), Gaussian(mean, circulant(power))
    x = dense.sample(3, 2)
    for one, other in (
        (field.moments()[1].matrix(), circulant(power)),
        (field.moments()[1].diagonal(), np.diag(circulant(power))),
        (field.log_prob(x), dense.log_prob(x)),
        (field.predict("data", x, t, process), dense.predict("data", x, t, process)),
        (field.predict("noise", x, t, process), dense.predict("noise", x, t, process)),
        (field.flow_map(x, t, t / 2, process), dense.flow_map(x, t, t / 2, process)),
    ):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
    lam, m, count = field.modes()
    dense_lam = np.linalg.eigvalsh(circulant(power))
    np.testing.assert_allclose(np.repeat(lam, count), dense_lam, rtol=1e-10)
    assert (count * m**2).sum() == pytest.approx((mean**2).sum(), rel=1e-12)
    # Every mode by itself: m and lam belong together.
    inverse = np.linalg.inv(circulant(power))
    quadratic = mean.reshape(-1) @ inverse @ mean.reshape(-1)
    assert (count * m**2 / lam).sum() == pytest.approx(quadratic, rel=1e-10)


@pytest.mark.parametrize("shape", [(6, 5), (2, 3, 4), (1, 1, 7)])
def test_fourier_transform_is_orthogonal(shape):
    transform, x = FourierTransform(shape), np.random.default_rng(0).standard_normal((2, *shape))
    c = transform.forward(x)
    np.testing.assert_allclose((c**2).sum(1), (x**2).reshape(2, -1).sum(1), rtol=1e-13)
    np.testing.assert_allclose(transform.inverse(c), x, atol=1e-14)
    for library in (torch.from_numpy, jnp.asarray):
        np.testing.assert_allclose(np.asarray(transform.forward(library(x))), c, atol=1e-13)
    gains = np.broadcast_to(symmetric_power(*shape[-2:]), shape).reshape(-1)
    filtered = transform.filter(x, transform.native(gains))
    np.testing.assert_allclose(filtered, transform.inverse(gains * c), atol=1e-13)
    assert not np.iscomplexobj(filtered)


def test_equal_modes_are_grouped():
    lam, m, count = GaussianField.power_law((8, 8), mean=0.5).modes()
    assert lam.size < 20
    assert count.sum() == 64
    assert np.count_nonzero(m) == 1  # a constant mean lives in one mode
    assert m.max() == pytest.approx(0.5 * 8, rel=1e-14)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 3.0])
def test_power_law(exponent):
    field = GaussianField.power_law((3, 16, 12), exponent, variance=0.7)
    assert field.moments()[1].trace() / field.dim == pytest.approx(0.7, rel=1e-13)
    lam = field.eigenvalues.reshape(3, 16, 12)
    assert lam[1, 1, 0] / lam[1, 4, 0] == pytest.approx(4**exponent, rel=1e-12)
    assert lam[0, 0, 3] / lam[0, 4, 0] == pytest.approx(1, rel=1e-12)  # the same cycles per pixel
    assert lam[0, 0, 0] == lam[0, 1, 0]


def test_a_large_field_never_forms_a_matrix():
    field = GaussianField.power_law((256, 255))
    x = field.sample(1, 0, torch, dtype=torch.float32)
    out = field.model(VP(), "noise")((x,), 0.4)[0]
    assert out.shape == x.shape
    assert out.dtype == torch.float32


def test_spectrum_as_a_function_and_per_channel():
    by_function = GaussianField((6, 5), lambda fy, fx: 1 / (0.1 + fy**2 + 2 * fx**2))
    fy, fx = np.meshgrid(np.fft.fftfreq(6), np.fft.fftfreq(5), indexing="ij")
    by_array = GaussianField((6, 5), 1 / (0.1 + fy**2 + 2 * fx**2))
    np.testing.assert_allclose(by_function.eigenvalues, by_array.eigenvalues, rtol=1e-14)
    powers = np.stack([symmetric_power(4, 5, 1), symmetric_power(4, 5, 2)])
    both = GaussianField((2, 4, 5), powers)
    x = both.sample(2, 0)
    for c in range(2):
        alone = GaussianField((4, 5), powers[c]).score(x[:, c], 0.5, EDM())
        np.testing.assert_allclose(both.score(x, 0.5, EDM())[:, c], alone, rtol=1e-12)
    np.testing.assert_allclose(both.moments()[1].diagonal()[20:], powers[1].mean(), rtol=1e-13)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GaussianField((4,), np.ones(4)), r"\(H, W\)"),
        (lambda: GaussianField((4, 0), np.ones((4, 1))), "at least 1"),
        (lambda: GaussianField((4, 4), np.ones((4, 3))), "half spectrum"),
        (lambda: GaussianField((4, 4), np.arange(16.0).reshape(4, 4)), "mean of both"),
        (lambda: GaussianField((4, 4), -np.ones((4, 4))), "at least 0"),
        (lambda: GaussianField((4, 4), np.ones((4, 4)), np.zeros((2, 4, 4))), "mean has shape"),
        (lambda: GaussianField.power_law((4, 4), variance=0), "number > 0"),
    ],
)
def test_bad_input(build, words):
    with pytest.raises(TargetError, match=words):
        build()
