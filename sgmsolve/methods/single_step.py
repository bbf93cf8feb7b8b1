"""DPM-Solver single-step methods: DPM-Solver-2/3, DPM-Solver++ 2S/3S and DPM-Solver-fast.

h = lambda_s - lambda_t > 0 and s_i is the time at lambda_t + r_i h. Noise prediction integrates
d(x/alpha) = -e^{-lambda} eps dlambda, data prediction d(x/sigma) = e^{lambda} x0 dlambda.
One formula serves both: with A = alpha, B = sigma, N = -eps (noise) or A = sigma, B = alpha, N = x0
(data), and z = +h or -h,

    x_s = A_s/A_t x + B_s h [phi_1(z) N0 + ...].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.multistep import WEIGHTS, choose
from sgmsolve.methods.registry import Build, register
from sgmsolve.phi import phi
from sgmsolve.plan import Affine, Plan, PlanBuilder


class Frame:
    """What a prediction kind is integrated in: A, B and the sign of h, as in the module's text."""

    def __init__(self, b: PlanBuilder) -> None:
        process, data = b.process, b.predicts == "data"
        self.b = b
        self.A: Callable[[Any], Any] = process.sigma if data else process.alpha
        self.B: Callable[[Any], Any] = process.alpha if data else process.sigma
        self.sign = -1 if data else 1

    def N(self, x: Affine, t: Any) -> Affine:
        """Evaluate: the data prediction, or minus the noise prediction."""
        return (-self.sign) * self.b.predict(x, t)

    def first(self, x: Affine, t: Any, s: Any, h: Any, n: Affine) -> Affine:
        """First-order step: A_s/A_t x + B_s h phi_1(z) N."""
        z = self.sign * h
        return self.A(s) / self.A(t) * x + (self.B(s) * self.sign * ops(h).expm1(z)) * n


def second(b: PlanBuilder, x: Affine, t: Any, s: Any, r: Any, weights: str) -> Affine:
    """DPM-Solver-2 (Algorithm 1 of the paper) or DPM-Solver++(2S).

    published: x_s = first + B_s h phi_1(z) (N1 - N0)/(2 r), that is A_s/A_t x + B_s h phi_1(z) [(1
    - 1/2r) N0 + N1/2r];  exact: the interpolant is integrated, which puts phi_2(z)/r in place of
    phi_1(z)/(2 r).
    """
    frame, process = Frame(b), b.process
    lam = process.lam(t)
    h = process.lam(s) - lam
    mid = process.time_of_lam(lam + r * h)
    n0 = frame.N(x, t)
    n1 = frame.N(frame.first(x, t, mid, r * h, n0), mid)
    z, b_h = frame.sign * h, frame.B(s) * h
    if weights == "published":  # grouped so that N0's weight is exactly 0 at r = 1/2
        w = 1 / (2 * r)
        slope = b_h * phi(1, z)
        return frame.A(s) / frame.A(t) * x + slope * (1 - w) * n0 + slope * w * n1
    return frame.first(x, t, s, h, n0) + (b_h * phi(2, z) / r) * (n1 - n0)


def third(b: PlanBuilder, x: Affine, t: Any, s: Any, r1: Any, r2: Any) -> Affine:
    """DPM-Solver-3 (Algorithm 2) or DPM-Solver++(3S).

    u2 = first(r2 h) + B r2 h (r2/r1) phi_2(r2 z) (N1 - N0);  x_s = first + B_s h phi_2(z)/r2 (N2 -
    N0).
    """
    frame, process = Frame(b), b.process
    lam = process.lam(t)
    h = process.lam(s) - lam
    t1, t2 = process.time_of_lam(lam + r1 * h), process.time_of_lam(lam + r2 * h)
    z = frame.sign * h
    n0 = frame.N(x, t)
    n1 = frame.N(frame.first(x, t, t1, r1 * h, n0), t1)
    u2 = frame.first(x, t, t2, r2 * h, n0)
    n2 = frame.N(u2 + (frame.B(t2) * r2 * h * (r2 / r1) * phi(2, r2 * z)) * (n1 - n0), t2)
    return frame.first(x, t, s, h, n0) + (frame.B(s) * h * phi(2, z) / r2) * (n2 - n0)


def first(b: PlanBuilder, x: Affine, t: Any, s: Any) -> Affine:
    """DPM-Solver-1: DDIM."""
    frame = Frame(b)
    h = b.process.lam(s) - b.process.lam(t)
    return frame.first(x, t, s, h, frame.N(x, t))


def third_fraction(t: Any) -> tuple[Any, Any]:
    """1/3 and 2/3 in the number type of t: a float third would spoil a 50-digit check."""
    return (1 + 0 * t) / 3, (2 + 0 * t) / 3


def _check_r(**fractions: float | None) -> None:
    for name, r in fractions.items():
        if r is not None and not 0 < r <= 1:
            msg = f"{name} = {r} was given, but inner points are fractions in (0, 1] of a step."
            raise MethodError(msg)


