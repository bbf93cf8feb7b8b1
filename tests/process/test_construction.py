"""Parameters, descriptions, tables and error sentences of processes."""

import copy
import dataclasses
import json
import math
import pickle

import numpy as np
import pytest

from sgmsolve.errors import GridError, ProcessError
from sgmsolve.process import (
    EDM,
    PROCESSES,
    VE,
    VP,
    Flow,
    SubVP,
    cosine_betas,
    from_spec,
    linear_betas,
    scaled_linear_betas,
)


def test_spec_goes_through_json(process):
    spec = json.loads(json.dumps(process.spec()))
    assert from_spec(spec) == process
    assert PROCESSES[spec["process"]] is type(process)


def test_values_not_identities(process):
    for twin in (copy.deepcopy(process), pickle.loads(pickle.dumps(process))):
        assert twin == process
        assert hash(twin) == hash(process)
        assert twin.alpha(0.3) == process.alpha(0.3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        process.t_max = 2.0
    assert repr(process).startswith(type(process).__name__)
    assert len(repr(process)) < 90


def test_different_parameters_differ():
    made = [VP(), VP(beta_max=19.0), VP.scaled_linear(), VP.cosine(), VP.cosine(0.01), VE()]
    made += [VE(sigma_max=40.0), SubVP(), EDM(), EDM(sigma_max=10.0), Flow(), Flow(t_min=0.01)]
    assert len(set(made)) == len(made)
    assert VP(beta_min=0.1) == VP() == VP("linear", 0.1, 20)
    assert VP("scaled_linear") == VP.scaled_linear()
    assert VP("cosine") == VP.cosine()
    assert VP("discrete", betas=[0.1, 0.2]) == VP.discrete(np.array([0.1, 0.2]))


def test_ranges_and_flags():
    ends = {p: (p.t_min, p.t_max) for p in (VP(), VP.cosine(), VE(), SubVP(), EDM(), Flow())}
    assert ends[VP()] == ends[VP.cosine()] == ends[SubVP()] == ends[Flow()] == (1e-3, 1.0)
    assert ends[VE()] == (1e-5, 1.0)
    assert ends[EDM()] == (0.002, 80.0)
    assert VP.discrete([0.1] * 8).t_min == 0.125
    assert {p.starts_at_zero_alpha for p in (VP.cosine(), Flow())} == {True}
    assert not any(p.starts_at_zero_alpha for p in (VP(), VP.cosine(t_max=0.99), VE(), EDM()))
    assert VE().initial_covariance == np.array([[1e-4]])
    assert np.sqrt(EDM().prior()) == np.array([[80.0]])


def test_largest_usable_time_has_a_thousandth_of_signal():
    for process in (Flow(), VP.cosine()):
        usable = process.largest_usable_time()
        assert 1.0 <= process.alpha(usable) / (1e-3 * process.sigma(usable)) < 1.01
        assert float(f"{usable:.6g}") <= usable  # the sentence's digits may be typed back
    assert VP().largest_usable_time() == 1.0
    assert EDM().largest_usable_time() == 80.0


@pytest.mark.parametrize("process", [Flow(), VP.cosine()], ids=["flow", "cosine"])
def test_infinite_rates_are_sentences(process):
    calls = (
        lambda: process.f(1.0),
        lambda: process.g2(1.0),
        lambda: process.F(1.0),
        lambda: process.alpha_ratio(1.0, 0.5),
        lambda: process.flow(1.0, 0.5),
        lambda: process.transition_variance(1.0, 1.0),
    )
    for call in calls:
        with pytest.raises(ProcessError, match=r"where alpha = 0 .* start at t <= 0\.999"):
            call()
    assert process.alpha_ratio(0.5, 1.0) == 0.0
    assert process.transition_variance(0.5, 1.0) == pytest.approx(1.0, rel=1e-15)


def test_check_time():
    VP().check_time(0.0)
    VP().check_time(1.0)
    for t in (-1e-9, 1.0000001, math.nan, math.inf):
        with pytest.raises(GridError, match=r"lies outside the forward times \[0, 1\] of VP"):
            VP().check_time(t)
    with pytest.raises(GridError, match=r"grid\[3\] = 81 lies"):
        EDM().check_time(81.0, "grid[3]")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VP("liner"), "unknown VP schedule 'liner'. Did you mean 'linear'"),
        (lambda: VP(beta_min=0.0), "beta_min of VP must be a finite positive number, but 0.0"),
        (lambda: VP(beta_max=math.nan), "beta_max of VP must be a finite positive number"),
        (lambda: VP(beta_max="20"), "beta_max of VP must be a finite positive number, but '20'"),
        (lambda: VP(s=0.008), "the linear schedule of VP has no such parameter"),
        (lambda: VP(betas=(0.1, 0.2)), "the linear schedule of VP has no such parameter"),
        (lambda: VP("cosine", beta_min=0.1), "the cosine schedule of VP has no such parameter"),
        (lambda: VP("discrete"), "needs betas="),
        (lambda: VP(t_max=1.5), "needs 0 <= t_min < t_max <= 1"),
        (lambda: VP(t_min=1.0), "needs 0 <= t_min < t_max <= 1"),
        (lambda: VP(t_min=-0.1), "t_min of VP must be a finite number, zero or positive"),
        (lambda: VP.cosine(s=-0.1), "s of VP must be a finite number, zero or positive"),
        (lambda: VP.discrete([0.1]), "at least 2 entries, but 1 were given"),
        (lambda: VP.discrete([0.1, 1.0]), r"betas\[1\] = 1.0, but a discrete rate must lie"),
        (lambda: VE(sigma_min=60), "must be smaller than sigma_max = 50; swap them"),
        (lambda: EDM(sigma_min=-1), "sigma_min of EDM must be a finite positive number"),
        (lambda: EDM(sigma_min=90), "must be smaller than sigma_max = 80; swap them"),
        (lambda: SubVP(beta_min=-1), "beta_min of SubVP must be a finite positive number"),
        (lambda: Flow(t_min=1.0), "needs 0 <= t_min < t_max <= 1"),
        (lambda: linear_betas(1), "at least 2 entries, but n = 1"),
        (lambda: linear_betas(1000, 0.1, 20.0), "must be divided by the number of steps"),
        (lambda: from_spec({"process": "pv"}), "unknown process 'pv'. Did you mean"),
        (lambda: from_spec({"process": "vp", "betamin": 1}), "Did you mean 'beta_min'"),
        (lambda: from_spec(["vp"]), "with the key 'process'"),
        (lambda: from_spec({"process": "edm", "t_max": 1.0}), "unknown parameter of EDM 't_max'"),
    ],
)
def test_impossible_parameters_are_sentences(make, message):
    with pytest.raises(ProcessError, match=message):
        make()


