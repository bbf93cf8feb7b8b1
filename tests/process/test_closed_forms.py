"""Coefficients, marginals and transitions against retyped formulas and a moment integration."""

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp


def times(process, n=60):
    """Times from 1e-8 to t_max, many of them next to either end."""
    near_data = np.geomspace(1e-8, process.t_max, n)
    inside = np.linspace(0.03, 0.97, 17) * process.t_max
    near_prior = process.t_max - np.geomspace(1e-6, 0.1, 7)
    return [float(t) for t in np.sort(np.concatenate([near_data, inside, near_prior]))]


def relative(value, exact):
    return float(abs(mp.mpf(value) - exact) / abs(exact))


def test_alpha_and_sigma_to_1e13(reference, digits60):
    p = reference.process
    for t in times(p):
        exact = reference.alpha(mp.mpf(t))
        assert p.alpha(t) == 0 if t == 1 and p.starts_at_zero_alpha else True
        if not (t == 1 and p.starts_at_zero_alpha):
            assert relative(p.alpha(t), exact) < 1e-13, t
        assert relative(p.sigma(t), mp.sqrt(reference.variance(mp.mpf(t)))) < 1e-13, t


def test_half_log_snr_to_1e13(reference, digits60):
    p = reference.process
    for t in times(p):
        if t == 1 and p.starts_at_zero_alpha:
            continue
        tt = mp.mpf(t)
        exact = mp.log(reference.alpha(tt)) - mp.log(reference.variance(tt)) / 2
        assert abs(p.lam(t) - exact) < 1e-13 * abs(exact) + 1e-15, t
        assert p.log_snr(t) == 2 * p.lam(t)
        assert relative(p.rho(t), mp.exp(-exact)) < 1e-13, t


def test_rates_to_1e13(reference, digits60):
    p = reference.process
    for t in times(p):
        if t == 1 and p.starts_at_zero_alpha:
            continue
        if any(abs(t - kink) < 1e-12 for kink in reference.kinks):
            continue  # a table's rate jumps there, and the retyped one rounds otherwise
        tt = mp.mpf(t)
        assert abs(p.f(t) - reference.f(tt)) <= 1e-13 * abs(reference.f(tt)), t
        assert relative(p.g2(t), reference.g2(tt)) < 1e-13, t


def test_transitions_to_1e13_over_any_gap(reference, digits60):
    """Also over gaps of 1e-9, where sigma(end)^2 - ratio^2 sigma(start)^2 has no digits left."""
    p = reference.process
    a, v = reference.alpha, reference.variance
    for start in times(p, 12):
        for gap in (1e-9, 1e-5, 0.02, 0.3):
            end = start + gap
            if end > p.t_max:
                continue
            s, e = mp.mpf(start), mp.mpf(end)
            exact = v(e) - (a(e) / a(s)) ** 2 * v(s)
            # A table locates t in cells of 1/N; over a kink the position in a cell is rounded.
            slack = 1e-13 + (4e-16 / gap if reference.kinks else 0)
            assert relative(p.transition_variance(start, end), exact) < slack, (start, end)
            if end < 1 or not p.starts_at_zero_alpha:
                assert relative(p.alpha_ratio(start, end), a(e) / a(s)) < 1e-13, (start, end)
                assert relative(p.alpha_ratio(end, start), a(s) / a(e)) < 1e-13, (start, end)


def test_moments_of_the_sde(reference):
    """m' = f m, v' = 2 f v + g2, from the declared initial covariance; rates retyped, not ours."""
    p = reference.process
    end = 0.99 if p.starts_at_zero_alpha else p.t_max
    stops = [0.0, *[t for t in reference.kinks if t < end], end]
    mean, variance = 1.0, p.initial_covariance[0, 0]
    assert variance == pytest.approx(float(reference.initial), rel=1e-15, abs=0)

    for start, stop in itertools.pairwise(stops):
        # Inside one cell of a table: its rate at the middle is its rate everywhere.
        def rates(t, y, middle=(start + stop) / 2):
            tt = mp.mpf(middle) if reference.kinks else mp.mpf(t)
            f, g2 = float(reference.f(tt)), float(reference.g2(tt))
            return [f * y[0], 2 * f * y[1] + g2]

        found = solve_ivp(rates, (start, stop), [mean, variance], "DOP853", rtol=1e-12, atol=1e-15)
        mean, variance = found.y[:, -1]
        assert mean == pytest.approx(p.alpha(stop), rel=1e-9)
        assert variance == pytest.approx(p.sigma(stop) ** 2, rel=1e-9)
        assert p.loading(stop) == pytest.approx([mean], rel=1e-9)
        assert p.covariance(stop) == pytest.approx(np.array([[variance]]), rel=1e-9)


