"""Philox4x32-10 on numpy arrays: a counter goes in, four random words come out, in any order.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3:
ten rounds of two 32 x 32 -> 64 bit products; the key is bumped by the Weyl constants between
rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(counter: Any, key: tuple[int, int], rounds: int = 10) -> tuple[np.ndarray, ...]:
    """Four arrays of words (uint64 below 2^32) for a counter of four broadcastable arrays."""
    x0, x1, x2, x3 = (np.asarray(c, dtype=np.uint64) & _LOW for c in counter)
    k0, k1 = key[0] & 0xFFFFFFFF, key[1] & 0xFFFFFFFF
    for _ in range(rounds):
        p0, p1 = x0 * _M0, x2 * _M1
        x0, x2 = (p1 >> _HALF) ^ x1 ^ np.uint64(k0), (p0 >> _HALF) ^ x3 ^ np.uint64(k1)
        x1, x3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _W0) & 0xFFFFFFFF, (k1 + _W1) & 0xFFFFFFFF
    return x0, x1, x2, x3


def philox_normals(
    seed: int, indices: np.ndarray, rows: np.ndarray, column: int, size: int
) -> np.ndarray:
    """Normals (rows, n, size), float64, keyed by (seed, indices[i], rows[r], column, j).

    Counter (j // 4, column, row, index), key the two halves of the seed; two Box-Muller pairs a
    counter: sqrt(-2 log u) (cos, sin)(2 pi v) with u, v = (word + 1/2) / 2^32, so |normal| < 6.8.
    """
    return _normals(seed, np.asarray(indices), np.asarray(rows)[:, None], column, size)


def philox_paired(
    seed: int, indices: np.ndarray, rows: np.ndarray, column: int, size: int
) -> np.ndarray:
    """Normals (n, size) of row ``rows[i]`` for sample ``indices[i]``: those of philox_normals."""
    return _normals(seed, np.asarray(indices), np.asarray(rows), column, size)


def _normals(
    seed: int, indices: np.ndarray, rows: np.ndarray, column: int, size: int
) -> np.ndarray:
    blocks = -(-size // 4)
    counter = (
        np.arange(blocks, dtype=np.uint64),
        np.uint64(column & 0xFFFFFFFF),
        (rows.astype(np.int64) & 0xFFFFFFFF).astype(np.uint64)[..., None],
        indices.astype(np.uint64)[..., None],
    )
    words = philox4x32(counter, (seed, seed >> 32))
    out = np.empty((*np.broadcast_shapes(rows.shape, indices.shape), blocks, 4))
    for pair in range(2):
        u, v = ((w.astype(np.float64) + 0.5) * 2.0**-32 for w in words[2 * pair : 2 * pair + 2])
        radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
        out[..., 2 * pair] = radius * np.cos(angle)
        out[..., 2 * pair + 1] = radius * np.sin(angle)
    return out.reshape(*out.shape[:-2], 4 * blocks)[..., :size]
