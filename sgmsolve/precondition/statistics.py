"""What PDS, TDAS and Gaussian fits need to know of a set of images, gathered in one pass."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks, masks
from sgmsolve.precondition.transform import FourierTransform

ENTRIES = 1 << 21  # of images in float64 at a time
LARGEST_BASIS = 4096
RANGE_SLACK = 1e-5  # rounding of float32 images


@dataclass(frozen=True)
class Statistics:
    """Second moments of images of one shape.

    Attributes:
        power: (*shape) mean |F x|^2 of the un-normalised 2-D FFT over the last two axes, zero
            frequency first, the mean image included; data units squared.
        second: (*shape) mean x^2.
        mean: (*shape) mean image.
        count: how many images; None for the exact moments of a Gaussian.
        low, high: smallest and largest value seen; infinite for a Gaussian.
        skipped: names of the files that could not be read.
    """

    power: np.ndarray
    second: np.ndarray
    mean: np.ndarray
    count: int | None
    low: float
    high: float
    skipped: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Raise PreconditionError for arrays of different shapes."""
        shapes = {np.shape(a) for a in (self.power, self.second, self.mean)}
        if len(shapes) != 1 or len(self.shape) < 2:
            msg = (
                f"power, second and mean have shapes {np.shape(self.power)}, "
                f"{np.shape(self.second)} and {np.shape(self.mean)}; expected one image's."
            )
            raise PreconditionError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W) or (C, H, W)."""
        return tuple(self.power.shape)

    @property
    def spectrum(self) -> np.ndarray:
        """(*shape) variance of each mode of the unitary FFT, as ``GaussianField`` takes it.

        (E |F x|^2 - |F mean|^2) / (H W), the stationary Gaussian with the power of the images;
        biased by 1 / count.
        """
        pixels = self.shape[-2] * self.shape[-1]
        static = np.abs(np.fft.fft2(self.mean)) ** 2
        variance = np.maximum(self.power - static, 0.0) / pixels
        return (variance + masks.mirror(variance)) / 2  # it is symmetric, up to rounding

    def mapped(self, old: tuple[float, float], new: tuple[float, float]) -> Statistics:
        """Statistics of the images with the range ``old`` mapped to ``new`` linearly, exactly.

        Of pictures in [-1, 1] as PDS takes them: ``mapped((-1, 1), (0, 1))``. Raises:
        PreconditionError for ranges other than (low, high), low < high.
        """
        (low, high), (bottom, top) = (_checks.interval(r, "a range") for r in (old, new))
        a = (top - bottom) / (high - low)
        b = bottom - a * low
        n = self.shape[-2] * self.shape[-1]
        total = self.mean.sum(axis=(-2, -1))
        power = a**2 * self.power
        power[..., 0, 0] += 2 * a * b * n * total + (b * n) ** 2
        second = a**2 * self.second + 2 * a * b * self.mean + b**2
        ends = a * self.low + b, a * self.high + b
        return Statistics(power, second, a * self.mean + b, self.count, *ends, self.skipped)

    def check_range(self, data_range: tuple[float, float]) -> None:
        """PreconditionError if images (not a Gaussian) had values outside ``data_range``."""
        if self.count is None:
            return
        low, high = _checks.interval(data_range, "data_range")
        slack = RANGE_SLACK * (high - low)
        if self.low < low - slack or self.high > high + slack:
            how = "divide by 255" if self.high > 2 * high else "pass (x + 1) / 2 for [-1, 1]"
            msg = (
                f"images have values from {self.low:g} to {self.high:g}, expected {low:g} to "
                f"{high:g}, on which the mask depends; {how}, or name their own data_range."
            )
            raise PreconditionError(msg)

    @classmethod
    def from_images(cls, images: Any) -> Statistics:
        """Statistics of an array (n, *shape), or of an iterable of such batches, read once.

        Arrays of numpy, torch or jax; *shape is (H, W) or (C, H, W). Raises: PreconditionError for
        no images, another number of axes, NaN or Inf, or batches of different shapes.
        """
        gathered = Accumulator()
        for batch in _batches(images):
            shape = tuple(getattr(batch, "shape", ()))
            if not shape:
                gathered.add(_checks.host(batch, "images"))
                continue
            rows = max(1, ENTRIES // max(1, math.prod(shape[1:])))
            for start in range(0, shape[0], rows):
                gathered.add(_checks.host(batch[start : start + rows], "images"))
        return gathered.result()

    @classmethod
    def of_gaussian(
        cls, spectrum: Any, mean: Any = 0.0, shape: Sequence[int] | None = None
    ) -> Statistics:
        """Exact statistics of a Gaussian: E |F x|^2 = n (variance + |mean's coefficient|^2).

        n = H W; variance and coefficient are those of the unitary FFT. spectrum: variances, (H, W)
        or (C, H, W), of a stationary field, or a Gaussian target (``transform``, ``eigenvalues``,
        ``mean``), whose own mean is taken; transforms other than the 2-D Fourier one up to 4096
        dimensions. mean: a number or what broadcasts to ``shape``, which the spectrum's is if left
        out. Raises: PreconditionError for negative or asymmetric variances and other shapes.
        """
        if hasattr(spectrum, "eigenvalues"):
            transform, variances = spectrum.transform, spectrum.eigenvalues
            size = _checks.sample_shape(transform.shape, 2, " for a spectrum")
            mu = _checks.host(spectrum.mean, "the mean")
        else:
            given = _checks.host(spectrum, "the spectrum")
            size = _checks.sample_shape(given.shape if shape is None else shape, 2)
            mu = _checks.host(mean, "the mean")
            transform, variances = FourierTransform(size), _stationary(given, size)
        try:
            mu = np.broadcast_to(mu, size)
        except ValueError:
            msg = f"the mean has shape {mu.shape}, expected a number or {size}; pass one of them."
            raise PreconditionError(msg) from None
        power = _expected_power(transform, variances) + np.abs(np.fft.fft2(mu)) ** 2
        power = (power + masks.mirror(power)) / 2  # it is symmetric, up to rounding
        second = transform.pixel_variance(variances).reshape(size) + mu**2
        return cls(power, second, mu.copy(), None, -math.inf, math.inf)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write to one npz file; PreconditionError for a path that cannot be written."""
        from sgmsolve.precondition.io import save_statistics

        return save_statistics(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Statistics:
        """What ``save`` wrote; PreconditionError for other files."""
        from sgmsolve.precondition.io import load_statistics

        return load_statistics(path)


class Accumulator:
    """Running sums in float64 over batches of images."""

    def __init__(self) -> None:
        self.count = 0
        self.low, self.high = math.inf, -math.inf
        self._sums: list[np.ndarray] = []

    def add(self, batch: np.ndarray) -> None:
        """Take in (n, *shape) float64 images."""
        if batch.ndim not in (3, 4):
            msg = (
                f"images have shape {batch.shape}, expected (n, H, W) or (n, C, H, W); add the "
                f"axis of images, or put channels before pixels."
            )
            raise PreconditionError(msg)
        if self._sums and batch.shape[1:] != self._sums[0].shape:
            msg = (
                f"a batch has images of shape {batch.shape[1:]}, those before had "
                f"{self._sums[0].shape}; expected one shape, crop or resize them first."
            )
            raise PreconditionError(msg)
        if not batch.size:
            return
        power = np.abs(np.fft.fft2(batch)) ** 2
        new = [power.sum(axis=0), (batch**2).sum(axis=0), batch.sum(axis=0)]
        old = self._sums or [np.zeros_like(total) for total in new]
        self._sums = [a + b for a, b in zip(old, new, strict=True)]
        self.count += len(batch)
        self.low = min(self.low, float(batch.min()))
        self.high = max(self.high, float(batch.max()))

    def result(self, skipped: Iterable[str] = ()) -> Statistics:
        """The means so far."""
        if not self.count:
            msg = "no images were given, expected at least one (about 200 make a good mask)."
            raise PreconditionError(msg)
        power, second, mean = (total / self.count for total in self._sums)
        even = (power + masks.mirror(power)) / 2  # it is, up to rounding
        return Statistics(even, second, mean, self.count, self.low, self.high, tuple(skipped))


def _batches(images: Any) -> Iterable[Any]:
    """The images as an iterable of batches."""
    if hasattr(images, "shape"):
        return [images]
    try:
        return iter(images)
    except TypeError:
        msg = (
            f"images is a {type(images).__name__}, expected an array (n, *shape) or an iterable "
            f"of them; stack the images."
        )
        raise PreconditionError(msg) from None


def _stationary(given: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if given.shape not in (size, size[-2:]) or (given < 0).any():
        shapes = " or ".join(map(str, dict.fromkeys((size[-2:], size))))
        msg = (
            f"the spectrum has shape {given.shape} and smallest entry {given.min():g}, expected "
            f"variances of at least 0 in the shape {shapes}; complete a half spectrum (rfft2) "
            f"first."
        )
        raise PreconditionError(msg)
    return np.array(np.broadcast_to(masks.symmetric(given, "the spectrum"), size)).reshape(-1)


def _expected_power(transform: Any, variances: np.ndarray) -> np.ndarray:
    """E |F (x - mean)|^2 of the un-normalised FFT."""
    size, dim = tuple(transform.shape), transform.dim
    if isinstance(transform, FourierTransform):
        return variances.reshape(size) * (size[-2] * size[-1])
    if dim > LARGEST_BASIS:
        msg = (
            f"the power spectrum of a Gaussian of {dim} dimensions in a "
            f"{type(transform).__name__} was asked for, expected at most {LARGEST_BASIS}; draw "
            f"images from it and use from_images."
        )
        raise PreconditionError(msg)
    total = np.zeros(size)
    rows = max(1, ENTRIES // dim)
    for start in range(0, dim, rows):
        some = slice(start, min(start + rows, dim))
        basis = transform.inverse(np.eye(dim)[some])
        power = np.abs(np.fft.fft2(basis)) ** 2
        total += np.tensordot(variances[some], power, axes=1)
    return total
