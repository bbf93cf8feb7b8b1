"""The reverse family of a linear forward process: one model, any amount of noise.

The forward SDE is dz = F(t) z dt + G(t) dw, t growing. With ``tau`` growing where t falls
(dtau = -dt), and p_t the law of z(t), every member of the family

    dz = [-F z + (1 + eta^2)/2 G G^T score(z, t)] dtau + eta G dw(tau)

has the same marginals p_t: for eta = 1 it is Anderson's reverse SDE (1982; Song et al. 2021,
arXiv:2011.13456, eq. 6), for eta = 0 the probability-flow ODE (eq. 13), between and beyond them
eta may be any function of time (Zhang & Chen 2022, arXiv:2204.13902, eq. 5; Karras et al. 2022,
arXiv:2206.00364, eq. 6). Coefficients are m x m and act on components. The noise is additive, so
that the equations of Ito and Stratonovich are the same. A preconditioner M and a skew S act on the
entries of a sample and enlarge the family, see :mod:`sgmsolve.reverse.entry`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.errors import ModelError, PreconditionError
from sgmsolve.model.base import check_prediction, linear_combination, to_kind
from sgmsolve.precondition.base import Preconditioner
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse import _checks
from sgmsolve.reverse._checks import State
from sgmsolve.reverse.additive import AdditiveSDE, ForwardSDE, apply_matrix, live_rows
from sgmsolve.reverse.entry import Entry, make_entry


@dataclasses.dataclass(frozen=True, eq=False)
class ReverseSDE(AdditiveSDE):
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
    preconditioner: an operator M on samples (:mod:`sgmsolve.precondition`), which acts on every
        component; None or the identity: the plain SDE, bit for bit.
    where: what M does. With A = M M^T, h = 1/2 G G^T score and noise eta G M dw:
        ``"exact-split"``: drift -F z + (1 + eta^2 A + S) h; marginals and prior are the plain ones
        for any M;
        ``"published"``: drift A (-F z + (1 + eta^2) h), as PDS was released, prior M z; biased;
        ``"noise"``: the plain drift (TDAS), prior M z; biased;
        ``"corrector"``: this SDE is the plain one, M belongs to a corrector between its steps;
        ``"forward"``: as published, for a network of the preconditioned forward process
        dz = A F z dt + G M dw, whose exact reversal it is; see ``starting`` for the prior.
        ``sgmsolve.invariance`` says what a place does to the law of the samples.
    skew: an operator S with S^T = -S, constant in z, at exact-split and forward (at corrector it
        is the corrector's): it turns the flow along the level sets of the density.

    States are tuples of m arrays (batch, *shape) of numpy, torch or jax; ``t`` is a float, a 0-d
    array or (batch,). Results have the state's library and dtype.

    Raises: ModelError for a model of another process, ProcessError for an eta that is no amount of
    noise, PreconditionError for operators that are none, do not fit the place or are not skew; on
    call, ModelError for another number of components, BackendError for mixed libraries, GridError
    outside [0, t_max] (floats only), ProcessError where there is no score (t = 0),
    PreconditionError for samples of another shape.
    Source: Song et al. 2021, eq. 6 and 13; for eta, Zhang & Chen 2022, eq. 5; for M and S, Ma et
    al. 2022 (arXiv:2302.06504, released code) and, for the exact split, our derivation.
    """

    process: AbstractProcess
    model: Any
    eta: float | Callable[[Any], Any] = 1.0
    preconditioner: Preconditioner | None = None
    where: str = "exact-split"
    skew: Preconditioner | None = None
    _score: Any = dataclasses.field(init=False, repr=False)
    _entry: Entry | None = dataclasses.field(init=False, repr=False)
    direction = -1

    def __post_init__(self) -> None:
        _checks.check_model(self.model, self.process)
        if not callable(self.eta):
            object.__setattr__(self, "eta", _checks.check_number_eta(self.eta))
        silent = self.noise == "none"
        entry = make_entry(self.preconditioner, self.where, self.skew, silent=silent)
        object.__setattr__(self, "_entry", entry)
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

    @property
    def bends_drift(self) -> bool:
        """Whether operators change the drift from that of the plain SDE."""
        return self._entry is not None and self._entry.bends_drift

    def drift(self, z: State, t: Any) -> State:
        """Rate of z per unit of tau at forward time t: m arrays (batch, *shape)."""
        if self._entry is not None and self._entry.bends_drift:
            linear, half, eta, live = self._halves(z, t)
            return self._entry.drift(linear, half, eta, live)
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
        """(linear part, the score's part), which sum to drift: ``-F z`` and the rest if plain."""
        if self._entry is not None and self._entry.bends_drift:
            linear, half, eta, live = self._halves(z, t)
            return self._entry.linear_part(linear), self._entry.score_part(half, eta, live)
        F, gain, score = self._parts(z, t)
        return apply_matrix(-F, tuple(z)), apply_matrix(gain, score)

    def starting(self, z: State) -> State:
        """A draw z of the process's own starting law at t_max as one of the law to start from.

        M z at ``where`` = "published" and "noise", and at "forward" for processes without drift
        (VE, EDM); z itself otherwise, the forward process of VP and its like forgetting M.
        """
        if self._entry is None:
            return z
        self._entry.check(tuple(z[0].shape[1:]))
        grows = not np.any(self.process.F(0.5 * float(self.process.t_max)))
        return self._entry.starting(tuple(z), grows)

    def score(self, z: State, t: Any) -> State:
        """The model's score at forward time t, m arrays in the state's dtype."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        return self._score_at(z, t)

    def diffusion(self, t: Any) -> Any:
        """``eta(t) G(t)``, ``t.shape + (m, m)``; M comes on top, see ``colour``."""
        self.check_time(t)
        eta, G = self.eta_at(t), self.process.G(t)
        return (eta[..., None, None] if getattr(eta, "ndim", 0) else eta) * G

    def forward(self) -> ForwardSDE:
        """The forward SDE whose law at t the model's score is of; see ``ForwardSDE``."""
        return ForwardSDE(self.process, self.preconditioner if self.where == "forward" else None)

    def _parts(self, z: State, t: Any) -> tuple[Any, Any, State]:
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        eta, G = self.eta_at(t), self.process.G(t)
        amount = (1 + eta**2) / 2
        amount = amount[..., None, None] if getattr(amount, "ndim", 0) else amount
        return self.process.F(t), amount * (G @ G.mT), self._score_at(z, t)

    def _halves(self, z: State, t: Any) -> tuple[State, State, Any, list[bool]]:
        """(-F z, 1/2 G G^T score, eta, which components of the latter are not 0)."""
        z = _checks.check_state(z, self.m, t, repr(self.process))
        self.check_time(t)
        assert self._entry is not None
        self._entry.check(tuple(z[0].shape[1:]))
        G = self.process.G(t)
        half = 0.5 * (G @ G.mT)
        linear = apply_matrix(-self.process.F(t), z)
        return linear, apply_matrix(half, self._score_at(z, t)), self.eta_at(t), live_rows(half)

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
    Operators as there: a skew leaves it exact, a preconditioner has a part at "published" and
    "forward" only. Raises: as ReverseSDE; PreconditionError for a preconditioner that would do
    nothing. Source: Song et al. 2021, eq. 13.
    """

    eta: float = dataclasses.field(init=False, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        M = self.preconditioner
        if M is not None and M.scalar != 1 and self.where in ("exact-split", "noise"):
            msg = (
                f"a preconditioner was given with where = {self.where!r}, which does nothing in a "
                f"probability flow, as M belongs to noise; use a ReverseSDE with eta > 0, or leave "
                f"it out."
            )
            raise PreconditionError(msg)
