"""Targets, processes and states that the tests of log-densities share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve

torch = pytest.importorskip("torch")

GAUSSIAN = sgmsolve.Gaussian([0.6, -0.3], [[0.5, 0.2], [0.2, 0.9]])
COVARIANCE = np.array([[0.5, 0.2], [0.2, 0.9]])
MIXTURE = sgmsolve.GaussianMixture(
    [0.4, 0.6], [[-1.0, 0.3], [0.7, -0.2]], [[0.1, 0.05], [0.2, 0.3]]
)
PROCESSES: dict[str, tuple[Any, str]] = {
    "vp": (sgmsolve.VP(), "noise"),
    "cosine": (sgmsolve.VP.cosine(), "v"),
    "ve": (sgmsolve.VE(sigma_max=20.0), "score"),
    "edm": (sgmsolve.EDM(), "data"),
    "subvp": (sgmsolve.SubVP(), "noise"),
    "flow": (sgmsolve.Flow(), "flow"),
    "psld": (sgmsolve.PSLD(), "noise:lower"),
    "cld": (sgmsolve.CLD(), "score"),
}


def first_time(process: Any) -> float:
    """Near the data, phase space takes twice the steps for nothing new."""
    return max(process.t_min, 1e-3 if process.m == 1 else 0.05)


def states(process: Any, target: Any, n: int, t: float) -> tuple[Any, ...]:
    """Samples of z(t), m float64 tensors (n, 2)."""
    x0, rng = target.sample(n, seed=1), np.random.default_rng(0)
    noise = np.linalg.cholesky(process.covariance(t))
    eps = np.tensordot(noise, rng.standard_normal((process.m, n, 2)), axes=1)
    return tuple(torch.tensor(u * x0 + e) for u, e in zip(process.loading(t), eps, strict=True))
