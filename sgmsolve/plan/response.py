"""The response of a plan: the affine map from everything that goes in to the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sgmsolve.plan.plan import Plan


@dataclass(frozen=True)
class Response:
    """The affine map from everything that goes in to the result.

    z = z0 z(t_start) + sum predictions e + sum noise xi, with ``z0`` (m, m), ``predictions``
    (R, m, p), ``noise`` (draws, m); draws in order: prelude, then by row.
    """

    z0: np.ndarray
    predictions: np.ndarray
    noise: np.ndarray

    def flat(self) -> np.ndarray:
        """All entries as one vector, for comparison."""
        return np.concatenate([self.z0.ravel(), self.predictions.ravel(), self.noise.ravel()])


def propagate(plan: Plan, wanted: list[tuple[int, int]]) -> list[Response]:
    """Responses of the registers wanted, (boundary, register) each, then that of the result."""
    plan.need_plain("its response")
    m, km, R, p = plan.m, plan.k * plan.m, plan.rows, plan.p
    columns = [(-1, j) for j in plan.active_draws(-1)]
    columns += [(r, j) for r in range(R) for j in plan.active_draws(r)]
    position = {c: m + R * p + i for i, c in enumerate(columns)}
    dtype = plan.move.dtype
    Z = np.zeros((km, m + R * p + len(columns)), dtype=dtype)
    Z[:, :m] = plan.prelude_move
    for j in plan.active_draws(-1):
        Z[:, position[-1, j]] = plan.prelude_noise[:, j]
    kept: dict[tuple[int, int], np.ndarray] = {}
    for r in range(R + 1):
        for boundary, register in wanted:
            if boundary == r:
                kept[boundary, register] = Z[register * m : (register + 1) * m].copy()
        if r == R:
            break
        Z = plan.move[r] @ Z
        for j in range(min(plan.history, r + 1)):
            block = m + (r - j) * p
            Z[:, block : block + p] += plan.kick[r, :, :, j]
        for j in plan.active_draws(r):
            Z[:, position[r, j]] += plan.noise[r, :, j]

    def unpack(z: np.ndarray) -> Response:
        predictions = z[:, m : m + R * p].reshape(m, R, p).transpose(1, 0, 2)
        return Response(z[:, :m], predictions, z[:, m + R * p :].T)

    return [*(unpack(kept[w]) for w in wanted), unpack(Z[:m])]
