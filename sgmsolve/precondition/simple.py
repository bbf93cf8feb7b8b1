"""The plain operators: the identity, a number, and gains on pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks
from sgmsolve.precondition.base import Preconditioner, Spectral
from sgmsolve.precondition.transform import IdentityTransform


class Scalar(Preconditioner):
    """M = c I on samples of any shape; c a finite number, 0 included (only for the exact split)."""

    def __init__(self, c: float) -> None:
        self.scalar = float(_checks.host(c, "the scalar c").reshape(()))

    def apply(self, x: Any) -> Any:
        """Return c x."""
        return self.scalar * x

    def transpose(self, x: Any) -> Any:
        """The same."""
        return self.apply(x)

    def gram(self, x: Any) -> Any:
        """Return c^2 x."""
        assert self.scalar is not None
        return self.scalar**2 * x

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"c": self.scalar}, {}

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Scalar:
        return Scalar(header["c"])

    def __repr__(self) -> str:
        """Class and number."""
        return f"Scalar({self.scalar:g})"


class Identity(Preconditioner):
    """M = I on samples of any shape: every sampler with it is the plain one, bit for bit."""

    scalar = 1.0

    def apply(self, x: Any) -> Any:
        """Return x."""
        return x

    def transpose(self, x: Any) -> Any:
        """Return x."""
        return x

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Identity:
        return Identity()

    def __repr__(self) -> str:
        """Only the name."""
        return "Identity()"


class Diagonal(Spectral):
    """M x = gains * x, entry by entry ("in pixels").

    gains: (*shape) finite numbers; shape: that of one sample, the gains' own if left out, to which
    they are broadcast. Raises: PreconditionError for gains that are not finite or do not fit.
    """

    def __init__(self, gains: Any, shape: Sequence[int] | None = None) -> None:
        values = _checks.host(gains, "the gains")
        size = _checks.sample_shape(values.shape if shape is None else shape)
        try:
            full = np.broadcast_to(values, size)
        except ValueError:
            msg = (
                f"the gains have shape {values.shape}, expected {size} or what broadcasts to it; "
                f"make them at this resolution."
            )
            raise PreconditionError(msg) from None
        super().__init__(IdentityTransform(size), full)
