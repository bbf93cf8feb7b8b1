"""Exponential Runge-Kutta methods in half log-SNR, from their tableaus.

In u = x/A (A = alpha for data prediction, A = sigma for noise prediction) the probability-flow ODE
is du/dlambda = L u + N with L = -1, N = x0 or L = +1, N = -eps. A tableau entry is a list of
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
from sgmsolve.plan import Affine, Plan, PlanBuilder

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


class _Numbers:
    """A tableau in one number type: nodes, phi-functions, entries as (coefficient, index)."""

    def __init__(self, tableau: Tableau, like: Any) -> None:
        self.c = [_number(q, like) for q in tableau.c]
        keys: dict[tuple[int, Fraction | int], int] = {}

        def entry(terms: Entry) -> list[tuple[Any, int]]:
            return [(_number(q, like), keys.setdefault((k, f), len(keys))) for q, k, f in terms]

        self.a = [[entry(e) for e in row] for row in tableau.a]
        self.b = [entry(e) for e in tableau.b]
        self.phis = [(k, _number(f, like)) for k, f in keys]

    def values(self, z: Any) -> list[Any]:
        """phi_k(c z) for every phi-function of the tableau."""
        return [phi(k, f * z) for k, f in self.phis]


def _combine(u: Affine, h: Any, row: list[list[tuple[Any, int]]], values: Any, N: Any) -> Affine:
    """U + h sum_j a_j N_j."""
    for entry, n in zip(row, N, strict=False):
        if entry:
            u = u + (h * sum(q * values[i] for q, i in entry)) * n
    return u


def step(b: PlanBuilder, numbers: _Numbers, t: Any, s: Any) -> None:
    """Advance the builder from t to s."""
    process, data = b.process, b.predicts == "data"
    scale, sign = (process.alpha, -1) if data else (process.sigma, 1)
    lam = process.lam(t)
    h = process.lam(s) - lam
    exp = ops(h).exp
    values = numbers.values(sign * h)
    u = b.z / scale(t)
    N: list[Affine] = []
    for c, row in zip(numbers.c, numbers.a, strict=True):
        time = t if c == 0 else (s if c == 1 else process.time_of_lam(lam + c * h))
        stage = _combine(exp(sign * c * h) * u, h, row, values, N)
        N.append((-sign) * b.predict(scale(time) * stage if N else b.z, time))
    b.advance(scale(s) * _combine(exp(sign * h) * u, h, numbers.b, values, N))


def _build(
    tableau: Tableau, predicts: str, process: Any, grid: Sequence[Any], denoise: bool
) -> Plan:
    b = PlanBuilder(process, grid, predicts=predicts, denoise=denoise)
    numbers = _Numbers(tableau, b.times[0])
    for t, s in b.steps():
        step(b, numbers, t, s)
    return b.plan()


def _declare(
    name: str, tableau: Tableau, order: int, summary: str, reference: str, where: str
) -> None:
    """Two methods a tableau: data prediction as ``name``, noise prediction as ``name-noise``."""
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
            # phi_1 to phi_3 integrate quadratics exactly, one degree less than order 4 asks for.
            weights=("exact",) if order < 4 else ("published",),
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
