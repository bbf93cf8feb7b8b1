"""Brownian increments for steps that may be rejected: one path a sample, revealed as it is needed.

Redrawing the noise after a rejection is biased at any tolerance: of the increments tried, those
with a small error estimate survive. ``Bridge`` keeps to one path. Each sample holds the pieces of
its path that have been looked at and not yet used, in order of time; an attempt of size h that ends
inside a piece (l, w) splits it by a Brownian bridge at q l,

    w1 = q w + sqrt(q (1 - q) l) xi,     w2 = w - w1,

one that goes beyond the last piece appends a new one. A rejection forgets nothing; accepting drops
the pieces used (Rackauckas & Nie 2017, "Adaptive methods for stochastic differential equations via
natural embeddings and rejection sampling with memory"). One normal an attempt.

With areas a piece also holds I = int_0^l (w(u) - w(0)) du, and is split by the law of (w1, I1)
given (w, I), see :mod:`sgmsolve.adaptive.areas`.

Normals are keyed by (seed, sample, number of the sample's draw): what a sample gets depends on its
own history alone, never on its batch.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import State, choose, on_device, overwrite, take
from sgmsolve.adaptive.areas import bridge_split, combined, fresh
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.model.base import scalar_for

SIGN_COLUMN = 1 << 30
"""Column of the random signs of Algorithm 2, away from those of the path."""

Shapes = tuple[tuple[int, ...], ...]


class Source:
    """Draws of n samples: keyed normals and a counter a sample.

    Args:
        keyed: seed, indices and generator.
        like: an array (n, ...) of the state: library, dtype and device.
        shapes: shapes of the motions, without the batch axis.
        area: whether areas are wanted too.
        keep: whether the counter of a sample goes back after a rejection, so that the same
            normals are scaled to the shorter step (``noise="reuse"``).
    """

    def __init__(
        self, keyed: KeyedNoise, like: Any, shapes: Shapes, area: bool, keep: bool = False
    ) -> None:
        self.keyed, self.shapes, self.width, self.keep = keyed, shapes, 1 + area, keep
        self.indices = keyed.numbers(like.shape[0])
        self.counters, self.drawn = np.zeros(len(self.indices), dtype=np.int64), 0
        self.like = like[:0]

    def normals(self, motion: int) -> list[Any]:
        """``width`` arrays (n, *shape) of this motion, for the samples' counters."""
        first = motion * self.width
        columns = range(first, first + self.width)
        like, shape = self.like, self.shapes[motion]
        return [self.keyed.each(self.indices, self.counters, c, shape, like) for c in columns]

    def signs(self) -> State:
        """Signs +-1 with equal chances for every entry of every motion; new ones every attempt.

        Independent ones: were a sign shared by two motions of general noise, the products of their
        shifts would not average out.
        """
        made = []
        for k, shape in enumerate(self.shapes):
            drawn = self.keyed.each(self.indices, self.counters, SIGN_COLUMN + k, shape, self.like)
            xp = array_namespace(drawn)
            made.append(xp.where(drawn < 0, -xp.ones_like(drawn), xp.ones_like(drawn)))
        return tuple(made)

    def draw(self, t: np.ndarray, h: np.ndarray) -> list[list[Any]]:
        """For each motion [dw] or [dw, I] over a step of length h; h (n,) host float64."""
        made = [
            apply(fresh(h)[..., : self.width, : self.width], self.normals(k))
            for k in range(len(self.shapes))
        ]
        self.counters = self.counters + 1
        self.drawn += 1
        return made

    def halves(self, t: np.ndarray, h: np.ndarray) -> tuple[list[list[Any]], list[list[Any]]]:
        """As ``draw``, over the first half of the step and over the whole of it."""
        first, second = self.draw(t, h / 2), self.draw(t, h / 2)
        length = on_device(h / 2, self.like)
        return first, [combined(a, b, length) for a, b in zip(first, second, strict=True)]

    def draws(self, names: tuple[str, ...], t: np.ndarray, h: np.ndarray) -> dict[str, State]:
        """What a step of length h takes, by the names of ``Stepper.draws``."""
        found: dict[str, State] = {"sign": self.signs()} if "sign" in names else {}
        if "half" in names:
            first, made = self.halves(t, h)
            found["half"] = tuple(parts[0] for parts in first)
        else:
            made = self.draw(t, h)
        found["increment"] = tuple(parts[0] for parts in made)
        if "area" in names:
            found["area"] = tuple(parts[1] for parts in made)
        return found

    def settle(self, accepted: np.ndarray) -> None:
        """The attempts drawn last were accepted, or not; (n,) bools."""
        if self.keep:
            self.counters = self.counters - np.where(accepted, 0, self.drawn)
        self.drawn = 0

    def select(self, rows: np.ndarray) -> None:
        """Go on with these rows of the batch."""
        self.indices, self.counters = self.indices[rows], self.counters[rows]


