"""Preconditioners: real linear operators M on samples, constant in x, on any array library."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import AbstractTransform

LARGEST_MATRIX = 4096


class Preconditioner(abc.ABC):
    """A real linear operator M on samples (batch, *shape); on states it acts on every component.

    Attributes:
        shape: shape of one sample, None for operators that take any.
        transform: the orthogonal transform in which M is diagonal; None if there is none, or if M
            is a multiple of the identity (then ``scalar`` says which).
        eigenvalues: (dim,) eigenvalues of M itself in ``transform``, float64 on the host; those of
            ``gram`` are their squares.
        scalar: the number c where M = c I, else None.
    """

    shape: tuple[int, ...] | None = None
    transform: AbstractTransform | None = None
    eigenvalues: np.ndarray | None = None
    scalar: float | None = None

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


class Spectral(Preconditioner):
    """M = Q diag(eigenvalues) Q^T with the orthogonal Q of a transform: symmetric.

    transform: any transform of this room; eigenvalues: (dim,) real numbers in the order of its
    modes, units of M. Raises: PreconditionError for another number of eigenvalues or entries that
    are not finite.
    """

    def __init__(self, transform: AbstractTransform, eigenvalues: Any) -> None:
        values = np.asarray(eigenvalues, dtype=np.float64).reshape(-1)
        if values.shape != (transform.dim,) or not np.isfinite(values).all():
            msg = (
                f"eigenvalues have shape {np.shape(eigenvalues)}, expected {transform.dim} finite "
                f"numbers, one a mode of samples of shape {transform.shape}."
            )
            raise PreconditionError(msg)
        self.shape = tuple(transform.shape)
        self.transform, self.eigenvalues = transform, values
        self._native = transform.native(values)
        self._constants = Constants()

    def apply(self, x: Any) -> Any:
        """Q diag(eigenvalues) Q^T x."""
        assert self.transform is not None
        gains = self._constants.get("gains", self._native, x)
        return self.transform.filter(x, gains)

    def transpose(self, x: Any) -> Any:
        """The same: M is symmetric."""
        return self.apply(x)

    def gram(self, x: Any) -> Any:
        """Q diag(eigenvalues^2) Q^T x, one filter."""
        assert self.transform is not None
        gains = self._constants.get("gram", self._native**2, x)
        return self.transform.filter(x, gains)
