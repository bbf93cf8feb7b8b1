"""TDAS: noise filtered towards the data's statistics, with the score left alone.

Ma et al., Accelerating Score-based Generative Models for High-Resolution Image Synthesis, arXiv
2206.04029. Only the form of the filters is known to us, from the figures of the authors'
repository; their values are free here. Meant for ``where="noise"``: drift plain, noise g M and
prior M z.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import _checks, masks
from sgmsolve.precondition.filters import Disc, SpaceFrequency

DIAMOND = 0.082  # |f_h| + |f_w|, read off the figure, cycles per pixel
TIP = 0.224
POWER = 0.85


class TDAS(SpaceFrequency):
    """M z = Re F^-1[ M_freq . F[ M_space . z ] ]: gains on the noise.

    The result of a mode has the variance m^2 times the data's as T grows, as the drift is plain:
    gains other than 1 are a correction for few steps. ``TDAS(shape, frequency, space)`` takes any
    positive gains.
    """

    @classmethod
    def plateaus(
        cls,
        shape: Sequence[int],
        gains: Sequence[float],
        *,
        diamond: float = DIAMOND,
        tip: float = TIP,
        power: float = POWER,
        space: Any = None,
    ) -> TDAS:
        """Three plateaus: |f_h| + |f_w| <= diamond; |f_h|^p + |f_w|^p <= tip^p; the rest.

        gains: the three positive gains, from the middle outwards (the paper's are unknown; noise
        "similar to the target" means that they fall). diamond, tip: cycles per pixel; power: p.
        The defaults are measured in the authors' figure. space: gains on pixels, as M_space.
        Raises: PreconditionError.
        """
        size = _checks.sample_shape(shape, 2, " for a frequency filter")
        given = _checks.host(gains, "gains").reshape(-1)
        if given.size != 3:
            msg = f"gains has {given.size} entries, expected 3: diamond, star and rest; pass three."
            raise PreconditionError(msg)
        radii = {"diamond": diamond, "tip": tip, "power": power}
        checked = {name: _checks.positive(value, name) for name, value in radii.items()}
        inner = masks.star(size, checked["diamond"], 1.0)
        middle = masks.star(size, checked["tip"], checked["power"])
        made = cls(size, np.where(inner, given[0], np.where(middle, given[1], given[2])), space)
        made.settings = {"gains": given.tolist(), **checked}
        return made

    @classmethod
    def disc(
        cls,
        shape: Sequence[int],
        radius: float | tuple[float, float],
        gain: float,
        *,
        space: Any = None,
    ) -> TDAS:
        """Gain 1 at |f| <= radius (cycles per pixel), ``gain`` outside; see :class:`Disc`."""
        disc = Disc(shape, radius, gain)
        made = cls(shape, disc.frequency, space)
        made.settings = disc.settings
        return made

    @classmethod
    def scaled(cls, shape: Sequence[int], gamma: float, *, space: Any = None) -> TDAS:
        """All noise variances times gamma: the gain m = sqrt(gamma) everywhere.

        gamma = rho makes the predictor the ancestral one, (1 + rho) / 2 gets the output variance
        right to first order; :func:`noise_rule` gives m itself.
        """
        level = math.sqrt(_checks.positive(gamma, "gamma"))
        size = _checks.sample_shape(shape)
        pixels = 1.0 if space is None else _checks.gains(space, size, "the space gain", 1)
        made = cls(size, space=np.broadcast_to(level * pixels, size))
        made.settings = {"gamma": float(gamma)}
        return made
