"""``solve_with``: one call for every solver of torchsde, torchdiffeq and diffrax."""

from __future__ import annotations

import dataclasses
import importlib
import numbers
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace
from sgmsolve.adapters._common import check_sde, check_state, need
from sgmsolve.errors import GridError, MethodError, ModelError, Status, unknown
from sgmsolve.reverse._checks import positive, tolerance

TORCHSDE = tuple("euler euler_heun heun log_ode midpoint milstein reversible_heun srk".split())
FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
EITHER = {"euler": "Euler", "heun": "Heun", "midpoint": "Midpoint", "ralston": "Ralston"}
EITHER |= {"reversibleheun": "ReversibleHeun"}
FOR_ODES = {"bosh3": "Bosh3", "tsit5": "Tsit5", "dopri5": "Dopri5", "dopri8": "Dopri8"}
IMPLICIT = {"impliciteuler": "ImplicitEuler", "kvaerno3": "Kvaerno3"}
IMPLICIT |= {"kvaerno4": "Kvaerno4", "kvaerno5": "Kvaerno5"}
FOR_SDES = {"eulerheun": "EulerHeun", "itomilstein": "ItoMilstein", "spark": "SPaRK"}
FOR_SDES |= {"stratonovichmilstein": "StratonovichMilstein", "generalshark": "GeneralShARK"}
FOR_SDES |= {"slowrk": "SlowRK"}
ADDITIVE = {"sra1": "SRA1", "shark": "ShARK", "sea": "SEA"}
DIFFRAX = {**EITHER, **FOR_ODES, **IMPLICIT, **FOR_SDES, **ADDITIVE}

OPTIONS = {
    "torchsde": ("dt", "steps", "adaptive", "rtol", "atol", "dt_min", "options", "seed", "bm"),
    "torchdiffeq": ("dt", "steps", "grid", "rtol", "atol", "options"),
    "diffrax": (
        *("dt", "steps", "grid", "rtol", "atol", "controller", "max_steps", "adjoint", "seed"),
        *("tol", "brownian", "per_sample", "options"),
    ),
}


@dataclasses.dataclass(frozen=True, eq=False)
class AdapterSolution:
    """What another library's solver returned.

    Attributes:
        z: m arrays (batch, *shape) at ``t_end``, or where the solver gave up.
        nfe: evaluations of the model that were made, each on the whole batch; None inside a jax
            transformation, where nothing can be counted.
        status: FINISHED, UNFINISHED or NONFINITE; None inside a jax transformation.
        message: the library's own words about how it ended.
        stats: the library's own statistics.
    """

    z: tuple[Any, ...]
    nfe: int | None
    status: Status | None
    message: str = ""
    stats: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def x(self) -> Any:
        """The data component, ``z[0]``."""
        return self.z[0]


def known_methods() -> tuple[str, ...]:
    """Every name that ``solve_with`` takes, ``library:solver``."""
    names = {"torchsde": TORCHSDE, "torchdiffeq": (*FIXED, *ADAPTIVE), "diffrax": DIFFRAX}
    return tuple(f"{library}:{name}" for library in names for name in names[library])


def solve_with(
    method: str, sde: Any, z: Any, t_start: float, t_end: float, **options: Any
) -> AdapterSolution:
    """Solve an SDE or ODE with another library's solver; forward times.

    method: ``"torchsde:srk"``, ``"torchdiffeq:dopri5"``, ``"diffrax:tsit5"``, ...: see
        ``known_methods()``. The SDE is handed over in the calculus of the solver.
    sde: ReverseSDE and ProbabilityFlow run from t_start down to t_end, a ForwardSDE or GeneralSDE
        upwards. An ODE may run either way.
    z: m arrays (batch, *shape) of the solver's array library, in a tuple, or one array if m = 1.

    Steps, one of: ``steps`` (equal), ``dt``, ``grid`` (forward times from t_start to t_end; not
    torchsde), or an adaptive solver with its ``rtol`` and ``atol``. Then

    * torchsde: ``adaptive``, ``dt_min``, ``options``; ``seed`` (0) or a Brownian motion ``bm``;
    * torchdiffeq: ``options``;
    * diffrax: ``controller`` (a step size controller), ``max_steps``, ``adjoint``, ``options``
      (of ``diffeqsolve``); ``seed`` (0, or a key) and ``tol`` (2^-14 of the interval) of the
      VirtualBrownianTree, or ``brownian``. ``per_sample=True`` gives every sample its own step
      sizes; implicit solvers always do, and take at most 512 entries a sample. A compiled run is
      kept with the SDE object: make a new one after changing a network's weights.

    Raises: MethodError for unknown names and options and for a solver that cannot do this noise;
    GridError for times; BackendError for a missing library and arrays of another one.
    """
    library, _, name = str(method).partition(":")
    if method not in known_methods():
        raise MethodError(unknown("solver", str(method), known_methods()))
    for option in options:
        if option not in OPTIONS[library]:
            raise MethodError(unknown(f"option of {method}", option, OPTIONS[library]))
    options = {option: value for option, value in options.items() if value is not None}
    _check_numbers(method, options)
    need(library)
    check_sde(sde, library)
    z = check_state(z, sde, library)
    _check_times(sde, t_start, t_end)
    _check_noise(method, library, name, sde, options)
    if sum(option in options for option in ("dt", "steps", "grid")) > 1:
        raise MethodError("more than one of dt, steps and grid was given; give one.")
    where = "run_torch" if library != "diffrax" else "run_diffrax"
    module = importlib.import_module(f"sgmsolve.adapters.{where}")
    run: Callable[..., AdapterSolution] = getattr(module, library)
    return run(name, sde, z, float(t_start), float(t_end), options)


