"""Every registered method meets the algebraic order conditions of what it claims.

In mpmath the local defects must fall as h^(p+1); exact weights must meet their polynomial
conditions to 1e-12 in float64; and a table with one coefficient off by 1 % must not pass.

A start-up step may be one order worse than the others: it is taken once, so its local defect
O(h^p) leaves the global order p. That is what "published" starts live on.
"""

import functools
from typing import Any

import mpmath
import numpy as np
import pytest
from condition_cases import (
    CASES,
    CORRECTED,
    GRID,
    HS,
    OWN_NOISE,
    TAIL,
    Case,
    corrected,
    each,
    each_exact,
    mp_grid,
)

from sgmsolve.plan import Plan
from sgmsolve.plan.conditions import noise_defects, polynomial_defects, slopes, tree_defects
from sgmsolve.plan.steps import Step, plan_steps
from sgmsolve.process.edm import EDM
from sgmsolve.process.ve import VE
from sgmsolve.process.vp import VP


@functools.cache
def _measure(case: Case, h: str) -> list[Any]:
    """Largest defect of every step: polynomials of degree up to p and trees of up to p nodes."""
    predictor_corrector = case.id.startswith(CORRECTED)
    with mpmath.workdps(80 if predictor_corrector else 50):
        grid = mp_grid(case, mpmath.mpf(h), case.startup + 3)
        if predictor_corrector:
            plan, steps = corrected(case, grid)
        else:
            plan = case.build(grid)
            steps = plan_steps(plan)
        return _largest(case, plan, steps)


def _largest(case: Case, plan: Plan, steps: list[Step]) -> list[Any]:
    process, p, how = VP(), case.bulk, dict(case.how, steps=steps)
    variable = case.method.variable
    poly = polynomial_defects(plan, process, p + 1, variable, local=False, **how)
    tree = tree_defects(plan, process, p, **how)
    return [max(abs(x) for x in [*a, *b]) for a, b in zip(poly, tree, strict=True)]


@each
def test_local_defects_fall_as_claimed(case: Case) -> None:
    large, small = (_measure(case, h) for h in HS)
    with mpmath.workdps(50):
        hs = [mpmath.mpf(h) for h in HS]
        found = [float(slopes(pair, hs)[0]) for pair in zip(large, small, strict=True)]
    tail = TAIL.get(case.name, 0)
    ends = [*found[: case.startup], *found[len(found) - tail :]]
    bulk = found[case.startup : len(found) - tail]
    assert len(bulk) >= 1
    assert min(bulk) > case.bulk + 1 - 0.05, found
    assert min([9.0, *ends]) > case.claim - 0.05, found
    # A claim may be modest only where noise, not the drift's quadrature, limits it.
    if set(case.method.orders) == {"deterministic"} and not tail:
        assert min(bulk) < case.bulk + 1 + 0.05, found


@each_exact
def test_exact_weights_integrate_polynomials_exactly(case: Case) -> None:
    degree = case.bulk
    if case.id.startswith(CORRECTED):
        degree -= 1  # between predicted states; the corrector's own degree is tested by the slopes
    startup, tail = case.startup, TAIL.get(case.name, 0)
    n = startup + 9
    grids = {
        VP(): np.linspace(0.8, 0.2, n),
        VE(): np.linspace(0.9, 0.4, n),
        EDM(): 40.0 * 0.75 ** np.arange(n),
    }
    for process, grid in grids.items():
        if "rho_low" in case.method.options:
            continue
        plan = case.method(process, grid, **_options(case))
        bulk = polynomial_defects(plan, process, degree, case.method.variable, **case.how)
        inside = bulk[startup : len(bulk) - tail].astype(float)
        assert np.abs(inside).max() < 1e-12
        if startup and case.start == "published":  # matched starts have truncated weights
            low = degree - case.bulk + case.claim - 1
            low = polynomial_defects(plan, process, low, case.method.variable, **case.how)
            assert np.abs(low[:startup].astype(float)).max() < 1e-12


def _options(case: Case) -> dict[str, Any]:
    known = case.method.options
    given = {"start": case.start, "weights": case.weights, "s_churn": 1.0, **case.extra}
    return {k: v for k, v in given.items() if k in known and v != ""}


# Up-steps are exact forward noise, not the family's: test_up_steps_are_exact has them.
UP = ("edm-churn", "euler-churn", "restart")
FAMILY = [c for c in CASES if c.eta > 0 and c.name not in (*UP, *OWN_NOISE)]


