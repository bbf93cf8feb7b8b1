"""Gaussian fits N(mean, Q diag(eigenvalues) Q^T): from images, statistics, a target or a model.

A fit serves ``target-aware`` methods, which solve it exactly and leave the rest to the network. It
costs nothing there to be wrong but accuracy: the results of fine grids do not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError, unknown
from sgmsolve.precondition import _checks, masks
from sgmsolve.precondition.constants import Constants, template_of
from sgmsolve.precondition.cosine import CosineTransform
from sgmsolve.precondition.pca import pca
from sgmsolve.precondition.statistics import Statistics
from sgmsolve.precondition.transform import (
    AbstractTransform,
    DenseTransform,
    FourierTransform,
    IdentityTransform,
)

LEVELS = (30.0, 10.0, 3.0)
"""Noise-to-signal ratios, in units of the largest mode's standard deviation, that are probed."""

RESOLVED = 0.1
"""Relative standard error at which a mode's variance is taken from a noise level."""

LARGEST_FULL = 1024
BATCH = 256


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """N(mean, Q diag(eigenvalues) Q^T).

    transform: the orthogonal Q; eigenvalues: (dim,) variances of its modes, data units squared, at
    least 0; mean: a number or (*shape), data units.
    Raises: PreconditionError for variances that are negative, not finite or not one a mode, and
    for a mean of another shape.
    """

    transform: AbstractTransform
    eigenvalues: np.ndarray
    mean: np.ndarray

    def __post_init__(self) -> None:
        values = _checks.host(self.eigenvalues, "eigenvalues").reshape(-1)
        mean = _checks.host(self.mean, "the mean")
        if values.shape != (self.transform.dim,) or values.min() < 0:
            msg = (
                f"eigenvalues have shape {np.shape(self.eigenvalues)} and start from "
                f"{values.min(initial=math.inf):.3g}, expected {self.transform.dim} variances of "
                f"at least 0, one a mode."
            )
            raise PreconditionError(msg)
        if mean.ndim and mean.shape != self.shape:
            msg = f"the mean has shape {mean.shape}, expected a number or {self.shape}."
            raise PreconditionError(msg)
        object.__setattr__(self, "eigenvalues", values)
        object.__setattr__(self, "mean", mean)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.transform.shape)

    def __repr__(self) -> str:
        low, high = self.eigenvalues.min(), self.eigenvalues.max()
        name = type(self.transform).__name__
        return f"GaussianFit of {self.shape} in {name}, variances {low:.4g} to {high:.4g}"

    @classmethod
    def from_images(cls, images: Any, transform: str | AbstractTransform = "pca") -> GaussianFit:
        """Mean and variances of the modes of samples (n, *shape); variances are over n.

        transform: ``"pca"``, the samples' own modes (``pca``: all up to 2048 dimensions, else 256
        and one variance for the rest); ``"fourier"`` and ``"cosine"``, for images (H, W) or (C, H,
        W), ``"pixel"``, or a transform. Fourier variances are means over k and -k. Raises:
        PreconditionError for fewer than 2 samples, NaN, or an unknown transform.
        """
        if isinstance(transform, str) and transform == "pca":
            return cls(*pca(images))
        x = _checks.host(images, "the samples")
        if x.ndim < 2 or len(x) < 2:
            msg = f"the samples have shape {x.shape}, expected (n, *shape) with n >= 2; pass more."
            raise PreconditionError(msg)
        basis, mean = _transform(transform, x.shape[1:]), x.mean(axis=0)
        total = np.zeros(basis.dim)
        for first in range(0, len(x), BATCH):
            total += (basis.forward(x[first : first + BATCH] - mean) ** 2).sum(axis=0)
        return cls(basis, _paired(basis, total / len(x)), mean)

    @classmethod
    def from_statistics(
        cls,
        statistics: Statistics,
        transform: str = "fourier",
        *,
        model_range: tuple[float, float] | None = None,
    ) -> GaussianFit:
        """The stationary Gaussian with the power of the images, or independent pixels.

        transform: ``"fourier"`` or ``"pixel"``, what ``Statistics`` hold. model_range: that of the
        model's data, (-1, 1) mostly, to which statistics of images in [0, 1] are mapped, those of a
        folder say; None takes them as gathered (see ``Statistics.mapped`` for other ranges).
        Raises: PreconditionError for another transform, or a range that is none.
        """
        if model_range is not None:
            statistics = statistics.mapped((0.0, 1.0), model_range)
        if transform == "fourier":
            basis: AbstractTransform = FourierTransform(statistics.shape)
            return cls(basis, statistics.spectrum.reshape(-1), statistics.mean)
        if transform == "pixel":
            variances = np.maximum(statistics.second - statistics.mean**2, 0.0)
            return cls(IdentityTransform(statistics.shape), variances, statistics.mean)
        raise PreconditionError(unknown("transform of statistics", transform, ("fourier", "pixel")))

    @classmethod
    def from_target(cls, target: Any) -> GaussianFit:
        """A Gaussian target itself, or the mean and covariance of another by its ``moments()``."""
        if all(hasattr(target, name) for name in ("transform", "eigenvalues", "mean")):
            return cls(target.transform, target.eigenvalues, target.mean)
        mean, covariance = target.moments()
        values, basis = np.linalg.eigh(covariance.matrix())
        return cls(DenseTransform(basis, target.shape), np.maximum(values, 0.0), mean)

    @classmethod
    def from_model(
        cls,
        model: Any,
        shape: Sequence[int],
        *,
        transform: str | AbstractTransform = "fourier",
        probes: int = 128,
        seed: int = 0,
        like: Any = None,
    ) -> GaussianFit:
        """A fit by the model's own denoiser at high noise; no data are needed.

        At noise-to-signal ratio rho, far above the data's scale, the data prediction of alpha y is
        mean + Sigma (Sigma + rho^2)^-1 (y - mean). Probes y = mean +- n, n normal, of the fit's own
        variance: the mean is that of the predictions, and a mode's gain g = E[D' n]/E[n^2] gives
        its variance g rho^2/(1 - g). Levels fall from 30 to 3 standard deviations of the largest
        mode; a mode is read at the first where its gain is known to 10 %, else at the last. By
        Stein's identity g rho^2 is the mean posterior variance under the probes: right at high
        noise, too small at low noise where the data are not Gaussian. Modes should be nearly
        uncorrelated: what others predict of one is its gain's error. On ``digits`` 80 % of the
        Fourier variances are within 20 %, and "full" gives the covariance to 0.5 %.

        model: has ``process`` (of one component) and ``predicts`` and is called as ``model((z,),
        t)``; transform: as for ``from_images``, or ``"full"`` for Q from the model too, up to 1024
        dimensions; probes: pairs a level (2 dim evaluations for "full"); like: an array of the
        library, dtype and device that the model takes, by default that of the weights of a torch
        network and numpy float64 for others.
        Raises: PreconditionError for other transforms, numbers or models.
        """
        size = _checks.sample_shape(shape)
        if not (isinstance(probes, int | np.integer) and probes >= 2):
            msg = f"probes = {probes!r}, expected a whole number of at least 2."
            raise PreconditionError(msg)
        denoise = _denoiser(model, size, like)
        rng = np.random.default_rng(seed)
        rho = _largest_ratio(model.process)
        if isinstance(transform, str) and transform == "full":
            return _full(denoise, size, rho, rng)
        basis = _transform(transform, size)
        mean, values, _ = _regressed(denoise, basis, np.zeros(size), 0.0, rho, probes, rng)
        scale = math.sqrt(float(values.max()))
        ratios = [r * scale for r in LEVELS if r * scale < rho] if scale > 0 else []
        wanted = np.ones(basis.dim, dtype=bool)
        for ratio in ratios:
            mean, found, error = _regressed(denoise, basis, mean, values, ratio, probes, rng)
            values = np.where(wanted, found, values)
            wanted &= ~(error < RESOLVED * found)
        return cls(basis, values, mean)


