"""Splitting integrators in phase space, written in the language of ``_letters``.

Reverse time tau = -t, w = 1 for the probability flow and 2 for the reverse SDE (schemes with O):

    A, B:  dz = [-F z - (w - 1) diag(F) z + w/2 G G^T score] dtau, rows of A (position) or B (rest)
    O:     dz = diag(F) z dtau + G dw
    L:     dz = A_eta z dtau + eta G dw,   A_eta = -F - (1 + eta^2)/2 G G^T S^-1,  S the prior's law
    S:     dz = (1 + eta^2)/2 G G^T (score + S^-1 z) dtau

A and B are Euler steps in the published schemes. With ``flow`` they are conjugate integrators
(``conjugate``) of their own linear part: "exact" (B = 0, score frozen), "zero", "row" and "full"
(the noise prediction frozen; B = 0, lam on the letter's own rows, lam everywhere).

Pandey, Rudolph & Mandt, arXiv:2310.07894, section 3.3, and arXiv:2402.07211; L and S: Dockhorn et
al., arXiv:2112.07068, and Pandey & Mandt, arXiv:2303.01748, appendix (SSCS).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import MethodError
from sgmsolve.methods._exponential import Linear, coefficients
from sgmsolve.methods._letters import Letter, parse
from sgmsolve.methods._matrix_function import check_size, kind_of_prediction
from sgmsolve.methods.multistep import choose
from sgmsolve.methods.sde_multistep import check_stochasticity
from sgmsolve.methods.stability import warn_if_unstable
from sgmsolve.phi import cholesky
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.affine import Affine
from sgmsolve.plan.builder import gram

FLOWS = ("euler", "exact", "zero", "row", "full")
FORMS = ("scaled", "published")


def splitting(
    process: Any,
    grid: Sequence[Any],
    *,
    scheme: str = "O s B A",
    eta: float = 1.0,
    flow: str = "euler",
    lam: float = 0.5,
    factor: str = "lower",
    lambda_s: float | None = None,
    lambda_s_form: str = "scaled",
    denoise: bool = False,
) -> Plan:
    """A splitting scheme; see the module's docstring.

    ``eta`` is for L and S. ``lambda_s`` scales the position's noise in O: its variance is
    v (1 - exp(-lambda_s h beta gamma)) with the form "scaled" (1 is the SDE's own, as is None) and
    v (1 - exp(-lambda_s t beta gamma)), t the mean time of the sub-step, with "published", which
    tapers to 0 at the data but does not scale with h: it has to be tuned for each number of steps.

    Raises: MethodError for a scheme that cannot be read or misses parts, and other values of
    options. Warns: StabilityWarning for steps that amplify near the prior.
    """
    letters = parse(scheme)
    check_stochasticity("eta", eta)
    check_size(lam)
    choose("flow", flow, FLOWS)
    choose("lambda_s_form", lambda_s_form, FORMS)
    if lambda_s is not None and not 0 <= lambda_s < float("inf"):
        msg = (
            f"lambda_s = {lambda_s} was given, but a finite number >= 0 is needed (0 leaves the "
            f"position without noise)."
        )
        raise MethodError(msg)
    frozen = "score" if flow in ("euler", "exact") else "noise"
    if frozen == "noise" and any(x.name in ("L", "S", "S1", "S2") for x in letters):
        msg = f"flow = {flow!r} is for the letters A and B, but the scheme is {scheme!r}."
        raise MethodError(msg)
    predicts = kind_of_prediction(process, frozen, factor)

    def build(times: Sequence[Any], denoise: bool = False) -> Plan:
        b = PlanBuilder(process, times, predicts=predicts, denoise=denoise, name=scheme)
        b.keeps_nodes = True  # a scheme that begins with noise never evaluates at a grid point
        run = Run(b, letters, eta, flow, lam, lambda_s, lambda_s_form)
        for t, s in b.steps():
            b.advance(run.step(t, s))
        return b.plan()

    plan = build(grid, denoise)
    warn_if_unstable(process, build, grid, scheme)
    return plan


def evaluations(scheme: str) -> int:
    """Network evaluations a step."""
    return sum(letter.evaluations for letter in parse(scheme))


class Run:
    """Builds one step after another; holds what a letter needs from those before."""

    def __init__(
        self,
        b: PlanBuilder,
        letters: Sequence[Letter],
        eta: float,
        flow: str,
        lam: float,
        lambda_s: float | None,
        lambda_s_form: str,
    ) -> None:
        self.b, self.process, self.letters = b, b.process, letters
        self.eta, self.lambda_s, self.form = eta, lambda_s, lambda_s_form
        self.weight = 2 if any(x.name == "O" for x in letters) else 1
        self.count = 0
        self.prediction = Affine({})
        self.time: Any = None
        self.inverse: Any = None
        self.lagged: Affine | None = None
        kinds = ["exact" if x.exact and flow == "euler" else flow for x in letters]
        self.flows = {
            i: Flow(self, letter, kind, lam)
            for i, (letter, kind) in enumerate(zip(letters, kinds, strict=True))
            if letter.name in ("A", "B") and kind != "euler"
        }

    def step(self, t: Any, s: Any) -> Affine:
        """The state after one step from t to s."""
        z, h = self.b.z, t - s
        for i, letter in enumerate(self.letters):
            high, low = ends(letter, t, s)
            if letter.name == "s":
                self.time = s if letter.part == 1 else t - _times(letter.part, h)
                self.prediction = self.b.predict(z, self.time)
                z = self.b.point()  # one symbol: a plan then holds one register, not its parts
            elif i in self.flows:
                z = self.flows[i].step(z, self.count, self.prediction)
            else:
                z = getattr(self, "_" + letter.name)(z, low, high)
        self.count += 1
        return z

    def _A(self, z: Affine, low: Any, high: Any) -> Affine:
        return self._euler(z, high - low, "A")

    def _B(self, z: Affine, low: Any, high: Any) -> Affine:
        return self._euler(z, high - low, "B")

    def _euler(self, z: Affine, h: Any, name: str) -> Affine:
        F, push = self.rows(name, self.time)
        return z - (h * F) @ z + (h * push) @ self.prediction

    def rows(self, name: str, r: Any) -> tuple[Any, Any]:
        """F with its diagonal times w, and w/2 G G^T, in the rows of one letter."""
        F = self.process.F(r)
        own = np.arange(F.shape[-1]) == 0
        rows = (own if name == "A" else ~own)[:, None]
        G = self.process.G(r)
        diagonal = F * np.eye(F.shape[-1], dtype=int)
        push = (G @ np.swapaxes(G, -1, -2)) * self.weight / 2
        return (F + (self.weight - 1) * diagonal) * rows, push * rows

    def _O(self, z: Affine, low: Any, high: Any) -> Affine:
        decay, variance = self.process.relaxation(low, high)
        if self.lambda_s is not None:
            variance = variance.copy()
            variance[0] = self._scaled(self.lambda_s, decay[0], variance[0], low, high)
        root = np.diag(variance ** (0 * variance + 0.5))
        return np.diag(decay) @ z + root @ self.b.xi(low, high, "relaxation")

    def _scaled(self, scale: float, decay: Any, variance: Any, low: Any, high: Any) -> Any:
        """Variance of the position's noise with lambda_s; 0 stays 0 (CLD)."""
        if not variance:
            return variance
        xp = ops(variance)
        stationary = variance / (1 - decay * decay)
        length = -2 * scale * xp.log(decay)
        if self.form == "published":
            mean = (low + high) / 2
            length = -2 * scale * mean * self.process.F(mean)[0, 0]
        return -stationary * xp.expm1(-length)

    def _L(self, z: Affine, low: Any, high: Any) -> Affine:
        psi, covariance = self.process.reversed_linear(low, high, self.eta)
        if not self.eta:
            return psi @ z
        return psi @ z + cholesky(covariance) @ self.b.xi(low, high, "kernel")

    def _kick(self, z: Affine, r: Any) -> Affine:
        """Right-hand side of S with the last prediction."""
        G = self.process.G(r)
        if self.inverse is None:
            self.inverse = self.process.prior_inverse(G)
        return ((1 + self.eta**2) / 2 * gram(G)) @ (self.prediction + self.inverse @ z)

    def _S(self, z: Affine, low: Any, high: Any) -> Affine:
        return z + (high - low) * self._kick(z, self.time)

    def _S2(self, z: Affine, low: Any, high: Any) -> Affine:
        middle, h = (low + high) / 2, high - low
        self.prediction = self.b.predict(z, middle)
        z = self.b.point()
        return self._midpoint(z, z + h / 2 * self._kick(z, middle), middle, h)

    def _S1(self, z: Affine, low: Any, high: Any) -> Affine:
        if self.lagged is None:
            return self._S2(z, low, high)
        middle, h = (low + high) / 2, high - low
        return self._midpoint(z, z + h / 2 * self.lagged, middle, h)

    def _midpoint(self, z: Affine, inner: Affine, middle: Any, h: Any) -> Affine:
        self.prediction = self.b.predict(inner, middle)
        self.time = middle
        self.lagged = self._kick(self.b.point(), middle)
        return z + h * self.lagged


class Flow:
    """The conjugate integrator of one letter (A or B), for all steps of a run."""

    def __init__(self, run: Run, letter: Letter, kind: str, lam: float) -> None:
        process, predicts = run.process, "score" if kind == "exact" else run.b.predicts
        rows = np.ones((process.m, process.m))
        if kind == "row":
            own = np.arange(process.m) == 0
            rows = rows * (own if letter.name == "A" else ~own)[:, None]
        self.B = lam * rows if kind in ("row", "full") else None
        linear = Linear(
            lambda r: run.rows(letter.name, r)[0],
            lambda r: run.rows(letter.name, r)[1],
            lambda r: process.conversion(predicts, "score", r),
            None if self.B is None else lambda r: self.B,
        )
        times = run.b.times
        pairs = itertools.pairwise(times)
        found = [ends(letter, t, s) for t, s in pairs if s > 0 or not process.has_no_noise(s)]
        self.highs, self.lows = [pair[0] for pair in found], [pair[1] for pair in found]
        self.found = coefficients(linear, self.highs, self.lows)

    def step(self, z: Affine, n: int, prediction: Affine) -> Affine:
        """P (I - h B) z + E e for step n."""
        if self.B is not None:
            z = z - ((self.highs[n] - self.lows[n]) * self.B) @ z
        (E,) = self.found.kick(n, self.highs[n : n + 1])
        return self.found.P[n] @ z + E @ prediction


def ends(letter: Letter, t: Any, s: Any) -> tuple[Any, Any]:
    """Forward times at which a letter's part of the step from t to s begins and ends."""
    high = t - _times(letter.before, t - s)
    whole = letter.before + letter.part == 1
    return high, s if whole else high - _times(letter.part, t - s)


def _times(part: Any, h: Any) -> Any:
    """A fraction of h in the number type of h."""
    return h * part.numerator / part.denominator
