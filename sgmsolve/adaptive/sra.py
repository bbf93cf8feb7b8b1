"""SRA1 and SRA3: stochastic Runge-Kutta methods of strong order 3/2 for additive noise.

With the increment dw and the area I of a step, v = I/h, drift f and diffusion G of the SDE in its
own time (Roessler 2010, "Runge-Kutta methods for the strong approximation of solutions of
stochastic differential equations", SIAM J. Numer. Anal. 48(3)):

    H_i  = z + h sum_j A_ij f(H_j, t + c_j h) + (B_i G(s) + b_i G(t)) v
    high = z + h sum_i alpha_i f(H_i, t + c_i h) + G(s) (dw - v) + G(t) v.

For G that depends on time the last two terms are int G dw to O(h^(5/2)). The weights satisfy

    sum alpha = 1,  alpha c = 1/2,  alpha (B + b) = 1,  alpha (B + b)^2 = 3/2,

and SRA3 also the conditions of deterministic order 3. Inside sits Euler-Maruyama,
low = z + h f(z, t) + G(t) dw, at no cost: e = high - low is the error of that one, O(h^(3/2)).
The step goes on from ``high``, whose own error is O(h^2), or O(h^(5/2)) if the drift is linear; the
strong order then is 2.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from sgmsolve._array import ops
from sgmsolve.adaptive._rows import State, axpy, scaled
from sgmsolve.adaptive.controllers import cautious
from sgmsolve.adaptive.registry import Solver
from sgmsolve.adaptive.stepper import Attempt, Field, Stepper
from sgmsolve.errors import MethodError


@dataclasses.dataclass(frozen=True)
class Tableau:
    """Weights of a method, one entry a stage.

    Attributes:
        A: rows, weights of the drifts of the stages before.
        late, early: of G(s) v and of G(t) v, B and b in the module's docstring.
        alpha: of the drifts in the step.
    """

    A: tuple[tuple[float, ...], ...]
    late: tuple[float, ...]
    early: tuple[float, ...]
    alpha: tuple[float, ...]

    @property
    def c(self) -> tuple[float, ...]:
        """Where the stages stand in the step: the sums of the rows of A."""
        return tuple(sum(row) for row in self.A)


SRA1 = Tableau(A=((), (3 / 4,)), late=(0, 3 / 2), early=(0, 0), alpha=(1 / 3, 2 / 3))
SRA3 = Tableau(
    A=((), (1,), (1 / 4, 1 / 4)),
    late=(0, 0, 1),
    early=(0, 0, 1 / 2),
    alpha=(1 / 6, 1 / 6, 2 / 3),
)


class SRA(Stepper):
    """A tableau with Euler-Maruyama inside."""

    order = 1.5
    draws = ("increment", "area")

    def __init__(self, name: str, tableau: Tableau) -> None:
        self.name, self.tableau = name, tableau
        self.evaluations = len(tableau.alpha)

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
        """See the module's docstring."""
        s, use = t + field.direction * h, self.tableau
        mean = _divided(draws["area"], h)
        rest = axpy(draws["increment"], (-1.0, mean))
        late, early = field.diffuse(z, s, mean), field.diffuse(z, t, mean)
        rates = [first]
        for i in range(1, self.evaluations):
            drifts = [(a * h, k) for a, k in zip(use.A[i], rates, strict=True)]
            at = axpy(z, *drifts, (use.late[i], late), (use.early[i], early))
            rates.append(field.drift(at, t + field.direction * use.c[i] * h))
        # high - low: the drifts against the first, and G(s) - G(t) where low has G(t) throughout.
        changes = [(a * h, k) for a, k in zip(use.alpha[1:], rates[1:], strict=True)]
        start, end = field.diffuse(z, t, rest), field.diffuse(z, s, rest)
        e = scaled(((use.alpha[0] - 1) * h, first), *changes, (1.0, end), (-1.0, start))
        high = axpy(z, (h, first), (1.0, early), (1.0, start), (1.0, e))
        return Attempt(high, e, (z, high))


def _divided(area: State, h: Any) -> State:
    """I/h, the mean of w(u) - w(t) over the step; 0 for samples that stand still, h = 0."""
    xp = ops(h)
    inverse = 1 / xp.where(h > 0, h, 1.0)
    return scaled((inverse, area))


def _maker(name: str, tableau: Tableau) -> Any:
    def make(sde: Any) -> tuple[SRA, Any]:
        if sde.noise != "additive":
            msg = (
                f"{name} is for additive noise, but the {type(sde).__name__} has {sde.noise} noise;"
                " use milstein or gotta-go-fast."
            )
            raise MethodError(msg)
        return SRA(name, tableau), sde

    return make


def _record(name: str, tableau: Tableau, stages: str) -> Solver:
    return Solver(
        name,
        f"strong order 3/2 for additive noise, {stages} stages, Euler-Maruyama inside",
        _maker(name, tableau),
        lambda stepper: cautious(stepper.order),
        rtol=1e-2,
        atol=1e-3,
        stochastic=True,
        reference="Roessler 2010, SIAM J. Numer. Anal. 48(3)",
    )


SOLVERS = (_record("sra1", SRA1, "two"), _record("sra3", SRA3, "three"))
