"""Target-aware conjugate integrator: a Gaussian fit of the data is integrated exactly.

The fit N(mean, Q diag(v) Q^T) predicts the data from a noisy state linearly, mode by mode. That
part of the reverse process is solved in closed form; the network only corrects the residual

    r = D - alpha v/c z,        c = alpha^2 v + sigma^2        (D, z centred, in the fit's modes),

which is extrapolated in units of kappa = sigma/sqrt(c) by the polynomial in lam through its last
values, as many as the step's length allows (``REACH``), and integrated exactly. Formulas:
``_mode_weights``. On data N(mean, Q diag(v) Q^T) one step is exact. v = 0 is DPM-Solver++, v ->
infinity DPM-Solver, and each mode passes from the one to the other where its signal-to-noise ratio
is 1: at low noise all modes follow the isotropic scheme for noise predictions, whatever the fit.
That is the blending rule; it has no parameter.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import MethodError
from sgmsolve.methods._mode_weights import ModeWeights, root
from sgmsolve.methods.multistep import (
    STARTS,
    TABLEAUS,
    choose,
    combination,
    polynomial_weights,
)
from sgmsolve.methods.registry import register
from sgmsolve.methods.sde_multistep import check_stochasticity
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.affine import Affine
from sgmsolve.plan.frame import Frame

REACH = 5.0
"""Largest sum of |weights| of a step by Adams-Bashforth in lam, in units of its length.

Equal steps have 2 with two residuals and 11/3 with three. Beyond the limit, which two residuals
reach on steps that grow four times and three on steps that grow by 23 %, the oldest is left out.
"""


def _claims(claims: dict[str, float], options: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Order k, one more with a corrector; the Euler start leaves O(h^2), corrected O(h^3)."""
    order, limit = options["order"], 2
    if options["corrector"] > 0:
        order, limit = order + 1, 3
    return {"deterministic": float(order if options["start"] == "matched" else min(order, limit))}


def _sde_claims(
    claims: dict[str, float], options: Mapping[str, Any], steps: int
) -> dict[str, float]:
    """Order 2 at most: noise inside a step is not drawn, and the ODE starts with an Euler step."""
    order = float(min(options["order"], 2))
    return {"weak": order, "deterministic": order}


_RECORD: dict[str, Any] = {
    "family": "target-aware",
    "predicts": "data",
    "variable": "lam",
    "weights": ("published",),
    "reference": "sgmsolve",
    "equation": "sgmsolve.methods.target_aware",
}


@register(
    "target-aware",
    summary="Exact on a Gaussian fit of the data; three residuals, short steps corrected.",
    orders={"deterministic": 3},
    matched={"deterministic": 4},
    order_notes="The first step leaves O(h^3); start='matched' gives 4.",
    notes="fit is a GaussianFit or a variance (default 1); steps under corrector are corrected.",
    limits=_claims,
    **_RECORD,
)
@register(
    "target-aware-1",
    summary="Exact on a Gaussian fit of the data, the residual held over a step.",
    orders={"deterministic": 1},
    defaults={"order": 1, "corrector": 0.0},
    limits=_claims,
    **_RECORD,
)
@register(
    "target-aware-2",
    summary="Exact on a Gaussian fit of the data, the residual extrapolated by a line.",
    orders={"deterministic": 2},
    defaults={"order": 2, "corrector": 0.0},
    limits=_claims,
    **_RECORD,
)
def target_aware(
    process: Any,
    grid: Sequence[Any],
    *,
    fit: Any = None,
    order: int = 3,
    corrector: float = 1.0,
    start: str = "published",
    denoise: bool = False,
) -> Plan:
    """The module's method for the probability flow, with ``order`` residuals, 1 to 3.

    ``fit``: anything with ``transform``, ``eigenvalues`` (dim,) and ``mean``, such as a
    ``sgmsolve.precondition.GaussianFit``; a number, the variance of every mode about mean 0, data
    units squared; None, variance 1. ``corrector``: a step shorter than that in lam is repeated with
    the residual at its end, which the next step evaluates anyway; 0: none. On long steps one
    correction does not converge, and does harm. ``start="matched"`` takes the first steps by
    Runge-Kutta methods of the order claimed.

    Raises: MethodError for other values, PlanError for a fit with impossible variances.
    """
    choose("start", start, STARTS)
    if not corrector >= 0:
        msg = f"corrector = {corrector} was given, expected a step length in lam, 0 or more."
        raise MethodError(msg)
    b, modes = _begin(process, grid, fit, order, 0.0, denoise)
    _march(b, modes, order, corrector, start == "matched")
    return b.plan()


@register(
    "target-aware-sde",
    summary="The reverse SDE, exact on a Gaussian fit of the data, with two residuals.",
    orders={"weak": 2, "deterministic": 2},
    stochastic=True,
    limits=_sde_claims,
    notes="fit is a GaussianFit or a variance (default 1).",
    **_RECORD,
)
def target_aware_sde(
    process: Any,
    grid: Sequence[Any],
    *,
    fit: Any = None,
    order: int = 2,
    eta: float = 1.0,
    denoise: bool = False,
) -> Plan:
    """The module's method for the reverse family of stochasticity ``eta``; no corrector.

    ``fit`` and ``order`` as for ``target_aware``. Raises: MethodError for other values, PlanError
    for a fit with impossible variances.
    """
    check_stochasticity("eta", eta)
    b, modes = _begin(process, grid, fit, order, eta, denoise)
    _march(b, modes, order, 0.0, False)
    return b.plan()


