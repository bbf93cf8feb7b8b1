"""Gaussians: constructors, modes, exact gains, limits and the probability-flow map."""

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import solve_ivp
from scipy.stats import multivariate_normal

from sgmsolve.process import EDM, VP, Flow
from sgmsolve.target import DenseTransform, Gaussian, IdentityTransform, TargetError


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


BASIS = np.linalg.qr(normal((4, 4), 3))[0]
MEAN = normal(4, 4)
FACTOR = normal((4, 2), 5)

SAME_LAWS = {
    "diagonal": (Gaussian(MEAN, [0.1, 1, 2, 3]), np.diag([0.1, 1, 2, 3])),
    "number": (Gaussian(MEAN, 0.3), 0.3 * np.eye(4)),
    "dense": (
        Gaussian(MEAN.reshape(2, 2), BASIS * [0.1, 1, 2, 3] @ BASIS.T),
        BASIS * [0.1, 1, 2, 3] @ BASIS.T,
    ),
    "low rank": (
        Gaussian.low_rank(MEAN, FACTOR, [2.0, 0.5], 0.3),
        FACTOR * [2.0, 0.5] @ FACTOR.T + 0.09 * np.eye(4),
    ),
    "low rank with a mean in its span": (
        Gaussian.low_rank(FACTOR @ [1, 2], FACTOR, [2.0, 0.5], 0.3),
        FACTOR * [2.0, 0.5] @ FACTOR.T + 0.09 * np.eye(4),
    ),
    "full low rank": (
        Gaussian.low_rank(MEAN, BASIS, [4, 3, 2, 1], 0.5),
        BASIS * [4.25, 3.25, 2.25, 1.25] @ BASIS.T,
    ),
    "spectrum": (
        Gaussian.from_spectrum([0.1, 1, 2, 3], DenseTransform(BASIS, (4,)), MEAN),
        BASIS * [0.1, 1, 2, 3] @ BASIS.T,
    ),
}


@pytest.mark.parametrize("name", SAME_LAWS)
def test_constructors_against_scipy(name):
    target, cov = SAME_LAWS[name]
    x = target.sample(5, 1)
    mean, got = target.moments()
    law = multivariate_normal(mean.reshape(-1), cov)
    np.testing.assert_allclose(target.log_prob(x), law.logpdf(x.reshape(5, 4)), rtol=1e-12)
    np.testing.assert_allclose(got.matrix(), cov, atol=1e-13)
    np.testing.assert_allclose(got.diagonal(), np.diag(cov), atol=1e-13)
    p, t = VP(), 0.3
    a, s = p.alpha(t), p.sigma(t)
    total = a * a * cov + s * s * np.eye(4)
    centred = x.reshape(5, 4) - a * mean.reshape(-1)
    posterior = mean.reshape(-1) + a * centred @ np.linalg.solve(total, cov)
    np.testing.assert_allclose(target.predict("data", x, t, p).reshape(5, 4), posterior, rtol=1e-11)


@pytest.mark.parametrize("name", SAME_LAWS)
def test_transforms_are_orthogonal_and_filter_as_they_say(name):
    target, _ = SAME_LAWS[name]
    transform, x = target.transform, normal((3, *target.shape))
    c = transform.forward(x)
    assert c.shape == (3, 4)
    np.testing.assert_allclose((c**2).sum(1), (x**2).reshape(3, -1).sum(1), rtol=1e-13)
    np.testing.assert_allclose(transform.inverse(c), x, atol=1e-14)
    gains = np.array([0.3, 1.7, -0.2, 0.9])
    filtered = transform.filter(x, transform.native(gains))
    np.testing.assert_allclose(filtered, transform.inverse(gains * c), atol=1e-14)


@pytest.mark.parametrize("name", SAME_LAWS)
def test_modes_carry_the_whole_law(name):
    target, cov = SAME_LAWS[name]
    lam, m, count = target.modes()
    np.testing.assert_allclose(np.sort(np.repeat(lam, count)), np.linalg.eigvalsh(cov), rtol=1e-10)
    assert count.sum() == 4
    assert (count * m**2).sum() == pytest.approx((target.mean**2).sum(), rel=1e-13)


def test_low_rank_modes_are_few():
    mean, factor = normal(5000), normal((5000, 3), 1)
    target = Gaussian.low_rank(mean, factor, [3, 2, 1], 0.1)
    lam, m, count = target.modes()
    assert lam.size == 5  # three directions, the mean's own direction, everything else
    assert sorted(count) == [1, 1, 1, 1, 4996]
    assert m[count == 4996] == 0
    _, cov = target.moments()
    assert cov.trace() == pytest.approx(cov.diagonal().sum(), rel=1e-12)
    with pytest.raises(Exception, match="at most 4096"):
        cov.matrix()


