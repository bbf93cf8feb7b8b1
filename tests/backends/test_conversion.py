"""A network of any kind runs any plan: conversions inside the executors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from executor_cases import BACKENDS, GRID, PROCESS, Smooth, bashforth, euler, to_backend, to_host

from sgmsolve import EDM, Flow, as_model, solve
from sgmsolve.errors import ProcessError

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
