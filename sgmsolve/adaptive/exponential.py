"""Exponential pairs for probability flows of one component, stepped in half log-SNR.

In lambda = log(alpha/sigma), which grows towards the data, the flow of x = alpha x0 + sigma eps is

    d(x/A) = (B/A) N dlambda,    (A, B, N) = (alpha, sigma, -eps) or (sigma, alpha, x0)

with the model's noise or data prediction in N alone, so that the rest is integrated exactly. With
h = lambda_s - lambda_t, z = h (noise) or -h (data), phi_k of z, and states at lambda_t + r h:

    first(r) = A_r/A_t x + B_r r h phi_1(r z) N_0.

* ``dpm-solver-12``: low = first(1); N_1 at first(1/2), high = A_s/A_t x + B_s h phi_1 N_1;
* ``dpm-solver-23``: N_1 at first(1/3), low = first(1) + 3/2 B_s h phi_1 (N_1 - N_0); N_2 at
  first(2/3) + 4/3 B_r h phi_2(2z/3) (N_1 - N_0), high = first(1) + 3/2 B_s h phi_2 (N_2 - N_0);
* ``exp-heun-euler``: low = first(1), N_1 there, high = low + B_s h phi_2 (N_1 - N_0).

Lu et al. 2022, arXiv:2206.00927, Appendix C (for data prediction with the formulas of
arXiv:2211.01095); Hochbruck & Ostermann, Acta Numerica 19 (2010), section 2.3.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from sgmsolve import phi as host
from sgmsolve._array import array_namespace, ops
from sgmsolve.adaptive import controllers
from sgmsolve.adaptive._rows import State, axpy, scaled
from sgmsolve.adaptive.controllers import Controller
from sgmsolve.adaptive.registry import Solver
from sgmsolve.adaptive.stepper import Attempt, Field, Stepper
from sgmsolve.errors import GridError, MethodError, unknown
from sgmsolve.model.base import check_prediction, to_kind
from sgmsolve.process.base import ScalarProcess
from sgmsolve.reverse import ReverseSDE

PREDICTIONS = ("noise", "data")


@dataclasses.dataclass(frozen=True)
class LogSNRFlow:
    """A probability flow whose own time is half log-SNR: its times run up, forward time down.

    flow: ProbabilityFlow of a process with scalar alpha and sigma; prediction: "noise" or "data".
    """

    flow: ReverseSDE
    prediction: str
    direction = 1
    noise = "none"
    m = 1
    calculus = "ito"

    @property
    def process(self) -> ScalarProcess:
        """The forward process."""
        return cast(ScalarProcess, self.flow.process)

    def clock(self, t: np.ndarray) -> np.ndarray:
        """Half log-SNR at forward times; GridError where it is infinite."""
        process = self.process
        lam = np.array([float(process.lam(float(s))) for s in t])
        if not np.isfinite(lam).all():
            bad = float(t[~np.isfinite(lam)][0])
            msg = (
                f"the log-SNR of {process!r} is not finite at t = {bad:g}, where steps in it can "
                "neither start nor end; stay away from it, or use dopri5, which steps in t."
            )
            raise GridError(msg)
        return lam

    def time(self, lam: Any) -> Any:
        """Forward time at half log-SNR ``lam``, rounded into the process's range."""
        t, last = self.process.time_of_lam(lam), float(self.process.t_max)
        return max(0.0, min(t, last)) if isinstance(t, float) else ops(t).clip(t, 0.0, last)

    def scales(self, lam: Any) -> tuple[Any, Any]:
        """(A, B) of the module's text."""
        t = self.time(lam)
        found = self.process.alpha(t), self.process.sigma(t)
        return found if self.prediction == "noise" else found[::-1]

    @property
    def sign(self) -> int:
        """Of z = sign h."""
        return 1 if self.prediction == "noise" else -1

    @functools.cached_property
    def model(self) -> Any:
        """The model that predicts what is wanted."""
        return to_kind(self.flow.model, self.prediction)

    def nonlinear(self, z: State, lam: Any) -> State:
        """N: minus the noise prediction, or the data prediction; one evaluation."""
        t = self.time(lam)
        (given,) = check_prediction(self.model(z, t), z, t=t)
        given = array_namespace(given).astype(given, z[0].dtype)
        return (given if self.sign < 0 else -given,)


def phi(k: int, z: Any) -> Any:
    """phi_1 or phi_2 of a float or an array, to a few ulp of its dtype (|z| = 1/2 is worst)."""
    if isinstance(z, float):
        return host.phi(k, z)
    xp = ops(z)
    near = xp.abs(z) < 0.5
    far = xp.where(near, xp.ones_like(z), z)
    series = 0 * z
    for j in range(14, -1, -1):
        series = series * z + 1 / math.factorial(k + j)
    value = xp.expm1(far) / far
    return xp.where(near, series, value if k == 1 else (value - 1) / far)


