"""Gotta-Go-Fast: stochastic Improved Euler with Euler-Maruyama inside (arXiv:2105.14080).

One attempt, with the drift f and diffusion g of the SDE in its own time and increments dw:

    K1 = h f(z, t) + g(z, t) dw,        low  = z + K1
    K2 = h f(low, s) + g(low, s) dw,    high = z + (K1 + K2)/2,      e = high - low.

For additive noise this is Algorithm 1. For state-dependent noise the scheme (Roberts 2012,
arXiv:1210.0933, with S = 0) solves the Stratonovich equation; an Ito equation is rewritten first,
or, with ``ito="random-sign"``, stepped as published in Algorithm 2: dw - S sqrt(h) in K1 and
dw + S sqrt(h) in K2, with independent S = +-1 for every motion. That estimate is O(h^(1/2)), so its
steps are short.

The estimate of the additive case is O(h^(3/2)).
"""

from __future__ import annotations

from typing import Any

from sgmsolve._array import ops
from sgmsolve.adaptive._rows import State, axpy, scaled
from sgmsolve.adaptive.controllers import gotta_go_fast
from sgmsolve.adaptive.registry import Solver
from sgmsolve.adaptive.stepper import Attempt, Field, Stepper
from sgmsolve.errors import MethodError, unknown


class GottaGoFast(Stepper):
    """The pair, with the paper's ablations.

    Args:
        extrapolate: go on from ``high`` (the paper's choice) or from ``low``.
        mixed: scale the relative tolerance by max(|low|, |the last step's low|), or by |low|.
        error: ``"full"``, or ``"drift"``: Lamba's, without the noise's part (additive noise only).
        theta, r: of the controller, theta h E^(-r).
        grow: the most by which a step may grow. ``math.inf`` is the published choice, which makes
            no difference to images; in one dimension (EDM, N(0.4, 0.09), rtol 0.01) it leaves
            outliers 16 standard deviations away and a variance 14 % to 31 % too large, at any
            tolerance; with 5 they are gone, for fewer evaluations.
        sign: take Algorithm 2's random signs.
    """

    name = "gotta-go-fast"
    order = 1.5
    evaluations = 2

    def __init__(
        self,
        extrapolate: bool = True,
        mixed: bool = True,
        error: str = "full",
        theta: float = 0.9,
        r: float = 0.9,
        grow: float = 5.0,
        sign: bool = False,
    ) -> None:
        if error not in ("full", "drift"):
            raise MethodError(unknown("error of gotta-go-fast:", str(error), ("full", "drift")))
        for name, given in (("extrapolate", extrapolate), ("mixed", mixed)):
            if not isinstance(given, bool):
                raise MethodError(f"{name} = {given!r}, expected True or False.")
        self.extrapolate, self.mixed, self.drift_only = extrapolate, mixed, error == "drift"
        if not 0 < theta <= 1 or not 0 < r < 10 or not grow > 1:
            msg = (
                f"theta = {theta!r}, r = {r!r}, grow = {grow!r}, expected 0 < theta <= 1, r above "
                "0 and grow above 1; 0.9, 0.9 and 5 are the defaults."
            )
            raise MethodError(msg)
        self.converts = False
        self.controller = gotta_go_fast(theta, r, grow)
        self.draws = ("increment", "sign") if sign else ("increment",)

    def check(self, sde: Any, z: State, t: float) -> None:
        """BackendError where an Ito equation cannot be rewritten: numpy without ``derivative``."""
        if self.converts:
            sde.correction(tuple(x[:1] for x in z), t)

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
        s, dw = t + field.direction * h, draws["increment"]
        if self.drift_only:
            return self._lamba(field, z, t, h, s, first, dw, previous)
        before = after = dw
        if "sign" in draws:
            shift = ops(h).sqrt(h)
            before = axpy(dw, (-shift, draws["sign"]))
            after = axpy(dw, (shift, draws["sign"]))
        kick = field.diffuse(z, t, before)
        low = axpy(z, (h, first), (1.0, kick))
        second, later = field.drift(low, s), field.diffuse(low, s, after)
        e = scaled((h / 2, second), (-h / 2, first), (0.5, later), (-0.5, kick))
        high = axpy(low, (1.0, e))
        return self._choice(low, high, e, low, high, previous)

    def _lamba(
        self,
        field: Field,
        z: State,
        t: Any,
        h: Any,
        s: Any,
        first: State,
        dw: State,
        previous: State,
    ) -> Attempt:
        """Lamba's estimate: the drift's alone, at the noise-free mean."""
        kick, mean = field.diffuse(z, t, dw), axpy(z, (h, first))
        e = scaled((h / 2, field.drift(mean, s)), (-h / 2, first))
        better = axpy(mean, (1.0, e))
        low, high = axpy(mean, (1.0, kick)), axpy(better, (1.0, kick))
        # The published code scales by the noise-free array it goes on from.
        return self._choice(low, high, e, better, mean, previous)

    def _choice(
        self, low: State, high: State, e: State, size_high: State, size_low: State, previous: State
    ) -> Attempt:
        """Go on from high and scale by its partner, or the other way round."""
        z, size = (high, size_high) if self.extrapolate else (low, size_low)
        sizes = (size, previous) if self.mixed else (size,)
        return Attempt(z, e, sizes, previous=size)


def _make(
    sde: Any,
    extrapolate: bool = True,
    mixed: bool = True,
    error: str = "full",
    theta: float = 0.9,
    r: float = 0.9,
    grow: float = 5.0,
    ito: str = "correction",
) -> tuple[GottaGoFast, Any]:
    if ito not in ("correction", "random-sign"):
        raise MethodError(unknown("ito:", str(ito), ("correction", "random-sign")))
    settings = (extrapolate, mixed, error, theta, r, grow)
    stepper = GottaGoFast(*settings)
    if sde.noise == "additive":
        return stepper, sde
    if stepper.drift_only:
        msg = (
            f"error = 'drift' (Lamba's adaptive Euler) is for additive noise, but the SDE has "
            f"{sde.noise} noise, whose own part of the error it cannot see; use error='full' or "
            "the solver milstein."
        )
        raise MethodError(msg)
    if ito == "random-sign" and sde.calculus == "ito":
        return GottaGoFast(*settings, sign=True), sde
    stepper.converts = sde.calculus == "ito"
    return stepper, sde.as_calculus("stratonovich")


SOLVERS = (
    Solver(
        "gotta-go-fast",
        "stochastic Improved Euler with Euler-Maruyama inside, for SDEs",
        _make,
        lambda stepper: stepper.controller,
        options=("extrapolate", "mixed", "error", "ito", "theta", "r", "grow"),
        rtol=0.05,
        atol=0.0078,
        mixing="max",
        stochastic=True,
        reference="Jolicoeur-Martineau et al. 2021, arXiv:2105.14080",
    ),
)
