"""The law that the probability flow ends in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import ModelError, ProcessError, unknown
from sgmsolve.model.base import linear_combination
from sgmsolve.process.base import AbstractProcess

PRIORS = ("process", "standard-normal")


def single(z: tuple[Any, ...]) -> Any:
    """The array of a state of one component, else the tuple: what targets take."""
    return z[0] if len(z) == 1 else tuple(z)


def normal_log_density(z: tuple[Any, ...], covariance: np.ndarray) -> Any:
    """Log-density N(z; 0, covariance x I), (batch,); z: m arrays (batch, *shape)."""
    xp, n = array_namespace(z[0]), z[0].shape[0]
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.inv(factor)
    size = math.prod(z[0].shape[1:])
    total: Any = -size * float(0.5 * len(z) * math.log(2 * math.pi) + np.log(np.diag(factor)).sum())
    for row in white:
        part = linear_combination(zip(row, z, strict=True))
        flat = xp.reshape(part, (n, -1))
        total = total - 0.5 * xp.sum(flat * flat, axis=1)
    return total


def check_prior(prior: Any) -> None:
    """ProcessError for something that is no law."""
    if isinstance(prior, str):
        if prior not in PRIORS:
            raise ProcessError(unknown("prior", prior, PRIORS))
    elif not callable(prior) and not hasattr(prior, "marginal_log_prob"):
        msg = (
            f"prior is a {type(prior).__name__}, expected 'process', 'standard-normal', a target "
            f"or a function of the state; pass one of them."
        )
        raise ProcessError(msg)


def prior_log_density(prior: Any, process: AbstractProcess, z: tuple[Any, ...], t: float) -> Any:
    """The log-density p_t(z), (batch,), of a prior that ``check_prior`` let through.

    Raises: ModelError if a function returns another shape or library.
    """
    if prior == "process":
        return normal_log_density(z, process.starting_covariance(t))
    if prior == "standard-normal":
        return normal_log_density(z, np.eye(len(z)))
    if hasattr(prior, "marginal_log_prob"):
        return prior.marginal_log_prob(single(z), t, process)
    value, n = prior(single(z)), z[0].shape[0]
    if not hasattr(value, "shape") or kind_of(value) != kind_of(z[0]) or value.shape != (n,):
        shape = tuple(getattr(value, "shape", ()))
        msg = (
            f"prior returned a {type(value).__name__} of shape {shape}, expected log-densities "
            f"({n},) in the state's library, one a sample; sum over the other axes."
        )
        raise ModelError(msg)
    return value
