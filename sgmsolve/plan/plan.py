"""The Plan: a fixed-grid sampler as float64 tables, one row a network evaluation.

With k registers of m components, p predicted components, K remembered predictions and L draws a
row, row r does, on the register vector Z (k*m components, Z_1 the first m of them),

    e_r = model(Z_1, t[r])                                  converted to ``predicts``
    Z'  = move[r] Z + sum_{j<K} kick[r, ..., j] e_{r-j} + noise[r] xi_r

and the first register after the last row is the result. ``prelude`` makes the registers from the
initial state. Nothing here knows a network, a backend or a method.

Entries are sums of (number, operator): the tables above hold the numbers that multiply the
identity, and every ``Part`` those of one word of operators, such as M M^T. Entries may have a
trailing axis: one number a mode of a ``frame``, in whose coefficients the plan then runs, or one a
sample (``per_sample``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve.errors import PlanError, unknown
from sgmsolve.plan.frame import Frame
from sgmsolve.plan.parts import Part, check_parts
from sgmsolve.plan.response import Response as Response
from sgmsolve.plan.response import propagate

DRAW = np.dtype([("kind", "U16"), ("start", "f8"), ("end", "f8")])
"""What a draw is: its kind and its forward interval [start, end], start < end."""

DRAW_KINDS = ("none", "iid", "increment", "area", "kernel", "kernel:data", "relaxation")
"""``increment``: Brownian increment in t; ``kernel``: the process's own transition noise, a
Brownian increment in the clock sigma^2/alpha^2; ``kernel:data``: the same in the clock
alpha^2/sigma^2 (noise of data-prediction SDE methods); ``area``: space-time area; ``iid``: no path;
``none``: padding. With m > 1 components ``kernel`` is the noise of the reverse SDE's linear part
(``process.reversed_linear``), by the lower factor of its covariance, and ``relaxation`` that of
``process.relaxation``, each component's own Ornstein-Uhlenbeck process."""


@dataclass(frozen=True)
class Node:
    """Where a grid point's solution is held: ``register`` (0 is Z_1) after ``boundary`` rows."""

    time: float
    boundary: int
    register: int


