"""How the next step size follows from error estimates: pure functions of E, elementwise.

An estimate E = ||e / tolerance|| says "accept" by E <= 1. For a pair whose estimate is O(h^p),

    h_next = h clip(safety E_n^(-a) E_(n-1)^(-b) E_(n-2)^(-c), shrink, grow)

(Soederlind 2003, "Digital filters in adaptive time-stepping", eq. 30, with a = k/p and so on). One
gain a is the elementary controller, two are a PI, three a PID controller. After a rejection the
step never grows, and past errors do not count.

The first accepted step is followed by an elementary one, E^(-1/p), in all of them: PI and PID
controllers damp changes, and a first guess that is far off would cost them many steps.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sgmsolve._array import array_namespace
from sgmsolve.errors import MethodError


@dataclasses.dataclass(frozen=True)
class Controller:
    """Exponents and bounds; see the module's docstring.

    Args:
        gains: (a,), (a, b) or (a, b, c), exponents of 1/E of this and the last accepted steps.
        safety: factor below what the estimate allows, 0 < safety <= 1.
        shrink, grow: bounds of one change of the step, shrink < 1 < grow; 0 and inf are none.
        hold: whether a rejected step may not be followed by a longer one.
        start: exponent of 1/E up to the first accepted step, if there is more than one gain; None
            for a.

    Raises: MethodError for anything else.
    """

    gains: tuple[float, ...]
    safety: float = 0.9
    shrink: float = 0.2
    grow: float = 10.0
    hold: bool = True
    start: float | None = None

    def __post_init__(self) -> None:
        fine = (
            1 <= len(self.gains) <= 3
            and all(math.isfinite(g) for g in self.gains)
            and 0 < self.safety <= 1
            and 0 <= self.shrink < 1 < self.grow
            and (self.start is None or math.isfinite(self.start))
        )
        if not fine:
            msg = (
                f"{self!r} is no controller; expected one to three finite gains (and start), "
                "0 < safety <= 1 and 0 <= shrink < 1 < grow."
            )
            raise MethodError(msg)

    def begin(self, like: Any) -> tuple[Any, ...]:
        """Past errors before the first step, unknown: zeros, (n,) arrays like ``like``."""
        xp = array_namespace(like)
        return tuple(xp.zeros_like(like) for _ in self.gains[1:])

    def __call__(self, E: Any, past: tuple[Any, ...], accepted: Any) -> tuple[Any, tuple[Any, ...]]:
        """(factor for h, past errors afterwards); all (n,) arrays of one library.

        E = 0 grows the step as far as allowed; an E that is not finite shrinks it by ``shrink`` (a
        tenth if there is no bound). Neither is remembered.
        """
        xp = array_namespace(E)
        finite = xp.isfinite(E)
        usable = finite & (E > 0)
        known = xp.where(usable, E, xp.ones_like(E))
        factor = self.safety * known ** (-self.gains[0])
        if past:
            factor, past = self._with_past(xp, factor, known, past, accepted, usable)
        factor = xp.where(E == 0, xp.full_like(E, math.inf), factor)
        factor = xp.where(finite, factor, xp.full_like(E, self.shrink or 0.1))
        factor = xp.clip(factor, self.shrink, self.grow)
        if self.hold:
            factor = xp.where(accepted, factor, xp.clip(factor, 0.0, 1.0))
        return factor, past

    def _with_past(
        self, xp: Any, factor: Any, known: Any, past: tuple[Any, ...], accepted: Any, usable: Any
    ) -> tuple[Any, tuple[Any, ...]]:
        """The factor with past errors in it, and the past errors afterwards."""
        one, kept = xp.ones_like(known), accepted & usable
        for gain, old in zip(self.gains[1:], past, strict=True):
            factor = factor * xp.where(accepted & (old > 0), old, one) ** (-gain)
        made = (known, *past)[: len(past)]
        if self.start is not None:
            starting = past[0] == 0
            factor = xp.where(starting, self.safety * known ** (-self.start), factor)
            # What the new step aims at is remembered, not how far off the first one was.
            made = tuple(xp.where(starting, one, new) for new in made)
        return factor, tuple(xp.where(kept, new, old) for new, old in zip(made, past, strict=True))


def integral(order: float, **bounds: Any) -> Controller:
    """The elementary controller: E^(-1/p) for an estimate of order p."""
    return Controller((1 / order,), **bounds)


def pi(order: float, integral: float = 0.3, proportional: float = 0.4, **bounds: Any) -> Controller:
    """Gustafsson's PI controller: (kI + kP)/p on this error, -kP/p on the last one.

    Defaults: Gustafsson (1991), "Control theoretic techniques for stepsize selection in explicit
    Runge-Kutta methods", ACM TOMS 17, section 4.
    """
    gains = ((integral + proportional) / order, -proportional / order)
    return Controller(gains, **{"start": 1 / order, **bounds})


def pid(
    order: float,
    proportional: float = 0.4,
    integral: float = 0.3,
    derivative: float = 0.0,
    **bounds: Any,
) -> Controller:
    """The PID controller: gains (kP + kI + kD, -(kP + 2 kD), kD)/p (Soederlind 2003, eq. 34)."""
    p, i, d = proportional, integral, derivative
    gains = ((p + i + d) / order, -(p + 2 * d) / order, d / order)
    return Controller(gains, **{"start": 1 / order, **bounds})


def cautious(order: float) -> Controller:
    """The elementary controller with growth by at most 1.5, for estimates that are random numbers.

    An estimate of few dimensions is small by luck in some steps; if these may grow far, the
    longest of them make up the whole error.
    """
    return integral(order, grow=1.5)


def gotta_go_fast(theta: float = 0.9, r: float = 0.9, grow: float = math.inf) -> Controller:
    """Steps theta h E^(-r), also after a rejection (arXiv:2105.14080, Algorithm 1).

    Published without bounds: ``grow`` = inf. In few dimensions an error estimate can be next to
    zero by chance, and the step that follows as long as the interval: see ``GottaGoFast``.
    """
    return Controller((r,), theta, 0.0, grow, hold=False)
