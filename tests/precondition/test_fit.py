"""Gaussian fits: from samples, statistics, targets, and from a model with no data at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sgmsolve.problems import find

from sgmsolve import EDM, PSLD, VE, VP, Gaussian, GaussianField, GaussianMixture, as_model
from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import (
    CosineTransform,
    FourierTransform,
    GaussianFit,
    IdentityTransform,
    Statistics,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 2, 5, 4)) * np.linspace(1, 3, 4) + 0.7


def covariance(fit):
    """Dense covariance of a fit."""
    columns = fit.transform.forward(np.eye(fit.transform.dim).reshape(-1, *fit.shape))
    return columns @ np.diag(fit.eigenvalues) @ columns.T


def test_principal_components_have_the_samples_moments():
    fit = GaussianFit.from_images(IMAGES)
    flat = IMAGES.reshape(40, -1)
    np.testing.assert_allclose(fit.mean, IMAGES.mean(axis=0), atol=1e-14)
    np.testing.assert_allclose(covariance(fit), np.cov(flat.T, ddof=0), atol=1e-12)


@pytest.mark.parametrize("name", ["fourier", "cosine", "pixel"])
def test_other_transforms_keep_the_variances_of_their_modes(name):
    fit = GaussianFit.from_images(IMAGES, name)
    kinds = {"fourier": FourierTransform, "cosine": CosineTransform, "pixel": IdentityTransform}
    assert isinstance(fit.transform, kinds[name])
    modes = fit.transform.forward(IMAGES - IMAGES.mean(axis=0))
    variances = (modes**2).mean(axis=0).reshape(fit.shape)
    if name == "fourier":
        variances = np.abs(np.fft.fft2(IMAGES - IMAGES.mean(axis=0), norm="ortho")) ** 2
        variances = variances.mean(axis=0)
    np.testing.assert_allclose(fit.eigenvalues, variances.reshape(-1), rtol=1e-12)
    again = GaussianFit.from_images(IMAGES, fit.transform)
    np.testing.assert_array_equal(again.eigenvalues, fit.eigenvalues)


def test_statistics_give_the_same_spectrum_as_the_images():
    found = Statistics.from_images(IMAGES)
    for name in ("fourier", "pixel"):
        fit, direct = (
            GaussianFit.from_statistics(found, name),
            GaussianFit.from_images(IMAGES, name),
        )
        np.testing.assert_allclose(fit.eigenvalues, direct.eigenvalues, rtol=1e-11)
        np.testing.assert_allclose(fit.mean, direct.mean, atol=1e-14)
    pictures = IMAGES / 20 + 0.4
    for name in ("fourier", "pixel"):
        mapped = GaussianFit.from_statistics(
            Statistics.from_images(pictures), name, model_range=(-1, 1)
        )
        direct = GaussianFit.from_images(2 * pictures - 1, name)
        np.testing.assert_allclose(mapped.eigenvalues, direct.eigenvalues, rtol=1e-10)
        np.testing.assert_allclose(mapped.mean, direct.mean, atol=1e-14)
    with pytest.raises(PreconditionError, match="unknown transform of statistics 'cosine'"):
        GaussianFit.from_statistics(found, "cosine")


def test_targets_give_their_moments():
    field = GaussianField.power_law((4, 6), mean=0.3)
    assert GaussianFit.from_target(field).transform is field.transform
    mixture = GaussianMixture([1, 2], RNG.standard_normal((2, 3)), np.array([0.1, 0.4]))
    fit = GaussianFit.from_target(mixture)
    mean, wanted = mixture.moments()
    np.testing.assert_allclose(covariance(fit), wanted.matrix(), atol=1e-12)
    np.testing.assert_allclose(fit.mean, mean)


@pytest.mark.parametrize("kind", ["data", "noise", "v"])
@pytest.mark.parametrize("process", [VP(), EDM(), VP.cosine()], ids=["vp", "edm", "cosine"])
def test_a_gaussians_model_gives_the_gaussian(process, kind):
    """Its denoiser is linear, so regression is exact, far below the noise of the probes."""
    field = GaussianField.power_law((6, 4), exponent=3.0, mean=-0.4)
    fit = GaussianFit.from_model(field.model(process, kind), (6, 4), probes=16)
    np.testing.assert_allclose(fit.eigenvalues, field.eigenvalues, rtol=1e-8)
    np.testing.assert_allclose(fit.mean, field.mean, atol=1e-9)


def test_one_noise_level_is_enough_for_a_gaussian():
    """Of noise below 3 standard deviations of the data a mode's gain and mean are still exact."""
    field = GaussianField.power_law((6, 4), exponent=2.0, variance=4.0, mean=1.5)
    fit = GaussianFit.from_model(field.model(VE(0.01, 3.0), "data"), (6, 4), probes=8)
    assert 3 * field.eigenvalues.max() ** 0.5 > 3.0  # no other level is looked at
    np.testing.assert_allclose(fit.eigenvalues, field.eigenvalues, rtol=1e-8)
    np.testing.assert_allclose(fit.mean, field.mean, rtol=1e-8)


