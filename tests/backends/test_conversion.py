"""A network of any kind runs any plan: conversions inside the executors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_cases import BACKENDS, GRID, PROCESS, Smooth, bashforth, euler, to_backend, to_host

from sgmsolve import EDM, VE, VP, Flow, SubVP, as_model, build_plan, solve
from sgmsolve.errors import GridError, MethodError, ProcessError
from sgmsolve.methods.registry import methods_for

Z = np.random.default_rng(1).standard_normal((4, 3))
PLANS = {"bashforth": bashforth(PROCESS, GRID)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["data", "v", "score", "flow"])
def test_conversion_is_exact_and_known_before_the_run(kind: str, backend: str) -> None:
    """A network wrapped as any kind gives the samples of the noise network."""
    plan = PLANS["bashforth"]

    def net(x: Any, t: Any) -> Any:
        (e,) = Smooth()((x,), t)
        a, b = PROCESS.conversion_scalars("noise", kind, t)
        return a * x + b * e

    z = to_backend(Z, backend)
    got = to_host(solve(plan, as_model(net, PROCESS, predicts=kind), z).x)
    expected = to_host(solve(plan, Smooth(), z).x)
    assert np.abs(got - expected).max() < 1e-12 * np.abs(expected).max()


def test_an_impossible_conversion_is_known_before_the_first_call() -> None:
    calls: list[float] = []
    model = as_model(lambda x, t: calls.append(t), Flow(), predicts="noise")
    plan = euler(Flow(), [0.9, 0.5]).replace(t=np.array([1.0]), predicts="data")
    with pytest.raises(ProcessError, match="at t = 1, where alpha = 0"):
        solve(plan, model, Z)
    assert not calls


def test_edm_conversion_from_data() -> None:
    """A data model through a noise plan: exact for the target x0 = 0, where noise = x/sigma."""
    process = EDM()
    plan = euler(process, [80.0, 3.0, 0.5])
    zero = as_model(lambda x, t: 0 * x, process, predicts="data")
    assert np.abs(solve(plan, zero, 80.0 * Z).x - 0.5 * Z).max() < 1e-14


PROCESSES = {type(p).__name__: p for p in (VP(), VE(), SubVP(), EDM(), Flow())}
AMPLIFIES = {"unipc-noise-4": 5.0}
"""Its corrector makes rounding larger than the conversions do, on coarse grids above all."""


def wrapped(process: Any, kind: str) -> Any:
    """The data network x / (1 + x^2) (1/2 + t/10), told as another kind."""

    def net(x: Any, t: Any) -> Any:
        a, b = process.conversion_scalars("data", kind, t)
        return a * x + b * (x / (1 + x * x) * (0.5 + 0.1 * t))

    return as_model(net, process, predicts=kind)


def check_invariance(process: Any, method: str, backend: str) -> int:
    """Samples by all kinds agree to 1e-14/min(alpha sigma); returns how many were compared."""
    try:
        plan = build_plan(process, method, steps=24)
    except (GridError, MethodError, ProcessError):  # not for this process, or not from alpha = 0
        try:
            plan = build_plan(process, method, grid=np.linspace(0.98, 0.02, 25) * process.t_max)
        except MethodError:
            return 0
    z = to_backend(Z * float(process.sigma(plan.t_start)), backend)
    expected = to_host(solve(plan, wrapped(process, "data"), z, seed=3).x)
    products = [process.alpha(t) * process.sigma(t) for t in plan.t.tolist()]
    bound = 1e-14 / min(x for x in products if x) * AMPLIFIES.get(method, 1.0)
    compared = 0
    for kind in ("noise", "score", "v", "flow"):
        try:
            got = to_host(solve(plan, wrapped(process, kind), z, seed=3).x)
        except ProcessError:
            assert process.alpha(float(plan.t[0])) == 0
            assert kind in ("noise", "score")
            continue
        assert np.abs(got - expected).max() <= bound * np.abs(expected).max(), (method, kind)
        compared += 1
    return compared


@pytest.mark.parametrize("process", PROCESSES)
def test_every_method_gives_the_same_samples_for_every_kind(process: str) -> None:
    counts = [check_invariance(PROCESSES[process], m.name, "numpy") for m in methods_for(VP())]
    assert sum(counts) > 3 * len(counts)


@pytest.mark.parametrize("backend", ["torch", "jax"])
@pytest.mark.parametrize("method", ["sde-dpm++2m", "unipc-3"])
@pytest.mark.parametrize("process", ["VP", "Flow"])
def test_kinds_agree_on_every_backend(process: str, method: str, backend: str) -> None:
    assert check_invariance(PROCESSES[process], method, backend) >= 2
