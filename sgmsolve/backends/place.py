"""Where a new state lives: which library, dtype and device."""

from __future__ import annotations

import importlib.util
import operator
import sys
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import BackendError, unknown

BACKENDS = ("numpy", "torch", "jax")


def empty_state(
    shape: Any, batch: Any, backend: str | None, dtype: Any, device: Any, like: Any, model: Any
) -> Any:
    """An array (batch, *shape) of the wanted library, dtype and device; its numbers are not read.

    The library is ``backend``, else that of ``like``, else torch where the model holds a torch
    module (on its device, in its dtype), else numpy.

    Raises:
        BackendError: a shape, batch, library, dtype or device that does not exist here.
    """
    full = (_size(batch, "batch"), *_sizes(shape))
    if backend is not None and backend not in BACKENDS:
        raise BackendError(unknown("backend", str(backend), BACKENDS))
    if like is not None:
        kind = kind_of(like)
        if backend not in (None, kind):
            msg = f"backend = {backend!r}, but like is a {kind} array; give one of the two."
            raise BackendError(msg)
        if not hasattr(like, "dtype"):
            msg = f"like is a {type(like).__name__}, expected an array of numpy, torch or jax."
            raise BackendError(msg)
        backend, dtype = kind, like.dtype if dtype is None else dtype
        device = like.device if device is None and kind == "torch" else device
    elif backend in (None, "torch"):
        weights = _torch_weights(model)
        if weights is not None:
            backend = "torch"
            dtype = weights.dtype if dtype is None else dtype
            device = weights.device if device is None else device
    if backend in ("torch", "jax") and importlib.util.find_spec(backend) is None:
        msg = f"backend = {backend!r} needs {backend}; pip install 'sgmsolve[{backend}]'."
        raise BackendError(msg)
    make = {"torch": _torch, "jax": _jax}.get(backend or "numpy", _numpy)
    return make(full, dtype, device)


def _sizes(shape: Any) -> list[int]:
    if not isinstance(shape, (tuple, list)):
        msg = f"shape = {shape!r}, expected the sizes of one sample, without the batch; pass (3,)."
        raise BackendError(msg)
    return [_size(n, "shape") for n in shape]


def _size(value: Any, what: str) -> int:
    try:
        size = operator.index(value)
    except TypeError:
        size = -1
    if size < 0:
        msg = f"{what} holds the size {value!r}, expected a whole number, at least 0."
        raise BackendError(msg)
    return size


def _floating(dtype: Any, good: bool) -> None:
    if not good:
        msg = f"dtype = {dtype!r}, expected a real floating type; leave it out or pass 'float32'."
        raise BackendError(msg)


def _numpy(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    if device is not None:
        msg = (
            f"device = {device!r} was given, but numpy has no devices; pass backend='torch' or "
            "'jax'."
        )
        raise BackendError(msg)
    try:
        found = np.dtype(np.float64 if dtype is None else dtype)
    except TypeError:
        found = np.dtype(np.void)
    _floating(dtype, found.kind == "f")
    return np.empty(shape, dtype=found)


def _torch(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    import torch

    name = dtype if isinstance(dtype, (str, torch.dtype)) or dtype is None else _name(dtype)
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if dtype is not None:
        _floating(dtype, isinstance(found, torch.dtype) and found.is_floating_point)
    try:
        return torch.empty(shape, dtype=found, device=device)
    # What torch raises for a device differs by device and build; all of it means the same here.
    except (RuntimeError, AssertionError, TypeError) as error:
        raise BackendError(_no_device("torch", device, error)) from error


def _jax(shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    import jax
    import jax.numpy as jnp

    try:
        found = None if dtype is None else jnp.dtype(dtype)
    except TypeError:
        found = jnp.dtype(bool)
    _floating(dtype, found is None or jnp.issubdtype(found, jnp.floating))
    try:
        if isinstance(device, str):
            device = jax.devices(device)[0]
        return jnp.zeros(shape, dtype=found, device=device)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise BackendError(_no_device("jax", device, error)) from error


def _name(dtype: Any) -> str:
    """The name of another library's dtype."""
    try:
        return np.dtype(dtype).name
    except TypeError:
        return ""


def _no_device(library: str, device: Any, error: Exception) -> str:
    first = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return (
        f"{library} made no state on device = {device!r} ({first}); pass a device that this "
        f"{library} has, or leave it out."
    )


def _torch_weights(model: Any) -> Any:
    """First floating parameter of the torch module that a model wraps, if any."""
    torch = sys.modules.get("torch")
    for _ in range(16):
        if torch is None or model is None:
            return None
        if isinstance(model, torch.nn.Module):
            return next((p for p in model.parameters() if p.is_floating_point()), None)
        inner = ("net", "model", "conditional", "__self__")
        model = next((found for n in inner if (found := getattr(model, n, None)) is not None), None)
    return None
