"""photo-field has the spectrum of the photographs, photo-patches are their pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sgmsolve.problems import find, photo_field, photo_patches

import sgmsolve
from sgmsolve.errors import SgmsolveError, TargetError


def grey() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    weights = np.array([0.299, 0.587, 0.114])
    return [image @ weights / 127.5 - 1 for image in load_sample_images().images]


@pytest.mark.parametrize("size", [32, 64, 128])
def test_the_spectrum_is_that_of_windows_of_the_photographs(size: int) -> None:
    """Other windows than the library's: many small ones, tapered by a sine; other averages."""
    taper = np.outer(*[np.sin(np.pi * (np.arange(size) + 0.5) / size)] * 2)
    total = np.zeros((size, size))
    count = 0
    for image in grey():
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
        for cut in windows[:: size // 2, :: size // 2].reshape(-1, size, size):
            cut = cut - (taper * cut).sum() / taper.sum()
            total += np.abs(np.fft.fft2(taper * cut)) ** 2 / (taper**2).sum()
            count += 1
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    made = photo_field.spectrum(size)
    ratios = []
    for low, high in ((3.5 / size, 0.15), (0.15, 0.3), (0.3, 0.5), (0.5, 0.71)):
        ring = (f >= low) & (f < high)
        ratios.append(made[ring].mean() / (total[ring].mean() / count))
    # One factor throughout: the density is the same, the pixel's variance is put in the modes.
    assert np.allclose(ratios / ratios[1], 1, atol=0.25)


def test_pixels_vary_around_the_mean_colour_as_in_the_photographs() -> None:
    variance = np.mean([image.var() for image in grey()])
    for size in (8, 64, 200):
        target = photo_field.make_target(size)
        assert np.isclose(np.mean(target.moments()[1].diagonal()), variance, rtol=1e-12)
        assert np.allclose(target.moments()[0], np.mean([image.mean() for image in grey()]))
    colour = photo_field.make_target(16, 3)
    images = photo_field.photographs()
    mean = np.mean([image.mean(axis=(0, 1)) for image in images], axis=0)
    assert np.allclose(colour.moments()[0], mean[:, None, None])
    power = photo_field.spectrum(16, 3).mean(axis=(1, 2))
    assert np.allclose(power, np.mean([i.var(axis=(0, 1)) for i in images], axis=0))


def test_the_spectrum_falls_and_its_condition_grows_with_the_size() -> None:
    conditions = []
    for size in (64, 512):
        power = photo_field.spectrum(size)
        assert np.array_equal(power, power.T)
        assert power[0, 0] == power[0, 1] == power.max()
        conditions.append(power.max() / power.min())
    assert 5e3 < conditions[0] < 7e3
    assert 1e6 < conditions[1] < 4e6


def test_other_sizes_are_problems_of_the_same_kind() -> None:
    problem = photo_field.sized(24, 3)
    assert problem.shape == problem.target.shape == (3, 24, 24)
    assert problem.name == "photo-field"
    assert problem.facts["Dimension"] == "1728 (3 × 24 × 24)"
    z = problem.marginal(2, problem.process.t_max, seed=0)
    plan = sgmsolve.build_plan(problem.process, "ddim", steps=3, **problem.grid_arguments)
    made = sgmsolve.solve(plan, problem.target.model(problem.process), z)
    assert np.all(np.isfinite(made.x))


@pytest.mark.parametrize(("size", "channels"), [(4, 1), (2048, 1), (64, 2)])
def test_other_sizes_are_refused(size: int, channels: int) -> None:
    with pytest.raises(TargetError, match=f"size {size} with {channels} channels, expected"):
        photo_field.sized(size, channels)


def test_patches_are_the_photographs_cut_up() -> None:
    cut = photo_patches.patches()
    china, flower = grey()
    assert cut.shape == (2080, 16, 16)
    assert np.allclose(cut[0], china[:16, :16])
    assert np.allclose(cut[41], china[16:32, 16:32])
    assert np.allclose(cut[1040 + 40 * 25 + 39], flower[400:416, 624:640])
    assert len(np.unique(cut.reshape(2080, -1), axis=0)) > 2070
    target = find("photo-patches").target
    assert np.array_equal(target.data, cut)
    assert target.bandwidth == 0.1


def test_without_the_photographs_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    photo_field.photographs.cache_clear()
    with pytest.raises(SgmsolveError, match=r"Pillow; .* pip install 'sgmsolve\[lab\]'"):
        photo_field.photographs()
