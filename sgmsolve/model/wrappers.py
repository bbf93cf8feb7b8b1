"""Thresholding of the data prediction, and counting of calls."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from sgmsolve._array import array_namespace
from sgmsolve.errors import ModelError
from sgmsolve.model.base import Prediction, State, to_kind
from sgmsolve.process.base import AbstractProcess


@dataclasses.dataclass(frozen=True, eq=False)
class ClippedModel:
    """A data prediction kept inside [low, high]; made by :func:`clip_data`."""

    model: Any
    low: float
    high: float
    predicts: str = dataclasses.field(default="data", init=False)

    @property
    def process(self) -> AbstractProcess:
        """The inner model's process."""
        return self.model.process

    def __call__(self, z: State, t: Any) -> Prediction:
        """The clipped data prediction at forward time t, arrays (batch, *shape)."""
        xp = array_namespace(z[0])
        x0, *rest = self.model(z, t)
        return (xp.clip(x0, self.low, self.high), *rest)


def clip_data(model: Any, low: float = -1.0, high: float = 1.0) -> ClippedModel:
    """Static thresholding: the data prediction clipped to [low, high], entry by entry.

    The result predicts data, whatever the model predicted (executors convert it back exactly): data
    is what was clipped, so nothing is divided by sigma. Only the first predicted component is data.
    Ho et al. 2020's ``clip_denoised``; named in Saharia et al. 2022 (arXiv:2205.11487, section
    2.3).

    Raises: ModelError unless low < high.
    """
    if not low < high:
        msg = f"clip_data was given low = {low} and high = {high}, expected low < high; swap them?"
        raise ModelError(msg)
    return ClippedModel(to_kind(model, "data"), float(low), float(high))


@dataclasses.dataclass(frozen=True, eq=False)
class DynamicThreshold:
    """Imagen's thresholding; made by :func:`dynamic_threshold`."""

    model: Any
    quantile: float
    max_value: float
    predicts: str = dataclasses.field(default="data", init=False)

    @property
    def process(self) -> AbstractProcess:
        """The inner model's process."""
        return self.model.process

    def __call__(self, z: State, t: Any) -> Prediction:
        """The thresholded data prediction at forward time t, arrays (batch, *shape)."""
        x0, *rest = self.model(z, t)
        xp = array_namespace(x0)
        n = x0.shape[0]
        size = math.prod(x0.shape[1:])
        ranked = xp.sort(xp.reshape(xp.abs(x0), (n, size)), axis=-1)
        # Linear interpolation between order statistics, as numpy.quantile; torch.quantile has a
        # size limit.
        position = self.quantile * (size - 1)
        below = min(int(position), size - 1)
        above = min(below + 1, size - 1)
        part = position - below
        s = (1 - part) * ranked[:, below] + part * ranked[:, above]
        s = xp.reshape(xp.clip(s, 1.0, self.max_value), (n,) + (1,) * (x0.ndim - 1))
        # s >= 1, so clipping x0 to [-s, s] and dividing by s is clipping x0/s to [-1, 1].
        return (xp.clip(x0 / s, -1.0, 1.0), *rest)


def dynamic_threshold(
    model: Any, quantile: float = 0.995, max_value: float = math.inf
) -> DynamicThreshold:
    """Dynamic thresholding: the data prediction becomes clip(x0, -s, s) / s, inside [-1, 1].

    s is the ``quantile`` of |x0| over the entries of each sample, kept in [1, max_value].

    The result predicts data, whatever the model predicted. Saharia et al. 2022 (arXiv:2205.11487,
    section 2.3, no max_value); ``max_value`` is diffusers' ``sample_max_value`` (its default 1 is
    static clipping).

    Raises: ModelError unless 0 < quantile <= 1 and max_value >= 1.
    """
    if not 0 < quantile <= 1:
        msg = f"quantile is {quantile}, expected a number in (0, 1]; the paper's is 0.995."
        raise ModelError(msg)
    if not max_value >= 1:
        msg = f"max_value is {max_value}, expected at least 1; leave it out for no limit."
        raise ModelError(msg)
    return DynamicThreshold(to_kind(model, "data"), float(quantile), float(max_value))


class CountCalls:
    """A model that counts: ``.calls`` evaluations and ``.samples`` samples (calls times batch).

    Mutable on purpose. Under jax it counts traces, not runs: a jitted loop calls Python once.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls = 0
        self.samples = 0

    @property
    def process(self) -> AbstractProcess:
        """The inner model's process."""
        return self.model.process

    @property
    def predicts(self) -> str:
        """The inner model's kind."""
        return self.model.predicts

    def __call__(self, z: State, t: Any) -> Prediction:
        """Count, then call the model at forward time t."""
        self.calls += 1
        self.samples += int(z[0].shape[0])
        return self.model(z, t)

    def reset(self) -> None:
        """Start again from zero."""
        self.calls = self.samples = 0
