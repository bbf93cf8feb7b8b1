"""Wrapping a network: its time label, its dtype and its scalings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import ModelError, unknown
from sgmsolve.model.base import (
    Prediction,
    State,
    check_kind,
    check_prediction,
    linear_combination,
    scalar_for,
)
from sgmsolve.model.completion import Completion, completion
from sgmsolve.model.matrix_scalings import MatrixScalings
from sgmsolve.process.base import AbstractProcess

TIMES = ("scalar", "batch")


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

    completion: Completion | None = None

    def __call__(self, z: State, t: Any) -> Prediction:
        """The prediction at forward time t: arrays (batch, *shape).

        Without scalings the network's own arrays (its dtype); with scalings, and for components
        that were completed, in the state's dtype.
        Raises: ModelError if the network returns another number of arrays, another shape or a type
        that is not floating.
        """
        inputs = z
        matrices = self.scalings.matrices(t) if self._by_matrices else None
        if matrices is not None:
            inputs = _transform(matrices[2], z)
        elif self.scalings is not None:
            c_in = self.scalings.c_in(t)
            inputs = tuple(scalar_for(c_in, x) * x for x in z)
        if self.net_dtype is not None:
            inputs = tuple(array_namespace(x).astype(x, _dtype(x, self.net_dtype)) for x in inputs)
        label = t if self.label is None else self.label(t)
        if self.time == "batch":
            label = _batch_label(label, inputs[0])
        raw = check_prediction(self.net(*inputs, label), z, t=t)
        self._check_count(raw, t)
        if matrices is not None:
            raw = _transform(matrices[0], z, matrices[1], raw)
        elif self.scalings is not None:
            raw = self._scale_output(raw, z, t)
        if self.completion is None:
            return raw
        like = z[0]
        return self.completion(z, t, array_namespace(like).astype(raw[0], like.dtype))

    @property
    def _by_matrices(self) -> bool:
        return isinstance(self.scalings, MatrixScalings)

    def _check_count(self, raw: Prediction, t: Any) -> None:
        names = self.process.names
        if self._by_matrices:
            expected, what = self.scalings.arrays, "that its scalings take"
        elif self.completion is not None:
            expected, what = 1, f"for outputs = ({names[self.completion.given]!r},)"
        else:
            expected, what = len(names), f"one for each of {', '.join(names)}"
        if len(raw) == expected:
            return
        when = f" at t = {t:.6g}" if isinstance(t, (int, float)) else ""
        msg = (
            f"the network returned {len(raw)} array(s){when} under {self.process!r}, expected "
            f"{expected}, {what}; return as many, or name the one component that is returned, as "
            f"in as_model(..., outputs=({names[-1]!r},))."
        )
        raise ModelError(msg)

    def _scale_output(self, raw: Prediction, z: State, t: Any) -> Prediction:
        c_skip, c_out = self.scalings.c_skip(t), self.scalings.c_out(t)
        kept = z if self.completion is None else (z[self.completion.given],)
        return tuple(
            linear_combination(((c_skip, x), (c_out, array_namespace(x).astype(e, x.dtype))))
            for x, e in zip(kept, raw, strict=True)
        )


def _transform(matrix: Any, z: State, other: Any = None, raw: Prediction = ()) -> tuple[Any, ...]:
    """``matrix z + other raw``, matrices (..., rows, columns) on the component index."""
    cast = [array_namespace(z[0]).astype(e, z[0].dtype) for e in raw]

    def terms(i: int) -> Any:
        yield from ((matrix[..., i, j][()], x) for j, x in enumerate(z))
        yield from ((other[..., i, j][()], e) for j, e in enumerate(cast))

    return tuple(linear_combination(terms(i)) for i in range(matrix.shape[-2]))


def as_model(
    net: Callable[..., Any],
    process: AbstractProcess,
    *,
    predicts: str,
    label: Callable[[Any], Any] | None = None,
    time: str = "scalar",
    scalings: Any = None,
    net_dtype: Any = None,
    outputs: tuple[str, ...] | None = None,
    missing: str = "posterior",
) -> NetworkModel:
    """Wrap a network called as ``net(*z, label(t))`` that returns an array (or a tuple of them).

    process: the forward process the network was trained for.
    predicts: noise, data, score, v or flow (after the scalings, if any).
    label: forward time -> what the network wants (``lambda t: 999 * t``, ``0.25 * log sigma(t)``,
        ...); None passes t. It is given a float, or under jax a 0-d array.
    time: "scalar" passes the label as it is; "batch" as an array (batch,) on the state's device, in
        the input's dtype but never under 32 bits (integers as int64).
    scalings: an object with functions c_skip, c_out, c_in of t; the prediction is then
        c_skip x + c_out net(c_in x, label). See :func:`edm_scalings`, and for several components
        :func:`augmented_scalings` and :func:`mixed_score`.
    net_dtype: the input's dtype, as a name ("float16") or a dtype; None passes the state's.
    outputs: names of the components the network returns; None: all. One is enough in phase space:
        ``("v",)`` for networks of CLD, where the position's score is multiplied by 0 and never
        used, ``("x",)`` for ``noise:upper`` with nu = 0 or for a prediction of the data.
    missing: how the other components are made. ``"posterior"``: the ones that belong to the same
        posterior mean of x0, exact for an exact network, so that conversions to every other kind
        are right. ``"zero"``: their score is 0, as in the code of PSLD and CLD; right only for
        methods that use nothing but G G^T score.

    The network is never called to find out its shapes; each real output is checked.
    Raises: ProcessError for a kind the process does not have; ModelError for an unknown kind or
    time, something that cannot be called, scalings that miss a function or belong to another kind
    or process, outputs that do not determine the rest; on call, for another number of arrays.
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
        _check_scalings(scalings, predicts, process)
        outputs = getattr(scalings, "outputs", None) if outputs is None else outputs
    rest = completion(process, predicts, outputs, missing)
    return NetworkModel(net, process, predicts, label, time, scalings, net_dtype, rest)


def _check_scalings(scalings: Any, predicts: str, process: AbstractProcess) -> None:
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
    owner = getattr(scalings, "process", process)
    if owner != process:
        msg = (
            f"scalings belong to {owner!r}, but the network to {process!r}; make them for that "
            f"process."
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
