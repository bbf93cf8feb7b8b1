"""What a log-density by the ODE leaves out, measured on a target that knows the answers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sgmsolve.likelihood.density import LogDensity
from sgmsolve.likelihood.prior import normal_log_density, single


@dataclasses.dataclass(frozen=True, eq=False)
class Gaps:
    """Differences of log-densities in nats, (batch,) each.

    Attributes:
        solver: log p found - log p_(t_min)(z) exact; with ``prior=target`` nothing but errors of
            the solver (and of the estimate of the divergence).
        data: log p_0(z) - log p_(t_min)(z): the noise that is left at t_min.
        prior: log N(z_T; 0, Sigma_T) - log p_T(z_T) for the process's own starting law.
        standard_normal: log N(z_T; 0, I) - log p_T(z_T).
    """

    solver: Any
    data: Any
    prior: Any
    standard_normal: Any


def gaps(found: LogDensity, target: Any, z: Any) -> Gaps:
    """Compare ``log_density(process, model, z, ...)`` with a target's exact log-densities.

    target: of ``sgmsolve.target``, the one behind the model; z: what was given to ``log_density``.
    For m > 1 components log p_0(z) = log p_0(x) + log N(rest; 0, initial covariance), NaN where
    the rest has no density at 0.
    Raises: as the target's ``log_prob`` and ``marginal_log_prob``.
    """
    process, end = found.process, found.z_T
    start = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    exact = target.marginal_log_prob(single(start), found.t_min, process)
    last = target.marginal_log_prob(single(end), found.t_max, process)
    law = process.starting_covariance(found.t_max)
    clean = target.log_prob(start[0])
    if len(start) > 1:
        rest = process.initial_covariance[1:, 1:]
        positive = np.linalg.eigvalsh(rest).min() > 0
        clean = clean + (normal_log_density(start[1:], rest) if positive else np.nan)
    return Gaps(
        found.log_p - exact,
        clean - exact,
        normal_log_density(end, law) - last,
        normal_log_density(end, np.eye(len(end))) - last,
    )
