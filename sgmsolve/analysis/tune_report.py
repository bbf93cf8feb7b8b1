"""What the figures of a tuning forbid, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sgmsolve.analysis.tune_space import Parameter

LITTLE = 1.01
"""A gain below is none."""
LOST = 0.5
"""The part of a gain, in its logarithm, below which it counts as lost elsewhere."""


@dataclass(frozen=True)
class Scores:
    """Errors of one plan; ``transfer`` is None for what was not tuned on a Gaussian."""

    train: float
    held_out: float
    transfer: float | None = None


def gain(default: float | None, tuned: float | None) -> float | None:
    """Default error / tuned error; None where one is missing, not finite, or the second is 0."""
    if default is None or tuned is None or not tuned:
        return None
    value = default / tuned
    return value if math.isfinite(value) else None


def cautions(
    tuned: Scores, default: Scores, transfer_on: str | None, accuracy: float | None
) -> Iterator[str]:
    """Sentences about gains that are not there elsewhere."""
    trained = gain(default.train, tuned.train)
    if trained is not None and trained < LITTLE:
        yield (
            f"tuning did not help: the default's train error is {default.train:.3g}, the best "
            f"found {tuned.train:.3g}."
        )
        return
    if accuracy is not None and tuned.train < 3 * accuracy:
        yield (
            f"the tuned error {tuned.train:.3g} is within three times the reference's own "
            f"({accuracy:.3g}); the difference from other settings may not be real."
        )
    yield from _lost(
        "the gain is fitted to what was tuned on and does not hold elsewhere",
        "part of the gain is fitted to what was tuned on",
        "on what was held out",
        (default.train, tuned.train),
        (default.held_out, tuned.held_out),
    )
    if tuned.transfer is not None and default.transfer is not None:
        yield from _lost(
            "the setting tuned on a Gaussian does not transfer",
            "the setting tuned on a Gaussian transfers in part",
            f"in {transfer_on}",
            (default.train, tuned.train),
            (default.transfer, tuned.transfer),
        )


def _lost(
    wholly: str,
    partly: str,
    where: str,
    train: tuple[float, float],
    other: tuple[float, float],
) -> Iterator[str]:
    """One sentence if the gain in ``other`` (default, tuned) is not that in ``train``."""
    factor = gain(*other)
    if not math.isfinite(other[1]) or (factor is not None and factor < LITTLE):
        how = "no better" if other[1] <= other[0] else "worse"
        yield (
            f"{wholly}: {where}, its error is {other[1]:.3g}, {how} than the default's "
            f"{other[0]:.3g}."
        )
        return
    trained = gain(*train)
    if factor is not None and trained is not None and factor < trained**LOST:
        yield (
            f"{partly}: the error falls by a factor {trained:.3g} where it was tuned, but {where} "
            f"only by {factor:.3g}, from {other[0]:.3g} to {other[1]:.3g}."
        )


def at_bounds(coordinates: Sequence[Parameter], values: dict[str, Any]) -> Iterator[str]:
    """A sentence for each parameter whose best value is an end of its range."""
    for p in coordinates:
        if p.name not in values:
            continue
        if p.low == 0 and values[p.name] == 0:
            continue  # the end of what makes sense, not of the range
        u = p.unit(float(values[p.name]))
        if u < 1e-3 or u > 1 - 1e-3:
            yield (
                f"the best {p.name} = {values[p.name]:.4g} is an end of the range searched, "
                f"{p.low:g} to {p.high:g}; a wider one (--search {p.name}=LOW:HIGH) may hold a "
                f"better one."
            )
