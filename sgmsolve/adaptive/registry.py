"""The records of all solvers of this room, by name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

from sgmsolve.adaptive.controllers import Controller
from sgmsolve.adaptive.stepper import Stepper
from sgmsolve.errors import MethodError, unknown


@dataclasses.dataclass(frozen=True)
class Solver:
    """A record of the registry.

    Attributes:
        name: what users type.
        summary: one line.
        make: (sde, options of its own) -> (stepper, the sde in the form the stepper needs).
        controller: the default, from the stepper.
        options: names of the solver's own options.
        rtol, atol: defaults.
        mixing: ``"max"`` or ``"sum"``, see ``Control``.
        stochastic: whether it solves SDEs (ODEs otherwise).
        reference: where it comes from.
        aliases: other names of it.
    """

    name: str
    summary: str
    make: Callable[..., tuple[Stepper, Any]]
    controller: Callable[[Any], Controller]
    options: tuple[str, ...] = ()
    rtol: float = 1e-5
    atol: float = 1e-6
    mixing: str = "sum"
    stochastic: bool = False
    reference: str = ""
    aliases: tuple[str, ...] = ()


_MODULES = ("gotta_go_fast", "milstein", "sra", "runge_kutta", "exponential")


def solvers() -> dict[str, Solver]:
    """Every solver by name."""
    found: dict[str, Solver] = {}
    for module in _MODULES:
        for solver in importlib.import_module(f"sgmsolve.adaptive.{module}").SOLVERS:
            found[solver.name] = solver
    return found


def known_methods() -> tuple[str, ...]:
    """Every name that ``solve_adaptive`` takes."""
    return tuple(solvers())


def find_solver(name: str) -> Solver:
    """The record of that name or alias; MethodError with the nearest name."""
    known = solvers()
    aliases = {alias: solver for solver in known.values() for alias in solver.aliases}
    if name not in known and name not in aliases:
        raise MethodError(unknown("adaptive solver", str(name), (*known, *aliases)))
    return known[name] if name in known else aliases[name]
