"""The probability flow of a Gaussian under processes of m >= 2 components, mode by mode.

Where x0 has variance lam in a mode, V = lam u u^T + Sigma is the covariance of z(t) and the flow of
deviations from the mean is linear, dR/dt = (F + G G^T V^-1 / 2) R. It has no closed form, but with
L the lower Cholesky factor of V

    R(start -> end) = L(end) O L(start)^-1,    O' = Omega O,    Omega = -Omega^T,

where Omega has the entries above the diagonal of L^-1 F L + L^-1 G G^T L^-T / 2 (the other part of
it is L^-1 L'). So all that grows or shrinks is exact, and only a rotation is integrated.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from sgmsolve.errors import AnalysisError
from sgmsolve.model.base import linear_combination
from sgmsolve.precondition.constants import Constants
from sgmsolve.process._collocation import panel_flow, setting
from sgmsolve.process.base import AbstractProcess
from sgmsolve.target.phase import working_state

ACCURACY = 1e-12
MOST_PARTS = 64


def apply(target: Any, z: Any, start: Any, end: Any, process: AbstractProcess) -> tuple[Any, ...]:
    """The state at ``end`` of the probability flow that is at z, m arrays, at ``start``.

    Raises: AnalysisError for times that are no numbers, ProcessError at t = 0, where some direction
    holds no noise, ModelError and TargetError for other states.
    """
    z, dtype = working_state(target, z, process)
    times = [_number(start), _number(end)]
    values, which = np.unique(target.eigenvalues, return_inverse=True)
    blocks = flow_matrices(process, values, *times)[which]
    lent, m = Constants(), process.m
    mean = lent.get("mean", target.mean, z[0])
    begin, finish = (process.loading(t).tolist() for t in times)
    centred = [linear_combination([(1.0, x), (-u, mean)]) for x, u in zip(z, begin, strict=True)]
    out = []
    for i in range(m):
        total = finish[i] * mean
        for j in range(m):
            gains = lent.get(f"{i} {j}", target.transform.native(blocks[:, i, j]), z[0])
            total = total + target.transform.filter(centred[j], gains)
        out.append(target._restored(total, dtype))
    return tuple(out)


def flow_matrices(
    process: AbstractProcess, eigenvalues: np.ndarray, start: float, end: float
) -> np.ndarray:
    """R(start -> end) for each eigenvalue, (modes, m, m), to 1e-12 of the factors' size.

    Raises: ProcessError at t = 0, GridError outside the process's times, AnalysisError for a
    process that varies too fast.
    """
    for t in (start, end):
        process.check_time(t)
        process.inverse_factor("lower", t)  # type: ignore[attr-defined]  # says why not
    first, last = (factors(process, eigenvalues, t) for t in (start, end))
    found = last @ _turn(process, eigenvalues, start, end) @ _inverse(first)
    return np.asarray(found)


def factors(process: AbstractProcess, eigenvalues: np.ndarray, t: float) -> np.ndarray:
    """Lower factors (modes, m, m) of lam u u^T + Sigma.

    One Givens rotation a column turns sqrt(lam) u into L (Gill, Golub, Murray & Saunders 1974,
    method C3): every row keeps its relative precision, however much smaller it is than others.
    """
    low = np.tile(process.factor("lower", t), (len(eigenvalues), 1, 1))  # type: ignore[attr-defined]
    column = np.sqrt(eigenvalues)[:, None] * process.loading(t)
    for k in range(process.m):
        size = np.hypot(low[:, k, k], column[:, k])
        cos, sin = (v[:, None] / size[:, None] for v in (low[:, k, k], column[:, k]))
        below, rest = low[:, k:, k].copy(), column[:, k:]
        low[:, k:, k] = cos * below + sin * rest
        column[:, k:] = cos * rest - sin * below
    return low


def _inverse(lower: np.ndarray) -> np.ndarray:
    """Inverses (modes, m, m) of lower triangular matrices, by substitution."""
    m = lower.shape[-1]
    out = np.zeros_like(lower)
    for j in range(m):
        out[:, j, j] = 1 / lower[:, j, j]
        for i in range(j + 1, m):
            known = np.einsum("Mk,Mk->M", lower[:, i, j:i], out[:, j:i, j])
            out[:, i, j] = -known / lower[:, i, i]
    return out


def _turn(
    process: AbstractProcess, eigenvalues: np.ndarray, start: float, end: float
) -> np.ndarray:
    """O (modes, m, m), with the panels divided until it stands still."""

    def rate(t: float) -> np.ndarray:
        lower = factors(process, eigenvalues, t)
        inverse = _inverse(lower)
        diffusion = inverse @ process.G(t)
        moved = inverse @ process.F(t) @ lower + 0.5 * diffusion @ np.swapaxes(diffusion, 1, 2)
        above = np.triu(moved, 1)
        return np.asarray(above - np.swapaxes(above, 1, 2))

    def whole(parts: int) -> np.ndarray:
        total = np.broadcast_to(np.eye(process.m), (len(eigenvalues), process.m, process.m))
        for a, b in panels:
            for i in range(parts):
                h = (b - a) / parts
                total = panel_flow(rate, a + i * h, h, setting(h), process.m)[1] @ total
        return total

    panels = _panels(rate, min(start, end), max(start, end))
    if start > end:
        panels = [(b, a) for a, b in reversed(panels)]
    parts, rough = 1, whole(1)
    while parts < MOST_PARTS:
        parts *= 2
        fine = whole(parts)
        if np.abs(fine - rough).max() < ACCURACY:
            return fine
        rough = fine
    msg = (
        f"the probability flow of {process!r} from t = {start:.6g} to {end:.6g} does not settle to "
        f"{ACCURACY:g}: F or G varies too fast; shorten the interval."
    )
    raise AnalysisError(msg)


def _panels(rate: Any, low: float, high: float) -> list[tuple[float, float]]:
    """Panels over which t grows by at most a half and Omega turns by about a half."""
    edges = [low]
    while edges[-1] < high:
        t = edges[-1]
        turn = np.abs(rate(t)).sum(axis=-1).max()
        step = min(t / 2, 0.5 / max(turn, 1e-300))
        edges.append(high if t + 1.25 * step >= high else t + step)
    return list(itertools.pairwise(edges))


def _number(t: Any) -> float:
    try:
        return float(t)
    except (TypeError, ValueError) as error:
        msg = f"a flow map's time is {t!r}, expected a number; pass a float."
        raise AnalysisError(msg) from error