def test_the_levels_that_are_probed_are_those_documented():
    """The highest, then 30, 10 and 3 standard deviations of the largest mode."""
    field, process, seen = GaussianField.power_law((6, 4), exponent=2.0), EDM(), []
    inner = field.model(process, "data")

    class Told:
        predicts = "data"

        def __call__(self, z, t):
            seen.append(float(process.rho(t)))
            return inner(z, t)

    Told.process = process
    GaussianFit.from_model(Told(), (6, 4), probes=8)
    scale = field.eigenvalues.max() ** 0.5
    highest = process.rho(process.largest_usable_time())
    wanted = [highest, *(r * scale for r in (30, 10, 3) if r * scale < highest)]
    assert len(wanted) == 4
    np.testing.assert_allclose(seen, np.repeat(wanted, 2), rtol=1e-8)  # pairs of probes


def test_all_of_a_covariance_from_a_model():
    factor = RNG.standard_normal((6, 6))
    target = Gaussian(RNG.standard_normal(6), factor @ factor.T + 0.01 * np.eye(6))
    fit = GaussianFit.from_model(target.model(EDM(), "data"), (6,), transform="full")
    np.testing.assert_allclose(covariance(fit), target.moments()[1].matrix(), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(fit.mean, target.mean, atol=1e-8)


def test_a_float32_model_of_torch_is_enough():
    field = GaussianField.power_law((6, 4), exponent=2.0, mean=0.5)
    seen = []

    class Single:
        process, predicts = EDM(), "data"

        def __call__(self, z, t):
            seen.append(z[0].dtype)
            return field.model(self.process, "data")(z, t)

    fit = GaussianFit.from_model(Single(), (6, 4), like=torch.zeros(1), probes=32)
    assert set(seen) == {torch.float32}
    np.testing.assert_allclose(fit.eigenvalues, field.eigenvalues, rtol=0.01)
    np.testing.assert_allclose(fit.mean, field.mean, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_of_torch_needs_no_like(dtype):
    class Net(torch.nn.Module):
        """The data prediction of N(0, I) under EDM: x / (1 + sigma^2)."""

        def __init__(self):
            super().__init__()
            self.mix = torch.nn.Linear(4, 4, bias=False, dtype=dtype)
            torch.nn.init.eye_(self.mix.weight)

        def forward(self, x, t):
            return self.mix(x) / (1 + t**2)

    net = Net()
    fit = GaussianFit.from_model(as_model(net, EDM(), predicts="data"), (4, 4), probes=16)
    np.testing.assert_allclose(fit.eigenvalues, 1, rtol=1e-2)
    hidden = as_model(lambda x, t: net(x, t), EDM(), predicts="data")
    with pytest.raises(PreconditionError, match=r"does not take a numpy array .* pass like="):
        GaussianFit.from_model(hidden, (4, 4), probes=16)


def test_real_pictures_by_their_denoiser_alone():
    """What the documentation says of the digits."""
    problem = find("digits")
    model, target = problem.target.model(problem.process, "data"), problem.target
    wanted = target.moments()[1].matrix()
    full = GaussianFit.from_model(model, (8, 8), transform="full")
    assert np.linalg.norm(covariance(full) - wanted) < 0.01 * np.linalg.norm(wanted)
    fourier = GaussianFit.from_model(model, (8, 8))
    true = GaussianFit.from_images(target.data, "fourier").eigenvalues + target.bandwidth**2
    ratio = fourier.eigenvalues / true
    assert 0.95 < np.median(ratio) < 1.05
    assert np.mean(np.abs(ratio - 1) < 0.2) > 0.75


def test_bad_input_is_a_sentence():
    good = GaussianFit.from_images(IMAGES)
    with pytest.raises(PreconditionError, match="start from -1, expected 40 variances"):
        GaussianFit(good.transform, -np.ones(40), good.mean)
    with pytest.raises(PreconditionError, match=r"shape \(3,\).* expected 40 variances"):
        GaussianFit(good.transform, np.ones(3), good.mean)
    with pytest.raises(PreconditionError, match=r"mean has shape \(3,\), expected a number or"):
        GaussianFit(good.transform, np.ones(40), np.ones(3))
    with pytest.raises(PreconditionError, match=r"Did you mean 'fourier'"):
        GaussianFit.from_images(IMAGES, "forier")
    with pytest.raises(PreconditionError, match=r"expected \(n, \*shape\) with n >= 2"):
        GaussianFit.from_images(IMAGES[:1], "pixel")
    with pytest.raises(PreconditionError, match=r"expected \(H, W\) or \(C, H, W\)"):
        GaussianFit.from_images(IMAGES.reshape(40, -1), "fourier")
    with pytest.raises(PreconditionError, match="NaN or Inf"):
        GaussianFit.from_images(np.full((3, 2), np.nan), "pixel")
    with pytest.raises(PreconditionError, match="transform is for samples of"):
        GaussianFit.from_images(IMAGES, IdentityTransform((3,)))
    field = GaussianField.power_law((6, 4))
    with pytest.raises(PreconditionError, match="probes = 1, expected a whole number"):
        GaussianFit.from_model(field.model(VP(), "data"), (6, 4), probes=1)
    with pytest.raises(PreconditionError, match="has no 'process', expected a wrapped model"):
        GaussianFit.from_model(lambda z, t: z, (6, 4))
    with pytest.raises(PreconditionError, match="process has 2 components"):
        GaussianFit.from_model(field.model(PSLD(), "score"), (6, 4))
    with pytest.raises(PreconditionError, match="'full' was asked of 4096 dimensions"):
        GaussianFit.from_model(field.model(VP(), "data"), (64, 64), transform="full")
