"""The last evaluation: from t_end, where a run must stop, to the data.

With D the rate of the reverse SDE or of the probability flow per unit of their own time:

* ``"data"`` (or True): the mean of the data given z, as ``denoise=True`` means everywhere else in
  this library. By Tweedie's formula (x + sigma^2 score)/alpha for one component;
* ``"tweedie"``: x + sigma(t)^2 score, without 1/alpha (arXiv:2105.14080, released code; m = 1);
* ``"drift-sde"``, ``"drift-ode"``: one noise-free Euler step to t = 0 with D of the SDE (eta = 1)
  or of the ODE, on all components: what the published phase-space samplers do, after SDE solvers
  and after RK45 (arXiv:2303.01748, released code).

A preconditioner at "exact-split", "noise" or "corrector" leaves all of them plain: the last step
takes noise out and puts none in. At "published" and "forward" the drift kinds have M M^T in front
of their whole rate. ``"data"`` and ``"tweedie"`` are the plain process's, and "forward" has none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import State, axpy, own, put, take
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.errors import MethodError, unknown
from sgmsolve.model.base import to_kind
from sgmsolve.precondition.places import WHOLE
from sgmsolve.reverse import ReverseSDE

KINDS = ("data", "tweedie", "drift-sde", "drift-ode")


def check(denoise: Any, sde: Any) -> str:
    """One of KINDS, or "" for none; MethodError for anything else, or for an SDE without model."""
    kind = {True: "data", False: "", None: ""}.get(denoise, denoise)
    if kind == "":
        return ""
    if kind not in KINDS:
        raise MethodError(unknown("denoise:", str(denoise), KINDS))
    if not isinstance(sde, ReverseSDE):
        msg = (
            f"denoise = {denoise!r} was given for a {type(sde).__name__}, which has no data to "
            "return to; leave it out."
        )
        raise MethodError(msg)
    if kind == "tweedie" and sde.m != 1:
        msg = f"denoise = 'tweedie' is for one component, not {sde.m}; use 'data' or 'drift-ode'."
        raise MethodError(msg)
    if kind in ("data", "tweedie") and sde.where == "forward" and sde.bends_drift:
        msg = (
            f"denoise = {denoise!r} was given, but that is the data's mean under the plain "
            "process, not under the preconditioned one; use denoise='drift-sde'."
        )
        raise MethodError(msg)
    return str(kind)


def finish(found: AdaptiveSolution, sde: ReverseSDE, kind: str) -> AdaptiveSolution:
    """The solution with its finished samples denoised: one evaluation for each sample."""
    done = found.finished
    if not done.any():
        return found
    rows, t = np.flatnonzero(done), float(found.t[done][0])
    made = denoised(sde, tuple(take(x, rows) for x in found.z), t, kind)
    return dataclasses.replace(
        found,
        z=tuple(
            put(own(x), rows, array_namespace(x).astype(v, x.dtype))
            for x, v in zip(found.z, made, strict=True)
        ),
        nfe=found.nfe + done,
        rows=found.rows + len(rows),
        calls=found.calls + 1,
    )


def denoised(sde: ReverseSDE, z: State, t: float, kind: str) -> State:
    """Z at forward time t, denoised; components that a variant says nothing about stay."""
    if kind == "data":
        made = to_kind(sde.model, "data")(z, t)
        return (*(made if isinstance(made, (tuple, list)) else (made,)), *z[1:])[: len(z)]
    if kind == "tweedie":
        return axpy(z, (sde.process.covariance(t)[0, 0], sde.score(z, t)))
    eta = 1.0 if kind == "drift-sde" else 0.0
    M = sde.preconditioner if sde.where in WHOLE else None
    rate = ReverseSDE(sde.process, sde.model, eta, M, sde.where)
    return axpy(z, (t, rate.drift(z, t)))
