"""What a target is: exact posteriors under any linear process, on any array library."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import AnalysisError, TargetError
from sgmsolve.model.base import check_kind
from sgmsolve.process.base import AbstractProcess
from sgmsolve.target import phase


def host_array(value: Any, what: str) -> np.ndarray:
    """``value`` as a finite float64 host array. Raises: TargetError otherwise."""
    if kind_of(value) == "torch":
        value = value.detach().cpu()
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = (
            f"{what} is a {type(value).__name__} that is not an array of numbers ({error}); pass "
            f"an array."
        )
        raise TargetError(msg) from error
    if not np.all(np.isfinite(array)):
        msg = f"{what} has entries that are NaN or Inf, expected finite numbers; remove them."
        raise TargetError(msg)
    return array


def generator(seed: int | np.random.Generator) -> np.random.Generator:
    """A numpy generator from a seed, or the generator given."""
    return seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)


def by_batch(evaluate: Callable[..., Any], rows: int, x: Any, alpha: Any, sigma: Any) -> Any:
    """``evaluate(x, alpha, sigma)`` in pieces of at most ``rows`` samples, which bounds memory."""
    n = x.shape[0]
    if n <= rows:
        return evaluate(x, alpha, sigma)

    def piece(value: Any, part: slice) -> Any:
        return value if isinstance(value, float) or not value.ndim else value[part]

    parts = (slice(i, min(i + rows, n)) for i in range(0, n, rows))
    made = [evaluate(x[p], piece(alpha, p), piece(sigma, p)) for p in parts]
    return array_namespace(x).concat(made, axis=0)


@dataclasses.dataclass(frozen=True, eq=False)
class TargetModel:
    """The exact model of a target under a process; made by :meth:`AbstractTarget.model`."""

    target: AbstractTarget
    process: AbstractProcess
    predicts: str

    def __call__(self, z: tuple[Any, ...], t: Any) -> tuple[Any, ...]:
        """E[kind | z(t) = z] at forward time t: as many arrays (batch, *shape) as components."""
        if len(z) != self.process.m:
            phase.check_state(z, self.process)
        if self.process.m > 1:
            made: tuple[Any, ...] = self.target.predict(self.predicts, z, t, self.process)
            return made
        return (self.target.predict(self.predicts, z[0], t, self.process),)

    def as_kind(self, kind: str) -> TargetModel:
        """The same exact model predicting another kind, by that kind's own formula."""
        return self.target.model(self.process, kind)


