"""Matrix scalings around a network of m components: EDM's counterparts and mixed scores.

A network is used as ``prediction = C_skip z + C_out net(C_in z, label)``, with matrices acting on
the component index.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from sgmsolve._array import ops
from sgmsolve.errors import ModelError, unknown
from sgmsolve.model._entries import (
    Entries,
    apply,
    column,
    entries,
    grown_factor,
    inverse_lower,
    product,
    scaled,
    transposed,
)
from sgmsolve.model.scalings import positive
from sgmsolve.process import AbstractPhaseSpace


class MatrixScalings:
    """What :func:`as_model` needs of scalings for m components; subclass it for your own.

    ``arrays`` is the number q of arrays the network returns, ``predicts`` the kind that is made and
    ``outputs`` the components of it that are made (None: all m). ``matrices(t)`` returns
    ``C_skip`` (rows, m), ``C_out`` (rows, q) and ``C_in`` (m, m), rows being the components made.
    """

    predicts: str
    arrays: int
    outputs: tuple[str, ...] | None = None

    def matrices(self, t: Any) -> tuple[Any, Any, Any]:
        """(C_skip, C_out, C_in) at forward time t, shapes t.shape + (...)."""
        raise NotImplementedError

    def c_skip(self, t: Any) -> Any:
        """C_skip."""
        return self.matrices(t)[0]

    def c_out(self, t: Any) -> Any:
        """C_out."""
        return self.matrices(t)[1]

    def c_in(self, t: Any) -> Any:
        """C_in."""
        return self.matrices(t)[2]


@dataclasses.dataclass(frozen=True, eq=False)
class AugmentedScalings(MatrixScalings):
    """EDM's scalings for m components; made by :func:`augmented_scalings`."""

    process: AbstractPhaseSpace
    sigma_data: float
    predicts: str = "score"
    arrays: int = dataclasses.field(default=1, init=False)

    def matrices(self, t: Any) -> tuple[Any, Any, Any]:
        """(C_skip, C_out, C_in), shapes (..., m, m), (..., m, 1) and (..., m, m)."""
        return self._kept(t) if isinstance(t, float) else self._make(t)

    @functools.cached_property
    def _kept(self) -> Callable[[float], tuple[Any, Any, Any]]:
        return functools.lru_cache(maxsize=4096)(self._make)

    def c_noise(self, t: Any) -> Any:
        """log(rho) / 4 with rho = 1 / sqrt(u^T Sigma^-1 u), a label like EDM's.

        rho is the standard deviation of the best unbiased linear estimate of x0 from z(t), for one
        component sigma / alpha.
        """
        _, _, precision = self._fisher(t)
        return -ops(t).log(precision) / 8

    def _fisher(self, t: Any) -> tuple[Entries, list[Any], Any]:
        """L^-1 (lower, HSM), g = Sigma^-1 u and u^T g."""
        back = entries(self.process.inverse_factor("lower", t))
        w = apply(back, column(self.process.loading(t)))
        return back, apply(transposed(back), w), sum(v * v for v in w)

    def _make(self, t: Any) -> tuple[Any, Any, Any]:
        xp = ops(t)
        variance = xp.number(self.sigma_data) ** 2
        _, g, precision = self._fisher(t)
        shrink = 1 / (1 + variance * precision)
        c_out = xp.sqrt(variance * shrink)
        lower = entries(self.process.factor("lower", t))
        spread = [xp.number(self.sigma_data) * v for v in column(self.process.loading(t))]
        grown = grown_factor(lower, spread, xp)
        c_in = inverse_lower(grown)
        precise = product(transposed(c_in), c_in)
        if self.predicts == "score":
            skip, out = scaled(-1, precise), [c_out * v for v in g]
        elif self.predicts == "data":
            turned = transposed(entries(self.process.flow(0 * t, t)))
            start = product(self._initial(xp), turned)
            pull = apply(start, g)
            # The data's row is variance Sigma_hat^-1 u, by Sherman and Morrison without a sum.
            skip = [[variance * shrink * v for v in g], *product(start, precise)[1:]]
            out = [c_out, *(-c_out * v for v in pull[1:])]
        else:
            _, name, *kernel = self.predicts.split(":")
            factor = transposed(entries(self.process.factor(name, t, *(kernel or ["hsm"]))))
            skip = product(factor, precise)
            out = [-c_out * v for v in apply(factor, g)]
        return xp.matrix(skip), xp.matrix([[v] for v in out]), xp.matrix(c_in)

    def _initial(self, xp: Any) -> Entries:
        return [[xp.number(float(v)) for v in row] for row in self.process.initial_covariance]