def _check_times(sde: Any, t_start: float, t_end: float) -> None:
    for t in (t_start, t_end):
        sde.check_time(float(t))
    down = sde.direction < 0
    wrong = t_start <= t_end if down else t_start >= t_end
    if t_start == t_end or (wrong and sde.noise != "none"):
        msg = (
            f"t_start = {t_start:g} and t_end = {t_end:g}, expected t_start "
            f"{'>' if down else '<'} t_end: a {type(sde).__name__} runs "
            f"{'down' if down else 'up'} in forward time; swap them."
        )
        raise GridError(msg)


def _check_numbers(method: str, options: dict[str, Any]) -> None:
    """MethodError for tolerances and steps that make no sense: not every library looks."""
    for name in ("rtol", "atol", "dt", "dt_min", "tol"):
        values = options.get(name, 1.0)
        for value in values if isinstance(values, (tuple, list)) else (values,):
            if isinstance(value, (numbers.Real, str)):  # arrays are the library's own matter
                tolerance(name, value)
    positive("steps", options.get("steps", 1))
    if method.startswith("torchsde") and not options.get("adaptive"):
        idle = [name for name in ("rtol", "atol", "dt_min") if name in options]
        if idle:
            msg = (
                f"{idle[0]} was given, but {method} takes equal steps; pass adaptive=True with it, "
                "or steps alone."
            )
            raise MethodError(msg)


def _check_noise(method: str, library: str, name: str, sde: Any, options: Any) -> None:
    noise = sde.noise
    if library == "torchdiffeq" or name in FOR_ODES or name in IMPLICIT:
        if library != "torchsde" and noise != "none":
            msg = (
                f"{method} solves ODEs, but this {type(sde).__name__} has {noise} noise; use an "
                f"SDE solver such as torchsde:srk or diffrax:sra1, or a ProbabilityFlow."
            )
            raise MethodError(msg)
        return
    only_sde = library == "torchsde" or name in FOR_SDES or name in ADDITIVE
    if noise == "none" and only_sde:
        msg = (
            f"{method} solves SDEs, but this {type(sde).__name__} has no noise; use an ODE solver "
            f"such as torchdiffeq:dopri5 or diffrax:tsit5, or eta > 0."
        )
        raise ModelError(msg)
    if name in ADDITIVE and library == "diffrax" and noise != "additive":
        msg = f"{method} needs additive noise, but this SDE's is {noise}; use diffrax:spark."
        raise MethodError(msg)
    refused = ("srk", "milstein") if library == "torchsde" else ()
    if noise == "general" and name in refused:
        msg = f"{method} cannot do general noise; use torchsde:euler, heun or midpoint."
        raise MethodError(msg)
    if method == "torchsde:reversible_heun" and noise == "additive":
        msg = (
            f"{method} asks for the matrix of an additive diffusion, (entries of a sample)^2 "
            f"numbers, which is never made; use torchsde:heun or diffrax:reversibleheun."
        )
        raise MethodError(msg)
    if "milstein" in name and not getattr(sde, "commutes", True):
        msg = (
            f"{method} needs noise that commutes, which this GeneralSDE does not promise; pass "
            f"commutes=True if it does, or use diffrax:spark or diffrax:euler."
        )
        raise MethodError(msg)
    if library == "torchsde" and name == "euler" and options.get("adaptive"):
        if noise != "additive":
            msg = (
                f"adaptive Euler does not converge for {noise} noise; use torchsde:milstein, or "
                f"give dt without adaptive."
            )
            raise MethodError(msg)


def no_steps(method: str, what: str) -> MethodError:
    """The sentence for a solver that was not told its steps."""
    return MethodError(f"{method} was given no steps, expected {what}; pass steps=100, say.")


def all_finite(z: tuple[Any, ...]) -> bool:
    """Whether every entry is finite."""
    return all(bool(array_namespace(x).all(array_namespace(x).isfinite(x))) for x in z)
