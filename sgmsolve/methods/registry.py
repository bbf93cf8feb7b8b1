"""One record a method: it drives tests, the command line, the docs' table and citations.

    @register("ddim", family="one-step", predicts="noise", orders={"deterministic": 1}, ...)
    def ddim(process, grid, *, eta=0.0, denoise=False): ...

A method is a pure function ``(process, grid, **options) -> Plan``; its keyword-only parameters are
its options, and an option that is not one of them is an error.
"""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import MethodError, unknown
from sgmsolve.plan import Plan
from sgmsolve.process.base import ScalarProcess

PHASE = ("CLD", "PSLD", "AugmentedProcess")
"""Names of the processes with more than one component."""

Build = Callable[..., Plan]
Claims = dict[str, float]
Limits = Callable[[Claims, Mapping[str, Any], int], Claims]


@dataclass(frozen=True)
class Method:
    """What is known about a method.

    Attributes:
        name: the name users type.
        build: ``(process, grid, *, options) -> Plan``.
        family: chapter in the docs' table.
        summary: one sentence.
        predicts: kind of prediction its plans consume.
        variable: the method's own variable, in which polynomial predictions are integrated exactly:
            ``"lam"`` (half log-SNR), ``"rho"`` (sigma/alpha) or ``"t"``.
        orders: claimed orders by its theorem with the default start, keys ``deterministic`` and
            ``weak``. They hold from one time to another with noise left at the end: a first row
            from alpha = 0 and a last one to sigma = 0 or a denoising row are of first order.
        matched: claimed orders with ``start="matched"``, where that differs.
        limits: ``(claims, options, steps) -> claims``, where options change what is claimed.
        stochastic: whether the default options draw noise.
        evaluations: network evaluations a step, start-up rows aside.
        stages: evaluations a step that the tree conditions treat as stages (1 for multistep).
        weights: ``("exact",)``, ``("published",)`` or both, first the default.
        processes: names of processes it is for; empty: all.
        scalar: whether it needs scalar alpha and sigma; False runs with m x m coefficients too.
        reference: citation key (``sgmsolve.methods.references``).
        equation: where in the paper.
        aliases: other names users may know.
        defaults: options preset by this record.
        budget_options: sets of options among which a budget (``nfe=``) chooses.
        notes: what a user should know, one or two sentences.
        order_notes: why a claim is absent or conditional.
    """

    name: str
    build: Build
    family: str
    summary: str
    predicts: str
    variable: str
    orders: Mapping[str, float]
    matched: Mapping[str, float] = field(default_factory=dict)
    limits: Limits | None = None
    stochastic: bool = False
    evaluations: int = 1
    stages: int = 1
    weights: tuple[str, ...] = ("exact",)
    processes: tuple[str, ...] = ()
    scalar: bool = True
    reference: str = ""
    equation: str = ""
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    budget_options: tuple[Mapping[str, Any], ...] = ()
    notes: str = ""
    order_notes: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """Option name -> default value."""
        parameters = inspect.signature(self.build).parameters.values()
        found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        return {**found, **self.defaults}

    @property
    def phase_only(self) -> bool:
        """Whether it is for processes with more than one component only."""
        return bool(self.processes) and set(self.processes) <= set(PHASE)

    @property
    def starts(self) -> tuple[str, ...]:
        """Ways to start: ``("published", "matched")`` for methods with history, else one."""
        return ("published", "matched") if "start" in self.options else ("published",)

    def is_for(self, process: Any) -> bool:
        """Whether the process, or a class that its class derives from, is among ``processes``."""
        names = {kind.__name__ for kind in type(process).__mro__}
        return not self.processes or not names.isdisjoint(self.processes)

    def claims(self, start: str = "published") -> dict[str, float]:
        """Claimed orders for one way to start."""
        return dict(self.orders) if start == "published" else {**self.orders, **self.matched}

    def claims_of(self, plan: Plan, options: Mapping[str, Any], steps: int) -> Claims:
        """What a plan made with these options (defaults filled in) claims.

        A plan claims for what it is: weak orders if it draws noise, else deterministic ones. With
        its noise turned off a method of weak order p has deterministic order p.
        """
        found = self.claims(options.get("start", "published"))
        if self.limits is not None:
            found = self.limits(found, options, steps)
        kinds = ("weak",) if plan.stochastic else ("deterministic", "weak")
        best = next((found[kind] for kind in kinds if kind in found), None)
        return {} if best is None else {kinds[0]: best}

    def __call__(self, process: Any, grid: Any, **options: Any) -> Plan:
        """Build the plan; unknown options and values of another type raise MethodError."""
        known, parameters = self.options, inspect.signature(self.build).parameters
        for name, value in options.items():
            if name not in known:
                raise MethodError(unknown(f"option of method {self.name!r}:", name, known))
            if parameters[name].annotation != "Any":  # the builder checks what may be anything
                _check_type(self.name, name, value, known[name])
        if self.scalar and not isinstance(process, ScalarProcess):
            msg = (
                f"method {self.name!r} needs a process with scalar alpha and sigma, but "
                f"{type(process).__name__} has {process.m} components; use one for phase space, "
                f"such as strang2-lagged-ode or roba (`sgmsolve methods` lists them)."
            )
            raise MethodError(msg)
        if not self.is_for(process):
            msg = (
                f"method {self.name!r} is for {', '.join(self.processes)}, but the process is "
                f"{type(process).__name__}; see `sgmsolve methods` for one that fits."
            )
            raise MethodError(msg)
        plan = self.build(process, grid, **{**self.defaults, **options})
        merged = {**known, **options}
        return plan.replace(
            name=self.name,
            orders=self.claims_of(plan, merged, len(grid) - 1),
            start=merged.get("start", "published"),
            reference=self.reference,
            options={
                **{name: _described(value) for name, value in merged.items()},
                **plan.options,
            },
        )


