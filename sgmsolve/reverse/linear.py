"""The reverse family of a linear forward process: one model, any amount of noise.

The forward SDE is dz = F(t) z dt + G(t) dw, t growing. With ``tau`` growing where t falls
(dtau = -dt), and p_t the law of z(t), every member of the family

    dz = [-F z + (1 + eta^2)/2 G G^T score(z, t)] dtau + eta G dw(tau)

has the same marginals p_t: for eta = 1 it is Anderson's reverse SDE (1982; Song et al. 2021,
arXiv:2011.13456, eq. 6), for eta = 0 the probability-flow ODE (eq. 13), between and beyond them
eta may be any function of time (Zhang & Chen 2022, arXiv:2204.13902, eq. 5; Karras et al. 2022,
arXiv:2206.00364, eq. 6). Coefficients are m x m and act on components. The noise is additive, so
that the equations of Ito and Stratonovich are the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace
from sgmsolve.errors import ModelError
from sgmsolve.model.base import check_prediction, linear_combination, to_kind
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse import _checks
from sgmsolve.reverse._checks import State


def apply_matrix(matrix: Any, z: State) -> State:
    """``matrix z``: (..., rows, columns) on a tuple of arrays, in their dtype."""
    return tuple(
        linear_combination((matrix[..., i, j][()], x) for j, x in enumerate(z))
        for i in range(matrix.shape[-2])
    )


class _Additive:
    """What additive noise settles for all its SDEs."""

    process: AbstractProcess
    calculus = "ito"

    @property
    def m(self) -> int:
        """Number of components of the state."""
        return self.process.m

    def diffusion(self, t: Any) -> Any:
        """Matrix in front of dw, ``t.shape + (m, m)``."""
        raise NotImplementedError

    def diffuse(self, z: State, t: Any, dw: State) -> State:
        """``diffusion(t) dw`` for Brownian increments dw, m arrays like the state."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        return apply_matrix(self.diffusion(t), _checks.check_like(dw, z, "dw"))

    def as_calculus(self, calculus: str) -> Any:
        """Itself: for additive noise both readings of the equation are the same."""
        _checks.check_calculus(calculus)
        return self

    def check_time(self, t: Any) -> None:
        """GridError for a host time outside the process's times [0, t_max]."""
        if isinstance(t, (int, float)):
            self.process.check_time(t)


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardSDE(_Additive):
    """The forward SDE dz = F(t) z dt + G(t) dw of a process; t grows. It needs no model."""

    process: AbstractProcess
    direction = 1
    noise = "additive"

    def drift(self, z: State, t: Any) -> State:
        """``F(t) z``, m arrays (batch, *shape)."""
        return self.split(z, t)[0]

    def split(self, z: State, t: Any) -> tuple[State, State]:
        """(``F z``, zeros)."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        return apply_matrix(self.process.F(t), z), tuple(0.0 * x for x in z)

    def diffusion(self, t: Any) -> Any:
        """``G(t)``, ``t.shape + (m, m)``."""
        self.check_time(t)
        return self.process.G(t)

    def forward(self) -> ForwardSDE:
        """Itself."""
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class ReverseSDE(_Additive):
    """The reverse SDE of a process with a model's score, as drift and diffusion.

        dz = [-F z + (1 + eta^2)/2 G G^T score] dtau + eta G dw,    dtau = -dt.

    Every ``t`` here is forward time; ``drift`` is the rate per unit of tau, so a step from t to
    s < t is ``z + (t - s) drift(z, t) + sqrt(t - s) diffuse(z, t, xi)``. The noise is additive: Ito
    and Stratonovich coincide, and so do their drifts.

    process: the forward process; m components.
    model: predicts any kind; it is converted exactly to the score (``process.conversion``). It must
        give all m components: see ``as_model(..., outputs=...)`` for networks that give fewer.
    eta: a number of at least 0, or a function of forward time (given what ``t`` is: a float or an
        array); 1 is the reverse SDE, 0 the probability-flow ODE. All have the marginals of z(t).

    States are tuples of m arrays (batch, *shape) of numpy, torch or jax; ``t`` is a float, a 0-d
    array or (batch,). Results have the state's library and dtype.

    Raises: ModelError for a model of another process, ProcessError for an eta that is no amount of
    noise; on call, ModelError for another number of components, BackendError for mixed libraries,
    GridError outside [0, t_max] (floats only), ProcessError where there is no score (t = 0).
    Source: Song et al. 2021, eq. 6 and 13; for eta, Zhang & Chen 2022, eq. 5.
    """

    process: AbstractProcess
    model: Any
    eta: float | Callable[[Any], Any] = 1.0
    _score: Any = dataclasses.field(init=False, repr=False)
    direction = -1

    def __post_init__(self) -> None:
        _checks.check_model(self.model, self.process)
        if not callable(self.eta):
            object.__setattr__(self, "eta", _checks.check_number_eta(self.eta))
        object.__setattr__(self, "_score", to_kind(self.model, "score"))

    @property
    def noise(self) -> str:
        """``"none"`` for eta = 0, ``"additive"`` otherwise."""
        return "none" if not callable(self.eta) and self.eta == 0 else "additive"

    def eta_at(self, t: Any) -> Any:
        """The value of eta at forward time t; ProcessError for a function that gives no amount."""
        if not callable(self.eta):
            return self.eta
        value = self.eta(t)
        if isinstance(value, (int, float)):
            return _checks.check_number_eta(value, f" at t = {t}")
        return value

    def drift(self, z: State, t: Any) -> State:
        """Rate of z per unit of tau at forward time t: m arrays (batch, *shape)."""
        F, gain, score = self._parts(z, t)
        return tuple(
            linear_combination(
                [
                    *((-F[..., i, j][()], x) for j, x in enumerate(z)),
                    *((gain[..., i, j][()], s) for j, s in enumerate(score)),
                ]
            )
            for i in range(self.m)
        )

    def split(self, z: State, t: Any) -> tuple[State, State]:
        """(linear part ``-F z``, score part ``(1 + eta^2)/2 G G^T score``); they sum to drift."""
        F, gain, score = self._parts(z, t)
        return apply_matrix(-F, tuple(z)), apply_matrix(gain, score)

    def score(self, z: State, t: Any) -> State:
        """The model's score at forward time t, m arrays in the state's dtype."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        return self._score_at(z, t)

    def diffusion(self, t: Any) -> Any:
        """``eta(t) G(t)``, ``t.shape + (m, m)``."""
        self.check_time(t)
        eta, G = self.eta_at(t), self.process.G(t)
        return (eta[..., None, None] if getattr(eta, "ndim", 0) else eta) * G

    def forward(self) -> ForwardSDE:
        """The forward SDE, dz = F z dt + G dw."""
        return ForwardSDE(self.process)

    def _parts(self, z: State, t: Any) -> tuple[Any, Any, State]:
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        eta, G = self.eta_at(t), self.process.G(t)
        amount = (1 + eta**2) / 2
        amount = amount[..., None, None] if getattr(amount, "ndim", 0) else amount
        return self.process.F(t), amount * (G @ G.mT), self._score_at(z, t)

    def _score_at(self, z: State, t: Any) -> State:
        given = check_prediction(self._score(z, t), z, t=t)
        if len(given) != self.m:
            msg = (
                f"the model returned {len(given)} component(s) of the score, expected {self.m} "
                f"under {self.process!r}; return all, or wrap the network with as_model(..., "
                f"outputs=...)."
            )
            raise ModelError(msg)
        return tuple(array_namespace(z[0]).astype(s, z[0].dtype) for s in given)


@dataclasses.dataclass(frozen=True, eq=False)
class ProbabilityFlow(ReverseSDE):
    """The probability-flow ODE dz/dtau = -F z + 1/2 G G^T score: a ReverseSDE with eta = 0.

    ``drift`` is the rate per unit of tau, dtau = -dt; forwards in time the rate is its negative.
    Raises: as ReverseSDE. Source: Song et al. 2021, eq. 13.
    """

    eta: float = dataclasses.field(init=False, default=0.0)
