"""Preconditioners: linear operators on samples that use what is known of the target."""

from sgmsolve.precondition.base import Preconditioner, Spectral

__all__ = ["Preconditioner", "Spectral"]
