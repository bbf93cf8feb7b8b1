"""Exactly solvable linear parts of the reverse-time SDE, for splittings; host times only.

For a stationary covariance S (F S + S F^T + G G^T = 0) the reverse family

    dz = [-F z + (1 + eta^2)/2 G G^T score] dtau + eta G dw,      tau = reverse time,

is a linear SDE with law N(0, S) plus a kick that vanishes where the score is that of N(0, S):

    dz = A z dtau + eta G dw,   A = -F - (1 + eta^2)/2 G G^T S^-1,      (``linear``)
    dz = (1 + eta^2)/2 G G^T (score + S^-1 z) dtau.

Any other S gives another, equally exact, split.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.phi import cholesky
from sgmsolve.process._collocation import Propagator, invert_triangular

Matrix = Callable[[Any], np.ndarray]


def inverse_of(covariance: np.ndarray, like: Any) -> np.ndarray:
    """Inverse of a positive definite host matrix in the number type of ``like`` (a matrix)."""
    factor = invert_triangular(cholesky(covariance + 0 * like), lower=True)
    return np.asarray(factor.T @ factor)


class Reversed:
    """(Psi, Sigma) of dz = A(t) z dtau + N(t) dw from forward time ``end`` down to ``start``."""

    def __init__(self, A: Matrix, N: Matrix, m: int, constant: bool, t_max: float) -> None:
        self.t_max = t_max

        def drift(tau: Any) -> np.ndarray:
            return A(t_max - tau)

        def diffusion(tau: Any) -> np.ndarray:
            return N(t_max - tau)

        self.propagator = Propagator(drift, diffusion, m, constant, (0.0, t_max))

    def __call__(self, start: Any, end: Any) -> tuple[np.ndarray, np.ndarray]:
        """The flow and the covariance of the noise, (m, m) each; Sigma is a Gram matrix."""
        if self.propagator.constant:  # only the length matters, and it must not be rounded
            psi, columns = self.propagator.noise(0 * end, end - start)
        else:
            psi, columns = self.propagator.noise(self.t_max - end, self.t_max - start)
        return psi, columns @ columns.T
