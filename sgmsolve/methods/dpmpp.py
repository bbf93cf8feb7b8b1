"""DPM-Solver(++) multistep: exponential Adams methods in half log-SNR, two and three predictions.

With h = lam_s - lam_t and the previous grid points at lam_t - h r_0, lam_t - h (r_0 + r_1):

    data (DPM-Solver++):  x_s = sigma_s/sigma_t x - alpha_s (e^{-h} - 1) D
    noise (DPM-Solver):   x_s = alpha_s/alpha_t x - sigma_s (e^h - 1) D

where D is what replaces the prediction along the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.methods.multistep import (
    STARTS,
    WEIGHTS,
    choose,
    combination,
    exponential_weights,
    linear_factors,
    matched_step,
)
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder


def published_2m(lams: Sequence[Any], lam_s: Any, rate: Any) -> list[Any]:
    """Weights of DPM-Solver++ (2M), Algorithm 2: D = (1 + 1/(2r)) x0_t - 1/(2r) x0_previous.

    ``lams`` are the nodes, newest first; r = h_previous/h. ``rate`` is 1 for data, -1 for noise
    (the same D in DPM-Solver's update) and 1 + eta^2 for the SDE. Lu et al. (2022b), Algorithm 2.
    """
    h = lam_s - lams[0]
    total = -ops(h).expm1(-rate * h)
    if len(lams) == 1:
        return [total]
    r = (lams[0] - lams[1]) / h
    return [total * (1 + 1 / (2 * r)), -total / (2 * r)]


def _multistep(
    process: Any, grid: Sequence[Any], kind: str, k: int, *, weights: str, start: str, denoise: bool
) -> Plan:
    """The k-prediction method of one kind; k = 3 has exact weights only."""
    choose("weights", weights, WEIGHTS)
    choose("start", start, STARTS)
    b = PlanBuilder(process, grid, predicts=kind, denoise=denoise)
    lams: list[Any] = []
    predictions: list[Any] = []
    for t, s in b.steps():
        e = b.predict(b.z, t)
        lams, predictions = [process.lam(t), *lams][:k], [e, *predictions][:k]
        if start == "matched" and len(lams) < k:
            b.advance(matched_step(b, k - 1, t, s, e))
            continue
        psi, gain, rate = linear_factors(process, kind, t, s)
        lam_s = process.lam(s)
        if weights == "published":
            w = published_2m(lams, lam_s, rate)
        else:
            w = exponential_weights(lams, lams[0], lam_s, rate)
        b.advance(psi * b.z + gain * combination(w, predictions))
    return b.plan()


_TWO = {
    "family": "multistep",
    "variable": "lam",
    "orders": {"deterministic": 2},
    "weights": ("published", "exact"),
    "reference": "lu2022dpmsolverpp",
    "notes": "weights='exact' integrates the line through the last two predictions exactly.",
}
_THREE = {
    "family": "multistep",
    "variable": "lam",
    "orders": {"deterministic": 2},
    "matched": {"deterministic": 3},
    "reference": "hochbruck2010exponential",
    "equation": "exponential Adams methods",
    "notes": (
        "The parabola through the last three predictions, integrated exactly. No paper prints a "
        "third-order multistep formula; the one in circulating code halves the last divided "
        "difference's weight and has order 2, so there is no weights='published'."
    ),
    "order_notes": "The Euler first step leaves O(h^2); start='matched' gives 3.",
}


@register(
    "dpm++2m",
    summary="DPM-Solver++ multistep with two data predictions.",
    predicts="data",
    equation="Algorithm 2",
    aliases=("dpmpp-2m",),
    **_TWO,
)
def dpmpp_2m(
    process: Any,
    grid: Sequence[Any],
    *,
    weights: str = "published",
    start: str = "published",
    denoise: bool = False,
) -> Plan:
    """x_s = sigma_s/sigma_t x - alpha_s (e^{-h} - 1) D.

    D = (1 + 1/(2r)) x0_t - 1/(2r) x0_previous, r = h_previous/h.
    """
    return _multistep(process, grid, "data", 2, weights=weights, start=start, denoise=denoise)


@register(
    "dpm-solver-2m",
    summary="DPM-Solver multistep with two noise predictions.",
    predicts="noise",
    equation="Algorithm 2, written for noise prediction",
    **_TWO,
)
def dpm_solver_2m(
    process: Any,
    grid: Sequence[Any],
    *,
    weights: str = "published",
    start: str = "published",
    denoise: bool = False,
) -> Plan:
    """x_s = alpha_s/alpha_t x - sigma_s (e^h - 1) D.

    D = (1 + 1/(2r)) e_t - 1/(2r) e_previous, r = h_previous/h.
    """
    return _multistep(process, grid, "noise", 2, weights=weights, start=start, denoise=denoise)


@register(
    "dpm++3m",
    summary="DPM-Solver++ multistep with three data predictions.",
    predicts="data",
    aliases=("dpmpp-3m",),
    **_THREE,
)
def dpmpp_3m(
    process: Any, grid: Sequence[Any], *, start: str = "published", denoise: bool = False
) -> Plan:
    """x_s = sigma_s/sigma_t x + alpha_s int_0^h e^{-(h - tau)} P(tau) dtau, P the parabola."""
    return _multistep(process, grid, "data", 3, weights="exact", start=start, denoise=denoise)


@register(
    "dpm-solver-3m",
    summary="DPM-Solver multistep with three noise predictions.",
    predicts="noise",
    **_THREE,
)
def dpm_solver_3m(
    process: Any, grid: Sequence[Any], *, start: str = "published", denoise: bool = False
) -> Plan:
    """x_s = alpha_s/alpha_t x - sigma_s int_0^h e^{h - tau} P(tau) dtau, P the parabola."""
    return _multistep(process, grid, "noise", 3, weights="exact", start=start, denoise=denoise)
