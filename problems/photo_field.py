"""A Gaussian random field with the spectrum of two photographs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from sgmsolve.problems.base import Problem, View

from sgmsolve.errors import SgmsolveError, TargetError
from sgmsolve.process import VP

SIZE = 64
SIZES = (8, 1024)
RINGS = 20
WINDOWS = (3, 5)
LUMA = (0.299, 0.587, 0.114)


@lru_cache(maxsize=1)
def photographs() -> tuple[np.ndarray, ...]:
    """scikit-learn's china and flower, (427, 640, 3) float64 each, scaled to [-1, 1]."""
    try:
        from sklearn.datasets import load_sample_images

        images = load_sample_images().images
    except ImportError:
        msg = (
            "the problems 'photo-field' and 'photo-patches' read two photographs that come with "
            "scikit-learn, through Pillow; one of the two is not installed; run: "
            "pip install 'sgmsolve[lab]'."
        )
        raise SgmsolveError(msg) from None
    return tuple(np.asarray(image, dtype=np.float64) / 127.5 - 1 for image in images)


def planes(channels: int) -> list[np.ndarray]:
    """The photographs as (channels, h, w): red, green, blue, or one plane of luma (BT.601)."""
    if channels == 3:
        return [np.moveaxis(image, -1, 0) for image in photographs()]
    return [(image @ np.array(LUMA))[None] for image in photographs()]


@lru_cache(maxsize=2)
def ring_power(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies (RINGS,) in cycles per pixel, power density (channels, RINGS)) of the photos.

    Each photograph is cut into WINDOWS squares half as high as itself that overlap by half, freed
    of their means and tapered with a Hann window, whose smooth ends keep the edges from leaking
    power into the high frequencies. The periodograms' average over squares and photographs is
    averaged once more over rings of equal width in log frequency.
    """
    total: Any = 0.0
    for plane in planes(channels):
        n = plane.shape[1] // 2
        window = np.outer(np.hanning(n), np.hanning(n))
        for i, j in np.ndindex(*WINDOWS):
            top, left = (
                at * (size - n) // (count - 1)
                for at, size, count in zip((i, j), plane.shape[1:], WINDOWS, strict=True)
            )
            square = plane[:, top : top + n, left : left + n]
            mean = (window * square).sum(axis=(1, 2), keepdims=True) / window.sum()
            power = np.abs(np.fft.fft2(window * (square - mean))) ** 2
            total = total + power / (window**2).sum()
    total = total / (len(photographs()) * np.prod(WINDOWS))
    vertical, horizontal = np.meshgrid(np.fft.fftfreq(n), np.fft.fftfreq(n), indexing="ij")
    f = np.hypot(vertical, horizontal)
    # The window mixes neighbouring frequencies: below two of them the mean's removal shows.
    edges = np.geomspace(2 / n, f.max(), RINGS + 1) * (1 - 1e-9) ** np.linspace(1, -1, RINGS + 1)
    ring = np.digitize(f.ravel(), edges)
    count = np.bincount(ring, minlength=RINGS + 2)[1:-1]
    rings = [np.bincount(ring, plane.ravel(), RINGS + 2)[1:-1] / count for plane in total]
    centre = np.exp(np.bincount(ring, np.log(np.maximum(f, 1e-9)).ravel(), RINGS + 2)[1:-1] / count)
    return centre, np.array(rings)


def spectrum(size: int = SIZE, channels: int = 1) -> np.ndarray:
    """Variance (size, size) or (3, size, size) of each Fourier mode, in FFT order.

    The rings' power, interpolated in log frequency and log power; below the lowest ring it goes on
    as the power law that fits all rings, and the zero frequency has the power of 1 / size. Scaled
    to the variance that pixels of the photographs have, channel by channel.
    Raises: TargetError for sizes outside 8 to 1024 or channels other than 1 and 3.
    """
    _check(size, channels)
    centre, power = ring_power(channels)
    vertical, horizontal = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    log_f = np.log(np.maximum(np.hypot(vertical, horizontal), 1 / size))
    out = []
    variances = np.mean([p.var(axis=(1, 2)) for p in planes(channels)], axis=0)
    for row, variance in zip(np.log(power), variances, strict=True):
        at = np.interp(log_f, np.log(centre), row)
        slope = np.polyfit(np.log(centre), row, 1)[0]
        made = np.exp(at + slope * np.minimum(0.0, log_f - np.log(centre[0])))
        out.append(variance * made / made.mean())
    return np.array(out[0] if channels == 1 else out)


def make_target(size: int = SIZE, channels: int = 1) -> Any:
    """The field of size x size pixels around the photographs' mean colour.

    Channels are independent of each other, unlike those of photographs.
    """
    from sgmsolve.target import GaussianField

    power = spectrum(size, channels)
    mean = np.mean([p.mean(axis=(1, 2)) for p in planes(channels)], axis=0)
    shape = power.shape
    return GaussianField(shape, power, mean.reshape((-1, 1, 1)) if channels == 3 else mean[0])


def sized(size: int, channels: int = 1) -> Problem:
    """The same problem at another resolution (8 to 1024) or in colour (channels = 3)."""
    _check(size, channels)
    shape = (size, size) if channels == 1 else (channels, size, size)
    return PROBLEM.replace(
        make_target=lambda: make_target(size, channels),
        shape=shape,
        facts={
            **PROBLEM.facts,
            "Dimension": f"{channels * size * size} ({' × '.join(map(str, shape))})",
        },
    )


def _check(size: int, channels: int) -> None:
    if not SIZES[0] <= size <= SIZES[1] or channels not in (1, 3):
        msg = (
            f"photo-field was asked for size {size} with {channels} channels, expected a size of "
            f"{SIZES[0]} to {SIZES[1]} and 1 channel or 3."
        )
        raise TargetError(msg)


PROBLEM = Problem(
    name="photo-field",
    title="The spectrum of photographs",
    shows=(
        "Gaussian fields with the power spectrum of two photographs, a Chinese temple and a "
        "flower: near to 1/f² but steeper where the lens blurs, with 2.6 times the condition "
        "number of the model spectrum of field. What preconditioners measure in images is "
        "there, and errors are still exact in each of the 4096 Fourier modes. Other sizes, and "
        "three channels: sgmsolve.problems.photo_field.sized(256, 3)."
    ),
    make_target=make_target,
    process=VP(),
    shape=(SIZE, SIZE),
    t_end=1e-3,
    grid="log-snr",
    exact=True,
    starts=16,
    view=View("image", -1.5, 1.5, count=6),
    facts={
        "Target": "stationary Gaussian field, power of photographs averaged over rings",
        "Dimension": f"{SIZE * SIZE} ({SIZE} × {SIZE})",
        "Data": "scikit-learn's load_sample_images (china.jpg, flower.jpg, CC BY 2.0)",
    },
)
