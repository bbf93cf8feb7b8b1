"""PDS: gains that are large where images have little power.

Ma et al., Preconditioned Score-based Generative Models (ECCV 2022: arXiv 2207.02196; journal: arXiv
2302.06504). The masks follow the authors' released code, since the papers' formulas were not
available to us.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError, unknown
from sgmsolve.precondition import _checks
from sgmsolve.precondition.filters import SpaceFrequency
from sgmsolve.precondition.statistics import Statistics

FILTERS = ("frequency", "space")
NORMALISATIONS = ("released", "eccv")


class PDS(SpaceFrequency):
    """M v = Re F^-1[ (1 / R^) . F[ (1 / P^) . v ] ], masks from the statistics of images.

    With R = log(1 + E |F x|^2), of the un-normalised 2-D FFT, and P = E x^2 over images in [0, 1],

        "released":  R^ = (R / max R + alpha - 1) / alpha,  P^ = (P / max P + alpha - 1) / alpha
        "eccv":      R^ = (R + alpha - 1) / alpha,          P^ = P

    (maxima over all channels; "eccv" is the code before February 2023). Released gains lie in [1,
    alpha / (alpha - 1)]: 1 at the zero frequency or the brightest pixel, more where there is less
    power; "eccv" gains fall far below 1. As masks depend on the images' size and range they serve
    no other resolution. ``PDS(shape, frequency=gains, space=gains)`` takes gains of your own, as
    :class:`SpaceFrequency` does.
    """

    @classmethod
    def from_images(
        cls,
        images: Any,
        alpha: float = 5.0,
        filters: Sequence[str] | str = ("frequency",),
        normalisation: str = "released",
        *,
        data_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> PDS:
        """The operator of about 200 images or more, in one array (n, *shape) or batches of them.

        alpha: above 1, the authors' 5 for every dataset; ``alpha_rule`` gives one by the number of
        steps. filters: "frequency", "space" or both. data_range: that of the images, (-1, 1) say,
        which is mapped to [0, 1]; images with other values are refused. None takes any images, as
        they are. Raises: PreconditionError.
        """
        checked(alpha, filters, normalisation)
        statistics = Statistics.from_images(images)
        return cls.from_statistics(statistics, alpha, filters, normalisation, data_range=data_range)

    @classmethod
    def from_spectrum(
        cls,
        spectrum: Any,
        mean: Any = 0.0,
        shape: Sequence[int] | None = None,
        alpha: float = 5.0,
        filters: Sequence[str] | str = ("frequency",),
        normalisation: str = "released",
        *,
        data_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> PDS:
        """The operator of infinitely many images of a Gaussian, as :meth:`Statistics.of_gaussian`.

        spectrum: variances of the unitary 2-D FFT, (H, W) or (C, H, W), or a Gaussian target such
        as ``GaussianField``, which brings its own mean and shape; the mean matters, as it fills the
        zero frequency. alpha, filters, normalisation, data_range: as in :meth:`from_images`, but
        nothing is refused, since a Gaussian has no range. Raises: PreconditionError.
        """
        checked(alpha, filters, normalisation)
        statistics = Statistics.of_gaussian(spectrum, mean, shape)
        return cls.from_statistics(statistics, alpha, filters, normalisation, data_range=data_range)

    @classmethod
    def from_statistics(
        cls,
        statistics: Statistics,
        alpha: float = 5.0,
        filters: Sequence[str] | str = ("frequency",),
        normalisation: str = "released",
        *,
        data_range: tuple[float, float] | None = (0.0, 1.0),
    ) -> PDS:
        """The operator of statistics gathered before; arguments as in :meth:`from_images`."""
        level, names = checked(alpha, filters, normalisation)
        if data_range is not None:
            statistics.check_range(data_range)
            statistics = statistics.mapped(data_range, (0.0, 1.0))
        frequency = space = None
        if "frequency" in names:
            frequency = _gain(np.log1p(statistics.power), level, normalisation, True)
        if "space" in names:
            space = _gain(statistics.second, level, normalisation, False)
        made = cls(statistics.shape, frequency, space)
        made.settings = {"alpha": level, "normalisation": normalisation}
        return made


def _gain(measure: np.ndarray, alpha: float, normalisation: str, logarithm: bool) -> np.ndarray:
    top = float(measure.max())
    if top <= 0:
        msg = "all images are 0, so that no mask can be made of them; pass other images."
        raise PreconditionError(msg)
    if normalisation == "released":
        return alpha / (measure / top + alpha - 1)
    if logarithm:
        return alpha / (measure + alpha - 1)
    if not (measure > 0).all():
        at = tuple(map(int, np.argwhere(measure <= 0)[0]))
        msg = (
            f"the pixel at {at} is 0 in every image, and its gain 1 / E x^2 under "
            f"normalisation='eccv' is infinite; use normalisation='released'."
        )
        raise PreconditionError(msg)
    return 1 / measure


def checked(
    alpha: float, filters: Sequence[str] | str, normalisation: str
) -> tuple[float, tuple[str, ...]]:
    """Alpha and the names of the filters; PreconditionError for any that make no sense."""
    level = _checks.above(alpha, 1.0, "alpha")
    try:
        names = (filters,) if isinstance(filters, str) else tuple(filters)
    except TypeError:
        msg = f"filters is {filters!r}, expected some of {', '.join(FILTERS)}; pass their names."
        raise PreconditionError(msg) from None
    for name in names:
        if name not in FILTERS:
            raise PreconditionError(unknown("filter", str(name), FILTERS))
    if not names:
        msg = f"filters is empty, expected some of {', '.join(FILTERS)}; or use Identity()."
        raise PreconditionError(msg)
    if normalisation not in NORMALISATIONS:
        raise PreconditionError(unknown("normalisation", str(normalisation), NORMALISATIONS))
    return level, names
