"""Principal components: the modes and variances of a set of samples."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks
from sgmsolve.precondition.transform import AbstractTransform, DenseTransform, LowRankTransform

LARGEST_DENSE = 2048
COMPONENTS = 256


class PCA(NamedTuple):
    """A Gaussian fit N(mean, Q diag(eigenvalues) Q^T).

    transform: the orthogonal Q; eigenvalues: (dim,) variances of its modes, the components' first
    and falling; mean: (*shape).
    """

    transform: AbstractTransform
    eigenvalues: np.ndarray
    mean: np.ndarray


def pca(images: Any, components: int | None = None) -> PCA:
    """The Gaussian of greatest likelihood for samples (n, *shape), all modes or the largest k.

    With k components the others share one variance, the mean of theirs (probabilistic PCA, Tipping
    & Bishop 1999, J. R. Stat. Soc. B 61:611); variances are over n. The transform is then a
    ``LowRankTransform``: 2 dim k numbers, no (dim, dim) matrix.

    components: k, below n and dim; left out, all modes up to 2048 dimensions and else the largest
    256, or n - 1. Raises: PreconditionError for fewer than 2 samples, NaN, or another k.
    """
    x = _checks.host(images, "the samples")
    if x.ndim < 2 or len(x) < 2:
        msg = f"the samples have shape {x.shape}, expected (n, *shape) with n >= 2; pass more."
        raise PreconditionError(msg)
    n, shape = len(x), x.shape[1:]
    dim = math.prod(shape)
    most = min(n - 1, dim - 1)
    if components is not None and not 1 <= components <= most:
        msg = (
            f"components = {components} of {n} samples of {dim} dimensions, expected 1 to {most}; "
            f"pass fewer, or more samples."
        )
        raise PreconditionError(msg)
    flat = x.reshape(n, dim)
    mean = flat.mean(axis=0)
    flat = flat - mean
    if components is None and dim <= LARGEST_DENSE:
        lam, basis = np.linalg.eigh(flat.T @ flat / n)
        lam, basis = np.maximum(lam[::-1], 0.0), basis[:, ::-1].copy()
        return PCA(DenseTransform(basis, shape), lam, mean.reshape(shape))
    k = min(COMPONENTS, most) if components is None else components
    _, singular, rows = np.linalg.svd(flat, full_matrices=False)
    lam = np.full(dim, float((singular[k:] ** 2).sum()) / n / (dim - k))
    lam[:k] = singular[:k] ** 2 / n
    return PCA(LowRankTransform(rows[:k].T.copy(), shape), lam, mean.reshape(shape))
