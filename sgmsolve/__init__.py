"""Numerical SDE and ODE solvers for score-based generative models.

    solution = sgmsolve.sample(process, model, method="dpm++2m", steps=20, shape=(2,))
    plan = sgmsolve.build_plan(process, "heun", nfe=20)
    solution = sgmsolve.solve(plan, model, z)

Importing this loads numpy, but neither torch nor jax nor scipy: those come with their first array.
Methods and targets are loaded when they are first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sgmsolve import errors as errors
from sgmsolve import grid as grid
from sgmsolve.backends import ForbiddenNoise as ForbiddenNoise
from sgmsolve.backends import KeyedNoise as KeyedNoise
from sgmsolve.backends import PathNoise as PathNoise
from sgmsolve.backends import ReplayNoise as ReplayNoise
from sgmsolve.backends import Solution as Solution
from sgmsolve.backends import State as State
from sgmsolve.backends import Step as Step
from sgmsolve.backends import solve as solve
from sgmsolve.backends import steps as steps
from sgmsolve.errors import SgmsolveError as SgmsolveError
from sgmsolve.errors import SolveError as SolveError
from sgmsolve.errors import Status as Status
from sgmsolve.plan import Plan as Plan
from sgmsolve.plan import PlanBuilder as PlanBuilder
from sgmsolve.process import CLD as CLD
from sgmsolve.process import EDM as EDM
from sgmsolve.process import PSLD as PSLD
from sgmsolve.process import VE as VE
from sgmsolve.process import VP as VP
from sgmsolve.process import AugmentedProcess as AugmentedProcess
from sgmsolve.process import Flow as Flow
from sgmsolve.process import SubVP as SubVP

if TYPE_CHECKING:
    from sgmsolve.conditioning import inpainting as inpainting
    from sgmsolve.model import CountCalls as CountCalls
    from sgmsolve.model import as_model as as_model
    from sgmsolve.precondition import invariance as invariance
    from sgmsolve.reverse import ProbabilityFlow as ProbabilityFlow
    from sgmsolve.reverse import ReverseSDE as ReverseSDE
    from sgmsolve.sampling import build_plan as build_plan
    from sgmsolve.sampling import sample as sample
    from sgmsolve.target import Empirical as Empirical
    from sgmsolve.target import Gaussian as Gaussian
    from sgmsolve.target import GaussianField as GaussianField
    from sgmsolve.target import GaussianMixture as GaussianMixture

__version__ = "0.1.0"

_LATER = {
    "CountCalls": "model",
    "as_model": "model",
    "build_plan": "sampling",
    "sample": "sampling",
    "Empirical": "target",
    "Gaussian": "target",
    "GaussianField": "target",
    "GaussianMixture": "target",
    "inpainting": "conditioning",
    "invariance": "precondition",
    "ProbabilityFlow": "reverse",
    "ReverseSDE": "reverse",
}
_PARTS = (
    "adapters",
    "adaptive",
    "analysis",
    "backends",
    "likelihood",
    "mcmc",
    "methods",
    "model",
    "phi",
    "plan",
    "precondition",
    "problems",
    "process",
    "reverse",
    "solving",
    "target",
)


# Without this, `from sgmsolve import *` would leave out what is loaded later. Submodules stay out.
__all__ = [
    "CLD",
    "EDM",
    "PSLD",
    "VE",
    "VP",
    "AugmentedProcess",
    "CountCalls",
    "Empirical",
    "Flow",
    "ForbiddenNoise",
    "Gaussian",
    "GaussianField",
    "GaussianMixture",
    "KeyedNoise",
    "PathNoise",
    "Plan",
    "PlanBuilder",
    "ProbabilityFlow",
    "ReplayNoise",
    "ReverseSDE",
    "SgmsolveError",
    "Solution",
    "SolveError",
    "State",
    "Status",
    "Step",
    "SubVP",
    "as_model",
    "build_plan",
    "errors",
    "grid",
    "inpainting",
    "invariance",
    "sample",
    "solve",
    "steps",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"sgmsolve.{_LATER[name]}"), name)
    if name in _PARTS:
        return importlib.import_module(f"sgmsolve.{name}")
    msg = f"module 'sgmsolve' has no attribute {name!r}."
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, *_PARTS})
