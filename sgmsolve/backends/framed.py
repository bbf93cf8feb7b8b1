"""Plans that run in the modes of a Gaussian fit: states, predictions and draws are coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.errors import BackendError
from sgmsolve.plan import Plan
from sgmsolve.precondition.constants import Constants


class Framed:
    """The model of the centred coefficients c = Q^T (z - alpha(t) mean), made of the model of z.

    A prediction a z + b data becomes the coefficients of itself less (a alpha + b) mean, which is
    what the centred process predicts: score and noise lose nothing, data their mean.
    """

    def __init__(self, plan: Plan, model: Any) -> None:
        self.frame, self.model = plan.frame, model
        self.process, self.predicts = model.process, model.predicts
        if hasattr(model, "as_kind"):
            self.as_kind = lambda kind: Framed(plan, model.as_kind(kind))
        assert self.frame is not None
        self._centred = not np.any(self.frame.mean)
        self._mean = np.broadcast_to(self.frame.mean, self.frame.shape)
        self._constants = Constants()

    def encode(self, z: tuple[Any, ...], t: float, data: bool = False) -> tuple[Any, ...]:
        """Coefficients (batch, dim) of the state (batch, *shape) at time t; see ``decode``."""
        assert self.frame is not None
        if tuple(z[0].shape[1:]) != self.frame.shape:
            msg = (
                f"the plan runs in modes of samples of shape {self.frame.shape}, but the state has "
                f"shape {tuple(z[0].shape)}; build it with a fit for samples of this shape."
            )
            raise BackendError(msg)
        return (self.frame.transform.forward(self._shifted(z[0], -self._factor(t, data))),)

    def decode(self, c: tuple[Any, ...], t: float, data: bool = False) -> tuple[Any, ...]:
        """The state of coefficients at time t; ``data``: they are a data prediction."""
        assert self.frame is not None
        return (self._shifted(self.frame.transform.inverse(c[0]), self._factor(t, data)),)

    def __call__(self, c: tuple[Any, ...], t: float) -> tuple[Any, ...]:
        """Coefficients of the centred prediction."""
        assert self.frame is not None
        made = self.model(self.decode(c, t), t)
        parts = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        if not self._centred:
            a, b = self.process.conversion("data", self.predicts, t)
            offset = float(np.sum(a) * self._factor(t) + np.sum(b))
            parts = tuple(self._shifted(part, -offset) for part in parts)
        return tuple(self.frame.transform.forward(part) for part in parts)

    def _factor(self, t: float, data: bool = False) -> float:
        if self._centred or data:
            return 1.0
        return float(self.process.loading(t)[0])

    def _shifted(self, x: Any, factor: float) -> Any:
        """``x + factor mean``."""
        if self._centred:
            return x
        return x + factor * self._constants.get("mean", self._mean, x)
