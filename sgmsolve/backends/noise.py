"""Where a plan's standard normals come from: noise is an argument of a run, never a global state.

What a seed fixes. With the default, :class:`KeyedNoise`, the draw of one sample in one row is a
pure function of (seed, sample index, row, column, sample shape), of the array library, the kind of
device and the dtype. Hence batch size, the order of samples, the number of workers and the point of
resumption never matter, to the last bit of the draw. What a seed does not fix: which time interval
a draw covers. Draws belong to row numbers, so row 3 of another plan reads the same normals for
another step: two step counts follow different paths. :class:`PathNoise` is one path shared by
several plans. Where the draws come from:

* numpy: samples of up to ``SMALL`` numbers from vectorised Philox4x32-10 and Box-Muller, larger
  ones from numpy's Philox4x64 generator, keyed a sample; float64, rounded to the state's dtype;
* torch: samples of up to ``SMALL`` numbers are numpy's, larger ones come from the device's own
  generator, reseeded a sample, and share nothing with numpy's: a float64 state has draws of its
  own, float32 draws serve all smaller types, rounded;
* jax: ``jax.random.normal`` with a key folded from (seed, index, row, column); every dtype has
  draws of its own, but 16-bit types round those of float32;
* ``noise="philox"``: always Philox4x32-10 in float64 on the host, rounded and copied: bitwise
  identical on numpy, torch and jax, and other dtypes only round.

``keying="shard"`` keys blocks of ``SHARD`` consecutive sample indices instead of samples: faster
for large batches of small pictures, and still independent of batches, but a batch that covers part
of a block draws all of it.

A noise source has ``bind(plan, z) -> draw``; ``draw(row, column)`` returns one array shaped like
the components of z. Executors ask for a draw only where its column has a nonzero coefficient.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.backends._seeds import cast, check_indices, check_seed, like_array
from sgmsolve.backends.philox import philox_normals, philox_paired
from sgmsolve.errors import BackendError, unknown
from sgmsolve.plan import Plan

Draw = Callable[[int, int], Any]

SMALL = 128
"""Largest sample (numbers) drawn by Philox4x32: above it one generator a sample is faster."""

SHARD = 64
"""Sample indices in one block of ``keying="shard"``."""

BLOCK = 4096
"""Numbers drawn at once for tiny states."""

START_ROW = -2
"""Row number of the starting state's draws; -1 is a plan's prelude."""


class Noise(abc.ABC):
    """A source of standard normals."""

    @abc.abstractmethod
    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """``draw(row, column)`` for a run of ``plan`` on states like ``z``."""

    def identity(self, batch: int) -> str:
        """What must agree when a run is resumed."""
        return type(self).__name__


class KeyedNoise(Noise):
    """Normals keyed by (seed, sample index, row, column); the default. See the module's docstring.

    Args:
        seed: 0 <= seed < 2^64.
        indices: (batch,) sample indices, 0 <= index < 2^32; default 0, 1, ..., batch - 1.
        keying: ``"sample"`` or ``"shard"``.
        generator: ``"native"`` or ``"philox"`` (host, identical on all backends).

    Raises:
        BackendError: for anything else.
    """

    def __init__(
        self,
        seed: int = 0,
        indices: Any = None,
        *,
        keying: str = "sample",
        generator: str = "native",
    ) -> None:
        self.seed = check_seed(seed)
        self.indices = None if indices is None else check_indices(indices)
        if keying not in ("sample", "shard"):
            raise BackendError(unknown("keying", str(keying), ("sample", "shard")))
        if generator not in ("native", "philox"):
            raise BackendError(unknown("noise generator", str(generator), ("native", "philox")))
        self.keying, self.generator = keying, generator

    def numbers(self, batch: int) -> np.ndarray:
        """The (batch,) sample indices. Raises BackendError if another number was given."""
        if self.indices is None:
            return np.arange(batch)
        if len(self.indices) != batch:
            msg = (
                f"{len(self.indices)} sample indices were given for a batch of {batch}; pass one "
                "index a sample."
            )
            raise BackendError(msg)
        return self.indices

    def identity(self, batch: int) -> str:
        """Seed, keying, generator and indices."""
        indices = self.numbers(batch).tolist()
        listed = "0.." if indices == list(range(batch)) else str(indices)
        return f"seed {self.seed}, {self.keying}, {self.generator}, indices {listed}"

    def bind(self, plan: Plan | None, z: tuple[Any, ...]) -> Draw:
        """See :class:`Noise`; ``plan`` is not looked at."""
        like = z[0]
        if kind_of(like) == "torch":
            from sgmsolve.backends import torch_noise

            if torch_noise.is_compiling():
                return torch_noise.traced_draw(self, like)
        indices = self.numbers(like.shape[0])
        if self.generator == "native" and kind_of(like) == "torch":
            return torch_noise.keyed_draw(self, indices, like)
        if self.generator == "native" and kind_of(like) == "jax":
            from sgmsolve.backends.jax_noise import keyed_draw as jax_draw

            return jax_draw(self, indices, like)
        return self.host_draw(indices, like)

    def each(self, indices: Any, rows: Any, column: int, shape: tuple[int, ...], like: Any) -> Any:
        """(n, *shape) normals of row ``rows[i]`` for sample ``indices[i]``, beside ``like``.

        Those that ``bind`` gives where all rows are the same; always keyed by sample.
        """
        kind, size = kind_of(like), int(np.prod(shape))
        if self.generator == "native" and kind == "jax":
            from sgmsolve.backends.jax_noise import each as jax_each

            return jax_each(self.seed, indices, rows, column, shape, like.dtype)
        if self.generator == "native" and kind == "torch" and size > SMALL:
            from sgmsolve.backends.torch_noise import each as torch_each

            return torch_each(self.seed, indices, rows, column, shape, like)
        if self.generator == "philox" or size <= SMALL:
            drawn = philox_paired(self.seed, indices, rows, column, size)
        else:
            drawn = np.empty((len(indices), size))
            self._fill(drawn, indices, rows, column)
        drawn = drawn.reshape(len(indices), *shape)
        return cast(drawn, like)

    def host_draw(self, indices: np.ndarray, like: Any) -> Draw:
        """``draw`` on the host. Tiny states get a block of rows at a time: numpy's overhead."""
        shape = tuple(like.shape[1:])
        block = max(1, BLOCK // max(1, len(indices) * int(np.prod(shape))))
        if block == 1 or self.keying == "shard":
            return lambda row, column: like_array(self.host(indices, row, column, shape), like)
        drawn: dict[int, tuple[int, np.ndarray]] = {}

        def draw(row: int, column: int) -> Any:
            first, values = drawn.get(column, (row + 1, None))
            if values is None or not first <= row < first + block:
                first, rows = row, np.arange(row, row + block)
                values = self._streams(indices, rows, column, shape)
                drawn[column] = first, values
            return like_array(values[row - first], like)

        return draw

    def host(
        self, indices: np.ndarray, row: int, column: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        """(n, *shape) float64 normals, drawn by numpy."""
        if self.keying == "sample":
            return self._streams(indices, np.array([row]), column, shape)[0]
        blocks, position = np.unique(indices // SHARD, return_inverse=True)
        drawn = self._streams(blocks, np.array([row]), column, (SHARD, *shape)).reshape(
            len(blocks) * SHARD, *shape
        )
        return drawn[position * SHARD + indices % SHARD]

    def _streams(
        self, indices: np.ndarray, rows: np.ndarray, column: int, shape: tuple[int, ...]
    ) -> np.ndarray:
        """(rows, n, *shape) normals."""
        size = int(np.prod(shape))
        if self.generator == "philox" or size <= SMALL:
            drawn = philox_normals(self.seed, indices, rows, column, size)
            return drawn.reshape(len(rows), len(indices), *shape)
        out = np.empty((len(rows), len(indices), size))
        for r, row in enumerate(rows):
            self._fill(out[r], indices, np.full(len(indices), row), column)
        return out.reshape(len(rows), len(indices), *shape)

    def _fill(self, out: np.ndarray, indices: np.ndarray, rows: np.ndarray, column: int) -> None:
        """Normals of large samples: numpy's Philox4x64, keyed a sample."""
        bits = np.random.Philox(key=[self.seed, 0])
        generator, state = np.random.Generator(bits), bits.state
        for i, (index, row) in enumerate(zip(indices.tolist(), rows.tolist(), strict=True)):
            state["state"]["key"][1] = index
            state["state"]["counter"][:] = 0, column, row & 0xFFFFFFFF, 0
            bits.state = state
            generator.standard_normal(out=out[i])


class ReplayNoise(Noise):
    """Given arrays in place of draws, for tests and for other people's noise.

    Args:
        arrays: ``{(row, column): array}``, or a sequence with one array for every active draw in
            the order of ``plan.response().noise`` (prelude, then by row). Arrays are shaped like
            the state's components and are cast to its dtype.
    """

    def __init__(self, arrays: Mapping[tuple[int, int], Any] | Sequence[Any]) -> None:
        self.arrays = arrays

    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """See :class:`Noise`. Raises BackendError for a wrong number of arrays."""
        order = draw_order(plan)
        given = self.arrays
        if not isinstance(given, Mapping):
            if len(given) != len(order):
                msg = (
                    f"{len(given)} arrays of noise were given, but plan {plan.name!r} makes "
                    f"{len(order)} draws (rows and columns {order[:4]}...); give one array a draw."
                )
                raise BackendError(msg)
            given = dict(zip(order, given, strict=True))
        table: Mapping[tuple[int, int], Any] = given

        def draw(row: int, column: int) -> Any:
            if (row, column) not in table:
                msg = f"no noise was given for row {row}, column {column}; the plan draws {order}."
                raise BackendError(msg)
            return like_array(table[row, column], z[0])

        return draw


class ForbiddenNoise(Noise):
    """Raises BackendError at the first draw: a deterministic plan must run with it."""

    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """See :class:`Noise`."""

        def draw(row: int, column: int) -> Any:
            msg = (
                f"plan {plan.name!r} drew noise in row {row}, column {column}, but noise is "
                "forbidden; use a deterministic plan or another noise source."
            )
            raise BackendError(msg)

        return draw


def draw_order(plan: Plan) -> list[tuple[int, int]]:
    """(row, column) of every draw the plan makes, prelude (row -1) first."""
    return [(r, j) for r in range(-1, plan.rows) for j in plan.active_draws(r)]


def make_noise(noise: Any, seed: int, indices: Any, keying: str) -> Noise:
    """The noise source that ``solve``'s arguments mean; BackendError for anything unknown."""
    if noise is None or isinstance(noise, str):
        generator = "native" if noise is None else noise
        return KeyedNoise(seed, indices, keying=keying, generator=generator)
    if isinstance(noise, type) or not hasattr(noise, "bind"):
        what = f"the class {noise.__name__}" if isinstance(noise, type) else type(noise).__name__
        msg = (
            f"noise is {what}, expected None, 'philox' or a noise source such as "
            "KeyedNoise, ReplayNoise, PathNoise or ForbiddenNoise."
        )
        raise BackendError(msg)
    return noise
