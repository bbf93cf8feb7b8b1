"""Predictor-corrector sampling whose corrector takes its step size from the norms of the run.

Before every predictor step, at that noise level,

    g = (M M^T + S) s(x, t),  zeta = M xi,  h = 2 (snr |zeta|/|M M^T s|)^2 alpha_j,
    x <- x + h g + sqrt(2h) zeta,

``corrector_steps`` times. |.| is the mean over the batch as published (``norms="batch"``), so that
a sample depends on its batch mates, or each sample's own norm (``norms="sample"``), which in d
dimensions makes the variance of a white Gaussian too large by 4/d: 2/d as steps ~ 1/|s|^2 have the
stationary law p |s|^2, 2/d as |zeta| multiplies zeta. That is nothing in images and much in the
plane; deterministic steps (``predictor-corrector``) have neither fault. The predictor is the plan
of ``predictor-corrector`` without its corrector. score_sde (arXiv:2011.13456, Algorithms 4 and 5,
released code); with M that of PDS (arXiv:2302.06504).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._checks import check_state
from sgmsolve.adaptive._rows import State, finite_rows
from sgmsolve.adaptive.solution import AdaptiveSolution
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.backends.solve import solve
from sgmsolve.errors import MethodError, Status, unknown
from sgmsolve.methods._correctors import check_noise, check_numbers
from sgmsolve.methods.predictor_corrector import Assembly, check_words
from sgmsolve.model.base import scalar_for
from sgmsolve.process.base import ScalarProcess
from sgmsolve.reverse import ReverseSDE

NAME = "predictor-corrector-norms"
NORMS = ("batch", "sample")


def solve_with_norms(
    sde: ReverseSDE,
    z: Any,
    grid: Any,
    *,
    predictor: str = "reverse-diffusion",
    corrector_steps: int = 1,
    snr: float = 0.16,
    norms: str = "batch",
    discretisation: str = "exact",
    final: str = "auto",
    seed: int = 0,
    indices: Any = None,
    generator: str = "native",
    progress: bool = False,
    on_failure: str = "warn",
) -> AdaptiveSolution:
    """Run from the state z at ``grid[0]`` over decreasing forward times to the noise-free mean.

    sde: a ReverseSDE with eta = 1 of a process with one component; its model, ``preconditioner``,
    ``where`` and ``skew`` are used (``sde.starting`` is not: z is the state to start from). z: an
    array (batch, *shape), or it in a tuple. norms: ``"batch"`` or ``"sample"``. predictor,
    corrector_steps, snr, discretisation, final: as for the method ``predictor-corrector``. seed,
    indices, generator: of the noise, keyed by sample, see ``KeyedNoise``. on_failure: what samples
    that are not finite mean, see ``AdaptiveSolution.report``.

    Raises: MethodError: unknown words, numbers that make no sense, another SDE; PreconditionError:
    operators that do not fit; GridError, BackendError: times and arrays; SolveError as asked for.
    """
    _check(sde, predictor, corrector_steps, snr, norms, discretisation, final)
    parts = check_state(z, sde)
    for operator in (sde.preconditioner, sde.skew):
        if operator is not None:
            operator.check(tuple(parts[0].shape[1:]))
    run = _Run(sde, grid, corrector_steps, snr, norms == "batch", discretisation == "score_sde")
    keyed = KeyedNoise(seed, indices, generator=generator)
    made, nfe = run.run(parts, predictor, final, keyed, progress)
    batch = parts[0].shape[0]
    steps = np.full(batch, len(run.times) - 1)
    return AdaptiveSolution(
        made,
        np.full(batch, float(run.end)),
        np.full(batch, nfe),
        nfe * batch,
        nfe,
        steps,
        np.zeros_like(steps),
        tuple(Status.FINISHED if ok else Status.NONFINITE for ok in finite_rows(made)),
    ).report(on_failure)


def _check(sde: Any, predictor: str, count: int, snr: float, norms: str, *words: str) -> None:
    if (
        not isinstance(sde, ReverseSDE)
        or sde.eta != 1
        or not isinstance(sde.process, ScalarProcess)
    ):
        msg = (
            f"{NAME} was given a {type(sde).__name__}"
            f"{f' with eta = {sde.eta!r}' if isinstance(sde, ReverseSDE) else ''}, expected a "
            f"ReverseSDE with eta = 1 of a process with one component."
        )
        raise MethodError(msg)
    check_words(predictor, sde.where, sde.preconditioner, sde.skew, *words)
    if norms not in NORMS:
        raise MethodError(unknown(f"value of norms of {NAME}:", str(norms), NORMS))
    check_numbers(count, snr, None)
    check_noise(sde.preconditioner)


class _Run:
    """One run: the corrector, and the predictor's plan between its calls."""

    def __init__(
        self, sde: ReverseSDE, grid: Any, count: int, snr: float, mean: bool, tables: bool
    ) -> None:
        self.sde, self.count, self.snr, self.mean = sde, count, snr, mean
        M = sde.preconditioner
        self.made = Assembly(sde.process, grid, sde.where, M, sde.skew, tables)
        self.made.corrections = 2 * snr**2, count
        self.times = self.made.b.times
        self.end = self.times[-1] if self.made.data_time is None else self.made.data_time
        self.draw: Any = None

    def run(
        self, z: State, predictor: str, final: str, keyed: KeyedNoise, progress: bool
    ) -> tuple[State, int]:
        """The state after the last row, and the evaluations of each sample."""
        self.draw, times = keyed.bind(None, z), self.times
        if predictor == "none":
            self.made.find_moves(predictor)
            for row, t in enumerate(times):
                z = self.correct(row, z, t)
            nfe = len(times) * self.count
            if final == "none" and self.made.data_time is None:
                return z, nfe
            plan = self.made.plan(predictor, final, filtered=False)
            found = solve(plan, self.sde.model, z, on_nonfinite="ignore", progress=progress)
            return found.z, nfe + plan.nfe
        plan = self.made.plan(predictor, final, filtered=False)
        z = self.correct(0, z, times[0])

        def between(row: int, z: State, t: float, model: Any) -> State | None:
            return self.correct(row + 1, z, t) if row < plan.rows - 1 else None

        hooks: dict[str, Any] = {"between": between, "on_nonfinite": "ignore"}
        found = solve(plan, self.sde.model, z, noise=keyed, progress=progress, **hooks)
        return found.z, plan.nfe * (1 + self.count)

    def correct(self, row: int, z: State, t: float) -> State:
        """Langevin steps at time t; draws are keyed by the row that follows."""
        (x,), M = z, self.made.M
        for k in range(self.count):
            (score,), xi = self.sde.score((x,), t), self.draw(row, 1 + k)
            zeta = xi if M is None else M.apply(xi)
            g = score if M is None or self.sde.where == "noise" else M.gram(score)
            h = 2 * (self.snr * self._ratio(zeta, g)) ** 2 * float(self.made.level(t))
            if self.sde.skew is not None:
                g = g + self.sde.skew.apply(score)
            x = x + scalar_for(h, x) * g + scalar_for((2 * h) ** 0.5, x) * zeta
        return (x,)

    def _ratio(self, zeta: Any, g: Any) -> Any:
        """|zeta|/|g| of each sample (batch,), or of their means, 0-d."""
        up, down = _norms(zeta), _norms(g)
        if not self.mean:
            return up / down
        xp = array_namespace(up)
        fine = xp.isfinite(up + down)  # a sample that is lost takes no other with it
        zero = xp.zeros_like(up)
        return xp.sum(xp.where(fine, up, zero)) / xp.sum(xp.where(fine, down, zero))


def _norms(x: Any) -> Any:
    """(batch,) L2 norms of samples."""
    xp = array_namespace(x)
    flat = xp.reshape(x, (x.shape[0], -1))
    return xp.sqrt(xp.sum(flat * flat, axis=1))
