"""The model contract, the check of a network's output and the exact conversion between kinds.

With x = alpha x0 + sigma eps (forward time t), every kind is ``u x0 + w eps``:

    noise = eps    data = x0    score = -eps / sigma    v = alpha eps - sigma x0    flow = eps - x0

so each is affine in the state and any other one, ``target = a(t) z + b(t) source``, and
``process.conversion`` gives (a, b). Score: Song et al. 2021 (arXiv:2011.13456); noise: Ho et al.
2020 (arXiv:2006.11239); v: Salimans & Ho 2022 (arXiv:2202.00512); flow: Liu et al. 2022
(arXiv:2209.03003).
"""

from __future__ import annotations

import dataclasses
from itertools import chain
from typing import Any, Protocol

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import ModelError, unknown
from sgmsolve.process.base import KINDS, AbstractProcess

State = tuple[Any, ...]
"""m arrays of shape (batch, *shape)."""

Prediction = tuple[Any, ...]
"""p arrays of shape (batch, *shape), 1 <= p <= m."""


class Model(Protocol):
    """What executors and wrappers need of a network.

    ``process`` is the forward process it was trained for, ``predicts`` one of noise, data, score,
    v, flow. A call takes the state z (a tuple of m arrays (batch, *shape)) and the forward time t
    (a float, or under jax a 0-d array) and returns a tuple of p arrays (batch, *shape).
    """

    @property
    def process(self) -> AbstractProcess:
        """The forward process."""

    @property
    def predicts(self) -> str:
        """The kind of prediction."""

    def __call__(self, z: State, t: Any) -> Prediction:
        """Return the prediction at forward time t."""


def check_kind(kind: Any) -> str:
    """Return ``kind`` if it is known (``noise:lower`` names a factor and counts as noise).

    Raises: ModelError with the nearest known kind.
    """
    if not isinstance(kind, str) or kind.split(":")[0] not in KINDS:
        raise ModelError(unknown("kind of prediction", str(kind), KINDS))
    return kind


def check_prediction(
    prediction: Any, z: State, row: int | None = None, t: Any = None
) -> Prediction:
    """Return the prediction as a tuple if it is p arrays like the state's components, 1 <= p <= m.

    Looks at shapes and types only: no device synchronisation, no arithmetic, about 2 microseconds.
    ``row`` and ``t`` (forward time) are only named in the message.

    Raises: ModelError for other shapes, other array libraries and types that are not floating.
    """
    where = "" if row is None else f" in row {row}"
    where += f" at t = {t:.6g}" if isinstance(t, (int, float)) else ""
    x = z[0]
    parts = tuple(prediction) if isinstance(prediction, (tuple, list)) else (prediction,)
    if not 1 <= len(parts) <= len(z):
        msg = (
            f"the model returned {len(parts)} arrays{where}, expected 1 to {len(z)} (the state has "
            f"{len(z)} components); return one array for each predicted component."
        )
        raise ModelError(msg)
    for part in parts:
        if not hasattr(part, "shape") or not hasattr(part, "dtype") or kind_of(part) != kind_of(x):
            msg = (
                f"the model returned a {type(part).__module__}.{type(part).__name__}{where}, "
                f"expected a {kind_of(x)} array like the state; unpack it in the network you pass, "
                f"for example net=lambda x, t: unet(x, t).sample."
            )
            raise ModelError(msg)
        if tuple(part.shape) != tuple(x.shape):
            msg = (
                f"the model returned shape {tuple(part.shape)}{where}, expected the state's shape "
                f"{tuple(x.shape)}; slice off extra channels (a learned variance, say) or reshape "
                f"in the network you pass."
            )
            raise ModelError(msg)
        if not array_namespace(part).isdtype(part.dtype, "real floating"):
            msg = (
                f"the model returned dtype {part.dtype}{where}, expected a real floating type such "
                f"as the state's {x.dtype}; convert it in the network you pass."
            )
            raise ModelError(msg)
    return parts


def scalar_for(value: Any, like: Any) -> Any:
    """A coefficient that leaves the dtype of ``like`` alone.

    A float (numpy.float64 too) becomes a Python float; a 0-d array is cast to the dtype of
    ``like``; an array (batch,) is also given the axes to broadcast against (batch, *shape).
    """
    if isinstance(value, (int, float)):
        return float(value)
    xp = array_namespace(like)
    if isinstance(value, np.ndarray) and kind_of(like) != "numpy":
        value = xp.asarray(value)
    value = xp.astype(value, like.dtype)
    if value.ndim:
        value = xp.reshape(value, tuple(value.shape) + (1,) * (like.ndim - value.ndim))
    return value


def linear_combination(terms: Any) -> Any:
    """Sum of coefficient * array over the pairs given; the numbers 0 and 1 cost nothing."""
    total: Any = None
    last: Any = None
    for coefficient, array in terms:
        last = array
        value = scalar_for(coefficient, array)
        if isinstance(value, float):
            if value == 0.0:
                continue
            term = array if value == 1.0 else value * array
        else:
            term = value * array
        total = term if total is None else total + term
    return 0.0 * last if total is None else total


def convert(
    process: AbstractProcess, source: str, kind: str, z: State, t: Any, given: Prediction
) -> Prediction:
    """The prediction ``given`` (kind ``source``) as another kind, in the state's dtype.

    ``target_i = sum_j a_ij z_j + sum_j b_ij source_j`` with (a, b) from ``process.conversion``.
    Raises: ProcessError where the kind is undetermined (noise -> data at alpha = 0, float t only).
    """
    if source == kind:
        return given
    a, b = process.conversion(source, kind, t)
    p, given_p = b.shape[-2], b.shape[-1]
    if len(given) != given_p:
        msg = (
            f"the model returned {len(given)} component(s), but its kind {source!r} has {given_p} "
            f"under {process!r}; return all of them, or wrap it as a kind with {len(given)}."
        )
        raise ModelError(msg)
    # A half-precision network must not be multiplied by 1/alpha in half precision: cast first.
    cast = [array_namespace(z[0]).astype(e, z[0].dtype) for e in given]
    m = len(z)
    return tuple(
        linear_combination(
            chain(
                ((a[..., i, j], z[j]) for j in range(m)),
                ((b[..., i, j], cast[j]) for j in range(given_p)),
            )
        )
        for i in range(p)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ConvertedModel:
    """A model seen as another kind; made by :func:`to_kind`."""

    model: Any
    predicts: str

    @property
    def process(self) -> AbstractProcess:
        """The inner model's process."""
        return self.model.process

    def __call__(self, z: State, t: Any) -> Prediction:
        """The converted prediction, in the state's dtype; t is forward time."""
        given = check_prediction(self.model(z, t), z, t=t)
        return convert(self.process, self.model.predicts, self.predicts, z, t, given)


def to_kind(model: Any, kind: str) -> Any:
    """The same model predicting another kind: ``target = a(t) z + b(t) source``, exact, affine.

    A model of the right kind is returned as it is, a chain of conversions collapses to one, and a
    model that can give every kind directly (the exact models of ``sgmsolve.target``, through
    ``as_kind``) is asked to, so that nothing cancels.

    Raises: ModelError for an unknown kind; on call, ProcessError where the kind is undetermined
    (noise or score to data, v or flow at alpha = 0, for a float t; a traced t gives inf or nan
    there).
    """
    check_kind(kind)
    if model.predicts == kind:
        return model
    if isinstance(model, ConvertedModel):
        return to_kind(model.model, kind)
    as_kind = getattr(model, "as_kind", None)
    if as_kind is not None:
        return as_kind(kind)
    return ConvertedModel(model, kind)
