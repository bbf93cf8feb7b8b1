"""Strong orders of convergence: how fast discrete paths approach the exact one.

All step sizes follow one Brownian path a sample. The error of N equal steps (plans: of the N steps
of their grid) is e(N) = sqrt(mean |X_N - X|^2) at the end, against the closed form or the fine
solution of ``strong_problems.reference`` on the same path. The measured order is the least-squares
slope of log2 e over the four finest N, N = 16, 32, 64, 128 at first. Paths are shared between the
N, so the interval comes from the joint law of the squared errors (delta method): with m_k their
means, S their covariance over n paths and w_k the weights of the slope,

    half width = 1.96 sqrt(w^T C w),    C_kl = S_kl / (4 n log(2)^2 m_k m_l).

The number of paths doubles while the half width is 0.1 or more, paths and the finest N while the
order is wrong, in ROUNDS rounds at most.

Statuses, with c the claim:

* ``ok``: the measured order is within 0.15 of c, and not wrong;
* ``superconvergent``: above that, on reverse SDEs (their noise is weak near the data);
* ``wrong``: on gbm and double-well, where the window has two sides, any order outside it; on
  reverse SDEs a slope between the two finest N below c - 0.2;
* ``preasymptotic``: on reverse SDEs, below the window, but not so at the finest N;
* ``undecided``: the half width is still 0.1 or more;
* ``no claim``: c is not known.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sgmsolve.analysis.strong_drivers import Driver, make_driver
from sgmsolve.analysis.strong_methods import Subject, find_subject
from sgmsolve.analysis.strong_problems import (
    STRONG_PROBLEMS,
    StrongProblem,
    reference,
    strong_problem,
)

FIRST, LEVELS, ROUNDS = 16, 4, 3

FINER = 8
"""Cells of the reference in one step of the finest N."""

TOLERANCE, BELOW, HALF_WIDTH = 0.15, 0.2, 0.1


@dataclasses.dataclass(frozen=True)
class StrongRow:
    """One measurement; ``claimed`` is None where nothing is claimed.

    ``slopes`` between neighbouring N and ``measured`` have 95 % intervals of half widths
    ``half_widths`` and ``half_width``.
    """

    method: str
    problem: str
    claimed: float | None
    measured: float
    half_width: float
    status: str
    steps: tuple[int, ...]
    errors: tuple[float, ...]
    slopes: tuple[float, ...]
    half_widths: tuple[float, ...]
    paths: int
    source: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record; numbers that are not finite become null."""
        record = dataclasses.asdict(self)
        for key in ("measured", "half_width"):
            record[key] = record[key] if np.isfinite(record[key]) else None
        return {"kind": "strong", **record}


def measure_strong(
    method: str | Subject, problem: str | StrongProblem, *, rounds: int = ROUNDS, seed: int = 0
) -> StrongRow:
    """Measure one method on one problem; see the module's docstring.

    method: a plan method of data space whose draws follow a path, ``torchsde:...``,
    ``diffrax:...`` or an adaptive stepper run with fixed steps; see ``known_subjects``.

    Raises: MethodError for unknown names, AnalysisError for an unknown problem, one that the method
    cannot solve, or a plan without a path.
    """
    subject = find_subject(method) if isinstance(method, str) else method
    p = strong_problem(problem) if isinstance(problem, str) else problem
    subject.check(p)
    claimed, source = subject.claim(p)
    levels = LEVELS
    for r in range(rounds):
        steps = tuple(FIRST << i for i in range(levels))
        parts = [_squares(subject, p, steps, seed + i) for i in range(1 << r)]
        squares = np.concatenate(parts, axis=1)
        errors, slopes, half_widths = local_slopes(squares)
        measured, half_width = fitted_slope(squares[-LEVELS:])
        status = classify(claimed, measured, half_width, slopes[-1], p.two_sided)
        if half_width < HALF_WIDTH and status != "wrong":
            break
        levels += status == "wrong"
    key = (subject.name, p.name, claimed, measured, half_width, status, steps)
    return StrongRow(*key, errors, slopes, half_widths, squares.shape[1], source)


def strong_tasks(
    methods: Iterable[str], problems: Sequence[str] = STRONG_PROBLEMS
) -> list[tuple[Subject, StrongProblem]]:
    """Every problem with every method that can solve it, problem by problem: paths are shared.

    Raises: MethodError and AnalysisError for unknown names and methods without a strong order.
    """
    subjects = [find_subject(name) for name in dict.fromkeys(methods)]
    found = [strong_problem(name) for name in problems]
    return [(subject, p) for p in found for subject in subjects if subject.solves(p)]


def local_slopes(
    squares: np.ndarray,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """(errors, slopes of neighbours, half widths) from squared errors (levels, n)."""
    errors = np.sqrt(squares.mean(axis=1))
    found = [fitted_slope(squares[i : i + 2]) for i in range(len(squares) - 1)]
    slopes, half_widths = zip(*found, strict=True)
    return tuple(errors.tolist()), slopes, half_widths


def fitted_slope(squares: np.ndarray) -> tuple[float, float]:
    """(slope, half width of its 95 % interval) of squared errors (levels, n) at N, 2N, 4N, ...

    (inf, 0) where an error is zero, (nan, inf) where one is not finite.
    """
    mean, levels = squares.mean(axis=1), len(squares)
    if not np.all(np.isfinite(squares)):
        return float("nan"), float("inf")
    if not np.all(mean > 0):
        return float("inf"), 0.0
    # Least squares of -log2 e on log2 N, whose spacing is one.
    weights = np.arange(levels) - (levels - 1) / 2
    weights = -weights / np.sum(weights**2)
    relative = squares / mean[:, None] - 1
    spread = np.std(weights @ relative, ddof=1) / (2 * np.log(2) * np.sqrt(squares.shape[1]))
    return float(weights @ np.log2(mean) / 2), float(1.96 * spread)


def classify(
    claimed: float | None, measured: float, half_width: float, last: float, two_sided: bool
) -> str:
    """Status as the module's docstring defines it; ``last`` is the slope at the finest N."""
    if claimed is None:
        return "no claim"
    if not half_width < HALF_WIDTH:
        return "undecided"
    within = abs(measured - claimed) <= TOLERANCE
    if two_sided:
        return "ok" if within else "wrong"
    if last < claimed - BELOW:
        return "wrong"
    if within:
        return "ok"
    return "superconvergent" if measured > claimed else "preasymptotic"


def _squares(subject: Subject, p: StrongProblem, steps: tuple[int, ...], seed: int) -> np.ndarray:
    """Squared errors (levels, n) of one batch: |difference|^2 over the entries of a sample."""
    own = (subject.solver, steps) if subject.library == "plan" else ("", ())
    driver, ends = _prepared(subject.library, p, seed, FINER * steps[-1], *own)
    with np.errstate(over="ignore", invalid="ignore"):
        made = [driver.run(subject.solver, n) for n in steps]
        return np.stack([np.sum((x - ends) ** 2, axis=1) for x in made])


@functools.lru_cache(maxsize=4)
def _prepared(
    library: str, p: StrongProblem, seed: int, cells: int, solver: str, steps: tuple[int, ...]
) -> tuple[Driver, np.ndarray]:
    """A driver and the end points on its path, shared by the solvers of a library."""
    z = p.start(p.paths, seed)
    driver = make_driver(library, p, z, seed, cells, solver, steps)
    return driver, reference(p, z, driver.path())
