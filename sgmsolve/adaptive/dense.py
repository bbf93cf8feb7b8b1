"""Dense output: the solution of an ODE at any time, from the accepted steps of every sample.

Between two ends of a step, theta = (t - t_n)/h,

    y = (1 - theta)^2 (1 + 2 theta) y_n + theta^2 (3 - 2 theta) y_(n+1)
        + h theta (1 - theta)^2 y'_n - h theta^2 (1 - theta) y'_(n+1),

the cubic of Hermite, with an error O(h^4); a pair with a term of its own lifts it by
theta^2 (1 - theta)^2 c, to O(h^5) (Hairer, Norsett & Wanner, section II.6). Times and y are the
stepper's: for exponential pairs x/(alpha^2 + sigma^2)^(1/2) over half log-SNR.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import State, choose, on_device, scaled, take, to_host
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.adaptive.stepper import Field, Stepper
from sgmsolve.errors import GridError, MethodError


class Recorder:
    """Keeps the start of every accepted step; an observer of ``Batch``.

    Raises: MethodError for an SDE.
    """

    def __init__(self, stepper: Stepper, sde: Any) -> None:
        if sde.noise != "none":
            msg = (
                f"dense = True was given, but the {type(sde).__name__} has noise, and no smooth "
                "curve follows its path; give the times to keep with save_at."
            )
            raise MethodError(msg)
        stepper.dense = True
        self.stepper, self.field = stepper, Field(sde)
        self._host: list[tuple[np.ndarray, ...]] = []
        self._device: list[tuple[State, ...]] = []

    def __call__(
        self, batch: Any, accepted: np.ndarray, h: np.ndarray, known: State, kept: Any
    ) -> None:
        """Called by the batch before the state moves."""
        at = np.flatnonzero(accepted)
        if len(at):
            self._host.append((batch.rows[at], batch.t[at], h[at]))
            states = (batch.z, known, *kept[2])
            self._device.append(tuple(tuple(take(x, at) for x in s) for s in states))

    def finish(self, found: AdaptiveSolution, times: np.ndarray) -> AdaptiveSolution:
        """The solution with its dense output; the rates at the ends are one evaluation more."""
        batch, z = len(found.t), found.z
        first = self.stepper.first(self.field, z, on_device(found.t, z[0]))
        self._host.append((np.arange(batch), found.t, np.ones(batch)))
        rows, t, h = (np.concatenate(parts) for parts in zip(*self._host, strict=True))
        z = _joined([chunk[0] for chunk in self._device] + [z])
        first = _joined([chunk[1] for chunk in self._device] + [first])
        y, rate = self.stepper.to_dense(self.field, z, on_device(t, z[0]), first)
        extra = None
        if self._device and len(self._device[0]) > 2:
            extra = _joined([chunk[2] for chunk in self._device])
        progress = np.abs(t - times[0])
        order = np.lexsort((progress, rows))
        nodes = Nodes(rows[order], progress[order], h[order], order, y, rate, extra)
        return dataclasses.replace(
            found,
            nfe=found.nfe + 1,
            rows=found.rows + batch,
            calls=found.calls + 1,
            dense=DenseOutput(self.stepper, self.field, (times[0], times[-1]), nodes),
        )


def _joined(parts: list[State]) -> State:
    """States one after another, along the batch."""
    xp = array_namespace(parts[0][0])
    return tuple(xp.concat(list(arrays), axis=0) for arrays in zip(*parts, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class Nodes:
    """Ends of all steps: host books sorted by sample and time, and where their arrays are.

    rows: sample; progress: time since the start; h: of the step that starts there; place: index
    into the arrays of y and rate (and extra, which has none at the last end of a sample).
    """

    rows: np.ndarray
    progress: np.ndarray
    h: np.ndarray
    place: np.ndarray
    y: State
    rate: State
    extra: State | None


class DenseOutput:
    """``dense(t)``: the states at forward time t, m arrays (batch, *shape).

    t: a float, or (batch,) with a time for each sample, between t_start and t_end. Samples that did
    not get there are NaN. Gradients flow through it. Raises: GridError for other times.
    """

    def __init__(
        self, stepper: Stepper, field: Field, times: tuple[float, float], nodes: Nodes
    ) -> None:
        self._stepper, self._field, self._times, self._nodes = stepper, field, times, nodes
        self._batch = int(nodes.rows[-1]) + 1
        self._starts = np.searchsorted(nodes.rows, np.arange(self._batch + 1))

    def __call__(self, t: Any) -> State:
        """See the class."""
        own = self._own(t)
        nodes, passed = self._nodes, np.abs(own - self._times[0])
        # The last end of a sample that lies before t; of at least two, the last starts no step.
        before = nodes.progress <= passed[nodes.rows]
        count = np.bincount(nodes.rows, weights=before, minlength=self._batch).astype(np.int64)
        ends = np.diff(self._starts)
        at = self._starts[:-1] + np.clip(count - 1, 0, np.maximum(ends - 2, 0))
        after = np.minimum(at + 1, self._starts[1:] - 1)
        span = abs(self._times[1] - self._times[0])
        reached = (passed <= nodes.progress[after] + 1e-12 * span) & (ends > 1)
        y = self._between(at, after, (passed - nodes.progress[at]) / nodes.h[at])
        z = self._stepper.from_dense(self._field, y, on_device(own, y[0]))
        if reached.all():
            return z
        lost = tuple(array_namespace(x).full_like(x, math.nan) for x in z)
        return choose(on_device(reached, z[0]), z, lost)

    def _between(self, at: np.ndarray, after: np.ndarray, theta: np.ndarray) -> State:
        """The interpolants of the steps from ``at`` to ``after``, at fractions theta of them."""
        nodes = self._nodes
        here, there = nodes.place[at], nodes.place[after]
        y0, y1 = (tuple(take(x, p) for x in nodes.y) for p in (here, there))
        r0, r1 = (tuple(take(x, p) for x in nodes.rate) for p in (here, there))
        # Hermite's cubic, collected by what it combines.
        left, h = 1 - theta, nodes.h[at]
        terms = [
            (left**2 * (1 + 2 * theta), y0),
            (theta**2 * (1 + 2 * left), y1),
            (h * theta * left**2, r0),
            (-h * theta**2 * left, r1),
        ]
        if nodes.extra is not None:
            # Samples without a step are NaN anyway.
            inside = np.minimum(here, nodes.extra[0].shape[0] - 1)
            extra = tuple(take(x, inside) for x in nodes.extra)
            terms.append(((theta * left) ** 2, extra))
        return scaled(*((on_device(w, y0[0]), k) for w, k in terms))

    def _own(self, t: Any) -> np.ndarray:
        """(batch,) times in the solver's own clock; GridError outside the interval."""
        sde = self._field.sde
        given = np.asarray(to_host(t) if hasattr(t, "dtype") else t, dtype=np.float64)
        if given.shape not in ((), (self._batch,)):
            msg = (
                f"dense(t) was given times of shape {given.shape}, expected a float or "
                f"({self._batch},), one time a sample; call it once for each time."
            )
            raise GridError(msg)
        own = given.reshape(-1)
        own = sde.clock(own) if hasattr(sde, "clock") else own
        first, last = self._times
        slack = 1e-12 * abs(last - first)
        low, high = min(first, last), max(first, last)
        if not ((own >= low - slack) & (own <= high + slack)).all():
            ends = np.array(self._times)
            ends = sde.time(ends) if hasattr(sde, "clock") else ends
            msg = (
                f"dense(t) was given times from {given.min():g} to {given.max():g}, expected times "
                f"between t_start = {ends[0]:g} and t_end = {ends[1]:g}; start earlier or end "
                "later."
            )
            raise GridError(msg)
        return np.array(np.broadcast_to(np.clip(own, low, high), (self._batch,)))