def augmented_scalings(
    process: AbstractPhaseSpace, sigma_data: float = 0.5, *, predicts: str = "score"
) -> AugmentedScalings:
    """EDM's scalings for m components: one network output makes the whole prediction.

    With u = loading(t), Sigma = covariance(t) (HSM) and Sigma_hat = Sigma + sigma_data^2 u u^T, the
    covariance of z(t) for data of standard deviation ``sigma_data``:

        C_in = inverse Cholesky factor of Sigma_hat,   F = net(C_in z)          (one array),
        x0_hat = sigma_data^2 u^T Sigma_hat^-1 z + c_out F,
        c_out^2 = sigma_data^2 / (1 + sigma_data^2 u^T Sigma^-1 u),
        score = -Sigma^-1 (z - u x0_hat) = -Sigma_hat^-1 z + c_out Sigma^-1 u F.

    The network's inputs are uncorrelated with variance 1 and so is its target; the posterior mean
    of x0 determines the score, whose C_out (m, 1) therefore has rank one. ``predicts`` is the kind
    made: ``score``, ``data`` or any ``noise:...`` of the process, all from the same network.
    ``c_noise`` is a label of EDM's kind: ``as_model(net, process, predicts="score", scalings=s,
    label=s.c_noise)``. For one component these are the scalings of :func:`edm_scalings`.

    Nothing cancels as t goes to 0; at t = 0 itself there is no score (ProcessError, float t).
    Derived from Karras et al. 2022 (arXiv:2206.00364, appendix B.6); Pandey et al. 2024
    (arXiv:2310.07894) precondition PSLD in a form that we could not compare.

    Raises: ModelError unless sigma_data > 0 and the process has auxiliary components; ProcessError
    for a kind that it does not have.
    """
    _check_phase("augmented_scalings", process, "use edm_scalings for one component")
    process.check_kind(predicts)
    return AugmentedScalings(process, positive(sigma_data), predicts)


READINGS = ("psld", "cld")


@dataclasses.dataclass(frozen=True, eq=False)
class MixedScore(MatrixScalings):
    """The score of a standard normal taken out of the network; made by :func:`mixed_score`."""

    process: AbstractPhaseSpace
    reading: str
    predicts: str = dataclasses.field(default="score", init=False)

    @property
    def arrays(self) -> int:  # type: ignore[override]
        """Arrays of the network: 2 for PSLD's reading, 1 for CLD's."""
        return 2 if self.reading == "psld" else 1

    @property
    def outputs(self) -> tuple[str, ...] | None:  # type: ignore[override]
        """Components made: all for PSLD's reading, the momentum for CLD's."""
        return None if self.reading == "psld" else self.process.names[1:]

    def matrices(self, t: Any) -> tuple[Any, Any, Any]:
        """(C_skip, C_out, C_in): (2, 2) each, or (1, 2), (1, 1), (2, 2) for CLD's reading."""
        xp = ops(t)
        back = entries(self.process.inverse_factor("lower", t))
        off = 0 * back[0][0]
        unit = [[off + 1, off], [off, off + 1]]
        pull = -1 / self.process.covariance(t)[..., 1, 1]
        if self.reading == "cld":
            skip, out = [[off, pull]], [[-back[1][1]]]
        else:
            skip, out = [[pull, off], [off, pull]], scaled(-1, transposed(back))
        return xp.matrix(skip), xp.matrix(out), xp.matrix(unit)


def mixed_score(process: AbstractPhaseSpace, reading: str | None = None) -> MixedScore:
    """Mixed score: the network predicts what a simple Gaussian score leaves over.

    There are two readings, of z = (x, v) with L the lower factor of the HSM covariance Sigma:

    * ``"psld"``, in early commits of the code of PSLD: ``score = -L^-T net - z / Sigma_vv``, the
      network returning two arrays. Both components are divided by Sigma_vv, so in the limit of the
      stationary law diag(1, M) the position's share is -x/M where the score is -x.
    * ``"cld"``, Dockhorn et al. 2022 (arXiv:2112.07068, section 3.3): ``score_v = -v / Sigma_vv -
      sqrt(Sigma_xx / det Sigma) net``, the network returning one array. The position's component
      is completed as :func:`as_model` says.

    None takes ``"cld"`` where only the momentum is driven by noise (gamma = 0), else ``"psld"``.
    Use: ``as_model(net, process, predicts="score", scalings=mixed_score(process))``.

    Raises: ModelError for an unknown reading, or a process without exactly two components.
    """
    _check_phase("mixed_score", process, "pass sgmsolve.PSLD() or sgmsolve.CLD()")
    if process.m != 2:
        msg = (
            f"mixed_score was given a process with {process.m} components, expected two; use "
            f"augmented_scalings, which know any number."
        )
        raise ModelError(msg)
    if reading is None:
        reading = "psld" if process.G(float(process.t_max))[0].any() else "cld"
    if reading not in READINGS:
        raise ModelError(unknown("reading of the mixed score", str(reading), READINGS))
    return MixedScore(process, reading)


def _check_phase(what: str, process: Any, advice: str) -> None:
    if not isinstance(process, AbstractPhaseSpace):
        msg = (
            f"{what} was given {process!r}, expected a process with auxiliary components; {advice}."
        )
        raise ModelError(msg)
