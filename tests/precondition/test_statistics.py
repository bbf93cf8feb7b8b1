"""Statistics of images, of Gaussians and of folders."""

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import torch

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import PDS, Statistics, folder_statistics, pca
from sgmsolve.target import GaussianField


def images(shape, n=150, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (n, *shape))


@pytest.mark.parametrize("shape", [(2, 5, 6), (4, 7)])
def test_statistics_are_means_over_images(shape):
    x = images(shape)
    found = Statistics.from_images(x)
    power = (np.abs(np.fft.fft2(x)) ** 2).mean(0)
    np.testing.assert_allclose(found.power, power, rtol=1e-10)
    np.testing.assert_allclose(found.second, (x**2).mean(0), rtol=1e-13)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-13)
    assert (found.count, found.low, found.high) == (150, x.min(), x.max())
    mirrored = np.roll(found.power[..., ::-1, ::-1], 1, axis=(-2, -1))
    np.testing.assert_array_equal(found.power, mirrored)
    # The stationary Gaussian with this power: what GaussianField takes.
    centred = np.abs(np.fft.fft2(x - x.mean(0), norm="ortho")) ** 2
    np.testing.assert_allclose(found.spectrum, centred.mean(0), rtol=1e-9)
    GaussianField(shape, found.spectrum, found.mean)


def test_batches_and_libraries_count_the_same():
    x = images((2, 4, 6))
    whole = Statistics.from_images(x)
    for parts in (
        (torch.from_numpy(b) for b in np.array_split(x, 4)),
        [x[:1], x[1:]],
        jnp.asarray(x),
    ):
        found = Statistics.from_images(parts)
        np.testing.assert_allclose(found.power, whole.power, rtol=1e-12)
        assert found.count == 150


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([], "no images were given"),
        (np.zeros((3, 4)), r"expected \(n, H, W\) or \(n, C, H, W\)"),
        ([np.zeros((3, 4, 4)), np.zeros((3, 4, 5))], r"\(4, 5\), those before had \(4, 4\)"),
        (np.full((3, 4, 4), np.inf), "NaN or Inf"),
        (5, "images is a int, expected an array"),
        (["a", "b"], "no array of real numbers"),
        (np.float64(1), r"images have shape \(\)"),
    ],
)
def test_images_that_are_refused(given, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        Statistics.from_images(given)


def test_statistics_hold_one_shape():
    with pytest.raises(PreconditionError, match=r"\(4, 4\), \(4, 4\) and \(4, 3\); expected one"):
        Statistics(np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 3)), 1, 0.0, 1.0)


def even(power):
    return (power + np.roll(power[..., ::-1, ::-1], 1, axis=(-2, -1))) / 2


@pytest.mark.parametrize("shape", [(2, 5, 6), (4, 4)])
def test_statistics_of_a_field_are_exact(shape):
    rng = np.random.default_rng(0)
    field = GaussianField(shape, even(rng.uniform(0.1, 2, shape)), rng.standard_normal(shape))
    exact = Statistics.of_gaussian(field)
    # E |F x|^2 is the diagonal of F (covariance + mean mean^T) F^H, by dense matrices.
    dim, (mean, covariance) = np.prod(shape), field.moments()
    f = np.fft.fft2(np.eye(dim).reshape(dim, *shape)).reshape(dim, dim).T
    second = covariance.matrix() + np.outer(mean, mean)
    np.testing.assert_allclose(
        exact.power.reshape(-1), np.einsum("ki,ij,kj->k", f, second, f.conj()).real, rtol=1e-12
    )
    np.testing.assert_allclose(exact.second.reshape(-1), np.diag(second), rtol=1e-12)
    again = Statistics.of_gaussian(field.eigenvalues.reshape(shape), field.mean)
    np.testing.assert_allclose(again.power, exact.power, rtol=1e-13)
    np.testing.assert_allclose(exact.spectrum.reshape(-1), field.eigenvalues, rtol=1e-10)


