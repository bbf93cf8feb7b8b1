"""A model of any scalar process seen as one with alpha = 1 and sigma = t.

With y = x / alpha and sigma = std / alpha a state of VP, or of any process of one component, is
data plus sigma times noise, and the predicted noise is the same number: chains live there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import on_device
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.density import VIEW
from sgmsolve.model.base import Prediction, State, check_prediction, scalar_for, to_kind
from sgmsolve.process import EDM, VE
from sgmsolve.process.base import ScalarProcess


class View:
    """The model of ``model`` in that view; predicts noise. ``calls`` counts evaluations.

    Its time is the noise level sigma: a float, or an array (n,) with one level a sample.
    Raises: ChainError for a process of several components.
    """

    predicts = "noise"
    process = VIEW

    def __init__(self, model: Any) -> None:
        process = getattr(model, "process", None)
        if not isinstance(process, ScalarProcess):
            msg = (
                f"the model is a {type(model).__name__} of {process!r}, expected one of a process "
                "of one component such as VP, VE or EDM; Denoising MCMC needs p_sigma = p * N(0, "
                "sigma^2 I)."
            )
            raise ChainError(msg)
        self.base, self.model, self.calls = process, model, 0
        self._noise, self._unit = to_kind(model, "noise"), isinstance(process, (EDM, VE))

    def __call__(self, z: State, t: Any) -> Prediction:
        """E[eps | y = x0 + sigma eps], one array (n, *shape) in the state's dtype."""
        self.calls += 1
        (y,), process = z, self.base
        if not isinstance(t, (int, float)):
            t = on_device(t, y) if isinstance(t, np.ndarray) else t
        time = process.time_of_rho(t)
        x = y if self._unit else scalar_for(process.alpha(time), y) * y
        given = check_prediction(self._noise((x,), time), z, t=time)
        return (array_namespace(y).astype(given[0], y.dtype),)

    def noise(self, y: Any, sigma: np.ndarray) -> Any:
        """Predicted noise of samples y (n, *shape) at host levels sigma (n,)."""
        return self((y,), sigma)[0]

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest sigma/alpha of the process."""
        process = self.base
        most = np.inf if process.starts_at_zero_alpha else float(process.rho(process.t_max))
        return float(process.rho(0.0)), most

    def check_levels(self, low: float, high: float) -> None:
        """ChainError for levels that the process does not have."""
        least, most = self.ends
        if low < least * (1 - 1e-9) or high > most * (1 + 1e-9):
            msg = (
                f"levels run from {low:.4g} to {high:.4g}, but {self.base!r} has sigma/alpha from "
                f"{least:.4g} to {most:.4g}; choose levels inside."
            )
            raise ChainError(msg)
