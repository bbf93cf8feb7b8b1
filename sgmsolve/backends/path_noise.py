"""One Brownian path shared by several plans: what strong convergence and coupled differences need.

A draw of a plan declares its kind and forward interval [a, b]. Each kind has a clock c in which its
noise is a Brownian motion: ``increment`` c = t, ``kernel`` c = sigma^2/alpha^2 (the process's
transition noise), ``kernel:data`` c = alpha^2/sigma^2. The end points of all draws of all plans cut
the clock into cells with keyed normals xi_j and lengths v_j, and a draw is

    sum_j sqrt(v_j) xi_j / sqrt(sum_j v_j)        over the cells inside [a, b]:

exactly N(0, 1), independent for disjoint intervals, and the same path on every grid. Paths of
different kinds, and of different components, are independent of one another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sgmsolve.backends.noise import Draw, KeyedNoise, Noise, draw_order
from sgmsolve.errors import BackendError
from sgmsolve.plan import Plan

CHANNELS = {"increment": 0, "area": 1, "kernel": 2, "kernel:data": 3}
"""Kinds that have a path; a cell may later hold the joint law of (increment, area, kernel)."""

CELLS = 1 << 20
"""First column of cells (their number stands in the row), beyond any plan's own columns."""


class PathNoise(Noise):
    """Draws of several plans from one path per sample.

    Args:
        plans: every plan that will be run with this source; the cells are the union of their
            intervals.
        process: the process they were built for.
        seed, indices, generator: as in :class:`KeyedNoise`; the path of a sample is keyed by (seed,
            index, cell).

    ``iid`` draws have no path and are keyed by (row, column) as usual.

    Raises:
        BackendError: a kind without a clock (``area``, or ``kernel`` of a process without alpha and
            sigma), an interval of no length or infinite clock; on use, a plan that was not among
            ``plans``.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        process: Any,
        *,
        seed: int = 0,
        indices: Any = None,
        generator: str = "native",
    ) -> None:
        self.keyed = KeyedNoise(seed, indices, generator=generator)
        intervals: dict[str, set[tuple[float, float]]] = {}
        self.kinds: dict[int, dict[tuple[int, int], tuple[str, float, float]]] = {}
        self.plans = list(plans)
        for plan in self.plans:
            found = {key: _record(plan, *key) for key in draw_order(plan)}
            self.kinds[id(plan)] = found
            for kind, a, b in found.values():
                if kind != "iid":
                    intervals.setdefault(kind, set()).add((a, b))
        self.cells = {kind: _Cells(kind, ends, process) for kind, ends in intervals.items()}

    def identity(self, batch: int) -> str:
        """Seed, indices and cells."""
        cells = str({kind: c.times.tolist() for kind, c in sorted(self.cells.items())})
        digest = hashlib.sha256(cells.encode()).hexdigest()[:16]
        return f"path, {self.keyed.identity(batch)}, cells {digest}"

    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """See :class:`~sgmsolve.backends.noise.Noise`."""
        if id(plan) not in self.kinds:
            msg = (
                f"plan {plan.name!r} was not among the plans this path was made for; make one "
                "PathNoise([...]) of all plans that share it."
            )
            raise BackendError(msg)
        kinds, keyed, m = self.kinds[id(plan)], self.keyed.bind(plan, z), plan.m

        def draw(row: int, column: int) -> Any:
            kind, a, b = kinds[row, column]
            if kind == "iid":
                return keyed(row, column)
            # A builder's draw has one column a component, in order.
            channel = CELLS + CHANNELS[kind] * m + column % m
            total: Any = None
            for cell, weight in self.cells[kind].weights(a, b):
                xi = keyed(cell, channel)
                total = weight * xi if total is None else total + weight * xi
            return total

        return draw


class _Cells:
    """The cells of one kind: end points in forward time, lengths in its clock."""

    def __init__(self, kind: str, ends: set[tuple[float, float]], process: Any) -> None:
        clock = _clock(kind, process)
        self.times = np.array(sorted({t for pair in ends for t in pair}))
        values = [clock(t) for t in self.times.tolist()]
        self.lengths = np.abs(np.diff(values))
        if not np.all(np.isfinite(self.lengths)) or not np.all(self.lengths > 0):
            msg = (
                f"draws of kind {kind!r} lie between t = {self.times[0]:.6g} and "
                f"{self.times[-1]:.6g}, where the clock of that kind has a cell of zero or "
                "infinite length; keep the grid away from alpha = 0 and sigma = 0, or use keyed "
                "noise."
            )
            raise BackendError(msg)
        self.found: dict[tuple[float, float], list[tuple[int, float]]] = {}

    def weights(self, a: float, b: float) -> list[tuple[int, float]]:
        """(cell, weight) of a draw on [a, b]; the squared weights sum to one."""
        if (a, b) not in self.found:
            i, j = np.searchsorted(self.times, [a, b])
            weights = np.sqrt(self.lengths[i:j] / self.lengths[i:j].sum()).tolist()
            self.found[a, b] = list(zip(range(int(i), int(j)), weights, strict=True))
        return self.found[a, b]


def _record(plan: Plan, row: int, column: int) -> tuple[str, float, float]:
    """Kind and interval of one draw, checked."""
    record = plan.prelude_draws[column] if row < 0 else plan.draws[row, column]
    kind, a, b = str(record["kind"]), float(record["start"]), float(record["end"])
    if kind == "iid":
        return kind, a, b
    if kind not in CHANNELS or kind == "area":
        msg = (
            f"plan {plan.name!r} draws noise of kind {kind!r} in row {row}, which has no path; "
            "known: iid, increment, kernel, kernel:data."
        )
        raise BackendError(msg)
    if not (math.isfinite(a) and math.isfinite(b) and a < b):
        msg = f"plan {plan.name!r} draws {kind!r} noise on [{a}, {b}] in row {row}; expected a < b."
        raise BackendError(msg)
    return kind, a, b


def _clock(kind: str, process: Any) -> Callable[[float], float]:
    """Forward time to the clock in which draws of this kind are Brownian increments."""
    if kind == "increment":
        return float
    if not hasattr(process, "alpha"):
        msg = (
            f"draws of kind {kind!r} need a process with alpha(t) and sigma(t), but "
            f"{type(process).__name__} has none; use keyed noise."
        )
        raise BackendError(msg)

    def ratio(t: float) -> float:
        above, below = float(process.sigma(t)), float(process.alpha(t))
        if kind == "kernel:data":
            above, below = below, above
        return (above / below) ** 2 if below else math.inf

    return ratio
