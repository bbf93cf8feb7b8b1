"""Seeds, sample indices and arrays of normals: what is refused, and in which library they end."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import BackendError


def check_seed(seed: Any) -> int:
    """The seed as an integer below 2^64; BackendError otherwise."""
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < 2**64:
        msg = f"the seed is {seed!r}, expected an integer with 0 <= seed < 2**64."
        raise BackendError(msg)
    return value


def check_indices(indices: Any) -> np.ndarray:
    """Sample indices as a 1-d int64 array; BackendError otherwise."""
    values = np.asarray(indices)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        msg = (
            f"indices have shape {values.shape} and dtype {values.dtype}, expected (batch,) "
            "integers."
        )
        raise BackendError(msg)
    if values.size and not (0 <= values.min() and values.max() < 2**32):
        msg = f"indices run from {values.min()} to {values.max()}, expected 0 <= index < 2**32."
        raise BackendError(msg)
    return values.astype(np.int64)


def like_array(values: Any, like: Any) -> Any:
    """``values`` in the library, dtype and device of ``like``; BackendError on another shape."""
    if tuple(values.shape) != tuple(like.shape):
        msg = f"noise has shape {tuple(values.shape)}, expected the state's {tuple(like.shape)}."
        raise BackendError(msg)
    return cast(values, like)


def cast(values: Any, like: Any) -> Any:
    """``values`` in the library, dtype and device of ``like``, whatever its shape."""
    kind = kind_of(like)
    if kind == "numpy":
        return np.asarray(values).astype(like.dtype, copy=False)
    if kind == "torch":
        import torch

        tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
        return tensor.to(dtype=like.dtype, device=like.device, non_blocking=True)
    return array_namespace(like).asarray(values, dtype=like.dtype)
