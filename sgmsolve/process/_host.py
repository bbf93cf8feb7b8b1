"""Matrices given by the user, and functions of host times applied to arrays of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import kind_of, ops
from sgmsolve.errors import ProcessError


def frozen_matrix(value: Any, what: str) -> np.ndarray:
    """``value`` as a read-only finite (m, m) array; ProcessError, naming ``what``, otherwise."""
    if isinstance(value, str):
        msg = (
            f"{what} was the function {value!r} when this process was described, and a description "
            f"cannot hold a function; make the AugmentedProcess again from your functions."
        )
        raise ProcessError(msg)
    try:
        found = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{what} = {value!r} is no matrix of numbers (m, m); pass nested lists or an array."
        raise ProcessError(msg) from error
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not np.isfinite(found).all():
        msg = f"{what} has shape {found.shape}, expected a finite square matrix (m, m)."
        raise ProcessError(msg)
    found.setflags(write=False)
    return found


def each_time(fn: Callable[..., np.ndarray], *times: Any, m: int) -> Any:
    """``fn``, an (m, m) matrix, at host times; an array of times is worked through one by one.

    Under jax's transformations the host is called back (no derivatives in time).
    """
    like = times[-1]
    if ops(like).host:
        return fn(*(float(t) if isinstance(t, int) else t for t in times))
    if type(like).__name__.endswith("Tracer"):
        return _called_back(fn, times, m)
    xp = ops(like)
    shape = tuple(like.shape)
    columns = [np.broadcast_to(np.asarray(_host(t), np.float64), shape).ravel() for t in times]
    values = [fn(*(float(v) for v in row)) for row in zip(*columns, strict=True)]
    made = np.array(values, dtype=np.float64).reshape(*shape, m, m)
    place = {"device": like.device} if kind_of(like) == "torch" else {}
    return xp.asarray(made, dtype=like.dtype, **place)


def _host(t: Any) -> Any:
    return t.detach().cpu().numpy() if kind_of(t) == "torch" else t


def _called_back(fn: Callable[..., np.ndarray], times: tuple[Any, ...], m: int) -> Any:
    import jax

    like = times[-1]

    def host(*values: Any) -> np.ndarray:
        arrays = [np.asarray(v, np.float64) for v in values]
        if arrays[-1].ndim:
            return np.asarray(each_time(fn, *arrays, m=m)).astype(like.dtype)
        return np.asarray(fn(*(float(v) for v in arrays)), dtype=like.dtype)

    shape = jax.ShapeDtypeStruct((*like.shape, m, m), like.dtype)
    return jax.pure_callback(host, shape, *times, vmap_method="sequential")
