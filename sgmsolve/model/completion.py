"""Networks that return one component of a prediction: the other components.

x0 is the only unknown in z(t) = u x0 + L eps given the kernel p(z(t) | x0) = N(u x0, Sigma), so

    prediction = P (z - u x0_hat),   x0_hat = E[x0 | z(t) = z],

for every kind but data, with P = -Sigma^-1 for the score and P = F^-1 for E[eps | z] of the factor
F (P = F^T Sigma^-1 for a factor of the DSM kernel). One component j of it determines x0_hat and
with it every other component i,

    prediction_i = (P_i u / P_j u) prediction_j + sum_k,l u_l (P_ik P_jl - P_il P_jk) z_k / (P_j u).

The minors of P are formed as those of its triangular factors, so nothing cancels for m = 2. For
``data``, prediction = A z + (e_0 - A u) x0_hat with A = C0 Psi^T Sigma^-1, C0 the initial
covariance.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import ModelError, unknown
from sgmsolve.model._entries import apply, column, entries, minor, product, scaled, transposed
from sgmsolve.model.base import Prediction, State, linear_combination
from sgmsolve.process import AbstractPhaseSpace

MISSING = ("posterior", "zero")


@dataclasses.dataclass(frozen=True, eq=False)
class Completion:
    """Turns the component ``given`` of a prediction into all of them; see the module's docstring.

    ``missing``: ``"posterior"`` (exact), or ``"zero"``: the score's other components are set to 0.
    """

    process: AbstractPhaseSpace
    kind: str
    given: int
    missing: str

    def __call__(self, z: State, t: Any, prediction: Any) -> Prediction:
        """All m components, arrays (batch, *shape); t is forward time."""
        weights, ratios = self._kept(t) if isinstance(t, float) else self._make(t)
        return tuple(
            prediction
            if i == self.given
            else linear_combination([(ratios[i], prediction), *zip(weights[i], z, strict=True)])
            for i in range(len(z))
        )

    @functools.cached_property
    def _kept(self) -> Callable[[float], tuple[Any, Any]]:
        return functools.lru_cache(maxsize=4096)(self._make)

    def _make(self, t: Any) -> tuple[Any, Any]:
        """Weights of z (m, m) and of the component given (m,), as lists."""
        if self.missing == "zero":
            return self._zero(t)
        if self.kind == "data":
            return self._data(t)
        m, j = self.process.m, self.given
        factors, u = self._factors(t), column(self.process.loading(t))
        pulled = u
        for factor in reversed(factors):
            pulled = apply(factor, pulled)
        if ops(t).host and pulled[j] == 0:
            msg = (
                f"component {self.process.names[j]!r} of {self.kind} holds nothing of the data at "
                f"t = {float(t):.6g} and does not determine the others there; pass missing='zero'."
            )
            raise ModelError(msg)

        def weight(i: int, k: int) -> Any:
            others = [n for n in range(m) if n != k]
            return sum(u[n] * minor(factors, (i, j), (k, n)) for n in others) / pulled[j]

        weights = [[weight(i, k) if i != j else None for k in range(m)] for i in range(m)]
        return weights, [p / pulled[j] for p in pulled]

    def _factors(self, t: Any) -> list[Any]:
        """P as a product of matrices that are triangular where that is possible."""
        process = self.process
        back = entries(process.inverse_factor("lower", t))
        if self.kind == "score":
            return [scaled(-1, transposed(back)), back]
        _, name, *kernel = self.kind.split(":")
        if kernel:
            return [transposed(entries(process.factor(name, t, *kernel))), transposed(back), back]
        return [entries(process.inverse_factor(name, t))]

    def _data(self, t: Any) -> tuple[Any, Any]:
        xp, process = ops(t), self.process
        back = entries(process.inverse_factor("lower", t))
        initial = [[xp.number(float(v)) for v in row] for row in process.initial_covariance]
        start = product(initial, transposed(entries(process.flow(0 * t, t))))
        A = product(start, product(transposed(back), back))
        return A, [-v for v in apply(A, column(process.loading(t)))]

    def _zero(self, t: Any) -> tuple[Any, Any]:
        """With score_i = 0 for the others, prediction_i = b_ij / b_jj prediction_j."""
        _, b = self.process.conversion("score", self.kind, t)
        j, m = self.given, self.process.m
        ratios = [(b[..., i, j] / b[..., j, j])[()] for i in range(m)]
        return [[0.0] * m for _ in range(m)], ratios


def completion(process: Any, kind: str, outputs: Any, missing: str) -> Completion | None:
    """The completion that ``outputs`` asks for; None where all components are returned.

    Raises: ModelError for unknown names, for more than one but not all, and where what is returned
    does not determine the rest.
    """
    if missing not in MISSING:
        raise ModelError(unknown("value of missing:", str(missing), MISSING))
    names = tuple(process.names)
    if outputs is None:
        return None
    if isinstance(outputs, str) or not all(isinstance(name, str) for name in outputs):
        msg = (
            f"outputs is {outputs!r}, expected names of components; pass outputs=({names[-1]!r},)."
        )
        raise ModelError(msg)
    for name in outputs:
        if name not in names:
            raise ModelError(unknown(f"component of {process!r}:", name, names))
    if tuple(outputs) == names:
        return None
    if len(outputs) != 1 or not isinstance(process, AbstractPhaseSpace):
        msg = (
            f"outputs = {tuple(outputs)} names {len(outputs)} components, expected one, which "
            f"determines the others, or all of {names} in this order; leave outputs out for all."
        )
        raise ModelError(msg)
    given = names.index(outputs[0])
    if kind == "data" and (given or missing == "zero"):
        msg = (
            f"a data prediction with outputs = {tuple(outputs)} and missing = {missing!r} leaves "
            f"the rest undetermined; return {names[0]!r}, with missing='posterior'."
        )
        raise ModelError(msg)
    if missing == "zero":
        _check_unused(process, given)
    return Completion(process, kind, given, missing)


def _check_unused(process: AbstractPhaseSpace, given: int) -> None:
    G = process.G(float(process.t_max))
    used = [n for i, n in enumerate(process.names) if i != given and any(G[i] != 0)]
    if used:
        msg = (
            f"missing = 'zero' sets the score of {', '.join(used)} to zero, but {process!r} drives "
            f"{'it' if len(used) == 1 else 'them'} with noise and samplers use it; pass "
            f"missing='posterior', or return all components."
        )
        raise ModelError(msg)
