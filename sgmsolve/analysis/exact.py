"""Exact mean and covariance of a plan's output on a Gaussian target, with no sampling.

On a Gaussian target the prediction is affine in the state, e = gain z + offset mode by mode, so a
plan is a linear recursion in y = (registers, previous predictions) and its mean and covariance
follow exactly:

    y -> (y, e)                       covariance bordered by gain C[z] and gain C[z, z] gain^T
    y' = A (y, e) + noise xi          A holds move, kick and the shift of the history

A does not depend on the mode, so both sides of the covariance are one matrix product over all
modes. Arrays carry the modes on their last axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.analysis import operated
from sgmsolve.analysis.moments import Moments, distance
from sgmsolve.errors import AnalysisError, unknown
from sgmsolve.plan import Plan

STARTS = ("exact", "prior")
CHUNK = 2_000_000
"""Gains computed at once, rows times modes: 16 MB each."""
FEW = 8
"""Up to so many modes all rows are composed by batched products instead of one after another."""


def output_moments(
    plan: Plan, target: Any, process: Any, start: str | Moments = "exact"
) -> Moments:
    """Mean and covariance of the plan's result, mode by mode, in float64.

    Args:
        plan: any plan; weak-only plans too.
        target: a Gaussian target: ``modes()`` gives eigenvalues, mean coefficients and
            multiplicity, and ``affine(process, kind, times)`` its exact prediction's gain and
            offset, see ``predictions``.
        process: the process the plan was built for; times are forward times.
        start: law of the initial state: ``"exact"`` (the target's marginal at ``plan.t_start``),
            ``"prior"`` (N(0, Cov[z | x0]) there, which is what ``sample`` draws), or a ``Moments``
            on the target's ``modes()``, in their order.

    Raises:
        AnalysisError: the target is not Gaussian or has other modes than ``start``, the plan uses
            operators that share no transform with the target beyond 1024 dimensions, or it was
            built for another process.
    """
    check(plan, target, process)
    joint = operated.resolve(plan, target)
    if joint is not target:
        return _operated(plan, joint, process, start)
    law = _start(plan, target, process, start)
    mean, cov = _prelude(plan, law)
    if mean.shape[1] <= FEW:
        mean, cov = _composed(plan, target, process, mean, cov)
        return Moments(mean[: plan.m], cov[: plan.m, : plan.m], law.multiplicity)
    matrices, noises = row_matrices(plan), noise_covariances(plan)
    chunk = max(1, CHUNK // mean.shape[1])
    for first in range(0, plan.rows, chunk):
        rows = range(first, min(first + chunk, plan.rows))
        gains, offsets = predictions(target, process, plan.predicts, plan.t[rows.start : rows.stop])
        for i, r in enumerate(rows):
            mean, cov = _row(mean, cov, gains[i], offsets[i], matrices[r], noises[r])
    m = plan.m
    return Moments(mean[:m], cov[:m, :m], law.multiplicity)


def _operated(plan: Plan, joint: Any, process: Any, start: str | Moments) -> Moments:
    """Moments of a plan that is not plain; ``joint`` are the target's modes."""
    law = _start(plan, joint, process, start if isinstance(start, str) else "exact")
    if isinstance(start, Moments):
        law = _regrouped(start, joint)
    if start != "exact":  # the plan sees states less the frame's mean
        shift = np.asarray(process.loading(plan.t_start))[:, None] * joint.shift
        law = Moments(law.mean - shift, law.covariance, law.multiplicity)
    law = joint.together(law)
    chunk = max(1, CHUNK // (len(joint.lam) * joint.size))
    mean, cov = operated.moments(
        plan, joint, law, lambda times: predictions(joint, process, plan.predicts, times), chunk
    )
    m = plan.m * joint.size
    factor = 1.0 if plan.ends_with_data else np.asarray(process.loading(plan.t_end))[:, None]
    shift = joint.shift * factor if joint.size == 1 else 0.0
    return Moments(mean[:m].real + shift, cov[:m, :m].real, law.multiplicity)


def marginal(target: Any, process: Any, t: float) -> Moments:
    """Exact law of z(t) on a Gaussian target: mean l mu, covariance v l l^T + Cov, l = loading."""
    values, mean, multiplicity = _modes(target)
    loading = np.asarray(process.loading(float(t)), dtype=np.float64)
    noise = np.asarray(process.covariance(float(t)), dtype=np.float64)
    outer = loading[:, None] * loading[None, :]
    covariance = outer[:, :, None] * values + noise[:, :, None]
    return Moments(loading[:, None] * mean, covariance, multiplicity)


def data_law(target: Any) -> Moments:
    """The law of the data themselves, one component."""
    values, mean, multiplicity = _modes(target)
    return Moments(mean[None], values[None, None], multiplicity)


def error(
    plan: Plan,
    target: Any,
    process: Any,
    metric: str = "w2",
    start: str | Moments = "exact",
) -> float:
    """Distance of the plan's output from what it should be; metrics of ``moments.distance``.

    The reference is the data law for a plan that ends with a data prediction, else the exact
    marginal at ``plan.t_end``. Raises AnalysisError as ``output_moments`` and ``distance`` do.
    """
    output = output_moments(plan, target, process, start)
    reference = reference_law(plan, target, process)
    # The data are the first of the state's components.
    return distance(leading(output, len(reference.mean)), reference, metric)


def _regrouped(start: Moments, joint: Any) -> Moments:
    """A starting law given by the target's own modes, by those that the plan keeps apart."""
    given, expected = start.mean.shape[1], joint.group.max() + 1
    if given != expected or (joint.turns and np.any(start.mean)):
        msg = (
            f"the starting law has {given} modes, expected the {expected} of the target's modes(), "
            f"in their order, and mean 0 where a skew turns modes."
        )
        raise AnalysisError(msg)
    return Moments(start.mean[:, joint.group], start.covariance[..., joint.group], joint.count)


def leading(law: Moments, parts: int) -> Moments:
    """The law of the first components."""
    return Moments(law.mean[:parts], law.covariance[:parts, :parts], law.multiplicity)


def reference_law(plan: Plan, target: Any, process: Any) -> Moments:
    """What the plan's output should be, in the modes that the plan keeps apart."""
    check(plan, target, process)
    joint = operated.resolve(plan, target)
    if plan.ends_with_data:
        return data_law(target) if joint is target else joint.law()
    if joint is target:
        return marginal(target, process, plan.t_end)
    law = marginal(joint, process, plan.t_end)
    shift = np.asarray(process.loading(plan.t_end))[:, None] * joint.shift
    return joint.together(Moments(law.mean + shift, law.covariance, law.multiplicity))


def check(plan: Plan, target: Any, process: Any) -> None:
    """Raise AnalysisError, in a sentence, for what cannot be analysed exactly."""
    if not hasattr(target, "modes") or not hasattr(target, "affine"):
        msg = (
            f"exact moments need a Gaussian target, but {type(target).__name__} is not one: its "
            f"exact prediction is not affine in the state. Use samples and analysis.metrics "
            f"instead."
        )
        raise AnalysisError(msg)
    if plan.process != process.spec():
        msg = (
            f"plan {plan.name!r} was built for {plan.process}, but the process given is "
            f"{process.spec()}; build the plan for the process you analyse."
        )
        raise AnalysisError(msg)


def _modes(target: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values, mean, multiplicity = target.modes()
    values = np.atleast_1d(np.asarray(values, dtype=np.float64))
    mean = np.broadcast_to(np.asarray(mean, dtype=np.float64), values.shape)
    return values, mean, np.broadcast_to(np.asarray(multiplicity, dtype=np.float64), values.shape)


def predictions(
    target: Any, process: Any, kind: str, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gain (R, p, m, M) and offset (R, p, M) of the target's exact prediction at each time."""
    gain, offset = target.affine(process, kind, np.asarray(times, dtype=np.float64))
    if gain.ndim == 2:  # scalar processes: p = m = 1 left out
        return gain[:, None, None], offset[:, None]
    return gain, offset


def _start(plan: Plan, target: Any, process: Any, start: str | Moments) -> Moments:
    exact = marginal(target, process, plan.t_start)
    if isinstance(start, Moments):
        if start.mean.shape != exact.mean.shape:
            msg = (
                f"the starting law has (components, modes) {start.mean.shape}, but this target and "
                f"process have {exact.mean.shape}."
            )
            raise AnalysisError(msg)
        return start
    if start not in STARTS:
        raise AnalysisError(unknown("starting law", str(start), STARTS))
    if start == "exact":
        return exact
    noise = process.starting_covariance(plan.t_start)
    cov = np.repeat(noise[:, :, None], exact.mean.shape[1], axis=2)
    return Moments(np.zeros_like(exact.mean), cov, exact.multiplicity)


def _prelude(plan: Plan, law: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (registers, empty history) before the first row."""
    a = np.zeros((plan.k * plan.m + plan.p * (plan.history - 1), plan.m))
    a[: plan.k * plan.m] = plan.prelude_move
    cov = np.einsum("ia,abM,jb->ijM", a, law.covariance, a)
    width = plan.k * plan.m
    cov[:width, :width] += (plan.prelude_noise @ plan.prelude_noise.T)[:, :, None]
    return a @ law.mean, cov


def row_matrices(plan: Plan) -> np.ndarray:
    """Per row the matrix A (R, n, n + p) that acts on (registers, remembered predictions, e)."""
    plan.need_plain("this analysis")
    p, width = plan.p, plan.k * plan.m
    size = width + p * (plan.history - 1)
    a = np.zeros((plan.rows, size, size + p))
    a[:, :width, :width] = plan.move
    a[:, :width, size:] = plan.kick[..., 0]
    for j in range(1, plan.history):
        block = slice(width + (j - 1) * p, width + j * p)
        a[:, :width, block] = plan.kick[..., j]
        source = size if j == 1 else width + (j - 2) * p
        a[:, block, source : source + p] = np.eye(p)
    return a


def noise_covariances(plan: Plan) -> np.ndarray:
    """Per row the covariance (R, n, n, 1) of what the draws add to (registers, history)."""
    width = plan.k * plan.m
    size = width + plan.p * (plan.history - 1)
    out = np.zeros((plan.rows, size, size, 1))
    out[:, :width, :width, 0] = plan.noise @ np.swapaxes(plan.noise, 1, 2)
    return out


def mode_maps(plan: Plan, target: Any, process: Any) -> np.ndarray:
    """Per row and mode the matrix (R, M, n + 1, n + 1) on (registers, history, 1).

    The prediction, gain Z_1 + offset, is put in.
    """
    gain, offset = predictions(target, process, plan.predicts, plan.t)
    rows = row_matrices(plan)
    size, modes = rows.shape[1], gain.shape[-1]
    maps = np.zeros((plan.rows, modes, size + 1, size + 1))
    maps[:, :, :size, :size] = rows[:, None, :, :size]
    for j in range(plan.p):
        kick = rows[:, None, :, size + j]
        for i in range(plan.m):
            maps[:, :, :size, i] += kick * gain[:, j, i, :, None]
        maps[:, :, :size, size] += kick * offset[:, j, :, None]
    maps[:, :, size, size] = 1
    return maps


def compose(maps: np.ndarray, noises: np.ndarray | None = None) -> tuple[np.ndarray, Any]:
    """The map and the noise covariance of all rows one after another, in log2(rows) products.

    (B, Q) after (A, P) is (B A, B P B^T + Q). Shapes (R, M, n, n), the first axis removed.
    """
    while len(maps) > 1:
        even = len(maps) // 2 * 2
        later = maps[1:even:2]
        if noises is not None:
            carried = later @ noises[0:even:2] @ np.swapaxes(later, -1, -2)
            noises = np.concatenate([carried + noises[1:even:2], noises[even:]])
        maps = np.concatenate([later @ maps[0:even:2], maps[even:]])
    return maps[0], None if noises is None else noises[0]


def _composed(
    plan: Plan, target: Any, process: Any, mean: np.ndarray, cov: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, M) and covariance (n, n, M) after all rows."""
    maps, n = mode_maps(plan, target, process), len(mean)
    noises = np.zeros_like(maps)
    noises[:, :, :n, :n] = np.moveaxis(noise_covariances(plan), -1, 1)
    move, noise = compose(maps, noises)
    linear = move[:, :n, :n]
    total = linear @ np.moveaxis(cov, -1, 0) @ np.swapaxes(linear, 1, 2) + noise[:, :n, :n]
    shifted = np.einsum("Mij,jM->iM", linear, mean) + move[:, :n, n].T
    return shifted, np.moveaxis(total, 0, -1)


def _row(
    mean: np.ndarray,
    cov: np.ndarray,
    gain: np.ndarray,
    offset: np.ndarray,
    a: np.ndarray,
    noise: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """One row: border by the prediction, then apply A on both sides."""
    (n, modes), (p, m) = mean.shape, gain.shape[:2]
    full = np.empty((n + p, n + p, modes))
    extended = np.empty((n + p, modes))
    full[:n, :n], extended[:n] = cov, mean
    if m == 1:
        cross = gain[:, 0, None] * cov[0]
        full[n:, n:] = cross[:, 0, None] * gain[:, 0]
        extended[n:] = gain[:, 0] * mean[0] + offset
    else:
        cross = np.einsum("pmM,mnM->pnM", gain, cov[:m])
        full[n:, n:] = np.einsum("pmM,qmM->pqM", cross[:, :m], gain)
        extended[n:] = np.einsum("pmM,mM->pM", gain, mean[:m]) + offset
    full[n:, :n] = cross
    full[:n, n:] = cross.swapaxes(0, 1)
    left = (a @ full.reshape(n + p, -1)).reshape(n, n + p, modes)
    after = a @ left + noise
    # Rounding that is not symmetric does not feel the prediction, which holds the states back: left
    # alone it grows with the linear flow, by 1e6 in phase space.
    return a @ extended, (after + after.swapaxes(0, 1)) / 2
