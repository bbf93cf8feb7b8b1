"""Preconditioners, transforms and statistics as JSON headers and arrays, and as npz files."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve._archive import Archive
from sgmsolve.errors import PreconditionError
from sgmsolve.precondition.base import Preconditioner, Spectral
from sgmsolve.precondition.cosine import CosineTransform
from sgmsolve.precondition.filters import Disc, SpaceFrequency
from sgmsolve.precondition.pds import PDS
from sgmsolve.precondition.simple import Diagonal, Identity, Scalar
from sgmsolve.precondition.skew import Skew, SkewMatrix
from sgmsolve.precondition.statistics import Statistics
from sgmsolve.precondition.tdas import TDAS
from sgmsolve.precondition.transform import (
    AbstractTransform,
    DenseTransform,
    FourierTransform,
    IdentityTransform,
    LowRankTransform,
)
from sgmsolve.precondition.wavelet import WaveletTransform

_OPERATORS = (Diagonal, Disc, Identity, PDS, Scalar, Skew, SkewMatrix, SpaceFrequency, Spectral)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*_OPERATORS, TDAS)}
_BY_SHAPE: dict[str, Any] = {
    kind.__name__: kind for kind in (CosineTransform, FourierTransform, IdentityTransform)
}

OPERATOR_FILE = Archive(
    "preconditioner", "sgmsolve-preconditioner", 1, PreconditionError, "preconditioner.save(path)"
)
STATISTICS_FILE = Archive(
    "statistics", "sgmsolve-statistics", 1, PreconditionError, "statistics.save(path)"
)


def to_arrays(operator: Preconditioner) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON data, float64 arrays) of a preconditioner, its transform included.

    Raises: PreconditionError for a class that is not this library's own.
    """
    name = type(operator).__name__
    if not isinstance(operator, Preconditioner):
        msg = (
            f"a {name} cannot be saved: expected a preconditioner; of a Gaussian fit save the "
            f"images' Statistics, or Spectral(transform, gains)."
        )
        raise PreconditionError(msg)
    header, arrays = operator._saved()
    if _KINDS.get(name) is not type(operator):
        msg = (
            f"a {name} cannot be saved: it is a class of your own, and the file could not say how "
            f"to make it again; save what it is made from."
        )
        raise PreconditionError(msg)
    return {"kind": name, **header}, arrays


def from_arrays(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Preconditioner:
    """What ``to_arrays`` was given. Raises: PreconditionError for other data."""
    made = _made(_KINDS, header, lambda kind: kind._restored(header, arrays), "preconditioner")
    assert isinstance(made, Preconditioner)
    return made


def transform_to_arrays(
    transform: AbstractTransform,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(JSON data, arrays) of a transform. Raises: PreconditionError for a class of your own."""
    header: dict[str, Any] = {"kind": type(transform).__name__, "shape": list(transform.shape)}
    if type(transform) in _BY_SHAPE.values():
        return header, {}
    if type(transform) is DenseTransform:
        return header, {"basis": transform.basis}
    if type(transform) is LowRankTransform:
        return header, {"v": transform.v, "t": transform.t}
    if type(transform) is WaveletTransform:
        low, high = transform.taps
        return {**header, "levels": transform.levels}, {"low": low, "high": high}
    msg = (
        f"a {type(transform).__name__} cannot be saved: only the transforms of "
        f"sgmsolve.precondition can; save what it is made from."
    )
    raise PreconditionError(msg)


def transform_from_arrays(
    header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> AbstractTransform:
    """What ``transform_to_arrays`` was given. Raises: PreconditionError for other data."""
    shape = tuple(header.get("shape", ()))
    kinds: dict[str, Any] = {
        **{name: functools.partial(kind, shape) for name, kind in _BY_SHAPE.items()},
        "DenseTransform": lambda: DenseTransform(arrays["basis"], shape),
        "LowRankTransform": lambda: LowRankTransform.from_reflectors(
            arrays["v"], arrays["t"], shape
        ),
        "WaveletTransform": lambda: WaveletTransform.from_taps(
            shape, arrays["low"], arrays["high"], header["levels"]
        ),
    }
    made = _made(kinds, header, lambda make: make(), "transform")
    assert isinstance(made, AbstractTransform)
    return made


def _made(kinds: dict[str, Any], header: dict[str, Any], make: Any, what: str) -> Any:
    kind = header.get("kind")
    if kind not in kinds:
        msg = f"the file's {what} is a {kind!r}, expected one of {', '.join(sorted(kinds))}; "
        raise PreconditionError(msg + "upgrade sgmsolve, or save it again.")
    try:
        return make(kinds[kind])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, PreconditionError):
            raise
        msg = f"the file's {what} is incomplete ({type(error).__name__}: {error}); save it again."
        raise PreconditionError(msg) from error


def save(operator: Preconditioner, path: str | os.PathLike[str]) -> Path:
    """Write a preconditioner to an npz file (``.npz`` is appended if missing), whole or not at all.

    The same operator always gives the same bytes; nothing in the file can run code. Raises:
    PreconditionError for a class of your own, or a path that cannot be written.
    """
    return OPERATOR_FILE.save(path, *to_arrays(operator))


def load(path: str | os.PathLike[str]) -> Preconditioner:
    """Read what ``save`` wrote.

    Raises: PreconditionError for no such file, or another or damaged one; the sentence says which.
    """
    return from_arrays(*OPERATOR_FILE.load(path))


def save_statistics(statistics: Statistics, path: str | os.PathLike[str]) -> Path:
    """Write the statistics of images to an npz file; see :func:`save`."""
    fields = {f.name: getattr(statistics, f.name) for f in dataclasses.fields(statistics)}
    arrays = {name: fields.pop(name) for name in ("power", "second", "mean")}
    fields |= {n: fields[n] if math.isfinite(fields[n]) else None for n in ("low", "high")}
    return STATISTICS_FILE.save(path, fields, arrays)


def load_statistics(path: str | os.PathLike[str]) -> Statistics:
    """Read what ``save_statistics`` wrote; see :func:`load`."""
    header, arrays = STATISTICS_FILE.load(path)
    try:
        header["skipped"] = tuple(header["skipped"])
        header["low"] = -math.inf if header["low"] is None else header["low"]
        header["high"] = math.inf if header["high"] is None else header["high"]
        fields: dict[str, Any] = {**arrays, **header}
        return Statistics(**fields)
    except (KeyError, TypeError) as error:
        raise STATISTICS_FILE.unreadable(path, f"{type(error).__name__}: {error}") from error
