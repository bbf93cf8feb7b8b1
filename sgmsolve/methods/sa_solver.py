"""SA-Solver: stochastic Adams predictor and corrector with constant stochasticity tau.

On a step t -> s, h = lam_s - lam_t, r = 1 + tau^2 and one normal draw xi shared by both:

    predictor  x_s = A x_t + alpha_s sum_j w_j  x0_j + std xi,   nodes t, t_-1, ..., t_{-(k-1)}
    corrector  x_s = A x_t + alpha_s sum_j w'_j x0_j + std xi,   nodes s, t, t_-1, ..., t_{-(c-1)}
    A = sigma_s/sigma_t e^{-tau^2 h},   std = sigma_s sqrt(1 - e^{-2 tau^2 h})

with the Lagrange polynomials integrated exactly against r e^{-r (lam_s - lam)}. The prediction at
s is made at the predicted point and is not repeated (PEC). Xue et al. (2023), Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sgmsolve.errors import MethodError
from sgmsolve.methods.multistep import combination, exponential_weights
from sgmsolve.methods.registry import register
from sgmsolve.methods.sde_multistep import check_stochasticity, sde_factors
from sgmsolve.plan import Plan, PlanBuilder


def _check(predictor: int, corrector: int, tau: float) -> None:
    check_stochasticity("tau", tau)
    for name, given, low in (("predictor", predictor, 1), ("corrector", corrector, 0)):
        if given not in range(low, 5):
            msg = f"{name} = {given} was given, but SA-Solver takes {low} to 4 steps of history."
            raise MethodError(msg)


def _limits(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """Weak: 2 if the drift's quadrature has order 2. Without noise: UniPC's, from its own start."""
    k, c = options["predictor"], options["corrector"]
    order = min(k + 1, c + 1) if c else k
    return {"weak": min(order, 2), "deterministic": min(order, 3 if c else 2)}


@register(
    "sa-solver",
    family="SDE multistep",
    summary="SA-Solver: stochastic Adams predictor-corrector.",
    predicts="data",
    variable="lam",
    orders={"weak": 2},
    limits=_limits,
    stochastic=True,
    reference="xue2023sasolver",
    equation="Algorithm 1",
    notes=(
        "predictor, corrector: steps of history (corrector=0: none). tau = 0 is UniPC with exact "
        "weights and has the order of that: at most 3, 2 without the corrector."
    ),
    order_notes=(
        "Its theorem bounds the strong error by O(sup tau h + h^k), with the corrector by "
        "O(sup tau h + h^(c+1)). Weak: 2 if k >= 2 or c >= 1, else 1; never 3, because the noise "
        "inside a step is not drawn."
    ),
)
def sa_solver(
    process: Any,
    grid: Sequence[Any],
    *,
    predictor: int = 3,
    corrector: int = 3,
    tau: float = 1.0,
    denoise: bool = False,
) -> Plan:
    """The module's formulas; the first steps use the history there is. ``tau`` is eta elsewhere."""
    _check(predictor, corrector, tau)
    b = PlanBuilder(process, grid, predicts="data", denoise=denoise, draws="kernel:data")
    rate, k = 1 + tau**2, max(predictor, corrector)
    lams: list[Any] = []
    predictions: list[Any] = []
    used: list[Any] = []  # weights of the predictor that led here
    for t, s in b.steps():
        x0, x, lam_t = b.predict(b.z, t), b.z, process.lam(t)
        if corrector and used:
            better = exponential_weights([lam_t, *lams[:corrector]], lams[0], lam_t, rate)
            x = x + process.alpha(t) * (
                combination(better, [x0, *predictions]) - combination(used, predictions)
            )
        lams, predictions = [lam_t, *lams][:k], [x0, *predictions][:k]
        lam_s = process.lam(s)
        used = exponential_weights(lams[:predictor], lam_t, lam_s, rate)
        shrink, std = sde_factors(process, t, s, lam_s - lam_t, tau)
        x_s = shrink * x + process.alpha(s) * combination(used, predictions)
        b.advance(x_s + std * b.xi() if tau else x_s)
    return b.plan()
