"""phi-functions, quadrature and small matrices against mpmath and scipy."""

import itertools
import math
import random

import mpmath as mp
import numpy as np
import pytest
import scipy.linalg

from sgmsolve.errors import GridError, ProcessError
from sgmsolve.phi import (
    cholesky,
    exp_moments,
    expm,
    gauss_legendre,
    integrate,
    interpolatory_weights,
    phi,
    sqrtm_psd,
)

ULP = 2.0**-52


def exact_phi(k, z):
    """phi_k = M(1, k + 1, z) / k!, a confluent hypergeometric function."""
    return mp.hyp1f1(1, k + 1, mp.mpf(z)) / mp.factorial(k)


def arguments(seed):
    rng = random.Random(seed)
    spread = [10 ** rng.uniform(-15, 0) * rng.choice([-1, 1]) for _ in range(60)]
    bounds = [s * e for s in (-1, 1) for e in (0.5, 0.5000001, 1, 8, 9, 10, 11, 12, 13, 14, 50)]
    wide = [rng.uniform(-50, 50) for _ in range(120)] + [rng.uniform(-15, 15) for _ in range(120)]
    return [0.0, *spread, *bounds, *wide]


@pytest.mark.parametrize("k", range(7))
def test_phi_to_four_ulp(k):
    with mp.workdps(50):
        for z in arguments(k):
            exact = exact_phi(k, z)
            assert abs(phi(k, z) - exact) < 4 * ULP * exact, z


@pytest.mark.parametrize("k", range(7))
def test_phi_of_mpmath_numbers_at_two_precisions(k):
    for digits in (30, 70):
        for z in ("-49.5", "-9.8", "-3.3", "-0.49", "1e-20", "0.7", "6.1", "33"):
            with mp.workdps(digits):
                found = phi(k, mp.mpf(z))
            with mp.workdps(digits + 40):
                # The argument was rounded to the working precision first.
                with mp.workdps(digits):
                    argument = mp.mpf(z)
                assert abs(found / exact_phi(k, argument) - 1) < mp.mpf(10) ** (3 - digits)


def test_phi_of_arrays_keeps_shape_and_kind():
    z = np.array([[-3.0, 0.0], [0.2, 7.0], [-40.0, 1e-9]])
    for k in (0, 1, 3):
        found = phi(k, z)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, [[phi(k, float(v)) for v in row] for row in z])
    exact = phi(2, np.array([mp.mpf(1), mp.mpf(-2)], dtype=object))
    assert exact.dtype == object
    assert isinstance(exact[1], mp.mpf)
    assert isinstance(phi(2, np.float64(0.3)), float)
    assert phi(3, 0) == 1 / 6


def test_phi_refuses_negative_orders():
    with pytest.raises(ValueError, match="order k >= 0, but k = -1"):
        phi(-1, 0.5)


@pytest.mark.parametrize("rate", [1, -1, 0.5])
@pytest.mark.parametrize("h", [1e-6, 0.03, 0.9, 5.0, 40.0, -1e-6, -0.7, -12.0])
def test_exp_moments_against_quadrature(rate, h):
    with mp.workdps(25):
        panels = mp.linspace(0, 1, 5 if abs(h) > 5 else 2)  # of tau / h, for an integrand of size 1
        near = exp_moments(h, 5, rate)
        far = exp_moments(h, 5, rate, weight="h-tau")
        slack = 2e-15 * max(1, abs(h) / 4)  # the exponential of z is good to z ulp
        for i in (0, 1, 2, 4):
            exact = mp.quad(lambda u, i=i: mp.exp(rate * h * u) * u**i, panels)
            assert abs(near[i] / mp.mpf(h) ** (i + 1) / exact - 1) < slack
            exact = mp.quad(lambda u, i=i: mp.exp(rate * h * (1 - u)) * u**i, panels)
            assert abs(far[i] / mp.mpf(h) ** (i + 1) / exact - 1) < slack


