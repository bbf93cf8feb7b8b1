"""Gains on pixels followed by gains on frequencies: the operator behind PDS and TDAS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks, masks
from sgmsolve.precondition.base import Preconditioner
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import FourierTransform, IdentityTransform

LARGEST_EXACT = 1024  # dimensions up to which the smallest singular value of a product is computed


class SpaceFrequency(Preconditioner):
    """M v = Re F^-1[ r . F[ p . v ] ]: gains p on pixels, then gains r on 2-D frequencies.

    F is the FFT over the last two axes, channel by channel. M^T v = p . Re F^-1[ r . F[v] ], and
    M M^T takes four FFTs with both gains, two with r alone, none with p alone. With one of them M
    is diagonal in ``transform``; with both it is in none, unless one is a level for each channel.

    shape: (H, W) or (C, H, W), any sizes (gains on pixels alone: any shape); frequency: gains r,
    (H, W) or ``shape``, in the order of ``numpy.fft.fftfreq`` (zero frequency first); space: gains
    p, (H, W) or ``shape``. Left out, they are 1. symmetrise: average r(k) and r(-k); without it
    differences below 1e-12 of the largest gain (1e-5 for float32 gains) count as rounding.

    Raises: PreconditionError for gains of another shape, not finite, not positive (M would be
    singular), or r(k) != r(-k) (Re would drop energy), each naming the entries.
    """

    def __init__(
        self,
        shape: Sequence[int],
        frequency: Any = None,
        space: Any = None,
        *,
        symmetrise: bool = False,
    ) -> None:
        axes = 1 if frequency is None else 2
        self.shape = size = _checks.sample_shape(shape, axes, " for a frequency filter")
        self.frequency: np.ndarray | None = None
        self.space: np.ndarray | None = None
        self.settings: dict[str, Any] = {}
        if frequency is not None:
            name = "the frequency gain"
            r = _checks.gains(frequency, size, name, 2)
            self.frequency = masks.symmetric(r, name, symmetrise, masks.rounding(frequency))
        if space is not None:
            self.space = _checks.gains(space, size, "the space gain", min(2, len(size)))
        self._constants = Constants()
        self._powers: dict[int, tuple[np.ndarray | None, np.ndarray | None]] = {}
        self._smallest: float | None = None
        self._find_structure()

    def _find_structure(self) -> None:
        """Set ``scalar``, or ``transform`` and ``eigenvalues``, where there are such."""
        assert self.shape is not None
        p, r = self.space, self.frequency
        self._fourier = None if r is None else FourierTransform(self.shape)
        total = r if p is None else p if r is None else p * r
        if total is None:
            self.scalar = 1.0
        elif _constant(p) and _constant(r):
            self.scalar = float(total.flat[0])
        elif r is None or _constant(r):
            self.transform, self.eigenvalues = IdentityTransform(self.shape), total.reshape(-1)
        elif p is None or bool((p == p[..., :1, :1]).all()):  # a level for each channel
            self.transform, self.eigenvalues = self._fourier, total.reshape(-1)

    def _gains(self, power: int, x: Any) -> tuple[Any, Any]:
        """p^power and r^power (half plane) as arrays like x; None for those there are not."""
        if power not in self._powers:  # host arrays, made once
            p, r = self.space, self.frequency
            half = None if self._fourier is None or r is None else self._fourier.native(r**power)
            self._powers[power] = None if p is None else p**power, half
        names = f"space {power}", f"frequency {power}"
        hosts = self._powers[power]
        pixel, half = (
            None if array is None else self._constants.get(name, array, x)
            for name, array in zip(names, hosts, strict=True)
        )
        return pixel, half

    def apply(self, x: Any) -> Any:
        """Space filter, then frequency filter; two FFTs."""
        self.check(x.shape[1:])
        if self.scalar is not None:
            return self.scalar * x
        p, r = self._gains(1, x)
        y = x if p is None else p * x
        return y if r is None else self._filtered(y, r)

    def transpose(self, x: Any) -> Any:
        """Frequency filter, then space filter; two FFTs."""
        self.check(x.shape[1:])
        if self.scalar is not None:
            return self.scalar * x
        p, r = self._gains(1, x)
        y = x if r is None else self._filtered(x, r)
        return y if p is None else p * y

    def gram(self, x: Any) -> Any:
        """M M^T x = F^-1[ r . F[ p^2 . F^-1[ r . F[x] ] ] ]."""
        self.check(x.shape[1:])
        if self.scalar is not None:
            return self.scalar**2 * x
        p2, r2 = self._gains(2, x)
        if r2 is None:
            return p2 * x
        if p2 is None:
            return self._filtered(x, r2)
        r = self._gains(1, x)[1]
        return self._filtered(p2 * self._filtered(x, r), r)

    def _filtered(self, x: Any, r: Any) -> Any:
        assert self._fourier is not None
        return self._fourier.filter(x, r)

    def smallest_gain(self) -> tuple[float, bool] | None:
        """Smallest singular value; with both filters in over 1024 dimensions a lower bound."""
        known = super().smallest_gain()
        if known is not None:
            return known
        assert self.space is not None
        assert self.frequency is not None
        if self.space.size > LARGEST_EXACT:
            return float(self.space.min() * self.frequency.min()), False
        if self._smallest is None:
            self._smallest = float(np.linalg.svd(self.matrix(), compute_uv=False)[-1])
        return self._smallest, True

    def _saved(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        given = {"frequency": self.frequency, "space": self.space}
        arrays = {name: gains for name, gains in given.items() if gains is not None}
        return {"shape": list(self.shape or ()), "settings": self.settings}, arrays

    @classmethod
    def _restored(cls, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        made = cls.__new__(cls)
        gains = arrays.get("frequency"), arrays.get("space")
        SpaceFrequency.__init__(made, header["shape"], *gains)
        made.settings = dict(header["settings"])
        return made

    def __repr__(self) -> str:
        """Class, shape, which filters, and what it was made with."""
        given = {"frequency": self.frequency, "space": self.space}
        filters = " and ".join(n for n, gains in given.items() if gains is not None) or "no"
        how = "".join(f", {k}={v}" for k, v in self.settings.items())
        return f"{type(self).__name__}(shape={self.shape}, {filters} gains{how})"


def _constant(gains: np.ndarray | None) -> bool:
    return gains is None or bool((gains == gains.flat[0]).all())


class Disc(SpaceFrequency):
    """The two-level mask of PDS: gain 1 at |f| <= radius, ``gain`` at all other frequencies.

    shape: (H, W) or (C, H, W); radius: in cycles per pixel, so that a square image of H pixels has
    |k| <= radius H in integer frequencies, or two semi-axes (vertical, horizontal) of an ellipse;
    gain: positive, larger than 1 in PDS (see :func:`gain_rule`) and smaller in TDAS.

    The form of Ma et al., Preconditioned Score-based Generative Models, arXiv 2302.06504, as their
    code and summaries of it describe the mask; the published radii were not available to us.
    """

    def __init__(
        self, shape: Sequence[int], radius: float | tuple[float, float], gain: float
    ) -> None:
        size = _checks.sample_shape(shape, 2, " for a frequency filter")
        level = _checks.positive(gain, "gain")
        pair = tuple(radius) if isinstance(radius, tuple | list) else (radius, radius)
        if len(pair) != 2:
            msg = f"radius is {radius!r}, expected a number or (vertical, horizontal); pass one."
            raise PreconditionError(msg)
        semi = _checks.positive(pair[0], "radius"), _checks.positive(pair[1], "radius")
        inside = masks.ellipse(size, semi)
        super().__init__(size, np.where(inside, 1.0, level))
        self.settings = {"radius": list(semi) if semi[0] != semi[1] else semi[0], "gain": level}