@pytest.mark.parametrize("kind", ["noise", "data", "score", "v", "flow"])
def test_affine_is_the_prediction_mode_by_mode(kind, process, t):
    target = Gaussian(MEAN, [0.1, 1, 2, 3])  # sorted, so modes() keeps the order of the entries
    x = normal((3, 4))
    gain, offset = target.affine(process, kind, t)
    np.testing.assert_allclose(gain * x + offset, target.predict(kind, x, t, process), rtol=1e-11)
    times = np.array([t / 2, t])
    gains, offsets = target.affine(process, kind, times)
    assert gains.shape == offsets.shape == (2, 4)
    np.testing.assert_allclose(gains[1], gain, rtol=1e-13)
    np.testing.assert_allclose(offsets[1], offset, rtol=1e-13)


@pytest.mark.parametrize("sigma", [1e-9, 1e-3, 1.0, 1e4])
def test_affine_does_not_cancel(sigma):
    """Against the textbook formulas in 60 digits, where they may cancel freely."""
    mean, lam = np.array([1.7, -0.4]), np.array([2e-3, 3.0])
    target, p = Gaussian(mean, lam), EDM(sigma_min=1e-9, sigma_max=1e4)
    with mp.workdps(60):
        s = mpf(sigma)
        for i in range(2):
            mu, v = mpf(mean[i]), mpf(lam[i])
            data = v / (v + s**2), mu - v / (v + s**2) * mu
            exact = {
                "data": data,
                "noise": ((1 - data[0]) / s, -data[1] / s),
                "score": ((data[0] - 1) / s**2, data[1] / s**2),
                "v": ((1 - data[0]) / s - s * data[0], -data[1] / s - s * data[1]),
                "flow": ((1 - data[0]) / s - data[0], -data[1] / s - data[1]),
            }
            for kind, (gain, offset) in exact.items():
                got = target.affine(p, kind, sigma)
                scale = 1e-14 if kind in ("data", "noise", "score") else 1e-13
                assert abs(got[0][i] - gain) <= scale * abs(gain)
                assert abs(got[1][i] - offset) <= scale * abs(offset)


def test_limits_at_the_ends():
    target, p = Gaussian([0.5, -1.0], [0.2, 3.0]), Flow()
    x = np.array([[0.3, 0.9]])
    # alpha = 0: the state says nothing about the data.
    np.testing.assert_allclose(target.predict("data", x, p.t_max, p), [[0.5, -1.0]], atol=1e-15)
    np.testing.assert_allclose(target.predict("noise", x, p.t_max, p), x, atol=1e-15)
    # sigma = 0: the state is the data.
    np.testing.assert_allclose(target.predict("data", x, 0.0, p), x, atol=1e-15)
    np.testing.assert_allclose(target.predict("noise", x, 0.0, p), 0 * x, atol=1e-15)
    np.testing.assert_allclose(target.score(x, 0.0, p), -(x - target.mean) / [0.2, 3.0], rtol=1e-14)


@pytest.mark.parametrize("name", ["diagonal", "dense", "low rank"])
def test_flow_map_against_an_ode_solver(name, process, t):
    target, _ = SAME_LAWS[name]
    start, end = t, 0.4 * t
    x = target.sample(2, 2)

    def field(time, flat):
        x = flat.reshape(2, *target.shape)
        rate = process.f(time) * x - 0.5 * process.g2(time) * target.score(x, time, process)
        return rate.reshape(-1)

    solved = solve_ivp(field, (start, end), x.reshape(-1), "DOP853", rtol=1e-10, atol=1e-11)
    got = target.flow_map(x, start, end, process)
    np.testing.assert_allclose(got.reshape(-1), solved.y[:, -1], rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(target.flow_map(got, end, start, process), x, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Gaussian([0, 0], np.ones((3, 3))), "expected a number"),
        (lambda: Gaussian([0, 0], [[1, 0.5], [0, 1]]), "not symmetric"),
        (lambda: Gaussian([0, 0], [[1, 2], [2, 1]]), "none below 0"),
        (lambda: Gaussian([0, 0], [1.0, -1.0]), "at least 0"),
        (lambda: Gaussian([0, np.nan], 1.0), "NaN or Inf"),
        (lambda: Gaussian("abc", 1.0), "not an array of numbers"),
        (lambda: Gaussian.low_rank([0, 0], np.ones((3, 1)), [1], 0.1), "transpose"),
        (lambda: Gaussian.low_rank([0, 0], np.ones((2, 1)), [-1], 0.1), "at least 0"),
        (lambda: Gaussian.from_spectrum([1, 2, 3], IdentityTransform((2,))), "expected 2 values"),
    ],
)
def test_bad_input(build, words):
    with pytest.raises(TargetError, match=words):
        build()
