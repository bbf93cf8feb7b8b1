"""Any linear process with auxiliary components: dz = F(t) z dt + G(t) dw with m x m matrices."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import ProcessError
from sgmsolve.phi import cholesky
from sgmsolve.process._checks import check_times
from sgmsolve.process._collocation import Propagator, invert_triangular, triangular
from sgmsolve.process._frame import Frame
from sgmsolve.process._host import each_time, frozen_matrix
from sgmsolve.process._phase import AbstractPhaseSpace, check_factor, check_kernel
from sgmsolve.process._recipe import check_convergence, complete_recipe, law_factor, sample_times


@final
@dataclass(frozen=True, repr=False, eq=False)
class AugmentedProcess(AbstractPhaseSpace):
    """dz = F(t) z dt + G(t) dw, z = (x, m - 1 auxiliary components), z(0) = (x0, N(0, initial)).

    Args:
        drift: F, a matrix (m, m) or a smooth function of forward time that returns one.
        diffusion: G, likewise; the covariance rate is G G^T.
        initial: covariance (m, m) of z(0) given x0; row and column 0 are zero. Default: zero.
        stationary: covariance (m, m) of the law the process converges to; it is verified and is
            then the prior. Default: none, and the prior is the covariance at ``t_max``.
        names: the components' names; default x, v, or x, v1, v2, ...
        t_max, t_min: forward times of prior and data.
        label: names the functions in ``spec()``; needed if F or G is a function.

    The kernel is exact for constant F and integrated to a relative 1e-12 otherwise, commuting or
    not. Values are host numbers (floats or mpmath numbers, which the functions must then take);
    arrays of times are worked through one by one, under jax's transformations by calling the host.

    Raises: ProcessError for matrices of other shapes, a stationary law that is not left invariant
    (``complete_recipe``) or not approached, functions that vary too fast.
    """

    drift: Any
    diffusion: Any
    initial: Any = None
    stationary: Any = None
    names: tuple[str, ...] = None  # type: ignore[assignment]
    t_max: float = 1.0
    t_min: float = 1e-3
    label: str = ""

    def __post_init__(self) -> None:
        check_times(self, self.t_min, self.t_max, upper=math.inf)
        self._settle_functions()
        m = self._value("drift", self.t_max, None).shape[0]
        if self.names is None:
            names = ("x", "v") if m == 2 else ("x", *(f"v{i}" for i in range(1, m)))
            object.__setattr__(self, "names", names)
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) != m or m < 2:
            msg = (
                f"the drift is {m} x {m} and {len(self.names)} names were given: {self.names}; "
                f"give one name for each of at least 2 components (VP, VE, EDM have one)."
            )
            raise ProcessError(msg)
        for t in sample_times(self.t_min, self.t_max):
            self._value("drift", t, m)
            self._value("diffusion", t, m)
        self._settle_initial(m)
        if self.stationary is not None:
            self._check_stationary(m)

    def _settle_functions(self) -> None:
        for name in ("drift", "diffusion"):
            given = getattr(self, name)
            if not callable(given):
                object.__setattr__(self, name, frozen_matrix(given, name))
            elif not self.label:
                msg = (
                    f"{name} is a function, which a saved plan cannot hold; pass label='...', a "
                    f"name of your own for it."
                )
                raise ProcessError(msg)

    def _settle_initial(self, m: int) -> None:
        given = np.zeros((m, m)) if self.initial is None else frozen_matrix(self.initial, "initial")
        if given.shape != (m, m) or np.any(given[0] != 0) or np.any(given[:, 0] != 0):
            msg = (
                f"initial must be a covariance ({m}, {m}) whose row and column 0 are zero (x(0) is "
                f"the data), but {given.tolist()} was given."
            )
            raise ProcessError(msg)
        cholesky(given)
        object.__setattr__(self, "initial", given)

    def _check_stationary(self, m: int) -> None:
        law = frozen_matrix(self.stationary, "stationary")
        law_factor(law)
        if law.shape != (m, m):
            msg = f"the stationary law has shape {law.shape}, expected ({m}, {m}), its covariance."
            raise ProcessError(msg)
        for t in sample_times(self.t_min, self.t_max):
            complete_recipe(self._value("drift", t, m), self._value("diffusion", t, m), law)
        check_convergence(self.flow(0.0, self.t_max), law, self.t_max)
        object.__setattr__(self, "stationary", law)

    def _value(self, name: str, t: Any, m: int | None) -> np.ndarray:
        """F or G at a host time, checked."""
        given = getattr(self, name)
        found = np.asarray(given(t)) if callable(given) else given
        m = found.shape[0] if m is None and found.ndim == 2 else m
        good = found.shape == (m, m)
        if good and found.dtype != object:
            found = found.astype(np.float64)
            good = bool(np.isfinite(found).all())
        if not good:
            msg = (
                f"{name} at t = {float(t):.6g} is {found.tolist()}, expected a finite matrix "
                f"({m or 'm'}, {m or 'm'})."
            )
            raise ProcessError(msg)
        if ops(t).exact and found.dtype != object:
            found = np.vectorize(ops(t).number, otypes=[object])(found)
        return found

    @property
    def is_constant(self) -> bool:
        """Whether F and G do not depend on time."""
        return not (callable(self.drift) or callable(self.diffusion))

    @functools.cached_property
    def _propagator(self) -> Propagator:
        drift, diffusion, times = self._host_drift, self._host_diffusion, (0.0, self.t_max)
        return Propagator(drift, diffusion, self.m, self.is_constant, times)

    def _host_drift(self, t: Any) -> np.ndarray:
        return self._value("drift", t, self.m)

    def _host_diffusion(self, t: Any) -> np.ndarray:
        return self._value("diffusion", t, self.m)

    @property
    def initial_covariance(self) -> np.ndarray:
        """``initial``."""
        return np.array(self.initial)

    def prior(self) -> np.ndarray:
        """The stationary covariance where one was given, else the covariance at ``t_max``."""
        return super().prior() if self.stationary is None else np.array(self.stationary)

    def F(self, t: Any) -> Any:
        """Drift matrix, (..., m, m)."""
        return each_time(self._host_drift, t, m=self.m)

    def G(self, t: Any) -> Any:
        """Diffusion matrix, (..., m, m)."""
        return each_time(self._host_diffusion, t, m=self.m)

    def flow(self, start: Any, end: Any) -> Any:
        """Linear flow, (..., m, m), in either direction."""
        return each_time(self._propagator.flow, start, end, m=self.m)

    def transition(self, start: Any, end: Any) -> tuple[Any, Any]:
        """(Psi, Sigma), each (..., m, m); Sigma is a Gram matrix, so nothing cancels."""

        def sigma(a: Any, b: Any) -> np.ndarray:
            columns = self._propagator.noise(a, b)[1]
            return columns @ columns.T

        return self.flow(start, end), each_time(sigma, start, end, m=self.m)

    def loading(self, t: Any) -> Any:
        """First column of the flow, (..., m)."""
        return self.flow(0 * t, t)[..., 0]

    def covariance(self, t: Any) -> Any:
        """HSM covariance, (..., m, m), the initial covariance included."""

        def full(a: Any) -> np.ndarray:
            columns = self._columns(a, "hsm")
            return columns @ columns.T

        return each_time(full, t, m=self.m)

    def _columns(self, t: Any, kernel: str) -> np.ndarray:
        """V (m, N) with V V^T the kernel's covariance."""
        psi, columns = self._propagator.noise(0 * t, t)
        if check_kernel(kernel) == "dsm":
            return columns
        start = cholesky(self._exactly(t))
        return np.concatenate([psi @ start, columns], axis=1)

    def _exactly(self, t: Any) -> np.ndarray:
        if not ops(t).exact:
            return np.array(self.initial)
        return np.asarray(np.vectorize(ops(t).number, otypes=[object])(self.initial))

    def factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """L with L L^T the kernel's covariance, (..., m, m); see ``AbstractPhaseSpace``."""
        check_factor(name)

        def one(a: Any) -> np.ndarray:
            if name == "rotation-free" and a != 0:
                return self._lower(kernel, a) @ self._frame(kernel)(a)
            return triangular(self._columns(a, kernel), name != "upper")

        return each_time(one, t, m=self.m)

    def inverse_factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """Inverse of ``factor``, (..., m, m); ProcessError where some direction has no noise."""
        check_factor(name)

        def one(a: Any) -> np.ndarray:
            factor = triangular(self._columns(a, kernel), name != "upper")
            if np.any(np.diag(factor) == 0):
                raise ProcessError(self._no_inverse(a, kernel))
            inverse = invert_triangular(factor, name != "upper")
            return inverse if name != "rotation-free" else self._frame(kernel)(a).T @ inverse

        return each_time(one, t, m=self.m)

    def _lower(self, kernel: str, t: Any) -> np.ndarray:
        factor = triangular(self._columns(t, kernel), True)
        if np.any(np.diag(factor) == 0):
            raise ProcessError(self._no_inverse(t, kernel))
        return factor

    def _frame(self, kernel: str) -> Frame:
        if kernel not in self._frames:
            lower = functools.partial(self._lower, kernel)
            drift, diffusion = self._host_drift, self._host_diffusion
            made = Frame(lower, drift, diffusion, self.t_max, self._propagator.density)
            self._frames[kernel] = made
        return self._frames[kernel]

    @functools.cached_property
    def _frames(self) -> dict[str, Frame]:
        return {}

    def spec(self) -> dict[str, Any]:
        """Description; only constant matrices can be made again by ``from_spec``.

        A function is described by its label and a digest of its values at nine times.
        """
        found: dict[str, Any] = {"process": "augmented"}
        for name in ("drift", "diffusion", "initial", "stationary"):
            value = getattr(self, name)
            found[name] = self._digest(name) if callable(value) else value
            found[name] = value.tolist() if isinstance(value, np.ndarray) else found[name]
        rest = {"t_max": self.t_max, "t_min": self.t_min, "label": self.label}
        return {**found, "names": list(self.names), **rest}

    def _digest(self, name: str) -> str:
        times = sample_times(self.t_min, self.t_max)
        values = np.array([self._value(name, t, self.m) for t in times], dtype=np.float64)
        return f"{self.label}:{hashlib.sha256(np.round(values, 10).tobytes()).hexdigest()[:16]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AugmentedProcess) and self.spec() == other.spec()

    def __hash__(self) -> int:
        return hash((self.names, self.t_max, self.t_min, self.label))

    def __repr__(self) -> str:
        what = self.label or "constant F, G"
        return f"AugmentedProcess({what}, names={self.names}, t_max={self.t_max:g})"
