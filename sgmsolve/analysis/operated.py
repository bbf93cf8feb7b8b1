"""Exact moments of plans with operators or per-mode coefficients, mode by mode or densely.

Where the target, every operator and the plan's frame are diagonal in one transform, a mode keeps
its own numbers: a word of operators is the product of its letters' eigenvalues there. Skew shifts
turn pairs of Fourier modes; in the complex basis they are diagonal too, with symbol i s, and as the
noise of a pair is isotropic, E|c|^2 of the complex coefficient is the variance of both real modes.
Anything else is one big mode of as many components as samples have entries, up to 1024.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.analysis.moments import Moments
from sgmsolve.errors import AnalysisError
from sgmsolve.plan import Plan
from sgmsolve.plan.parts import TRANSPOSED, Word, function
from sgmsolve.precondition.transform import FourierTransform, same_transform
from sgmsolve.target.gaussian import AbstractGaussian, equal_columns

LARGEST = 1024


class Joint:
    """A Gaussian target by the modes that it shares with a plan's operators and frame.

    ``modes`` and ``affine`` are those of a Gaussian target; ``group`` says which of the target's
    own modes each one is part of, ``turns`` whether operators turn pairs of modes; ``words`` are
    (n_modes,) numbers that words of operators multiply modes by; ``shift`` is the frame's mean,
    which the plan does not see and the result gets back.
    """

    def __init__(
        self, plan: Plan, target: AbstractGaussian, letters: dict[str, np.ndarray]
    ) -> None:
        lam, mean = target.eigenvalues, target._mean_modes
        columns = [lam, mean, *(part for v in letters.values() for part in (v.real, v.imag))]
        own = np.zeros_like(mean)
        if plan.frame is not None:
            centre = np.broadcast_to(plan.frame.mean, plan.frame.shape)
            own = plan.frame.transform.forward(centre[None])[0]
            columns += [plan.frame.eigenvalues, own]
        table = np.stack(columns)
        scale = np.abs(table).max(axis=1, keepdims=True)
        table = np.where(np.abs(table) > 1e-15 * scale, table, 0.0)
        pick, self.count, _ = equal_columns(table)
        self.group = target.mode_index()[pick]
        self.turns = any(np.iscomplexobj(values) for values in letters.values())
        self.lam, self.shift = lam[pick], own[pick]
        self.mean = table[1][pick] - self.shift
        self.fitted = lam[pick] if plan.frame is None else plan.frame.eigenvalues[pick]
        self.words = {part.word: _product(part.word, letters)[pick] for part in plan.parts}

    size = 1
    affine = AbstractGaussian.affine

    def together(self, law: Moments) -> Moments:
        """The law itself: modes stay apart."""
        return law

    def gains(self, gain: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Themselves."""
        return gain, offset

    def law(self) -> Moments:
        """The law of the data, one component, in these modes."""
        lam, mean = self.lam[None, None], (self.mean + self.shift)[None]
        return self.together(Moments(mean, lam, self.count))

    def modes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(eigenvalues, mean coefficients less the frame's, multiplicity)."""
        return self.lam, self.mean, self.count

    def tables(self, plan: Plan, r: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(move, kick, noise) of row r (-1: prelude, without kick), each with a last axis of modes.

        Their sum is what acts on a mode.
        """
        out = []
        for source in plan.sources:
            if r < 0:
                found = [source.prelude_move, np.zeros(0), source.prelude_noise]
            else:
                found = [source.move[r], source.kick[r], source.noise[r]]
            if plan.frame is not None:
                made = [plan.frame.at(x, self.fitted) if x.ndim > 1 else x for x in found]
            else:
                weight = self.words[source.word] if source is not plan else np.ones(len(self.lam))
                made = [x[..., None] * weight for x in found]
            out.append((made[0], made[1], made[2]))
        return out


class Dense(Joint):
    """A Gaussian target as one mode: all entries of a sample together, in the target's basis."""

    def __init__(self, plan: Plan, target: AbstractGaussian) -> None:
        self.lam, self.mean = target.eigenvalues, target._mean_modes
        self.shift, self.count = np.zeros(target.dim), np.ones(target.dim, int)
        self.group, self.turns = target.mode_index(), False
        self.size = target.dim
        self.words = {part.word: _matrix(part.word, plan.operands, target) for part in plan.parts}

    def tables(self, plan: Plan, r: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """As in Joint, with one mode of ``size`` times as many components."""
        out = []
        for source in plan.sources:
            word = np.eye(self.size) if source is plan else self.words[source.word]
            if r < 0:
                move, noise, kick = source.prelude_move, source.prelude_noise, np.zeros((0, 0, 0))
            else:
                move, noise, kick = source.move[r], source.noise[r], source.kick[r]
            kicks = [np.kron(kick[:, :, j], word) for j in range(kick.shape[2])]
            lags = np.stack(kicks, axis=-1) if kicks else kick
            out.append(
                (np.kron(move, word)[..., None], lags[..., None], np.kron(noise, word)[..., None])
            )
        return out

    def together(self, law: Moments) -> Moments:
        """The law of all modes as that of one."""
        m, d = law.mean.shape
        cov = np.zeros((m, d, m, d))
        cov[:, range(d), :, range(d)] = np.moveaxis(law.covariance, -1, 0)
        return Moments(law.mean.reshape(m * d, 1), cov.reshape(m * d, m * d, 1), np.ones(1))

    def gains(self, gain: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gains (R, p, m, dim) and offsets (R, p, dim) of all modes as those of one."""
        rows, p, m, d = gain.shape
        out = np.zeros((rows, p, d, m, d))
        out[:, :, range(d), :, range(d)] = np.moveaxis(gain, -1, 0)
        return out.reshape(rows, p * d, m * d, 1), offset.reshape(rows, p * d, 1)


def resolve(plan: Plan, target: Any) -> Any:
    """The target by modes that the plan keeps apart: itself for plans without operators.

    Raises: AnalysisError for per-sample plans, frames in another transform than the target, and
    operators that share none with it beyond 1024 dimensions.
    """
    if plan.plain:
        return target
    if plan.each_sample:
        msg = (
            f"plan {plan.name!r} has coefficients for each sample, whose laws differ; analyse one "
            f"sample's plan, plan.at(index=0)."
        )
        raise AnalysisError(msg)
    if plan.frame is not None and not same_transform(plan.frame.transform, target.transform):
        msg = (
            f"plan {plan.name!r} runs in {plan.frame}, but the target's modes are those of "
            f"{type(target.transform).__name__} {target.transform.shape}; exact moments go mode "
            f"by mode, so fit in the target's transform."
        )
        raise AnalysisError(msg)
    letters = _letters(plan, target)
    if letters is not None:
        return Joint(plan, target, letters)
    if target.dim * plan.m > LARGEST:
        msg = (
            f"plan {plan.name!r} uses the operators {', '.join(plan.operators)}, which share no "
            f"transform with the target, and samples have {target.dim} entries; exact moments go "
            f"mode by mode, or densely up to {LARGEST} dimensions."
        )
        raise AnalysisError(msg)
    return Dense(plan, target)


def _letters(plan: Plan, target: Any) -> dict[str, np.ndarray] | None:
    """(dim,) numbers of every operator in the target's transform, None if one is not diagonal."""
    out: dict[str, np.ndarray] = {}
    transform = target.transform
    for letter, operator in plan.operands.items():
        if operator.scalar is not None:
            out[letter] = np.full(transform.dim, operator.scalar)
            continue
        operator.check(transform.shape)
        symbol = getattr(operator, "symbol", None)
        if operator.transform is not None and same_transform(operator.transform, transform):
            out[letter] = operator.eigenvalues
        elif (
            symbol is not None
            and isinstance(transform, FourierTransform)
            and not np.any(target._mean_modes[symbol != 0])
        ):
            out[letter] = symbol
        else:
            return None
    return out


def _product(word: Word, letters: dict[str, np.ndarray]) -> np.ndarray:
    total = np.ones(1)
    for letter in word:
        values = letters[letter.removesuffix(TRANSPOSED)]
        total = total * (values.conj() if letter.endswith(TRANSPOSED) else values)
    return total


def _matrix(word: Word, operands: Any, target: Any) -> np.ndarray:
    """A word as a (dim, dim) matrix on the target's coefficients."""
    transform = target.transform
    x = transform.inverse(np.eye(transform.dim))
    for letter in reversed(word):
        x = function(letter, operands)(x)
    return np.asarray(transform.forward(x)).T


def moments(
    plan: Plan, joint: Any, law: Moments, gains: Any, chunk: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n, M) and covariance (n, n, M) after all rows; ``gains(times)`` predict."""
    m, p = plan.m * joint.size, plan.p * joint.size
    width = plan.k * m
    n = width + p * (plan.history - 1)
    start = np.zeros((law.mean.shape[1], n, m), _dtype(joint))
    noise = np.zeros((law.mean.shape[1], n, n), start.dtype)
    drawn: Any = 0
    for move, _, draws in joint.tables(plan, -1):
        start[:, :width] += np.moveaxis(move, -1, 0)
        drawn = drawn + draws
    noise[:, :width, :width] = _gram(np.moveaxis(drawn, -1, 0))
    mean = (start @ law.mean.T[:, :, None])[..., 0]
    cov = start @ np.moveaxis(law.covariance, -1, 0) @ start.conj().swapaxes(1, 2) + noise
    for first in range(0, plan.rows, chunk):
        rows = range(first, min(first + chunk, plan.rows))
        gain, offset = joint.gains(*gains(plan.t[rows.start : rows.stop]))
        for i, r in enumerate(rows):
            a, q = _row(plan, joint, r, n)
            e = a[:, :, n:]
            move = a[:, :, :n].copy()
            move[:, :, :m] += e @ np.moveaxis(gain[i], -1, 0)
            mean = (move @ mean[..., None] + e @ offset[i].T[..., None])[..., 0]
            cov = move @ cov @ move.conj().swapaxes(1, 2)
            cov[:, :width, :width] += q
            cov = (cov + cov.conj().swapaxes(1, 2)) / 2
    return mean.T, np.moveaxis(cov, 0, -1)


def _row(plan: Plan, joint: Any, r: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (M, n, n + p) on (registers, remembered predictions, e), noise covariance."""
    width, p = plan.k * plan.m * joint.size, plan.p * joint.size
    tables = joint.tables(plan, r)
    modes = tables[0][0].shape[-1]
    a = np.zeros((modes, n, n + p), _dtype(joint))
    drawn: Any = 0
    for move, kick, noise in tables:
        a[:, :width, :width] += np.moveaxis(move, -1, 0)
        for j in range(plan.history):
            block = slice(n, n + p) if j == 0 else slice(width + (j - 1) * p, width + j * p)
            a[:, :width, block] += np.moveaxis(kick[:, :, j], -1, 0)
        drawn = drawn + noise
    for j in range(1, plan.history):
        block = slice(width + (j - 1) * p, width + j * p)
        source = n if j == 1 else width + (j - 2) * p
        a[:, block, source : source + p] = np.eye(p)
    return a, _gram(np.moveaxis(drawn, -1, 0))


def _gram(factor: np.ndarray) -> np.ndarray:
    return np.asarray(factor @ factor.conj().swapaxes(1, 2))


def _dtype(joint: Any) -> Any:
    return np.result_type(np.float64, *joint.words.values())
