"""Covariances that need not be matrices."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from sgmsolve.errors import AnalysisError
from sgmsolve.precondition.transform import AbstractTransform

LARGEST_MATRIX = 4096


def check_matrix_size(dim: int) -> None:
    """Raise AnalysisError if a (dim, dim) matrix should not be formed."""
    if dim > LARGEST_MATRIX:
        msg = (
            f"a dense covariance of {dim} dimensions was asked for, expected at most "
            f"{LARGEST_MATRIX}; use modes() of a Gaussian, or diagonal() and trace()."
        )
        raise AnalysisError(msg)


class AbstractCovariance(abc.ABC):
    """A symmetric positive semi-definite (dim, dim) operator on flattened samples, float64 host."""

    @abc.abstractmethod
    def matrix(self) -> np.ndarray:
        """Dense (dim, dim). Raises: AnalysisError above 4096 dimensions."""

    @abc.abstractmethod
    def diagonal(self) -> np.ndarray:
        """Variances (dim,)."""

    @abc.abstractmethod
    def trace(self) -> float:
        """Total variance."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """The dense matrix, so that numpy functions accept a covariance."""
        return np.asarray(self.matrix(), dtype=dtype)


class DenseCovariance(AbstractCovariance):
    """A covariance given by its matrix."""

    def __init__(self, matrix: np.ndarray) -> None:
        self._matrix = matrix

    def matrix(self) -> np.ndarray:
        """The matrix."""
        return self._matrix

    def diagonal(self) -> np.ndarray:
        """Variances (dim,)."""
        return np.diagonal(self._matrix).copy()

    def trace(self) -> float:
        """Total variance."""
        return float(np.trace(self._matrix))


class SpectralCovariance(AbstractCovariance):
    """Q diag(eigenvalues) Q^T with the orthogonal Q of a transform."""

    def __init__(self, transform: AbstractTransform, eigenvalues: np.ndarray) -> None:
        self.transform = transform
        self.eigenvalues = eigenvalues

    def matrix(self) -> np.ndarray:
        """Q diag(eigenvalues) Q^T, by filtering the unit vectors."""
        dim = self.transform.dim
        check_matrix_size(dim)
        units = np.eye(dim).reshape(dim, *self.transform.shape)
        gains = self.transform.native(self.eigenvalues)
        dense = np.asarray(self.transform.filter(units, gains)).reshape(dim, dim)
        return (dense + dense.T) / 2

    def diagonal(self) -> np.ndarray:
        """Variances (dim,), from the transform where it knows them without the matrix."""
        return self.transform.pixel_variance(self.eigenvalues)

    def trace(self) -> float:
        """Sum of the eigenvalues."""
        return float(np.sum(self.eigenvalues))
