"""What an adaptive run returns: every sample has its own time, counts and status."""

from __future__ import annotations

import collections
import dataclasses
import warnings
from typing import Any

import numpy as np

from sgmsolve.errors import IncompleteWarning, SolveError, Status


@dataclasses.dataclass(frozen=True, eq=False)
class AdaptiveSolution:
    """Samples, and how each of them was made; no sample is lost.

    Attributes:
        z: m arrays (batch, *shape): the state at ``t``, each sample's own last accepted step.
        t: (batch,) forward time reached; ``t_end`` for finished samples.
        nfe: (batch,) evaluations of the model made for each sample.
        rows: rows of all network calls, padding included; with compaction on numpy and torch this
            is exactly ``nfe.sum()``.
        calls: network calls.
        accepted, rejected: (batch,) steps.
        statuses: (batch,) Status of each sample.
        saved: m arrays (times, batch, *shape) at the times of ``save_at``, NaN where a sample did
            not get there; None without.
        dense: interpolates in time, see ``DenseOutput``; None without ``dense=True``.
    """

    z: tuple[Any, ...]
    t: np.ndarray
    nfe: np.ndarray
    rows: int
    calls: int
    accepted: np.ndarray
    rejected: np.ndarray
    statuses: tuple[Status, ...]
    saved: tuple[Any, ...] | None = None
    dense: Any = None

    @property
    def x(self) -> Any:
        """The data component, ``z[0]``."""
        return self.z[0]

    @property
    def finished(self) -> np.ndarray:
        """(batch,) bools: which samples reached ``t_end``."""
        return np.array([s is Status.FINISHED for s in self.statuses], dtype=bool)

    @property
    def status(self) -> Status:
        """FINISHED if all samples are, else the most frequent failure."""
        failed = [s for s in self.statuses if s is not Status.FINISHED]
        return collections.Counter(failed).most_common(1)[0][0] if failed else Status.FINISHED

    @property
    def message(self) -> str:
        """A sentence about what did not finish, how many and where; empty if all did."""
        failed = np.flatnonzero(~self.finished)
        if not len(failed):
            return ""
        counts = collections.Counter(self.statuses[i] for i in failed)
        why = "; ".join(f"{n}: {status.value}" for status, n in counts.most_common())
        first = ", ".join(f"{i} at t = {self.t[i]:.6g}" for i in failed[:3])
        more = ", ..." if len(failed) > 3 else ""
        return (
            f"{len(failed)} of {len(self.statuses)} samples did not reach the end ({why}); sample "
            f"{first}{more}. The others are complete, these hold their last accepted state; loosen "
            "the tolerances, or raise max_steps or lower h_min."
        )

    def report(self, on_failure: str) -> AdaptiveSolution:
        """Itself; warns or raises if samples did not finish. The error carries ``.solution``."""
        if self.message and on_failure == "warn":
            warnings.warn(self.message, IncompleteWarning, stacklevel=3)
        elif self.message and on_failure == "raise":
            error = SolveError(self.message, self.status)
            error.solution = self
            raise error
        return self