def test_exp_moments_far_out_and_exact():
    assert exp_moments(500.0, 4, -1) == pytest.approx([1.0, 1.0, 2.0, 6.0], rel=1e-14)
    assert exp_moments(900.0, 4, -1) == pytest.approx([1.0, 1.0, 2.0, 6.0], rel=1e-14)
    assert exp_moments(2.0, 3, 0) == pytest.approx([2.0, 2.0, 8 / 3], rel=1e-15)
    with mp.workdps(50):
        found = exp_moments(mp.mpf("0.3"), 2, -1)[1]
        assert abs(found - (1 - mp.mpf("1.3") * mp.exp(mp.mpf("-0.3")))) < mp.mpf("1e-49")
    with pytest.raises(ValueError, match="'tau' or 'h-tau', but 'tua'"):
        exp_moments(1.0, 2, weight="tua")


@pytest.mark.parametrize("n", [1, 2, 5, 20, 64])
def test_gauss_legendre_is_exact_to_degree_2n_minus_1(n):
    nodes, weights = gauss_legendre(n)
    assert len(nodes) == len(weights) == n
    assert all(0 < a < b < 1 for a, b in itertools.pairwise(nodes))
    for degree in range(2 * n):
        value = math.fsum(w * u**degree for u, w in zip(nodes, weights, strict=True))
        assert value == pytest.approx(1 / (degree + 1), rel=1e-13)
    over = math.fsum(w * u ** (2 * n) for u, w in zip(nodes, weights, strict=True))
    if n <= 5:
        assert abs(over * (2 * n + 1) - 1) > 1e-7  # and to no higher degree


def test_gauss_legendre_in_high_precision():
    for digits in (30, 60):
        with mp.workdps(digits):
            nodes, weights = gauss_legendre(12, mp.mpf(1))
            for degree in (0, 3, 23):
                terms = [w * u**degree for u, w in zip(nodes, weights, strict=True)]
                assert abs(sum(terms) * (degree + 1) - 1) < mp.mpf(10) ** (2 - digits)
    with pytest.raises(ValueError, match="at least one point, but n = 0"):
        gauss_legendre(0)


def test_integrate():
    assert integrate(math.exp, 0.0, 2.0) == pytest.approx(math.expm1(2.0), rel=1e-15)
    assert integrate(math.exp, 2.0, 0.0) == pytest.approx(-math.expm1(2.0), rel=1e-15)
    peak = integrate(lambda t: 1 / (1e-4 + t * t), -1.0, 1.0, panels=200)
    assert peak == pytest.approx(200 * math.atan(100), rel=1e-13)
    pair = integrate(lambda t: np.array([t, t**3]), 1.0, 3.0, n=2)
    np.testing.assert_allclose(pair, [4.0, 20.0], rtol=1e-15)
    with mp.workdps(50):
        assert abs(integrate(mp.exp, mp.mpf(0), mp.mpf(1), n=25) - mp.expm1(1)) < mp.mpf("1e-48")


@pytest.mark.parametrize("k", range(1, 9))
def test_interpolatory_weights_reproduce_the_moments(k):
    """Adams-Bashforth in one variable: nodes 0, -h_1, -h_1 - h_2, ... and moments over [0, 1]."""
    rng = np.random.default_rng(k)
    nodes = [0.0, *(-np.cumsum(rng.uniform(0.2, 2.0, k - 1))).tolist()]
    moments = exp_moments(1.0, k, -1)
    w = interpolatory_weights(nodes, moments)
    with mp.workdps(60):
        exact = mp.lu_solve(
            mp.matrix([[mp.mpf(u) ** i for u in nodes] for i in range(k)]),
            mp.matrix([mp.mpf(m) for m in moments]),
        )
        for found, wanted in zip(w, exact, strict=True):
            assert abs(found - wanted) < 1e-13 * max(abs(v) for v in w)
        lifted = [mp.mpf(u) for u in nodes], [mp.mpf(m) for m in moments]
        for found, wanted in zip(interpolatory_weights(*lifted), exact, strict=True):
            assert abs(found - wanted) < mp.mpf("1e-52")


def test_interpolatory_weights_are_adams_bashforth():
    found = interpolatory_weights([0, -1, -2, -3], [1, 1 / 2, 1 / 3, 1 / 4])
    assert found == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24], rel=1e-14)
    assert interpolatory_weights([], []) == []
    assert interpolatory_weights([0.4], [2.5]) == [2.5]