def _transform(transform: str | AbstractTransform, shape: tuple[int, ...]) -> AbstractTransform:
    if isinstance(transform, AbstractTransform):
        if tuple(transform.shape) != tuple(shape):
            msg = f"the transform is for samples of {transform.shape}, but these have {shape}."
            raise PreconditionError(msg)
        return transform
    known: dict[str, Callable[..., AbstractTransform]] = {
        "fourier": FourierTransform,
        "cosine": CosineTransform,
        "pixel": IdentityTransform,
    }
    if transform not in known:
        raise PreconditionError(unknown("transform", str(transform), known))
    if transform == "fourier":
        _checks.sample_shape(shape, 2, " for a 2-D transform")
    return known[transform](shape)


def _paired(basis: AbstractTransform, values: np.ndarray) -> np.ndarray:
    """Fourier modes k and -k share their mean; other modes are left alone."""
    if not isinstance(basis, FourierTransform):
        return values
    power = values.reshape(basis.shape)
    return ((power + masks.mirror(power)) / 2).reshape(-1)


def _largest_ratio(process: Any) -> float:
    if process.m != 1:
        msg = f"the model's process has {process.m} components, expected one; use a scalar process."
        raise PreconditionError(msg)
    return float(process.rho(process.largest_usable_time()))


def _denoiser(
    model: Any, shape: tuple[int, ...], like: Any
) -> Callable[[np.ndarray, float], np.ndarray]:
    """(y (n, *shape), rho) -> data predictions (n, *shape) of alpha y, on the host."""
    for name in ("process", "predicts"):
        if not hasattr(model, name):
            msg = (
                f"the model has no {name!r}, expected a wrapped model; wrap the network with "
                f"sgmsolve.as_model or take target.model(process)."
            )
            raise PreconditionError(msg)
    process = model.process
    template = template_of(model) if like is None else like

    def denoise(y: np.ndarray, rho: float) -> np.ndarray:
        t = float(process.time_of_rho(rho))
        alpha = float(process.alpha(t))
        a, b = process.conversion_scalars(model.predicts, "data", t)
        out = np.empty_like(y)
        for first in range(0, len(y), BATCH):
            part = alpha * y[first : first + BATCH]
            z = Constants().get("probes", part, template)
            try:
                found = model((z,), t)[0]
            except TypeError as error:
                if like is not None:
                    raise
                msg = (
                    f"the model does not take a {type(z).__module__} array of type {z.dtype} "
                    f"({error}); pass like=, an array of the library and dtype that it takes."
                )
                raise PreconditionError(msg) from error
            made = _checks.host(found, "the model's prediction")
            out[first : first + BATCH] = a * part + b * made.reshape(len(part), *shape)
        return out

    return denoise


