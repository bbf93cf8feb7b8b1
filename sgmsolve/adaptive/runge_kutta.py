"""Embedded explicit Runge-Kutta pairs: black-box solvers of ODEs, any number of components.

    k_1 = f(z, t),   k_i = f(z + h sum_{j<i} a_ij k_j, t + direction c_i h),
    z_s = z + h sum_i b_i k_i,   e = h sum_i (b_i - b^_i) k_i,

with f the rate per unit of the ODE's own time. The solution goes on from the higher order; e is the
local error of the lower order q, so E = O(h^(q+1)). Stages that no sum needs cost nothing, and a
pair whose last stage is f(z_s, s) hands it to the next step (FSAL). Hairer, Norsett & Wanner,
"Solving Ordinary Differential Equations I" (2nd ed., 1993), section II.4.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

from sgmsolve.adaptive import controllers
from sgmsolve.adaptive._rows import State, axpy, scaled
from sgmsolve.adaptive.registry import Solver
from sgmsolve.adaptive.stepper import Attempt, Field, Stepper


@dataclasses.dataclass(frozen=True)
class Pair:
    """Coefficients of an embedded pair; rows of exact fractions.

    Attributes:
        a: rows of the stages, a[i] of length i; c_i = sum_j a_ij.
        b: weights of the solution, order ``orders[0]``.
        lower: weights of the embedded solution, order ``orders[1]``.
        orders: (order of b, order of lower).
        bump: weights d of a term theta^2 (1 - theta)^2 h sum d_i k_i that lifts the cubic Hermite
            interpolant of a step to order 4; () for none.
    """

    a: tuple[tuple[Fraction, ...], ...]
    b: tuple[Fraction, ...]
    lower: tuple[Fraction, ...]
    orders: tuple[int, int]
    bump: tuple[Fraction, ...] = ()

    @property
    def c(self) -> tuple[Fraction, ...]:
        """Nodes, fractions of the step."""
        return tuple(sum(row, Fraction(0)) for row in self.a)

    @property
    def fsal(self) -> bool:
        """Whether the last stage is the rate at the end of the step."""
        return self.b[-1] == 0 and self.a[-1] == self.b[:-1]


def _row(text: str) -> tuple[Fraction, ...]:
    return tuple(Fraction(word) for word in text.split())


def _rows(*texts: str) -> tuple[tuple[Fraction, ...], ...]:
    return tuple(_row(text) for text in texts)


DORMAND_PRINCE = Pair(
    a=_rows(
        "",
        "1/5",
        "3/40 9/40",
        "44/45 -56/15 32/9",
        "19372/6561 -25360/2187 64448/6561 -212/729",
        "9017/3168 -355/33 46732/5247 49/176 -5103/18656",
        "35/384 0 500/1113 125/192 -2187/6784 11/84",
    ),
    b=_row("35/384 0 500/1113 125/192 -2187/6784 11/84 0"),
    lower=_row("5179/57600 0 7571/16695 393/640 -92097/339200 187/2100 1/40"),
    orders=(5, 4),
    bump=_row(
        "-12715105075/11282082432 0 87487479700/32700410799 -10690763975/1880347072 "
        "701980252875/199316789632 -1453857185/822651844 69997945/29380423"
    ),
)

BOGACKI_SHAMPINE = Pair(
    a=_rows("", "1/2", "0 3/4", "2/9 1/3 4/9"),
    b=_row("2/9 1/3 4/9 0"),
    lower=_row("7/24 1/4 1/3 1/8"),
    orders=(3, 2),
)

HEUN_EULER = Pair(a=_rows("", "1"), b=_row("1/2 1/2"), lower=_row("1 0"), orders=(2, 1))


class RungeKutta(Stepper):
    """The stepper of a pair; see the module's docstring."""

    def __init__(self, name: str, pair: Pair) -> None:
        self.name, self.order = name, float(pair.orders[1] + 1)
        self.evaluations, self.fsal = len(pair.b), pair.fsal
        self.pair = pair

    def attempt(
        self,
        field: Field,
        z: State,
        t: Any,
        h: Any,
        first: State,
        draws: dict[str, State],
        previous: State,
    ) -> Attempt:
        """One step; the state is scaled by the larger of both ends."""
        pair, rates = self.pair, [first]
        end = z
        for row, c in zip(pair.a[1:], pair.c[1:], strict=True):
            end = axpy(z, *_terms(h, row, rates))
            rates.append(field.drift(end, t + field.direction * float(c) * h))
        if not pair.fsal:
            end = axpy(z, *_terms(h, pair.b, rates))
        gap = tuple(b - low for b, low in zip(pair.b, pair.lower, strict=True))
        error = scaled(*_terms(h, gap, rates))
        stages = (scaled(*_terms(h, pair.bump, rates)),) if self.dense and pair.bump else ()
        return Attempt(end, error, (z, end), last=rates[-1] if pair.fsal else None, stages=stages)


def _terms(h: Any, weights: tuple[Fraction, ...], rates: list[State]) -> list[tuple[Any, State]]:
    """(h w, k) for the weights that are not zero."""
    return [(h * float(w), k) for w, k in zip(weights, rates, strict=False) if w]


def _solver(
    name: str,
    pair: Pair,
    summary: str,
    reference: str,
    tolerances: tuple[float, float],
    aliases: tuple[str, ...] = (),
) -> Solver:
    def make(sde: Any) -> tuple[RungeKutta, Any]:
        return RungeKutta(name, pair), sde

    return Solver(
        name,
        summary,
        make,
        lambda stepper: controllers.pi(stepper.order),
        rtol=tolerances[0],
        atol=tolerances[1],
        reference=reference,
        aliases=aliases,
    )


SOLVERS = (
    _solver(
        "dopri5",
        DORMAND_PRINCE,
        "Dormand and Prince's pair of orders 5 and 4, for any ODE (RK45)",
        "Dormand & Prince 1980, J. Comput. Appl. Math. 6, 19-26",
        (1e-5, 1e-6),
        aliases=("rk45",),
    ),
    _solver(
        "bosh3",
        BOGACKI_SHAMPINE,
        "Bogacki and Shampine's pair of orders 3 and 2, for loose tolerances",
        "Bogacki & Shampine 1989, Appl. Math. Lett. 2, 321-325",
        (1e-3, 1e-4),
        aliases=("rk23",),
    ),
    _solver(
        "heun-euler",
        HEUN_EULER,
        "Heun's method with Euler's inside, orders 2 and 1",
        "Hairer, Norsett & Wanner 1993, section II.4",
        (1e-2, 1e-3),
    ),
)