def test_transitions_compose(process):
    """Chapman-Kolmogorov: Psi = Psi2 Psi1 and Sigma = Psi2 Sigma1 Psi2^T + Sigma2."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b, c = np.sort(rng.uniform(1e-6, 0.999, 3)) * process.t_max
        psi1, sigma1 = process.transition(a, b)
        psi2, sigma2 = process.transition(b, c)
        psi, sigma = process.transition(a, c)
        np.testing.assert_allclose(psi2 @ psi1, psi, rtol=1e-13)
        np.testing.assert_allclose(psi2 @ sigma1 @ psi2.T + sigma2, sigma, rtol=1e-12)
        np.testing.assert_allclose(process.flow(c, a) @ psi, np.eye(1), rtol=1e-13)


def test_the_whole_transition_is_the_marginal(process):
    psi, sigma = process.transition(0.0, process.t_max)
    total = psi @ process.initial_covariance @ psi.T + sigma
    np.testing.assert_allclose(total, process.covariance(process.t_max), rtol=1e-14)
    np.testing.assert_allclose(total, process.prior(), rtol=1e-14)
    np.testing.assert_allclose(psi[:, 0], process.loading(process.t_max), rtol=1e-14)


def test_drift_and_diffusion_matrices(process):
    t = 0.4
    assert process.F(t).shape == process.G(t).shape == (1, 1) == (process.m, process.m)
    assert process.F(t)[0, 0] == process.f(t)
    assert (process.G(t) @ process.G(t).T)[0, 0] == pytest.approx(process.g2(t), rel=1e-15)


def test_time_zero_is_exact(reference):
    p = reference.process
    assert p.alpha(0.0) == 1.0
    assert p.sigma(0.0) == math.sqrt(p.initial_variance)
    expected = math.inf if p.initial_variance == 0 else -math.log(0.01)
    assert p.lam(0.0) == pytest.approx(expected, rel=1e-15)
    assert type(p.alpha(0.5)) is type(p.sigma(0.5)) is type(p.lam(0.5)) is float


def test_inverse_of_the_log_snr(reference):
    p = reference.process
    for t in times(p):
        if t == 1 and p.starts_at_zero_alpha:
            continue
        # lambda of VE is bounded at t = 0, so t is only known to rounding errors of lambda there.
        slack = 1e-12 * t if p.initial_variance == 0 else 1e-15
        assert abs(p.time_of_lam(p.lam(t)) - t) <= slack, t
        assert abs(p.time_of_log_snr(p.log_snr(t)) - t) <= slack, t
        assert abs(p.time_of_rho(p.rho(t)) - t) <= 2 * slack, t
    for lam in np.linspace(p.lam(0.99 * p.t_max), p.lam(1e-8), 77).tolist():
        assert abs(p.lam(p.time_of_lam(lam)) - lam) <= 1e-12 * max(abs(lam), 1e-2), lam


def test_inverse_at_the_ends(process):
    if process.initial_variance == 0:
        assert process.time_of_log_snr(math.inf) == 0.0
        assert process.time_of_lam(math.inf) == 0.0
        assert process.time_of_rho(0.0) == 0.0
    if process.starts_at_zero_alpha:
        assert process.lam(1.0) == -math.inf
        assert process.time_of_lam(-math.inf) == pytest.approx(1.0, abs=1e-15)
        assert process.time_of_lam(-800.0) == pytest.approx(1.0, abs=1e-15)


def test_extreme_log_snr_does_not_overflow(process):
    """Past 354 a naive exp(2 lam) overflows, past 709 exp(lam) does."""
    for lam in (-340.0, 340.0):
        assert math.isfinite(process.time_of_lam(lam))
    if process.names == ("x",) and not process.starts_at_zero_alpha:
        early, late = process.time_of_lam(340.0), process.time_of_lam(-340.0)
        assert early < late
