"""What strong orders are measured on, and one Brownian path seen from several places.

``"gbm"`` and ``"double-well"`` of the suite of problems, and the reverse SDEs (eta = 1) of the
targets ``"gaussian"`` and ``"mixture"`` of ``order_problems``, on EDM from t = 2 to 0.3. Nearer to
the data a few of the mixture's paths, those that end between its modes, make most of the mean
square, and no affordable number of paths tells its slope.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve.analysis.order_problems import problem as order_problem
from sgmsolve.errors import AnalysisError, unknown
from sgmsolve.reverse import ReverseSDE

STRONG_PROBLEMS = ("gbm", "double-well", "gaussian", "mixture")


@dataclasses.dataclass(frozen=True, eq=False)
class StrongProblem:
    """An SDE with starting points and an interval.

    Attributes:
        name: one of STRONG_PROBLEMS.
        sde: as the solvers take it; numpy, torch and jax.
        start: (n, seed) -> starting points (n, d), float64.
        t_start, t_end: forward times, in the order of travel.
        exact: (starts, W(end)) -> end points, where they are known.
        two_sided: whether an order above the claim is as wrong as one below.
        paths: samples of a batch.
        process, times, model: for plans; None where there is no process.
    """

    name: str
    sde: Any
    start: Callable[[int, int], np.ndarray]
    t_start: float
    t_end: float
    exact: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    two_sided: bool = False
    paths: int = 500
    process: Any = None
    times: Any = None
    model: Any = None

    @property
    def additive(self) -> bool:
        """Whether the noise does not depend on the state."""
        return bool(self.sde.noise == "additive")

    @property
    def length(self) -> float:
        """Length of the interval."""
        return abs(self.t_end - self.t_start)


@functools.cache
def strong_problem(name: str) -> StrongProblem:
    """One of the built-in problems. Raises AnalysisError for unknown names."""
    if name not in STRONG_PROBLEMS:
        raise AnalysisError(unknown("strong problem", name, STRONG_PROBLEMS))
    if name in ("gaussian", "mixture"):
        return _reverse(name)
    from sgmsolve.problems import find

    p = find(name)
    path, end = p.exact_path, p.t_end
    exact = None if path is None else lambda x, w: np.asarray(path(x, end, w))
    return StrongProblem(name, p.sde(), p.start, p.t_start, end, exact, two_sided=True)


def _reverse(name: str) -> StrongProblem:
    p = dataclasses.replace(order_problem(name, "edm-start"), t_end=0.3)
    model = p.target.model(p.process)

    def start(n: int, seed: int) -> np.ndarray:
        rng = np.random.default_rng([seed, *name.encode()])
        x = np.asarray(p.target.sample(n, rng))
        return x + float(p.process.sigma(p.t_start)) * rng.standard_normal(x.shape)

    sde = ReverseSDE(p.process, model)
    more: dict[str, Any] = {"process": p.process, "times": p.times, "model": model}
    more["paths"] = 1500 if name == "mixture" else 500
    return StrongProblem(name, sde, start, p.t_start, p.t_end, **more)


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """One Brownian path a sample and entry, on cells between ``times``.

    Attributes:
        times: forward times (cells + 1,) in the order of travel.
        dw: increments (cells, n, d).
        areas: integrals of w(s) - w(begin) over each cell, of the same shape; None: not known.
    """

    times: np.ndarray
    dw: np.ndarray
    areas: np.ndarray | None = None

    @property
    def end(self) -> np.ndarray:
        """W at the end, (n, d)."""
        return np.asarray(self.dw.sum(axis=0))

    def increment(self, a: float, b: float) -> tuple[np.ndarray]:
        """The increment over the cell from a to b, as ``solve_adaptive`` asks for it."""
        return (self.dw[self._cell(a)],)

    def area(self, a: float, b: float) -> tuple[np.ndarray]:
        """The area of the cell from a to b, likewise."""
        assert self.areas is not None
        return (self.areas[self._cell(a)],)

    def coarse(self, steps: int) -> Path:
        """The same path on cells ``len(dw) / steps`` times as long (cells of equal length)."""
        several = len(self.dw) // steps
        dw = self.dw.reshape(steps, several, *self.dw.shape[1:])
        areas = None
        if self.areas is not None:
            h = abs(self.times[-1] - self.times[0]) / len(self.dw)
            before = np.cumsum(dw, axis=1) - dw
            areas = (self.areas.reshape(dw.shape) + h * before).sum(axis=1)
        return Path(self.times[::several], dw.sum(axis=1), areas)

    def _cell(self, begin: float) -> int:
        return int(np.argmin(np.abs(self.times - begin)))


def random_path(p: StrongProblem, cells: int, like: np.ndarray, seed: int) -> Path:
    """A path with areas on equal cells, from numpy's generator."""
    rng, h = np.random.default_rng([seed, cells, *b"path"]), p.length / cells
    xi, eta = rng.standard_normal((2, cells, *like.shape))
    dw = math.sqrt(h) * xi
    areas = h / 2 * dw + math.sqrt(h**3 / 12) * eta
    return Path(np.linspace(p.t_start, p.t_end, cells + 1), dw, areas)


def reference(p: StrongProblem, z: np.ndarray, path: Path) -> np.ndarray:
    """End points on the path: the closed form where there is one, else a fine solution.

    The explicit scheme of strong order 3/2 for additive noise of Kloeden & Platen 1992 (eq.
    11.2.19), with a = drift, b = diffusion, h the cell, I its area:

        y + h/4 [a(+) + 2 a(y, t) + a(-)] + I / (2 sqrt h) [a(+) - a(-)] + b' terms,
        (+-) at y + h a +- sqrt(h) b and the time of the cell's end,
        b' terms: b(t) dw + (b(end) - b(t)) (dw - I / h).

    It shares no coefficient with any method under test. Where areas are not known their mean given
    the increments, h dw / 2, takes their place: then it is close to the mean solution given the
    increments, and as close as increments can tell. Entries must not depend on one another's noise.

    Raises: AnalysisError for noise that depends on the state and no closed form.
    """
    if p.exact is not None:
        return p.exact(z, path.end)
    sde, y = p.sde, z
    if not p.additive:
        msg = f"problem {p.name!r} has neither a closed form nor additive noise; give .exact."
        raise AnalysisError(msg)
    for i, dw in enumerate(path.dw):
        t, s = float(path.times[i]), float(path.times[i + 1])
        h = abs(s - t)
        area = h * dw / 2 if path.areas is None else path.areas[i]
        a = sde.drift((y,), t)[0]
        (b,), (b_end,) = (sde.diffuse((y,), u, (np.ones_like(y),)) for u in (t, s))
        up, down = (sde.drift((y + h * a + sign * math.sqrt(h) * b,), s)[0] for sign in (1.0, -1.0))
        y = y + h / 4 * (up + 2 * a + down) + area / (2 * math.sqrt(h)) * (up - down)
        y = y + b * dw + (b_end - b) * (dw - area / h)
    return y
