"""Exact predictions, with what depends on time only computed for all rows at once.

``tabulate`` returns ``predict(row, x)``. On the small problems of order studies a row then costs a
few numpy calls, several times less than a call of ``target.model``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis.exact import predictions
from sgmsolve.target import phase
from sgmsolve.target.mixture import GaussianMixture
from sgmsolve.target.posterior import posterior_gains

Predict = Callable[[int, np.ndarray], np.ndarray]
"""(row, x (n,)) -> prediction (n,); with m > 1 components x (m, n) -> prediction (p, n).

n counts points times modes or dimensions.
"""


def dimension(target: Any) -> int:
    """Numbers a point has in ``tabulate``'s layout: modes of a Gaussian, else dimensions."""
    return len(target.modes()[0]) if hasattr(target, "modes") else int(target.dim)


def tabulate(target: Any, process: Any, kind: str, times: np.ndarray, points: int) -> Predict:
    """Exact prediction of ``kind`` at each of ``times`` (forward), for ``points`` states at once.

    Each component of the state is flat, (points * dimension,), point by point; those of a Gaussian
    are in the coordinates of its modes. Formulas: ``target.posterior.posterior_gains``, and with
    m > 1 components ``target.phase``.
    """
    times = np.asarray(times, dtype=np.float64)
    if hasattr(target, "modes"):
        return _affine(*predictions(target, process, kind, times), points)
    line = isinstance(target, GaussianMixture) and target.dim == 1
    if line and process.m == 1:
        alpha = np.asarray(process.alpha(times), dtype=np.float64)[:, None]
        sigma = np.asarray(process.sigma(times), dtype=np.float64)[:, None]
        return _line(target, kind, alpha, sigma)
    if line and kind != "data":
        return _phase_line(target, process, kind, times)
    model, shape, m = target.model(process, kind), (points, *target.shape), process.m

    def general(row: int, x: np.ndarray) -> np.ndarray:
        made = model(tuple(part.reshape(shape) for part in x.reshape(m, -1)), float(times[row]))
        flat = np.stack([np.asarray(part).reshape(-1) for part in made])
        return flat if m > 1 else flat[0]

    return general


def _affine(gain: np.ndarray, offset: np.ndarray, points: int) -> Predict:
    """A Gaussian: gain (R, p, m, M) and offset (R, p, M), repeated for every point."""
    if gain.shape[1:3] == (1, 1):
        g, o = np.tile(gain[:, 0, 0], points), np.tile(offset[:, 0], points)
        return lambda row, x: g[row] * x + o[row]
    wide, shift = np.tile(gain, points), np.tile(offset, points)
    return lambda row, x: np.asarray((wide[row] * x).sum(axis=1) + shift[row])


def _phase_line(target: GaussianMixture, process: Any, kind: str, times: np.ndarray) -> Predict:
    """A mixture in one dimension with m > 1: noise given a.z, and the rest of the state."""
    at = phase.split(process, times)
    left, right = phase.response(process, kind, times, at)
    sigma = np.asarray(at.sigma, dtype=np.float64)[:, None]
    noise = _line(target, "noise", np.ones_like(sigma), sigma)

    def rows(entries: list[list[Any]]) -> list[np.ndarray]:
        return list(np.moveaxis(np.array(entries, dtype=np.float64), -1, 0))

    # y = a . z and P R z in one product: the rows of (a, P R).
    whole = [
        np.concatenate([a, p @ r])
        for a, p, r in zip(rows([at.estimate]), rows(left), rows(at.rest), strict=True)
    ]
    pull = rows([[q] for q in right])

    def predict(row: int, x: np.ndarray) -> np.ndarray:
        made = whole[row] @ x
        return np.asarray(made[1:] + pull[row] * noise(row, made[0]))

    return predict


def _line(target: GaussianMixture, kind: str, alpha: np.ndarray, sigma: np.ndarray) -> Predict:
    """A mixture in one dimension at alpha and sigma (R, 1); components first, points second."""
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