class _Builder(PlanBuilder):
    """Leaves alpha = 0 along the fit's own flow, where others take its data for one point."""

    modes: ModeWeights

    def _leave_zero_alpha(self, t: Any, s: Any) -> None:
        move, weight = self.modes.leave(t, s)
        self.advance(move * self.z + weight * self.predict(self.z, t), s)


def _begin(
    process: Any, grid: Sequence[Any], fit: Any, order: int, eta: float, denoise: bool
) -> tuple[PlanBuilder, ModeWeights]:
    """A builder in the modes of the fit, and their coefficients."""
    if order not in (1, 2, 3):
        msg = f"order = {order} was given, but target-aware methods have order 1, 2 or 3."
        raise MethodError(msg)
    frame, variances = _fitted(fit)
    if frame is not None and any(is_multiprecision(t) for t in grid):
        msg = "coefficients of modes are float64, but the grid holds mpmath numbers; pass floats."
        raise MethodError(msg)
    b = _Builder(process, grid, predicts="data", denoise=denoise, draws="kernel", frame=frame)
    b.modes = ModeWeights(process, variances, eta)
    return b, b.modes


def _fitted(fit: Any) -> tuple[Frame | None, Any]:
    """The frame and the variances of its modes; a number needs no frame."""
    if fit is None:
        return None, 1.0
    if all(hasattr(fit, name) for name in ("transform", "eigenvalues", "mean")):
        frame = Frame(fit.transform, fit.eigenvalues, fit.mean)
        return frame, frame.values
    number = isinstance(fit, numbers.Real) and not isinstance(fit, (bool, np.bool_))
    if not (number and 0 <= fit < math.inf):
        msg = (
            f"fit = {fit!r} was given, expected a variance of at least 0 or a Gaussian fit with "
            f"transform, eigenvalues and mean; make one with GaussianFit.from_images(images)."
        )
        raise MethodError(msg)
    return None, float(fit)


def _march(b: PlanBuilder, modes: ModeWeights, k: int, corrector: float, matched: bool) -> None:
    """All steps; ``residuals`` belong to ``times``, newest first."""
    lam = b.process.lam
    times: list[Any] = []
    residuals: list[Affine] = []
    last: tuple[Any, list[Any], list[Any]] | None = None  # of the step that led here, if corrected
    for t, s in b.steps():
        x = b.z
        new = b.predict(x, t) - modes.gain(t) * x
        if last is not None:
            before, moments, used = last
            better = modes.weights([t, *times[: len(used)]], before, t, moments)
            change = [w - v for w, v in zip(better, [0, *used], strict=True)]
            x = x + combination(change, [new, *residuals])
        times, residuals = [t, *times][:k], [new, *residuals][:k]
        if matched and len(times) < k:
            b.advance(_matched(b, modes, k if corrector else k - 1, x, new, t, s))
            last = None
            continue
        n, corrected = _usable([lam(v) for v in times], lam(s)), lam(s) - lam(t) < corrector
        moments = modes.moments(t, s, n + corrected)
        used = modes.weights(times[:n], t, s, moments)
        last = (t, moments, used) if corrected else None
        z = modes.move(t, s) * x + combination(used, residuals)
        b.advance(z + modes.noise(t, s) * b.xi() if modes.eta else z)


def _usable(lams: Sequence[Any], lam_s: Any) -> int:
    """How many of the nodes ``lams``, newest first, to extrapolate from: see REACH."""
    for n in range(len(lams), 1, -1):
        weights = polynomial_weights(lams[:n], lams[0], lam_s)
        if sum(abs(w) for w in weights) <= REACH * (lam_s - lams[0]):
            return n
    return 1


def _matched(
    b: PlanBuilder, modes: ModeWeights, order: int, x: Affine, first: Affine, t: Any, s: Any
) -> Affine:
    """A Runge-Kutta step of d(z/sqrt(c))/dlam = alpha r/c^(1/2), ``first`` the residual at t."""
    p, lam = b.process, b.process.lam(t)
    h = p.lam(s) - lam
    rows, (numerators, denominator) = TABLEAUS[order]
    scaled = x / root(modes.spread(t))
    slopes = [p.alpha(t) / root(modes.spread(t)) * first]
    for row in rows:
        c = sum(row)
        at = s if c == 1 else p.time_of_lam(lam + c * h)
        size = root(modes.spread(at))
        point = size * (scaled + h * combination(row, slopes))
        residual = b.predict(point, at) - modes.gain(at) * point
        slopes.append(p.alpha(at) / size * residual)
    return root(modes.spread(s)) * (scaled + h / denominator * combination(numerators, slopes))
