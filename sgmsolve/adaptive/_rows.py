"""Rows of a batch, on any array library: gather, replace, combine; states are tuples of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.model.base import scalar_for

State = tuple[Any, ...]


def on_device(values: Any, like: Any) -> Any:
    """Host float64 values (times, steps) as an array beside ``like``.

    torch and numpy keep float64 whatever the state's dtype: a float32 time cannot be told from its
    neighbour near the data. jax has what it is configured for.
    """
    kind = kind_of(like)
    if kind == "numpy":
        return np.asarray(values)
    if kind == "torch":
        import torch

        return torch.as_tensor(values, device=like.device)
    import jax.numpy as jnp

    return jnp.asarray(values)


def to_host(x: Any) -> np.ndarray:
    """A device array as a numpy array; this waits for the device."""
    if kind_of(x) == "torch":
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x  # which numpy lacks
    return np.asarray(x)


def take(x: Any, rows: np.ndarray) -> Any:
    """``x[rows]``."""
    if kind_of(x) == "torch":
        return x.index_select(0, on_device(rows, x))
    return x[rows]


def put(x: Any, rows: np.ndarray, values: Any) -> Any:
    """``x`` with ``x[rows]`` replaced: a new array, or x itself on numpy."""
    kind = kind_of(x)
    if kind == "torch":
        return x.index_copy(0, on_device(rows, x), values)
    if kind == "jax":
        return x.at[rows].set(values)
    x[rows] = values
    return x


def own(x: Any) -> Any:
    """``x``, copied where ``put`` writes in place."""
    return np.array(x) if kind_of(x) == "numpy" else x


def scatter(x: Any, rows: np.ndarray, values: Any) -> Any:
    """``put`` of ``values[i]`` at ``rows[i]``, left out where ``rows[i]`` is len(x).

    jax compiles one program a shape, so there the shapes stay what they are.
    """
    if kind_of(x) == "jax":
        return x.at[rows].set(values, mode="drop")
    inside = np.flatnonzero(rows < x.shape[0])
    return put(x, rows[inside], take(values, inside))


def overwrite(x: Any, rows: np.ndarray, values: Any) -> Any:
    """``put`` for arrays that no gradient flows through and nobody else holds: in place."""
    if kind_of(x) == "torch":
        return x.index_copy_(0, on_device(rows, x), values)
    return put(x, rows, values)


def choose(mask: Any, new: State, old: State) -> State:
    """Rows of ``new`` where ``mask`` (n,), a device array of bools, else of ``old``."""
    return tuple(
        array_namespace(a).where(mask.reshape(mask.shape + (1,) * (a.ndim - 1)), a, b)
        for a, b in zip(new, old, strict=True)
    )


def axpy(z: State, *terms: tuple[Any, State]) -> State:
    """Z + sum c k over the pairs (c, k): c a float or (n,), k arrays like z; in z's dtype."""
    out = []
    for i, x in enumerate(z):
        for c, k in terms:
            x = x + scalar_for(c, x) * k[i]
        out.append(x)
    return tuple(out)


def scaled(*terms: tuple[Any, State]) -> State:
    """Sum of c k over the pairs (c, k), as ``axpy`` without z."""
    (c, k), *rest = terms
    return axpy(tuple(scalar_for(c, x) * x for x in k), *rest)


def finite_rows(z: State) -> np.ndarray:
    """(batch,) bools: which samples are finite."""
    parts = [np.isfinite(to_host(x)).reshape(x.shape[0], -1).all(axis=1) for x in z]
    return np.asarray(np.logical_and.reduce(parts))
