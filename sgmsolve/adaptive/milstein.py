"""Milstein's method with error control, for additive, diagonal and commutative noise.

With drift f, diffusion g, increments dw over h and L_k = sum_j g_jk d/dz_j, one step is

    z_s = z + h f + g dw + 1/2 sum_kl (L_k g_l) dw_k dw_l - h c,    c = 1/2 sum_k L_k g_k,

without the last term if the equation is meant as Stratonovich's (Kloeden & Platen 1992, section
10.3). For diagonal noise that is 1/2 g g' (dw^2 - h), for additive noise Euler-Maruyama. The
double sum is 1/2 of the derivative of g(z) dw along g(z) dw: one differentiation, whatever the
number of motions. It holds for noise that commutes, L_k g_l = L_l g_k; other noise needs Levy
areas.

The strong order is 1 and local errors are O(h^(3/2)), as are both estimates of them:

* ``"embedded"``: the trapezoidal rule with z_s as its far end less Milstein's step,

      e = h/2 (f(z_s, s) - f(z, t)) + 1/2 (g(z_s, s) - g(z, t)) dw - 1/2 sum_kl (L_k g_l) dw_k dw_l,

  for one evaluation, f(z_s, s), which the next step starts with. It sees drift and noise each by
  itself. For additive noise it is h/2 f' g dw, what dw says of the leading error f' g int w dt;
* ``"doubling"``: two steps of h/2 along the same path less one of h; goes on from the two. Two
  evaluations, the first of which a rejection keeps; more of them for the same error.

Differences from Euler's step are no estimate here: for state-dependent noise they are O(h), and
steps chosen by them need not converge to the solution (Gaines & Lyons 1997, SIAM J. Appl. Math.
57).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.adaptive._rows import State, axpy, on_device, scaled, to_host
from sgmsolve.adaptive.controllers import cautious
from sgmsolve.adaptive.registry import Solver
from sgmsolve.adaptive.stepper import Attempt, Field, Stepper
from sgmsolve.errors import BackendError, MethodError, unknown
from sgmsolve.reverse.general import along

ERRORS = ("embedded", "doubling")


class Milstein(Stepper):
    """The step and its two estimates; see the module's docstring."""

    name = "milstein"
    order = 1.5
    evaluations = 2

    def __init__(self, error: str = "embedded") -> None:
        if error not in ERRORS:
            raise MethodError(unknown("error of milstein:", str(error), ERRORS))
        self.doubling = error == "doubling"
        self.fsal = not self.doubling
        self.draws = ("increment", "half") if self.doubling else ("increment",)

    def check(self, sde: Any, z: State, t: float) -> None:
        """Refuse noise that does not commute, and derivatives that nobody can make.

        Raises: MethodError: general noise of several motions without ``commutes=True``, or with it
        but whose brackets do not vanish at (z, t); BackendError: on numpy without ``derivative``,
        or with several motions.
        """
        if sde.noise == "additive":
            return
        motions = 1 if sde.noise == "diagonal" else int(sde.diffusion(z, t)[0].shape[-1])
        if not sde.commutes and motions > 1:
            msg = (
                f"milstein needs noise that commutes, but the {type(sde).__name__} has {motions} "
                "motions and does not say so; pass commutes=True if sum_j g_jk d g_il / d z_j is "
                "symmetric in k and l, and use gotta-go-fast if it is not."
            )
            raise MethodError(msg)
        if motions > 1 and kind_of(z[0]) == "numpy":
            msg = (
                f"milstein must differentiate the diffusion along {motions} motions, which numpy "
                "cannot; use arrays of torch or jax."
            )
            raise BackendError(msg)
        sde.correction(z, t)
        if motions > 1:
            _check_brackets(Field(sde), z, t, motions)

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
        dw = draws["increment"]
        end, kick, bend = _step(field, z, t, h, first, dw)
        if self.doubling:
            before = draws["half"]
            after, middle = axpy(dw, (-1.0, before)), t + field.direction * h / 2
            between = _step(field, z, t, h / 2, first, before)[0]
            rate = field.drift(between, middle)
            twice = _step(field, between, middle, h / 2, rate, after)[0]
            return Attempt(twice, axpy(twice, (-1.0, end)), (z, twice))
        s = t + field.direction * h
        last, later = field.drift(end, s), field.diffuse(end, s, dw)
        e = scaled((h / 2, last), (-h / 2, first), (0.5, later), (-0.5, kick), (-1.0, bend))
        return Attempt(end, e, (z, end), last=last)


