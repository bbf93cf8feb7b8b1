"""Step sizes of Langevin correctors that need no run: expected norms, and annealed ones.

The published rule is h = 2 (snr |M z|/|M M^T s|)^2 alpha_j with the batch's mean norms. On a
Gaussian whose modes have data variance lam_k, gain a_k of M M^T and variance c_k = alpha^2 lam_k +
sigma^2, norms are replaced by their exact second moments: |M z|^2 by sum a_k, and |M M^T s|^2 by
sum a_k^2/c_k where the state has the law it should have ("marginal"), or by sum a_k^2 (v_k +
|m_k - alpha mu_k|^2)/c_k^2 with the sampler's own variances v_k and means m_k ("propagated").
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sgmsolve.errors import MethodError
from sgmsolve.methods._predictors import PREDICTOR_NOISE, Move, entered
from sgmsolve.precondition.transform import same_transform

CORRECTORS = ("langevin", "ald", "none")
NORMS = ("marginal", "propagated")
LARGEST_DENSE = 1024
"""Dimensions up to which an M that is diagonal in no common transform is treated as a matrix."""


class Modes(NamedTuple):
    """Groups of modes: data variance, data mean, number, and diagonals of M M^T and (M M^T)^2.

    ``diagonal``: whether M M^T has no other entries, so that gram^2 is ``gram2``.
    """

    variance: np.ndarray
    mean: np.ndarray
    number: np.ndarray
    gram: np.ndarray
    gram2: np.ndarray
    diagonal: bool
    told: str


def modes_of(M: Any, spectrum: Any) -> Modes:
    """Modes of the data's Gaussian fit and of M; without a spectrum data variances are 0.

    M: a Preconditioner or None. spectrum: None, a Gaussian target, an object with ``modes()`` (for
    M = m I), or eigenvalues in the order of M's modes. Raises: MethodError where they do not fit.
    """
    if spectrum is None:
        gains, number, diagonal = _own_gains(M)
        zero = np.zeros_like(gains[0])
        told = "noise alone"
        return _grouped(zero, zero, number, *gains, diagonal, told)
    variance, mean, number, transform, told = _fit(spectrum)
    if M is None or M.scalar is not None:
        a = np.full_like(variance, 1.0 if M is None else M.scalar**2)
        return _grouped(variance, mean, number, a, a**2, True, told)
    aligned = transform is not None or not hasattr(spectrum, "modes")
    if not aligned or (M.shape is not None and variance.size != np.prod(M.shape)):
        msg = (
            f"the spectrum has {variance.size} modes {'' if aligned else 'in no known order '}and "
            f"M is for samples of shape {M.shape}; pass a Gaussian target of that shape, or its "
            f"eigenvalues in the order of M's modes."
        )
        raise MethodError(msg)
    transform = M.transform if transform is None else transform
    if M.eigenvalues is not None and same_transform(transform, M.transform):
        a = M.eigenvalues**2
        return _grouped(variance, mean, number, a, a**2, True, told)
    gram = _dense(M, transform)
    return _grouped(variance, mean, number, np.diag(gram), (gram**2).sum(0), False, told)


def _fit(spectrum: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, Any, str]:
    """(variances, means, numbers, transform or None, words) of a Gaussian."""
    name = type(spectrum).__name__
    transform = getattr(spectrum, "transform", None)
    if transform is not None and hasattr(spectrum, "eigenvalues"):
        values = np.asarray(spectrum.eigenvalues, dtype=np.float64)
        mean = np.asarray(transform.forward(np.asarray(spectrum.mean)[None])[0])
        return values, mean, np.ones_like(values), transform, name
    if hasattr(spectrum, "modes"):
        values, mean, number = (np.asarray(a, dtype=np.float64) for a in spectrum.modes())
        return values, mean, number, None, name
    values = np.array([-1.0])
    if isinstance(spectrum, np.ndarray) and spectrum.dtype.kind in "fiu":
        values = spectrum.astype(np.float64).reshape(-1)
    if not values.size or not np.isfinite(values).all() or values.min() < 0:
        msg = (
            f"spectrum is a {name}, expected a Gaussian target, or a numpy array of its modes' "
            "variances: finite numbers of at least 0."
        )
        raise MethodError(msg)
    return values, 0 * values, np.ones_like(values), None, "given variances"


def _own_gains(M: Any) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, bool]:
    """Diagonals of M M^T and its square, and how many modes each stands for."""
    if M is None or M.scalar is not None:
        a = np.array([1.0 if M is None else M.scalar**2])
        return (a, a**2), np.ones(1), True
    if M.eigenvalues is not None:
        a, number = np.unique(M.eigenvalues**2, return_counts=True)
        return (a, a**2), number.astype(np.float64), True
    gram = _dense(M, None)
    return (np.diag(gram).copy(), (gram**2).sum(0)), np.ones(len(gram)), False


def _dense(M: Any, transform: Any) -> np.ndarray:
    """M M^T as a matrix, in the modes of ``transform``; MethodError above 1024 dimensions."""
    size = int(np.prod(M.shape))
    if size > LARGEST_DENSE:
        msg = (
            f"M has {size} dimensions and is diagonal in no transform of the spectrum's, expected "
            f"at most {LARGEST_DENSE} for expected norms; use method='predictor-corrector-norms', "
            f"which takes the norms of the run, or corrector='ald'."
        )
        raise MethodError(msg)
    matrix = M.matrix()
    gram = matrix @ matrix.T
    if transform is None:
        return np.asarray(gram)
    basis = transform.inverse(np.eye(size)).reshape(size, size)
    return np.asarray(basis @ gram @ basis.T)


def _grouped(*columns: Any) -> Modes:
    """Modes with equal entries as one."""
    variance, mean, number, gram, gram2, diagonal, told = columns
    table = np.stack([variance, mean, gram, gram2])
    kept, place = np.unique(table, axis=1, return_inverse=True)
    total = np.bincount(place.reshape(-1), weights=number)
    return Modes(kept[0], kept[1], total, kept[2], kept[3], diagonal, told)


class StepRule:
    """h of every corrector step; ``told`` says in words by which rule.

    Args:
        process, where: of the method. snr, norms, epsilon: its options. modes: from ``modes_of``.
        corrector: ``"langevin"`` or ``"ald"``. sigma_end: the last noise level.
    """

    def __init__(
        self,
        process: Any,
        corrector: str,
        where: str,
        modes: Modes,
        snr: float,
        norms: str,
        epsilon: float | None,
        sigma_end: float,
    ) -> None:
        self.process, self.where, self.modes = process, where, modes
        self.annealed, self.snr = corrector == "ald", snr
        self.propagated = not self.annealed and norms == "propagated"
        self.epsilon, self.sigma_end = epsilon, sigma_end
        self.law: tuple[np.ndarray, np.ndarray] | None = None
        if self.annealed:
            law = "2 (snr sigma)^2 alpha_j" if epsilon is None else "epsilon/2 (sigma/sigma_end)^2"
            self.told = f"h = {law}"
        else:
            self.told = f"snr by {norms} norms on {modes.told}"
        if self.propagated and not modes.diagonal:
            msg = (
                "norms='propagated' follows modes, but M is diagonal in no transform of the "
                "spectrum's; use norms='marginal'."
            )
            raise MethodError(msg)
        if not self.annealed and where == "forward":
            self._check_forward()

    def step(self, t: Any, level: Any) -> float:
        """Step size h at time t, with alpha_j = level."""
        if self.annealed:
            sigma = float(self.process.sigma(t))
            if self.epsilon is not None:
                return self.epsilon / 2 * (sigma / self.sigma_end) ** 2
            return 2 * (self.snr * sigma) ** 2 * float(level)
        c, modes = self._variance(t), self.modes
        noise = modes.number @ modes.gram
        drift = np.ones_like(c) if self.where == "noise" else modes.gram2
        spread = c if not self.propagated else self._spread(t)
        return float(2 * self.snr**2 * noise / (modes.number @ (drift * spread / c**2)) * level)

    def begin(self, t: Any, gain: Any) -> None:
        """The law at the start: the data's mean, variance sigma^2 and M M^T's gain if filtered."""
        variance = float(self.process.starting_covariance(float(t))[0, 0])
        alpha = float(self.process.alpha(t))
        self.law = (alpha * self.modes.mean, variance * gain * np.ones_like(self.modes.mean))

    def corrected(self, t: Any, h: float) -> None:
        """Carry the law through one corrector step."""
        if self.propagated and self.law is not None:
            a, c = self.modes.gram, self._variance(t)
            drift = h / c if self.where == "noise" else h * a / c
            mean, variance = self.law
            target = float(self.process.alpha(t)) * self.modes.mean
            self.law = (mean - drift * (mean - target), (1 - drift) ** 2 * variance + 2 * h * a)

    def predicted(self, t: Any, move: Move) -> None:
        """Carry the law through one predictor step; a skew term only turns modes into others."""
        if self.propagated and self.law is not None:
            move = Move(*(float(number) for number in move))
            c, (mean, variance) = self._variance(t), self.law
            target = float(self.process.alpha(t)) * self.modes.mean
            factor = entered(self.where, np.ones_like(c), -1 / c, move, self.modes.gram, None)
            mean = entered(self.where, mean, (target - mean) / c, move, self.modes.gram, None)
            gain = self.modes.gram if self.where in PREDICTOR_NOISE else 1.0
            self.law = (mean, factor**2 * variance + gain * move.noise**2)

    def _spread(self, t: Any) -> np.ndarray:
        assert self.law is not None
        mean, variance = self.law
        return np.asarray(variance + (mean - float(self.process.alpha(t)) * self.modes.mean) ** 2)

    def _variance(self, t: Any) -> np.ndarray:
        """Variance of each mode that the network's score belongs to."""
        alpha, sigma = float(self.process.alpha(t)), float(self.process.sigma(t))
        modes = self.modes
        if self.where != "forward":
            return alpha**2 * modes.variance + sigma**2
        if alpha == 1:
            return modes.variance + modes.gram * sigma**2
        decay = alpha ** (2 * modes.gram)
        return decay * modes.variance + 1 - decay

    def _check_forward(self) -> None:
        """The preconditioned forward process's variances are known with alpha = 1 and for VP."""
        known = type(self.process).__name__ in ("VE", "EDM", "VP")
        if not known or not self.modes.diagonal:
            reason = "this M is not" if known else f"the process is {self.process!r}"
            msg = (
                f"expected norms with where='forward' are known for VE, EDM and VP and an M that "
                f"is diagonal with the spectrum, but {reason}; use corrector='ald' or 'none'."
            )
            raise MethodError(msg)


def check_noise(M: Any) -> None:
    """MethodError for M = 0, whose corrector has no noise and no step."""
    if M is None:
        return
    gains = M.eigenvalues if M.scalar is None else M.scalar
    if gains is not None and not np.any(gains):
        msg = "the preconditioner is 0, with which no corrector can be run; use corrector='none'."
        raise MethodError(msg)


def check_numbers(steps: Any, snr: Any, epsilon: Any) -> None:
    """MethodError for numbers that make no sense."""
    if steps < 1 or not 0 < snr < 10 or (epsilon is not None and not 0 < epsilon < np.inf):
        msg = (
            f"corrector_steps = {steps!r}, snr = {snr!r}, epsilon = {epsilon!r}, expected at least "
            f"1 step, 0 < snr < 10 and a positive epsilon; 1, 0.16 and None are usual."
        )
        raise MethodError(msg)
