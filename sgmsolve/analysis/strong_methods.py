"""Whose strong orders are measured, and what each claims, with the source of the claim.

Claims depend on the noise. For noise that commutes (geometric Brownian motion) and for additive
noise they are higher than the general ones that libraries write in their class attributes; where a
library states the general case alone, the theorem is cited instead; "torchsde" and "diffrax" among
the sources are what these say of their solvers. For plans it is the fundamental theorem of
mean-square convergence (Milstein & Tretyakov 2004, section 1.1): a mean error of O(h^2) and a root
mean square error of O(h^(3/2)) in one step make order 1.
"""

from __future__ import annotations

import dataclasses
import importlib.util

from sgmsolve.adapters._common import need
from sgmsolve.adapters.run import ADDITIVE, EITHER, FOR_SDES, TORCHSDE
from sgmsolve.adaptive.registry import solvers as adaptive_solvers
from sgmsolve.analysis.strong_problems import StrongProblem, strong_problem
from sgmsolve.errors import AnalysisError, MethodError, unknown
from sgmsolve.methods.registry import Method, all_methods, methods_for
from sgmsolve.methods.stability import unchecked
from sgmsolve.plan import Plan

Claim = tuple[float | None, float | None, str]
"""(order for noise in proportion to the state, order for additive noise, source)."""

_EULER = "Kloeden & Platen 1992, theorem 10.2.2; additive noise: section 10.3"
_MILSTEIN = "Kloeden & Platen 1992, theorem 10.3.5"
_HEUN = "commutative noise: Ruemelin 1982"
_LIPSCHITZ = "Kidger et al. 2021, arXiv:2105.13493, additive noise; commutative: expanded as Heun"
_ROESSLER = "Roessler 2010"
_FOSTER = "Foster, dos Reis & Strange 2023"

CLAIMS: dict[str, Claim] = {
    "torchsde:euler": (0.5, 1.0, _EULER),
    "torchsde:euler_heun": (1.0, 1.0, _MILSTEIN + "; torchsde"),
    "torchsde:heun": (1.0, 1.0, _HEUN + "; torchsde"),
    "torchsde:midpoint": (1.0, 1.0, _HEUN + "; torchsde"),
    "torchsde:log_ode": (1.0, 1.0, "torchsde"),
    "torchsde:milstein": (1.0, 1.0, _MILSTEIN + "; torchsde"),
    "torchsde:reversible_heun": (1.0, None, _LIPSCHITZ),
    "torchsde:srk": (1.5, 1.5, _ROESSLER + " (SRID2, SRA1); torchsde"),
    "diffrax:euler": (0.5, 1.0, _EULER),
    "diffrax:eulerheun": (1.0, 1.0, _MILSTEIN),
    "diffrax:heun": (1.0, 1.0, _HEUN),
    "diffrax:midpoint": (1.0, 1.0, _HEUN),
    "diffrax:ralston": (1.0, 1.0, _HEUN),
    "diffrax:reversibleheun": (1.0, 1.0, _LIPSCHITZ),
    "diffrax:itomilstein": (1.0, 1.0, _MILSTEIN + "; diffrax"),
    "diffrax:stratonovichmilstein": (1.0, 1.0, _MILSTEIN + "; diffrax"),
    "diffrax:spark": (
        1.0,
        1.5,
        "Foster 2023, arXiv:2311.14201, definition 1.6; diffrax",
    ),
    "diffrax:generalshark": (1.0, 1.5, _FOSTER + ", eq. 6.1; diffrax"),
    "diffrax:slowrk": (1.5, 1.5, _FOSTER + ", eq. 6.2; diffrax"),
    "diffrax:sra1": (None, 1.5, _ROESSLER + "; diffrax"),
    "diffrax:shark": (None, 1.5, _FOSTER + ", eq. 6.1; diffrax"),
    "diffrax:sea": (None, 1.0, _FOSTER + ", eq. 5.8; diffrax"),
    "gotta-go-fast": (1.0, 1.0, "Roberts 2012, with S = 0; " + _HEUN),
    "milstein": (1.0, 1.0, _MILSTEIN),
    "sra1": (None, 1.5, _ROESSLER),
    "sra3": (None, 1.5, _ROESSLER),
}
NOT_LIPSCHITZ = {("diffrax:reversibleheun", "double-well")}
"""The theorem wants a Lipschitz drift; without one some paths blow up at any affordable N."""

PLANS: Claim = (
    None,
    1.0,
    "Milstein & Tretyakov 2004, section 1.1; additive noise",
)

DEFAULT = (
    *("euler-maruyama", "ddim-sde", "dpm++sde", "gotta-go-fast", "milstein", "sra1", "sra3"),
    *("torchsde:euler", "torchsde:milstein", "torchsde:srk", "diffrax:itomilstein"),
    *("diffrax:sra1", "diffrax:shark", "diffrax:slowrk"),
)
"""What ``sgmsolve order --strong`` measures when no method is named, of what is installed."""

