"""Keyed normals on torch: one generator, reseeded for every sample; small samples by the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from sgmsolve.backends.noise import KeyedNoise

is_compiling = torch.compiler.is_compiling
_MASK = (1 << 64) - 1


def _mix(x: int) -> int:
    """A bijection of 64-bit words (splitmix64: Steele, Lea & Flood, OOPSLA 2014, figure 16)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def stream_seed(seed: int, row: int, column: int) -> int:
    """Word of (seed, row, column); ``_mix(word ^ _mix(index))`` seeds a sample's stream."""
    return _mix(_mix(seed) ^ (((column & 0xFFFFFFFF) << 32) | (row & 0xFFFFFFFF)))


def keyed_draw(noise: KeyedNoise, indices: np.ndarray, like: Any) -> Callable[[int, int], Any]:
    """``draw(row, column)`` shaped like ``like``, on its device.

    Normals are drawn in float64 for a float64 state, else in float32 and rounded. torch's CPU
    generator looks at 32 bits of a stream's seed, so among 10^5 streams two may agree;
    ``noise="philox"`` has no such limit, nor have accelerators.
    """
    from sgmsolve.backends.noise import SHARD, SMALL

    shape, seed = tuple(like.shape[1:]), noise.seed
    size = int(np.prod(shape))
    if size <= SMALL and noise.keying == "sample":
        return noise.host_draw(indices, like)
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    generator = torch.Generator(device=like.device)
    if noise.keying == "sample":
        blocks, position, width = indices, None, 1
    else:
        blocks, where = np.unique(indices // SHARD, return_inverse=True)
        position = torch.from_numpy(where * SHARD + indices % SHARD).to(like.device)
        width = SHARD
    keys = [_mix(int(i)) for i in blocks]

    def draw(row: int, column: int) -> Any:
        word = stream_seed(seed, row, column)
        out = torch.empty((len(keys), width * size), dtype=exact, device=like.device)
        for key, part in zip(keys, out.unbind(0), strict=True):
            generator.manual_seed(_mix(word ^ key))
            part.normal_(generator=generator)
        drawn = out.view(len(keys) * width, *shape)
        drawn = drawn if position is None else drawn[position]
        return drawn.to(like.dtype)

    return draw


def each(
    seed: int,
    indices: np.ndarray,
    rows: np.ndarray,
    column: int,
    shape: tuple[int, ...],
    like: Any,
) -> Any:
    """(n, *shape): row ``rows[i]`` of sample ``indices[i]``, the numbers of ``keyed_draw``."""
    exact = torch.float64 if like.dtype == torch.float64 else torch.float32
    generator = torch.Generator(device=like.device)
    out = torch.empty((len(indices), *shape), dtype=exact, device=like.device)
    words = {int(row): stream_seed(seed, int(row), column) for row in np.unique(rows)}
    for index, row, part in zip(indices.tolist(), rows.tolist(), out.unbind(0), strict=True):
        generator.manual_seed(_mix(words[row] ^ _mix(index)))
        part.normal_(generator=generator)
    return out.to(like.dtype)


@torch.library.custom_op("sgmsolve::keyed_normals", mutates_args=())
def _keyed(
    like: torch.Tensor,
    indices: torch.Tensor | None,
    seed: str,
    row: int,
    column: int,
    keying: str,
    generator: str,
) -> torch.Tensor:
    from sgmsolve.backends.noise import KeyedNoise

    numbers = None if indices is None else indices.cpu().numpy()
    noise = KeyedNoise(int(seed), numbers, keying=keying, generator=generator)
    return noise.bind(None, (like,))(row, column).clone()


@_keyed.register_fake
def _(
    like: torch.Tensor,
    indices: torch.Tensor | None,
    seed: str,
    row: int,
    column: int,
    keying: str,
    generator: str,
) -> torch.Tensor:
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def traced_draw(noise: KeyedNoise, like: Any) -> Callable[[int, int], Any]:
    """``draw`` inside ``torch.compile``: one opaque operator, the same numbers, no graph break."""
    indices = None if noise.indices is None else torch.as_tensor(noise.indices)

    def draw(row: int, column: int) -> Any:
        return _keyed(like, indices, str(noise.seed), row, column, noise.keying, noise.generator)

    return draw
