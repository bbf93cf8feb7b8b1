"""Distances between sets of samples, against closed forms, scipy in one dimension and all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from scipy.spatial.distance import cdist

from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.errors import AnalysisError


def test_energy_distance_of_two_points_and_of_a_pair() -> None:
    """E|X - Y| = d and no distance inside: sqrt(2 d). Against {0, 2}: 2 * 1 - 0 - 1."""
    assert energy_distance(np.zeros((1, 2)), np.array([[3.0, 4.0]])) == pytest.approx(np.sqrt(10))
    pair = np.array([[0.0], [2.0]])
    assert energy_distance(np.array([[1.0]]), pair) == pytest.approx(1, rel=1e-12)


def test_energy_distance_against_scipy_and_all_pairs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(700), 0.5 + 2 * rng.standard_normal(200)  # more than one block
    right = stats.energy_distance(a, b)
    assert energy_distance(a[:, None], b[:, None]) == pytest.approx(right, rel=1e-9)
    assert energy_distance(a, b) == pytest.approx(right, rel=1e-9)
    x, y = rng.standard_normal((70, 2, 3)), 1 + rng.standard_normal((50, 2, 3))
    flat = x.reshape(70, 6), y.reshape(50, 6)
    squared = 2 * cdist(*flat).mean() - sum(cdist(v, v).mean() for v in flat)
    assert energy_distance(x, y) == pytest.approx(np.sqrt(squared), rel=1e-9)
    assert energy_distance(x, x) < 1e-5


def test_energy_distance_of_shifted_gaussians_is_the_closed_form() -> None:
    """E|N(m, 2)| = 2/sqrt(pi) exp(-m^2/4) + m erf(m/2), on quantiles in place of samples."""
    m, n = 1.3, 4000
    x = stats.norm.ppf((np.arange(n) + 0.5) / n)
    across = 2 / np.sqrt(np.pi) * np.exp(-(m**2) / 4) + m * special.erf(m / 2)
    right = np.sqrt(2 * across - 4 / np.sqrt(np.pi))
    assert energy_distance(x, x + m) == pytest.approx(right, rel=2e-3)


@pytest.mark.parametrize("far", [1e3, 1e6])
def test_energy_distance_survives_a_common_offset(far: float) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((60, 2)), rng.standard_normal((60, 2)) + 0.5
    assert energy_distance(x + far, y + far) == pytest.approx(energy_distance(x, y), rel=1e-6)


def test_sliced_w2_in_one_dimension_is_the_sorted_distance() -> None:
    """W2 of two sets on a line matches sorted points; of Gaussian quantiles (m, s - 1) it is
    sqrt(m^2 + (s - 1)^2), and W1, which scipy knows, is met for a pure shift."""
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 300))
    right = np.sqrt(np.mean((np.sort(a) - np.sort(b)) ** 2))
    assert sliced_w2(a[:, None], b[:, None]) == pytest.approx(right, rel=1e-12)
    assert sliced_w2(a[:, None], a[:, None] + 0.7) == pytest.approx(
        stats.wasserstein_distance(a, a + 0.7), rel=1e-12
    )
    x = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    assert sliced_w2(x, 1.5 + 1.4 * x) == pytest.approx(np.hypot(1.5, 0.4), rel=2e-3)


def test_sliced_w2_of_a_shift_and_of_a_scale() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 8))
    shift = np.full(8, 0.25)
    # Averaged over directions a shift d counts |d|^2 / dimension.
    many = sliced_w2(x, x + shift, directions=20_000)
    assert many == pytest.approx(np.linalg.norm(shift) / np.sqrt(8), rel=0.02)
    assert sliced_w2(x, x[::-1]) == 0
    assert sliced_w2(x, 3 * x) == pytest.approx(2 * sliced_w2(x, 2 * x), rel=1e-12)
    assert sliced_w2(x, x + shift, seed=1) != sliced_w2(x, x + shift, seed=2)


def test_other_shapes_and_sizes_are_refused() -> None:
    x = np.zeros((400, 8))
    with pytest.raises(AnalysisError, match="400 and 300"):
        sliced_w2(x, x[:300])
    for distance in (energy_distance, sliced_w2):
        with pytest.raises(AnalysisError, match="shape of one sample"):
            distance(x, x[:, :3])
        with pytest.raises(AnalysisError, match="shape of one sample"):
            distance(x[:0], x[:0])
