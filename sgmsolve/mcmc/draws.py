"""Random numbers of chains: keyed by (seed, chain, step), so that no chain depends on its mates."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from sgmsolve.backends.noise import Draw, KeyedNoise, Noise
from sgmsolve.errors import ChainError
from sgmsolve.plan import Plan

PROPOSAL, ACCEPT, LEVEL, JITTER, RAISED = range(5)
"""Columns of the draws of one step."""

STRIDE = 2**12
"""Rows kept free for the denoising plan of one emission."""

_HOST = np.empty(0)


def derived_seed(seed: int, purpose: str) -> int:
    """A seed below 2^64 for another use of the same seed: start, restart, denoising."""
    digest = hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Draws:
    """Normals and uniforms of all chains at one step; uniforms and host normals are philox's."""

    def __init__(self, seed: int, indices: Any, chains: int) -> None:
        keyed = KeyedNoise(seed, indices)
        self.keyed, self.seed = keyed, keyed.seed
        self.indices = keyed.numbers(chains)
        self._host = KeyedNoise(seed, generator="philox")
        self.step = 0

    def _rows(self) -> np.ndarray:
        return np.full(len(self.indices), self.step)

    def normals(self, column: int, like: Any) -> Any:
        """(chains, *shape) normals beside ``like``."""
        shape = tuple(like.shape[1:])
        return self.keyed.each(self.indices, self._rows(), column, shape, like)

    def host_normals(self, column: int) -> np.ndarray:
        """(chains,) float64."""
        drawn: np.ndarray = self._host.each(self.indices, self._rows(), column, (1,), _HOST)
        return drawn[:, 0]

    def uniforms(self, column: int) -> np.ndarray:
        """(chains,) float64 in (0, 1): exp(-r^2/2) of a pair undoes Box and Muller's radius."""
        pair = self._host.each(self.indices, self._rows(), column, (2,), _HOST)
        return np.asarray(np.exp(-0.5 * np.sum(pair * pair, axis=1)))


class EmissionNoise(Noise):
    """Draws of a plan that denoises samples of several emissions: row r of emission e of chain i.

    chains, emissions: (batch,) integers of the samples in the batch.
    """

    def __init__(self, seed: int, chains: np.ndarray, emissions: np.ndarray) -> None:
        self.keyed, self.chains, self.emissions = KeyedNoise(seed), chains, emissions

    def identity(self, batch: int) -> str:
        """Seed and samples."""
        return f"{self.keyed.seed}, {self.chains.tolist()}, {self.emissions.tolist()}"

    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """See :class:`Noise`. Raises: ChainError for a plan of too many rows."""
        if plan.rows > STRIDE - 2:
            msg = (
                f"the denoiser takes {plan.rows} evaluations, expected at most {STRIDE - 2}; take "
                f"fewer steps."
            )
            raise ChainError(msg)
        like = z[0]
        shape = tuple(like.shape[1:])

        def draw(row: int, column: int) -> Any:
            rows = self.emissions * STRIDE + row + 1
            return self.keyed.each(self.chains, rows, column, shape, like)

        return draw