def _step(
    field: Field, z: State, t: Any, h: Any, rate: State, dw: State
) -> tuple[State, State, State]:
    """(z_s, g dw, half the double sum)."""
    sde, kick = field.sde, field.diffuse(z, t, dw)
    if sde.noise == "additive":
        return axpy(z, (h, rate), (1.0, kick)), kick, tuple(0 * x for x in z)
    single = sde.noise == "diagonal" or dw[0].shape[-1] == 1
    ito = sde.calculus == "ito"
    c: State = sde.correction(z, field.time(t, z)) if single or ito else ()
    if sde.noise == "diagonal":
        bend = tuple(a * w * w for a, w in zip(c, dw, strict=True))
    elif single:
        bend = scaled((dw[0][..., 0] ** 2, c))
    else:
        bend = _bend(field, z, t, kick, dw)
    end = axpy(z, (h, rate), (1.0, kick), (1.0, bend))
    return axpy(end, (-h, c)) if ito else end, kick, bend


def _bend(field: Field, z: State, t: Any, along_kick: State, dw: State) -> State:
    """Half the derivative of g(z) dw along ``along_kick``."""
    moved = along(lambda *y: field.diffuse(y, t, dw), z, along_kick)
    return tuple(0.5 * x for x in moved)


def _check_brackets(field: Field, z: State, t: float, motions: int) -> None:
    """MethodError unless the derivative of g a along g b is that of g b along g a, a and b fixed.

    Their difference is sum_kl a_k b_l (L_l g_k - L_k g_l), with weights sin(k - l) on the pairs.
    """
    angles = 1.0 + np.arange(motions)
    pair = [(_spread(np.cos(angles), z),), (_spread(np.sin(angles), z),)]
    kicks = [field.diffuse(z, t, w) for w in pair]
    one, other = (
        _bend(field, z, t, kick, w) for kick, w in zip(kicks, reversed(pair), strict=True)
    )
    size = gap = 0.0
    for a, b in zip(one, other, strict=True):
        x, y = to_host(a), to_host(b)
        size = max(size, float(np.abs(x).max()), float(np.abs(y).max()))
        gap = max(gap, float(np.abs(x - y).max()))
    if gap > 1e-3 * size:
        msg = (
            f"commutes=True was given, but at t = {t:g} the noise does not commute (brackets of "
            f"its columns are {gap / size:.1e} of their size); use gotta-go-fast, or mend the "
            "diffusion."
        )
        raise MethodError(msg)


def _spread(weights: np.ndarray, z: State) -> Any:
    """(n, k) increments, the same for all samples."""
    xp = array_namespace(z[0])
    rows = np.broadcast_to(weights, (z[0].shape[0], len(weights))).copy()
    return xp.astype(on_device(rows, z[0]), z[0].dtype)


def _make(sde: Any, error: str = "embedded") -> tuple[Milstein, Any]:
    return Milstein(error), sde


SOLVERS = (
    Solver(
        "milstein",
        "Milstein's method, strong order 1, for noise that commutes",
        _make,
        lambda stepper: cautious(stepper.order),
        options=("error",),
        rtol=1e-2,
        atol=1e-3,
        stochastic=True,
        reference="Kloeden & Platen 1992, section 10.3",
    ),
)
