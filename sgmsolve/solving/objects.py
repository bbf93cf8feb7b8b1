"""Options that are objects, by words that can be typed.

preconditioner  FILE.npz (written by ``save``), ``scalar@1.1``, ``pds@5`` (PDS with alpha = 5 of the
                target's own spectrum)
skew            FILE.npz, or ``0,1@0.3``: shift by (0, 1) pixels, omega = 0.3
fit, spectrum   ``target`` (its mean and covariance); FILE.npz with statistics of images, as they
                were gathered, or FILE.npz@-1,1: those of images in [0, 1], a folder's, mapped to
                the model's range; numbers are numbers

PDS's masks are those of images in [0, 1]. So ``pds@5`` maps the target's from [-1, 1] if it has
values below 0: its data, or else its mean less one standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError

OPERATORS, FITS = ("preconditioner", "skew"), ("fit", "spectrum")


def with_objects(
    options: Mapping[str, Any], target: Any, data_range: tuple[float, float] | None = None
) -> dict[str, Any]:
    """The options with objects in place of words, which the module's docstring lists.

    target: what ``target`` and ``pds@...`` stand for; None where there is none. data_range: that of
    the target's images, for ``pds@...``; None finds out as above. Raises: PreconditionError for
    other words, files that cannot be read, and targets that do not fit.
    """
    made = dict(options)
    for key, value in options.items():
        if isinstance(value, str) and key in OPERATORS:
            made[key] = _operator(key, value, target, data_range)
        elif isinstance(value, str) and key in FITS:
            made[key] = _fit(key, value, target)
    return made


def _operator(key: str, text: str, target: Any, data_range: tuple[float, float] | None) -> Any:
    from sgmsolve.precondition import PDS, GaussianFit, Scalar, Skew, load

    word, at, number = text.partition("@")
    try:
        if key == "preconditioner" and at and word == "scalar":
            return Scalar(float(number))
        if key == "preconditioner" and at and word == "pds":
            alpha, fit = float(number), GaussianFit.from_target(_known(text, target))
            return PDS.from_spectrum(fit, alpha=alpha, data_range=data_range or _range(target, fit))
        if key == "skew" and at:
            vector, omega = [int(part) for part in word.split(",")], float(number)
            return Skew(_known(text, target).shape, vector, omega)
    except ValueError as error:
        if isinstance(error, PreconditionError):
            raise
        raise PreconditionError(_unknown(key, text)) from error
    if not text.endswith(".npz"):
        raise PreconditionError(_unknown(key, text))
    return load(text)


def _range(target: Any, fit: Any) -> tuple[float, float]:
    """(-1, 1) for targets with values below 0, else (0, 1)."""
    lowest = getattr(target, "data", None)
    if lowest is None:
        variance = fit.transform.pixel_variance(fit.eigenvalues).reshape(fit.shape)
        lowest = fit.mean - np.sqrt(variance)
    return (-1.0, 1.0) if float(np.min(lowest)) < 0 else (0.0, 1.0)


def _fit(key: str, text: str, target: Any) -> Any:
    from sgmsolve.precondition import GaussianFit, Statistics

    if text == "target":
        return GaussianFit.from_target(_known(text, target))
    name, at, ends = (text, "", "") if text.endswith(".npz") else text.rpartition("@")
    if not name.endswith(".npz"):
        raise PreconditionError(_unknown(key, text))
    found = Statistics.load(name)
    try:
        low, high = (float(end) for end in ends.split(",")) if at else (None, None)
    except ValueError as error:
        raise PreconditionError(_unknown(key, text)) from error
    return GaussianFit.from_statistics(
        found, model_range=None if low is None or high is None else (low, high)
    )


def _known(text: str, target: Any) -> Any:
    if target is None:
        msg = f"{text!r} stands for the target of a problem, but there is none here; name a file."
        raise PreconditionError(msg)
    return target


def _unknown(key: str, text: str) -> str:
    known = {
        "preconditioner": "scalar@1.1, pds@5 or a file written by `sgmsolve precondition`",
        "skew": "0,1@0.3 (a shift and a rate) or a file written by skew.save",
    }
    file = "a file written by statistics.save (FILE.npz, or FILE.npz@-1,1 to map it)"
    wanted = known.get(key, f"target, a number or {file}")
    return f"{key}={text} was given, expected {wanted}."
