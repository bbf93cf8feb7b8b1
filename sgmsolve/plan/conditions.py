"""Algebraic order conditions of a plan: a wrong coefficient is found without running anything.

The reverse family of a scalar process is dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw. With
lam = log(alpha/sigma) and rho = sigma/alpha it is a quadrature in disguise:

    noise prediction   y = x/alpha,                 dy = (1 + eta^2) e drho
    data prediction    y = x e^{eta^2 lam}/sigma,   dy = (1 + eta^2) e^{eta^2 lam} x0 d(e^lam)

(score = -noise/sigma). A method of order p must integrate predictions that are polynomials of
degree < p in its variable: exactly if its weights are exact, up to O(h^{p+1}) if they are
truncated. Multi-stage methods also have to meet the rooted-tree conditions, stochastic ones those
on the noise. Lu et al. 2022 (DPM-Solver), section 3; Zhang & Chen 2023 (DEIS), section 3; Hairer,
Norsett & Wanner, chapter II.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import PlanError, unknown
from sgmsolve.phi import integrate
from sgmsolve.plan.plan import Plan
from sgmsolve.plan.steps import Step, drift_end, rounding, scalar_steps
from sgmsolve.plan.trees import tree_defects as tree_defects

KINDS = ("noise", "data", "score")
VARIABLES = ("lam", "rho", "t")


@dataclass(frozen=True)
class _Exact:
    """The exact step: x_s = psi x_t + int density(lam) e(lam) dlam from lam_t to lam_end."""

    psi: Any
    density: Callable[[Any], Any]
    lam_t: Any
    lam_end: Any
    size: Any


def polynomial_defects(
    plan: Plan,
    process: Any,
    degree: int,
    variable: str,
    *,
    eta: float = 0.0,
    ancestral: bool = False,
    local: bool = True,
    steps: Sequence[Step] | None = None,
) -> np.ndarray:
    """Defects of every step for predictions ((u - u_t)/scale)^d, d < ``degree``.

    Column 0 is the relative error of the linear flow, column 1 + d that of degree d, in units of
    the size of what is predicted (sigma_s times noise, alpha_s times data). Shape (steps, 1 +
    degree).

    Args:
        plan: a plan of a scalar process.
        process: the process it was built for.
        degree: number of conditions: the order p, or p + 1 to see the leading error as well.
        variable: u, one of ``"lam"``, ``"rho"``, ``"t"``.
        eta: stochasticity of the reverse family.
        ancestral: compare with a deterministic step below s and exact fresh noise on top, the
            variance read from the plan (ancestral sampling, DDIM, churn), instead of ``eta``.
        local: scale = length of the step (any grid); False: a fixed scale, for slopes.
        steps: steps to judge, default ``plan_steps(plan)``.

    Raises:
        PlanError: more than one component, or an unknown variable or kind of prediction.
    """
    if variable not in VARIABLES:
        raise PlanError(unknown("variable", variable, VARIABLES))
    powers = range(degree)
    out = []
    for step in scalar_steps(plan, process, steps):
        exact = _exact(plan, process, step, eta, ancestral)
        u_t = _u_at(process, variable, step.t)
        scale = _u_of(process, variable, exact.lam_end) - u_t
        if not local or scale == 0:
            scale = {"lam": 1, "rho": u_t, "t": u_t}[variable]

        def weighted(lam: Any, e: _Exact = exact, base: Any = u_t, unit: Any = scale) -> Any:
            u, density = (_u_of(process, variable, lam) - base) / unit, e.density(lam)
            return np.array([density * u**d for d in powers])

        got = [0 * scale for _ in powers]
        for r, w in step.end.weights.items():
            u = (_u_at(process, variable, plan.t[r]) - u_t) / scale
            got = [total + w[0, 0] * u**d for d, total in zip(powers, got, strict=True)]
        want = integrate(weighted, exact.lam_t, exact.lam_end)
        errors = [(g - x) / exact.size for g, x in zip(got, want, strict=True)]
        out.append([step.end.psi[0, 0] / exact.psi - 1, *errors])
    return np.array(out)


def noise_defects(plan: Plan, process: Any, weak: int, *, eta: float) -> np.ndarray:
    """Defects of the noise of every step, in y and its clock c (see below), relative to Var at t.

    Columns: total variance; for ``weak`` >= 2 also sum_j w_j Cov(y_j, y_s) and sum_j w_j Var(y_j)
    against int c, the conditions that tie a stage's noise to the step's (for the drift e = y). In
    the plan's own y noise is Brownian in c = eta^2 (rho_t^2 - rho^2) for noise prediction and
    c = e^{2 eta^2 lam} - e^{2 eta^2 lam_t} for data prediction. History has c < 0.
    """
    rows = []
    for step in scalar_steps(plan, process):
        exact = _exact(plan, process, step, eta, ancestral=False)
        clock = _clock(plan, process, step.t, eta)
        scale = _per_x(plan, process, step.end.time, eta)
        unit = _per_x(plan, process, step.t, eta) ** 2 * process.sigma(step.t) ** 2
        end = {d: scale * v[0] for d, v in step.end.noise.items()}
        row = [(sum(v * v for v in end.values()) - clock(exact.lam_end)) / unit]
        if weak >= 2:
            row += _stage_noise(plan, process, step, exact, clock, end, eta)
        rows.append([row[0], *(v / unit for v in row[1:])])
    return np.array(rows)


def _per_x(plan: Plan, process: Any, t: Any, eta: float) -> Any:
    """Units of y per unit of x at time t."""
    if plan.predicts != "data":
        return 1 / process.alpha(t)
    return ops(t).exp(eta**2 * process.lam(t)) / process.sigma(t)


def _clock(plan: Plan, process: Any, t: Any, eta: float) -> Callable[[Any], Any]:
    """Variance of y's own noise from time t to lam, negative before t."""
    base, exp = process.lam(t), ops(t).exp
    if plan.predicts == "data":
        return lambda lam: exp(2 * eta**2 * lam) - exp(2 * eta**2 * base)
    return lambda lam: eta**2 * (exp(-2 * base) - exp(-2 * lam))