class AbstractTarget(abc.ABC):
    """A distribution of x0 with an exact posterior under any linear process.

    Arrays x are (batch, *shape) of numpy, torch or jax; results have the dtype, device and library
    of x (16-bit states are computed in float32). t is forward time: a float, a 0-d array or
    (batch,). Under a process of m > 1 components a state z, and its prediction, is a tuple of m
    such arrays, see :mod:`sgmsolve.target.phase`. Samples are drawn on the host in float64.
    """

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @abc.abstractmethod
    def moments(self) -> tuple[np.ndarray, Any]:
        """Exact mean (*shape) and covariance (an :class:`AbstractCovariance`)."""

    @abc.abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """N samples (n, *shape), float64."""

    @abc.abstractmethod
    def _predict(self, kind: str, x: Any, alpha: Any, sigma: Any) -> Any:
        """E[kind | x] (batch, *shape); alpha and sigma are floats, 0-d or (batch, 1)."""

    @abc.abstractmethod
    def _log_prob(self, x: Any, alpha: Any, sigma: Any) -> Any:
        """Log density (batch,) of alpha x0 + sigma eps at x."""

    @abc.abstractmethod
    def _smallest_variance(self) -> float:
        """Smallest variance of x0 (of a component of it) in any direction."""

    @property
    def dim(self) -> int:
        """Number of entries of one sample."""
        return math.prod(self.shape)

    def sample(
        self,
        n: int,
        seed: int | np.random.Generator = 0,
        xp: Any = None,
        *,
        dtype: Any = None,
        device: Any = None,
    ) -> Any:
        """N independent samples (n, *shape) from a seed or a numpy generator.

        ``xp`` is numpy (default), torch or jax.numpy; ``dtype`` defaults to float64 where xp has
        it. The numbers are the same for every library. Raises: TargetError if n is not positive.
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            msg = f"n is {n!r}, expected a number of samples; pass an integer of at least 1."
            raise TargetError(msg)
        drawn = self._draw(int(n), generator(seed))
        if xp is None:
            return np.asarray(drawn, dtype=dtype)
        place = {} if device is None else {"device": device}
        return xp.asarray(drawn, dtype=dtype, **place)

    def log_prob(self, x: Any) -> Any:
        """Log density of the target at x, shape (batch,).

        Raises: AnalysisError where the target has no density (zero variance in some direction).
        """
        if self._smallest_variance() == 0:
            msg = (
                f"{type(self).__name__} has zero variance in some direction, so it has no density; "
                f"use marginal_log_prob at a time with sigma > 0."
            )
            raise AnalysisError(msg)
        x, dtype = self._working(x)
        return self._restored(self._log_prob(x, 1.0, 0.0), dtype)

    def marginal_log_prob(self, x: Any, t: Any, process: AbstractProcess) -> Any:
        """Log density of x(t) at x, or of z(t) at a tuple of m arrays; shape (batch,).

        Raises: TargetError where x(t) has no density, ModelError for another number of arrays,
        ProcessError where some direction of a z(t) holds no noise.
        """
        if process.m > 1:
            return phase.log_prob(self, x, t, process)
        x, dtype = self._working(x)
        return self._restored(self._log_prob(x, *self._weights(t, process, x)), dtype)

    def predict(self, kind: str, x: Any, t: Any, process: AbstractProcess) -> Any:
        """E[kind | x(t) = x], shape (batch, *shape): the exact prediction of any kind.

        Under a process of m > 1 components x is a tuple of m arrays and so is the result; the kinds
        are that process's own (``process.check_kind``).

        Raises: ModelError for an unknown kind or another number of arrays, TargetError for another
        shape of x or where x(t) has zero variance in some direction (ProcessError for m > 1).
        """
        if process.m > 1:
            return phase.predict(self, kind, x, t, process)
        x, dtype = self._working(x)
        return self._restored(self._predict(kind, x, *self._weights(t, process, x)), dtype)

    def score(self, x: Any, t: Any, process: AbstractProcess) -> Any:
        """Gradient of ``marginal_log_prob`` in x, shape (batch, *shape)."""
        return self.predict("score", x, t, process)

    def model(self, process: AbstractProcess, predicts: str = "data") -> TargetModel:
        """The exact model under a process: E[kind | z(t)], for data the posterior mean of z(0).

        Raises: ModelError for an unknown kind, ProcessError for one that phase space does not have.
        """
        check_kind(predicts)
        if process.m > 1:
            process.check_kind(predicts)
        return TargetModel(self, process, predicts)

    def flow_map(self, x: Any, start: Any, end: Any, process: AbstractProcess) -> Any:
        """Exact solution at ``end`` of the probability-flow ODE that is at x at ``start``.

        Forward times in either order; shape (batch, *shape). For m > 1 components x and the result
        are tuples of m arrays and the times are numbers above 0; a mode's matrix is integrated to
        1e-12 (:mod:`sgmsolve.target.phase_flow`).
        Raises: AnalysisError where the flow is not linear (everything but Gaussians).
        """
        if process.m > 1:
            return self._phase_flow_map(x, start, end, process)
        x, dtype = self._working(x)
        a, b = self._weights(start, process, x), self._weights(end, process, x)
        return self._restored(self._flow_map(x, a, b), dtype)

    @abc.abstractmethod
    def _flow_map(self, x: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> Any:
        """Flow map between two (alpha, sigma)."""

    def _phase_flow_map(
        self, z: Any, start: Any, end: Any, process: AbstractProcess
    ) -> tuple[Any, ...]:
        """Flow map of a state of m > 1 arrays."""
        raise self._no_flow_map()

    def _no_flow_map(self) -> AnalysisError:
        return AnalysisError(
            f"{type(self).__name__} has no closed-form probability-flow map, only Gaussian and "
            f"GaussianField have; use a reference solution with many steps."
        )

    def _working(self, x: Any) -> tuple[Any, Any]:
        """X in at least 32 bits, and its own dtype."""
        if not hasattr(x, "shape"):
            msg = (
                f"x is a {type(x).__name__}, expected one array (batch, *{self.shape}); only a "
                f"process of several components takes a tuple of as many."
            )
            raise TargetError(msg)
        if tuple(x.shape[1:]) != self.shape:
            msg = (
                f"x has shape {tuple(x.shape)}, expected (batch, *{self.shape}) for this "
                f"{type(self).__name__}; reshape it."
            )
            raise TargetError(msg)
        xp = array_namespace(x)
        if not xp.isdtype(x.dtype, "real floating"):
            msg = (
                f"x has dtype {x.dtype}, expected a real floating type; convert it to float32 or "
                f"float64."
            )
            raise TargetError(msg)
        if xp.finfo(x.dtype).bits < 32:
            return xp.astype(x, xp.float32), x.dtype
        return x, x.dtype

    @staticmethod
    def _restored(value: Any, dtype: Any) -> Any:
        return value if value.dtype == dtype else array_namespace(value).astype(value, dtype)

    def _weights(self, t: Any, process: AbstractProcess, x: Any) -> tuple[Any, Any]:
        """(alpha, sigma) at forward time t: floats, 0-d arrays or (batch, 1), in the dtype of x."""
        alpha, sigma = _weight(process.alpha(t), x), _weight(process.sigma(t), x)  # type: ignore[attr-defined]
        if isinstance(sigma, float) and isinstance(alpha, float) and sigma == 0:
            if alpha == 0 or self._smallest_variance() == 0:
                msg = (
                    f"at t = {float(t):.6g} sigma is 0 and x(t) has zero variance in some "
                    f"direction, where no score exists; evaluate at a larger t."
                )
                raise TargetError(msg)
        return alpha, sigma


def _weight(value: Any, x: Any) -> Any:
    if isinstance(value, (int, float)):
        return float(value)
    xp = array_namespace(x)
    if kind_of(value) != kind_of(x):
        value = xp.asarray(value)
    value = xp.astype(value, x.dtype)
    return value[:, None] if value.ndim else value


def over_axes(value: Any, ndim: int) -> Any:
    """A weight (batch, 1) with trailing axes to broadcast against (batch, ...) of ``ndim`` axes."""
    if isinstance(value, float) or not value.ndim:
        return value
    return array_namespace(value).reshape(value, (value.shape[0],) + (1,) * (ndim - 1))
