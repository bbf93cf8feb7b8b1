"""What an embedded pair is: a first evaluation, and an attempt that moves and estimates an error.

Steppers are pure functions of arrays, written once for numpy, torch and jax, traced by ``jax.jit``
or not. Times are forward time; a step of size h > 0 goes from t to s = t + direction h. ``t`` and
``h`` are (n,) arrays, one entry a sample, or floats when all samples take the same steps.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

from sgmsolve.adaptive._rows import State


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What a step would give.

    Attributes:
        z: the state at s.
        error: estimate of its local error, arrays like z.
        sizes: states whose largest absolute entries scale the relative tolerance.
        previous: a state to be handed to the next attempt if this one is accepted.
        last: the next step's first evaluation, for pairs that make it (FSAL).
        stages: what a dense output of the step needs, beyond its ends.
    """

    z: State
    error: State
    sizes: tuple[State, ...]
    previous: State | None = None
    last: State | None = None
    stages: tuple[State, ...] = ()


class Stepper(abc.ABC):
    """An embedded pair.

    Attributes:
        name: what users type.
        order: exponent p of the error estimate, E = O(h^p).
        draws: what of the Brownian path an attempt takes: ``"increment"`` dw; ``"area"`` the
            integral of w(t + u) - w(t) over 0 <= u <= h; ``"half"`` the increment over the first
            half of the step; ``"sign"`` +-1 with equal chances.
        evaluations: evaluations of the drift in a step, the first one included.
        fsal: whether ``attempt`` returns ``last``.
        dense: whether ``attempt`` returns what a dense output needs, if it has some.
    """

    name: str
    order: float
    draws: tuple[str, ...] = ()
    evaluations: int
    fsal: bool = False
    dense: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells this stepper from others: its class and settings."""
        return type(self), *sorted((k, repr(v)) for k, v in vars(self).items())

    def check(self, sde: Any, z: State, t: float) -> None:  # noqa: B027
        """Refuse, before any work, an SDE that this pair cannot step from (z, t)."""

    def first(self, field: Field, z: State, t: Any) -> State:
        """The evaluation at (z, t); a rejected step is retried without it."""
        return field.drift(z, t)

    def to_dense(self, field: Field, z: State, t: Any, first: State) -> tuple[State, State]:
        """(y, dy/dt): what a dense output interpolates in time, z itself by default."""
        return z, first

    def from_dense(self, field: Field, y: State, t: Any) -> State:
        """The state of y."""
        return y

    @abc.abstractmethod
    def attempt(
        self,
        field: Field,
        z: State,
        t: Any,
        h: Any,
        first: State,
        draws: dict[str, State],
        previous: State,
    ) -> Attempt:
        """Try a step of size h from (z, t); ``previous`` is z before the first step."""


class Field:
    """Drift and diffusion of an SDE or ODE as steppers see them.

    ``drift`` and ``diffuse`` are per unit of the run's own time. A GeneralSDE's functions get t
    with the axes to broadcast against (batch, *shape); other objects get (batch,).
    """

    def __init__(self, sde: Any) -> None:
        self.sde, self.direction = sde, sde.direction
        self._broadcast = getattr(sde, "broadcasts_time", False)

    def drift(self, z: State, t: Any) -> State:
        """M arrays like z."""
        return tuple(self.sde.drift(z, self.time(t, z)))

    def diffuse(self, z: State, t: Any, dw: State) -> State:
        """Diffusion times the increments: m arrays like z."""
        if self.sde.noise == "general":
            return tuple(self.sde.diffuse(z, self.time(t, z), dw[0]))
        time = t if self.sde.noise == "additive" else self.time(t, z)
        return tuple(self.sde.diffuse(z, time, dw))

    def time(self, t: Any, z: State) -> Any:
        """Time as the SDE's functions of the state want it."""
        if self._broadcast and getattr(t, "ndim", 0):
            return t.reshape(t.shape + (1,) * (z[0].ndim - 1))
        return t


def motions(sde: Any, z: State, t: float) -> tuple[tuple[int, ...], ...]:
    """Shapes, without the batch axis, of the Brownian motions of one sample."""
    if sde.noise == "none":
        return ()
    if sde.noise == "additive":
        return (tuple(z[0].shape[1:]),) * int(sde.diffusion(t).shape[-1])
    if sde.noise == "diagonal":
        return tuple(tuple(x.shape[1:]) for x in z)
    columns = sde.diffusion(tuple(x[:1] for x in z), t)[0].shape[-1]
    return ((int(columns),),)