def _regressed(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    basis: AbstractTransform,
    mean: np.ndarray,
    values: Any,
    rho: float,
    probes: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, variances of the modes and their standard errors from pairs of probes at one level."""
    modes = rng.standard_normal((probes, basis.dim)) * np.sqrt(values + rho**2)
    up = basis.inverse(modes)
    plus, minus = denoise(mean + up, rho), denoise(mean - up, rho)
    slopes = basis.forward((plus - minus) / 2) * modes
    size = _paired(basis, (modes**2).mean(axis=0))
    gain = _paired(basis, slopes.mean(axis=0)) / size
    # Regression: what the line through the origin leaves, not the spread of the products.
    rest = (slopes - gain * modes**2).std(axis=0) / math.sqrt(probes)
    gain = np.clip(gain, 0.0, 1 - 1e-6)
    factor = rho**2 / (1 - gain)
    # The average prediction is mean + gain (guess - mean), mode by mode.
    change = basis.forward(((plus + minus) / 2 - mean).mean(axis=0)[None]) / (1 - gain)
    error = _paired(basis, rest) / size * factor / (1 - gain)
    return mean + basis.inverse(change)[0], gain * factor, error


def _full(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    shape: tuple[int, ...],
    rho: float,
    rng: np.random.Generator,
) -> GaussianFit:
    """All of Sigma from pairs along a random orthonormal basis, at the norm of typical noise."""
    dim = math.prod(shape)
    if dim > LARGEST_FULL:
        msg = (
            f"transform='full' was asked of {dim} dimensions, expected at most {LARGEST_FULL}; use "
            f"'fourier', 'cosine', 'pixel' or a transform."
        )
        raise PreconditionError(msg)
    mean, values, basis = np.zeros(shape), np.zeros(dim), np.eye(dim)
    for _ in range(2):  # the first finds the scale at which the second looks
        directions = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * (rho * math.sqrt(dim))
        up = directions.reshape(dim, *shape)
        plus, minus = denoise(mean + up, rho), denoise(mean - up, rho)
        jacobian = (plus - minus).reshape(dim, dim).T @ directions / (2 * rho**2 * dim)
        gains, basis = np.linalg.eigh((jacobian + jacobian.T) / 2)
        gains = np.clip(gains, 0.0, 1 - 1e-6)
        values = gains * rho**2 / (1 - gains)
        change = ((plus + minus) / 2 - mean).mean(axis=0).reshape(-1)
        mean = mean + (basis @ ((basis.T @ change) / (1 - gains))).reshape(shape)
        rho = min(rho, LEVELS[1] * math.sqrt(float(values.max())) or rho)
    return GaussianFit(DenseTransform(basis, shape), values, mean)
