"""One record a solver that is no plan, and one list of names for plans and solvers together."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Mapping
from typing import Any

from sgmsolve.adapters import known_methods
from sgmsolve.adapters._common import EXTRA
from sgmsolve.adapters.run import ADAPTIVE, EITHER, FOR_ODES, IMPLICIT, OPTIONS
from sgmsolve.adaptive import predictor_corrector
from sgmsolve.adaptive import registry as adaptive
from sgmsolve.adaptive.run import COMMON
from sgmsolve.errors import MethodError, unknown
from sgmsolve.methods.registry import Method, all_methods, find
from sgmsolve.solving.libraries import SOLVERS, Cost

NAMED = ("steps", "grid", "seed", "indices", "generator", "progress")
"""Options of ``solve_with`` and ``solve_adaptive`` that are arguments of ``sample``."""

DEFAULTS: Mapping[str, Any] = {
    **{"norm": "rms", "max_steps": 100_000, "noise": "bridge", "compact": True, "jit": True},
    **{"dense": False, "denoise": False, "eta": 1.0, "on_failure": "warn"},
    **{"adaptive": False, "per_sample": False},
    **{"preconditioner": None, "where": "exact-split", "skew": None},
}
"""Defaults of options that many solvers have."""

OPERATORS = ("preconditioner", "where", "skew")
"""Options that belong to the equation, of solvers of SDEs and ODEs alike."""


@dataclasses.dataclass(frozen=True)
class SolverMethod:
    """What is known about a solver that is no plan.

    Attributes:
        name: what users type.
        family: ``"adaptive"`` (our own), ``"predictor-corrector"`` (our own, with given steps),
            ``"torchsde"``, ``"torchdiffeq"`` or ``"diffrax"``.
        summary: one line.
        kind: ``"ode"`` (solves the probability flow), ``"sde"`` (the reverse SDE) or ``"either"``
            (the reverse SDE, unless eta = 0).
        options: name -> default, None where there is none.
        cost: (a, b): N fixed steps take a + b N evaluations; None if that is no fixed number.
        reference: where it comes from.
        aliases: other names of it.
    """

    name: str
    family: str
    summary: str
    kind: str
    options: Mapping[str, Any]
    cost: Cost = None
    reference: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def library(self) -> str | None:
        """The array library that it runs on, None for all."""
        return EXTRA.get(self.family)

    def stochastic(self, options: Mapping[str, Any]) -> bool:
        """Whether it solves an SDE with these options."""
        eta = options.get("eta", 1.0)
        return self.kind == "sde" or (self.kind == "either" and (callable(eta) or eta != 0))

    def controls(self, options: Mapping[str, Any]) -> bool:
        """Whether error estimates choose its steps with these options, unless steps are given."""
        if self.family == "adaptive":
            return True
        name = self.name.partition(":")[2]
        if self.family == "torchdiffeq":
            return name in ADAPTIVE
        if self.family == "torchsde":
            return bool(options.get("adaptive"))
        return name in IMPLICIT or not {"rtol", "atol", "controller"}.isdisjoint(options)

    def cost_of(self, options: Mapping[str, Any]) -> Cost:
        """(a, b) with these options: N fixed steps take a + b N evaluations; None as for cost."""
        if self.family != "predictor-corrector":
            return self.cost
        # Corrections at every level, a predictor step to the next, a mean after the last.
        given = {**self.options, **options}
        each, predicted = int(given["corrector_steps"]), given["predictor"] != "none"
        last = each + 1 if given["final"] != "none" else 0 if predicted else each
        return last, each + predicted

    def spends(self, options: Mapping[str, Any]) -> bool:
        """Whether a budget or number of steps must be given next to these options."""
        return not self.controls(options) and "dt" not in options


@functools.cache
def solver_methods() -> Mapping[str, SolverMethod]:
    """Every solver that is no plan, by name."""
    found = [_own(solver) for solver in adaptive.solvers().values()]
    found.append(_corrected())
    found += [_foreign(name) for name in known_methods()]
    return {record.name: record for record in found}


def find_method(name: str) -> Method | SolverMethod:
    """The record of a plan method or a solver, by name or alias.

    Raises: MethodError with the nearest of all names.
    """
    plans = [key for record in all_methods() for key in (record.name, *record.aliases)]
    if name in plans:
        return find(name)
    records = solver_methods().values()
    known = {key: record for record in records for key in (record.name, *record.aliases)}
    if name not in known:
        raise MethodError(unknown("method", name, [*plans, *known]))
    return known[name]


def _own(solver: adaptive.Solver) -> SolverMethod:
    """The record of one of our adaptive solvers."""
    parameters = inspect.signature(solver.make).parameters
    options = {
        name: None if name not in parameters else parameters[name].default
        for name in solver.options
    }
    skipped = {*NAMED, "dense" if solver.stochastic else "noise"}
    common = [name for name in COMMON if name not in skipped]
    options |= {name: DEFAULTS.get(name) for name in common}
    options |= {"rtol": solver.rtol, "atol": solver.atol}
    names = [*OPERATORS, *(["eta"] if solver.stochastic else [])]
    options |= {name: DEFAULTS[name] for name in names}
    return SolverMethod(
        solver.name,
        "adaptive",
        solver.summary,
        "sde" if solver.stochastic else "ode",
        options,
        None,
        solver.reference,
        solver.aliases,
    )


def _corrected() -> SolverMethod:
    """The record of the sampler whose corrector takes its steps from the norms of the run."""
    parameters = inspect.signature(predictor_corrector.solve_with_norms).parameters.values()
    own = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in NAMED]
    return SolverMethod(
        predictor_corrector.NAME,
        "predictor-corrector",
        "predictor-corrector, steps by the norms of each sample or of the batch",
        "sde",
        {p.name: p.default for p in own} | {name: DEFAULTS[name] for name in OPERATORS},
        (2, 2),
        "Song et al. 2021, arXiv:2011.13456, Algorithms 4 and 5",
        ("pc-norms",),
    )


def _foreign(method: str) -> SolverMethod:
    """The record of another library's solver."""
    family, _, name = method.partition(":")
    summary, cost = SOLVERS[method]
    ode = family == "torchdiffeq" or (family == "diffrax" and name in {**FOR_ODES, **IMPLICIT})
    either = family == "diffrax" and name in EITHER
    kind = "ode" if ode else "either" if either else "sde"
    names = [name for name in OPTIONS[family] if name not in NAMED]
    names += ["denoise", "on_failure", *OPERATORS] + ([] if ode else ["eta"])
    options = {name: DEFAULTS.get(name) if name != "max_steps" else None for name in names}
    return SolverMethod(method, family, summary, kind, options, cost)
