"""The curated suite of problems: target x process x reference answer, one file each.

from sgmsolve.problems import find
ring = find("ring")
ring.target, ring.process, ring.grid_arguments, ring.marginal(1000, ring.t_end, seed=0)

The last three are equations of their own, for solvers of general SDEs; samplers cannot run there:

gbm = find("gbm")
gbm.sde("stratonovich"), gbm.start(1000, seed=0), gbm.mean(gbm.t_end), gbm.variance(gbm.t_end)
"""

from __future__ import annotations

import importlib

from sgmsolve.problems.base import NoTargetError, Problem, SDEProblem, View

from sgmsolve.errors import SgmsolveError, unknown

__all__ = [
    "NAMES",
    "SDE_NAMES",
    "NoTargetError",
    "Problem",
    "SDEProblem",
    "UnknownProblemError",
    "View",
    "all_problems",
    "find",
]

SDE_NAMES = ("gbm", "double-well", "cox-ingersoll-ross")
"""Names of the problems that are general SDEs."""

NAMES = (
    "gaussian",
    "ill-conditioned",
    "ring",
    "grid25",
    "moons",
    "two-moons-chain",
    "checkerboard",
    "field",
    "photo-field",
    "digits",
    "photo-patches",
    "psld-gaussian",
    "psld-ring",
    "psld-digits",
    *SDE_NAMES,
)
"""Names of all problems: easy ones first, then those in phase space, then general SDEs.

The file of ``ill-conditioned`` is ill_conditioned.py.
"""


class UnknownProblemError(SgmsolveError, ValueError):
    """A name that no problem has."""


def find(name: str) -> Problem | SDEProblem:
    """The problem of that name, a Problem or (SDE_NAMES) an SDEProblem.

    Raises UnknownProblemError with the nearest name.
    """
    if name not in NAMES:
        raise UnknownProblemError(unknown("problem", name, NAMES))
    module = importlib.import_module(f"sgmsolve.problems.{name.replace('-', '_')}")
    found: Problem | SDEProblem = module.PROBLEM
    return found


def all_problems() -> list[Problem | SDEProblem]:
    """All problems in the order of NAMES; no data is read."""
    return [find(name) for name in NAMES]
