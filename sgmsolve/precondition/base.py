"""Preconditioners: real linear operators M on samples, constant in x, on any array library."""

from __future__ import annotations

import abc
import math
import os
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np

from sgmsolve.errors import PreconditionError, StabilityWarning, unknown
from sgmsolve.precondition import masks
from sgmsolve.precondition._checks import host
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import AbstractTransform, FourierTransform

LARGEST_MATRIX = 4096

WHERE = ("exact-split", "published", "noise", "corrector", "forward")
"""Where a preconditioner may enter a reverse process."""


class Preconditioner(abc.ABC):
    """A real linear operator M on samples (batch, *shape); on states it acts on every component.

    Attributes:
        shape: shape of one sample, None for operators that take any.
        transform: the orthogonal transform in which M is diagonal; None if there is none, or if M
            is a multiple of the identity (then ``scalar`` says which).
        eigenvalues: (dim,) eigenvalues of M itself in ``transform``, float64 on the host; those of
            ``gram`` are their squares.
        scalar: the number c where M = c I, else None.
        symbol: (dim,) complex eigenvalues in the complex 2-D Fourier basis, in the order of
            ``FourierTransform``, of operators that commute with shifts but are not symmetric.
    """

    shape: tuple[int, ...] | None = None
    transform: AbstractTransform | None = None
    eigenvalues: np.ndarray | None = None
    scalar: float | None = None
    symbol: np.ndarray | None = None

    @abc.abstractmethod
    def apply(self, x: Any) -> Any:
        """M x for x (batch, *shape); the result has the library, dtype and device of x."""

    @abc.abstractmethod
    def transpose(self, x: Any) -> Any:
        """M^T x."""

    def gram(self, x: Any) -> Any:
        """M M^T x."""
        return self.apply(self.transpose(x))

    def check(self, shape: tuple[int, ...]) -> None:
        """PreconditionError if M is not for samples of this shape."""
        if self.shape is not None and tuple(shape) != self.shape:
            msg = (
                f"the preconditioner is for samples of shape {self.shape}, but these have shape "
                f"{tuple(shape)}; make one from statistics at this resolution."
            )
            raise PreconditionError(msg)

    def smallest_gain(self) -> tuple[float, bool] | None:
        """(smallest singular value of M, True), or (a lower bound, False); None if unknown."""
        if self.scalar is not None:
            return abs(self.scalar), True
        if self.eigenvalues is not None:
            return float(np.abs(self.eigenvalues).min()), True
        return None

    def check_stable(self, where: str) -> None:
        """Refuse an M with which the choice ``where`` cannot work.

        A singular M leaves directions without noise: only "exact-split" can do with that (M = 0
        is the probability-flow ODE). With "published" the continuous-time output variance of a mode
        of variance lam is a / (2a - 1) lam for an eigenvalue a > 1/2 of M M^T and lam far below the
        noise; for a <= 1/2 the ratio grows like (noise / lam)^(1 - 2a), without bound, where noise
        is sigma_max^2 for VE and 1 for VP (like its logarithm at 1/2). Raises: PreconditionError
        for a singular M. Warns: StabilityWarning for "published" with an eigenvalue, or the lower
        bound where only that is known, not above 1/2: PDS's code before 2023 has such gains.
        """
        if where not in WHERE:
            raise PreconditionError(unknown("where", where, WHERE))
        known = self.smallest_gain()
        if known is None or where == "exact-split":
            return
        gain, exact = known
        if exact and gain == 0:
            msg = (
                f"M is singular (its smallest gain is 0), but {where!r} needs noise in every "
                f"direction; raise the gains above 0, or use where='exact-split'."
            )
            raise PreconditionError(msg)
        if where != "published" or gain**2 > 0.5:
            return
        a = gain**2
        msg = (
            f"the smallest eigenvalue a of M M^T is {'' if exact else 'at least '}{a:.4g}, "
            f"expected above 1/2: else where='published' makes the variance of a mode, lam in the "
            f"data, too large by a factor like (noise / lam)^(1 - 2a), 1 - 2a = {1 - 2 * a:.3g}, "
            f"with noise = sigma_max^2 for VE and 1 for VP; scale M to gains above 0.7072, or use "
            f"where='exact-split'."
        )
        warnings.warn(msg, StabilityWarning, stacklevel=2)

    def matrix(self, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """M as a dense (dim, dim) float64 matrix; PreconditionError above 4096 dimensions."""
        size = self.shape if shape is None else tuple(shape)
        if size is None:
            msg = "this preconditioner takes samples of any shape; say which: matrix((3, 8, 8))."
            raise PreconditionError(msg)
        self.check(size)
        dim = math.prod(size)
        if dim > LARGEST_MATRIX:
            msg = (
                f"a dense matrix of {dim} dimensions was asked for, expected at most "
                f"{LARGEST_MATRIX}; use apply, or eigenvalues."
            )
            raise PreconditionError(msg)
        return np.asarray(self.apply(np.eye(dim).reshape(dim, *size))).reshape(dim, dim).T.copy()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write M and its transform to one npz file and return its path; see :func:`load`.

        Raises: PreconditionError for a path that cannot be written, or a class of your own.
        """
        from sgmsolve.precondition.io import save

        return save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Preconditioner:
        """The preconditioner that ``save`` wrote. Raises: PreconditionError for other files."""
        from sgmsolve.precondition.io import load

        return load(path)

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON data and arrays from which ``_restored`` makes M again."""
        msg = (
            f"a {type(self).__name__} cannot be saved: only the preconditioners of "
            f"sgmsolve.precondition can; save what it is made from."
        )
        raise PreconditionError(msg)

    def __repr__(self) -> str:
        """Class and shape."""
        return f"{type(self).__name__}(shape={self.shape})"


class Spectral(Preconditioner):
    """M = Q diag(eigenvalues) Q^T with the orthogonal Q of a transform: symmetric.

    transform: any transform of this room; eigenvalues: (dim,) real numbers in the order of its
    modes, units of M. Raises: PreconditionError for another number of eigenvalues or entries that
    are not finite, and on 2-D Fourier modes for eigenvalues that differ between k and -k.
    """

    def __init__(self, transform: AbstractTransform, eigenvalues: Any) -> None:
        values = host(eigenvalues, "eigenvalues")
        if values.size != transform.dim:
            msg = (
                f"eigenvalues have shape {values.shape}, expected {transform.dim} numbers, one a "
                f"mode of samples of shape {transform.shape}; pass them in the transform's order."
            )
            raise PreconditionError(msg)
        if isinstance(transform, FourierTransform):
            name, rel = "the array of Fourier eigenvalues", masks.rounding(eigenvalues)
            values = masks.symmetric(values.reshape(transform.shape), name, rel=rel)
        self.shape = tuple(transform.shape)
        self.transform, self.eigenvalues = transform, values.reshape(-1)
        self._native = transform.native(self.eigenvalues)
        self._squared = self._native**2
        self._constants = Constants()

    def apply(self, x: Any) -> Any:
        """Q diag(eigenvalues) Q^T x."""
        self.check(x.shape[1:])
        assert self.transform is not None
        return self.transform.filter(x, self._constants.get("gains", self._native, x))

    def transpose(self, x: Any) -> Any:
        """The same: M is symmetric."""
        return self.apply(x)

    def gram(self, x: Any) -> Any:
        """Q diag(eigenvalues^2) Q^T x, one filter."""
        self.check(x.shape[1:])
        assert self.transform is not None
        return self.transform.filter(x, self._constants.get("gram", self._squared, x))

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        from sgmsolve.precondition.io import transform_to_arrays

        assert self.transform is not None
        assert self.eigenvalues is not None
        header, arrays = transform_to_arrays(self.transform)
        return {"transform": header}, {"eigenvalues": self.eigenvalues, **arrays}

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        from sgmsolve.precondition.io import transform_from_arrays

        made = cls.__new__(cls)
        transform = transform_from_arrays(header["transform"], arrays)
        Spectral.__init__(made, transform, arrays["eigenvalues"])
        return made
