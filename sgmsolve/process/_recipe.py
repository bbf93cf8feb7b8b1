"""The complete recipe: which linear processes leave a law invariant, and whether they reach it.

Every linear SDE dz = F z dt + G dw that leaves N(0, S) invariant has the form

    F = -(D + Q) S^-1,   D = G G^T / 2,   Q skew:   Q = -F S - D,

and Q is skew exactly if F S + S F^T + G G^T = 0 (Ma, Chen & Fox, "A Complete Recipe for Stochastic
Gradient MCMC", NeurIPS 2015; Pandey & Mandt, arXiv:2303.01748, section 3). Then the covariance
S - Psi S Psi^T of what the noise adds over an interval is positive semidefinite, so the whitened
flow S^-1/2 Psi S^1/2 never lengthens a vector, and every start converges to the law if and only if
it shortens all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import ProcessError
from sgmsolve.phi import cholesky

_KEPT = 1e-9
"""A direction that shrinks by less than this fraction over all of [0, t_max] does not converge."""


def complete_recipe(F: Any, G: Any, stationary: Any) -> tuple[np.ndarray, np.ndarray]:
    """(D, Q), each (m, m), with F = -(D + Q) S^-1 for the stationary covariance S.

    Args are (m, m) matrices at one time: drift, diffusion (covariance rate G G^T) and S.
    Raises: ProcessError where S is not positive definite or N(0, S) is not left invariant.
    """
    f, g, s = (np.asarray(v, dtype=np.float64) for v in (F, G, stationary))
    factor = law_factor(s)
    drift, diffusion = f @ s, g @ g.T / 2
    defect = drift + drift.T + 2 * diffusion
    # Compared in coordinates in which the law is round, so that light components count as well.
    white, noise = np.linalg.solve(factor, f @ factor), np.linalg.solve(factor, g)
    if np.abs(white + white.T + noise @ noise.T).max() > 1e-10 * np.abs(white).max():
        size = np.sqrt(np.diag(s))
        i, j = np.unravel_index(np.argmax(np.abs(defect) / np.outer(size, size)), defect.shape)
        msg = (
            f"the process does not leave the stationary law {s.tolist()} invariant: entry "
            f"({i}, {j}) of F S + S F^T + G G^T is {defect[i, j]:.3g} and must be 0; correct the "
            f"law, or choose G with G G^T = -(F S + S F^T)."
        )
        raise ProcessError(msg)
    skew = -drift - diffusion
    return diffusion, (skew - skew.T) / 2


def check_convergence(psi: Any, stationary: Any, t_max: float) -> None:
    """Refuse a flow (m, m) over [0, t_max] that keeps some direction of the start.

    Raises: ProcessError, with the direction.
    """
    factor = law_factor(np.asarray(stationary, dtype=np.float64))
    whitened = np.linalg.solve(factor, np.asarray(psi, dtype=np.float64) @ factor)
    _, sizes, right = np.linalg.svd(whitened)
    if sizes[0] > 1 - _KEPT:
        direction = np.linalg.solve(factor.T, right[0])
        shown = np.round(direction / np.abs(direction).max(), 3).tolist()
        msg = (
            f"the process does not converge to its stationary law: over [0, {t_max:.6g}] it keeps "
            f"the fraction {min(sizes[0], 1.0):.6g} of a deviation along {shown} (components); "
            f"give noise and friction to a component that this direction reaches."
        )
        raise ProcessError(msg)


def law_factor(stationary: np.ndarray) -> np.ndarray:
    """Lower Cholesky factor of a stationary covariance; ProcessError unless positive definite."""
    square = stationary.ndim == 2 and stationary.shape[0] == stationary.shape[1]
    if not square or not np.allclose(stationary, stationary.T, rtol=1e-12, atol=0):
        msg = (
            f"the stationary law has shape {stationary.shape}, expected a symmetric matrix (m, m), "
            f"its covariance; pass np.diag([1.0, 1 / m_inv]), say."
        )
        raise ProcessError(msg)
    factor = cholesky(stationary)
    if np.any(np.diag(factor) == 0):
        msg = (
            f"the stationary covariance {stationary.tolist()} is singular; every component needs "
            f"a positive variance of its own."
        )
        raise ProcessError(msg)
    return factor


def sample_times(t_min: float, t_max: float) -> Sequence[float]:
    """Times at which a time-varying F and G are examined."""
    return [t_min + (t_max - t_min) * i / 8 for i in range(9)]
