"""Additive noise: what its SDEs share, and the forward SDE of a process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.model.base import linear_combination
from sgmsolve.precondition.base import Preconditioner
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse import _checks
from sgmsolve.reverse._checks import State
from sgmsolve.reverse.entry import Entry, make_entry


def apply_matrix(matrix: Any, z: State) -> State:
    """``matrix z``: (..., rows, columns) on a tuple of arrays, in their dtype."""
    return tuple(
        linear_combination((matrix[..., i, j][()], x) for j, x in enumerate(z))
        for i in range(matrix.shape[-2])
    )


def live_rows(matrix: Any) -> list[bool]:
    """Whether each row of a host matrix has an entry that is not 0; of others all count."""
    if not isinstance(matrix, np.ndarray) or matrix.ndim > 2:
        return [True] * int(matrix.shape[-2])
    return [bool(np.any(row)) for row in matrix]


class AdditiveSDE:
    """What additive noise settles for the SDEs of a process, preconditioned or not."""

    process: AbstractProcess
    calculus = "ito"
    _entry: Entry | None

    @property
    def colour(self) -> Callable[[State], State] | None:
        """M on tuples of arrays (batch, *shape), which noise passes through; None without M."""
        entry = self._entry
        return None if entry is None or entry.M is None else entry.colour

    @property
    def m(self) -> int:
        """Number of components of the state."""
        return self.process.m

    def diffusion(self, t: Any) -> Any:
        """Matrix in front of dw, ``t.shape + (m, m)``; M comes on top, see ``colour``."""
        raise NotImplementedError

    def diffuse(self, z: State, t: Any, dw: State) -> State:
        """What Brownian increments dw, m arrays like the state, do at forward time t."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        matrix = self.diffusion(t)
        moved = apply_matrix(matrix, _checks.check_like(dw, z, "dw"))
        if self.colour is None:
            return moved
        live = live_rows(matrix)
        coloured = iter(self.colour(tuple(x for x, on in zip(moved, live, strict=True) if on)))
        return tuple(next(coloured) if on else x for x, on in zip(moved, live, strict=True))

    def as_calculus(self, calculus: str) -> Any:
        """Itself: for additive noise both readings of the equation are the same."""
        _checks.check_calculus(calculus)
        return self

    def check_time(self, t: Any) -> None:
        """GridError for a host time outside the process's times [0, t_max]."""
        if isinstance(t, (int, float)):
            self.process.check_time(t)


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardSDE(AdditiveSDE):
    """The forward SDE dz = F(t) z dt + G(t) dw of a process; t grows. It needs no model.

    preconditioner: M makes it dz = M M^T F z dt + G M dw, what ``where="forward"`` reverses.
    """

    process: AbstractProcess
    preconditioner: Preconditioner | None = None
    _entry: Entry | None = dataclasses.field(init=False, repr=False)
    direction = 1
    noise = "additive"

    def __post_init__(self) -> None:
        object.__setattr__(self, "_entry", make_entry(self.preconditioner, "forward", None))

    def drift(self, z: State, t: Any) -> State:
        """``F(t) z``, or ``M M^T F(t) z``; m arrays (batch, *shape)."""
        return self.split(z, t)[0]

    def split(self, z: State, t: Any) -> tuple[State, State]:
        """(drift, zeros)."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        linear = apply_matrix(self.process.F(t), z)
        if self._entry is not None:
            self._entry.check(tuple(z[0].shape[1:]))
            linear = self._entry.linear_part(linear)
        return linear, tuple(0.0 * x for x in z)

    def diffusion(self, t: Any) -> Any:
        """``G(t)``, ``t.shape + (m, m)``; M comes on top, see ``colour``."""
        self.check_time(t)
        return self.process.G(t)

    def forward(self) -> ForwardSDE:
        """Itself."""
        return self
