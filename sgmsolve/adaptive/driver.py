"""The loop of all adaptive solvers: every sample at its own time, finished ones leave the batch.

The host decides, the device computes. Times, step sizes and counts are numpy float64 (n,) arrays;
one attempt evaluates the network on the samples still at work, brings one error a sample back, and
goes on. A first evaluation is made only for samples that moved: a rejection costs the later stages.

numpy and torch work on exactly the samples that are not done. jax compiles one program a shape, so
there the batch shrinks by halves: its size is the power of two above what is left, at most twice
the rows, and log2(batch) programs. ``compact=False`` evaluates the whole batch to the end.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import (
    State,
    choose,
    finite_rows,
    on_device,
    own,
    put,
    scatter,
    take,
    to_host,
)
from sgmsolve.adaptive.brownian import Source
from sgmsolve.adaptive.control import Control, error_norm, settled
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.adaptive.stepper import Field, Stepper
from sgmsolve.errors import Status


def bucket(rows: int) -> int:
    """The power of two from ``rows`` on upwards."""
    return 1 << (rows - 1).bit_length()


Work = tuple[Callable[..., Any], Callable[..., Any]]
KEPT = 8
"""So many compiled pairs are kept, and the SDEs and models they belong to with them."""

_programs: collections.OrderedDict[Any, Work] = collections.OrderedDict()


def programs(stepper: Stepper, sde: Any, control: Control, kind: str) -> Work:
    """(first, attempt with error norm); compiled, and kept, on jax."""
    field = Field(sde)

    def first(z: State, t: Any) -> State:
        return stepper.first(field, z, t)

    def attempt(
        z: State, t: Any, h: Any, known: State, draws: Any, previous: State, live: Any
    ) -> Any:
        tried = stepper.attempt(field, z, t, h, known, draws, previous)
        E = error_norm(tried, control)
        accepted = (E <= 1) & live
        moved = (
            choose(accepted, tried.z, z),
            previous if tried.previous is None else choose(accepted, tried.previous, previous),
            known if tried.last is None else choose(accepted, tried.last, known),
        )
        return E, moved, (tried.z, tried.last, tried.stages)

    if kind != "jax" or not control.jit:
        return first, attempt
    import jax

    # What a program depends on besides shapes.
    key = (sde, stepper.key, control.rtol, control.atol, control.norm, control.mixing)
    if key not in _programs:
        _programs[key] = jax.jit(first), jax.jit(attempt)
    _programs.move_to_end(key)
    while len(_programs) > KEPT:
        _programs.popitem(last=False)
    return _programs[key]


class Batch:
    """The samples still at work: host books, device states, one run."""

    def __init__(
        self,
        stepper: Stepper,
        sde: Any,
        z: State,
        times: tuple[float, ...],
        control: Control,
        source: Source | None,
        observer: Callable[..., None] | None = None,
    ) -> None:
        self.stepper, self.control, self.source, self.kind = stepper, control, source, kind_of(z[0])
        self.direction, self.times, self.observer = sde.direction, np.array(times), observer
        self.first_of, self.attempt_of = programs(stepper, sde, control, self.kind)
        n = z[0].shape[0]
        self.total, self.z, self.previous = n, z, z
        # numpy writes in place, and the user keeps the start.
        self.out = tuple(own(x) for x in z)
        self.span = abs(times[-1] - times[0])
        # Rows that stand for a sample not yet written out, and those among them still at work.
        self.rows, self.real, self.live = np.arange(n), *np.ones((2, n), dtype=bool)
        self.t, self.h = np.full(n, times[0]), np.full(n, min(control.h0, self.span))
        self.goal, self.past = np.ones(n, dtype=np.int64), control.controller.begin(self.t)
        self.known: State | None = None
        self.fresh = np.ones(n, dtype=bool)
        # Results and books of the whole batch, written when a sample leaves.
        self.nfe, self.accepted, self.rejected = np.zeros((3, n), dtype=np.int64)
        self.t_out, self.statuses = self.t.copy(), np.full(n, None, dtype=object)
        self.evaluated = self.calls = 0
        self.saved: list[State] = [
            tuple(array_namespace(x).full_like(x, np.nan) for x in z) for _ in times[1:-1]
        ]

    def run(self, progress: Any = None) -> AdaptiveSolution:
        """Attempt after attempt until no sample is left."""
        while self.live.any():
            self._evaluate_first()
            self._attempt()
            left = int(self.live.sum())
            if progress is not None:
                progress.update(self.total - left - progress.n)
            if self.control.compact and self._worth(left):
                self._select(np.flatnonzero(self.live))
        self._flush()
        saved = None
        if self.saved:
            xp = array_namespace(self.z[0])
            saved = tuple(xp.stack([s[i] for s in self.saved]) for i in range(len(self.z)))
        return AdaptiveSolution(
            self.out,
            self.t_out,
            self.nfe,
            self.evaluated,
            self.calls,
            self.accepted,
            self.rejected,
            tuple(self.statuses),
            saved,
        )

    def _worth(self, left: int) -> bool:
        """Whether to rewrite the batch for the samples that are left."""
        size = bucket(left) if self.kind == "jax" else left
        return 0 < left and size < len(self.rows)

    def _select(self, kept: np.ndarray) -> None:
        """Go on with the rows ``kept``; on jax padded with one of them to a power of two."""
        self._flush()
        alive = np.ones(len(kept), dtype=bool)
        if self.kind == "jax":
            size = bucket(len(kept))
            alive = np.arange(size) < len(kept)
            kept = np.concatenate([kept, np.full(size - len(kept), kept[0])])
        self.rows, self.t, self.h = self.rows[kept], self.t[kept], self.h[kept]
        self.goal, self.fresh = self.goal[kept], self.fresh[kept]
        self.real, self.live = alive, alive
        self.past = tuple(p[kept] for p in self.past)
        self.z = tuple(take(x, kept) for x in self.z)
        self.previous = tuple(take(x, kept) for x in self.previous)
        if self.known is not None:
            self.known = tuple(take(x, kept) for x in self.known)
        if self.source is not None:
            self.source.select(kept)

    def _evaluate_first(self) -> None:
        """First evaluations of the samples that moved."""
        wanted = self.fresh & self.live
        if not wanted.any():
            return
        self.nfe[self.rows[wanted]] += 1
        need = np.flatnonzero(wanted | (not self.control.compact))
        if self.kind == "jax":
            size = min(bucket(len(need)), len(self.rows))
            need = np.concatenate([need, np.full(size - len(need), need[0])])
        every = len(need) == len(self.rows) and self.kind != "jax"
        z = self.z if every else tuple(take(x, need) for x in self.z)
        made = self.first_of(z, on_device(self.t[need], z[0]))
        self._count(len(need), 1)
        if every or self.known is None:
            # The first time all rows are new, in order; a drift may return what it was given.
            self.known = tuple(own(x) for x in made)
        else:
            self.known = tuple(put(x, need, v) for x, v in zip(self.known, made, strict=True))
        self.fresh[:] = False

    def _attempt(self) -> None:
        control, like = self.control, self.z[0]
        h = np.where(self.live, self.h, 0.0)
        left = np.abs(self.times[self.goal] - self.t)
        last = h >= left * (1 - 1e-12)
        h = np.where(last & self.live, left, h)
        draws = self._draws(h)
        t_device, h_device = on_device(self.t, like), on_device(h, like)
        assert self.known is not None  # made before the first attempt
        alive = on_device(self.live, like)
        E_device, moved, kept = self.attempt_of(
            self.z, t_device, h_device, self.known, draws, self.previous, alive
        )
        self._count(len(self.rows), self.stepper.evaluations - 1)
        E = to_host(E_device).astype(np.float64)
        accepted = self.live & (E <= 1)
        rows, at = self.rows[self.live], self.live
        self.nfe[rows] += self.stepper.evaluations - 1
        self.accepted[rows] += accepted[at]
        self.rejected[rows] += ~accepted[at]
        if self.source is not None:
            self.source.settle(accepted)
        if self.observer is not None:
            self.observer(self, accepted, h, self.known, kept)
        self.z, self.previous, self.known = moved
        if not self.stepper.fsal:
            self.fresh |= accepted
        self.t = np.where(accepted, self.t + self.direction * h, self.t)
        arrived = accepted & last
        self.t[arrived] = self.times[self.goal[arrived]]
        factor, past = control.controller(settled(np.where(self.live, E, 1.0)), self.past, accepted)
        proposed = factor * h
        # A step cut short by a time to be saved does not shorten those after it, neither by its
        # length nor by its small error, from which a controller with a memory would damp a rise.
        cut, pairs = arrived & (h < self.h), zip(past, self.past, strict=True)
        self.past = tuple(np.where(cut, old, new) for new, old in pairs)
        self.h = np.where(arrived, np.maximum(proposed, self.h), proposed)
        self._arrive(arrived)
        self._retire(E)

    def _draws(self, h: np.ndarray) -> dict[str, State]:
        if self.source is None or not self.stepper.draws:
            return {}
        return self.source.draws(self.stepper.draws, self.t, h)

    def _arrive(self, arrived: np.ndarray) -> None:
        """Keep what was asked for at the times that were reached."""
        for place in range(1, len(self.times) - 1):
            here = arrived & (self.goal == place)
            if here.any():
                rows = np.where(here, self.rows, self.total)
                pairs = zip(self.saved[place - 1], self.z, strict=True)
                self.saved[place - 1] = tuple(scatter(x, rows, v) for x, v in pairs)
        self.goal[arrived] += 1

    def _retire(self, E: np.ndarray) -> None:
        """Stop working on samples that are done or failed."""
        done = self.live & (self.goal == len(self.times))
        small = self.live & ~done & (self.h < self.control.h_min)
        tried = (self.accepted + self.rejected)[self.rows]
        broken = self.live & ~np.isfinite(E)
        if broken.any() and self.known is not None:
            # No shorter step mends a first evaluation that is not finite.
            broken = broken & ~finite_rows(self.known)
        gone = done | small | broken | (self.live & (tried >= self.control.max_steps))
        for i in np.flatnonzero(gone):
            status = Status.FINISHED if done[i] else Status.MAX_STEPS
            if not done[i] and not np.isfinite(E[i]):
                status = Status.NONFINITE
            elif small[i]:
                status = Status.STEP_TOO_SMALL
            self.statuses[self.rows[i]] = status
            self.t_out[self.rows[i]] = self.t[i]
        self.goal[done] -= 1
        self.live = self.live & ~gone

    def _flush(self) -> None:
        """Write out the samples that are done, which keep their state in the batch until here."""
        rows = np.where(self.real & ~self.live, self.rows, self.total)
        self.out = tuple(scatter(x, rows, v) for x, v in zip(self.out, self.z, strict=True))
        self.real = self.real & self.live

    def _count(self, rows: int, evaluations: int) -> None:
        self.evaluated += rows * evaluations
        self.calls += evaluations
