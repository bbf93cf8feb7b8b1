"""Host constants as arrays of any library, without importing one."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from sgmsolve._array import kind_of


class Constants:
    """Host arrays as arrays of any library, dtype and device, each made once."""

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}

    def get(self, name: str, host: np.ndarray, like: Any) -> Any:
        """``host`` (float64) as an array of the library, dtype and device of ``like``."""
        library = kind_of(like)
        # A traced jax array has no device of its own; constants go where jax puts them.
        key = (name, library, like.dtype, like.device if library == "torch" else None)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = _lent(host, like, library)
        return found


def _lent(host: np.ndarray, like: Any, library: str) -> Any:
    if library == "torch":
        torch = sys.modules["torch"]
        # A constant first used under inference_mode must still serve autograd later.
        with torch.inference_mode(False):
            return torch.as_tensor(np.array(host), dtype=like.dtype, device=like.device)
    if library == "jax":
        jax = sys.modules["jax"]
        # Otherwise a constant made inside jit would be a tracer, and the cache would leak it.
        with jax.ensure_compile_time_eval():
            return jax.numpy.asarray(host, dtype=like.dtype)
    return np.asarray(host, dtype=like.dtype)
