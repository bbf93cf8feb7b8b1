"""The probability flow with the integral of its divergence, as an ODE for adaptive solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.likelihood.divergence import check_derivative, linearise, trace
from sgmsolve.likelihood.probes import Probes
from sgmsolve.model.base import scalar_for
from sgmsolve.reverse import ProbabilityFlow
from sgmsolve.reverse.additive import apply_matrix

State = tuple[Any, ...]


def flatten(z: State) -> Any:
    """Arrays (n, *shape), m of them, as one array (n, N)."""
    xp = array_namespace(z[0])
    return xp.concat([xp.reshape(x, (x.shape[0], -1)) for x in z], axis=1)


def unflatten(y: Any, like: State) -> State:
    """The inverse of ``flatten``; shapes are those of ``like``."""
    xp, size = array_namespace(y), y.shape[1] // len(like)
    parts = [y[:, i * size : (i + 1) * size] for i in range(len(like))]
    return tuple(xp.reshape(p, x.shape) for p, x in zip(parts, like, strict=True))


class DensityField:
    """d(z, V)/dt = (f, div f) with f = F z - 1/2 G G^T score, forwards in time.

    States are (m arrays (n, *shape), V (n, K)), K values of V for K probes. With random probes one
    more array (n, 2) holds the samples' numbers: solvers drop finished samples from the batch, and
    the probes of a sample must stay its own. Its rate is 0.

    probes: None if the divergence is exact. doubtful: times at which torch's derivative of the
    model is held against differences, before the first evaluation.
    Raises: on call, ModelError if that finds that the model's derivative is cut off.
    """

    direction = 1
    noise = "none"
    calculus = "ito"

    def __init__(
        self,
        flow: ProbabilityFlow,
        estimator: str,
        derivative: str,
        probes: Probes | None,
        doubtful: tuple[float, ...] = (),
    ) -> None:
        self.doubtful = list(doubtful)
        self.flow, self.process = flow, flow.process
        self.estimator, self.derivative, self.probes = estimator, derivative, probes
        self.m = flow.m + (1 if probes is None else 2)

    def check_time(self, t: Any) -> None:
        """GridError for a host time outside the process's times."""
        self.flow.check_time(t)

    def drift(self, state: State, t: Any) -> State:
        """Rates per unit of forward time, arrays like the state."""
        m = self.flow.m
        z, rest = tuple(state[:m]), state[m:]
        y = flatten(z)
        while self.doubtful:
            time, few = self.doubtful.pop(), tuple(x[:8] for x in z)
            check_derivative(self._attraction(few, time), y[:8], m, self._reach(time, y))
        reach = self._reach(t, y) if self.derivative == "differences" else 0.0
        value, product = linearise(self._attraction(z, t), y, self.derivative, reach)
        F = self.process.F(t)
        linear = apply_matrix(F, z)
        moved = tuple(a + b for a, b in zip(linear, unflatten(value, z), strict=True))
        probes = None if self.probes is None else self.probes(rest[1], y.shape[1], y.dtype)
        found = trace(self.estimator, product, probes, y)
        size = y.shape[1] // m
        spread = sum(F[..., i, i] for i in range(m)) * size
        rates = (*moved, found + scalar_for(spread, found))
        return (*rates, 0 * rest[1]) if len(rest) > 1 else rates

    def _attraction(self, z: State, t: Any) -> Callable[[Any], Any]:
        """-1/2 G G^T score as a function of the flat state (n, N); z gives the shapes."""
        G = self.process.G(t)
        pull = -0.5 * (G @ G.mT)
        return lambda y: flatten(apply_matrix(pull, self.flow.score(unflatten(y, z), t)))

    def _reach(self, t: Any, y: Any) -> Any:
        """Smallest standard deviation of the noise, the score's own scale; a number or (n,)."""
        covariance = self.process.covariance(t)
        each = [covariance[..., i, i] for i in range(self.flow.m)]
        if isinstance(t, (int, float)):
            return float(np.sqrt(min(each)))
        xp = array_namespace(y)
        least = each[0]
        for other in each[1:]:
            least = xp.minimum(least, other)
        return xp.astype(xp.sqrt(least), y.dtype)


KEPT = 4
"""So many fields are kept for later calls."""

_fields: dict[Any, DensityField] = {}


def kept_field(
    flow: ProbabilityFlow, estimator: str, derivative: str, probes: Probes | None
) -> DensityField:
    """The field of an earlier call with the same objects and settings, or a new one.

    For jax, whose compiled programs are kept with the field. A kept field holds its process and
    model, so that their ids cannot come back as something else's.
    """
    drawn = None if probes is None else (probes.count, probes.distribution, probes.seed)
    key = (id(flow.process), id(flow.model), estimator, derivative, drawn)
    found = _fields.pop(key, None) or DensityField(flow, estimator, derivative, probes)
    _fields[key] = found
    while len(_fields) > KEPT:
        _fields.pop(next(iter(_fields)))
    return found
