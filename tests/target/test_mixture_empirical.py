"""Mixtures and smoothed data against each other, brute force and scipy."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from sgmsolve.process import EDM, VP
from sgmsolve.target import Empirical, Gaussian, GaussianMixture, TargetError

RNG = np.random.default_rng(8)
COVS = np.array([[[0.5, 0.2], [0.2, 0.3]], [[0.2, -0.1], [-0.1, 0.4]]])
MEANS = np.array([[0.5, -0.2], [-1.0, 0.3]])


@pytest.mark.parametrize(
    ("covs", "matrices"),
    [
        (0.3, [0.3 * np.eye(2)] * 2),
        (np.array([0.3, 0.1]), [0.3 * np.eye(2), 0.1 * np.eye(2)]),
        (COVS, COVS),
    ],
)
def test_mixture_density_against_scipy(covs, matrices):
    target, x = GaussianMixture([1, 4], MEANS, covs), RNG.standard_normal((5, 2))
    laws = [multivariate_normal(m, c) for m, c in zip(MEANS, matrices, strict=True)]
    expected = logsumexp(
        [np.log(w) + law.logpdf(x) for w, law in zip((0.2, 0.8), laws, strict=True)], axis=0
    )
    np.testing.assert_allclose(target.log_prob(x), expected, rtol=1e-12)


def test_diagonal_components_are_dense_ones(process, t):
    diagonals = np.array([[0.2, 0.4, 0.9], [0.3, 0.1, 0.2]])
    means = RNG.standard_normal((2, 3))
    one = GaussianMixture([1, 2], means, diagonals)
    other = GaussianMixture([1, 2], means, [np.diag(v) for v in diagonals])
    x = one.sample(5, 0)
    for kind in ("noise", "data", "flow"):
        np.testing.assert_allclose(
            one.predict(kind, x, t, process), other.predict(kind, x, t, process), rtol=1e-11
        )
    np.testing.assert_allclose(one.log_prob(x), other.log_prob(x), rtol=1e-12)


def test_one_component_is_a_gaussian(process, t):
    mixture, gaussian = GaussianMixture([2.0], MEANS[:1], COVS[:1]), Gaussian(MEANS[0], COVS[0])
    x = RNG.standard_normal((4, 2))
    for kind in ("noise", "data", "score", "v", "flow"):
        np.testing.assert_allclose(
            mixture.predict(kind, x, t, process), gaussian.predict(kind, x, t, process), rtol=1e-12
        )
    np.testing.assert_allclose(mixture.moments()[1], gaussian.moments()[1], rtol=1e-13)


def test_far_components_do_not_underflow():
    target, p = GaussianMixture.ring(8, 10.0, 0.01), EDM()
    x = np.array([[10.0, 0.002], [0.0, 0.0], [300.0, 1.0]])
    noise = target.predict("noise", x, 0.002, p)
    s = 0.01**2 + 0.002**2
    np.testing.assert_allclose(noise[0], 0.002 * np.array([0.0, 0.002]) / s, atol=1e-12)
    np.testing.assert_allclose(noise[1], 0, atol=1e-9)  # symmetric
    np.testing.assert_allclose(noise[2], 0.002 * np.array([290.0, 1.0]) / s, rtol=1e-12)


def test_noise_keeps_its_digits_at_low_noise():
    """x - alpha E[x0] would lose 8 digits here; the direct formula may not."""
    target, p = GaussianMixture([1.0], [[1.0]], 1e-2), EDM(sigma_min=1e-9)
    x = np.array([[1.0 + 2.0**-20]])
    exact = 1e-8 * 2.0**-20 / (1e-2 + 1e-16)
    assert target.predict("noise", x, 1e-8, p)[0, 0] == pytest.approx(exact, rel=1e-14)


def test_ring_and_grid():
    ring = GaussianMixture.ring(4, 2.0, 0.1)
    np.testing.assert_allclose(ring.means, [[2, 0], [0, 2], [-2, 0], [0, -2]], atol=1e-15)
    np.testing.assert_allclose(ring.moments()[1].matrix(), (0.01 + 2.0) * np.eye(2), atol=1e-14)
    grid = GaussianMixture.grid(3, 0.5, 0.2)
    assert {tuple(m) for m in grid.means} == {
        (a, b) for a in (-0.5, 0, 0.5) for b in (-0.5, 0, 0.5)
    }
    np.testing.assert_allclose(
        grid.moments()[1].matrix(), (0.04 + 0.5**2 * 2 / 3) * np.eye(2), atol=1e-14
    )
    np.testing.assert_allclose(grid.weights, 1 / 9)


def test_weights_are_followed():
    target = GaussianMixture([1, 3], [[-10.0], [10.0]], 1.0)
    right = (target.sample(100_000, 0) > 0).mean()
    assert abs(right - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 100_000)
    assert target.log_prob(np.array([[10.0]]))[0] == pytest.approx(
        np.log(0.75) - 0.5 * np.log(2 * np.pi)
    )


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 80.0])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_empirical_is_the_brute_force_mixture(sigma, offset):
    """Also far from the origin, where squared norms would cancel without centring."""
    data = RNG.standard_normal((150, 4, 3)) + offset
    target, p = Empirical(data, 0.2), EDM()
    brute = GaussianMixture(np.ones(150), data.reshape(150, 12), 0.04)
    x = data[:70] + np.hypot(0.2, sigma) * RNG.standard_normal((70, 4, 3))
    flat = x.reshape(70, 12)
    tolerance = 1e-13 * (1 + offset) / sigma
    for kind in ("noise", "data", "score", "v", "flow"):
        got = target.predict(kind, x, sigma, p).reshape(70, 12)
        expected = brute.predict(kind, flat, sigma, p)
        assert np.abs(got - expected).max() < tolerance * max(1, np.abs(expected).max()), kind
    got, expected = target.marginal_log_prob(x, sigma, p), brute.marginal_log_prob(flat, sigma, p)
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    np.testing.assert_allclose(target.moments()[1], brute.moments()[1], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(
        target.moments()[0].reshape(-1), brute.moments()[0], rtol=1e-12, atol=1e-12
    )


def test_empirical_single_precision_at_low_noise():
    data = RNG.standard_normal((300, 20))
    target, p = Empirical(data, 0.1), VP()
    t = float(p.t_min)
    x = p.alpha(t) * data[:50] + 0.1 * RNG.standard_normal((50, 20))
    exact = target.predict("data", x, t, p)
    single = target.predict("data", x.astype(np.float32), t, p)
    assert np.abs(single - exact).max() < 1e-4


def test_empirical_is_a_mixture_under_every_process(process, t):
    data = RNG.standard_normal((12, 3))
    target, brute = Empirical(data, 0.3), GaussianMixture(np.ones(12), data, 0.09)
    x = RNG.standard_normal((5, 3))
    for kind in ("noise", "data", "v"):
        np.testing.assert_allclose(
            target.predict(kind, x, t, process), brute.predict(kind, x, t, process), rtol=1e-10
        )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GaussianMixture([1, 1], [[0.0]], 1.0), r"expected \(K,\) and \(K, d\)"),
        (lambda: GaussianMixture([1, 0], [[0.0], [1.0]], 1.0), "above 0"),
        (lambda: GaussianMixture([1], [[0.0]], -1.0), "at least 0"),
        (lambda: GaussianMixture([1], [[0.0, 0.0]], np.ones((5, 5))), "covs has shape"),
        (lambda: GaussianMixture([1], [[0.0, 0.0]], [[[1, 2], [2, 1]]]), r"covs\[0\]"),
        (lambda: GaussianMixture.ring(0), "at least 1"),
        (lambda: GaussianMixture.grid(0), "at least 1"),
        (lambda: Empirical(np.ones(3), 0.1), r"\(N, \*shape\)"),
        (lambda: Empirical(np.ones((3, 2)), -0.1), ">= 0"),
        (lambda: Empirical(np.ones((3, 2)), np.nan), ">= 0"),
    ],
)
def test_bad_input(build, words):
    with pytest.raises(TargetError, match=words):
        build()
