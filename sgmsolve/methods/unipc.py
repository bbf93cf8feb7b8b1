"""UniPC: a predictor UniP-p and a corrector UniC-p that reuses the predicted point's evaluation.

Noise prediction, with h = lam_s - lam_t, r_m = (lam_m - lam_t)/h and D_m = e_m - e_t:

    x_s = alpha_s/alpha_t x - sigma_s (e^h - 1) e_t - sigma_s B(h) sum_m a_m D_m / r_m

over the p - 1 previous points (UniP-p), and over those and s itself, r = 1 (UniC-p). B(h) is h
(bh1) or e^h - 1 (bh2). Data prediction has h -> -h, sigma_s/sigma_t x and alpha_s in these places.
Zhao et al. (2023), Algorithms 1 (UniC-p) and 2 (UniP-p).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sgmsolve.methods.multistep import (
    STARTS,
    WEIGHTS,
    choose,
    combination,
    exponential_moments,
    exponential_weights,
    linear_factors,
    matched_step,
    step_nodes,
)
from sgmsolve.methods.registry import register
from sgmsolve.phi import interpolatory_weights
from sgmsolve.plan import Plan, PlanBuilder

VARIANTS = ("bh1", "bh2")


def uni_weights(
    lams: Sequence[Any], start: Any, end: Any, rate: Any, variant: str = "bh2"
) -> list[Any]:
    """Weights of the predictions at ``lams``, one of them ``start``, by the paper's linear system.

    The a_m solve sum_m r_m^(k-1) a_m B = z k! phi_{k+1}(-z) for k = 1, 2, ..., with z = rate h
    (rate 1: data, -1: noise) and B = z (bh1) or 1 - e^{-z} (bh2). A single unknown is the paper's
    a = 1/2 instead. The full system fixes the products a_m B, so B matters with one unknown only.
    Source: Zhao et al. (2023), theorem 3.1 and the remark on p = 2 (UniP), p = 1 (UniC).
    """
    r = step_nodes(lams, start, end)
    moments = exponential_moments(rate * (end - start), len(r))
    others = [m for m in r if m != 0]
    b = rate * (end - start) if variant == "bh1" else moments[0]
    if len(others) == 1:
        a: list[Any] = [0.5]
    else:
        a = interpolatory_weights(others, [moment / b for moment in moments[1:]])
    shares = iter([b * a_m / r_m for a_m, r_m in zip(a, others, strict=True)])
    found = [next(shares) if m != 0 else 0 for m in r]
    found[r.index(0)] = moments[0] - sum(found)
    return found


def unipc(
    process: Any,
    grid: Sequence[Any],
    kind: str,
    p: int,
    *,
    variant: str = "bh2",
    corrector: bool = True,
    weights: str = "published",
    start: str = "published",
    denoise: bool = False,
) -> Plan:
    """UniPC-p for one kind of prediction. The last step has no evaluation to correct it with."""
    choose("variant", variant, VARIANTS)
    choose("weights", weights, WEIGHTS)
    choose("start", start, STARTS)

    def integral(lams: Sequence[Any], lam_t: Any, lam_s: Any, rate: Any) -> list[Any]:
        if weights == "exact":
            return exponential_weights(lams, lam_t, lam_s, rate)
        return uni_weights(lams, lam_t, lam_s, rate, variant)

    b = PlanBuilder(process, grid, predicts=kind, denoise=denoise)
    lams: list[Any] = []
    predictions: list[Any] = []
    used: list[Any] = []  # weights of the predictor that led here; none after a matched step
    gain = rate = None
    for t, s in b.steps():
        e, x, lam_t = b.predict(b.z, t), b.z, process.lam(t)
        if corrector and used:
            better = integral([lam_t, *lams], lams[0], lam_t, rate)
            change = [w - v for w, v in zip(better, [0, *used], strict=True)]
            x = x + gain * combination(change, [e, *predictions])
        lams, predictions = [lam_t, *lams][:p], [e, *predictions][:p]
        if start == "matched" and len(lams) < p:
            b.advance(matched_step(b, p if corrector else p - 1, t, s, e))
            continue
        psi, gain, rate = linear_factors(process, kind, t, s)
        used = integral(lams, lam_t, process.lam(s), rate)
        b.advance(psi * x + gain * combination(used, predictions))
    return b.plan()


def _builder(kind: str, p: int, corrector: bool) -> Callable[..., Plan]:
    def build(
        process: Any,
        grid: Sequence[Any],
        *,
        variant: str = "bh2",
        weights: str = "published",
        start: str = "published",
        denoise: bool = False,
    ) -> Plan:
        return unipc(
            process,
            grid,
            kind,
            p,
            corrector=corrector,
            variant=variant,
            weights=weights,
            start=start,
            denoise=denoise,
        )

    name = f"UniPC-{p}" if corrector else f"UniP-{p} (UniPC-{p} without its corrector)"
    build.__doc__ = f"{name}, {kind} prediction: see the module's formulas."
    return build


_NOTES = {
    1: "weights='exact' integrates the interpolation polynomial exactly.",
    2: "weights='exact' integrates the interpolation polynomial exactly.",
    3: "Published and exact weights differ in the first steps only.",
    4: "Published and exact weights differ in the first steps only.",
}


def _register() -> None:
    for name, kind, corrector in (
        ("unipc", "data", True),
        ("unipc-noise", "noise", True),
        ("unip", "data", False),
    ):
        for p in (1, 2, 3, 4):
            order, limit = (p + 1, 3) if corrector else (p, 2)
            what = "predictor and corrector" if corrector else "predictor alone"
            register(
                f"{name}-{p}",
                family="multistep",
                summary=f"UniPC {what} with {p} past {kind} prediction(s).",
                predicts=kind,
                variable="lam",
                orders={"deterministic": min(order, limit)},
                matched={"deterministic": order} if order > limit else {},
                weights=("published", "exact"),
                reference="zhao2023unipc",
                equation="Algorithms 1, 2" if corrector else "Algorithm 2",
                aliases=("unipc",) if (name, p) == ("unipc", 3) else (),
                notes=_NOTES[p],
                order_notes=f"The first step leaves O(h^{limit}); start='matched' gives {order}."
                if order > limit
                else "",
            )(_builder(kind, p, corrector))


_register()