@dataclass(frozen=True, eq=False)
class Plan:
    """A fixed-grid sampler: float64 tables and what they claim to be. See the module's docstring.

    Args:
        name: the method's name.
        process: ``process.spec()`` of the process the table was built for.
        predicts: kind of prediction the table consumes; the model is converted to it.
        t: (R,) forward times of the evaluations.
        move: (R, k m, k m).
        kick: (R, k m, p, K); ``[..., j]`` multiplies the prediction of row r - j.
        noise: (R, k m, L); the covariance is ``noise noise^T``.
        draws: (R, L) records of dtype ``DRAW``.
        prelude_move: (k m, m) from the initial state to the registers.
        prelude_noise: (k m, L0), with ``prelude_draws`` (L0,).
        t_start, t_end: times of the initial state and of the result.
        nodes: where the solution at each grid point can be read.
        orders: claimed orders, keys among ``deterministic`` and ``weak``.
        start: ``"published"`` or ``"matched"``, how a multistep method starts.
        reference: citation key.
        options: the options the method was built with (JSON-able).
        parts: tables of what a word of operators multiplies, see ``Part``.
        operands: the operators that letters of words stand for, ``{"M": preconditioner}``.
        ends: (2, B) times of start and result of every sample, of plans with a grid for each;
            ``t_start`` and ``t_end`` are then the largest.
        frame: the Gaussian fit in whose modes the plan runs; tables then end in an axis (Q,), one
            entry for each of ``frame.values``.
        pathwise: whether the draws still belong to a Brownian path, see ``compress``.

    Raises:
        PlanError: if shapes disagree or an entry is not finite.
    """

    name: str
    process: dict[str, Any]
    predicts: str
    t: np.ndarray
    move: np.ndarray
    kick: np.ndarray
    noise: np.ndarray
    draws: np.ndarray
    prelude_move: np.ndarray
    prelude_noise: np.ndarray
    prelude_draws: np.ndarray
    t_start: float
    t_end: float
    nodes: tuple[Node, ...] = ()
    orders: dict[str, float] = field(default_factory=dict)
    start: str = "published"
    reference: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    pathwise: bool = True
    parts: tuple[Part, ...] = ()
    operands: Mapping[str, Any] = field(default_factory=dict)
    frame: Frame | None = None
    ends: np.ndarray | None = None

    def __post_init__(self) -> None:
        km, m = self.prelude_move.shape[:2]
        rows, tail = len(self.t), self.tail
        expected = {
            "t": self.t.shape[:1] + (tail if self.each_sample else ()),
            "move": (rows, km, km, *tail),
            "kick": (rows, km, *self.kick.shape[2:4], *tail),
            "noise": (rows, km, self.draws.shape[-1], *tail),
            "draws": (rows, self.draws.shape[-1]),
            "prelude_move": (km, m, *tail),
            "prelude_noise": (km, len(self.prelude_draws), *tail),
        }
        for name, shape in expected.items():
            given = getattr(self, name).shape
            if given != shape:
                msg = f"plan {self.name!r}: {name} has shape {given}, expected {shape}."
                raise PlanError(msg)
        if km % m or self.kick.ndim != 4 + len(tail):
            msg = f"plan {self.name!r}: {km} register components are no multiple of m = {m}."
            raise PlanError(msg)
        for name in ("t", "move", "kick", "noise", "prelude_move", "prelude_noise"):
            table = getattr(self, name)
            if table.dtype != object and not np.isfinite(table).all():
                row = int(np.argwhere(~np.isfinite(table))[0, 0])
                msg = (
                    f"plan {self.name!r}: {name} has an entry that is not finite in row {row}; "
                    f"the method has no finite coefficients on this grid."
                )
                raise PlanError(msg)
        check_parts(self)

    @property
    def tail(self) -> tuple[int, ...]:
        """Trailing axis of the tables: () for plain plans, (Q,) modes or (B,) samples."""
        return self.prelude_move.shape[2:]

    @property
    def each_sample(self) -> bool:
        """Whether every sample has its own times and coefficients (``per_sample``)."""
        return self.t.ndim == 2

    @property
    def plain(self) -> bool:
        """Whether all coefficients are single numbers that multiply the identity."""
        return not self.parts and not self.tail

    @property
    def operators(self) -> tuple[str, ...]:
        """What coefficients multiply: the identity, and the words of ``parts``."""
        return ("I", *(part.name for part in self.parts))

    @property
    def sources(self) -> tuple[Any, ...]:
        """The plan itself, for what multiplies the identity, and its parts."""
        return (self, *self.parts)

    @property
    def rows(self) -> int:
        """Number of rows R."""
        return len(self.t)

    @property
    def nfe(self) -> int:
        """Number of network evaluations, by definition the number of rows."""
        return self.rows

    @property
    def m(self) -> int:
        """Components of the state."""
        return int(self.prelude_move.shape[1])

    @property
    def k(self) -> int:
        """Registers."""
        return int(self.prelude_move.shape[0] // self.m)

    @property
    def p(self) -> int:
        """Predicted components."""
        return int(self.kick.shape[2])

    @property
    def history(self) -> int:
        """Remembered predictions K."""
        return int(self.kick.shape[3])

    @property
    def ends_with_data(self) -> bool:
        """Whether the last row replaces the state by its data prediction (time stands still)."""
        return len(self.nodes) > 1 and self.nodes[-1].time == self.nodes[-2].time

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        tables = [
            (self.noise, self.prelude_noise),
            *((p.noise, p.prelude_noise) for p in self.parts),
        ]
        return any(np.any(table != 0) for pair in tables for table in pair)

    def active_draws(self, row: int) -> list[int]:
        """Columns of noise that row ``row`` uses; -1 is the prelude. Zero columns draw nothing."""
        used = np.zeros(self.draws.shape[-1] if row >= 0 else len(self.prelude_draws), bool)
        for source in self.sources:
            table = source.prelude_noise if row < 0 else source.noise[row]
            used |= (table != 0).any(axis=(0, 2) if self.tail else 0)
        return [int(j) for j in np.flatnonzero(used)]

    def replace(self, **changes: Any) -> Plan:
        """Return a copy with some fields changed."""
        names = {f.name for f in dataclasses.fields(self)}
        for name in changes:
            if name not in names:
                raise PlanError(unknown("plan field", name, names))
        return dataclasses.replace(self, **changes)

    def response(self) -> Response:
        """Affine map from the initial state, all predictions and all draws to the result."""
        return propagate(self, [])[-1]

    def node_responses(self) -> list[Response]:
        """Response of the solution at each node (grid point), in the order of ``nodes``."""
        wanted = [(n.boundary, n.register) for n in self.nodes]
        return propagate(self, wanted)[:-1]

    def need_plain(self, what: str) -> None:
        """PlanError unless the plan is plain."""
        if not self.plain:
            why = f"the operators {', '.join(self.operators)}" if self.parts else "per-mode entries"
            why = "per-sample entries" if self.each_sample else why
            msg = (
                f"plan {self.name!r} has {why}, but {what} needs single numbers; use "
                f"plan.at(...) for the plan of one mode or sample."
            )
            raise PlanError(msg)

    def at(self, gains: Mapping[str, float] | None = None, index: int | None = None) -> Plan:
        """The plain plan of one mode or sample: see :func:`sgmsolve.plan.parts.at`."""
        from sgmsolve.plan.parts import at

        return at(self, gains, index)

    def compress(self) -> Plan:
        """Merge each row's draws into at most k m by a Cholesky factor; the plan becomes weak-only.

        The law of every row is unchanged; which Brownian path a draw belongs to is forgotten.
        Raises PlanError for a plan with operators or per-mode or per-sample entries.
        """
        from sgmsolve.phi import cholesky

        self.need_plain("compress")

        km = self.prelude_move.shape[0]
        width = min(km, self.noise.shape[2])
        noise = np.zeros((self.rows, km, width))
        draws = np.zeros((self.rows, width), dtype=DRAW)
        draws["kind"] = "none"
        for r in range(self.rows):
            factor = np.asarray(cholesky(self.noise[r] @ self.noise[r].T), dtype=np.float64)
            used = [c for c in range(km) if np.any(factor[:, c])]
            noise[r, :, : len(used)] = factor[:, used]
            draws["kind"][r, : len(used)] = "iid"
        return self.replace(noise=noise, draws=draws, pathwise=False)

    def save(self, path: Any) -> None:
        """Write the plan to ``path`` (npz with a JSON header, no pickle)."""
        from sgmsolve.plan.io import save

        save(self, path)

    @staticmethod
    def load(path: Any) -> Plan:
        """Read a plan written by ``save``; raises PlanError for anything else."""
        from sgmsolve.plan.io import load

        return load(path)

    def __str__(self) -> str:
        from sgmsolve.plan.table import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return (
            f"Plan({self.name!r}, process={self.process.get('process')}, rows={self.rows}, "
            f"registers={self.k}, history={self.history}, t={self.t_start:.4g} -> {self.t_end:.4g})"
        )
