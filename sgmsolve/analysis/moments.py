"""Gaussian laws mode by mode, and distances between two of them, without sampling.

A ``Moments`` is a law whose modes are independent Gaussians of m components. Between two such laws
in one basis the Wasserstein-2 distance is the sum over modes of (Gelbrich 1990, Bures metric)

    |mu - mu'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2),

which for m = 1 is (mu - mu')^2 + (s - s')^2 with standard deviations s, s'. Both that trace and the
Kullback-Leibler divergence cancel badly for laws that nearly agree, so they are evaluated through
T - I, the optimal map minus the identity, and through log1p.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgmsolve.errors import AnalysisError, unknown

METRICS = ("w2", "kl", "mean", "variance")


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of every mode.

    ``mean`` (m, M), ``covariance`` (m, m, M), ``multiplicity`` (M,): how many equal modes each
    stands for.
    """

    mean: np.ndarray
    covariance: np.ndarray
    multiplicity: np.ndarray

    def __post_init__(self) -> None:
        m, modes = self.mean.shape
        given = (self.covariance.shape, self.multiplicity.shape)
        if given != ((m, m, modes), (modes,)):
            msg = (
                f"moments with mean {self.mean.shape} got covariance {given[0]} and multiplicity "
                f"{given[1]}, expected {(m, m, modes)} and {(modes,)}."
            )
            raise AnalysisError(msg)

    @property
    def variance(self) -> np.ndarray:
        """Variances of the components, (m, M)."""
        return np.einsum("iiM->iM", self.covariance)

    def component(self, index: int) -> Moments:
        """The law of one component."""
        pick = slice(index, index + 1)
        return Moments(self.mean[pick], self.covariance[pick, pick], self.multiplicity)


def distance(law: Moments, reference: Moments, metric: str = "w2") -> float:
    """One number for how far ``law`` is from ``reference``.

    ``"w2"``: Wasserstein-2. ``"kl"``: KL(law || reference) in nats. ``"mean"`` and ``"variance"``:
    root mean square over modes and components of the relative errors (mu - mu') / s' and (v - v') /
    v'; for m > 1 the second is the Frobenius norm of C'^-1/2 (C - C') C'^-1/2 divided by sqrt(m).

    Raises:
        AnalysisError: unknown metric, laws of different shape, or a relative error against variance
        0.
    """
    if metric not in METRICS:
        raise AnalysisError(unknown("metric", metric, METRICS))
    if law.mean.shape != reference.mean.shape:
        msg = (
            f"laws with (components, modes) {law.mean.shape} and {reference.mean.shape} cannot be "
            f"compared; both must come from the same target and process."
        )
        raise AnalysisError(msg)
    if metric == "w2":
        return w2(law, reference)
    shift, ratio = _relative(law, reference, metric)
    weight = reference.multiplicity
    if metric == "mean":
        return float(np.sqrt(_weighted(shift**2, weight) / (len(shift) * weight.sum())))
    if metric == "variance":
        return float(np.sqrt(_weighted(ratio**2, weight) / (len(shift) * weight.sum())))
    with np.errstate(divide="ignore"):  # a law without width has infinite divergence
        excess = np.where(np.abs(ratio) > 1e-3, ratio - np.log1p(np.maximum(ratio, -1)), 0)
    small = np.where(np.abs(ratio) > 1e-3, 0, ratio)
    excess = excess + small**2 * (1 / 2 - small * (1 / 3 - small * (1 / 4 - small / 5)))
    return float(0.5 * _weighted(excess + shift**2, weight))


def w2(law: Moments, reference: Moments) -> float:
    """Wasserstein-2 distance between two laws in the same basis."""
    weight = reference.multiplicity
    total = _weighted((law.mean - reference.mean) ** 2, weight)
    if len(law.mean) == 1:
        width = np.sqrt(np.maximum(law.variance, 0)) - np.sqrt(np.maximum(reference.variance, 0))
        return float(np.sqrt(total + _weighted(width**2, weight)))
    blocks = [np.moveaxis(x.covariance, -1, 0) for x in (law, reference)]
    return float(np.sqrt(total + np.dot(weight, bures(blocks[0], blocks[1]))))


def bures(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Bures distance of symmetric matrices (..., m, m), positive semi-definite.

    With the optimal map T = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 it is tr((T - I) A (T - I)); where A
    is nearly singular the trace formula is used, whose error is about 1e-16 times the trace.
    """
    values, vectors = np.linalg.eigh(a)
    values = np.maximum(values, 0)
    regular = values[..., 0] > 1e-8 * values[..., -1]
    root = np.sqrt(values)
    half = _compose(vectors, root)
    middle = _sqrt(half @ b @ half)
    trace = np.einsum("...ii", a + b - 2 * middle)
    inverse = _compose(vectors, 1 / np.where(regular[..., None], root, 1))
    shift = inverse @ middle @ inverse - np.eye(a.shape[-1])
    exact = np.einsum("...ij,...jk,...ki", shift, a, shift)
    return np.asarray(np.maximum(np.where(regular, exact, trace), 0))


def _relative(law: Moments, reference: Moments, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Whitened by the reference: mean shift and eigenvalues of C'^-1/2 C C'^-1/2 - I, (m, M)."""
    blocks = np.moveaxis(reference.covariance, -1, 0)
    values, vectors = np.linalg.eigh(blocks)
    if values.min() <= 0:
        mode = int(np.argmin(values.min(axis=-1)))
        msg = (
            f"metric {metric!r} is relative to the reference's variance, which is 0 in mode "
            f"{mode}; use metric='w2'."
        )
        raise AnalysisError(msg)
    inverse = _compose(vectors, 1 / np.sqrt(values))
    shift = np.einsum("Mij,jM->iM", inverse, law.mean - reference.mean)
    change = np.moveaxis(law.covariance - reference.covariance, -1, 0)
    ratio = np.linalg.eigvalsh(inverse @ change @ inverse)
    return shift, ratio.T


def _compose(vectors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """V diag(values) V^T."""
    return np.asarray((vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2))


def _sqrt(a: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(a)
    return _compose(vectors, np.sqrt(np.maximum(values, 0)))


def _weighted(values: np.ndarray, weight: np.ndarray) -> float:
    """Sum over components and modes, (m, M) -> float."""
    return float(np.sum(values * weight))