def test_interpolatory_weights_refuse_bad_nodes():
    with pytest.raises(GridError, match="two interpolation nodes are equal"):
        interpolatory_weights([0.0, -0.5, 0.0], [1.0, 0.5, 1 / 3])
    with pytest.raises(ValueError, match="2 nodes need 2 moments, but 3 were given"):
        interpolatory_weights([0.0, -0.5], [1.0, 0.5, 1 / 3])


@pytest.mark.parametrize("m", range(1, 7))
@pytest.mark.parametrize("rank_loss", [0, 1, 2])
def test_cholesky_of_singular_and_regular_matrices(m, rank_loss):
    rng = np.random.default_rng(10 * m + rank_loss)
    for _ in range(20):
        b = rng.integers(-3, 4, (m, max(m - rank_loss, 0))).astype(float)
        s = b @ b.T if b.size else np.zeros((m, m))
        factor = cholesky(s)
        assert np.all(np.triu(factor, 1) == 0)
        np.testing.assert_allclose(factor @ factor.T, s, atol=1e-13 * max(1.0, abs(s).max()))


def test_cholesky_agrees_with_numpy_and_mpmath():
    h = scipy.linalg.hilbert(5)
    np.testing.assert_allclose(cholesky(h), np.linalg.cholesky(h), rtol=1e-9, atol=1e-12)
    with mp.workdps(50):
        exact = np.array([[1 / mp.mpf(i + j + 1) for j in range(6)] for i in range(6)])
        factor = cholesky(exact)
        assert abs(factor @ factor.T - exact).max() < mp.mpf("1e-48")
        singular = cholesky([[mp.mpf(1), mp.mpf(2)], [mp.mpf(2), mp.mpf(4)]])
        assert singular.tolist() == [[1, 0], [2, 0]]
    np.testing.assert_array_equal(cholesky([[0, 0], [0, 9]]), [[0, 0], [0, 3]])


def test_cholesky_refuses_indefinite_matrices():
    for matrix in ([[1.0, 2.0], [2.0, 1.0]], [[-1.0]], [[1.0, 1.0], [1.0, 1.0 - 1e-9]]):
        with pytest.raises(ProcessError, match="must be positive semidefinite, but pivot"):
            cholesky(matrix)
    with pytest.raises(ProcessError, match="must be positive semidefinite"):
        cholesky([[0.0, 1.0], [1.0, 0.0]])


def test_expm_against_scipy():
    rng = np.random.default_rng(3)
    for size in (1e-9, 0.1, 1.0, 8.0, 30.0):
        for m in (1, 2, 3, 6):
            a = rng.standard_normal((m, m)) * size / m
            exact = scipy.linalg.expm(a)
            np.testing.assert_allclose(expm(a), exact, rtol=1e-12, atol=1e-12 * abs(exact).max())
    batch = rng.standard_normal((4, 3, 3))
    np.testing.assert_allclose(expm(batch)[2], expm(batch[2]), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(expm(np.zeros((2, 2))), np.eye(2))


def test_expm_in_high_precision():
    with mp.workdps(50):
        a = np.array([[mp.mpf("0.3"), mp.mpf(-2)], [mp.mpf("1.1"), mp.mpf("-0.7")]])
        exact = mp.expm(mp.matrix((3 * a).tolist()), method="taylor")
        assert abs(expm(3 * a) - np.array(exact.tolist()).reshape(2, 2)).max() < mp.mpf("1e-46")


def test_square_roots():
    rng = np.random.default_rng(4)
    b = rng.standard_normal((4, 2))
    root = sqrtm_psd(b @ b.T)
    np.testing.assert_allclose(root @ root, b @ b.T, atol=1e-14 * abs(b @ b.T).max() * 8)
    np.testing.assert_array_equal(root, root.T)
    with mp.workdps(40):
        s = np.array([[mp.mpf(2), mp.mpf(1)], [mp.mpf(1), mp.mpf(3)]])
        root = sqrtm_psd(s)
        assert abs(root @ root - s).max() < mp.mpf("1e-37")
