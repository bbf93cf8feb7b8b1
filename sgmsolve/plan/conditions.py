"""Algebraic order conditions of a plan: a wrong coefficient is found without running anything.

The reverse family of a scalar process is dx = [f x - (1 + eta^2)/2 g^2 score] dt + eta g dw. With lam =
log(alpha/sigma) and rho = sigma/alpha it is a quadrature in disguise:

    noise prediction   y = x/alpha,                 dy = (1 + eta^2) e drho
    data prediction    y = x e^{eta^2 lam}/sigma,   dy = (1 + eta^2) e^{eta^2 lam} x0 d(e^lam)

(score = -noise/sigma). A method of order p must integrate predictions that are polynomials of degree < p
in its variable: exactly if its weights are exact, up to O(h^{p+1}) if they are truncated. Multi-stage
methods also have to meet the rooted-tree conditions, stochastic ones those on the noise. Lu et al. 2022
(DPM-Solver), section 3; Zhang & Chen 2023 (DEIS), section 3; Hairer, Norsett & Wanner, chapter II.2.
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
from sgmsolve.plan.steps import Formula, Step, plan_steps
from sgmsolve.plan.trees import LEAF, coefficient, order, rooted_trees

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
) -> np.ndarray:
    """Defects of every step for predictions ((u - u_t)/scale)^d, d < ``degree``.

    Column 0 is the relative error of the linear flow, column 1 + d that of degree d, in units of the
    size of what is predicted (sigma_s times noise, alpha_s times data). Shape (steps, 1 + degree).

    Args:
        plan: a plan of a scalar process.
        process: the process it was built for.
        degree: number of conditions: the order p, or p + 1 to see the leading error as well.
        variable: u, one of ``"lam"``, ``"rho"``, ``"t"``.
        eta: stochasticity of the reverse family.
        ancestral: compare with a deterministic step below s and exact fresh noise on top, the
            variance read from the plan (ancestral sampling, DDIM, churn), instead of ``eta``.
        local: scale = length of the step (any grid); False: a fixed scale, for slopes.

    Raises:
        PlanError: more than one component, or an unknown variable or kind of prediction.
    """
    if variable not in VARIABLES:
        raise PlanError(unknown("variable", variable, VARIABLES))
    out = []
    for step in _steps(plan, process):
        exact = _exact(plan, process, step, eta, ancestral)
        u_t = _u_at(process, variable, step.t)
        scale = _u_of(process, variable, exact.lam_end) - u_t
        if not local or scale == 0:
            scale = {"lam": 1, "rho": u_t, "t": u_t}[variable]
        row = [step.end.psi[0, 0] / exact.psi - 1]
        for d in range(degree):

            def weighted(lam: Any, d: int = d, e: _Exact = exact, u: Any = u_t, c: Any = scale) -> Any:
                return e.density(lam) * ((_u_of(process, variable, lam) - u) / c) ** d

            target = integrate(weighted, exact.lam_t, exact.lam_end)
            sums = [
                w[0, 0] * ((_u_at(process, variable, plan.t[r]) - u_t) / scale) ** d
                for r, w in step.end.weights.items()
            ]
            row.append((sum(sums) - target) / exact.size)
        out.append(row)
    return np.array(out)


def tree_defects(
    plan: Plan, process: Any, highest: int, *, eta: float = 0.0, ancestral: bool = False
) -> np.ndarray:
    """Defects of every step for the system that isolates each rooted tree of up to ``highest`` nodes.

    In y = x/alpha the noise-prediction flow is dy = (1 + eta^2) e(y, rho) drho. The system with one
    component a tree, e_tree = product of its subtrees' y (and of rho - rho_t for each leaf "u"), has
    y_tree = c (rho - rho_t)^order exactly. The plan's own step, stages included, is run on it, each noise
    prediction converted to the plan's kind at the point where it is made; history is exact. An extra
    component with e = 0, y = 1 multiplies all others, so that a wrong linear flow in a stage is noticed.
    Shape (steps, 1 + trees) in units of rho_t^order; a method of order p has O(h^{p+1}) for all trees.
    """
    trees = rooted_trees(highest)
    out = []
    for step in _steps(plan, process):
        _, rho_end, rate = _target(process, step, eta, ancestral)
        rho_t, alpha_t = process.rho(step.t), process.alpha(step.t)
        constants = [rate ** _grown(tree) * _fraction(coefficient(tree), rho_t) for tree in trees]

        def solution(rho: Any, c: list[Any] = constants, base: Any = rho_t) -> list[Any]:
            return [1, *(k * (rho - base) ** order(q) for k, q in zip(c, trees, strict=True))]

        def point(at: Formula, seen: dict[int, list[Any]], first: Any = alpha_t) -> list[Any]:
            psi = at.psi[0, 0]
            x = [psi * first, *(0 * psi for _ in trees)]
            for r, w in at.weights.items():
                x = [a + w[0, 0] * b for a, b in zip(x, seen[r], strict=True)]
            alpha = process.alpha(at.time)
            return [a / alpha for a in x]

        predictions: dict[int, list[Any]] = {}
        used = {r for f in (step.end, *step.stages.values()) for r in f.weights}
        for r in sorted(used):
            t, rho = plan.t[r], process.rho(plan.t[r])
            y = point(step.stages[r], predictions) if r in step.stages else solution(rho)
            noise = [0, *_products(trees, y, rho - rho_t)]
            a, b = process.conversion_scalars("noise", plan.predicts, t)
            x = [process.alpha(t) * value for value in y]
            predictions[r] = [a * v + b * n for v, n in zip(x, noise, strict=True)]
        got, want = point(step.end, predictions), solution(rho_end)
        size = [1, *(rho_t ** order(tree) for tree in trees)]
        out.append([(g - w) / c for g, w, c in zip(got, want, size, strict=True)])
    return np.array(out)


def noise_defects(plan: Plan, process: Any, weak: int, *, eta: float) -> np.ndarray:
    """Defects of the noise of every step, in y and its clock c (see below), relative to Var at t.

    Columns: total variance; for ``weak`` >= 2 also sum_j w_j Cov(y_j, y_s) and sum_j w_j Var(y_j)
    against int c, the conditions that tie a stage's noise to the step's (for the drift e = y). In the
    plan's own y noise is Brownian in c = eta^2 (rho_t^2 - rho^2) for noise prediction and
    c = e^{2 eta^2 lam} - e^{2 eta^2 lam_t} for data prediction. History has c < 0.
    """
    rows = []
    for step in _steps(plan, process):
        rho_t, lam_t = process.rho(step.t), process.lam(step.t)
        exp = ops(lam_t).exp
        data = plan.predicts == "data"

        def per_x(t: Any, data: bool = data, exp: Any = exp) -> Any:
            return exp(eta**2 * process.lam(t)) / process.sigma(t) if data else 1 / process.alpha(t)

        def clock(lam: Any, data: bool = data, base: Any = lam_t, exp: Any = exp) -> Any:
            if data:
                return exp(2 * eta**2 * lam) - exp(2 * eta**2 * base)
            return eta**2 * (exp(-2 * base) - exp(-2 * lam))

        end = {d: v[0] * per_x(step.end.time) for d, v in step.end.noise.items()}
        unit = exp(2 * eta**2 * lam_t) if data else rho_t**2
        row = [(sum(v * v for v in end.values()) - clock(process.lam(step.end.time))) / unit]
        if weak >= 2:
            exact = _exact(plan, process, step, eta, ancestral=False)
            scale = per_x(step.end.time)
            target = scale * integrate(
                lambda lam, e=exact, c=clock: e.density(lam) * c(lam), exact.lam_t, exact.lam_end
            )
            together, alone = -target, -target
            for r, w in step.end.weights.items():
                weight, lam_r = scale * w[0, 0], process.lam(plan.t[r])
                if r in step.stages:
                    noise = step.stages[r].noise
                    stage = {d: v[0] * per_x(plan.t[r]) for d, v in noise.items()}
                    together = together + weight * sum(v * end.get(d, 0) for d, v in stage.items())
                    alone = alone + weight * sum(v * v for v in stage.values())
                else:
                    together = together + weight * clock(lam_r)
                    alone = alone + weight * clock(lam_r)
            row += [together / unit / scale / exact.size, alone / unit / scale / exact.size]
        rows.append(row)
    return np.array(rows)


def defect(defects: np.ndarray, *, skip: int = 0, last: int = 0) -> Any:
    """Largest defect in size, without ``skip`` first (start-up) and ``last`` final steps."""
    kept = defects[skip : len(defects) - last]
    if kept.size == 0:
        msg = f"{len(defects)} steps less {skip} first and {last} last leave none; build a longer plan."
        raise PlanError(msg)
    return max(abs(value) for value in kept.ravel())


def defect_slopes(
    build: Callable[[Sequence[Any]], Plan],
    measure: Callable[[Plan], Any],
    t: Any,
    hs: Sequence[Any],
    *,
    steps: int = 6,
) -> list[Any]:
    """Slopes of log ``measure(build(grid))`` against log h; p + 1 for a method of order p.

    Grids go down from ``t`` in ``steps`` uneven steps of about h. Use mpmath numbers for ``t`` and ``hs``:
    defects of high order are far below float64's rounding. A defect of exactly 0 gives infinite slopes.
    """
    found = []
    for h in hs:
        grid, uneven = [t], (10, 13, 8, 11, 9)
        for i in range(steps):
            grid.append(grid[-1] - h * uneven[i % 5] / 10)
        found.append(measure(build(grid)))
    log = ops(t).log
    return [
        log(found[i] / found[i + 1]) / log(hs[i] / hs[i + 1]) if found[i + 1] else ops(t).inf
        for i in range(len(hs) - 1)
    ]


def _steps(plan: Plan, process: Any) -> list[Step]:
    """Steps that move in time (a denoising row does not), checked to be scalar and of a known kind."""
    if plan.m != 1 or plan.p != 1:
        msg = (
            f"plan {plan.name!r} has {plan.m} components, but these order conditions are for scalar "
            f"processes; use step_weights to read its steps."
        )
        raise PlanError(msg)
    if plan.predicts not in KINDS:
        raise PlanError(unknown("kind of prediction for order conditions:", plan.predicts, KINDS))
    return [s for s in plan_steps(plan) if s.t != s.end.time]


def _target(process: Any, step: Step, eta: float, ancestral: bool) -> tuple[float, Any, Any]:
    """(eta, rho at which the drift's step ends, 1 + eta^2)."""
    s = step.end.time
    rho = process.rho(s)
    if not ancestral:
        return eta, rho, 1 + eta**2
    fresh = sum(v[0] ** 2 for v in step.end.noise.values())
    return 0.0, ops(rho).sqrt(rho**2 - fresh / process.alpha(s) ** 2), 1


def _exact(plan: Plan, process: Any, step: Step, eta: float, ancestral: bool) -> _Exact:
    t, alpha = step.t, process.alpha(step.end.time)
    eta, rho_end, rate = _target(process, step, eta, ancestral)
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
    scale, size = -rate * alpha, sigma
    if plan.predicts == "noise":
        return _Exact(alpha / process.alpha(t), lambda lam: scale * xp.exp(-lam), lam_t, lam_end, size)
    return _Exact(
        alpha / process.alpha(t),
        lambda lam: -scale * xp.exp(-lam) * process.sigma(process.time_of_lam(lam)),
        lam_t,
        lam_end,
        size * sigma,
    )


def _u_at(process: Any, variable: str, t: Any) -> Any:
    return t if variable == "t" else getattr(process, variable)(t)


def _u_of(process: Any, variable: str, lam: Any) -> Any:
    if variable == "lam":
        return lam
    return ops(lam).exp(-lam) if variable == "rho" else process.time_of_lam(lam)


def _grown(tree: Any) -> int:
    """Nodes of a tree that are not leaves "u": each brings a factor 1 + eta^2."""
    return 0 if tree == LEAF else 1 + sum(_grown(child) for child in tree)


def _fraction(c: Any, like: Any) -> Any:
    """A fraction in the number type of ``like``."""
    return (c.numerator + 0 * like) / c.denominator


def _products(trees: Sequence[Any], y: Sequence[Any], u: Any) -> list[Any]:
    """e of every tree: y of the constant component times y of its subtrees, u for leaves."""
    index = {tree: i for i, tree in enumerate(trees, start=1)}
    out = []
    for tree in trees:
        value = y[0]
        for child in tree:
            value = value * (u if child == LEAF else y[index[child]])
        out.append(value)
    return out
