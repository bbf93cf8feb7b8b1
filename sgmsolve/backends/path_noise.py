"""One Brownian path shared by several plans: what strong convergence and coupled differences need.

A draw of a plan declares its kind and forward interval [a, b]. Each kind has a clock c in which its
noise is a Brownian motion: ``increment`` c = t, ``kernel`` c = sigma^2/alpha^2 (the process's
transition noise), ``kernel:data`` c = alpha^2/sigma^2. The end points of all draws of all plans cut
the clock into cells with keyed normals xi_j and lengths v_j, and a draw is

    sum_j sqrt(v_j) xi_j / sqrt(sum_j v_j)        over the cells inside [a, b]:

exactly N(0, 1), independent for disjoint intervals, and the same path on every grid. Paths of
different kinds, and of different components, are independent of one another.

With m > 1 components two kinds are noises of linear SDEs run down in forward time, with flow Psi
and noise C C^T over a cell [c, c'] (C lower, both from the process):

    xi_[a, b] = W xi,   W = C_ab^-1 [Psi(c_j -> a) C_j for all cells j],   W W^T = I,

``relaxation`` with diagonal Psi and C (``process.relaxation``, one path a component), ``kernel``
with matrices (``process.reversed_linear``, eta = 1). W is the orthogonal factor of the bracket, so
it is orthonormal to rounding.
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

CHANNELS = {"increment": 0, "area": 1, "kernel": 2, "kernel:data": 3, "relaxation": 4}
"""Kinds that have a path; a cell may later hold the joint law of (increment, area, kernel)."""

CELLS = 1 << 20
"""First column of cells (their number stands in the row), beyond any plan's own columns."""

Weight = tuple[int, int, float]
"""(cell, component of its normals, weight)."""


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
        BackendError: a kind without a path (``area``; ``kernel`` of a process with neither alpha
            and sigma nor ``reversed_linear``; ``relaxation`` without ``process.relaxation``), an
            interval of no length or infinite clock; on use, a plan that was not among ``plans``, or
            a draw of a component without noise.
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
        self.cells = {
            kind: _LinearCells(kind, ends, process)
            if kind == "relaxation" or (kind == "kernel" and getattr(process, "m", 1) > 1)
            else _Cells(kind, ends, process)
            for kind, ends in intervals.items()
        }

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
            total: Any = None
            for cell, component, weight in self.cells[kind].weights(a, b, column % m):
                xi = keyed(cell, CELLS + CHANNELS[kind] * m + component)
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
        self.found: dict[tuple[float, float], tuple[range, list[float]]] = {}

    def weights(self, a: float, b: float, component: int = 0) -> list[Weight]:
        """What a draw's component on [a, b] is made of; the squared weights sum to one."""
        if (a, b) not in self.found:
            i, j = np.searchsorted(self.times, [a, b]).tolist()
            weights = np.sqrt(self.lengths[i:j] / self.lengths[i:j].sum()).tolist()
            self.found[a, b] = range(i, j), weights
        return [(cell, component, weight) for cell, weight in zip(*self.found[a, b], strict=True)]


class _LinearCells:
    """The cells of a linear SDE with matrices, see the module's docstring; host float64."""

    def __init__(self, kind: str, ends: set[tuple[float, float]], process: Any) -> None:
        name = {"relaxation": "relaxation", "kernel": "reversed_linear"}[kind]
        if not hasattr(process, name):
            msg = (
                f"draws of kind {kind!r} of {process.m} component(s) need a process with {name}"
                f"(start, end), but {type(process).__name__} has none; use keyed noise."
            )
            raise BackendError(msg)
        self.kind, self.step = kind, getattr(process, name)
        self.times = np.array(sorted({t for pair in ends for t in pair}))
        self.found: dict[tuple[float, float], list[list[Weight]]] = {}

    def _flow_and_factor(self, a: float, b: float) -> tuple[np.ndarray, np.ndarray]:
        """Psi and the lower factor C over [a, b]."""
        psi, noise = (np.asarray(v, dtype=np.float64) for v in self.step(a, b))
        if self.kind == "relaxation":
            return np.diag(psi), np.diag(np.sqrt(noise))
        return psi, np.linalg.cholesky(noise)

    def weights(self, a: float, b: float, component: int) -> list[Weight]:
        """What a draw's component on [a, b] is made of; the squared weights sum to one."""
        if (a, b) not in self.found:
            self.found[a, b] = self._rows(a, b)
        made = self.found[a, b][component]
        if not made:
            msg = (
                f"a plan draws {self.kind!r} noise of component {component} on [{a}, {b}], but the "
                "process gives that component none; leave its coefficient zero."
            )
            raise BackendError(msg)
        return made

    def _rows(self, a: float, b: float) -> list[list[Weight]]:
        i, j = np.searchsorted(self.times, [a, b]).tolist()
        blocks: list[np.ndarray] = []
        flow: Any = None
        for low, high in zip(self.times[i:j].tolist(), self.times[i + 1 : j + 1], strict=True):
            psi, factor = self._flow_and_factor(low, float(high))
            blocks.append(factor if flow is None else flow @ factor)
            flow = psi if flow is None else flow @ psi
        together = np.concatenate(blocks, axis=1)
        m = len(together)
        noisy = np.flatnonzero(together.any(axis=1)).tolist()
        kept = together[noisy]
        if self.kind == "relaxation":
            orthonormal = kept / np.linalg.norm(kept, axis=1, keepdims=True)
        else:
            # QR of the transpose: backward stable column by column, however unlike the components.
            q, r = np.linalg.qr(kept.T)
            orthonormal = (q * np.sign(np.diag(r))).T
        rows: list[list[Weight]] = [[] for _ in range(m)]
        for component, row in zip(noisy, orthonormal, strict=True):
            rows[component] = [
                (i + n // m, n % m, float(row[n])) for n in np.flatnonzero(row).tolist()
            ]
        return rows


def _record(plan: Plan, row: int, column: int) -> tuple[str, float, float]:
    """Kind and interval of one draw, checked."""
    record = plan.prelude_draws[column] if row < 0 else plan.draws[row, column]
    kind, a, b = str(record["kind"]), float(record["start"]), float(record["end"])
    if kind == "iid":
        return kind, a, b
    if kind not in CHANNELS or kind == "area":
        msg = (
            f"plan {plan.name!r} draws noise of kind {kind!r} in row {row}, which has no path; "
            "known: iid, increment, kernel, kernel:data, relaxation."
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
