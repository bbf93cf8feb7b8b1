"""Host constants as arrays of any library, without importing one."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import PreconditionError


class Constants:
    """Host arrays as arrays of any library, dtype and device, each made once.

    Raises: PreconditionError for a dtype without fractions, in which constants would be cut off.
    """

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
    if "int" in str(like.dtype) or "bool" in str(like.dtype):
        msg = f"samples are of type {like.dtype}, expected floating-point numbers; convert them."
        raise PreconditionError(msg)
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


def template_of(model: Any) -> Any:
    """An empty array of the kind that a model takes: that of its torch network's weights, or numpy.

    float32 where ``as_model`` converts the network's inputs itself.
    """
    torch, net = sys.modules.get("torch"), getattr(model, "net", model)
    if torch is None or not isinstance(net, torch.nn.Module):
        return np.zeros(0)
    weight = next(net.parameters(), torch.zeros(0))
    own = getattr(model, "net_dtype", None) is None and weight.is_floating_point()
    return torch.zeros(0, dtype=weight.dtype if own else torch.float32, device=weight.device)
