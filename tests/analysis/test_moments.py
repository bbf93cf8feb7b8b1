"""Distances between Gaussians against closed forms, quadrature and matrix square roots."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sgmsolve.analysis.moments import Moments, bures, distance
from sgmsolve.errors import AnalysisError


def one(mean, variance, multiplicity=1.0):
    return Moments(np.array([[mean]]), np.array([[[variance]]]), np.array([multiplicity]))


def block(mean, cov):
    return Moments(np.asarray(mean)[:, None], np.asarray(cov)[:, :, None], np.ones(1))


def test_one_dimension_closed_forms():
    a, b = one(0.3, 2.0), one(-0.1, 0.5)
    w2 = math.sqrt(0.4**2 + (math.sqrt(2) - math.sqrt(0.5)) ** 2)
    assert distance(a, b) == pytest.approx(w2, rel=1e-14)
    kl = 0.5 * (2.0 / 0.5 + 0.4**2 / 0.5 - 1 - math.log(4))
    assert distance(a, b, "kl") == pytest.approx(kl, rel=1e-13)
    assert distance(a, b, "mean") == pytest.approx(0.4 / math.sqrt(0.5), rel=1e-13)
    assert distance(a, b, "variance") == pytest.approx(3.0, rel=1e-13)


def test_kl_is_the_integral_it_claims_to_be():
    x = np.linspace(-15, 15, 4001)

    def density(m, v):
        return np.exp(-0.5 * (x - m) ** 2 / v) / math.sqrt(2 * math.pi * v)

    p, q = density(0.3, 1.3), density(0.0, 0.9)
    total = np.sum(p * np.log(p / np.maximum(q, 1e-300))) * (x[1] - x[0])
    assert distance(one(0.3, 1.3), one(0.0, 0.9), "kl") == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("delta", [1e-9, 0.9e-3, 1.1e-3, -0.9e-3, -1.1e-3])
def test_kl_does_not_cancel_for_close_laws(delta):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        expected = (mpmath.mpf(delta) - mpmath.log(1 + mpmath.mpf(delta))) / 2
    variance = 1.0 + delta
    exact = float(expected)
    assert distance(one(0, variance), one(0, 1.0), "kl") == pytest.approx(exact, rel=1e-6)


def test_multiplicity_weighs_modes():
    a = Moments(np.array([[0.1, 0.2]]), np.ones((1, 1, 2)), np.array([3.0, 5.0]))
    b = Moments(np.zeros((1, 2)), np.ones((1, 1, 2)), np.array([3.0, 5.0]))
    assert distance(a, b) == pytest.approx(math.sqrt(3 * 0.01 + 5 * 0.04), rel=1e-14)
    assert distance(a, b, "kl") == pytest.approx(0.5 * (3 * 0.01 + 5 * 0.04), rel=1e-12)
    assert distance(a, b, "mean") == pytest.approx(math.sqrt(0.23 / 8), rel=1e-14)


def test_blocks_agree_with_the_matrix_square_root():
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = (x @ x.T + 0.1 * np.eye(3) for x in rng.standard_normal((2, 3, 3)))
        root = linalg.sqrtm(a)
        expected = np.trace(a + b - 2 * np.real(linalg.sqrtm(root @ b @ root)))
        assert bures(a, b) == pytest.approx(expected, rel=1e-9)


def test_blocks_that_commute_agree_with_one_dimension():
    q, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((2, 2)))
    a, b = q @ np.diag([2.0, 0.5]) @ q.T, q @ np.diag([1.0, 0.7]) @ q.T
    mean = q @ np.array([0.1, -0.3])
    for metric in ("w2", "kl"):
        parts = [
            distance(one(m, v), one(0, w), metric) for m, v, w in ((0.1, 2, 1), (-0.3, 0.5, 0.7))
        ]
        whole = distance(block(mean, a), block([0, 0], b), metric)
        total = math.hypot(*parts) if metric == "w2" else sum(parts)
        assert whole == pytest.approx(total, rel=1e-12)


def test_nearly_equal_blocks_keep_their_digits():
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    values, vectors = np.linalg.eigh(a)
    b = vectors @ np.diag((np.sqrt(values) + 1e-9) ** 2) @ vectors.T
    assert math.sqrt(bures(a, b)) == pytest.approx(1e-9 * math.sqrt(2), rel=1e-5)


def test_a_singular_block_is_allowed():
    a, b = np.diag([1.0, 0.0]), np.diag([0.25, 0.09])
    assert bures(a, b) == pytest.approx(0.25 + 0.09, rel=1e-12)


def test_a_law_without_width_has_infinite_divergence():
    assert distance(one(0, 0.0), one(0, 1.0), "kl") == math.inf


def test_refusals():
    with pytest.raises(AnalysisError, match="which is 0 in mode 0; use metric='w2'"):
        distance(one(0, 1.0), one(0, 0.0), "kl")
    with pytest.raises(AnalysisError, match="cannot be compared"):
        distance(one(0, 1.0), block([0, 0], np.eye(2)))
    with pytest.raises(AnalysisError, match="expected"):
        Moments(np.zeros((1, 2)), np.zeros((1, 1, 3)), np.ones(2))
