"""Coefficients of target-aware steps against mpmath, their limits, and between tabulated modes."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from sgmsolve.methods._mode_weights import ModeWeights
from sgmsolve.methods.multistep import exponential_weights
from sgmsolve.plan.frame import Frame
from sgmsolve.precondition import IdentityTransform
from sgmsolve.process import EDM, VP

VARIANCES = (0.0, 1e-6, 0.3, 40.0, 1e6)
STEPS = [(EDM(), (20.0, 9.0, 5.0), 0.4), (VP(), (0.8, 0.6, 0.5), 0.1)]


def quadrature(process, times, s, v, eta):
    """Weights of the residuals r at ``times`` in z_s from the definition, an integral over rho."""
    t, rate = times[0], 1 + eta**2
    rho = {x: mpmath.mpf(float(process.rho(x))) for x in (*times, s)}

    def kappa(r):
        return r / mpmath.sqrt(v + r * r)

    def integrand(r, j):
        value = (((v + rho[s] ** 2) / (v + r * r)) ** (mpmath.mpf(rate) / 2)) * kappa(r) / r
        for other in times:
            if other != times[j]:
                value *= mpmath.log(r / rho[other]) / mpmath.log(rho[times[j]] / rho[other])
        return value

    cuts = [rho[s] * (rho[t] / rho[s]) ** (mpmath.mpf(i) / 8) for i in range(9)]
    found = []
    for j, own in enumerate(times):
        total = mpmath.quad(lambda r, j=j: integrand(r, j), cuts)
        found.append(float(process.alpha(s) * rate * total / kappa(rho[own])))
    return np.array(found)


@pytest.mark.parametrize("eta", [0.0, 1.5])
@pytest.mark.parametrize(("process", "times", "s"), STEPS, ids=["edm", "vp"])
def test_weights_are_the_integrals_of_their_definition(process, times, s, eta):
    made = ModeWeights(process, np.array(VARIANCES), eta)
    for k in (1, 3):
        moments = made.moments(times[0], s, k)
        weights = made.weights(times[:k], times[0], s, moments)
        for i, v in list(enumerate(VARIANCES))[::k]:
            want = quadrature(process, times[:k], s, v, eta)
            np.testing.assert_allclose([w[i] for w in weights], want, rtol=2e-13)


@pytest.mark.parametrize(("process", "times", "s"), STEPS, ids=["edm", "vp"])
def test_the_linear_part_keeps_the_fit(process, times, s):
    """Var z_s = move^2 Var z_t + noise^2 for the fit itself, also next to 0 and for short steps."""
    v = np.array(VARIANCES)
    for eta in (0.0, 0.3, 1.0, 2.0):
        made = ModeWeights(process, v, eta)
        for end in (s, times[0] * (1 - 1e-6)):
            kept = made.move(times[0], end) ** 2 * made.spread(times[0])
            noise = made.noise(times[0], end) ** 2 if eta else 0.0
            np.testing.assert_allclose((kept + noise) / made.spread(end), 1.0, rtol=1e-14)


def test_the_noise_of_short_steps_does_not_cancel():
    t, s = 0.5, 0.5 * (1 - 1e-9)
    with mpmath.workdps(50):
        exact = ModeWeights(EDM(), mpmath.mpf("0.3"), 1).noise(mpmath.mpf(t), mpmath.mpf(s))
        assert ModeWeights(EDM(), 0.3, 1.0).noise(t, s) == pytest.approx(float(exact), rel=1e-14)
        many = ModeWeights(EDM(), np.array([0.0, 0.3]), 1.0).noise(t, s)
        assert many[1] == pytest.approx(float(exact), rel=1e-14)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_no_variance_gives_exponential_adams_methods(eta):
    process, times, s = VP(), (0.8, 0.6, 0.5), 0.3
    made = ModeWeights(process, 0.0, eta)
    weights = made.weights(times, times[0], s, made.moments(times[0], s, 3))
    lams = [process.lam(t) for t in times]
    want = exponential_weights(lams, lams[0], process.lam(s), 1 + eta**2)
    np.testing.assert_allclose(weights, process.alpha(s) * np.array(want), rtol=1e-13)
    assert made.gain(0.5) == 0.0
    h = process.lam(s) - lams[0]
    shrink = process.sigma(s) / process.sigma(times[0]) * np.exp(-(eta**2) * h)
    assert made.move(times[0], s) == pytest.approx(shrink, rel=1e-14)


def test_arrays_hold_the_numbers_of_single_modes():
    process, times, s = EDM(), (9.0, 6.0), 0.7
    many = ModeWeights(process, np.array(VARIANCES), 1.0)
    columns = many.weights(times, 9.0, s, many.moments(9.0, s, 2))
    for i, v in enumerate(VARIANCES):
        one = ModeWeights(process, v, 1.0)
        alone = one.weights(times, 9.0, s, one.moments(9.0, s, 2))
        np.testing.assert_allclose([c[i] for c in columns], alone, rtol=1e-13)
        assert many.noise(9.0, s)[i] == pytest.approx(one.noise(9.0, s), rel=1e-14)
        assert many.gain(s)[i] == pytest.approx(one.gain(s), rel=1e-15)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_coefficients_between_the_nodes_of_a_frame(eta):
    """512 nodes over ten decades of variance give every coefficient to 1e-12 of its size."""
    lam = np.exp(np.random.default_rng(0).uniform(np.log(1e-6), np.log(1e4), 3000))
    frame = Frame(IdentityTransform(lam.shape), lam)
    assert len(frame.values) == 512

    def coefficients(variances):
        out = []
        for process, times, s in STEPS:
            made = ModeWeights(process, variances, eta)
            weights = made.weights(times, times[0], s, made.moments(times[0], s, 3))
            noise = [made.noise(times[0], s)] if eta else []
            out += [made.move(times[0], s), made.gain(times[0]), *weights, *noise]
        return np.array(out)

    want = coefficients(lam)
    error = np.abs(frame.expand(coefficients(frame.values)) - want)
    assert (error / np.abs(want).max(axis=1, keepdims=True)).max() < 1e-12
