"""Frequency masks on the 2-D grid of FFT frequencies: their mirror symmetry and simple shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError

SLACK = 1e-12  # of a boundary, so that a frequency on it is inside whatever the rounding


def frequencies(h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """|f| in cycles per pixel, vertical (h, 1) and horizontal (1, w), in the order of the FFT.

    Absolute values: a mask made of them is symmetric under k -> -k.
    """
    return np.abs(np.fft.fftfreq(h))[:, None], np.abs(np.fft.fftfreq(w))[None, :]


def ellipse(shape: tuple[int, ...], radius: tuple[float, float]) -> np.ndarray:
    """(H, W) booleans: (f_h / r_h)^2 + (f_w / r_w)^2 <= 1, radii in cycles per pixel."""
    vertical, horizontal = frequencies(*shape[-2:])
    return (vertical / radius[0]) ** 2 + (horizontal / radius[1]) ** 2 <= 1 + SLACK


def star(shape: tuple[int, ...], tip: float, power: float) -> np.ndarray:
    """(H, W) booleans: |f_h|^p + |f_w|^p <= tip^p; p = 1 a diamond, p < 1 a four-pointed star."""
    vertical, horizontal = frequencies(*shape[-2:])
    return vertical**power + horizontal**power <= tip**power * (1 + SLACK)


def mirror(mask: np.ndarray) -> np.ndarray:
    """mask(-k), indices modulo (H, W)."""
    return np.roll(mask[..., ::-1, ::-1], 1, axis=(-2, -1))


def rounding(given: Any) -> float:
    """Relative differences that are rounding, by the precision a mask was given in."""
    return 1e-12 if "64" in str(getattr(given, "dtype", "float64")) else 1e-5


def symmetric(
    mask: np.ndarray, what: str, symmetrise: bool | None = None, rel: float = 1e-12
) -> np.ndarray:
    """The mask, exactly symmetric under k -> -k; a filter without that returns no real image.

    Differences up to ``rel`` of the largest entry are rounding; with ``symmetrise`` all are
    averaged (None: the caller has no such option to name). Raises: PreconditionError that says
    which entries differ.
    """
    other = mirror(mask)
    differ = np.abs(mask - other) > rel * np.abs(mask).max()
    if differ.any() and not symmetrise:
        at = np.unravel_index(np.argmax(np.abs(mask - other)), mask.shape)
        k = tuple(int(i) for i in at)
        back = (*k[:-2], -k[-2] % mask.shape[-2], -k[-1] % mask.shape[-1])
        offer = "average the two" if symmetrise is None else "pass symmetrise=True to average both"
        msg = (
            f"{what} differs between k and -k at {int(differ.sum())} of {mask.size} entries, most "
            f"at {k}: {mask[k]:.6g} against {mask[back]:.6g} at {back}; expected a symmetric mask "
            f"(a power spectrum of real images is one), or {offer}."
        )
        raise PreconditionError(msg)
    return (mask + other) / 2
