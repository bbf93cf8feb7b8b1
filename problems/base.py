"""What a problem is: a target, the process that noises it, and how errors are measured.

Or, for solvers of general SDEs, an equation whose solutions are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve.errors import SgmsolveError


@dataclass(frozen=True)
class View:
    """How samples of a problem are drawn.

    Attributes:
        kind: ``"image"`` (each sample is a picture) or ``"scatter"`` (samples are dots in a plane).
        low, high: values shown as the ends of the scale; for a scatter, the limits of both axes.
        project: samples (n, *shape) -> pictures (n, h, w) or points (n, 2); None leaves them alone.
        real: what the pictures of exact samples are called.
        count: how many samples one picture shows.
    """

    kind: str
    low: float
    high: float
    project: Callable[[np.ndarray], np.ndarray] | None = None
    real: str = "exact samples"
    count: int = 2000


@dataclass(frozen=True)
class Problem:
    """A target, a forward process and a working interval; see ``shows`` for what it is good for.

    Attributes:
        name: what users type.
        title: a heading.
        shows: a paragraph: what the problem is and which failing of a sampler it brings to light.
        make_target: builds the target (may read data; called on first use only).
        process: the forward process.
        shape: shape of one sample.
        t_end: forward time at which runs end and errors are measured; above 0, no denoising row.
        grid: name of the time grid (``sgmsolve.grid``), and ``grid_options`` for it.
        exact: whether the target is Gaussian, so that exact W2 needs no samples.
        starts: number of common starting points of deterministic runs.
        samples: number of samples of stochastic runs where W2 is not exact.
        view: how samples are drawn.
        facts: short facts for people, label -> text.
    """

    name: str
    title: str
    shows: str
    make_target: Callable[[], Any]
    process: Any
    shape: tuple[int, ...]
    t_end: float
    grid: str
    view: View
    grid_options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    starts: int = 512
    samples: int = 2000
    facts: Mapping[str, str] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def target(self) -> Any:
        """The target, made on first use."""
        if "target" not in self._made:
            self._made["target"] = self.make_target()
        return self._made["target"]

    @property
    def dimension(self) -> int:
        """Number of entries of one sample."""
        return int(np.prod(self.shape))

    @property
    def grid_arguments(self) -> dict[str, Any]:
        """``grid`` and ``grid_options`` for ``sgmsolve.build_plan`` and ``sgmsolve.sample``."""
        return {"grid": self.grid, "grid_options": {"t_min": self.t_end, **self.grid_options}}

    def marginal(self, n: int, t: float, seed: int) -> np.ndarray | tuple[np.ndarray, ...]:
        """Exact samples of z(t), in the form that ``sgmsolve.solve`` and the target's model take.

        One component: x(t) = alpha x0 + sigma eps, an array (n, *shape), float64. With m > 1
        components: z(t) = u x0 + L eps of the process, a tuple of m such arrays, position first.
        """
        rng = np.random.default_rng([seed, *self.name.encode()])
        x0 = np.asarray(self.target.sample(n, seed=int(rng.integers(2**31))), dtype=np.float64)
        x0, process = x0.reshape(n, *self.shape), self.process
        if process.m == 1:
            alpha, sigma = float(process.alpha(t)), float(process.sigma(t))
            return np.asarray(alpha * x0 + sigma * rng.standard_normal(x0.shape))
        eps = rng.standard_normal((process.m, *x0.shape))
        noise = np.tensordot(process.factor("lower", float(t)), eps, axes=1)
        return tuple(u * x0 + e for u, e in zip(process.loading(float(t)), noise, strict=True))

    def replace(self, **changes: Any) -> Problem:
        """Return a copy with some fields changed (a smaller number of samples, say)."""
        return dataclasses.replace(self, **changes)


class NoTargetError(SgmsolveError, AttributeError):
    """An SDE problem was asked for the target, process or grid that only samplers have."""


@dataclass(frozen=True)
class SDEProblem:
    """A scalar SDE dX = f(X) dt + g(X) dW, t growing, about whose solutions something is known.

    There is no data to sample and no process that noises it: asking for ``target``, ``process`` and
    the other attributes of a Problem raises NoTargetError, whose sentence the commands print.

    Attributes:
        name, title, shows, facts: as of a Problem.
        make_sde: calculus (``"ito"`` or ``"stratonovich"``) -> a GeneralSDE with ``derivative``.
        make_start: (n, rng) -> X(t_start), (n, 1) float64.
        moments: t -> (mean, variance) of X(t), exact to rounding.
        cdf: (x, t) -> P(X(t) <= x), where it is known.
        exact_path: (X(t_start), t, W(t) - W(t_start)) -> X(t) on that path, where it is known.
        t_start, t_end: the interval that runs cover.
    """

    name: str
    title: str
    shows: str
    make_sde: Callable[[str], Any]
    make_start: Callable[[int, np.random.Generator], np.ndarray]
    moments: Callable[[float], tuple[float, float]]
    cdf: Callable[[np.ndarray, float], np.ndarray] | None = None
    exact_path: Callable[[Any, float, Any], Any] | None = None
    t_start: float = 0.0
    t_end: float = 1.0
    facts: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] = (1,)

    def sde(self, calculus: str = "ito") -> Any:
        """The equation written in that calculus: one process, two drifts. numpy, torch or jax."""
        return self.make_sde(calculus)

    def start(self, n: int, seed: int) -> np.ndarray:
        """Values at t_start: (n, 1), float64."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        return np.asarray(self.make_start(n, rng), dtype=np.float64).reshape(n, *self.shape)

    def mean(self, t: float) -> float:
        """E X(t)."""
        return self.moments(t)[0]

    def variance(self, t: float) -> float:
        """Var X(t)."""
        return self.moments(t)[1]

    def __getattr__(self, name: str) -> Any:
        known = {f.name for f in dataclasses.fields(Problem)} | set(vars(Problem))
        if name.startswith("_") or name not in known:
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        msg = (
            f"problem {self.name!r} is a general SDE and has no {name}: samplers need a problem "
            f"with target and process, such as ring; solve its .sde() with solve_with or "
            f"solve_adaptive, or measure strong orders on it: sgmsolve order --strong."
        )
        raise NoTargetError(msg)
