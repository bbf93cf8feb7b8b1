"""The drift of a ReverseSDE with its matrices multiplied out on the host: fewer array operations.

With the score of a prediction e, score = a z + b e (``process.conversion``),

    -F z + K score = A z + B e,    A = -F + K a,    B = K b,    K = (1 + eta^2)/2 G G^T,

one sum for each component instead of three; torch pays for every operation it is asked for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.model.base import ConvertedModel, check_prediction, linear_combination
from sgmsolve.reverse import ProbabilityFlow, ReverseSDE


def fused_drift(sde: Any) -> Callable[[Any, Any], Any]:
    """``drift(z, t)`` of the SDE, to rounding; its own ``drift`` for anything but a ReverseSDE.

    Drifts with operators, times that are no floats, and predictions that have no score, go to the
    SDE's own as well. Coefficients are kept: runs of many batches come back to the same times.
    """
    plain = type(sde) in (ReverseSDE, ProbabilityFlow) and not sde.bends_drift
    return _fused(sde) if plain else sde.drift


@functools.lru_cache(maxsize=64)
def _fused(sde: ReverseSDE) -> Callable[[Any, Any], Any]:
    score = sde._score
    model = score.model if isinstance(score, ConvertedModel) else score

    @functools.lru_cache(maxsize=4096)
    def coefficients(t: float) -> list[list[float]]:
        """Rows of (A, B) at forward time t."""
        sde.check_time(t)
        a, b = sde.process.conversion(model.predicts, "score", t)
        eta, G = sde.eta_at(t), sde.process.G(t)
        gain = (1 + eta**2) / 2 * (G @ G.T)
        return np.concatenate([gain @ a - sde.process.F(t), gain @ b], axis=1).tolist()

    def drift(z: Any, t: Any) -> Any:
        if not isinstance(t, float):
            return sde.drift(z, t)
        rows = coefficients(t)
        sources = (*z, *_checked(model(z, t), z, t))
        if len(sources) != len(rows[0]):
            return sde.drift(z, t)  # which says what is wrong
        return tuple(linear_combination(zip(row, sources, strict=True)) for row in rows)

    return drift


def _checked(given: Any, z: Any, t: float) -> Any:
    """The prediction as arrays of the state's dtype; ModelError for anything that does not fit."""
    x = z[0]
    if type(given) is tuple and all(e.shape == x.shape and e.dtype == x.dtype for e in given):
        return given
    xp = array_namespace(x)
    return tuple(xp.astype(e, x.dtype) for e in check_prediction(given, z, t=t))
