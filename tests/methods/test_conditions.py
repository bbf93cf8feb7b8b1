"""Every registered method meets the algebraic order conditions of what it claims.

In mpmath the local defects must fall as h^(p+1); exact weights must meet their polynomial conditions
to 1e-12 in float64; and a table with one coefficient off by 1 % must not pass.

A start-up step may be one order worse than the others: it is taken once, so its local defect
O(h^p) leaves the global order p. That is what "published" starts live on.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import pytest
from sgmsolve.methods.registry import Method, all_methods, find
from sgmsolve.plan import Plan
from sgmsolve.plan.conditions import (
    defect_slopes,
    noise_defects,
    polynomial_defects,
    slopes,
    tree_defects,
)
from sgmsolve.plan.steps import Step, plan_steps, steps_between
from sgmsolve.process.edm import EDM
from sgmsolve.process.ve import VE
from sgmsolve.process.vp import VP

# An ODE step to below s and fresh noise on top, whatever the family's eta would be.
ANCESTRAL = {
    "ancestral",
    "ddim-sde",
    "dpm++2s-ancestral",
    "dpm2-ancestral",
    "edm-churn",
    "euler-ancestral",
    "euler-churn",
    "restart",
}
# Stages meet the conditions, but the quadrature of the last stage alone is exact to a lower degree.
EXACT_DEGREE = {"dpm-solver-3": 2, "dpm++3s": 2, "exp-rk4": 3, "exp-rk4s5": 3, "sde-dpm++3s": 2}
EXACT_DEGREE |= {f"{name}-noise": d for name, d in EXACT_DEGREE.items() if name.startswith("exp")}
# Uniform-grid weights on any grid, by design: their claim is for smooth images of uniform grids.
UNIFORM = {"pndm", "ipndm-2", "ipndm-3", "ipndm-4"}
# Steps at the end that are of lower order by design: 3k + 1 or 3k + 2 evaluations.
TAIL = {"dpm-solver-fast": 2}
# The corrected state is never held: the step is read from plans that end right after correcting.
CORRECTED = ("unipc-",)


@dataclass(frozen=True)
class Case:
    """A method with options; ``options`` may depend on the grid."""

    name: str
    start: str = "published"
    weights: str = ""
    extra: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def method(self) -> Method:
        return find(self.name)

    @property
    def id(self) -> str:
        more = "-".join(f"{k}={v}" for k, v in self.extra.items())
        return "-".join(filter(None, [self.name, self.start, self.weights, more]))

    @property
    def exact(self) -> bool:
        return (self.weights or self.method.weights[0]) == "exact"

    @property
    def eta(self) -> float:
        options = {**self.method.options, **self.extra}
        return float(options.get("eta", options.get("tau", self.method.stochastic)))

    @property
    def how(self) -> dict[str, Any]:
        ancestral = self.name in ANCESTRAL or (self.name == "ddim" and self.eta > 0)
        return {"eta": 0.0 if ancestral else self.eta, "ancestral": ancestral}

    @property
    def claim(self) -> int:
        return int(max(self.method.claims(self.start).values()))

    @property
    def bulk(self) -> int:
        """Order of the steps after the start."""
        return max(self.claim, int(max(self.method.claims("matched").values())))

    @property
    def startup(self) -> int:
        if "start" not in self.method.options and self.method.family != "multistep":
            return max(0, self.build(GRID, start="published").history - self.method.stages)
        return self.build(GRID, start="published").history - 1

    def build(self, grid: Any, **options: Any) -> Plan:
        chosen = {**self.extra, **options}
        known = self.method.options
        for key, value in (("start", self.start), ("weights", self.weights)):
            if key in known and value:
                chosen.setdefault(key, value)
        if "s_churn" in known:  # churn in proportion to the step, as with s_churn fixed and N large
            chosen["s_churn"] = (len(grid) - 1) * float(grid[0] - grid[1])
        if "rho_low" in known:  # back up over two steps in the middle of the grid
            chosen["rho_low"], chosen["rho_high"] = (float(VP().rho(grid[i])) for i in (4, 2))
        return self.method(VP(), grid, **{k: v for k, v in chosen.items() if k in known})


GRID = np.linspace(0.7, 0.4, 9)
EXTRA = [
    Case("ddim", extra={"eta": 0.5}),
    Case("euler-maruyama", extra={"eta": 0.5}),
    Case("sde-dpm++2m", weights="published", extra={"eta": 0.6}),
    Case("sde-dpm++2m", weights="exact", extra={"eta": 0.6}),
    Case("sa-solver", extra={"tau": 0.7}),
    Case("sa-solver", extra={"tau": 0.0}),
    Case("deis-tab-2", extra={}),
]


def _cases() -> list[Case]:
    out = []
    for m in all_methods():
        for start in m.starts:
            for weights in m.weights if "weights" in m.options else ("",):
                out.append(Case(m.name, start, weights))
    return out + EXTRA


CASES = _cases()
each = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
HS = ("1e-4", "1e-5")


def _grid(case: Case, h: Any, steps: int) -> list[Any]:
    uneven = (10,) if case.name in UNIFORM else (10, 13, 8, 11, 9)
    grid = [mpmath.mpf("0.6")]
    for i in range(steps):
        grid.append(grid[-1] - h * uneven[i % len(uneven)] / 10)
    return grid


def _corrected(case: Case, grid: list[Any]) -> tuple[Plan, list[Step]]:
    """Steps between corrected states: what a plan gives whose last step is next to nothing."""
    tiny = mpmath.mpf(10) ** -40

    def ending(n: int) -> Plan:
        return case.build([*grid[: n + 1], grid[n] - tiny])

    full = ending(len(grid) - 1)
    points = [(grid[0], 0, full.node_responses()[0])]
    for n in range(1, len(grid)):
        plan = ending(n)
        done = max(r for r in range(plan.rows) if plan.t[r] == grid[n]) + 1
        points.append((grid[n], done, plan.response()))
    return full, steps_between(full, points)


@functools.cache
def _measure(case: Case, h: str) -> list[Any]:
    """Largest defect of every step: polynomials up to degree p (the leading one) and trees up to p."""
    corrected = case.name.startswith(CORRECTED)
    with mpmath.workdps(80 if corrected else 50):
        grid = _grid(case, mpmath.mpf(h), case.startup + 3)
        if corrected:
            plan, steps = _corrected(case, grid)
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
    if case.eta == 0 and not tail:
        assert min(bulk) < case.bulk + 1 + 0.05, found


@each
def test_exact_weights_integrate_polynomials_exactly(case: Case) -> None:
    if not case.exact:
        pytest.skip("truncated weights: the slopes are the condition")
    degree = EXACT_DEGREE.get(case.name, case.bulk)
    if case.name.startswith(CORRECTED):
        degree -= 1  # between predicted states; the corrector's own degree is tested by the slopes
    startup, tail = case.startup, TAIL.get(case.name, 0)
    grids = {VP(): np.linspace(0.8, 0.2, startup + 9), EDM(): 40.0 * 0.75 ** np.arange(startup + 9)}
    for process, grid in grids.items():
        if "rho_low" in case.method.options:
            continue
        plan = case.method(process, grid, **_options(case))
        bulk = polynomial_defects(plan, process, degree, case.method.variable, **case.how)
        inside = bulk[startup : len(bulk) - tail].astype(float)
        assert np.abs(inside).max() < 1e-12
        if startup:
            low = polynomial_defects(plan, process, case.claim - 1, case.method.variable, **case.how)
            assert np.abs(low[:startup].astype(float)).max() < 1e-12


def _options(case: Case) -> dict[str, Any]:
    known = case.method.options
    given = {"start": case.start, "weights": case.weights, "s_churn": 1.0, **case.extra}
    return {k: v for k, v in given.items() if k in known and v != ""}


@pytest.mark.parametrize("case", [c for c in CASES if c.eta > 0], ids=lambda c: c.id)
def test_noise_matches_the_family(case: Case) -> None:
    """The variance, and for weak order 2 the share of it that the stages have seen."""
    p = case.claim
    if case.how["ancestral"]:
        # The drift's conditions are for the very variance the plan has; to first order it is the
        # family's, except for churn and restart, whose noise goes up before it comes down.
        if case.name in ("edm-churn", "euler-churn", "restart"):
            pytest.skip("up-steps are exact forward noise: test_up_steps_are_exact")
        p = 1
    measured = []
    for h in HS:
        with mpmath.workdps(50):
            plan = case.build(_grid(case, mpmath.mpf(h), case.startup + 3))
            found = noise_defects(plan, VP(), min(p, 2), eta=case.eta)
            measured.append([max(abs(x) for x in column) for column in found[case.startup :].T])
    with mpmath.workdps(50):
        hs = [mpmath.mpf(h) for h in HS]
        found = [float(slopes(pair, hs)[0]) for pair in zip(*measured, strict=True)]
    assert len(found) == (3 if p >= 2 else 1)
    assert min(found) > p + 1 - 0.05, found


@pytest.mark.parametrize("name", ["edm-churn", "euler-churn", "restart"])
def test_up_steps_are_exact(name: str) -> None:
    plan = Case(name).build(GRID)
    ups = [s for s in plan_steps(plan) if s.end.time > s.t]
    assert len(ups) >= 1
    for step in ups:
        process = VP()
        assert step.end.psi[0, 0] == pytest.approx(process.alpha_ratio(step.t, step.end.time), rel=1e-13)
        variance = sum(v[0] ** 2 for v in step.end.noise.values())
        assert variance == pytest.approx(process.transition_variance(step.t, step.end.time), rel=1e-12)
        assert not step.end.weights


@each
def test_float_tables_are_the_exact_ones_rounded(case: Case) -> None:
    """No coefficient loses digits by cancellation: long steps, and short ones near both ends."""
    for grid in (GRID, np.array([0.95, 0.9499, 0.9497, 0.9496]), 0.1 * 0.97 ** np.arange(6)):
        floats = case.build(grid)
        with mpmath.workdps(40):
            exact = case.build([mpmath.mpf(float(t)) for t in grid])
        for table in ("move", "kick", "noise", "prelude_move", "prelude_noise"):
            got, want = getattr(floats, table), getattr(exact, table).astype(np.float64)
            np.testing.assert_allclose(got, want, rtol=1e-13, atol=0, err_msg=table)
            assert np.array_equal(got != 0, want != 0)


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
        plan = case.build(_grid(case, mpmath.mpf("1e-4"), case.startup + 3))

        def largest(p: Plan) -> Any:
            noise = noise_defects(p, VP(), min(case.claim, 2), eta=case.eta) if case.eta else []
            kept = [abs(x) for row in noise[case.startup :] for x in row]
            return max([*_largest(case, p, plan_steps(p))[case.startup :], *kept])

        right = largest(plan)
        for table in ("move", "kick", "noise"):
            values = getattr(plan, table)
            entries = np.argwhere(values != 0)
            entries = entries[entries[:, 0] >= plan.rows - 2]  # rows of steps after the start
            for index in rng.permutation(entries)[:2]:
                wrong = values.copy()
                wrong[tuple(index)] *= mpmath.mpf("1.01")
                assert largest(plan.replace(**{table: wrong})) > 10 * right, (table, index)


def test_ve_scales_like_vp() -> None:
    """The same conditions hold under another process, where alpha = 1."""
    process = VE()
    plan = find("heun")(process, np.linspace(0.9, 0.4, 7))
    assert np.abs(polynomial_defects(plan, process, 2, "rho").astype(float)).max() < 1e-12


def test_defect_slopes_of_a_second_order_method() -> None:
    with mpmath.workdps(50):
        found = defect_slopes(
            lambda grid: find("dpm-solver-2")(VP(), grid),
            lambda plan: max(abs(x) for x in polynomial_defects(plan, VP(), 3, "lam", local=False).ravel()),
            mpmath.mpf("0.5"),
            [mpmath.mpf("1e-3"), mpmath.mpf("1e-4"), mpmath.mpf("1e-5")],
        )
    assert [float(s) for s in found] == pytest.approx([3, 3], abs=0.05)