def apply(matrix: Any, arrays: list[Any]) -> list[Any]:
    """Rows of (n, r, r) matrices times r arrays (n, *shape)."""
    out = []
    for row in range(len(arrays)):
        total: Any = None
        for column, x in enumerate(arrays):
            term = scalar_for(on_device(matrix[:, row, column], x), x) * x
            total = term if total is None else total + term
        out.append(total)
    return out


def _reveal_and_sum(
    parts: list[Any], xi: list[Any], M: Any, L: Any, new: Any, left: Any, sums: list[Any]
) -> tuple[list[Any], list[Any]]:
    """(pieces with the new ones written, [dw] or [dw, I] of the attempt), for one motion."""
    where, partial = new
    old = [take(x, where) for x in parts]
    made = [a + b for a, b in zip(apply(M, old), apply(L, xi), strict=True)]
    kept = choose(on_device(partial, old[0]), tuple(made), tuple(old))
    parts = [overwrite(x, where, v) for x, v in zip(parts, kept, strict=True)]
    if left is not None:
        after, split, remainder = left
        rest = [old[0] - made[0]]
        if len(parts) == 2:
            grown = scalar_for(on_device(remainder, old[0]), old[0]) * made[0]
            rest.append(old[1] - made[1] - grown)
        there = tuple(take(x, after) for x in parts)
        kept = choose(on_device(split, old[0]), tuple(rest), there)
        parts = [overwrite(x, after, v) for x, v in zip(parts, kept, strict=True)]
    total: list[Any] = []
    for rows, inside, length in sums:
        piece = tuple(take(x, rows) for x in parts)
        zeros = tuple(0 * x for x in piece)
        piece = choose(on_device(inside, piece[0]), piece, zeros)
        total = combined(total, list(piece), on_device(length, piece[0])) if total else list(piece)
    return parts, total


@functools.cache
def _compiled() -> Any:
    import jax

    return jax.jit(_reveal_and_sum)


