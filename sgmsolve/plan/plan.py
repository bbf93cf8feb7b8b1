"""The Plan: a fixed-grid sampler as float64 tables, one row a network evaluation.

With k registers of m components, p predicted components, K remembered predictions and L draws a
row, row r does, on the register vector Z (k*m components, Z_1 the first m of them),

    e_r = model(Z_1, t[r])                                  converted to ``predicts``
    Z'  = move[r] Z + sum_{j<K} kick[r, ..., j] e_{r-j} + noise[r] xi_r

and the first register after the last row is the result. ``prelude`` makes the registers from the
initial state. Nothing here knows a network, a backend or a method.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve.errors import PlanError, unknown

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
        operators: what coefficients multiply: ``("I",)``, the identity, in every method so far.
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
    operators: tuple[str, ...] = ("I",)
    pathwise: bool = True

    def __post_init__(self) -> None:
        km, m = self.prelude_move.shape
        rows = len(self.t)
        expected = {
            "t": (rows,),
            "move": (rows, km, km),
            "kick": (rows, km, *self.kick.shape[2:]),
            "noise": (rows, km, self.draws.shape[-1]),
            "draws": (rows, self.draws.shape[-1]),
            "prelude_noise": (km, len(self.prelude_draws)),
        }
        for name, shape in expected.items():
            given = getattr(self, name).shape
            if given != shape:
                msg = f"plan {self.name!r}: {name} has shape {given}, expected {shape}."
                raise PlanError(msg)
        if km % m or self.kick.ndim != 4:
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
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return bool(np.any(self.noise != 0) or np.any(self.prelude_noise != 0))

    def active_draws(self, row: int) -> list[int]:
        """Columns of noise that row ``row`` uses; -1 is the prelude. Zero columns draw nothing."""
        table = self.prelude_noise if row < 0 else self.noise[row]
        return [int(j) for j in np.flatnonzero((table != 0).any(axis=0))]

    def replace(self, **changes: Any) -> Plan:
        """Return a copy with some fields changed."""
        names = {f.name for f in dataclasses.fields(self)}
        for name in changes:
            if name not in names:
                raise PlanError(unknown("plan field", name, names))
        return dataclasses.replace(self, **changes)

    def response(self) -> Response:
        """Affine map from the initial state, all predictions and all draws to the result."""
        return self._propagate([])[-1]

    def node_responses(self) -> list[Response]:
        """Response of the solution at each node (grid point), in the order of ``nodes``."""
        wanted = [(n.boundary, n.register) for n in self.nodes]
        return self._propagate(wanted)[:-1]

    def _propagate(self, wanted: list[tuple[int, int]]) -> list[Response]:
        """Responses of the registers wanted, (boundary, register) each, then that of the result."""
        m, km, R, p = self.m, self.k * self.m, self.rows, self.p
        columns = [(-1, j) for j in self.active_draws(-1)]
        columns += [(r, j) for r in range(R) for j in self.active_draws(r)]
        position = {c: m + R * p + i for i, c in enumerate(columns)}
        dtype = self.move.dtype
        Z = np.zeros((km, m + R * p + len(columns)), dtype=dtype)
        Z[:, :m] = self.prelude_move
        for j in self.active_draws(-1):
            Z[:, position[-1, j]] = self.prelude_noise[:, j]
        kept: dict[tuple[int, int], np.ndarray] = {}
        for r in range(R + 1):
            for boundary, register in wanted:
                if boundary == r:
                    kept[boundary, register] = Z[register * m : (register + 1) * m].copy()
            if r == R:
                break
            Z = self.move[r] @ Z
            for j in range(min(self.history, r + 1)):
                block = m + (r - j) * p
                Z[:, block : block + p] += self.kick[r, :, :, j]
            for j in self.active_draws(r):
                Z[:, position[r, j]] += self.noise[r, :, j]

        def unpack(z: np.ndarray) -> Response:
            predictions = z[:, m : m + R * p].reshape(m, R, p).transpose(1, 0, 2)
            return Response(z[:, :m], predictions, z[:, m + R * p :].T)

        return [*(unpack(kept[w]) for w in wanted), unpack(Z[:m])]

    def compress(self) -> Plan:
        """Merge each row's draws into at most k m by a Cholesky factor; the plan becomes weak-only.

        The law of every row is unchanged; which Brownian path a draw belongs to is forgotten.
        """
        from sgmsolve.phi import cholesky

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
