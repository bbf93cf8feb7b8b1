"""Decreasing time grids: float64 arrays of shape (steps + 1,), from t_max (noise) to t_min (data).

Every function but ``table`` takes ``(process, steps, *, t_max=None, t_min=None, final="t_min")``
and ends exactly where it was told to. Times are forward time. ``final="zero"`` ends at t = 0
instead: the first ``steps`` entries run from t_max to t_min, and the last one is 0 (the convention
of EDM).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._grid_checks import check_positive, checked_ends, checked_steps, ends_at_zero
from sgmsolve._grid_checks import custom as custom
from sgmsolve.errors import GridError, unknown
from sgmsolve.process.base import AbstractProcess, ScalarProcess
from sgmsolve.process.vp import VP

SPACINGS = ("leading", "trailing", "linspace")


def uniform(
    process: AbstractProcess,
    steps: int,
    *,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str = "t_min",
) -> np.ndarray:
    """Equal steps in forward time, shape (steps + 1,), float64.

    Raises: GridError for impossible step counts, ends or finals.
    """
    return _build(process, steps, t_max, t_min, final, lambda t: t, lambda v: v)


def quadratic(
    process: AbstractProcess,
    steps: int,
    *,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str = "t_min",
    power: float = 2.0,
) -> np.ndarray:
    """Equal steps in t^(1/p), p = ``power``: finer at the data.

    t_i = (t_max^(1/p) + i/N (t_min^(1/p) - t_max^(1/p)))^p.

    Raises: GridError for impossible step counts, ends, finals or powers.
    Reference: Song et al., "Denoising Diffusion Implicit Models" (ICLR 2021), appendix D.2.
    """
    check_positive("power", power)
    return _build(
        process, steps, t_max, t_min, final, lambda t: t ** (1 / power), lambda v: v**power
    )


def striding(
    process: AbstractProcess,
    steps: int,
    *,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str = "t_min",
    power: float = 2.0,
) -> np.ndarray:
    """The quadratic striding of CLD (arXiv:2112.07068) and PSLD: ``quadratic`` from t_min on.

    t_i = t_min + (t_max - t_min) (1 - i/N)^p, p = ``power``; p = 1 is uniform.

    Raises: GridError for impossible step counts, ends, finals or powers.
    """
    check_positive("power", power)
    low = checked_ends(process, t_max, t_min)[1]
    ways = (lambda t: (t - low) ** (1 / power), lambda v: low + v**power)
    return _build(process, steps, t_max, t_min, final, *ways)


def log_snr(
    process: ScalarProcess,
    steps: int,
    *,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str = "t_min",
) -> np.ndarray:
    """Equal steps in the half-log-SNR lambda = log(alpha / sigma).

    Raises: GridError where lambda is infinite: at alpha(t_max) = 0, naming the largest usable t,
    and at t_min = 0; and for impossible step counts, ends or finals.
    Reference: Lu et al., "DPM-Solver" (NeurIPS 2022), section 3.3.
    """
    _scalar(process, "log-snr")
    _needs_signal(process, "log-SNR", t_max, t_min)
    start = process.t_min if t_min is None else t_min
    if start == 0 and process.sigma(0.0) == 0:
        msg = (
            f"a log-SNR grid cannot end at t_min = 0, where the log-SNR is infinite; pass t_min > "
            f"0 (this process suggests {process.t_min:.6g}) or final='zero'."
        )
        raise GridError(msg)
    return _build(process, steps, t_max, t_min, final, process.lam, process.time_of_lam)


def karras(
    process: ScalarProcess,
    steps: int,
    *,
    t_max: float | None = None,
    t_min: float | None = None,
    final: str = "t_min",
    rho: float = 7.0,
) -> np.ndarray:
    """Karras spacing of the noise-to-signal ratio r = sigma / alpha, mapped back to t.

    r_i = (r_max^(1/rho) + i/N (r_min^(1/rho) - r_max^(1/rho)))^rho.

    Raises: GridError where alpha(t_max) = 0, naming the largest usable t, and for impossible step
    counts, ends, finals or rho. Reference: Karras et al. 2022, eq. 5.
    """
    _scalar(process, "karras")
    check_positive("rho", rho)
    _needs_signal(process, "Karras", t_max, t_min)
    return _build(
        process,
        steps,
        t_max,
        t_min,
        final,
        lambda t: process.rho(t) ** (1 / rho),
        lambda v: process.time_of_rho(v**rho),
    )


def table(
    process: Any,
    steps: int,
    *,
    spacing: str = "leading",
    offset: int = 0,
    train_steps: int | None = None,
    drop_last: bool = False,
    final: str = "zero",
) -> np.ndarray:
    """Times t = (n + 1) / T of table indices n, spaced as in diffusers (T entries, N = ``steps``).

    * ``"leading"``: n_i = i (T // N) + offset; * ``"trailing"``: n_i = round(T - i T/N) - 1;
    * ``"linspace"``: N rounded points from T - 1 to 0, both included.

    ``drop_last=True`` spaces N + 1 indices (leading, linspace) and drops the one next to the data,
    as DPMSolverMultistepScheduler and UniPCMultistepScheduler do. After the N indices comes t = 0
    (``final="zero"``: set_alpha_to_one) or index 0 (``final="t_min"``: alphas_cumprod[0]).
    T is the length of a discrete VP's table, else ``train_steps`` (1000).

    Raises: GridError for other processes than VP, and for repeated or impossible indices.
    """
    size = _table_size(process, train_steps)
    n = table_indices(size, steps, spacing=spacing, offset=offset, drop_last=drop_last)
    if n[-1] < 0 or n[0] > size - 1:
        msg = (
            f"offset = {offset} moves indices {n[-1]} to {n[0]} out of the table, which has "
            f"entries 0 to {size - 1}; use a smaller offset."
        )
        raise GridError(msg)
    last = 0.0 if ends_at_zero(process, final) else 1 / size
    times = np.append((n + 1) / size, last)
    if times[-1] >= times[-2]:
        msg = (
            f"{spacing} spacing already ends at index 0, so final='t_min' would repeat it; pass "
            f"offset=1 or final='zero'."
        )
        raise GridError(msg)
    return custom(times, process)


def table_indices(
    size: int,
    steps: int,
    *,
    spacing: str = "leading",
    offset: int = 0,
    drop_last: bool = False,
) -> np.ndarray:
    """The decreasing int64 indices (steps,) of ``table`` in a table of ``size`` entries.

    Raises: GridError for an unknown spacing, or more steps than entries.
    """
    count = checked_steps(steps)
    if spacing not in SPACINGS:
        raise GridError(unknown("table spacing", str(spacing), SPACINGS))
    points = count + 1 if drop_last and spacing != "trailing" else count
    if points > size:
        msg = f"{count} steps were asked of a table of {size} entries; ask for fewer steps."
        raise GridError(msg)
    found: np.ndarray
    if spacing == "leading":
        found = np.arange(points)[::-1] * (size // points) + offset
    elif spacing == "trailing":
        found = np.round(size - np.arange(points) * (size / points)) - 1 + offset
    else:
        found = np.round(np.linspace(0, size - 1, points))[::-1] + offset
    return found[:count].astype(np.int64)


GRIDS: dict[str, Callable[..., np.ndarray]] = {
    "uniform": uniform,
    "quadratic": quadratic,
    "striding": striding,
    "log-snr": log_snr,
    "karras": karras,
    "table": table,
}
"""Every named grid; ``custom`` takes times instead of a number of steps."""


def make(
    name: Any, process: AbstractProcess, steps: int | None = None, **options: Any
) -> np.ndarray:
    """Return the named grid with that many steps, or validate an array of times (``custom``).

    Raises: GridError for an unknown name or option (with the nearest), or a wrong number of times.
    """
    if not isinstance(name, str):
        grid = custom(name, process)
        if options:
            msg = f"a custom grid takes no options, but {', '.join(sorted(options))} was given."
            raise GridError(msg)
        if steps is not None and len(grid) != checked_steps(steps) + 1:
            msg = (
                f"{len(grid)} times make {len(grid) - 1} steps, but steps = {steps} was given too; "
                f"leave steps out."
            )
            raise GridError(msg)
        return grid
    build = GRIDS.get(name.replace("_", "-"))
    if build is None:
        raise GridError(unknown("grid", name, GRIDS))
    known = [p for p in inspect.signature(build).parameters if p not in ("process", "steps")]
    for option in options:
        if option not in known:
            raise GridError(unknown(f"option of the {name} grid", option, known))
    if steps is None:
        msg = f"the {name} grid needs a number of steps; pass steps=20, say."
        raise GridError(msg)
    return build(process, steps, **options)


def default_grid(process: AbstractProcess) -> str:
    """A sensible grid: striding in phase space; karras, log-snr or, at alpha = 0, uniform."""
    if not isinstance(process, ScalarProcess):
        return "striding"
    if process.starts_at_zero_alpha:
        return "uniform"
    return "karras" if process.alpha(float(process.t_max)) == 1 else "log-snr"


def _build(
    process: AbstractProcess,
    steps: int,
    t_max: float | None,
    t_min: float | None,
    final: str,
    forward: Callable[[float], float],
    backward: Callable[[float], float],
) -> np.ndarray:
    """Equal steps in ``forward(t)``, mapped back, with exact ends."""
    count = checked_steps(steps)
    high, low = checked_ends(process, t_max, t_min)
    zero = ends_at_zero(process, final)
    if zero and low == 0:
        msg = "final='zero' adds t = 0 after t_min, but t_min = 0 was given; pass t_min > 0."
        raise GridError(msg)
    inner = count - 1 if zero else count
    grid = [high]
    if inner:
        a, b = forward(high), forward(low)
        grid += [backward(a + i / inner * (b - a)) for i in range(1, inner)] + [low]
    return custom(np.array(grid + [0.0] * zero, dtype=np.float64), process)


def _scalar(process: Any, name: str) -> None:
    if not isinstance(process, ScalarProcess):
        msg = (
            f"the {name} grid needs one noise level a time, but {process!r} has {process.m} "
            f"components; use the uniform or quadratic grid."
        )
        raise GridError(msg)


def _needs_signal(process: ScalarProcess, what: str, t_max: Any, t_min: Any) -> None:
    high, _ = checked_ends(process, t_max, t_min)
    if process.has_no_signal(high):
        msg = (
            f"a {what} grid cannot start at t_max = {high:.6g}, where alpha = 0; pass t_max <= "
            f"{process.largest_usable_time():.6g} or use the uniform grid."
        )
        raise GridError(msg)


def _table_size(process: Any, train_steps: int | None) -> int:
    if not isinstance(process, VP):
        msg = f"table grids index the training steps of a VP process, but {process!r} was given."
        raise GridError(msg)
    own = process.betas
    if own is not None and train_steps not in (None, len(own)):
        msg = (
            f"train_steps = {train_steps} was given, but the process has a table of {len(own)} "
            f"entries; leave train_steps out."
        )
        raise GridError(msg)
    return (
        len(own) if own is not None else checked_steps(1000 if train_steps is None else train_steps)
    )
