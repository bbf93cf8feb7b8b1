"""DEIS: Adams-Bashforth for d(x/alpha) = e d(rho), interpolating e in t (tAB) or in rho (rhoAB).

    x_s = alpha_s (x/alpha_t + sum_j C_j e_j),   C_j = int_{t}^{s} L_j d(rho),

L_j the Lagrange polynomials through the last k grid points. Zhang & Chen (2023), tAB-DEIS and
rhoAB-DEIS; the latter is variable-step Adams-Bashforth in sigma, which others call LMS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from sgmsolve._array import is_multiprecision, ops
from sgmsolve.methods.multistep import (
    STARTS,
    choose,
    combination,
    matched_step,
    polynomial_weights,
    step_nodes,
)
from sgmsolve.methods.registry import register
from sgmsolve.phi import gauss_legendre, interpolatory_weights
from sgmsolve.plan import Plan, PlanBuilder

Weights = Callable[[Any, Sequence[Any], Any], list[Any]]
"""(process, times of the nodes newest first, s) -> C_j."""


def rho_ab_weights(process: Any, times: Sequence[Any], s: Any) -> list[Any]:
    """C_j = int L_j(rho) d(rho) from rho(times[0]) to rho(s), in closed form."""
    rhos = [process.rho(t) for t in times]
    return polynomial_weights(rhos, rhos[0], process.rho(s))


def t_ab_weights(process: Any, times: Sequence[Any], s: Any) -> list[Any]:
    """C_j = int_{times[0]}^s L_j(tau) d(rho(tau)), by Gauss-Legendre quadrature in lam.

    In lam, d(rho) = -e^{-lam} dlam and tau(lam) is smooth, also where rho'(t) is singular (VP near
    t = 0). Panels no longer than 1 in lam make the rule exact to rounding for analytic schedules.
    """
    t, k = times[0], len(times)
    lam, h = process.lam(t), process.lam(s) - process.lam(t)
    # The zeroth moment is known: on any schedule, constant predictions are integrated exactly.
    moments = [process.rho(s) - process.rho(t)]
    if k > 1:
        panels = math.ceil(float(h))
        nodes, weights = gauss_legendre(_points(h, panels), like=h)
        exp, width = ops(h).exp, h / panels
        points = [
            ((process.time_of_lam(v) - t) / (s - t), -w * width * exp(-v))
            for i in range(panels)
            for u, w in zip(nodes, weights, strict=True)
            for v in (lam + (i + u) * width,)
        ]
        for _ in range(1, k):
            points = [(theta, theta * w) for theta, w in points]
            moments.append(sum(w for _, w in points))
    return interpolatory_weights(step_nodes(times, t, s), moments)


def _points(h: Any, panels: int) -> int:
    """Points a panel of length w = h/panels <= 1 needs: the error is about (w/6)^(2n) for VP."""
    if is_multiprecision(h):
        import mpmath

        return int(mpmath.mp.dps) + 2
    return max(3, math.ceil(18 / math.log(6 * panels / h)))


def _adams(
    process: Any, grid: Sequence[Any], k: int, weights: Weights, start: str, denoise: bool
) -> Plan:
    """x_s = alpha_s (x/alpha_t + sum_j C_j e_j) with k predictions."""
    choose("start", start, STARTS)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    times: list[Any] = []
    predictions: list[Any] = []
    for t, s in b.steps():
        e = b.predict(b.z, t)
        times, predictions = [t, *times][:k], [e, *predictions][:k]
        if start == "matched" and len(times) < k:
            b.advance(matched_step(b, k - 1, t, s, e))
            continue
        c = weights(process, times, s)
        drift = process.alpha(s) * combination(c, predictions)
        b.advance(process.alpha_ratio(t, s) * b.z + drift)
    return b.plan()


def _builder(k: int, weights: Weights, text: str) -> Callable[..., Plan]:
    def build(
        process: Any, grid: Sequence[Any], *, start: str = "published", denoise: bool = False
    ) -> Plan:
        return _adams(process, grid, k, weights, start, denoise)

    build.__doc__ = f"x_s = alpha_s (x/alpha_t + sum_j C_j e_j), {k} prediction(s), {text}."
    return build


_KINDS: dict[str, Any] = {
    "deis-tab": {
        "weights": t_ab_weights,
        "text": "interpolated in t",
        "variable": "t",
        "reference": "zhang2023deis",
        "equation": "tAB-DEIS",
        "aliases": lambda k: {3: ("deis",)}.get(k, ()),
        "notes": (
            "Weights by quadrature: exact to rounding on analytic schedules. A table of rates has "
            "kinks in t(lam), which stop the fourth order at errors of about 1e-7."
        ),
    },
    "deis-rhoab": {
        "weights": rho_ab_weights,
        "text": "interpolated in rho",
        "variable": "rho",
        "reference": "zhang2023deis",
        "equation": "rhoAB-DEIS",
        "aliases": lambda k: (f"lms-{k}", f"ipndm-v-{k}", *(("lms", "ipndm-v") if k == 4 else ())),
        "notes": "The same method as LMS (Adams-Bashforth in sigma) and variable-step iPNDM.",
    },
}


def _register() -> None:
    for family, record in _KINDS.items():
        for k in (1, 2, 3, 4):
            limited = k > 2
            register(
                f"{family}-{k}",
                family="multistep",
                summary=f"DEIS: Adams-Bashforth with {k} noise prediction(s), {record['text']}.",
                predicts="noise",
                variable=record["variable"],
                orders={"deterministic": min(k, 2)},
                matched={"deterministic": k} if limited else {},
                reference=record["reference"],
                equation=record["equation"],
                aliases=record["aliases"](k),
                notes=record["notes"],
                order_notes=f"The Euler first step leaves O(h^2); start='matched' gives {k}."
                if limited
                else "",
            )(_builder(k, record["weights"], record["text"]))


_register()
