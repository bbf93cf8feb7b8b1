"""Distances between two sets of samples; in the limit both are 0 for equal laws only."""

from __future__ import annotations

import numpy as np

from sgmsolve.errors import AnalysisError

DIRECTIONS = 128


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Energy distance sqrt(2 E|X - Y| - E|X - X'| - E|Y - Y'|), in data units^(1/2).

    Args:
        x, y: samples (n, *shape) and (m, *shape), n and m at least 1.

    The means run over all pairs, a sample with itself included (V-statistic), so that the value is
    never negative and is above 0 between two finite sets of one law: compare it with that floor.
    Source: Székely and Rizzo 2013, J. Stat. Plan. Inference 143:1249.

    Raises: AnalysisError for sets of other shapes.
    """
    a, b = _flat(x, y)
    value = 2 * _mean_distance(a, b) - _mean_distance(a, a) - _mean_distance(b, b)
    return float(np.sqrt(max(value, 0.0)))


def sliced_w2(
    x: np.ndarray, y: np.ndarray, *, directions: int = DIRECTIONS, seed: int = 0
) -> float:
    """Sliced 2-Wasserstein distance: root mean of the squared 1-D distance over random directions.

    Args:
        x, y: equally many samples (n, *shape).
        directions: unit vectors, drawn from ``seed``; the same seed compares like with like.

    For two sets shifted by d it is |d| / sqrt(dimension) on average over directions.
    Source: Bonneel, Rabin, Peyré and Pfister 2015, J. Math. Imaging Vis. 51:22.

    Raises: AnalysisError for sets of other shapes or sizes.
    """
    a, b = _flat(x, y)
    if len(a) != len(b):
        msg = (
            f"sliced W2 matches samples one to one, but {len(a)} and {len(b)} were given; "
            f"give as many of both."
        )
        raise AnalysisError(msg)
    u = np.random.default_rng(seed).standard_normal((a.shape[1], directions))
    u /= np.linalg.norm(u, axis=0)
    difference = np.sort(a @ u, axis=0) - np.sort(b @ u, axis=0)
    return float(np.sqrt(np.mean(difference**2)))


def _flat(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim < 1 or a.shape[1:] != b.shape[1:] or not len(a) or not len(b):
        msg = (
            f"samples have shapes {a.shape} and {b.shape}, expected (n, *shape) and (m, *shape) "
            f"with the same shape of one sample; reshape them."
        )
        raise AnalysisError(msg)
    return a.reshape(len(a), -1), b.reshape(len(b), -1)


def _mean_distance(a: np.ndarray, b: np.ndarray, rows: int = 500) -> float:
    """Mean Euclidean distance over all pairs, some rows at a time.

    Squares come from the Gram matrix after centring; its cancellation, 1e-8 of the sets' diameter
    in a distance, only touches pairs that are nearly equal.
    """
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    square = np.sum(b * b, axis=1)
    total = 0.0
    for i in range(0, len(a), rows):
        part = a[i : i + rows]
        d2 = np.sum(part * part, axis=1)[:, None] + square - 2 * (part @ b.T)
        total += float(np.sum(np.sqrt(np.maximum(d2, 0.0))))
    return total / (len(a) * len(b))
