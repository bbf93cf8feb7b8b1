"""Mixtures and smoothed data against each other, brute force and scipy."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from sgmsolve.process import EDM, VP
from sgmsolve.target import Empirical, Gaussian, GaussianMixture, TargetError

COVS = np.array([[[0.5, 0.2], [0.2, 0.3]], [[0.2, -0.1], [-0.1, 0.4]]])
MEANS = np.array([[0.5, -0.2], [-1.0, 0.3]])


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("covs", "matrices"),
    [
        (0.3, [0.3 * np.eye(2)] * 2),
        (np.array([0.3, 0.1]), [0.3 * np.eye(2), 0.1 * np.eye(2)]),
        (COVS, COVS),
    ],
)
def test_mixture_density_against_scipy(covs, matrices):
    target, x = GaussianMixture([1, 4], MEANS, covs), normal((5, 2))
    laws = [multivariate_normal(m, c) for m, c in zip(MEANS, matrices, strict=True)]
    terms = [np.log(0.2) + laws[0].logpdf(x), np.log(0.8) + laws[1].logpdf(x)]
    expected = logsumexp(terms, axis=0)
    np.testing.assert_allclose(target.log_prob(x), expected, rtol=1e-12)


def test_diagonal_components_are_dense_ones(process, t):
    diagonals = np.array([[0.2, 0.4, 0.9], [0.3, 0.1, 0.2]])
    means = normal((2, 3))
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
    x = normal((4, 2))
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
    np.testing.assert_allclose(noise[1], 0, atol=1e-6)  # symmetric
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
    np.testing.assert_allclose(ring.moments()[1], (0.01 + 2.0) * np.eye(2), atol=1e-14)
    grid = GaussianMixture.grid(3, 0.5, 0.2)
    line = (-0.5, 0, 0.5)
    assert {tuple(m) for m in grid.means} == {(a, b) for a in line for b in line}
    variance = 0.04 + 0.5**2 * 2 / 3
    np.testing.assert_allclose(grid.moments()[1], variance * np.eye(2), atol=1e-14)
    np.testing.assert_allclose(grid.weights, 1 / 9)


def test_weights_are_followed():
    target = GaussianMixture([1, 3], [[-10.0], [10.0]], 1.0)
    right = (target.sample(100_000, 0) > 0).mean()
    assert abs(right - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 100_000)
    expected = np.log(0.75) - 0.5 * np.log(2 * np.pi)
    assert target.log_prob(np.array([[10.0]]))[0] == pytest.approx(expected)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 80.0])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_empirical_is_the_brute_force_mixture(sigma, offset):
    """Also far from the origin, where squared norms would cancel without centring."""
    data = normal((150, 4, 3)) + offset
    target, p = Empirical(data, 0.2), EDM()
    brute = GaussianMixture(np.ones(150), data.reshape(150, 12), 0.04)
    x = data[:70] + np.hypot(0.2, sigma) * normal((70, 4, 3), 1)
    flat = x.reshape(70, 12)
    tolerance = 1e-13 * (1 + offset) * (1 + 1 / sigma)
    for kind in ("noise", "data", "score", "v", "flow"):
        got = target.predict(kind, x, sigma, p).reshape(70, 12)
        expected = brute.predict(kind, flat, sigma, p)
        assert np.abs(got - expected).max() < tolerance * max(1, np.abs(expected).max()), kind
    got, expected = target.marginal_log_prob(x, sigma, p), brute.marginal_log_prob(flat, sigma, p)
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    (mean, cov), (brute_mean, brute_cov) = target.moments(), brute.moments()
    np.testing.assert_allclose(cov, brute_cov, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mean.reshape(-1), brute_mean, rtol=1e-12, atol=1e-12)


def test_empirical_single_precision_at_low_noise():
    data = normal((300, 20))
    target, p = Empirical(data, 0.1), VP()
    t = float(p.t_min)
    x = p.alpha(t) * data[:50] + 0.1 * normal((50, 20), 1)
    exact = target.predict("data", x, t, p)
    single = target.predict("data", x.astype(np.float32), t, p)
    assert np.abs(single - exact).max() < 1e-4


def test_empirical_samples_have_the_bandwidth():
    away = Empirical(np.full((1, 4), 3.0), 0.5).sample(50_000, 0) - 3.0
    assert abs(away.std() / 0.5 - 1) < 5 / np.sqrt(2 * away.size)
    assert abs(away.mean()) < 5 * 0.5 / np.sqrt(away.size)


def test_empirical_is_a_mixture_under_every_process(process, t):
    data = normal((12, 3))
    target, brute = Empirical(data, 0.3), GaussianMixture(np.ones(12), data, 0.09)
    x = normal((5, 3), 1)
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


def test_a_sample_that_is_nan_spoils_no_other() -> None:
    """Pieces of a batch leave out data points that none of them sees; NaN must not hide them."""
    target, process = Empirical(normal((40, 3)), 0.05), EDM()
    x = target.sample(6, 1) + 0.1 * normal((6, 3))
    expected = target.predict("data", x, 0.1, process)
    x[2] = np.nan
    got = target.predict("data", x, 0.1, process)
    assert np.isnan(got[2]).all()
    others = np.arange(6) != 2
    np.testing.assert_allclose(got[others], expected[others], rtol=1e-13)
