"""Wrapping a network: its time label, its dtype and its scalings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace, kind_of, ops
from sgmsolve.errors import ModelError, unknown
from sgmsolve.model.base import (
    Prediction,
    State,
    check_kind,
    check_prediction,
    linear_combination,
    scalar_for,
)
from sgmsolve.process.base import AbstractProcess

TIMES = ("scalar", "batch")


@dataclasses.dataclass(frozen=True)
class Scalings:
    """Functions of forward time: prediction = c_skip(t) x + c_out(t) net(c_in(t) x, label).

    Floats in, floats out; arrays under jax.
    """

    c_skip: Callable[[Any], Any]
    c_out: Callable[[Any], Any]
    c_in: Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class EDMScalings:
    """The scalings of EDM for data of standard deviation ``sigma_data``, in the process's state.

    With S = alpha^2 sigma_data^2 + sigma^2, the variance of x(t):
    c_skip = alpha sigma_data^2 / S, c_out = sigma sigma_data / sqrt(S), c_in = 1 / sqrt(S),
    for a network used as a data prediction. For alpha = 1 this is Karras et al. 2022
    (arXiv:2206.00364), table 1; for other alpha it is the same network at x/alpha and sigma/alpha,
    written so that alpha = 0 needs no limit.
    """

    process: Any
    sigma_data: float
    predicts: str = "data"

    def c_skip(self, t: Any) -> Any:
        """Alpha sigma_data^2 / S."""
        return self.process.alpha(t) * self.sigma_data**2 / self._variance(t)

    def c_out(self, t: Any) -> Any:
        """Sigma sigma_data / sqrt(S)."""
        return self.process.sigma(t) * self.sigma_data / ops(t).sqrt(self._variance(t))

    def c_in(self, t: Any) -> Any:
        """1 / sqrt(S)."""
        return 1 / ops(t).sqrt(self._variance(t))

    def _variance(self, t: Any) -> Any:
        return self.process.alpha(t) ** 2 * self.sigma_data**2 + self.process.sigma(t) ** 2


def edm_scalings(process: AbstractProcess, sigma_data: float = 0.5) -> EDMScalings:
    """EDM's c_skip, c_out and c_in for any scalar process (see :class:`EDMScalings`).

    ``sigma_data`` is the data's standard deviation per entry, in the data's units.
    Raises: ModelError if it is not positive, or the process has more than one component.
    """
    if not float(sigma_data) > 0:
        msg = (
            f"sigma_data is {sigma_data}, expected the data's standard deviation; pass a number > "
            f"0."
        )
        raise ModelError(msg)
    if process.m != 1:
        msg = (
            f"edm_scalings was given a process with {process.m} components, expected one; pass "
            f"your own Scalings(c_skip, c_out, c_in)."
        )
        raise ModelError(msg)
    return EDMScalings(process, float(sigma_data))


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkModel:
    """A network with everything needed to call it; made by :func:`as_model`."""

    net: Callable[..., Any]
    process: AbstractProcess
    predicts: str
    label: Callable[[Any], Any] | None = None
    time: str = "scalar"
    scalings: Any = None
    net_dtype: Any = None

    def __call__(self, z: State, t: Any) -> Prediction:
        """The prediction at forward time t: arrays (batch, *shape).

        Without scalings the network's own arrays (its dtype); with scalings in the state's dtype.
        Raises: ModelError if the network returns another shape or a type that is not floating.
        """
        inputs = z
        if self.scalings is not None:
            c_in = self.scalings.c_in(t)
            inputs = tuple(scalar_for(c_in, x) * x for x in z)
        if self.net_dtype is not None:
            inputs = tuple(array_namespace(x).astype(x, _dtype(x, self.net_dtype)) for x in inputs)
        label = t if self.label is None else self.label(t)
        if self.time == "batch":
            label = _batch_label(label, inputs[0])
        raw = check_prediction(self.net(*inputs, label), z, t=t)
        if self.scalings is None:
            return raw
        return self._scale_output(raw, z, t)

    def _scale_output(self, raw: Prediction, z: State, t: Any) -> Prediction:
        if len(raw) != len(z):
            msg = (
                f"the network returned {len(raw)} arrays for a state of {len(z)} components, "
                f"expected one each because scalings add c_skip times the state; leave the "
                f"scalings to the network."
            )
            raise ModelError(msg)
        c_skip, c_out = self.scalings.c_skip(t), self.scalings.c_out(t)
        return tuple(
            linear_combination(((c_skip, x), (c_out, array_namespace(x).astype(e, x.dtype))))
            for x, e in zip(z, raw, strict=True)
        )


def as_model(
    net: Callable[..., Any],
    process: AbstractProcess,
    *,
    predicts: str,
    label: Callable[[Any], Any] | None = None,
    time: str = "scalar",
    scalings: Any = None,
    net_dtype: Any = None,
) -> NetworkModel:
    """Wrap a network called as ``net(*z, label(t))`` that returns an array (or a tuple of them).

    process: the forward process the network was trained for.
    predicts: noise, data, score, v or flow (after the scalings, if any).
    label: forward time -> what the network wants (``lambda t: 999 * t``, ``0.25 * log sigma(t)``,
        ...); None passes t. It is given a float, or under jax a 0-d array.
    time: "scalar" passes the label as it is; "batch" as an array (batch,) on the state's device, in
        the input's dtype but never under 32 bits (integers as int64).
    scalings: an object with functions c_skip, c_out, c_in of t; the prediction is then
        c_skip x + c_out net(c_in x, label). See :func:`edm_scalings`.
    net_dtype: the input's dtype, as a name ("float16") or a dtype; None passes the state's.

    The network is never called to find out its shapes; each real output is checked.
    Raises: ProcessError for a kind the process does not have; ModelError for an unknown kind or
    time, something that cannot be called, scalings that miss a function or belong to another kind.
    """
    check_kind(predicts)
    if not callable(net):
        msg = (
            f"net is a {type(net).__name__}, expected something called as net(x, label(t)); pass a "
            f"function."
        )
        raise ModelError(msg)
    if time not in TIMES:
        raise ModelError(unknown("time", str(time), TIMES))
    if label is not None and not callable(label):
        msg = (
            f"label is {label!r}, expected a function of forward time; pass lambda t: 999 * t, say."
        )
        raise ModelError(msg)
    if not isinstance(process, AbstractProcess):
        msg = (
            f"process is a {type(process).__name__}, expected a forward process; pass "
            f"sgmsolve.VP(), say."
        )
        raise ModelError(msg)
    process.check_kind(predicts)
    if scalings is not None:
        _check_scalings(scalings, predicts)
    return NetworkModel(net, process, predicts, label, time, scalings, net_dtype)


def _check_scalings(scalings: Any, predicts: str) -> None:
    missing = [n for n in ("c_skip", "c_out", "c_in") if not callable(getattr(scalings, n, None))]
    if missing:
        msg = (
            f"scalings is a {type(scalings).__name__} without {' and '.join(missing)}, expected "
            f"functions c_skip, c_out and c_in; pass Scalings(c_skip, c_out, c_in) or "
            f"edm_scalings(process, sigma_data)."
        )
        raise ModelError(msg)
    kind = getattr(scalings, "predicts", predicts)
    if kind != predicts:
        msg = (
            f"predicts={predicts!r} was given with scalings that make a {kind} prediction; pass "
            f"predicts={kind!r}."
        )
        raise ModelError(msg)


def _dtype(x: Any, dtype: Any) -> Any:
    if not isinstance(dtype, str):
        return dtype
    found = getattr(array_namespace(x), dtype, None)
    if found is None:
        msg = (
            f"net_dtype is {dtype!r}, which {kind_of(x)} does not have; pass 'float16', "
            f"'float32' or 'float64', or a dtype of that library."
        )
        raise ModelError(msg)
    return found


def _batch_label(label: Any, x: Any) -> Any:
    """The label as an array (batch,) on the device of x."""
    xp = array_namespace(x)
    place = {"device": x.device} if kind_of(x) == "torch" else {}
    # Labels such as 999 are not exact in 8 bits of mantissa: never below float32.
    real = x.dtype if xp.finfo(x.dtype).bits >= 32 else xp.float32
    n = (x.shape[0],)
    whole = int if kind_of(x) == "jax" else xp.int64  # jax without x64 has no int64
    if isinstance(label, (int, float)):
        return xp.full(n, label, dtype=whole if isinstance(label, int) else real, **place)
    if kind_of(label) != kind_of(x):
        label = xp.asarray(label, **place)
    if xp.isdtype(label.dtype, "real floating"):
        label = xp.astype(label, real)
    return label if label.ndim else xp.broadcast_to(label, n)