def test_tables_of_rates():
    ddpm = linear_betas(1000)
    np.testing.assert_allclose(ddpm, np.linspace(1e-4, 0.02, 1000), rtol=1e-14)
    stable = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(scaled_linear_betas(1000), stable, rtol=1e-13)

    def bar(t):
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    wanted = [min(1 - bar((i + 1) / 500) / bar(i / 500), 0.999) for i in range(500)]
    found = cosine_betas(500)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert found[-1] == 0.999 > found[-2]


def test_discrete_tables_are_exact_at_their_nodes():
    """alpha(t_n)^2 is the cumulative product of 1 - beta, as in every DDPM code."""
    betas = linear_betas(1000)
    process = VP.discrete(betas)
    bars = np.cumprod(1 - np.array(betas))
    for n in (0, 1, 17, 499, 998, 999):
        t = process.time_of_index(n)
        assert t == (n + 1) / 1000
        assert process.alpha(t) ** 2 == pytest.approx(bars[n], rel=1e-12)
        assert process.sigma(t) ** 2 == pytest.approx(1 - bars[n], rel=1e-10)
        assert process.beta(t) == pytest.approx(-1000 * math.log(1 - betas[n]), rel=1e-12)
        if n:
            before = process.time_of_index(n - 1)
            assert process.transition_variance(before, t) == pytest.approx(betas[n], rel=1e-11)
    for n in (-1, 1000):
        with pytest.raises(ProcessError, match="entries 0 to 999"):
            process.time_of_index(n)
    with pytest.raises(ProcessError, match="has no table of rates"):
        VP().time_of_index(3)


def test_discrete_linear_table_approaches_the_continuous_process():
    """beta_i = beta(t_i) / N: the same process up to O(1 / N)."""
    coarse, fine, limit = (
        VP.discrete(linear_betas(n, 0.1 / n, 20 / n)) for n in (1000, 2000, 4000)
    )
    gaps = [abs(math.log(p.alpha(1.0) / VP().alpha(1.0))) for p in (coarse, fine, limit)]
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.02)
    assert gaps[1] / gaps[2] == pytest.approx(2.0, abs=0.02)
    assert gaps[2] < 0.02
