"""PNDM and iPNDM: uniform Adams-Bashforth weights inside DDIM's transfer map.

The transfer map takes x from t to s along a fixed noise direction e,

    transfer(x, e, t, s) = alpha_s (x/alpha_t + (rho_s - rho_t) e),

and the methods only choose e: Liu et al. (2022), pseudo linear multistep and pseudo Runge-Kutta
methods. The weights are those of a uniform grid whatever the grid is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sgmsolve.methods.multistep import combination
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.affine import Affine

# Adams-Bashforth on a uniform grid, newest first: Hairer, Norsett & Wanner (1993), table III.1.1.
ADAMS: dict[int, tuple[tuple[int, ...], int]] = {
    1: ((1,), 1),
    2: ((3, -1), 2),
    3: ((23, -16, 5), 12),
    4: ((55, -59, 37, -9), 24),
}


def transfer(
    process: Any,
    x: Affine,
    weights: tuple[Sequence[int], int],
    es: Sequence[Affine],
    t: Any,
    s: Any,
) -> Affine:
    """The transfer map for e = sum_j weights_j es_j, weights = (numerators, denominator)."""
    numerators, denominator = weights
    step = process.alpha(s) * (process.rho(s) - process.rho(t)) / denominator
    return process.alpha_ratio(t, s) * x + step * combination(numerators, es)


def _runge_kutta(b: PlanBuilder, t: Any, s: Any, e1: Affine) -> Affine:
    """Pseudo Runge-Kutta step of Liu et al. (2022): four evaluations, the first is ``e1``."""
    process, x, middle = b.process, b.z, (t + s) / 2
    one = ADAMS[1]
    e2 = b.predict(transfer(process, x, one, [e1], t, middle), middle)
    e3 = b.predict(transfer(process, x, one, [e2], t, middle), middle)
    e4 = b.predict(transfer(process, x, one, [e3], t, s), s)
    return transfer(process, x, ((1, 2, 2, 1), 6), [e1, e2, e3, e4], t, s)


_SMOOTH = "Order 2 on grids that are a smooth image of a uniform one; 1 on an arbitrary grid. "


@register(
    "pndm",
    family="multistep",
    summary="PNDM: three pseudo Runge-Kutta steps, then four-step pseudo linear multistep.",
    predicts="noise",
    variable="rho",
    orders={"deterministic": 2},
    weights=("published",),
    reference="liu2022pndm",
    equation="Algorithm 2",
    aliases=("fpndm",),
    notes="The first three steps cost four evaluations each.",
    order_notes=_SMOOTH + "Their theorem claims 2 as well.",
)
def pndm(process: Any, grid: Sequence[Any], *, denoise: bool = False) -> Plan:
    """x_s = transfer(x, (55 e - 59 e_1 + 37 e_2 - 9 e_3)/24, t, s)."""
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    history: list[Affine] = []
    for t, s in b.steps():
        e = b.predict(b.z, t)
        history = [e, *history][:4]
        if len(history) < 4:
            b.advance(_runge_kutta(b, t, s, e))
        else:
            b.advance(transfer(process, b.z, ADAMS[4], history, t, s))
    return b.plan()


def _improved(k: int) -> Callable[..., Plan]:
    def build(process: Any, grid: Sequence[Any], *, denoise: bool = False) -> Plan:
        b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
        history: list[Affine] = []
        for t, s in b.steps():
            history = [b.predict(b.z, t), *history][:k]
            b.advance(transfer(process, b.z, ADAMS[len(history)], history, t, s))
        return b.plan()

    build.__doc__ = f"x_s = transfer(x, e', t, s), e' uniform Adams-Bashforth of {k} prediction(s)."
    return build


def _register() -> None:
    for k in (1, 2, 3, 4):
        register(
            f"ipndm-{k}",
            family="multistep",
            summary=f"iPNDM: uniform Adams-Bashforth weights of {k} prediction(s).",
            predicts="noise",
            variable="rho",
            orders={"deterministic": min(k, 2)},
            weights=("published",),
            reference="zhang2023deis",
            equation="iPNDM",
            aliases=("ipndm",) if k == 4 else (),
            notes="deis-rhoab (ipndm-v) has the weights of the grid it runs on.",
            order_notes=_SMOOTH if k > 1 else "",
        )(_improved(k))


_register()
