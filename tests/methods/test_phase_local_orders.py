"""Algebraic orders: local errors on polynomial scores, to 30 digits, of every phase-space scheme.

A slope of p + 1 is order p; the plans are judged as they are, so that a coefficient that is off by
1 % shows as slope 1.
"""

from __future__ import annotations

import functools
from typing import Any

import mpmath as mp
import pytest
from phase_cases import CASES, THREE

from sgmsolve import PSLD
from sgmsolve.methods.conjugate import conjugate
from sgmsolve.methods.registry import find
from sgmsolve.plan.conditions_phase import local_slopes, weak_local_slopes

P = PSLD(0.3, 3.0)
LINEAR = CASES["linear"]
H = 1e-4, 1e-5
FAST = ("rse", "rvv", "roba")  # the others take seconds each: exact numbers are slow

FIRST = {
    "nse": {},
    "nvv": {},
    "rse": {},
    "rvv": {},
    "rvv start": {"last": "start"},
    "rvv mid": {"last": "mid"},
    "cse": {},
    "cse row": {"B": "row"},
    "cse full": {"B": "full"},
    "cvv": {},
    "cvv row": {"B": "row"},
    "cvv full": {"B": "full"},
    "cvv upper": {"factor": "upper"},
    "conjugate": {},
    "conjugate data": {"kind": "data"},
    "conjugate score": {"kind": "score"},
    "conjugate upper": {"factor": "upper"},
    "lambda-ddim-1": {},
    "lambda-ddim-2": {},
    "gddim": {},
    "splitting A!": {"scheme": "s B! A!", "eta": 0.0},
    "splitting LS": {"scheme": "L/2 s S L/2", "eta": 0.0},
}
NOISY = {
    "noba": {},
    "nbao": {},
    "nobab": {},
    "roba": {},
    "roba scaled": {"lambda_s": 1.0},
    "rbao": {},
    "robab": {},
    "robab start": {"last": "start"},
    "coba": {},
    "coba row": {"B": "row"},
    "coba full": {"B": "full"},
    "sscs": {},
    "sscs-mid": {},
    "conjugate-sde": {},
    "splitting A!": {"scheme": "O s B! A!"},
}


def _tier(name: str) -> Any:
    return pytest.param(name, marks=() if name in FAST else pytest.mark.slow)


@pytest.fixture(autouse=True)
def _digits() -> Any:
    with mp.workdps(30):
        yield


def _slope(measure: Any, process: Any, name: str, options: Any, **more: Any) -> float:
    build = functools.partial(find(name.split()[0]), **options)
    steps = [mp.mpf(h) for h in H]
    (found,) = measure(build, process, mp.mpf(1) / 2, steps, **more)
    return float(found)


@pytest.mark.parametrize("name", [_tier(n) for n in FIRST])
def test_first_order(name: str) -> None:
    assert _slope(local_slopes, P, name, FIRST[name]) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("name", [_tier(n) for n in NOISY])
def test_weak_first_order(name: str) -> None:
    found = _slope(weak_local_slopes, P, name, NOISY[name])
    assert found == pytest.approx(2, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("order", "steps"), [(1, 1), (2, 2), (3, 3)])
@pytest.mark.parametrize("B", ["zero", "ones"])
def test_orders_of_conjugate_integrators(order: int, steps: int, B: str) -> None:
    options = {"order": order, "B": B}
    assert _slope(local_slopes, P, "lambda-ddim-2", options, steps=steps) == pytest.approx(
        order + 1, abs=0.02
    )


@pytest.mark.slow
def test_the_heun_start_has_local_order_three() -> None:
    found = _slope(local_slopes, P, "conjugate", {"order": 3})
    assert found == pytest.approx(3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("process", [P, LINEAR], ids=["constant", "linear"])
def test_strang_has_order_two(process: Any) -> None:
    assert _slope(local_slopes, process, "strang2-ode", {}) == pytest.approx(3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("process", [P, CASES["cld"]], ids=["psld", "cld"])
@pytest.mark.parametrize("degree", [2, 3])
def test_strang_has_weak_order_two(process: Any, degree: int) -> None:
    found = _slope(weak_local_slopes, process, "strang2", {}, degree=degree)
    assert found == pytest.approx(3, abs=0.02)


@pytest.mark.slow
def test_lagged_strang_starts_with_a_full_step() -> None:
    assert _slope(local_slopes, P, "strang2-lagged-ode", {}) == pytest.approx(3, abs=0.02)
    assert _slope(weak_local_slopes, P, "strang2-lagged", {}) == pytest.approx(3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("process", [P, LINEAR], ids=["constant", "linear"])
def test_lagged_strang_keeps_order_two(process: Any) -> None:
    """Two steps of its own past: local error of order three in both."""
    found = _slope(weak_local_slopes, process, "strang2-lagged-ode", {}, eta=0.0, steps=2)
    assert found == pytest.approx(3, abs=0.02)


@pytest.mark.slow
def test_lagged_strang_keeps_weak_order_two() -> None:
    found = _slope(weak_local_slopes, P, "strang2-lagged", {}, steps=2, nodes=3)
    assert found == pytest.approx(3, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("process", [LINEAR, CASES["cld"], CASES["overdamped"], THREE])
@pytest.mark.parametrize("name", ["rse", "rvv", "cvv", "conjugate", "splitting A!"])
def test_first_order_elsewhere(name: str, process: Any) -> None:
    assert _slope(local_slopes, process, name, FIRST[name]) == pytest.approx(2, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("process", [LINEAR, CASES["cld"], CASES["overdamped"]])
@pytest.mark.parametrize("name", ["roba", "robab", "coba", "sscs", "conjugate-sde"])
def test_weak_first_order_elsewhere(name: str, process: Any) -> None:
    with mp.workdps(60):  # overdamped: the data prediction holds factors of e^80
        found = _slope(weak_local_slopes, process, name, NOISY[name])
    assert found == pytest.approx(2, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("B", ["zero", "varying"])
def test_order_three_with_a_varying_matrix(B: str) -> None:
    """Adams-Bashforth of order 2 on A B z too, where B depends on time."""

    def varying(t: Any) -> Any:
        import numpy as np

        return np.array([[0 * t + 1, t], [t * t, 2 - t]])

    def build(process: Any, times: Any) -> Any:
        return conjugate(process, times, B=varying if B == "varying" else B, order=3)

    (found,) = local_slopes(build, P, mp.mpf(1) / 2, [mp.mpf(h) for h in H], steps=3)
    assert float(found) == pytest.approx(4, abs=0.05)
