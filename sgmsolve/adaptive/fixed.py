"""The same steppers on a grid that all samples share: no error control, no rejections."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from sgmsolve.adaptive._rows import State, finite_rows
from sgmsolve.adaptive.brownian import Source
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.adaptive.stepper import Field, Stepper
from sgmsolve.errors import Status


class Path(Protocol):
    """A Brownian path for all samples of a batch; forward times, in the direction of the run."""

    def increment(self, a: float, b: float) -> tuple[Any, ...]:
        """w(b) - w(a) of every motion, arrays (batch, *shape)."""

    def area(self, a: float, b: float) -> tuple[Any, ...]:
        """Integral of w(u) - w(a) over the run's own time between a and b, likewise."""


def run_fixed(
    stepper: Stepper, sde: Any, z: State, times: np.ndarray, source: Source | Path | None
) -> AdaptiveSolution:
    """Steps from time to time; the SDE is called with t as a float."""
    field, batch, evaluated = Field(sde), z[0].shape[0], 0
    previous: State = z
    known: State | None = None
    for t, s in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        if known is None:
            known = stepper.first(field, z, t)
            evaluated += 1
        draws = _draws(stepper, source, t, s, batch)
        tried = stepper.attempt(field, z, t, abs(s - t), known, draws, previous)
        evaluated += stepper.evaluations - 1
        z, known = tried.z, tried.last
        previous = previous if tried.previous is None else tried.previous
    steps = np.full(batch, len(times) - 1)
    return AdaptiveSolution(
        z,
        np.full(batch, times[-1]),
        np.full(batch, evaluated),
        evaluated * batch,
        evaluated,
        steps,
        np.zeros_like(steps),
        tuple(Status.FINISHED if ok else Status.NONFINITE for ok in finite_rows(z)),
    )


def _draws(
    stepper: Stepper, source: Source | Path | None, t: float, s: float, batch: int
) -> dict[str, State]:
    if source is None or not stepper.draws:
        return {}
    if isinstance(source, Source):
        made = source.draws(stepper.draws, np.full(batch, t), np.full(batch, abs(s - t)))
        source.settle(np.ones(batch, dtype=bool))
        return made
    draws = {"increment": tuple(source.increment(t, s))}
    if "half" in stepper.draws:
        draws["half"] = tuple(source.increment(t, (t + s) / 2))
    if "area" in stepper.draws:
        draws["area"] = tuple(source.area(t, s))
    return draws
