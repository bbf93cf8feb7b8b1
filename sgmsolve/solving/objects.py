"""Options that are objects, by words that can be typed.

preconditioner  FILE.npz (written by ``save``), ``scalar@1.1``, ``pds@5`` (PDS with alpha = 5 of the
                target's own spectrum)
skew            FILE.npz, or ``0,1@0.3``: shift by (0, 1) pixels, omega = 0.3
fit, spectrum   ``target`` (its mean and covariance), or FILE.npz with statistics of images; numbers
                are numbers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgmsolve.errors import PreconditionError

OPERATORS, FITS = ("preconditioner", "skew"), ("fit", "spectrum")


def with_objects(options: Mapping[str, Any], target: Any) -> dict[str, Any]:
    """The options with objects in place of words, which the module's docstring lists.

    target: what ``target`` and ``pds@...`` stand for; None where there is none. Raises:
    PreconditionError for other words, files that cannot be read, and targets that do not fit.
    """
    made = dict(options)
    for key, value in options.items():
        if isinstance(value, str) and key in OPERATORS:
            made[key] = _operator(key, value, target)
        elif isinstance(value, str) and key in FITS:
            made[key] = _fit(key, value, target)
    return made


def _operator(key: str, text: str, target: Any) -> Any:
    from sgmsolve.precondition import PDS, GaussianFit, Scalar, Skew, load

    word, at, number = text.partition("@")
    try:
        if key == "preconditioner" and at and word == "scalar":
            return Scalar(float(number))
        if key == "preconditioner" and at and word == "pds":
            fit = GaussianFit.from_target(_known(text, target))
            return PDS.from_spectrum(fit, alpha=float(number))
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


def _fit(key: str, text: str, target: Any) -> Any:
    from sgmsolve.precondition import GaussianFit, Statistics

    if text == "target":
        return GaussianFit.from_target(_known(text, target))
    if not text.endswith(".npz"):
        raise PreconditionError(_unknown(key, text))
    return GaussianFit.from_statistics(Statistics.load(text))


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
    wanted = known.get(key, "target, a number or a file written by statistics.save")
    return f"{key}={text} was given, expected {wanted}."
