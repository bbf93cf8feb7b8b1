"""Which method, with which options, is held to which order conditions."""

from dataclasses import dataclass, field
from typing import Any

import mpmath
import numpy as np
import pytest

from sgmsolve.methods.registry import Method, find, methods_for
from sgmsolve.plan import Plan, Response
from sgmsolve.plan.steps import Step, steps_between
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
# Uniform-grid weights on any grid, by design: their claim is for smooth images of uniform grids.
UNIFORM = {"pndm", "ipndm-2", "ipndm-3", "ipndm-4"}
# Steps at the end that are of lower order by design: 3k + 1 or 3k + 2 evaluations.
TAIL = {"dpm-solver-fast": 2}
# The corrected state is never held: the step is read from plans that end right after correcting.
CORRECTED = (
    "unipc-",
    "sa-solver-published-tau=0",
    "target-aware-published",
    "target-aware-matched",
)
# Residuals of the start's predicted states, which are as far off as those, are remembered.
REMEMBERED = {"target-aware": 2}
# The fit's own drift acts on the noise inside a step, so its variance is not the family's.
# calibrated: half a step's noise at the end of the plan (tests/methods/test_calibrated.py).
OWN_NOISE = ("target-aware-sde", "calibrated-reverse-diffusion")


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
        more = REMEMBERED.get(self.name, 0) if self.start == "published" else 0
        return self.build(GRID, start="published").history - 1 + more

    def build(self, grid: Any, **options: Any) -> Plan:
        chosen = {**self.extra, **options}
        known = self.method.options
        for key, value in (("start", self.start), ("weights", self.weights)):
            if key in known and value:
                chosen.setdefault(key, value)
        if "s_churn" in known:  # churn in proportion to the step, as with s_churn fixed and N large
            chosen["s_churn"] = (len(grid) - 1) * float(grid[0] - grid[1])
        if "rho_low" in known:  # back up over two steps in the middle of the grid
            chosen["rho_low"], chosen["rho_high"] = (float(VP().rho(grid[i])) for i in (3, 1))
        return self.method(VP(), grid, **{k: v for k, v in chosen.items() if k in known})


GRID = np.linspace(0.7, 0.4, 9)
EXTRA = [
    Case("ddim", extra={"eta": 0.5}),
    Case("euler-maruyama", extra={"eta": 0.5}),
    Case("sde-dpm++2m", weights="published", extra={"eta": 0.6}),
    Case("sde-dpm++2m", weights="exact", extra={"eta": 0.6}),
    Case("sa-solver", extra={"tau": 0.7}),
    Case("sa-solver", extra={"tau": 0.0}),
]


def _cases() -> list[Case]:
    out = []
    for m in methods_for(VP()):
        if not m.orders:  # nothing is claimed of the default options
            continue
        for start in m.starts:
            for weights in m.weights if "weights" in m.options else ("",):
                out.append(Case(m.name, start, weights))
    return out + EXTRA


def _marked(case: Case) -> Any:
    """Combinations whose parts are all in the fast tier go to the slow one, as do long ones."""
    both = "exact" in case.method.weights and case.weights == "published"
    twice = (both and case.start == "matched") or case.name.startswith("unipc-noise-")
    # conjugate solves for its flow by collocation, in 50 digits 10 s a plan.
    collocated = case.name in ("conjugate", "lambda-ddim-1")
    long = collocated or (twice and (both or case.start == "matched"))
    marks = [pytest.mark.slow] if long else []
    return pytest.param(case, id=case.id, marks=marks)


CASES = _cases()
each = pytest.mark.parametrize("case", [_marked(case) for case in CASES])
each_exact = pytest.mark.parametrize("case", [_marked(case) for case in CASES if case.exact])
HS = ("1e-4", "1e-5")


def mp_grid(case: Case, h: Any, steps: int) -> list[Any]:
    uneven = (10,) if case.name in UNIFORM else (10, 13, 8, 11, 9)
    grid = [mpmath.mpf("0.6")]
    for i in range(steps):
        grid.append(grid[-1] - h * uneven[i % len(uneven)] / 10)
    return grid


def corrected(case: Case, grid: list[Any]) -> tuple[Plan, list[Step]]:
    """Steps between corrected states: what a plan gives whose last step is next to nothing."""
    tiny = mpmath.mpf(10) ** -40

    def ending(n: int) -> Plan:
        return case.build([*grid[: n + 1], grid[n] - tiny])

    full = ending(len(grid) - 1)
    points = [(grid[0], 0, full.node_responses()[0])]
    for n in range(1, len(grid)):
        plan = ending(n)
        done = max(r for r in range(plan.rows) if plan.t[r] == grid[n]) + 1
        there = plan.response()
        # Rows after that one belong to the tiny step; in the full plan they are other rows.
        points.append((grid[n], done, Response(there.z0, there.predictions[:done], there.noise)))
    return full, steps_between(full, points)
