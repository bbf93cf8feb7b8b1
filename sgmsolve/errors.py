"""Exception types and status sentences.

Every message is a sentence that says what was given, what was expected and what to do.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from typing import Any


class SgmsolveError(Exception):
    """Base class of every error this library raises on purpose."""


class GridError(SgmsolveError, ValueError):
    """A time grid that does not decrease, leaves the process's range or is too short."""


class ProcessError(SgmsolveError, ValueError):
    """A process with impossible parameters, or a time at which it has no such quantity."""


class ModelError(SgmsolveError, ValueError):
    """A network that returned something else than its wrapper promised."""


class TargetError(SgmsolveError, ValueError):
    """A target with impossible parameters, or points and times it has no answer for."""


class MethodError(SgmsolveError, ValueError):
    """An unknown method, an unknown option or an impossible order."""


class PlanError(SgmsolveError, ValueError):
    """A plan that is inconsistent, corrupted or asked for something it cannot do."""


class BackendError(SgmsolveError, ValueError):
    """A state, noise source or option that the chosen backend cannot run."""


class AnalysisError(SgmsolveError, ValueError):
    """An exact analysis that is not available for this plan and target."""


class PreconditionError(SgmsolveError, ValueError):
    """A preconditioner, mask or folder of images that makes no sense, or does not fit."""


class ChainError(SgmsolveError, ValueError):
    """A Markov chain with impossible settings, or one that was asked for what it lacks."""


class SolveError(SgmsolveError, RuntimeError):
    """A run that failed; carries the ``Status`` as ``.status``, adaptive runs ``.solution`` too."""

    solution: Any = None

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class StabilityWarning(UserWarning):
    """A step beyond the stability limit of its scheme."""


class IncompleteWarning(UserWarning):
    """Some samples of an adaptive run did not reach the end."""


class Status(enum.Enum):
    """How a run ended; the value is the sentence shown to people."""

    FINISHED = "All rows were run."
    STOPPED = "The run was stopped before its last row; solve(..., resume=solution.state) goes on."
    NONFINITE = "The model returned NaN or Inf."
    STEP_TOO_SMALL = "The step size fell below its floor."
    MAX_STEPS = "The largest number of steps was tried."
    UNFINISHED = "The other library's solver gave up before the end."


def nearest(given: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known name nearest to ``given``, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


LISTED = 20
"""So many known names a sentence lists."""


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name: what was given, the nearest name, the known names.

    A long list is left out where a near name was found.
    """
    names = sorted(known)
    near = nearest(given, names)
    if near and len(names) > LISTED:
        return f"unknown {what} {given!r}.{near}"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"unknown {what} {given!r}.{near} Known: {', '.join(names[:LISTED])}{more}."
