"""SDEs of the user's own, with noise that may depend on the state, in Ito's or Stratonovich's form.

The two forms of one equation differ in the drift only (Kloeden & Platen 1992, eq. 4.9.11):

    f_stratonovich = f_ito - c,    c_i = 1/2 sum_jk g_jk d g_ik / d z_j,

where k numbers the Brownian motions. For diagonal noise, g_i a function of z_i and t alone, this is
c = 1/2 g g'.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import BackendError, ProcessError, unknown
from sgmsolve.reverse import _checks
from sgmsolve.reverse._checks import State
from sgmsolve.reverse.additive import apply_matrix

NOISES = ("additive", "diagonal", "general")


class GeneralSDE:
    """dz = drift(z, t) dt + diffusion dw, t growing, written by the user.

    drift: ``drift(z, t)`` -> m arrays like the state (one array will do if m = 1).
    diffusion: by ``noise``,
        ``"additive"``: ``diffusion(t)`` -> matrix (m, k) on components: k Brownian motions shaped
        like a component;
        ``"diagonal"``: ``diffusion(z, t)`` -> m arrays like the state; every entry has a Brownian
        motion of its own, and may depend on t and *that same entry* of z only;
        ``"general"``: ``diffusion(z, t)`` -> m arrays (batch, *shape, k), k Brownian motions that
        all entries of a sample share.
    calculus: how the equation is meant, ``"ito"`` or ``"stratonovich"``. ``as_calculus`` gives the
        same process in the other form; torch and jax differentiate the diffusion for it.
    derivative: for numpy, or to spare the differentiation: diagonal, ``derivative(z, t)`` ->
        g' = dg_i/dz_i, m arrays like the state; general, sum_jk g_jk d g_ik / d z_j likewise.
    m: number of components of the state. times: the times at which it is defined.
    linear: ``linear(z, t)`` -> the linear part of the drift, for ``split``; None: zero.
    commutes: whether general noise commutes (sum_j g_jk d_j g_il is symmetric in k and l), which
        methods of Milstein's kind need. Additive and diagonal noise always do.

    States are tuples of m arrays (batch, *shape). Where every sample has a time of its own
    (adaptive solvers), t is an array with the axes to broadcast against them, and (batch,) for an
    additive diffusion, which then returns (batch, m, k) or the same (m, k) for all.

    Raises: ProcessError for an unknown calculus or noise, or something that is no function; on
    call, ModelError for arrays that do not fit, GridError outside the times.
    """

    direction = 1
    broadcasts_time = True

    def __init__(
        self,
        drift: Callable[[State, Any], Any],
        diffusion: Callable[..., Any],
        *,
        noise: str = "diagonal",
        calculus: str = "ito",
        derivative: Callable[[State, Any], Any] | None = None,
        m: int = 1,
        times: tuple[float, float] = (-math.inf, math.inf),
        linear: Callable[[State, Any], Any] | None = None,
        commutes: bool = False,
    ) -> None:
        if noise not in NOISES:
            raise ProcessError(unknown("noise", str(noise), NOISES))
        for name, given in (("drift", drift), ("diffusion", diffusion)):
            if not callable(given):
                msg = (
                    f"{name} is a {type(given).__name__}, expected a function; pass "
                    f"lambda z, t: ..., or lambda t: ... for a diffusion that is additive."
                )
                raise ProcessError(msg)
        self._drift, self._diffusion, self._derivative = drift, diffusion, derivative
        self.calculus, self.noise = _checks.check_calculus(calculus), noise
        self.m, self.times, self._linear = m, times, linear
        self.commutes = commutes or noise != "general"
        self._other: GeneralSDE | None = None

    def drift(self, z: State, t: Any) -> State:
        """The drift, in this object's calculus: m arrays (batch, *shape)."""
        z = self._checked(z, t)
        return _checks.check_like(self._drift(z, t), z, "drift")

    def diffusion(self, *z_and_t: Any) -> Any:
        """``diffusion(t)`` for additive noise, ``diffusion(z, t)`` otherwise; see the class."""
        if self.noise == "additive":
            t = z_and_t[-1]
            self.check_time(t)
            matrix = self._diffusion(t)
            if getattr(matrix, "ndim", 0) < 2 or matrix.shape[-2] != self.m:
                msg = (
                    f"diffusion returned shape {getattr(matrix, 'shape', ())}, expected a matrix "
                    f"({self.m}, k) for additive noise; return an array of that shape."
                )
                raise ProcessError(msg)
            return matrix
        z, t = z_and_t
        z = self._checked(z, t)
        extra = int(self.noise == "general")
        return _checks.check_like(self._diffusion(z, t), z, "diffusion", extra)

    def diffuse(self, z: State, t: Any, dw: Any) -> State:
        """Diffusion times Brownian increments: m arrays (batch, *shape).

        dw: k arrays like the state (additive), m arrays like the state (diagonal), or one array
        (batch, k) (general).
        """
        if self.noise == "additive":
            return apply_matrix(self.diffusion(t), tuple(dw))
        g = self.diffusion(z, t)
        if self.noise == "diagonal":
            return tuple(a * b for a, b in zip(g, dw, strict=True))
        return tuple(contract(a, dw) for a in g)

    def split(self, z: State, t: Any) -> tuple[State, State]:
        """(linear part, the rest of the drift)."""
        z, whole = tuple(z), self.drift(z, t)
        if self._linear is None:
            return tuple(0.0 * x for x in z), whole
        part = _checks.check_like(self._linear(z, t), z, "linear")
        return part, tuple(a - b for a, b in zip(whole, part, strict=True))

    def forward(self) -> GeneralSDE:
        """Itself: it runs forward in time."""
        return self

    def check_time(self, t: Any) -> None:
        """GridError for a host time outside ``times``."""
        _checks.check_range(t, self.times, "this GeneralSDE")

    def correction(self, z: State, t: Any) -> State:
        """Return f_ito - f_stratonovich = 1/2 sum_jk g_jk d g_ik / d z_j, m arrays like the state.

        Raises: BackendError on numpy without ``derivative``.
        """
        z = self._checked(z, t)
        if self.noise == "additive":
            return tuple(0.0 * x for x in z)
        if self._derivative is not None:
            given = _checks.check_like(self._derivative(z, t), z, "derivative")
            if self.noise == "general":
                return tuple(0.5 * d for d in given)
            return tuple(0.5 * g * d for g, d in zip(self.diffusion(z, t), given, strict=True))
        g = self.diffusion(z, t)
        if self.noise == "diagonal":
            return tuple(0.5 * c for c in along(lambda *y: self.diffusion(y, t), z, g))
        total: Any = None
        for k in range(g[0].shape[-1]):

            def column(*y: Any, k: int = k) -> State:
                return tuple(a[..., k] for a in self.diffusion(y, t))

            moved = along(column, z, tuple(a[..., k] for a in g))
            total = moved if total is None else [a + b for a, b in zip(total, moved, strict=True)]
        return tuple(0.5 * c for c in total)

    def as_calculus(self, calculus: str) -> GeneralSDE:
        """The same process with its drift written for the other calculus.

        Raises: ProcessError for an unknown name; on call BackendError as ``correction``.
        """
        if _checks.check_calculus(calculus) == self.calculus:
            return self
        if self._other is not None:
            return self._other  # one object, for which jax compiles once
        sign = -1.0 if calculus == "stratonovich" else 1.0

        def drift(z: State, t: Any) -> State:
            pairs = zip(self.drift(z, t), self.correction(z, t), strict=True)
            return tuple(f + sign * c for f, c in pairs)

        options: dict[str, Any] = {"noise": self.noise, "derivative": self._derivative}
        options |= {"m": self.m, "times": self.times, "linear": self._linear}
        options |= {"calculus": calculus, "commutes": self.commutes}
        self._other = GeneralSDE(drift, self._diffusion, **options)
        return self._other

    def _checked(self, z: State, t: Any) -> State:
        self.check_time(t)
        return _checks.check_state(z, self.m, t, "this GeneralSDE")


def contract(g: Any, dw: Any) -> Any:
    """Sum over k of g (batch, *shape, k) times dw (batch, k)."""
    xp = array_namespace(g)
    middle = (1,) * (g.ndim - dw.ndim)
    return xp.sum(g * xp.reshape(dw, (*dw.shape[:-1], *middle, dw.shape[-1])), axis=-1)


def along(function: Callable[..., State], z: State, tangent: State) -> State:
    """Derivative of ``function`` at z along ``tangent``."""
    kind = kind_of(z[0])
    if kind == "torch":
        import torch

        # Reverse mode twice: torch's forward mode compiles decompositions and warns about it.
        # A graph is kept only where one is wanted, or every step would hold on to the last.
        kept = torch.is_grad_enabled() and any(x.requires_grad for x in (*z, *tangent))
        return tuple(torch.autograd.functional.jvp(function, z, tangent, create_graph=kept)[1])
    if kind == "jax":
        import jax

        return tuple(jax.jvp(function, z, tangent)[1])
    msg = (
        "numpy cannot differentiate the diffusion, which Milstein's method and the other calculus "
        "need; pass derivative=..., or use arrays of torch or jax."
    )
    raise BackendError(msg)
