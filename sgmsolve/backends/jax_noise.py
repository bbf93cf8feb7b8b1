"""Keyed normals on jax: one key a sample, folded from (seed, sample index, row, column)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from sgmsolve.backends.noise import KeyedNoise

Where = tuple[Any, Any, Any]
"""Root key, (n,) block numbers, (batch,) positions in the blocks (None: one sample a block)."""


def where(noise: KeyedNoise, batch: int) -> Where:
    """What a run's draws share: arrays that a jitted run takes as arguments."""
    from sgmsolve.backends.noise import SHARD

    low, high = noise.seed & 0xFFFFFFFF, noise.seed >> 32
    root = jax.random.fold_in(jax.random.PRNGKey(np.uint32(low)), np.uint32(high))
    indices = noise.numbers(batch)
    if noise.keying == "sample":
        return root, indices.astype(np.uint32), None
    blocks, place = np.unique(indices // SHARD, return_inverse=True)
    return root, blocks.astype(np.uint32), place * SHARD + indices % SHARD


def normals(at: Where, row: Any, column: int, shape: tuple[int, ...], dtype: Any) -> Any:
    """(batch, *shape) normals of a row (may be traced) and column; 16-bit types round float32."""
    from sgmsolve.backends.noise import SHARD

    root, blocks, position = at
    word = jnp.asarray(row).astype(jnp.int32).astype(jnp.uint32)
    drawn_as = dtype if jnp.dtype(dtype).itemsize >= 4 else jnp.float32

    def one(block: Any) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(root, block), word)
        key = jax.random.fold_in(key, np.uint32(column))
        return jax.random.normal(key, shape if position is None else (SHARD, *shape), drawn_as)

    drawn = jax.vmap(one)(blocks)
    if position is not None:
        drawn = drawn.reshape(-1, *shape)[position]
    return drawn.astype(dtype)


_normals = jax.jit(normals, static_argnums=(2, 3, 4))


def keyed_draw(noise: KeyedNoise, indices: np.ndarray, like: Any) -> Callable[[int, int], Any]:
    """``draw(row, column)`` for runs that the host drives: the numbers of the scan."""
    at, shape, dtype = where(noise, len(indices)), tuple(like.shape[1:]), like.dtype
    return lambda row, column: _normals(at, np.int32(row), column, shape, dtype)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _each(words: Any, blocks: Any, rows: Any, column: int, shape: Any, dtype: Any) -> Any:
    root = jax.random.fold_in(jax.random.PRNGKey(words[0]), words[1])

    def one(block: Any, row: Any) -> Any:
        return normals((root, block[None], None), row, column, shape, dtype)[0]

    return jax.vmap(one)(blocks, rows)


def each(
    seed: int, indices: Any, rows: Any, column: int, shape: tuple[int, ...], dtype: Any
) -> Any:
    """(n, *shape): row ``rows[i]`` of sample ``indices[i]``, the numbers of ``keyed_draw``."""
    words = np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32)
    return _each(words, indices.astype(np.uint32), rows.astype(np.int32), column, shape, dtype)
