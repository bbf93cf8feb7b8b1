"""Where a preconditioner enters a reverse SDE, and what it does there to drift, noise and prior.

Let A = M M^T on every component of the state, l = -F z the linear part of the reverse drift and
h = 1/2 G G^T score half of its other part at eta = 1, both per unit of tau. The drift is

    exact-split            l + h + eta^2 A h + S h          noise eta G M
    published, forward     A (l + (1 + eta^2) h) + S h      noise eta G M
    noise                  l + (1 + eta^2) h                noise eta G M
    corrector              l + (1 + eta^2) h                noise eta G

M and S act on the entries of a sample, F and G on components, so that they commute. Why S h does
no harm, and where: :mod:`sgmsolve.precondition.places`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sgmsolve.model.base import linear_combination
from sgmsolve.precondition.base import Preconditioner
from sgmsolve.precondition.places import WHOLE, check_place, check_skew, filters_prior
from sgmsolve.reverse._checks import State


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """M at a place, None for the identity, and S or None. Made by :func:`make_entry`."""

    M: Preconditioner | None
    where: str
    S: Preconditioner | None
    _seen: set[tuple[int, ...]] = dataclasses.field(default_factory=set, repr=False)

    @property
    def bends_drift(self) -> bool:
        """Whether the drift is not the plain one."""
        return self.S is not None or (self.M is not None and self.where != "noise")

    def check(self, shape: tuple[int, ...]) -> None:
        """PreconditionError unless M and S are for samples of this shape, and S is skew."""
        if shape in self._seen:
            return
        for operator in (self.M, self.S):
            if operator is not None:
                operator.check(shape)
        if self.S is not None:
            check_skew(self.S, shape)
        self._seen.add(shape)

    def drift(self, linear: State, half: State, eta: Any, live: list[bool]) -> State:
        """The drift of the table above; ``live``: the components of h that are not 0."""
        if self.M is None or self.where not in WHOLE:
            rest = self.score_part(half, eta, live)
            return tuple(x + h for x, h in zip(linear, rest, strict=True))
        plain = zip(linear, half, strict=True)
        whole = tuple(
            self.M.gram(linear_combination(((1.0, x), (1 + eta**2, h)))) for x, h in plain
        )
        if self.S is None:
            return whole
        return tuple(
            x + self.S.apply(h) if on else x for x, h, on in zip(whole, half, live, strict=True)
        )

    def linear_part(self, linear: State) -> State:
        """What becomes of l."""
        if self.M is None or self.where not in WHOLE:
            return linear
        return tuple(self.M.gram(x) for x in linear)

    def score_part(self, half: State, eta: Any, live: list[bool]) -> State:
        """What becomes of h."""
        return tuple(self._on(h, eta) if on else h for h, on in zip(half, live, strict=True))

    def _on(self, h: Any, eta: Any) -> Any:
        terms = [(1 + eta**2, h)]
        if self.M is not None and self.where in WHOLE:
            terms = [(1 + eta**2, self.M.gram(h))]
        elif self.M is not None and self.where == "exact-split":
            terms = [(1.0, h), (eta**2, self.M.gram(h))]
        return linear_combination([*terms, *([] if self.S is None else [(1.0, self.S.apply(h))])])

    def colour(self, moved: State) -> State:
        """M on each component."""
        if self.M is None:
            return moved
        for x in moved:
            self.M.check(tuple(x.shape[1:]))
        return tuple(self.M.apply(x) for x in moved)

    def starting(self, z: State, grows: bool) -> State:
        """A draw of the process's own prior made one of this place's, see ``ReverseSDE``."""
        return self.colour(z) if filters_prior(self.where, grows) else z


def make_entry(preconditioner: Any, where: Any, skew: Any, *, silent: bool = False) -> Entry | None:
    """The operators of a reverse SDE; None if they leave it as it is. ``silent``: eta = 0.

    Raises: PreconditionError for an unknown place, operators that are none, a gain with which the
    place cannot work, an S where it does not belong or that is not skew.
    """
    check_place(preconditioner, where, skew)
    if preconditioner is not None:
        preconditioner.check_stable(where)
    plain = preconditioner is None or preconditioner.scalar == 1 or where == "corrector"
    plain = plain or (silent and where == "exact-split")
    M, S = None if plain else preconditioner, None if where == "corrector" else skew
    return None if M is None and S is None else Entry(M, where, S)
