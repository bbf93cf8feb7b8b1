"""Gains as functions of the number of steps, for a VE process on a geometric grid of T levels.

With rho = (sigma_min / sigma_max)^(2 / (T - 1)), the ratio of neighbouring variances, and q = 1 -
rho, the plain reverse-diffusion predictor hands the network states of variance sigma^2 / rho where
sigma^2 is meant, and returns modes whose variance is too large by a factor 1 + q / 2. A gain a =
m^2 on the score and the noise (PDS), or a gain gamma = m^2 on the noise variance alone (TDAS),
cancels one or the other. Derived for this library, for modes far from both ends of the schedule;
the papers' own relation (PDS, arXiv 2302.06504) was not available to us.
"""

from __future__ import annotations

import math

from sgmsolve.errors import PreconditionError, unknown
from sgmsolve.precondition import _checks

CRITERIA = ("network", "variance")


def alpha_rule(steps: int, sigma_min: float, sigma_max: float) -> float:
    """PDS's alpha for T steps: T / log(sigma_max / sigma_min).

    With it the high frequencies get the gain m = 1 + log(sigma_max / sigma_min) / T of
    ``gain_rule(..., "network")`` to first order. Raises: PreconditionError where that is not above
    1: too few steps.
    """
    logs = -0.5 * _log_ratio(steps, sigma_min, sigma_max) * (steps - 1)
    if steps <= logs:
        msg = (
            f"alpha would be {steps} / {logs:.4g}, not above 1; take more than {math.ceil(logs)} "
            f"steps, or a mask of your own."
        )
        raise PreconditionError(msg)
    return steps / logs


def gain_rule(steps: int, sigma_min: float, sigma_max: float, criterion: str = "network") -> float:
    """The scalar gain m of PDS for T steps, for ``Scalar(m)`` or the outer gain of a ``Disc``.

    criterion "network": states have the variance the network is told, exactly: with a = m^2,
    q a^2 - a + 1 = 0, so a = [1 - sqrt(1 - 4 q)] / (2 q), which needs q <= 1/4, or T >= 1 + 2
    log(sigma_max / sigma_min) / log(4/3). "variance": output modes have the data's variance to
    first order, a = 1 + q / 2; half as much above 1. Raises: PreconditionError for too few steps,
    an unknown criterion, or sigmas that are not 0 < sigma_min < sigma_max.
    """
    log_rho = _log_ratio(steps, sigma_min, sigma_max)
    q = -math.expm1(log_rho)
    if _known(criterion) == "variance":
        return math.sqrt(1 + q / 2)
    if q > 0.25:
        enough = math.ceil(1 + (steps - 1) * log_rho / math.log(0.75))
        msg = (
            f"with {steps} steps no gain hands the network the variance it is told (q = {q:.4g}, "
            f"expected at most 1/4); take at least {enough} steps, or criterion='variance'."
        )
        raise PreconditionError(msg)
    return math.sqrt(2 / (1 + math.sqrt(1 - 4 * q)))


def noise_rule(
    steps: int, sigma_min: float, sigma_max: float, criterion: str = "variance"
) -> float:
    """The scalar gain m = sqrt(gamma) on the noise (TDAS) for T steps, for ``Scalar(m)``.

    criterion "variance": gamma = (1 + rho) / 2, output variances right to first order; "network":
    gamma = rho, the noise of ancestral sampling. Raises: as :func:`gain_rule`.
    """
    log_rho = _log_ratio(steps, sigma_min, sigma_max)
    rho = math.exp(log_rho)
    return math.sqrt((1 + rho) / 2 if _known(criterion) == "variance" else rho)


def _known(criterion: str) -> str:
    if criterion not in CRITERIA:
        raise PreconditionError(unknown("criterion", str(criterion), CRITERIA))
    return criterion


def _log_ratio(steps: int, sigma_min: float, sigma_max: float) -> float:
    """Log rho, checked."""
    try:
        whole = not isinstance(steps, bool) and int(steps) == steps
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or steps < 2:
        msg = f"steps is {steps!r}, expected a whole number of at least 2 noise levels; pass one."
        raise PreconditionError(msg)
    low = _checks.positive(sigma_min, "sigma_min")
    high = _checks.above(sigma_max, low, "sigma_max")
    return -2 * math.log(high / low) / (steps - 1)
