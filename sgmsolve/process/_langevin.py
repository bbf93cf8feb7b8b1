"""Langevin diffusions in phase space: everything CLD and PSLD have in common."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import ProcessError
from sgmsolve.process._checks import check_times, positive
from sgmsolve.process._oscillator import Moments, Oscillator
from sgmsolve.process._phase import AbstractPhaseSpace, check_factor, check_kernel
from sgmsolve.process._recipe import check_convergence
from sgmsolve.process._rotation import Angle
from sgmsolve.process._schedules import Linear


class AbstractLangevin(AbstractPhaseSpace):
    """A damped oscillator in the clock b = int_0^t beta; m = 2. Subclasses are frozen dataclasses.

    They hold gamma, nu, m_inv, kappa, beta, t_max, t_min and call ``_settle`` when made.
    """

    names: tuple[str, ...] = ("x", "v")
    gamma: float
    nu: float
    m_inv: float
    kappa: float
    beta: float | tuple[float, float]

    def _settle(self) -> None:
        """Check all parameters and store them as floats; a missing nu is the critical one."""
        owner = type(self).__name__
        for name, zero in (("gamma", True), ("m_inv", False), ("kappa", True)):
            self._store(name, positive(name, getattr(self, name), owner, zero=zero))
        nu = self.gamma + 2 * math.sqrt(self.m_inv) if self.nu is None else self.nu
        self._store("nu", positive("nu", nu, owner, zero=True))
        if self.gamma == self.nu == 0:
            msg = (
                f"gamma and nu of {owner} are both 0, so nothing is damped and no prior is "
                f"reached; give one of them a value above 0."
            )
            raise ProcessError(msg)
        ends = self._beta_ends(owner)
        self._store("beta", ends[0] if ends[0] == ends[1] else ends)
        check_times(self, self.t_min, self.t_max, upper=math.inf)
        if self.t_max >= self.t_limit:
            msg = (
                f"beta of {owner} falls to 0 at t = {self.t_limit:.6g}, but t_max = "
                f"{self.t_max:.6g} was given; choose a smaller t_max."
            )
            raise ProcessError(msg)
        last = float(self.clock(self.t_max))
        check_convergence(self.oscillator.flow(last), self.stationary, self.t_max)

    def _store(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _described(self, process: str, *names: str) -> dict[str, Any]:
        """``spec()``: the process's name, beta and the parameters ``names``."""
        beta = list(self.beta) if isinstance(self.beta, tuple) else self.beta
        return {"process": process, "beta": beta, **{name: getattr(self, name) for name in names}}

    def _beta_ends(self, owner: str) -> tuple[float, float]:
        given = self.beta
        if not isinstance(given, (tuple, list)):
            rate = positive("beta", given, owner)
            return rate, rate
        if len(given) != 2:
            msg = (
                f"beta of {owner} must be a number or a pair (its values at t = 0 and t = 1, "
                f"linear between), but {given!r} was given."
            )
            raise ProcessError(msg)
        first = positive("beta[0]", given[0], owner, zero=True)
        return first, positive("beta[1]", given[1], owner)

    @functools.cached_property
    def oscillator(self) -> Oscillator:
        """Flow and moments in the clock b."""
        return Oscillator(self.gamma, self.nu, self.m_inv)

    @functools.cached_property
    def _schedule(self) -> Linear:
        ends = self.beta if isinstance(self.beta, tuple) else (self.beta, self.beta)
        return Linear(*ends)

    @property
    def t_limit(self) -> float:
        """Where beta falls to zero; no limit if it does not fall."""
        first, last = self._schedule.beta_min, self._schedule.beta_max
        return math.inf if last >= first else first / (first - last)

    @property
    def initial_covariance(self) -> np.ndarray:
        """diag(0, kappa M)."""
        return np.diag([0.0, self.kappa / self.m_inv])

    @property
    def stationary(self) -> np.ndarray:
        """Covariance diag(1, M) of the stationary law."""
        return np.diag([1.0, 1 / self.m_inv])

    def prior(self) -> np.ndarray:
        """The stationary covariance, which training and sampling start from."""
        return self.stationary

    def rate(self, t: Any) -> Any:
        """beta(t)."""
        return self._schedule.beta(t)

    def clock(self, t: Any) -> Any:
        """The oscillator's time, int_0^t beta."""
        return self._schedule.integral(t)

    def F(self, t: Any) -> Any:
        """beta/2 [[-gamma, m_inv], [-1, -nu]]."""
        xp, half = ops(t), self.rate(t) / 2
        k = self.oscillator.constants(xp)
        return xp.matrix([[-half * k.gamma, half * k.m_inv], [-half, -half * k.nu]])

    def G(self, t: Any) -> Any:
        """diag(sqrt(gamma beta), sqrt(M nu beta))."""
        xp, rate = ops(t), self.rate(t)
        k = self.oscillator.constants(xp)
        off = 0 * rate
        rows = [[xp.sqrt(k.gamma * rate), off], [off, xp.sqrt(k.nu / k.m_inv * rate)]]
        return xp.matrix(rows)

    def flow(self, start: Any, end: Any) -> Any:
        """Exp(b A), b = int_start^end beta, in either direction; (..., 2, 2)."""
        return self.oscillator.flow(self._schedule.increment(start, end))

    def transition(self, start: Any, end: Any) -> tuple[Any, Any]:
        """(Psi, Sigma), each (..., 2, 2), for ``start <= end``."""
        b = self._schedule.increment(start, end)
        return self.oscillator.flow(b), _matrix(self.oscillator.moments(b, span=self._last), b)

    def reversed_linear(self, start: Any, end: Any, eta: float = 1.0) -> tuple[Any, Any]:
        """As ``AbstractPhaseSpace.reversed_linear``, in closed form.

        A is F with the coupling's sign turned and gamma, nu multiplied by eta^2: the oscillator
        run the other way round, for eta = 0 a rotation.
        """
        b = self._schedule.increment(start, end)
        damped = Oscillator(eta**2 * self.gamma, eta**2 * self.nu, self.m_inv)
        turn = np.array([[1, -1], [-1, 1]])
        if not eta:
            return turn * damped.flow(b), 0 * damped.flow(b)
        return turn * damped.flow(b), turn * _matrix(damped.moments(b, span=self._last), b)

    def relaxation(self, start: Any, end: Any) -> tuple[Any, Any]:
        """As ``AbstractPhaseSpace.relaxation``: e^(-gamma b/2), 1 - e^(-gamma b); nu alike."""
        b = self._schedule.increment(start, end)
        xp = ops(b)
        k = self.oscillator.constants(xp)
        decay = [xp.exp(-k.gamma * b / 2), xp.exp(-k.nu * b / 2)]
        return np.array(decay), np.array([-xp.expm1(-k.gamma * b), -xp.expm1(-k.nu * b) / k.m_inv])

    def loading(self, t: Any) -> Any:
        """First column of the flow, (..., 2)."""
        b = self.clock(t)
        e11, _, e21, _ = self.oscillator.entries(b)
        return ops(b).matrix([[e11, e21]])[..., 0, :]

    def covariance(self, t: Any) -> Any:
        """HSM covariance, (..., 2, 2): the initial momentum's variance kappa M included."""
        return _matrix(self.moments(t), t)

    def moments(self, t: Any, kernel: str = "hsm") -> Moments:
        """Entries xx, xm, mm of a kernel's covariance and its determinant, without cancellation."""
        b = self.clock(t)
        return self.oscillator.moments(b, self._start(b, kernel), self._last)

    @property
    def _last(self) -> float:
        return float(self.clock(self.t_max))

    def _start(self, b: Any, kernel: str) -> Any:
        """Variance of the momentum at t = 0 under a kernel, in the number type of b."""
        if check_kernel(kernel) == "dsm":
            return 0.0
        xp = ops(b)
        return xp.number(self.kappa) / xp.number(self.m_inv)

    def angle(self, t: Any, kernel: str = "hsm") -> Any:
        """Angle of the rotation-free factor against the lower one; 0 at ``t_max``.

        Arrays of times are looked up in the float64 table that host times use; both end at
        ``t_max``. Raises: GridError for host times outside [0, t_max].
        """
        if ops(t).host:
            self.check_time(t)
        b = self.clock(t)
        start = self._start(b, kernel)
        return self._angles[kernel](b, self.clock(_like(self.t_max, t)), start)

    @functools.cached_property
    def _angles(self) -> dict[str, Angle]:
        start = self.kappa / self.m_inv
        return {
            "hsm": Angle(self.oscillator, start, self._last),
            "dsm": Angle(self.oscillator, 0.0, self._last),
        }

    def factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """L with L L^T the kernel's covariance, (..., 2, 2); see ``AbstractPhaseSpace``."""
        check_factor(name)
        xp, cov = ops(t), self.moments(t, kernel)
        if xp.host and cov.xx == 0:  # t = 0: the momentum alone
            zero = cov.xx
            return xp.matrix([[zero, zero], [zero, xp.sqrt(cov.mm)]])
        if name == "upper":
            return xp.matrix(_upper(xp, cov))
        lower = xp.matrix(_lower(xp, cov))
        return lower if name == "lower" else lower @ self._turn(t, kernel)

    def inverse_factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """Inverse of ``factor``, (..., 2, 2); ProcessError at host times with det = 0."""
        check_factor(name)
        xp, cov = ops(t), self.moments(t, kernel)
        if xp.host and cov.det == 0:
            raise ProcessError(self._no_inverse(t, kernel))
        if name == "upper":
            (a, b), (zero, d) = _upper(xp, cov)
            return xp.matrix([[1 / a, -b / (a * d)], [zero, 1 / d]])
        (a, zero), (b, d) = _lower(xp, cov)
        lower = xp.matrix([[1 / a, zero], [-b / (a * d), 1 / d]])
        return lower if name == "lower" else self._turn(t, kernel).mT @ lower

    def _turn(self, t: Any, kernel: str) -> Any:
        """O = [[cos, -sin], [sin, cos]](angle)."""
        xp, angle = ops(t), self.angle(t, kernel)
        cos, sin = xp.cos(angle), xp.sin(angle)
        return xp.matrix([[cos, -sin], [sin, cos]])


def _matrix(cov: Moments, like: Any) -> Any:
    return ops(like).matrix([[cov.xx, cov.xm], [cov.xm, cov.mm]])


def _lower(xp: Any, cov: Moments) -> list[list[Any]]:
    """Cholesky factor: xx, xm and the determinant, nothing subtracted."""
    root = xp.sqrt(cov.xx)
    return [[root, 0 * root], [cov.xm / root, xp.sqrt(cov.det) / root]]


def _upper(xp: Any, cov: Moments) -> list[list[Any]]:
    root = xp.sqrt(cov.mm)
    return [[xp.sqrt(cov.det) / root, cov.xm / root], [0 * root, root]]


def _like(value: float, t: Any) -> Any:
    xp = ops(t)
    return xp.number(value) if xp.host else value