class Bridge(Source):
    """Draws that keep to one path a sample; see the module's docstring.

    Piece p of sample i has length ``lengths[i, p]`` and stands in slot ``slots[i, p]`` of the
    device arrays; ``slots[i]`` is a permutation, whose entries from ``count[i]`` on are free.
    """

    def __init__(self, keyed: KeyedNoise, like: Any, shapes: Shapes, area: bool) -> None:
        super().__init__(keyed, like, shapes, area)
        n, depth = len(self.indices), 4
        self.lengths, self.slots = np.zeros((n, depth)), np.tile(np.arange(depth), (n, 1))
        self.count, self.used = np.zeros((2, n), dtype=np.int64)
        xp = array_namespace(like)
        kind: dict[str, Any] = {"dtype": like.dtype}
        if hasattr(like, "device") and not isinstance(like, np.ndarray):
            kind["device"] = like.device
        self.pieces = [
            [xp.zeros((n * depth, *shape), **kind) for _ in range(self.width)] for shape in shapes
        ]

    def draw(self, t: np.ndarray, h: np.ndarray) -> list[list[Any]]:
        """See ``Source.draw``: reveals the path at t + h and adds up the pieces before."""
        if self.count.max(initial=0) + 2 > self.lengths.shape[1]:
            self._grow()
        n, depth = self.lengths.shape
        every, places = np.arange(n), np.arange(depth)
        ends = np.cumsum(self.lengths, axis=1)
        whole = (places < self.count[:, None]) & (ends <= h[:, None] * (1 + 1e-12))
        at = whole.sum(axis=1)
        rest = h - np.where(at > 0, ends[every, at - 1], 0.0)
        partial = rest > 1e-12 * h
        split = partial & (at < self.count)
        length = np.where(split, self.lengths[every, at], rest)
        M, L = self._weights(split, length, np.where(partial, rest, 0.0))
        self._insert(partial, split, at, rest, length)
        self.used = at + partial
        books = self._books(M, L, partial, split, at, length - rest)
        work = _compiled() if kind_of(self.like) == "jax" else _reveal_and_sum
        made = []
        for k, parts in enumerate(self.pieces):
            self.pieces[k], total = work(parts, self.normals(k), **books)
            made.append(total)
        self.counters = self.counters + 1
        return made

    def halves(self, t: np.ndarray, h: np.ndarray) -> tuple[list[list[Any]], list[list[Any]]]:
        """See ``Source.halves``."""
        return self.draw(t, h / 2), self.draw(t, h)

    def settle(self, accepted: np.ndarray) -> None:
        """Drop the pieces that accepted attempts have used."""
        gone = np.where(accepted, self.used, 0)
        depth = self.lengths.shape[1]
        order = (np.arange(depth) + gone[:, None]) % depth
        left = np.arange(depth) < (self.count - gone)[:, None]
        self.slots = np.take_along_axis(self.slots, order, axis=1)
        self.lengths = np.where(left, np.take_along_axis(self.lengths, order, axis=1), 0.0)
        self.count, self.used = self.count - gone, np.zeros_like(self.used)

    def select(self, rows: np.ndarray) -> None:
        """Go on with these rows of the batch."""
        super().select(rows)
        depth = self.lengths.shape[1]
        flat = (rows[:, None] * depth + np.arange(depth)).reshape(-1)
        self.pieces = [[take(x, flat) for x in parts] for parts in self.pieces]
        self.lengths, self.slots = self.lengths[rows], self.slots[rows]
        self.count, self.used = self.count[rows], self.used[rows]

    def _weights(
        self, split: np.ndarray, length: np.ndarray, rest: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(M, L): the first ``rest`` of a piece is M times the piece plus L times normals."""
        q = np.where(split, rest / np.where(split, length, 1.0), 0.0)
        if self.width == 1:
            M, L = q[:, None, None], np.sqrt(q * (1 - q) * length)[:, None, None]
        else:
            M, L = bridge_split(np.where(split, length, 1.0), q)
        new = split[:, None, None]
        return np.where(new, M, 0.0), np.where(new, L, fresh(rest)[..., : self.width, : self.width])

    def _insert(
        self,
        partial: np.ndarray,
        split: np.ndarray,
        at: np.ndarray,
        rest: np.ndarray,
        length: np.ndarray,
    ) -> None:
        """Book the new piece at ``at``; after a split its remainder follows, in a free slot."""
        n, depth = self.lengths.shape
        every, places = np.arange(n), np.arange(depth)
        moved = split[:, None] & (places > at[:, None] + 1) & (places <= self.count[:, None])
        source = np.where(moved, places - 1, places)
        source[every[split], at[split] + 1] = self.count[split]
        self.slots = np.take_along_axis(self.slots, source, axis=1)
        self.lengths = np.take_along_axis(self.lengths, source, axis=1)
        self.lengths[every[partial], at[partial]] = rest[partial]
        self.lengths[every[split], at[split] + 1] = (length - rest)[split]
        self.count = self.count + partial

    def _books(
        self,
        M: np.ndarray,
        L: np.ndarray,
        partial: np.ndarray,
        split: np.ndarray,
        at: np.ndarray,
        remainder: np.ndarray,
    ) -> dict[str, Any]:
        """What the device needs to know: weights, masks, lengths and rows, in time's order."""
        fixed = kind_of(self.like) == "jax"  # one program for all attempts
        depth = self.lengths.shape[1]
        places = range(depth if fixed else max(1, int(self.used.max(initial=0))))
        inside = [p < self.used for p in places]
        after = self._flat(at + 1) if fixed or split.any() else None
        return {
            "M": M,
            "L": L,
            "new": (self._flat(at), partial),
            "left": None if after is None else (after, split, remainder),
            "sums": [
                (self._flat(np.full_like(self.used, p)), i, np.where(i, self.lengths[:, p], 0.0))
                for p, i in zip(places, inside, strict=True)
            ],
        }

    def _flat(self, places: np.ndarray) -> np.ndarray:
        """Rows of the device arrays that hold the pieces at ``places`` (n,)."""
        every = np.arange(len(places))
        return every * self.lengths.shape[1] + self.slots[every, places]

    def _grow(self) -> None:
        """Twice the room for pieces."""
        n, depth = self.lengths.shape
        for parts in self.pieces:
            for i, x in enumerate(parts):
                xp, shape = array_namespace(x), x.shape[1:]
                blocks = x.reshape(n, depth, *shape)
                parts[i] = xp.concat([blocks, 0 * blocks], axis=1).reshape(2 * n * depth, *shape)
        self.slots = np.concatenate([self.slots, self.slots + depth], axis=1)
        self.lengths = np.concatenate([self.lengths, 0 * self.lengths], axis=1)
