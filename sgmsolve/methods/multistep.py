"""What multistep methods share: weights of interpolated predictions, and accurate first steps.

With lam = log(alpha/sigma) and rho = sigma/alpha the probability-flow ODE is, exactly,

    noise e:   d(x/alpha) = e d(rho)        data x0:   d(x/sigma) = x0 d(e^lam).

A multistep method replaces the prediction along a step t -> s by the polynomial through its last
values and integrates that polynomial exactly. The weights are generated here, never typed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve.errors import MethodError, unknown
from sgmsolve.phi import exp_moments, interpolatory_weights
from sgmsolve.plan import PlanBuilder
from sgmsolve.plan.affine import Affine

STARTS = ("published", "matched")
WEIGHTS = ("published", "exact")


def choose(option: str, given: str, known: Sequence[str]) -> None:
    """Raise MethodError unless ``given`` is one of the option's ``known`` values."""
    if given not in known:
        raise MethodError(unknown(option, str(given), known))


def step_nodes(u: Sequence[Any], start: Any, end: Any) -> list[Any]:
    """Interpolation nodes measured along the step: theta = (u - start)/(end - start)."""
    return [(v - start) / (end - start) for v in u]


def exponential_moments(z: Any, n: int) -> list[Any]:
    """int_0^1 z e^{-z (1 - theta)} theta^k dtheta = z k! phi_{k+1}(-z) for k = 0, ..., n - 1."""
    return [z * m for m in exp_moments(1, n, -z, weight="h-tau")]


def exponential_weights(lams: Sequence[Any], start: Any, end: Any, rate: Any = 1) -> list[Any]:
    """w_j = int_start^end rate e^{-rate (end - lam)} L_j(lam) dlam, L_j on the nodes ``lams``.

    They sum to 1 - e^{-rate h}, h = end - start. With them a step in half log-SNR is

        data,  rate = 1:          x_s = sigma_s/sigma_t x + alpha_s sum w_j x0_j
        noise, rate = -1:         x_s = alpha_s/alpha_t x + sigma_s sum w_j e_j
        data SDE, 1 + eta^2:      x_s = sigma_s/sigma_t e^{-eta^2 h} x + alpha_s sum w_j x0_j + ...

    Source: Hochbruck & Ostermann (2010), exponential Adams methods.
    """
    moments = exponential_moments(rate * (end - start), len(lams))
    return interpolatory_weights(step_nodes(lams, start, end), moments)


def polynomial_weights(u: Sequence[Any], start: Any, end: Any) -> list[Any]:
    """w_j = int_start^end L_j(u) du; they sum to end - start. Variable-step Adams-Bashforth."""
    moments = [(end - start) / (k + 1) for k in range(len(u))]
    return interpolatory_weights(step_nodes(u, start, end), moments)


def combination(weights: Sequence[Any], predictions: Sequence[Affine]) -> Affine:
    """Sum of weight times prediction; the shorter list ends it."""
    total: Any = 0
    for w, e in zip(weights, predictions, strict=False):
        total = w * e + total
    return total


def linear_factors(process: Any, kind: str, t: Any, s: Any) -> tuple[Any, Any, Any]:
    """(factor of x, of the predictions, rate of ``exponential_weights``) of an ODE step in lam."""
    if kind == "data":
        return process.sigma(s) / process.sigma(t), process.alpha(s), 1
    return process.alpha_ratio(t, s), process.sigma(s), -1


# Explicit Runge-Kutta methods: order -> (stage rows after the first, (numerators, denominator) of
# the weights); a stage's abscissa is its row sum. Euler, midpoint, Kutta's methods of order 3, 4:
# Hairer, Norsett & Wanner (1993), sec. II.1. Integers and halves stay exact in multiprecision.
TABLEAUS: dict[int, tuple[tuple[tuple[float, ...], ...], tuple[tuple[int, ...], int]]] = {
    1: ((), ((1,), 1)),
    2: (((0.5,),), ((0, 1), 1)),
    3: (((0.5,), (-1.0, 2.0)), ((1, 4, 1), 6)),
    4: (((0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), ((1, 2, 2, 1), 6)),
}


def matched_step(b: PlanBuilder, order: int, t: Any, s: Any, prediction: Affine) -> Affine:
    """Solution at s of one Runge-Kutta step of ``order`` 1 to 4 from ``b.z`` at t.

    Classical Runge-Kutta on dy/du = prediction, with y = x/alpha, u = rho for noise predictions and
    y = x/sigma, u = e^lam = 1/rho for data predictions. ``prediction`` is the one already made at
    t; the further stages are further rows.
    """
    p = b.process
    noise = b.predicts == "noise"
    scale = p.alpha if noise else p.sigma

    def clock(time: Any) -> Any:
        return p.rho(time) if noise else 1 / p.rho(time)

    y, u, du = b.z / scale(t), clock(t), clock(s) - clock(t)
    rows, (numerators, denominator) = TABLEAUS[order]
    slopes = [prediction]
    for row in rows:
        c = sum(row)
        v = u + c * du
        at = s if c == 1 else p.time_of_rho(v if noise else 1 / v)
        slopes.append(b.predict(scale(at) * (y + du * combination(row, slopes)), at))
    return scale(s) * (y + du / denominator * combination(numerators, slopes))
