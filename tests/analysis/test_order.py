"""Measured orders: known methods, wrong methods, and the definitions of every status."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from analysis.standins import ab2, ddim, euler_maruyama, heun

from sgmsolve.analysis import order
from sgmsolve.analysis.order import classify, measure, measure_builder, measure_on, slopes_of
from sgmsolve.analysis.order_problems import (
    DATA_INTERVALS,
    INTERVALS,
    TARGETS,
    OrderProblem,
    problem,
)
from sgmsolve.analysis.order_suite import measure_all, run_task, tasks, verdict
from sgmsolve.errors import AnalysisError
from sgmsolve.methods.registry import find
from sgmsolve.plan import PlanBuilder
from sgmsolve.process import EDM
from sgmsolve.target import GaussianMixture


@pytest.fixture
def short(monkeypatch):
    """N up to 256: enough to see an order, quick enough for the fast tier."""
    monkeypatch.setattr(order, "LAST", 256)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("method", "claimed"), [(ddim, 1), (heun, 2), (ab2, 2)])
def test_known_deterministic_orders(short, method, claimed, target):
    row = measure_builder(method, claimed, problem=problem(target, "edm-start"))
    assert row.status == "ok"
    assert row.steps == (16, 32, 64, 128, 256)
    assert len(row.slopes) == 4


@pytest.mark.parametrize("interval", DATA_INTERVALS)
def test_known_weak_orders(short, interval):
    p = problem("gaussian", interval)
    assert measure_builder(euler_maruyama, 1, kind="weak", problem=p).status == "ok"
    sde = functools.partial(ddim, eta=1.0)
    assert measure_builder(sde, 1, kind="weak", problem=p).measured == pytest.approx(1, abs=0.1)


def one_per_cent_heun(process, grid):
    """Heun with its second weight one per cent too large: consistent to order 0 only."""
    b = PlanBuilder(process, grid, predicts="noise")
    for t, s in b.steps():
        w = s - t
        e0 = b.predict(b.z, t)
        e1 = b.predict(b.z + w * e0, s)
        b.advance(b.z + w * (0.5 * e0 + 0.505 * e1))
    return b.plan()


def uniform_ab2(process, grid):
    """AB2 with the coefficients of equal steps on a grid of unequal ones: a classic mistake."""
    b = PlanBuilder(process, grid, predicts="noise")
    last = None
    for t, s in b.steps():
        e = b.predict(b.z, t)
        b.advance(b.z + (s - t) * (e if last is None else 1.5 * e - 0.5 * last))
        last = e
    return b.plan()


def test_mistakes_are_wrong(short):
    row = measure_builder(one_per_cent_heun, 2, problem=problem("mixture", "edm-start"))
    assert row.status == "wrong"
    karras = problem("mixture", "edm-start")
    uneven = OrderProblem("m", "rough", karras.target, EDM(), "quadratic", 2.0, 0.1)

    class Rough(OrderProblem):
        def times(self, steps):
            grid = super().times(steps)
            grid[1:-1:2] += 0.4 * np.diff(grid)[1::2][: len(grid[1:-1:2])]
            return grid

    rough = Rough(**{f.name: getattr(uneven, f.name) for f in dataclasses.fields(uneven)})
    assert measure_builder(ab2, 2, problem=rough).status == "ok"
    assert measure_builder(uniform_ab2, 2, problem=rough).status == "wrong"


def test_statuses():
    assert classify([1.0, 1.9, 2.0, 2.14], 2) == (2.0, "ok")
    assert classify([2.2, 2.16, 2.1], 2) == (2.16, "preasymptotic")
    assert classify([2.1, 2.16, 2.2], 2) == (2.16, "superconvergent")
    assert classify([1.7, 1.8, 1.9], 2) == (1.8, "preasymptotic")
    assert classify([1.2, 1.3, 1.4], 2) == (1.3, "wrong")
    assert classify([1.9, 1.8, 1.7], 2) == (1.8, "wrong")
    assert classify([1.7, 1.7, 1.7], 2) == (1.7, "wrong")
    assert classify([3.0, 3.0, 3.0], 2) == (3.0, "superconvergent")
    assert classify([0.0, 0.0, 2.9, 3.0, 3.1], 3) == (3.0, "ok")
    assert classify([], 2) == (float("inf"), "superconvergent")
    assert classify([1.0], 2) == (1.0, "wrong")


def test_slopes_skip_rounding():
    assert slopes_of([16, 32, 64], [1e-3, 2.5e-4, 1e-15]) == pytest.approx((2.0,))


def test_doubling_stops_under_1e_11(monkeypatch):
    calls = []

    def build(process, grid):
        calls.append(len(grid) - 1)
        return heun(process, grid)

    monkeypatch.setattr(order, "STOP", 1e-3)
    p = problem("gaussian", "edm-start")
    row = measure_builder(build, 2, problem=p)
    assert row.errors[-1] < 1e-3 < row.errors[-2]
    assert calls == list(row.steps)


def test_registered_methods_use_start_and_weights(short):
    p = problem("mixture", "edm-start")
    early = measure("deis-tab-3", p)
    late = measure("deis-tab-3", p, start="matched")
    assert (early.claimed, late.claimed) == (2, 3)
    assert late.measured > early.measured + 0.3
    a = measure("dpm++2m", p, weights="published")
    b = measure("dpm++2m", p, weights="exact")
    assert a.errors != b.errors
    json.dumps(early.to_dict(), allow_nan=False)


def test_two_dimensions_and_other_targets(short):
    target = GaussianMixture([1.0, 2.0], [[0.0, 1.0], [1.0, -0.5]], 0.2)
    p = OrderProblem("plane", "short", target, EDM(), "karras", 2.0, 0.1)
    assert measure_builder(heun, 2, problem=p).status == "ok"


def test_claims_and_kinds_are_checked():
    with pytest.raises(AnalysisError, match="claims no weak order"):
        measure("heun", problem("gaussian", "edm-start"), kind="weak")
    with pytest.raises(AnalysisError, match="draws noise, so it has no deterministic order"):
        measure_builder(euler_maruyama, 1, problem=problem("gaussian", "edm-start"))
    with pytest.raises(AnalysisError, match="unknown kind of order 'strong'"):
        measure_builder(heun, 1, kind="strong", problem=problem("gaussian", "edm-start"))
    with pytest.raises(AnalysisError, match="no moments in closed form"):
        measure_builder(euler_maruyama, 1, kind="weak", problem=problem("mixture", "edm-start"))
    with pytest.raises(AnalysisError, match="Did you mean 'mixture'"):
        problem("mixtur")
    with pytest.raises(AnalysisError, match="unknown interval"):
        problem("mixture", "edm")


def test_tasks_cover_every_claim():
    found = tasks(find("deis-tab-3"), INTERVALS)
    assert {(t.start, t.interval) for t in found} == {
        (start, interval) for start in ("published", "matched") for interval in DATA_INTERVALS
    }
    both = tasks(find("sde-dpm++2m"), INTERVALS[:1])
    assert {(t.kind, t.weights) for t in both} == {
        (kind, weights) for kind in ("deterministic", "weak") for weights in ("published", "exact")
    }
    rows = run_task(next(t for t in both if t.kind == "weak"))
    assert [r.problem for r in rows] == ["gaussian"]


def test_verdict(short):
    rows = measure_on("heun", [problem(t, "edm-start") for t in TARGETS])
    assert verdict(rows).passed
    bad = dataclasses.replace(rows[0], status="wrong", measured=1.0)
    assert verdict([bad, rows[1]]).reasons == (
        "heun (deterministic, start=published, weights=exact) has order 1.00 on gaussian, "
        "edm-start, "
        "but claims 2.",
    )
    vague = dataclasses.replace(rows[1], status="preasymptotic")
    assert "no ok row on the mixture" in verdict([rows[0], vague]).reasons[0]


@pytest.mark.slow
def test_every_method_has_the_order_it_claims():
    rows = measure_all(jobs=1)
    assert verdict(rows).reasons == ()
