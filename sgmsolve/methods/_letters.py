"""The language in which splitting schemes are written: ``"O s B/2 A s@end B/2"``.

A scheme lists what one step does, in the order in which it is done, separated by blanks:

====== ==========================================================================================
``s``  evaluate the network at the present state; ``s@end``, ``s@mid``, ``s@0.25`` say at which
       time of the step (0 its start, the default, 1 its end)
``A``  drift of the position (component 0), the last prediction frozen
``B``  drift of all other components, the last prediction frozen
``O``  relaxation and noise of every component by itself, exact
``L``  the linear part that leaves the prior invariant, with its noise, exact
``S``  what is left beside L: the score's kick, by Euler with the last prediction
``S2`` the kick by the midpoint rule, with two evaluations of its own
``S1`` the kick by the midpoint rule, half a step predicted by the step before: one evaluation
====== ==========================================================================================

``B/2``, ``A*2/3`` or ``O*0.25`` do a part of the step; the parts of a letter add up to 1. ``A!``
and ``B!`` integrate the letter's linear part exactly. A and B (with O, or without noise) make one
family of splittings, L and S the other.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from fractions import Fraction

from sgmsolve.errors import MethodError

TOKEN = re.compile(r"(?P<letter>s|A|B|O|L|S2|S1|S)(?P<exact>!?)(?P<rest>[@/*].+)?")
WORDS = {"start": Fraction(0), "mid": Fraction(1, 2), "end": Fraction(1)}
FAMILIES = (("A", "B", "O"), ("L", "S"))


@dataclass(frozen=True)
class Letter:
    """One token: its letter, its part of the step and the parts of the same letter before it.

    For ``s`` the ``part`` is the time of the evaluation, as a fraction of the step.
    """

    name: str
    part: Fraction
    before: Fraction = Fraction(0)
    exact: bool = False

    @property
    def evaluations(self) -> int:
        """Network evaluations it makes."""
        return {"s": 1, "S1": 1, "S2": 2}.get(self.name, 0)


@functools.lru_cache(maxsize=256)
def parse(scheme: str) -> tuple[Letter, ...]:
    """The letters of a scheme. Raises: MethodError that says what cannot be read, or is missing."""
    done: dict[str, Fraction] = {}
    found, scored, unused = [], False, ""
    for text in scheme.split():
        match = TOKEN.fullmatch(text)
        if match is None:
            raise MethodError(_unreadable(scheme, text))
        name, kind = match["letter"], match["letter"][0]
        part = _part(scheme, text, name, match["rest"])
        exact = bool(match["exact"])
        if exact and name not in ("A", "B"):
            msg = f"scheme {scheme!r}: {text!r} has a '!', but only A and B have linear parts."
            raise MethodError(msg)
        if name in ("A", "B", "S") and not scored:
            msg = (
                f"scheme {scheme!r}: {text!r} needs a prediction, but none was made before it; put "
                f"an s in front of it."
            )
            raise MethodError(msg)
        scored = scored or name == "s"
        if name != "O" and name != "L":
            if unused and name in ("s", "S1", "S2"):
                raise MethodError(_wasted(scheme, unused))
            unused = text if name == "s" else ""
        before = done.get(kind, Fraction(0))
        found.append(Letter(name, part, Fraction(0) if name == "s" else before, exact))
        if name != "s":
            done[kind] = before + part
    _complete(scheme, done)
    if unused:
        raise MethodError(_wasted(scheme, unused))
    return tuple(found)


def _wasted(scheme: str, text: str) -> str:
    return (
        f"scheme {scheme!r}: nothing uses the prediction of {text!r}, an evaluation for nothing; "
        f"leave it out, or put it before the letter that is to use it."
    )


def _unreadable(scheme: str, text: str) -> str:
    return (
        f"scheme {scheme!r}: {text!r} cannot be read; write letters s A B O L S S1 S2 separated by "
        f"blanks, such as 'O s B/2 A s@end B/2'."
    )


def _part(scheme: str, text: str, name: str, rest: str | None) -> Fraction:
    """The fraction after a letter; for s the time of the evaluation."""
    if rest is None:
        return Fraction(0 if name == "s" else 1)
    try:
        if rest[0] == "@":
            value = WORDS[rest[1:]] if rest[1:] in WORDS else Fraction(rest[1:])
        else:
            value = Fraction(rest[1:]) if rest[0] == "*" else 1 / Fraction(rest[1:])
    except (ValueError, ZeroDivisionError):
        raise MethodError(_unreadable(scheme, text)) from None
    if (rest[0] == "@") != (name == "s"):
        msg = (
            f"scheme {scheme!r}: {text!r} is no such thing; s takes a time (s@mid), every other "
            f"letter a part of the step (B/2)."
        )
        raise MethodError(msg)
    if not 0 <= value <= 1 or (name != "s" and value == 0):
        msg = f"scheme {scheme!r}: {text!r} lies outside the step; give a fraction from 0 to 1."
        raise MethodError(msg)
    return value


def _complete(scheme: str, done: dict[str, Fraction]) -> None:
    """One family, all of its letters, each adding up to one step."""
    family = FAMILIES["L" in done or "S" in done]
    strange = [kind for kind in done if kind not in family]
    if strange:
        msg = (
            f"scheme {scheme!r} mixes A, B, O with L, S, which split the same drift in two ways; "
            f"use one of the two sets."
        )
        raise MethodError(msg)
    missing = [kind for kind in family if kind not in done and kind != "O"]
    if missing:
        msg = f"scheme {scheme!r} has no {' and no '.join(missing)}; a step needs all its parts."
        raise MethodError(msg)
    for kind, total in done.items():
        if total != 1:
            msg = f"scheme {scheme!r}: the parts of {kind} add up to {total}, expected 1."
            raise MethodError(msg)