def _described(value: Any) -> Any:
    """An option as a saved plan records it: matrices as lists, functions and objects by name."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, (str, numbers.Number, np.generic, list, tuple, dict)):
        return value
    return getattr(value, "__name__", type(value).__name__)


def _check_type(method: str, option: str, value: Any, default: Any) -> None:
    """MethodError unless the value is of its default's type; None stands for an optional number."""
    truth = isinstance(value, (bool, np.bool_))
    if isinstance(default, bool):
        good, wanted = truth, "True or False"
    elif isinstance(default, str):
        good, wanted = isinstance(value, str), "a name"
    elif isinstance(default, int):
        good, wanted = isinstance(value, numbers.Integral) and not truth, "a whole number"
    else:
        number = isinstance(value, numbers.Real) or is_multiprecision(value)
        good = (number and not truth and value == value) or value is default is None
        wanted = "a number"
    if not good:
        msg = f"{option} = {value!r} was given, but this option of method {method!r} is {wanted}."
        raise MethodError(msg)


METHODS: dict[str, Method] = {}
_aliases: dict[str, str] = {}


def register(*names: str, **record: Any) -> Callable[[Build], Build]:
    """Add records for a builder; the decorated function stays a plain function."""

    def add(build: Build) -> Build:
        for name in names:
            method = Method(name=name, build=build, **record)
            for key in (name, *method.aliases):
                if key in METHODS or key in _aliases:
                    msg = f"two methods are called {key!r}."
                    raise MethodError(msg)
            METHODS[name] = method
            _aliases.update(dict.fromkeys(method.aliases, name))
        return build

    return add


def find(name: str) -> Method:
    """The record of a method by name or alias; MethodError names the nearest."""
    name = _aliases.get(name, name)
    if name not in METHODS:
        raise MethodError(unknown("method", name, [*METHODS, *_aliases]))
    return METHODS[name]


def all_methods() -> list[Method]:
    """All records, in the order in which they were registered."""
    return list(METHODS.values())


def methods_for(process: Any) -> list[Method]:
    """The records that run on a process."""
    scalar = isinstance(process, ScalarProcess)
    return [m for m in METHODS.values() if (scalar or not m.scalar) and m.is_for(process)]
