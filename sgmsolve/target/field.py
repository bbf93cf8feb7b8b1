"""Stationary Gaussian fields on a periodic grid, by fast Fourier transform."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import TargetError
from sgmsolve.precondition.masks import frequencies, mirror
from sgmsolve.precondition.transform import FourierTransform
from sgmsolve.target.base import host_array
from sgmsolve.target.gaussian import AbstractGaussian


class GaussianField(AbstractGaussian):
    """A stationary Gaussian field on a periodic (H, W) grid with independent channels.

    shape: (H, W) or (C, H, W), any sizes; spectrum: the covariance's eigenvalue on each 2-D Fourier
    mode (the power of the unitary FFT, data units squared), as an array (H, W) or (C, H, W) in the
    order of ``numpy.fft.fftfreq``, or as a function of (f_vertical, f_horizontal) in cycles per
    pixel; mean: a number or an array broadcast to ``shape``. A pixel's variance is the spectrum's
    mean. No matrix is formed: a 1024 x 1024 field keeps a few arrays of its own size.

    Raises: TargetError for other shapes, negative power, or a spectrum that is not symmetric under
    (k, l) -> (-k, -l), which no real field has.
    """

    def __init__(
        self, shape: Sequence[int], spectrum: Any | Callable[[Any, Any], Any], mean: Any = 0.0
    ) -> None:
        size = _checked_shape(shape)
        h, w = size[-2:]
        if callable(spectrum):
            spectrum = spectrum(*np.broadcast_arrays(*frequencies(h, w)))
        power = host_array(spectrum, "spectrum")
        mu = host_array(mean, "mean")
        for name, array in (("spectrum", power), ("mean", mu)):
            if not _broadcasts(array.shape, size) or (
                name == "spectrum" and array.shape[-2:] != (h, w)
            ):
                msg = (
                    f"{name} has shape {array.shape}, expected {(h, w)} or {size} for a field of "
                    f"shape {size}; a half spectrum (rfft2) must be completed first."
                )
                raise TargetError(msg)
        mirrored = mirror(power)
        if np.abs(power - mirrored).max() > 1e-12 * np.abs(power).max():
            msg = (
                "spectrum differs between (k, l) and (-k, -l), expected a symmetric one because "
                "the field is real; pass the mean of both."
            )
            raise TargetError(msg)
        # Exactly symmetric, so that both modes of a pair are one entry of modes().
        lam = np.broadcast_to((power + mirrored) / 2, size).reshape(-1).copy()
        super().__init__(np.broadcast_to(mu, size).copy(), lam, FourierTransform(size))

    @classmethod
    def power_law(
        cls, shape: Sequence[int], exponent: float = 2.0, variance: float = 1.0, mean: Any = 0.0
    ) -> GaussianField:
        """Power 1 / f^exponent, f in cycles per pixel, scaled to the given pixel variance.

        The zero frequency gets the power of f = 1 / max(H, W), the lowest one on the longer side,
        so that the mean level varies too. exponent = 2 is the spectrum of natural images (Field
        1987, J. Opt. Soc. Am. A 4:2379). Raises: TargetError if the variance is not positive.
        """
        size = _checked_shape(shape)
        if not variance > 0:
            msg = f"variance is {variance}, expected a pixel variance; pass a number > 0."
            raise TargetError(msg)
        vertical, horizontal = frequencies(*size[-2:])
        f = np.sqrt(vertical**2 + horizontal**2)
        f[0, 0] = 1 / max(size[-2:])
        power = f ** -float(exponent)
        return cls(size, variance * power / power.mean(), mean)


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    size = tuple(int(n) for n in shape)
    if len(size) not in (2, 3) or math.prod(size) < 1 or min(size) < 1:
        msg = f"shape is {tuple(shape)}, expected (H, W) or (C, H, W) with sizes of at least 1."
        raise TargetError(msg + " Pass the shape of one sample, without the batch.")
    return size


def _broadcasts(given: tuple[int, ...], size: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(given, size) == size
    except ValueError:
        return False