LIBRARIES = {"torchsde": TORCHSDE, "diffrax": (*EITHER, *FOR_SDES, *ADDITIVE)}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A solver with a claim.

    Attributes:
        name: what users type. library: ``"plan"``, ``"adaptive"``, ``"torchsde"`` or ``"diffrax"``.
        solver: its name there.
        claims: for noise in proportion to the state, for additive noise, and the source.
        noises: the kinds of noise that it can do.
    """

    name: str
    library: str
    solver: str
    claims: Claim
    noises: tuple[str, ...] = ("additive", "diagonal")

    def claim(self, p: StrongProblem) -> tuple[float | None, str]:
        """(claimed order on a problem, source)."""
        proportional, additive, source = self.claims
        if (self.name, p.name) in NOT_LIPSCHITZ:
            return None, source
        return (additive if p.additive else proportional), source

    def solves(self, p: StrongProblem) -> bool:
        """Whether it can solve the problem at all."""
        if self.library == "plan":
            return p.process is not None
        return p.sde.noise in self.noises

    def check(self, p: StrongProblem) -> None:
        """AnalysisError if it cannot."""
        if not self.solves(p):
            what = f"an SDE with {' or '.join(self.noises)} noise"
            if self.library == "plan":
                what = "a reverse SDE (gaussian, mixture)"
            msg = (
                f"{self.name} needs {what}, which problem {p.name!r} is not; measure it on another "
                f"one."
            )
            raise AnalysisError(msg)


def known_subjects() -> tuple[str, ...]:
    """Every name that ``find_subject`` takes, aliases apart, of the libraries installed."""
    runs = methods_for(strong_problem("mixture").process)
    plans = (m.name for m in runs if m.stochastic and _follows_path(m))
    steppers = (s.name for s in adaptive_solvers().values() if s.stochastic)
    here = [k for k in LIBRARIES if importlib.util.find_spec(k) is not None]
    others = (f"{k}:{n}" for k in here for n in LIBRARIES[k])
    return (*plans, *steppers, *others)


def default_subjects() -> tuple[str, ...]:
    """DEFAULT without solvers of libraries that are not installed."""
    known = known_subjects()
    return tuple(name for name in DEFAULT if name in known)


def find_subject(name: str) -> Subject:
    """The solver of that name.

    Raises: MethodError with the nearest name, or for one that draws no noise or no path;
    BackendError for a library that is not installed.
    """
    library, _, solver = name.partition(":")
    if solver in LIBRARIES.get(library, ()):
        need(library)
        return Subject(name, library, solver, CLAIMS[name], _noises(CLAIMS[name]))
    if name in adaptive_solvers() and adaptive_solvers()[name].stochastic:
        if name in CLAIMS:
            return Subject(name, "adaptive", name, CLAIMS[name], _noises(CLAIMS[name]))
        return Subject(name, "adaptive", name, (None, None, "nothing is claimed"))
    for record in methods_for(strong_problem("mixture").process):
        if name in (record.name, *record.aliases):
            _check_path(record)
            return Subject(record.name, "plan", record.name, PLANS)
    if name in (m.name for m in all_methods()):
        msg = (
            f"method {name!r} runs in phase space, but strong orders of plans are measured on EDM; "
            f"name one for data space, such as euler-maruyama."
        )
        raise MethodError(msg)
    raise MethodError(unknown("method with a strong order:", name, known_subjects()))


def path_kind(plan: Plan) -> str:
    """The kind of a plan's draws, if there is one and it follows a Brownian path.

    Raises: MethodError otherwise.
    """
    kinds = sorted({str(k) for k in plan.draws["kind"].ravel()} - {"none"})
    if len(kinds) != 1 or kinds[0] not in ("increment", "kernel", "kernel:data"):
        msg = (
            f"method {plan.name!r} draws noise of kind {', '.join(kinds) or 'none'}, expected one "
            f"that follows a Brownian path (increment, kernel or kernel:data); it has no strong "
            f"order."
        )
        raise MethodError(msg)
    return kinds[0]


def _noises(claims: Claim) -> tuple[str, ...]:
    """The kinds of noise for which something is claimed: the others are refused by the solver."""
    return tuple(n for n, c in zip(("diagonal", "additive"), claims, strict=False) if c is not None)


def _check_path(record: Method) -> None:
    """MethodError for a method that draws nothing, or nothing that follows a path."""
    if not record.stochastic:
        msg = (
            f"method {record.name!r} draws no noise, so it has no strong order; leave out --strong "
            f"for its deterministic order."
        )
        raise MethodError(msg)
    p = strong_problem("mixture")
    with unchecked():
        path_kind(record(p.process, p.times(4)))


def _follows_path(record: Method) -> bool:
    try:
        _check_path(record)
    except MethodError:
        return False
    return True
