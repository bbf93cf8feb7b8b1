"""Scalings around a network of one component: EDM's, and any other three functions of time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import ModelError
from sgmsolve.process.base import AbstractProcess


@dataclasses.dataclass(frozen=True)
class Scalings:
    """Functions of forward time: prediction = c_skip(t) x + c_out(t) net(c_in(t) x, label).

    Floats in, floats out; arrays under jax.
    """

    c_skip: Callable[[Any], Any]
    c_out: Callable[[Any], Any]
    c_in: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class EDMScalings:
    """The scalings of EDM for data of standard deviation ``sigma_data``, in the process's state.

    With S = alpha^2 sigma_data^2 + sigma^2, the variance of x(t):
    c_skip = alpha sigma_data^2 / S, c_out = sigma sigma_data / sqrt(S), c_in = 1 / sqrt(S),
    for a network used as a data prediction. For alpha = 1 this is Karras et al. 2022
    (arXiv:2206.00364), table 1; for other alpha it is the same network at x/alpha and sigma/alpha,
    written so that alpha = 0 needs no limit.
    """

    process: Any
    sigma_data: float
    predicts: str = "data"

    def c_skip(self, t: Any) -> Any:
        """Alpha sigma_data^2 / S."""
        return self.process.alpha(t) * self.sigma_data**2 / self._variance(t)

    def c_out(self, t: Any) -> Any:
        """Sigma sigma_data / sqrt(S)."""
        return self.process.sigma(t) * self.sigma_data / ops(t).sqrt(self._variance(t))

    def c_in(self, t: Any) -> Any:
        """1 / sqrt(S)."""
        return 1 / ops(t).sqrt(self._variance(t))

    def _variance(self, t: Any) -> Any:
        return self.process.alpha(t) ** 2 * self.sigma_data**2 + self.process.sigma(t) ** 2


def edm_scalings(process: AbstractProcess, sigma_data: float = 0.5) -> EDMScalings:
    """EDM's c_skip, c_out and c_in for any scalar process (see :class:`EDMScalings`).

    ``sigma_data`` is the data's standard deviation per entry, in the data's units.
    Raises: ModelError if it is not positive, or the process has more than one component.
    """
    sigma_data = positive(sigma_data)
    if process.m != 1:
        msg = (
            f"edm_scalings was given a process with {process.m} components, expected one; use "
            f"augmented_scalings(process, sigma_data)."
        )
        raise ModelError(msg)
    return EDMScalings(process, sigma_data)


def positive(sigma_data: Any) -> float:
    """The data's standard deviation as a float; ModelError unless it is positive."""
    if not float(sigma_data) > 0:
        msg = (
            f"sigma_data is {sigma_data}, expected the data's standard deviation; pass a number > "
            f"0."
        )
        raise ModelError(msg)
    return float(sigma_data)
