"""Random directions for estimates of a trace, keyed by the samples' numbers.

numpy and torch share numbers drawn on the host; jax draws its own inside the compiled program, so
that one program serves every batch. Nothing depends on a sample's batch mates.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.backends.noise import KeyedNoise

DISTRIBUTIONS = ("rademacher", "gaussian")

COLUMN = 2**16
"""Column of the keyed draws that probes are made of: no plan draws that many."""

HALF = 2**16
"""A sample's number is carried as two floats below this, which float32 holds exactly."""


@dataclasses.dataclass(frozen=True, eq=False)
class Probes:
    """``count`` directions for each sample; ``table`` (batch, count, N) except on jax."""

    count: int
    distribution: str
    seed: int
    table: Any = None

    def __call__(self, numbers: Any, size: int, dtype: Any) -> Any:
        """(count, n, size) for numbers (n, 2) as ``carried`` made them."""
        xp = array_namespace(numbers)
        if self.table is not None:
            rows = xp.astype(numbers[:, 0] * HALF + numbers[:, 1], xp.int64)
            return xp.permute_dims(self.table[rows], (1, 0, 2))
        import jax

        from sgmsolve.backends import jax_noise

        root = jax_noise.where(KeyedNoise(self.seed), 0)[0]
        words = numbers.astype(xp.uint32)
        at = root, words[:, 0] * np.uint32(HALF) + words[:, 1], None
        draw = jax.vmap(lambda k: jax_noise.normals(at, k, COLUMN, (size,), dtype))
        made = draw(xp.arange(self.count))
        return xp.where(made < 0, -1.0, 1.0).astype(dtype) if self._signs else made

    @property
    def _signs(self) -> bool:
        return self.distribution == "rademacher"

    def drawn(self, z: tuple[Any, ...], indices: Any) -> Probes:
        """Itself with the table for a batch z of m arrays; jax needs none."""
        if kind_of(z[0]) == "jax":
            return self
        source, size = KeyedNoise(self.seed, indices), len(z) * math.prod(z[0].shape[1:])
        numbers = source.numbers(z[0].shape[0])
        rows = [source.host(numbers, k, COLUMN, (size,)) for k in range(self.count)]
        made = np.stack(rows, axis=1)
        made = np.where(made < 0, -1.0, 1.0) if self._signs else made
        table = array_namespace(z[0]).asarray(made, dtype=z[0].dtype, **place(z[0]))
        return dataclasses.replace(self, table=table)


def carried(z: tuple[Any, ...], seed: int, indices: Any) -> Any:
    """What a state carries to find its probes, (batch, 2): rows of the table, on jax ``indices``.

    Raises: BackendError for indices that do not fit the batch.
    """
    x, batch = z[0], z[0].shape[0]
    numbers = KeyedNoise(seed, indices).numbers(batch) if kind_of(x) == "jax" else np.arange(batch)
    halves = np.stack([numbers // HALF, numbers % HALF], axis=1).astype(np.float64)
    return array_namespace(x).asarray(halves, dtype=x.dtype, **place(x))


def place(like: Any) -> dict[str, Any]:
    """Where to make an array beside ``like``; jax places its own."""
    return {"device": like.device} if kind_of(like) == "torch" else {}
