"""Exponential Runge-Kutta methods in half log-SNR, from their tableaus.

In u = x/A (A = alpha for data prediction, A = sigma for noise prediction) the probability-flow ODE is
du/dlambda = L u + N with L = -1, N = x0 or L = +1, N = -eps. A tableau entry is a list of
(coefficient, k, c), meaning coefficient * phi_k(c h L); stage i is

    U_i = e^{c_i h L} u + h sum_j a_ij N_j,      u_s = e^{h L} u + h sum_i b_i N_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from sgmsolve._array import ops
from sgmsolve.methods.registry import register
from sgmsolve.phi import phi
from sgmsolve.plan import Plan, PlanBuilder

Half = Fraction(1, 2)
Entry = list[tuple[Fraction | int, int, Fraction | int]]


@dataclass(frozen=True)
class Tableau:
    """Nodes c, stage weights a (a[i][j], i > j) and weights b, as combinations of phi-functions."""

    c: tuple[Fraction | int, ...]
    a: tuple[tuple[Entry, ...], ...]
    b: tuple[Entry, ...]


# sum_i b_i = phi_1 and sum_j a_ij = c_i phi_1(c_i .) hold in each (exact on constant predictions).
TABLEAUS = {
    2: Tableau(
        c=(0, Half),
        a=((), ([(Half, 1, Half)],)),
        b=([(1, 1, 1), (-2, 2, 1)], [(2, 2, 1)]),
    ),
    3: Tableau(
        c=(0, Half, 1),
        a=((), ([(Half, 1, Half)],), ([(-1, 1, 1)], [(2, 1, 1)])),
        b=(
            [(1, 1, 1), (-3, 2, 1), (4, 3, 1)],
            [(4, 2, 1), (-8, 3, 1)],
            [(-1, 2, 1), (4, 3, 1)],
        ),
    ),
    4: Tableau(
        c=(0, Half, Half, 1, Half),
        a=(
            (),
            ([(Half, 1, Half)],),
            ([(Half, 1, Half), (-1, 2, Half)], [(1, 2, Half)]),
            ([(1, 1, 1), (-2, 2, 1)], [(1, 2, 1)], [(1, 2, 1)]),
            (
                # a51 = phi_1/2 at c/2, minus 2 a52, minus a54
                [
                    (Half, 1, Half),
                    (-Fraction(3, 4), 2, Half),
                    (Half, 3, Half),
                    (-Fraction(1, 4), 2, 1),
                    (1, 3, 1),
                ],
                [
                    (Half, 2, Half),
                    (-1, 3, 1),
                    (Fraction(1, 4), 2, 1),
                    (-Half, 3, Half),
                ],
                [
                    (Half, 2, Half),
                    (-1, 3, 1),
                    (Fraction(1, 4), 2, 1),
                    (-Half, 3, Half),
                ],
                [
                    (-Fraction(1, 4), 2, Half),
                    (1, 3, 1),
                    (-Fraction(1, 4), 2, 1),
                    (Half, 3, Half),
                ],
            ),
        ),
        b=(
            [(1, 1, 1), (-3, 2, 1), (4, 3, 1)],
            [],
            [],
            [(-1, 2, 1), (4, 3, 1)],
            [(4, 2, 1), (-8, 3, 1)],
        ),
    ),
}

KROGSTAD = Tableau(
    c=(0, Half, Half, 1),
    a=(
        (),
        ([(Half, 1, Half)],),
        ([(Half, 1, Half), (-1, 2, Half)], [(1, 2, Half)]),
        ([(1, 1, 1), (-2, 2, 1)], [], [(2, 2, 1)]),
    ),
    b=(
        [(1, 1, 1), (-3, 2, 1), (4, 3, 1)],
        [(2, 2, 1), (-4, 3, 1)],
        [(2, 2, 1), (-4, 3, 1)],
        [(-1, 2, 1), (4, 3, 1)],
    ),
)


def _number(q: Fraction | int, like: Any) -> Any:
    """A fraction in the number type of ``like``, without going through float64."""
    return (q.numerator + 0 * like) / q.denominator


def step(b: PlanBuilder, tableau: Tableau, t: Any, s: Any) -> None:
    """Advance the builder from t to s."""
    process, x = b.process, b.z
    data = b.predicts == "data"
    scale, sign = (process.alpha, -1) if data else (process.sigma, 1)
    lam = process.lam(t)
    h = process.lam(s) - lam
    xp = ops(h)
    c = [_number(q, h) for q in tableau.c]
    u = x / scale(t)
    cache: dict[tuple[int, Any], Any] = {}

    def weight(entry: Entry) -> Any:
        total = 0
        for q, k, fraction in entry:
            key = (k, fraction)
            if key not in cache:
                cache[key] = phi(k, sign * _number(Fraction(fraction), h) * h)
            total = total + _number(Fraction(q), h) * cache[key]
        return total

    N = []  # noqa: N806 (the field's symbol)
    for i, row in enumerate(tableau.a):
        time = t if i == 0 else (s if tableau.c[i] == 1 else process.time_of_lam(lam + c[i] * h))
        stage = xp.exp(sign * c[i] * h) * u
        for entry, n in zip(row, N, strict=False):
            if entry:
                stage = stage + (h * weight(entry)) * n
        point = x if i == 0 else scale(time) * stage
        N.append((-sign) * b.predict(point, time))
    u_s = xp.exp(sign * h) * u
    for entry, n in zip(tableau.b, N, strict=True):
        if entry:
            u_s = u_s + (h * weight(entry)) * n
    b.advance(scale(s) * u_s)


def _build(
    tableau: Tableau, predicts: str, process: Any, grid: Sequence[Any], denoise: bool
) -> Plan:
    b = PlanBuilder(process, grid, predicts=predicts, denoise=denoise)
    for t, s in b.steps():
        step(b, tableau, t, s)
    return b.plan()


def _declare(name: str, tableau: Tableau, order: int, summary: str, reference: str, where: str) -> None:
    """Two methods a tableau: data prediction under ``name``, noise prediction under ``name-noise``."""
    stages = len(tableau.c)

    def data(process: Any, grid: Sequence[Any], *, denoise: bool = False) -> Plan:
        return _build(tableau, "data", process, grid, denoise)

    def noise(process: Any, grid: Sequence[Any], *, denoise: bool = False) -> Plan:
        return _build(tableau, "noise", process, grid, denoise)

    for suffix, build, predicts in (("", data, "data"), ("-noise", noise, "noise")):
        register(
            name + suffix,
            family="exponential Runge-Kutta",
            summary=f"{summary}, {predicts} prediction.",
            predicts=predicts,
            variable="lam",
            orders={"deterministic": order},
            evaluations=stages,
            stages=stages,
            reference=reference,
            equation=where,
        )(build)


_declare(
    "exp-rk2",
    TABLEAUS[2],
    2,
    "Exponential midpoint-type method with two stages",
    "hochbruck2010exponential",
    "Section 2.3, two stages, c2 = 1/2",
)
_declare("exp-rk3", TABLEAUS[3], 3, "ETD3RK with three stages", "cox2002etd", "eq. (23)-(25)")
_declare("exp-rk4", KROGSTAD, 4, "ETDRK4-B with four stages", "krogstad2005", "ETDRK4-B")
_declare(
    "exp-rk4s5",
    TABLEAUS[4],
    4,
    "Stiffly accurate order 4 with five stages",
    "hochbruck2010exponential",
    "Section 2.3, five stages of stiff order 4",
)