class _Step:
    """The formulas of one step of size h from (x, lam), N_0 known."""

    def __init__(self, field: Field, x: State, lam: Any, h: Any, first: State) -> None:
        self.flow: LogSNRFlow = field.sde
        self.x, self.lam, self.h, self.N0 = x, lam, h, first
        self._scales: dict[float, tuple[Any, Any]] = {}

    def scales(self, r: float) -> tuple[Any, Any]:
        """(A, B) at lam + r h."""
        if r not in self._scales:
            self._scales[r] = self.flow.scales(self.lam + r * self.h)
        return self._scales[r]

    def first(self, r: float) -> State:
        """A_r/A_t x + B_r r h phi_1(r z) N_0."""
        A, B = self.scales(r)
        weight = B * r * self.h * phi(1, self.flow.sign * r * self.h)
        return scaled((A / self.scales(0.0)[0], self.x), (weight, self.N0))

    def add(self, x: State, r: float, k: int, c: float, N: State) -> State:
        """Add c B_r h phi_k(r z) (N - N_0) to x."""
        weight = c * self.scales(r)[1] * self.h * phi(k, self.flow.sign * r * self.h)
        return axpy(x, (weight, N), (-weight, self.N0))

    def N(self, x: State, r: float) -> State:
        """Evaluate at lam + r h."""
        return self.flow.nonlinear(x, self.lam + r * self.h)


class Exponential(Stepper):
    """One of the three pairs; see the module's docstring."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.order, self.evaluations = (3.0, 3) if name == "dpm-solver-23" else (2.0, 2)

    def first(self, field: Field, z: State, t: Any) -> State:
        """N at (z, t)."""
        return field.sde.nonlinear(z, t)

    def to_dense(self, field: Field, z: State, t: Any, first: State) -> tuple[State, State]:
        """The state y = x/r, r^2 = A^2 + B^2, and dy/dlambda = b N + sign b^2 y, b = B/r.

        Unlike x/A it changes slowly on both sides of lambda = 0, however long the steps.
        """
        A, B = field.sde.scales(t)
        r = ops(A).sqrt(A**2 + B**2)
        y = scaled((1 / r, z))
        return y, scaled((B / r, first), (field.sde.sign * (B / r) ** 2, y))

    def from_dense(self, field: Field, y: State, t: Any) -> State:
        """The state r y."""
        A, B = field.sde.scales(t)
        return scaled((ops(A).sqrt(A**2 + B**2), y))

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
        """One step from half log-SNR t to t + h."""
        step = _Step(field, z, t, h, first)
        euler = step.first(1.0)
        if self.name == "exp-heun-euler":
            high = step.add(euler, 1.0, 2, 1.0, step.N(euler, 1.0))
            return Attempt(high, scaled((1.0, high), (-1.0, euler)), (z, high))
        if self.name == "dpm-solver-12":
            low, high = euler, step.add(euler, 1.0, 1, 1.0, step.N(step.first(0.5), 0.5))
        else:
            N1 = step.N(step.first(1 / 3), 1 / 3)
            low = step.add(euler, 1.0, 1, 1.5, N1)
            middle = step.add(step.first(2 / 3), 2 / 3, 2, 4 / 3, N1)
            high = step.add(euler, 1.0, 2, 1.5, step.N(middle, 2 / 3))
        return Attempt(high, scaled((1.0, high), (-1.0, low)), (low, previous), previous=low)


def _solver(
    name: str,
    summary: str,
    prediction: str,
    control: Callable[[Any], Controller],
    tolerances: tuple[float, float],
    mixing: str,
    reference: str,
) -> Solver:
    default = prediction

    def make(sde: Any, prediction: str = default) -> tuple[Exponential, LogSNRFlow]:
        if prediction not in PREDICTIONS:
            raise MethodError(unknown("prediction:", str(prediction), PREDICTIONS))
        if not (isinstance(sde, ReverseSDE) and isinstance(sde.process, ScalarProcess)):
            given = repr(sde.process) if isinstance(sde, ReverseSDE) else f"a {type(sde).__name__}"
            msg = (
                f"{name} steps in the log-SNR of one component, x = alpha x0 + sigma eps, but "
                f"{given} was given; use dopri5, which takes any ODE."
            )
            raise MethodError(msg)
        if sde.bends_drift:
            msg = (
                f"{name} takes the drift from the process and the prediction, but operators "
                f"changed that of the {type(sde).__name__}; use dopri5, which takes any ODE."
            )
            raise MethodError(msg)
        return Exponential(name), LogSNRFlow(sde, prediction)

    rtol, atol = tolerances
    return Solver(
        name,
        summary,
        make,
        control,
        options=("prediction",),
        rtol=rtol,
        atol=atol,
        mixing=mixing,
        reference=reference,
    )


def _bounded(stepper: Stepper) -> Controller:
    """0.9 h E^(-1/p), at most twice the last step.

    Published without bounds: ``controllers.integral(p, shrink=0.0, grow=math.inf)``. There a chance
    estimate next to zero is followed by a step over most of the interval: on a mixture in one
    dimension dpm-solver-23 ends 0.7 off on average under VE and EDM, with 20 evaluations.
    """
    return controllers.integral(stepper.order, shrink=0.0, grow=2.0)


_LU = "Lu et al. 2022, arXiv:2206.00927, Appendix C"
SOLVERS = (
    _solver(
        "dpm-solver-12",
        "adaptive DPM-Solver of orders 2 and 1, steps in half log-SNR",
        "noise",
        _bounded,
        (0.05, 0.0078),
        "max",
        _LU,
    ),
    _solver(
        "dpm-solver-23",
        "adaptive DPM-Solver of orders 3 and 2, steps in half log-SNR",
        "noise",
        _bounded,
        (0.05, 0.0078),
        "max",
        _LU,
    ),
    _solver(
        "exp-heun-euler",
        "exponential Heun with exponential Euler inside, steps in half log-SNR",
        "data",
        lambda stepper: controllers.pi(stepper.order, grow=2.0),
        (1e-3, 1e-4),
        "sum",
        "Hochbruck & Ostermann 2010, Acta Numerica 19, section 2.3",
    ),
)
