"""Single-step SDE-DPM-Solver++ of two and three stages, with one path for all stages' noises.

Reverse SDE (eta = 1), data prediction, h = lambda_s - lambda_t:

    x_s = sigma_s/sigma_t e^{-h} x + 2 alpha_s int e^{-2(lambda_s - lambda)} x0 dlambda + noise,

noise of variance sigma_s^2 (1 - e^{-2h}). The noise at an inner point is the first part of the
noise of the whole step, carried on by the linear flow; independent draws there would destroy the
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.multistep import WEIGHTS, choose
from sgmsolve.methods.registry import register
from sgmsolve.methods.single_step import third_fraction
from sgmsolve.phi import phi
from sgmsolve.plan import Affine, Plan, PlanBuilder


class _Step:
    """The SDE's exact pieces from t, at lambda_t + c for 0 <= c <= h."""

    def __init__(self, b: PlanBuilder, t: Any, s: Any) -> None:
        self.b, self.process, self.t, self.x = b, b.process, t, b.z
        self.lam = b.process.lam(t)
        self.h = b.process.lam(s) - self.lam
        self.time, self.c = t, 0 * self.h
        self.noise = Affine({})

    def flow(self, c: Any, time: Any) -> Any:
        """Linear flow sigma/sigma_t e^{-c}."""
        return self.process.sigma(time) / self.process.sigma(self.t) * ops(c).exp(-c)

    def carry(self, c: Any, time: Any) -> Affine:
        """The path's noise at lambda_t + c: the noise so far, carried on, plus a fresh part."""
        xp, step = ops(c), c - self.c
        fresh = self.process.sigma(time) * xp.sqrt(-xp.expm1(-2 * step))
        on = self.process.sigma(time) / self.process.sigma(self.time) * xp.exp(-step)
        self.noise = on * self.noise + fresh * self.b.xi(time, self.time)
        self.c, self.time = c, time
        return self.noise

    def first(self, c: Any, time: Any, d0: Affine) -> Affine:
        """First-order step without noise."""
        return self.flow(c, time) * self.x - self.process.alpha(time) * ops(c).expm1(-2 * c) * d0

    def slope(self, k: int, c: Any, time: Any) -> Any:
        """2 alpha c phi_k(-2c): weight of u^{k-1}/(k-1)!, u the covered fraction of [0, c]."""
        return 2 * self.process.alpha(time) * c * phi(k, -2 * c)


_RECORD: dict[str, Any] = {
    "family": "SDE single-step",
    "predicts": "data",
    "variable": "lam",
    "stochastic": True,
    "reference": "lu2022dpmsolverpp",
}


@register(
    "sde-dpm++2s",
    summary="SDE-DPM-Solver++(2S), stages on one path.",
    orders={"weak": 2},
    evaluations=2,
    stages=2,
    weights=("published", "exact"),
    equation="Section 5, single-step order 2; gonzalez2023seeds for the shared path",
    **_RECORD,
)
def sde_dpmpp_2s(
    process: Any,
    grid: Sequence[Any],
    *,
    r: float = 0.5,
    weights: str = "published",
    denoise: bool = False,
) -> Plan:
    """x_s = first + w (D1 - D0) + noise.

    w = alpha_s (1 - e^{-2h})/(2r) published, 2 alpha_s h phi_2(-2h)/r exact.
    """
    if not 0 < r < 1:
        msg = f"r = {r} was given, but the inner point lies at a fraction in (0, 1) of the step."
        raise MethodError(msg)
    choose("weights", weights, WEIGHTS)
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    for t, s in b.steps():
        e = _Step(b, t, s)
        mid = process.time_of_lam(e.lam + r * e.h)
        d0 = b.predict(e.x, t)
        d1 = b.predict(e.first(r * e.h, mid, d0) + e.carry(r * e.h, mid), mid)
        w = e.slope(1, e.h, s) / (2 * r) if weights == "published" else e.slope(2, e.h, s) / r
        b.advance(e.first(e.h, s, d0) + w * (d1 - d0) + e.carry(e.h, s))
    return b.plan()


@register(
    "sde-dpm++3s",
    summary="SDE-DPM-Solver++(3S): three stages on one path.",
    orders={"weak": 2},
    evaluations=3,
    stages=3,
    weights=("published",),
    equation="Section 5; gonzalez2023seeds, SEEDS-3",
    order_notes="Without noise the step has order 3; with noise only weak order 2 is proved.",
    **_RECORD,
)
def sde_dpmpp_3s(process: Any, grid: Sequence[Any], *, denoise: bool = False) -> Plan:
    """Inner points at h/3 and 2h/3; x_s = first + 2 alpha_s h phi_2(-2h)/r2 (D2 - D0) + noise."""
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    for t, s in b.steps():
        e = _Step(b, t, s)
        r1, r2 = third_fraction(t)
        c1, c2 = r1 * e.h, r2 * e.h
        t1, t2 = process.time_of_lam(e.lam + c1), process.time_of_lam(e.lam + c2)
        d0 = b.predict(e.x, t)
        d1 = b.predict(e.first(c1, t1, d0) + e.carry(c1, t1), t1)
        u2 = e.first(c2, t2, d0) + e.slope(2, c2, t2) * (r2 / r1) * (d1 - d0)
        d2 = b.predict(u2 + e.carry(c2, t2), t2)
        x_s = e.first(e.h, s, d0) + e.slope(2, e.h, s) / r2 * (d2 - d0)
        b.advance(x_s + e.carry(e.h, s))
    return b.plan()
