"""The curated suite of problems: target x process x reference answer, one file each.

from sgmsolve.problems import find
ring = find("ring")
ring.target, ring.process, ring.grid_arguments, ring.marginal(1000, ring.t_end, seed=0)
"""

from __future__ import annotations

import importlib

from sgmsolve.problems.base import Problem, View

from sgmsolve.errors import SgmsolveError, unknown

__all__ = ["NAMES", "Problem", "UnknownProblemError", "View", "all_problems", "find"]

NAMES = (
    "gaussian",
    "ill-conditioned",
    "ring",
    "grid25",
    "moons",
    "checkerboard",
    "field",
    "digits",
    "psld-gaussian",
    "psld-ring",
    "psld-digits",
)
"""Names of all problems, easy ones first and those in phase space last.

The file of ``ill-conditioned`` is ill_conditioned.py.
"""


class UnknownProblemError(SgmsolveError, ValueError):
    """A name that no problem has."""


def find(name: str) -> Problem:
    """The problem of that name; raises UnknownProblemError with the nearest name."""
    if name not in NAMES:
        raise UnknownProblemError(unknown("problem", name, NAMES))
    module = importlib.import_module(f"sgmsolve.problems.{name.replace('-', '_')}")
    found: Problem = module.PROBLEM
    return found


def all_problems() -> list[Problem]:
    """All problems in the order of NAMES; no data is read."""
    return [find(name) for name in NAMES]
