"""The registry: what a plan claims once its options are known, and options of a wrong type."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

import sgmsolve
from sgmsolve import grid
from sgmsolve.analysis import order
from sgmsolve.analysis.order import measure_builder
from sgmsolve.analysis.order_problems import problem
from sgmsolve.errors import MethodError, PreconditionError
from sgmsolve.methods.registry import find, methods_for
from sgmsolve.plan.conditions import polynomial_defects, tree_defects
from sgmsolve.process import EDM, VP, Flow, linear_betas

GRID = grid.log_snr(VP(), 120)

CLAIMS = [
    ("ddim", {"eta": 0.5}, {"weak": 1}),
    ("ddim", {}, {"deterministic": 1}),
    ("ddim-sde", {"eta": 0.0}, {"deterministic": 1}),
    ("ddim-data", {"eta": 1.0}, {"weak": 1}),
    ("euler-maruyama", {"eta": 0.0}, {"deterministic": 1}),
    ("pf-euler", {"eta": 0.7}, {}),
    ("dpm++2s-ancestral", {"eta": 0.0}, {"deterministic": 2}),
    ("dpm++2s-ancestral", {"eta": 0.4}, {"weak": 2}),
    ("dpm++sde", {"eta": 0.0}, {"deterministic": 2}),
    ("dpm++sde", {"eta": 0.5, "r": 0.3}, {"weak": 2}),
    ("sde-dpm++2s", {"r": 0.3}, {"weak": 2}),
    ("sde-dpm++2m", {"eta": 0.5}, {"weak": 2}),
    ("sde-dpm++2m", {"eta": 0.0}, {"deterministic": 2}),
    ("sde-dpm++3m", {}, {"weak": 2}),
    ("sa-solver", {}, {"weak": 2}),
    ("sa-solver", {"predictor": 1, "corrector": 0}, {"weak": 1}),
    ("sa-solver", {"predictor": 1, "corrector": 1}, {"weak": 2}),
    ("sa-solver", {"predictor": 2, "corrector": 0, "tau": 0.4}, {"weak": 2}),
    ("sa-solver", {"tau": 0.0}, {"deterministic": 3}),
    ("sa-solver", {"tau": 0.0, "predictor": 1}, {"deterministic": 2}),
    ("sa-solver", {"tau": 0.0, "predictor": 3, "corrector": 1}, {"deterministic": 2}),
    ("sa-solver", {"tau": 0.0, "predictor": 1, "corrector": 0}, {"deterministic": 1}),
    ("sa-solver", {"tau": 0.0, "predictor": 4, "corrector": 0}, {"deterministic": 2}),
    ("dpm-solver-3", {"r2": 0.5}, {"deterministic": 2}),
    ("dpm-solver-3", {"r1": 0.5}, {"deterministic": 3}),
    ("dpm++3s", {"r1": 0.5, "r2": 2 / 3}, {"deterministic": 3}),
    ("dpm++3s", {"r2": 0.9}, {"deterministic": 2}),
    ("dpm-solver-fast", {"tail": "2"}, {"deterministic": 3}),
    ("dpm-solver-fast", {"tail": "1"}, {"deterministic": 2}),
    ("restart", {"times": 0}, {"deterministic": 2}),
    ("edm-churn", {}, {"weak": 2}),
    ("edm-churn", {"heun": False}, {"weak": 1}),
    ("euler-churn", {"heun": True}, {"weak": 2}),
    ("edm-churn", {"s_noise": 1.003}, {}),
    ("edm-churn", {"s_noise": 0.0}, {}),
    ("edm-churn", {"s_churn": 0.0, "s_noise": 0.0}, {"deterministic": 2}),
    ("edm-churn", {"s_churn": 60.0}, {}),  # gamma is at its limit with 120 steps
    ("deis-tab-3", {"start": "matched"}, {"deterministic": 3}),
    ("deis-tab-3", {}, {"deterministic": 2}),
]


@pytest.mark.parametrize(("name", "options", "claims"), CLAIMS, ids=str)
def test_a_plan_claims_what_its_options_leave_true(name, options, claims):
    assert find(name)(VP(), GRID, **options).orders == claims


def _measured():
    """Every claim above that options change, by its kind; churn needs more steps than 120."""
    for name, options, claims in CLAIMS:
        if claims and options and "churn" not in name:
            yield pytest.param(name, options, *next(iter(claims.items())), id=f"{name}-{options}")


@pytest.mark.parametrize(("name", "options", "kind", "claimed"), list(_measured()))
def test_claims_with_options_are_measured(monkeypatch, name, options, kind, claimed):
    monkeypatch.setattr(order, "FIRST", 64)
    monkeypatch.setattr(order, "LAST", 512)
    p = problem("mixture" if kind == "deterministic" else "gaussian", "edm-start")
    row = measure_builder(lambda q, g: find(name)(q, g, **options), claimed, kind=kind, problem=p)
    assert row.slopes[-1] == pytest.approx(claimed, abs=0.3), row


BAD = (MethodError, PreconditionError)


def test_options_of_a_wrong_type_are_sentences():
    for method in methods_for(VP()):
        for option in method.options:
            for bad in ([1], object(), math.nan, 1 + 2j, "abc"):
                with pytest.raises(BAD, match=rf"\b{option}\b|'abc'"):
                    method(VP(), GRID[::20], **{option: bad})
    with pytest.raises(MethodError, match=r"denoise = 1 was given, but .* is True or False"):
        find("heun")(VP(), GRID, denoise=1)
    with pytest.raises(MethodError, match=r"predictor = True .* a whole number"):
        find("sa-solver")(VP(), GRID, predictor=True)
    plan = find("sa-solver")(VP(), GRID[::20], predictor=np.int64(2), tau=np.float32(0.5))
    assert plan.options["predictor"] == 2


@pytest.mark.parametrize("name", ["euler-maruyama", "euler-ancestral", "dpm++sde"])
def test_negative_stochasticity_is_refused(name):
    with pytest.raises(MethodError, match=r"eta = -1\.0"):
        find(name)(VP(), GRID, eta=-1.0)


@pytest.mark.parametrize("name", ["ancestral", "reverse-diffusion"])
def test_score_sde_steps_that_are_too_long_are_sentences(name):
    process = VP.discrete(linear_betas(1000))
    with pytest.raises(MethodError, match=r"needs beta h < 1, but the step from t = 1 .* 1\.01"):
        find(name)(process, grid.uniform(process, 20), discretisation="score_sde")
    assert find(name)(process, grid.uniform(process, 40), discretisation="score_sde").nfe == 40


def test_restart_on_a_grid_without_levels():
    """One step from pure noise to data has no point to restart from."""
    assert find("restart")(Flow(), [0.9, 0.0]).nfe == 1
    assert find("restart")(EDM(), [80.0, 0.0], times=3).nfe == 1
    with pytest.raises(ValueError, match="holds nothing of the data"):
        find("restart")(Flow(), [1.0, 0.0])


def test_the_drift_of_sde_3s_has_order_three():
    """More than its weak claim asks for, and what its stage weights are there for."""
    largest = []
    for h in ("1e-4", "1e-5"):
        with mpmath.workdps(50):
            times = [mpmath.mpf("0.6") - i * mpmath.mpf(h) for i in range(4)]
            plan = find("sde-dpm++3s")(VP(), times)
            found = [
                polynomial_defects(plan, VP(), 4, "lam", eta=1.0, local=False),
                tree_defects(plan, VP(), 3, eta=1.0),
            ]
            largest.append(max(abs(x) for table in found for x in table.ravel()))
    assert math.log10(largest[0] / largest[1]) == pytest.approx(4, abs=0.05)


def test_a_process_derived_from_one_that_fits_fits_too() -> None:
    class Renamed(sgmsolve.PSLD):
        """As a user would write it."""

    assert methods_for(Renamed()) == methods_for(sgmsolve.PSLD())
    assert sgmsolve.build_plan(Renamed(), "roba", steps=12).nfe == 12
    with pytest.raises(MethodError, match="'roba' is for CLD, PSLD"):
        sgmsolve.build_plan(sgmsolve.VP(), "roba", steps=12)