def test_statistics_of_a_field_are_those_of_its_images():
    field = GaussianField.power_law((2, 6, 5), 2.0, variance=0.04, mean=0.5)
    n = 20_000
    exact, drawn = Statistics.of_gaussian(field), Statistics.from_images(field.sample(n, 0))
    # |F x|^2 has a standard deviation of at most sqrt(2) times its mean.
    np.testing.assert_allclose(drawn.power, exact.power, rtol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(drawn.second, exact.second, rtol=5 * np.sqrt(2 / n))
    made = PDS.from_spectrum(field, filters=("frequency", "space"))
    sampled = PDS.from_images(field.sample(n, 0), filters=("frequency", "space"), data_range=None)
    np.testing.assert_allclose(made.frequency, sampled.frequency, atol=2e-3)
    np.testing.assert_allclose(made.space, sampled.space, atol=5e-3)
    by_array = PDS.from_spectrum(field.eigenvalues.reshape(2, 6, 5), 0.5)
    np.testing.assert_allclose(by_array.frequency, made.frequency, rtol=1e-12)


def test_a_range_is_mapped_exactly():
    x = images((2, 4, 5), 7)
    found = Statistics.from_images(3 * x - 1).mapped((-1, 2), (0, 1))
    direct = Statistics.from_images(x)
    for name in ("power", "second", "mean"):
        np.testing.assert_allclose(getattr(found, name), getattr(direct, name), rtol=1e-12)
    np.testing.assert_allclose([found.low, found.high], [direct.low, direct.high], atol=1e-14)
    field = GaussianField.power_law((6, 6), variance=0.05, mean=-0.2)
    mapped = PDS.from_spectrum(field, filters=("frequency", "space"), data_range=(-1, 1))
    by_hand = PDS.from_spectrum(
        field.eigenvalues.reshape(6, 6) / 4, 0.4, filters=("frequency", "space")
    )
    np.testing.assert_allclose(mapped.frequency, by_hand.frequency, rtol=1e-12)
    np.testing.assert_allclose(mapped.space, by_hand.space, rtol=1e-12)
    same = PDS.from_images(2 * x - 1, data_range=(-1, 1))
    np.testing.assert_allclose(same.frequency, PDS.from_images(x).frequency, rtol=1e-12)
    with pytest.raises(PreconditionError, match=r"from -0\.99.* expected 0 to 1"):
        PDS.from_images(2 * x - 1)


def test_statistics_of_principal_components_are_those_of_the_images():
    x = images((2, 4, 5), 60)
    fit, found = pca(x), Statistics.from_images(x)
    exact = Statistics.of_gaussian(fit)
    np.testing.assert_allclose(exact.power, found.power, rtol=1e-10)
    np.testing.assert_allclose(exact.second, found.second, rtol=1e-10)


@pytest.mark.parametrize(
    ("spectrum", "mean", "sentence"),
    [
        (-np.ones((4, 4)), 0.0, "smallest entry -1"),
        (np.ones((4, 3)), np.ones(4), r"mean has shape \(4,\)"),
        (np.ones(4), 0.0, "spectrum|H, W"),
        (-np.ones((4, 4)), 0.0, r"in the shape \(4, 4\); complete"),
        (np.arange(16.0).reshape(4, 4), 0.0, "differs between k and -k"),
    ],
)
def test_spectra_that_are_refused(spectrum, mean, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        Statistics.of_gaussian(spectrum, mean)


def test_large_gaussians_in_other_modes_are_refused():
    fit = pca(np.random.default_rng(0).standard_normal((4, 65, 64)))
    with pytest.raises(PreconditionError, match="draw images from it"):
        PDS.from_spectrum(fit)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(7):
        write(tmp_path / f"{i % 2}" / f"{i}.png", rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    (tmp_path / "labels.csv").write_text("0,1")
    write(tmp_path / ".thumbs" / "small.png", np.zeros((2, 2), dtype=np.uint8))
    return tmp_path


def loaded(folder):
    files = sorted(p for p in folder.rglob("[0-9].png"))
    return np.stack([np.moveaxis(np.asarray(PIL.Image.open(p)), -1, 0) for p in files]) / 255


def test_a_folder_is_the_array_of_its_images(folder):
    found, whole = folder_statistics(folder), Statistics.from_images(loaded(folder))
    np.testing.assert_allclose(found.power, whole.power, rtol=1e-12)
    np.testing.assert_allclose(found.second, whole.second, rtol=1e-12)
    assert (found.count, found.shape, found.skipped) == (7, (3, 6, 8), ())
    some = folder_statistics(folder, limit=3)
    assert some.count == 3
    np.testing.assert_array_equal(some.power, folder_statistics(folder, limit=3).power)


def test_unreadable_images_are_named_and_skipped_when_asked(folder):
    content = (folder / "0" / "0.png").read_bytes()
    (folder / "0" / "cut.png").write_bytes(content[:150])
    (folder / "text.jpg").write_text("no image")
    with pytest.raises(PreconditionError, match=r"cut\.png cannot be read .*--skip-bad"):
        folder_statistics(folder)
    found = folder_statistics(folder, skip_bad=True)
    assert found.count == 7
    assert [name.rsplit("/", 1)[-1] for name in found.skipped] == ["cut.png", "text.jpg"]
    assert folder_statistics(folder, skip_bad=True, limit=7).count == 7  # skipped ones are replaced


def test_images_of_other_kinds_are_converted_when_asked(folder, tmp_path):
    write(folder / "z.png", np.full((6, 8), 51, dtype=np.uint8))
    with pytest.raises(PreconditionError, match=r"z\.png is grey, .*channels=3"):
        folder_statistics(folder)
    assert folder_statistics(folder, channels=1).shape == (1, 6, 8)
    found = folder_statistics(folder, channels=3)
    np.testing.assert_allclose(found.mean, (loaded(folder).sum(0) + 0.2) / 8, rtol=1e-12)
    write(folder / "zz.png", np.zeros((8, 8, 3), dtype=np.uint8))
    with pytest.raises(PreconditionError, match=r"zz\.png has 8 x 8 pixels, but .* 6 x 8"):
        folder_statistics(folder, channels=3)
    assert folder_statistics(folder, 4, 3).shape == (3, 4, 4)
    assert folder_statistics(folder, (3, 4), 3).shape == (3, 3, 4)


def test_scaling_keeps_the_middle(tmp_path):
    pixels = np.zeros((4, 12, 3), dtype=np.uint8)
    pixels[:, 4:8] = 255
    write(tmp_path / "wide.png", pixels)
    assert folder_statistics(tmp_path, 4).mean.min() == 1.0


def test_sixteen_bits_are_kept(tmp_path):
    write(tmp_path / "deep.png", np.full((4, 4), 12345, dtype=np.uint16))
    found = folder_statistics(tmp_path)
    np.testing.assert_allclose(found.mean, 12345 / 65535, rtol=1e-6)
    assert found.shape == (1, 4, 4)
    assert folder_statistics(tmp_path, 2, 3).mean == pytest.approx(
        np.full((3, 2, 2), 12345 / 65535), rel=1e-6
    )


def test_grey_levels_of_an_unknown_range_are_refused(tmp_path):
    write(tmp_path / "long.tif", np.full((4, 4), 2**30, dtype=np.int32))
    with pytest.raises(PreconditionError, match=r"long\.tif cannot be read .*signed or 32-bit"):
        folder_statistics(tmp_path)
    write(tmp_path / "long.tif", np.full((4, 4), 12345, dtype=np.uint16))
    assert folder_statistics(tmp_path).mean == pytest.approx(np.full((1, 4, 4), 12345 / 65535))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 0}, "pixels such as 64"),
        ({"size": (1, 2, 3)}, "pixels such as 64"),
        ({"channels": 2}, r"1 \(grey\), 3 \(colour\)"),
        ({"limit": 0}, "at least 1 image"),
    ],
)
def test_bad_arguments_are_sentences(folder, arguments, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        folder_statistics(folder, **arguments)


def test_folders_without_images_are_sentences(tmp_path):
    with pytest.raises(PreconditionError, match="is no folder"):
        folder_statistics(tmp_path / "none")
    with pytest.raises(PreconditionError, match="is no folder"):
        folder_statistics("a\0b")
    with pytest.raises(PreconditionError, match="holds no image files"):
        folder_statistics(tmp_path)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(PreconditionError, match=r"none of the 1 image files .*a\.png"):
        folder_statistics(tmp_path, skip_bad=True)
