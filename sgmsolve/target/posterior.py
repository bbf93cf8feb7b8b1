"""The posterior formula that all targets share.

For a Gaussian of mean mu and variance lam, observed as x = alpha x0 + sigma eps, every kind of
prediction is

    prediction = c_d (x - alpha mu) + c_mu mu,        S = alpha^2 lam + sigma^2

with the (c_d, c_mu) of :func:`posterior_gains`: conditioning of jointly Gaussian variables, Bishop
2006, section 2.3.3. Mixtures and smoothed data average it over components.
"""

from __future__ import annotations

from typing import Any

from sgmsolve.errors import ModelError, unknown
from sgmsolve.process.base import KINDS


def posterior_gains(kind: str, alpha: Any, sigma: Any, lam: Any) -> tuple[Any, Any]:
    """(c_d, c_mu) such that E[kind | x] = c_d (x - alpha mu) + c_mu mu for x0 ~ N(mu, lam).

    Each kind has its own closed form, so that none is a difference of two large numbers; right at
    alpha = 0 and at sigma = 0 as long as S = alpha^2 lam + sigma^2 > 0. ``c_d`` has the broadcast
    shape of the arguments, ``c_mu`` is a float or shaped like alpha and sigma.
    """
    s = alpha * alpha * lam + sigma * sigma
    if kind == "data":
        return alpha * lam / s, 1.0
    if kind == "noise":
        return sigma / s, 0.0
    if kind == "score":
        return -1 / s, 0.0
    if kind == "v":
        return alpha * sigma * (1 - lam) / s, -sigma
    if kind == "flow":
        return (sigma - alpha * lam) / s, -1.0
    raise ModelError(unknown("kind of prediction", kind, KINDS))


def posterior_offset(kind: str, alpha: Any, sigma: Any, lam: Any) -> Any:
    """``c_mu - alpha c_d`` without cancellation: E[kind | x] = c_d x + offset mu."""
    s = alpha * alpha * lam + sigma * sigma
    if kind == "data":
        return sigma * sigma / s
    if kind == "noise":
        return -alpha * sigma / s
    if kind == "score":
        return alpha / s
    if kind == "v":
        return -sigma * (alpha * alpha + sigma * sigma) / s
    if kind == "flow":
        return -sigma * (alpha + sigma) / s
    raise ModelError(unknown("kind of prediction", kind, KINDS))
