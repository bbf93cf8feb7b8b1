"""What ``tune`` searches: real options of a method and a grid's shape, mapped to the unit cube.

Also free grids: the interior times as logarithms of step sizes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve import grid as grids
from sgmsolve.errors import AnalysisError, unknown
from sgmsolve.methods.registry import Method


@dataclass(frozen=True)
class Range:
    """Bounds of one parameter; ``log`` searches its logarithm. ``usual``: searched unless told."""

    low: float
    high: float
    log: bool = False
    usual: bool = True


RANGES: dict[str, Range] = {
    "eta": Range(0.0, 1.0),
    "tau": Range(0.0, 1.5),
    "lam": Range(0.0, 8.0),
    "lambda_s": Range(0.0, 12.0),
    "s_churn": Range(0.0, 80.0),
    "s_noise": Range(0.98, 1.02),
    "r": Range(0.1, 0.95),
    "r1": Range(0.1, 0.6, usual=False),
    "r2": Range(0.4, 0.95, usual=False),
    "fraction": Range(0.25, 1.0, usual=False),  # it tells heun from midpoint
    "s_t_min": Range(1e-3, 1.0, log=True, usual=False),
    "s_t_max": Range(1.0, 100.0, log=True, usual=False),
    "rho_low": Range(0.02, 1.0, log=True),
    "rho_high": Range(0.1, 10.0, log=True),
}
"""Ranges of the methods' real options. An option that is not listed is searched over [0, 2 d] for
a default d > 0, over [0, 1] for d = 0."""

SHAPES: dict[str, Range] = {
    "power": Range(0.5, 8.0, log=True),
    "rho": Range(1.0, 100.0, log=True),
}
"""Ranges of the grids' shape parameters."""


@dataclass(frozen=True)
class Parameter:
    """One coordinate: a method's option (``grid`` False) or an option of the named grid."""

    name: str
    low: float
    high: float
    log: bool
    grid: bool
    default: float

    def value(self, u: float) -> float:
        """The value at u in [0, 1]; the ends are hit exactly."""
        if u <= 0 or u >= 1:
            return self.low if u <= 0 else self.high
        if self.log:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + u * (self.high - self.low))

    def unit(self, value: float) -> float:
        """Where in [0, 1] a value lies, clipped."""
        if self.log:
            u = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            u = (value - self.low) / (self.high - self.low)
        return min(max(u, 0.0), 1.0)


Search = Mapping[str, tuple[float, float] | None]


def real_options(method: Method) -> dict[str, float | None]:
    """Options that hold a real number (or None for a number to be chosen), with defaults."""
    annotations = {k: str(p.annotation) for k, p in _parameters(method.build).items()}
    found: dict[str, float | None] = {}
    for name, default in method.options.items():
        if isinstance(default, bool):
            continue
        if isinstance(default, float):
            found[name] = default
        elif default is None and "float" in annotations.get(name, ""):
            found[name] = None
    return found


def shape_options(grid: str) -> dict[str, float]:
    """The named grid's shape parameters with defaults."""
    build = grids.GRIDS.get(grid.replace("_", "-"))
    parameters = {} if build is None else _parameters(build)
    return {k: float(p.default) for k, p in parameters.items() if k in SHAPES}


def _parameters(build: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(build).parameters


def parameters(
    method: Method,
    grid: str | None,
    fixed: Mapping[str, Any],
    grid_options: Mapping[str, Any],
    search: Search | None,
) -> list[Parameter]:
    """The coordinates, options first.

    ``search`` None takes all usual ones that are not fixed; otherwise exactly those named, with
    the ranges given. Raises: AnalysisError for unknown names and bad ranges.
    """
    options, shapes = real_options(method), shape_options(grid) if grid else {}
    if search is None:
        wanted: dict[str, tuple[float, float] | None] = {}
        for name, default in options.items():
            if name not in fixed and _usual(name, default):
                wanted[name] = None
        wanted |= dict.fromkeys(n for n in shapes if n not in grid_options)
    else:
        wanted = dict(search)
    found = []
    for name, bounds in wanted.items():
        if name not in options and name not in shapes:
            known = [*options, *shapes]
            if not known:
                msg = (
                    f"{name!r} cannot be searched: {method.name!r} has no real-valued option and "
                    f"the {grid or 'given'} grid no shape parameter; pass --free-grid "
                    f"(free_grid=True) or a karras, quadratic or striding grid."
                )
                raise AnalysisError(msg)
            raise AnalysisError(unknown("parameter to search", name, known))
        if name in fixed:
            msg = f"{name} is both fixed to {fixed[name]!r} and to be searched; leave out one."
            raise AnalysisError(msg)
        grid_s = name not in options
        default = shapes[name] if grid_s else options[name]
        found.append(_parameter(name, bounds, grid_s, default))
    return sorted(found, key=lambda p: p.grid)


def _usual(name: str, default: float | None) -> bool:
    """Whether an option is searched unless the user says what is."""
    if name in RANGES:
        return RANGES[name].usual
    return default is not None and math.isfinite(default)


def _parameter(
    name: str, bounds: tuple[float, float] | None, grid: bool, default: float | None
) -> Parameter:
    known = (SHAPES if grid else RANGES).get(name)
    if bounds is not None:
        low, high = float(bounds[0]), float(bounds[1])
        log = known is not None and known.log and low > 0
    elif known is not None:
        low, high, log = known.low, known.high, known.log
    else:
        low, high, log = 0.0, 2 * default if default and default > 0 else 1.0, False
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        msg = (
            f"{name} was to be searched from {low:g} to {high:g}, expected two finite numbers, the "
            f"smaller one first; write {name}=0.5:2, say."
        )
        raise AnalysisError(msg)
    if default is None or not math.isfinite(default):
        default = math.sqrt(low * high) if log else (low + high) / 2
    return Parameter(name, low, high, log, grid, float(default))


def split(
    coordinates: Sequence[Parameter], unit: Sequence[float] | np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """(options of the method, options of the grid) at a point of the unit cube."""
    values = [(p, p.value(float(u))) for p, u in zip(coordinates, unit, strict=True)]
    return (
        {p.name: v for p, v in values if not p.grid},
        {p.name: v for p, v in values if p.grid},
    )


def log_steps(times: np.ndarray) -> np.ndarray:
    """Step sizes relative to the last one, as logarithms (N - 1,), of decreasing times (N + 1,)."""
    steps = -np.diff(np.asarray(times, dtype=np.float64))
    return np.log(steps[:-1] / steps[-1])


def times_of(x: np.ndarray, first: float, last: float) -> np.ndarray:
    """The inverse: times (N + 1,) from ``first`` to ``last`` with step sizes softmax(x, 0).

    Sums run from the small end, so that times near ``last`` keep their relative accuracy.
    """
    full = np.append(x, 0.0)
    weights = np.exp(full - full.max())
    weights /= weights.sum()
    rest = np.cumsum(weights[::-1])[::-1]
    times = last + (first - last) * rest
    return np.concatenate([[first], times[1:], [last]])
