"""Restart sampling: go back up by exact forward noise, come down again by an ODE solver."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods.edm import rk2_step
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder


@register(
    "restart",
    family="Runge-Kutta in sigma",
    summary="Restart: Heun down, exact noise back up over an interval, Heun down again.",
    predicts="noise",
    variable="rho",
    orders={"weak": 2},
    stochastic=True,
    evaluations=2,
    stages=2,
    reference="xu2023restart",
    equation="Algorithm 1",
    order_notes="Going up is exact, so the weak order is Heun's.",
    notes="rho_low and rho_high are levels of sigma/alpha, moved to the nearest grid points.",
)
def restart(
    process: Any,
    grid: Sequence[Any],
    *,
    rho_low: float = 0.2,
    rho_high: float = 0.8,
    times: int = 1,
    denoise: bool = False,
) -> Plan:
    """On reaching rho_low: x <- Psi x + sqrt(v) xi up to rho_high, Heun down, ``times`` times.

    A grid that holds no step between the two levels is run without restarts.
    """
    if not 0 < rho_low < rho_high:
        msg = f"rho_low = {rho_low}, rho_high = {rho_high} were given, but 0 < rho_low < rho_high."
        raise MethodError(msg)
    if isinstance(times, bool) or not isinstance(times, int) or times < 0:
        msg = f"times = {times!r} was given, but restarts are counted: 0, 1, 2, ..."
        raise MethodError(msg)
    b = PlanBuilder(process, grid, predicts="noise", denoise=denoise)
    nodes = [t for t in b.times if not (process.has_no_noise(t) or process.has_no_signal(t))]
    low, high = (_nearest(process, nodes, rho) for rho in (rho_low, rho_high))
    for t, s in b.steps():
        b.advance(rk2_step(b, b.z, t, s, 1), s)
        if s == low < high:
            for _ in range(times):
                _again(b, [u for u in nodes if low <= u <= high])
    return b.plan()


def _nearest(process: Any, nodes: list[Any], rho: float) -> Any:
    """The grid point whose log rho is nearest; None if every point is pure noise or pure data."""
    return min(nodes, key=lambda t: abs(ops(t).log(process.rho(t) / rho)), default=None)


def _again(b: PlanBuilder, nodes: list[Any]) -> None:
    """Exact noise from the last node up to the first, then Heun steps down the nodes."""
    process, high, low = b.process, nodes[0], nodes[-1]
    std = ops(low).sqrt(process.transition_variance(low, high))
    b.advance(process.alpha_ratio(low, high) * b.z + std * b.xi(low, high), high)
    for t, s in pairwise(nodes):
        b.advance(rk2_step(b, b.z, t, s, 1), s)