_NOISE: dict[str, Any] = {
    "family": "single-step exponential",
    "predicts": "noise",
    "variable": "lam",
    "reference": "lu2022dpmsolver",
}
_DATA: dict[str, Any] = {**_NOISE, "predicts": "data", "reference": "lu2022dpmsolverpp"}


def _two_stages(predicts: str) -> Build:
    """Builder of the two-stage method for one kind of prediction."""

    def build(
        process: Any,
        grid: Sequence[Any],
        *,
        r: float = 0.5,
        weights: str = "published",
        denoise: bool = False,
    ) -> Plan:
        """Inner point at lambda_t + r h; see ``second``."""
        _check_r(r=r)
        choose("weights", weights, WEIGHTS)
        b = PlanBuilder(process, grid, predicts=predicts, denoise=denoise)
        for t, s in b.steps():
            b.advance(second(b, b.z, t, s, r, weights))
        return b.plan()

    return build


def _three_stages(predicts: str) -> Build:
    """Builder of the three-stage method for one kind of prediction."""

    def build(
        process: Any,
        grid: Sequence[Any],
        *,
        r1: float | None = None,
        r2: float | None = None,
        denoise: bool = False,
    ) -> Plan:
        """Inner points at r1 h and r2 h (default 1/3, 2/3); see ``third``."""
        _check_r(r1=r1, r2=r2)
        b = PlanBuilder(process, grid, predicts=predicts, denoise=denoise)
        for t, s in b.steps():
            a1, a2 = third_fraction(t)
            b.advance(third(b, b.z, t, s, a1 if r1 is None else r1, a2 if r2 is None else r2))
        return b.plan()

    return build


def _third_limits(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """Order 3 needs r2 = 2/3."""
    r2 = options["r2"]
    return claims if r2 is None or abs(r2 - 2 / 3) < 1e-9 else {"deterministic": 2}


_TWO: dict[str, Any] = {
    "orders": {"deterministic": 2},
    "evaluations": 2,
    "stages": 2,
    "weights": ("published", "exact"),
    "equation": "Algorithm 1",
}
_THREE: dict[str, Any] = {
    "orders": {"deterministic": 3},
    "limits": _third_limits,
    "evaluations": 3,
    "stages": 3,
    "weights": ("published",),
    "order_notes": "Order 3 needs r2 = 2/3; other r2 give order 2.",
}
register(
    "dpm-solver-2",
    summary="DPM-Solver-2; with r = 1/2 also k-diffusion's DPM2.",
    aliases=("dpm2",),
    **_TWO,
    **_NOISE,
)(_two_stages("noise"))
register("dpm++2s", summary="DPM-Solver++(2S), data prediction.", **_TWO, **_DATA)(
    _two_stages("data")
)
register(
    "dpm-solver-3",
    summary="DPM-Solver-3, noise prediction.",
    equation="Algorithm 2",
    **_THREE,
    **_NOISE,
)(_three_stages("noise"))
register(
    "dpm++3s",
    summary="DPM-Solver++(3S), data prediction.",
    equation="single-step order 3",
    **_THREE,
    **_DATA,
)(_three_stages("data"))


@register(
    "dpm-solver-fast",
    summary="DPM-Solver-fast: order-3 steps closed by steps of order 2 and 1.",
    orders={"deterministic": 2},
    limits=lambda claims, options, steps: {"deterministic": 3 if options["tail"] == "2" else 2},
    evaluations=3,
    stages=3,
    equation="Section 3.4",
    order_notes=(
        "One first-order step at the end leaves an O(h^2) error, so the claim is 2, not 3; it is 3 "
        "with tail='2'."
    ),
    notes=(
        "tail='2,1' (default), '1' or '2' are the closing steps for budgets 3n, 3n+1 and 3n+2; "
        "nfe= chooses among them."
    ),
    budget_options=({"tail": "2,1"}, {"tail": "1"}, {"tail": "2"}),
    **_NOISE,
)
def dpm_solver_fast(
    process: Any, grid: Sequence[Any], *, tail: str = "2,1", denoise: bool = False
) -> Plan:
    """Order-3 steps, then the tail; a grid shorter than the tail takes the tail's last steps."""
    if tail not in ("2,1", "1", "2"):
        msg = f"tail = {tail!r} was given, but it is '2,1', '1' or '2'."
        raise MethodError(msg)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    steps = _pairs(b)
    closing = [int(order) for order in tail.split(",")][-len(steps) :] if steps else []
    orders = [3] * (len(steps) - len(closing)) + closing
    for (t, s), order in zip(b.steps(), orders, strict=True):
        a1, a2 = third_fraction(t)
        if order == 3:
            b.advance(third(b, b.z, t, s, a1, a2))
        elif order == 2:
            b.advance(second(b, b.z, t, s, 0.5, "published"))
        else:
            b.advance(first(b, b.z, t, s))
    return b.plan()


def _pairs(b: PlanBuilder) -> list[tuple[Any, Any]]:
    """The steps ``b.steps()`` will yield."""
    times = b.times[1:] if b.process.has_no_signal(b.times[0]) else b.times
    pairs = list(pairwise(times))
    return pairs[:-1] if pairs and b.process.has_no_noise(times[-1]) else pairs
