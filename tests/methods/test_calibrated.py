"""Noise-calibrated reverse diffusion: its noise, the residual that is left, and its orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sgmsolve import EDM, VE, VP, SubVP, build_plan, grid
from sgmsolve.analysis import exact
from sgmsolve.errors import MethodError
from sgmsolve.methods.calibrated import noise_gain
from sgmsolve.target import Gaussian

CASES = [
    pytest.param(VE(0.01, 50.0), "uniform", id="ve-geometric"),
    pytest.param(VP(), "uniform", id="vp-uniform"),
    pytest.param(SubVP(), "uniform", id="subvp-uniform"),
    pytest.param(EDM(), "karras", id="edm-karras"),
]


def variance_error(process, name, lam, steps, **options):
    """(V - c)/c at the end, from the exact law at the start."""
    target = Gaussian([0.0], [[lam]])
    plan = build_plan(process, "calibrated", steps=steps, grid=name, **options)
    found = exact.output_moments(plan, target, process).covariance[0, 0, 0]
    wanted = exact.marginal(target, process, plan.t_end).covariance[0, 0, 0]
    return float(found / wanted - 1), plan


@pytest.mark.parametrize(("process", "name"), CASES)
def test_a_step_has_the_exact_mean_and_the_mean_of_two_steps_noise(process, name):
    times = grid.make(name, process, 6)
    plan = build_plan(process, "calibrated", grid=times, denoise=True)
    assert plan.nfe == 7
    for i, (t, s) in enumerate(itertools.pairwise(times)):
        a, v = process.alpha(t) / process.alpha(s), process.transition_variance(s, t)
        gaps = process.rho(times[i]) ** 2 - process.rho(times[i + 1]) ** 2
        after = process.rho(s) ** 2 - process.rho(times[i + 2]) ** 2 if i + 2 < len(times) else 0
        assert plan.move[i, 0, 0] == pytest.approx(1 / a, rel=1e-12)
        assert plan.kick[i, 0, 0, 0] == pytest.approx(v / a, rel=1e-12)
        wanted = process.alpha(s) ** 2 * (gaps + after) / 2
        assert plan.noise[i, 0, 0] ** 2 == pytest.approx(wanted, rel=1e-9)
    assert not plan.noise[-1].any()


@pytest.mark.parametrize(("process", "name"), CASES)
def test_half_a_step_of_noise_at_the_start(process, name):
    """alpha_t^2 d/2, and nothing else changes."""
    times = grid.make(name, process, 6)
    plan = build_plan(process, "calibrated", grid=times, half_start=True)
    plain = build_plan(process, "calibrated", grid=times)
    d = process.rho(times[0]) ** 2 - process.rho(times[1]) ** 2
    wanted = process.alpha(times[0]) ** 2 * d / 2
    assert (plan.prelude_noise**2).sum() == pytest.approx(wanted, rel=1e-12)
    assert not plain.prelude_noise.any()
    for table in ("prelude_move", "move", "kick", "noise"):
        assert np.array_equal(getattr(plan, table), getattr(plain, table))


def test_the_ratio_rule_is_the_closed_form_of_the_study():
    process = VE(0.01, 50.0)
    plan = build_plan(process, "calibrated", steps=9, grid="uniform", rule="ratio")
    ratio = (process.sigma(plan.t[1]) / process.sigma(plan.t[0])) ** 2
    forward = build_plan(process, "reverse-diffusion", steps=9, grid="uniform")
    gain = plan.noise**2 / forward.noise**2
    assert np.allclose(gain, (1 + ratio) / 2, rtol=1e-12, atol=0)
    steps = build_plan(process, "calibrated", steps=9, grid="uniform")
    assert np.allclose(steps.noise[:-1], plan.noise[:-1], rtol=1e-12, atol=0)
    assert steps.noise[-1] ** 2 == pytest.approx(forward.noise[-1] ** 2 / 2, rel=1e-12)


def test_a_step_to_the_data_shares_no_noise():
    times = grid.make("karras", EDM(), 7, final="zero")
    plan = build_plan(EDM(), "calibrated", grid=times)
    open_end = build_plan(EDM(), "calibrated", grid=times[:-1])
    assert np.array_equal(plan.noise[:-1], open_end.noise)
    assert not plan.noise[-1].any()


@pytest.mark.parametrize(("process", "name"), CASES)
@pytest.mark.parametrize("lam", [0.02, 1.0])
def test_variances_are_right_to_second_order_with_half_a_step_at_the_start(process, name, lam):
    options = {"half_start": True, "grid_options": {"t_min": 0.02}}
    coarse, fine = (variance_error(process, name, lam, n, **options)[0] for n in (200, 400))
    assert np.log2(coarse / fine) == pytest.approx(2, abs=0.1)
    plain = build_plan(process, "reverse-diffusion", steps=400, grid=name)
    target = Gaussian([0.0], [[lam]])
    assert abs(fine) < 0.03 * abs(exact.error(plain, target, process, "variance"))


@pytest.mark.parametrize(("process", "name"), CASES)
def test_the_residual_of_the_start_is_as_derived(process, name):
    """-d/2 c_end/c_start^2 for x/alpha, which matters where lam is not far below sigma_max^2."""
    lam = 0.5 * process.rho(process.t_max) ** 2
    found, plan = variance_error(process, name, lam, 2000)
    start, following = process.rho(plan.t[0]) ** 2, process.rho(plan.t[1]) ** 2
    end = process.rho(plan.t_end) ** 2
    wanted = -(start - following) / 2 * (lam + end) / (lam + start) ** 2
    assert found == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("lam", [3e-4, 0.02, 300.0])
def test_the_residual_of_the_ratio_rule_on_a_geometric_grid_is_as_derived(lam):
    """q/2 [s_min/(lam + s_min) - s_max (lam + s_min)/(lam + s_max)^2]."""
    process = VE(0.01, 50.0)
    twice = variance_error(process, "uniform", lam, 4000, rule="ratio")[0]
    found, plan = variance_error(process, "uniform", lam, 2000, rule="ratio")
    low, high = process.sigma(plan.t_end) ** 2, process.sigma(1.0) ** 2
    q = 1 - (process.sigma(plan.t[1]) / process.sigma(plan.t[0])) ** 2
    wanted = q / 2 * (low / (lam + low) - high * (lam + low) / (lam + high) ** 2)
    assert 4 * twice - found == pytest.approx(wanted, rel=0.02)  # second order removed


def test_the_gain_with_a_corrector_fixes_the_composed_map():
    """c is a fixed point, summed over the way, of contraction 2(q + k) and sources (q^2 + k^2)."""
    q, kappa, lam = 1e-3, 7e-4, 1.0
    s = np.geomspace(1e8, 1e-8, 40_000 + 1)
    q = float(1 - s[1] / s[0])
    for steps in (0, 1, 3):
        gain = noise_gain(1.0, 1 - q, kappa, steps)
        v = lam + s[0]
        for above, below in itertools.pairwise(s):
            c, h, d = lam + above, kappa * above, above - below
            for _ in range(steps):
                v = (1 - h / c) ** 2 * v + 2 * h
            v = (1 - d / c) ** 2 * v + gain * d
        plain = (q**2 + steps * kappa**2) / (q + steps * kappa) / 2
        assert abs(v / lam - 1) < 0.01 * plain, steps


WEIGHTS, MEANS, VARIANCES = np.array([0.3, 0.7]), np.array([-1.0, 1.2]), np.array([0.1, 0.2])


def mixture_error(name, steps, **options):
    """Error of E cos(2 x) at sigma = 0.4 from the exact law at 2, by quadrature backwards."""
    spline = pytest.importorskip("scipy.interpolate").CubicSpline
    plan = build_plan(EDM(), name, grid=np.geomspace(2.0, 0.4, steps + 1), **options)
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    weights = weights / weights.sum()
    x = np.linspace(-16, 16, 1601)

    def score(x, t):
        c = VARIANCES + t**2
        d = x[..., None] - MEANS
        logs = np.log(WEIGHTS / np.sqrt(c)) - d**2 / (2 * c)
        share = np.exp(logs - logs.max(axis=-1, keepdims=True))
        share /= share.sum(axis=-1, keepdims=True)
        return -(share * d / c).sum(axis=-1)

    u = np.cos(2 * x)
    for r in reversed(range(plan.rows)):
        mean = plan.move[r, 0, 0] * x + plan.kick[r, 0, 0, 0] * score(x, plan.t[r])
        u = spline(x, u)(mean[:, None] + plan.noise[r, 0, 0] * nodes) @ weights
    wide = float((plan.prelude_noise**2).sum())
    start = MEANS + np.sqrt(VARIANCES + 4 + wide) * nodes[:, None]
    found = float(weights @ spline(x, u)(start) @ WEIGHTS)
    wanted = float(WEIGHTS @ (np.cos(2 * MEANS) * np.exp(-2 * (VARIANCES + 0.16))))
    return found - wanted


def test_the_weak_order_on_a_mixture_is_one():
    errors = [mixture_error("calibrated", n, half_start=True) for n in (16, 32, 64)]
    slopes = np.log2(np.abs(errors[:-1]) / np.abs(errors[1:]))
    assert slopes == pytest.approx(1, abs=0.1)
    assert errors[-1] == pytest.approx(0.0045, rel=0.02)
    assert mixture_error("reverse-diffusion", 64) == pytest.approx(0.0089, rel=0.02)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"rule": "rato"}, "Did you mean 'ratio'"), ({"half_start": 1}, "True or False")],
)
def test_bad_options_are_sentences(options, match):
    with pytest.raises(MethodError, match=match):
        build_plan(VE(), "calibrated", steps=5, **options)
