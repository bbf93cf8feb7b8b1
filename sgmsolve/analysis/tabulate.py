"""Exact predictions, with what depends on time only computed for all rows at once.

``tabulate`` returns ``predict(row, x)``. On the small problems of order studies a row then costs a
few numpy calls, several times less than a call of ``target.model``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis.exact import predictions
from sgmsolve.target.mixture import GaussianMixture
from sgmsolve.target.posterior import posterior_gains

Predict = Callable[[int, np.ndarray], np.ndarray]
"""(row, x of shape (n,)) -> prediction (n,); n counts points times modes or dimensions."""


def dimension(target: Any) -> int:
    """Numbers a point has in ``tabulate``'s layout: modes of a Gaussian, else dimensions."""
    return len(target.modes()[0]) if hasattr(target, "modes") else int(target.dim)


def tabulate(target: Any, process: Any, kind: str, times: np.ndarray, points: int) -> Predict:
    """Exact prediction of ``kind`` at each of ``times`` (forward), for ``points`` states at once.

    States are flat, x = (points * dimension,), point by point; those of a Gaussian are in the
    coordinates of its modes. Formulas: ``target.posterior.posterior_gains``.
    """
    times = np.asarray(times, dtype=np.float64)
    if hasattr(target, "modes"):
        gain, offset = predictions(target, process, kind, times)
        g, o = np.tile(gain[:, 0, 0], points), np.tile(offset[:, 0], points)
        return lambda row, x: g[row] * x + o[row]
    if isinstance(target, GaussianMixture) and target.dim == 1:
        return _line(target, process, kind, times)
    model, shape = target.model(process, kind), (points, *target.shape)

    def general(row: int, x: np.ndarray) -> np.ndarray:
        return np.asarray(model((x.reshape(shape),), float(times[row]))[0]).reshape(-1)

    return general


def _line(target: GaussianMixture, process: Any, kind: str, times: np.ndarray) -> Predict:
    """A mixture in one dimension: components on the first axis, points on the second."""
    alpha = np.asarray(process.alpha(times), dtype=np.float64)[:, None]
    sigma = np.asarray(process.sigma(times), dtype=np.float64)[:, None]
    mean, variance = target.means[:, 0], target.eigenvalues[:, 0]
    total = alpha**2 * variance + sigma**2
    c_d, c_mu = posterior_gains(kind, alpha, sigma, variance)
    # Lists of views: indexing an array of rows costs more than the arithmetic on a row does.
    centre = list((alpha * mean)[:, :, None])
    slope = list(np.broadcast_to(c_d, total.shape)[:, :, None])
    shift = list(np.broadcast_to(c_mu * mean, total.shape)[:, :, None])
    level = list((np.log(target.weights) - 0.5 * np.log(total))[:, :, None])
    width = list((-0.5 / total)[:, :, None])
    highest, add = np.maximum.reduce, np.add.reduce

    def predict(row: int, x: np.ndarray) -> np.ndarray:
        d = x - centre[row]
        weight = d * d
        weight *= width[row]
        weight += level[row]
        weight -= highest(weight)
        np.exp(weight, out=weight)
        d *= slope[row]
        d += shift[row]
        d *= weight
        return np.asarray(add(d) / add(weight))

    return predict