@pytest.mark.parametrize("case", FAMILY, ids=lambda c: c.id)
def test_noise_matches_the_family(case: Case) -> None:
    """The variance, and for weak order 2 the share of it that the stages have seen."""
    p = case.claim
    if case.how["ancestral"]:
        # The drift's conditions are for the very variance the plan has; to first order it is the
        # family's.
        p = 1
    measured = []
    for h in HS:
        with mpmath.workdps(50):
            plan = case.build(mp_grid(case, mpmath.mpf(h), case.startup + 3))
            found = noise_defects(plan, VP(), min(p, 2), eta=case.eta)
            measured.append([max(abs(x) for x in column) for column in found[case.startup :].T])
    with mpmath.workdps(50):
        hs = [mpmath.mpf(h) for h in HS]
        found = [float(slopes(pair, hs)[0]) for pair in zip(*measured, strict=True)]
    assert len(found) == (3 if p >= 2 else 1)
    assert min(found) > p + 1 - 0.05, found


@pytest.mark.parametrize("name", ["edm-churn", "euler-churn", "restart"])
def test_up_steps_are_exact(name: str) -> None:
    """Taking a step's noise off its end leaves a level of the grid: the up-move started there."""
    process = VP()
    levels = process.rho(np.asarray(GRID))
    plan = Case(name).build(GRID)
    ups = [s for s in plan_steps(plan) if s.end.noise]
    assert len(ups) >= 1
    for step in ups:
        t, s, fresh = step.t, step.end.time, sum(v[0] ** 2 for v in step.end.noise.values())
        assert step.end.psi[0, 0] == pytest.approx(process.alpha_ratio(t, s), rel=1e-13)
        before = np.sqrt(process.rho(s) ** 2 - fresh / process.alpha(s) ** 2)
        assert np.abs(levels / before - 1).min() < 1e-12
        assert before < process.rho(s) * (1 - 1e-3)


@each
def test_float_tables_are_the_exact_ones_rounded(case: Case) -> None:
    """No coefficient loses digits by cancellation; short steps lose what t - s itself loses."""
    for grid, digits in ((GRID, 1e-13), (0.1 * 0.9 ** np.arange(8), 1e-13), (SHORT, 1e-11)):
        floats = case.build(grid)
        with mpmath.workdps(40):
            exact = case.build([mpmath.mpf(float(t)) for t in grid])
        for table in ("move", "kick", "noise", "prelude_move", "prelude_noise"):
            got, want = _aligned(getattr(floats, table), getattr(exact, table).astype(np.float64))
            # Weights that vanish (1 - 1/2r at r = 1/2) are 0 in one table, rounding in the other.
            size = np.abs(want).max() if want.size else 0.0
            np.testing.assert_allclose(got, want, rtol=digits, atol=1e-15 * size, err_msg=table)


def _aligned(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
    """The same number of columns: one that holds nothing but zeros may be missing."""
    width = max(a.shape[-1], b.shape[-1])
    return [np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in (a, b)]


SHORT = np.array([0.95, 0.9499, 0.9497, 0.9496, 0.9494])
MUTATED = [
    Case("heun"),
    Case("dpm-solver-2", weights="published"),
    Case("dpm++2m", weights="exact"),
    Case("deis-tab-3"),
    Case("exp-rk3"),
    Case("unip-3", weights="exact"),
    Case("sde-dpm++2m", weights="exact"),
    Case("ddim-sde"),
    Case("euler-maruyama"),
    Case("dpm++sde"),
]


@pytest.mark.parametrize("case", MUTATED, ids=lambda c: c.id)
def test_one_percent_off_is_noticed(case: Case) -> None:
    rng = np.random.default_rng(7)
    with mpmath.workdps(50):
        plan = case.build(mp_grid(case, mpmath.mpf("1e-6"), case.startup + 3))

        def largest(p: Plan) -> Any:
            noise = noise_defects(p, VP(), min(case.claim, 2), eta=case.eta) if case.eta else []
            kept = [abs(x) for row in noise[case.startup :] for x in row]
            return max([*_largest(case, p, plan_steps(p))[case.startup :], *kept])

        right = largest(plan)
        for table in ("move", "kick", "noise"):
            values = getattr(plan, table)
            entries = np.argwhere(abs(values) > 1e-20)
            entries = entries[entries[:, 0] >= plan.rows - 2]  # rows of steps after the start
            for index in rng.permutation(entries)[:2]:
                wrong = values.copy()
                wrong[tuple(index)] *= mpmath.mpf("1.01")
                assert largest(plan.replace(**{table: wrong})) > 10 * right, (table, index)
