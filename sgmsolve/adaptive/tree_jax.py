"""A virtual Brownian tree in jax: w(t) and its integral as pure functions of (seed, sample, t).

The interval is halved ``depth`` times; the midpoint of a cell of length l follows from the cell's
increment w and area I by the laws of :mod:`sgmsolve.adaptive.brownian` with q = 1/2, its normals
keyed by (seed, sample, number of the cell). Within the last cells the path is its conditional mean,
a quadratic: the variance missing is at most 2^-depth/16 of the interval. Every sample may ask for
another time, and nothing is stored, so it runs inside ``lax.while_loop`` (Jelincic & Foster 2024,
arXiv:2405.06464, describe the idea; Li et al. 2020, arXiv:2001.01328, its first form).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from sgmsolve.adaptive.brownian import Shapes
from sgmsolve.backends.noise import KeyedNoise


class Tree:
    """Paths of n samples on an own time 0 <= u <= span.

    Args:
        keyed: seed; ``indices`` (n,) integers. like: an array of the states' dtype. shapes: of the
            motions, without the batch axis. span: length of the interval. depth: halvings.
    """

    def __init__(
        self, keyed: KeyedNoise, indices: Any, like: Any, shapes: Shapes, span: float, depth: int
    ) -> None:
        self.keyed, self.indices, self.like = keyed, jnp.asarray(indices), like
        self.shapes, self.span, self.depth = shapes, span, depth

    def _normals(self, cells: Any, motion: int) -> tuple[Any, Any]:
        shape = self.shapes[motion]
        made = [
            self.keyed.each(self.indices, cells, 2 * motion + part, shape, self.like)
            for part in range(2)
        ]
        return made[0], made[1]

    def at(self, u: Any) -> list[tuple[Any, Any]]:
        """(w(u), integral of w from 0 to u) of every motion, (n, *shape); u (n,)."""
        return [self._walk(u, motion) for motion in range(len(self.shapes))]

    def _walk(self, u: Any, motion: int) -> tuple[Any, Any]:
        def column(values: Any) -> Any:
            return values.reshape(values.shape + (1,) * len(self.shapes[motion])).astype(
                self.like.dtype
            )

        xi, eta = self._normals(jnp.zeros(u.shape, jnp.int32), motion)
        w = jnp.sqrt(self.span) * xi
        area = self.span**1.5 * (xi / 2 + eta / jnp.sqrt(12.0))
        nothing = (jnp.zeros_like(w), jnp.zeros_like(w))

        def halve(level: Any, state: Any) -> Any:
            cell, start, w, area, before, integral = state
            half = self.span * 0.5 ** (level + 1.0)
            xi, eta = self._normals(cell, motion)
            # q = 1/2 in the formulas of ``bridge_split``, for a cell of length 2 half.
            w1 = -w / 4 + 0.75 * area / half + jnp.sqrt(2 * half) / 4 * xi
            area1 = -half / 4 * w + area / 2 + (2 * half) ** 1.5 / (4 * jnp.sqrt(12.0)) * eta
            right = u >= start + half
            there = column(right) > 0
            moved = (before + w1, integral + half * before + area1)
            rest = (w - w1, area - area1 - half * w1)
            return (
                2 * cell + right,
                start + jnp.where(right, half, 0.0),
                jnp.where(there, rest[0], w1),
                jnp.where(there, rest[1], area1),
                jnp.where(there, moved[0], before),
                jnp.where(there, moved[1], integral),
            )

        begin = (jnp.ones(u.shape, jnp.int32), jnp.zeros_like(u), w, area, *nothing)
        _, start, w, area, before, integral = jax.lax.fori_loop(0, self.depth, halve, begin)
        length = self.span * 0.5**self.depth
        q = column((u - start) / length)
        r = 1 - q
        w1 = q * (3 * q - 2) * w + 6 * q * r / length * area
        area1 = -(q**2) * r * length * w + q**2 * (3 - 2 * q) * area
        return before + w1, integral + q * length * before + area1
