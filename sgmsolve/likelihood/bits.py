"""Bits per dimension of pictures whose values are whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import ModelError, unknown

DEQUANTISATIONS = ("uniform", "none")


def bits_per_dimension(
    log_p: Any,
    dims: int,
    *,
    levels: int = 256,
    low: float = -1.0,
    high: float = 1.0,
    dequantisation: str = "uniform",
) -> Any:
    """Bits per dimension of a log-density in nats: -log2(p w^dims) / dims, shaped like ``log_p``.

    w is the width of one of the ``levels`` values on the data's scale, so that p w^dims is the
    probability of a picture of whole numbers:

    * ``"uniform"``: the density was taken at low + (high - low) (v + u) / levels, u uniform on
      [0, 1) (see ``dequantise``), and w = (high - low) / levels. The mean over u is an upper bound
      of the bits of the discrete model (Theis, van den Oord & Bethge 2016, arXiv:1511.01844, eq. 4
      and 5). For 256 levels in [-1, 1] this is -log2(p) / dims + 7.
    * ``"none"``: at low + (high - low) v / (levels - 1), with w the distance of two values: the
      midpoint rule for the integral over a cell, an approximation and no bound.

    log_p: (batch,) or a number, of data in [low, high]; dims: entries of one picture.
    Raises: ModelError for dims, levels or a range that cannot be, an unknown dequantisation.
    """
    if isinstance(dims, bool) or not isinstance(dims, (int, np.integer)) or dims < 1:
        msg = f"dims = {dims!r}, expected the number of entries of a picture; pass 3 * 32 * 32."
        raise ModelError(msg)
    return -log_p / (dims * math.log(2)) - math.log2(_width(levels, low, high, dequantisation))


def dequantise(
    images: Any,
    seed: int = 0,
    *,
    levels: int = 256,
    low: float = -1.0,
    high: float = 1.0,
    dtype: Any = None,
) -> Any:
    """Real numbers low + (high - low) (images + u) / levels, u uniform on [0, 1) for each entry.

    images: whole numbers from 0 to levels - 1, any shape and library. The numbers are drawn on the
    host by numpy from ``seed``, the same for every library; dtype: float32 by default.
    Raises: ModelError for other values.
    """
    _width(levels, low, high, "uniform")
    library = kind_of(images)
    host = np.asarray(images.detach().cpu() if library == "torch" else images)
    if host.dtype.kind not in "ui" or (host.size and not 0 <= host.min() <= host.max() < levels):
        values = f" from {host.min()} to {host.max()}" if host.size else ""
        msg = (
            f"images are {host.dtype} values{values}, expected whole numbers from 0 to "
            f"{levels - 1}; pass the pictures before any scaling."
        )
        raise ModelError(msg)
    u = np.random.default_rng(seed).random(host.shape)
    x = low + (high - low) * (host + u) / levels
    if library == "torch":
        import torch

        return torch.as_tensor(x, dtype=dtype or torch.float32, device=images.device)
    if library == "jax":
        import jax.numpy as jnp

        return jnp.asarray(x, dtype=dtype or jnp.float32)
    return x.astype(dtype or np.float32)


def _width(levels: int, low: float, high: float, dequantisation: str) -> float:
    if dequantisation not in DEQUANTISATIONS:
        raise ModelError(unknown("dequantisation", str(dequantisation), DEQUANTISATIONS))
    whole = isinstance(levels, (int, np.integer)) and levels >= 2
    if not whole or not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = (
            f"levels = {levels!r} from low = {low!r} to high = {high!r}, expected at least 2 "
            f"levels and low < high; pass 256, -1 and 1 for pictures scaled to [-1, 1]."
        )
        raise ModelError(msg)
    return (high - low) / (levels if dequantisation == "uniform" else levels - 1)