def _stage_noise(
    plan: Plan,
    process: Any,
    step: Step,
    exact: _Exact,
    clock: Callable[[Any], Any],
    end: dict[int, Any],
    eta: float,
) -> list[Any]:
    """Errors of sum w Cov(y_r, y_s) and sum w Var(y_r) in units of the step's prediction."""
    target = integrate(lambda lam: exact.density(lam) * clock(lam), exact.lam_t, exact.lam_end)
    together, alone = -target, -target
    for r, w in step.end.weights.items():
        shared = variance = clock(process.lam(plan.t[r]))
        if r in step.stages:
            unit = _per_x(plan, process, plan.t[r], eta)
            stage = {d: unit * v[0] for d, v in step.stages[r].noise.items()}
            shared = sum(v * end.get(d, 0) for d, v in stage.items())
            variance = sum(v * v for v in stage.values())
        together, alone = together + w[0, 0] * shared, alone + w[0, 0] * variance
    return [together / exact.size, alone / exact.size]


def defect(defects: np.ndarray, *, skip: int = 0, last: int = 0) -> Any:
    """Largest defect in size, without ``skip`` first (start-up) and ``last`` final steps."""
    kept = defects[skip : len(defects) - last]
    if kept.size == 0:
        msg = (
            f"{len(defects)} steps less {skip} first and {last} last leave none; build a longer "
            f"plan."
        )
        raise PlanError(msg)
    return max(abs(value) for value in kept.ravel())


def defect_slopes(
    build: Callable[[Sequence[Any]], Plan],
    measure: Callable[[Plan], Any],
    t: Any,
    hs: Sequence[Any],
    *,
    steps: int = 6,
    uneven: Sequence[int] = (10, 13, 8, 11, 9),
) -> list[Any]:
    """Slopes of log ``measure(build(grid))`` against log h; p + 1 for a method of order p.

    Grids go down from ``t`` in ``steps`` steps of h ``uneven``/10. Use mpmath numbers for ``t``
    and ``hs``: defects of high order are far below float64's rounding. A defect at the level of
    rounding gives an infinite slope.
    """
    found = []
    for h in hs:
        grid = [t]
        for i in range(steps):
            grid.append(grid[-1] - h * uneven[i % len(uneven)] / 10)
        found.append(measure(build(grid)))
    return slopes(found, hs)


def slopes(defects: Sequence[Any], hs: Sequence[Any]) -> list[Any]:
    """Slopes of log defect against log h; infinite where a defect is only rounding."""
    xp = ops(hs[0])
    floor = rounding(xp.exact) * 10**4
    return [
        xp.log(defects[i] / defects[i + 1]) / xp.log(hs[i] / hs[i + 1])
        if defects[i + 1] > floor
        else xp.inf
        for i in range(len(hs) - 1)
    ]


def _exact(plan: Plan, process: Any, step: Step, eta: float, ancestral: bool) -> _Exact:
    if plan.predicts not in KINDS:
        raise PlanError(unknown("kind of prediction for order conditions:", plan.predicts, KINDS))
    t, alpha = step.t, process.alpha(step.end.time)
    eta, rho_end, rate = drift_end(process, step, eta, ancestral)
    xp = ops(rho_end)
    lam_t, lam_end = process.lam(t), -xp.log(rho_end)
    square, sigma = eta**2, alpha * rho_end
    if plan.predicts == "data":
        return _Exact(
            sigma / process.sigma(t) * xp.exp(-square * (lam_end - lam_t)),
            lambda lam: rate * sigma * xp.exp((1 + square) * lam - square * lam_end),
            lam_t,
            lam_end,
            alpha,
        )
    scale, psi = -rate * alpha, alpha / process.alpha(t)
    if plan.predicts == "noise":
        return _Exact(psi, lambda lam: scale * xp.exp(-lam), lam_t, lam_end, sigma)

    def per_score(lam: Any) -> Any:
        return -scale * xp.exp(-lam) * process.sigma(process.time_of_lam(lam))

    return _Exact(psi, per_score, lam_t, lam_end, sigma**2)


def _u_at(process: Any, variable: str, t: Any) -> Any:
    return t if variable == "t" else getattr(process, variable)(t)


def _u_of(process: Any, variable: str, lam: Any) -> Any:
    if variable == "lam":
        return lam
    return ops(lam).exp(-lam) if variable == "rho" else process.time_of_lam(lam)
