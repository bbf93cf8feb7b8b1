"""Increments w and areas I = int_0^l (w(u) - w(0)) du of a Brownian path: their law, split and sum.

Together they are normal with covariance C(l) = [[l, l^2/2], [l^2/2, l^3/3]]. Pieces (w1, I1) and
(w2, I2) in a row make (w, I) = A (w1, I1) + (w2, I2), A = [[1, 0], [l2, 1]], l2 the length of the
second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.model.base import scalar_for


def fresh(lengths: np.ndarray) -> np.ndarray:
    """Lower factor of C(l): exact, also for l = 0."""
    zero = 0.0 * lengths
    rows = [[np.sqrt(lengths), zero], [lengths**1.5 / 2, lengths**1.5 / np.sqrt(12)]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def bridge_split(lengths: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, L) with (w1, I1) = M (w, I) + L xi for the first q l of a piece of length l; (..., 2, 2).

    In units of (sqrt(l), l^(3/2)) both depend on q alone, and the conditional covariance, with
    r = 1 - q, is [[q r (1 - 3 q r), q^2 r^2 (1/2 - q)], [., q^3 r^3 / 3]], determinant
    q^4 r^4 / 12: closed forms, as differences of nearly equal numbers would be lost near q = 0, 1.
    """
    r, zero = 1 - q, 0 * q
    M = [[q * (3 * q - 2), 6 * q * r], [-(q**2) * r, q**2 * (3 - 2 * q)]]
    root = np.sqrt(q * r * (1 - 3 * q * r))
    safe = np.where(root > 0, root, 1.0)
    L = [[root, zero], [q**2 * r**2 * (0.5 - q) / safe, q**2 * r**2 / np.sqrt(12) / safe]]
    scale = np.stack([np.sqrt(lengths), lengths**1.5], -1)
    return _stack(M) * scale[..., :, None] / scale[..., None, :], _stack(L) * scale[..., :, None]


def _stack(rows: list[list[np.ndarray]]) -> np.ndarray:
    return np.stack([np.stack(row, -1) for row in rows], -2)


def combined(total: list[Any], part: list[Any], lengths: Any) -> list[Any]:
    """(w, I) of two pieces in a row, ``total`` and then ``part`` of length l.

    The areas compose as I + l w + I_part. Without areas both lists hold w alone.
    """
    if len(total) == 1:
        return [total[0] + part[0]]
    grown = scalar_for(lengths, total[0]) * total[0]
    return [total[0] + part[0], total[1] + grown + part[1]]
