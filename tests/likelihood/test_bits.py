"""Bits per dimension against probabilities of whole numbers that are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sgmsolve.errors import ModelError
from sgmsolve.likelihood import bits_per_dimension, dequantise


def test_a_uniform_density_costs_eight_bits() -> None:
    dims = 12
    for low, high in ((-1.0, 1.0), (0.0, 1.0), (0.0, 256.0)):
        log_p = -dims * math.log(high - low)
        assert bits_per_dimension(log_p, dims, low=low, high=high) == pytest.approx(8, rel=1e-14)
    assert bits_per_dimension(0.0, 5, levels=4, low=0, high=1) == pytest.approx(2, rel=1e-14)
    assert bits_per_dimension(np.zeros(3), 5) == pytest.approx(np.full(3, 7.0), rel=1e-14)


def test_the_bits_of_a_known_law_of_whole_numbers() -> None:
    # The density that is constant on each cell gives the exact entropy under uniform noise.
    p = np.array([0.5, 0.25, 0.125, 0.125])
    v = np.random.default_rng(0).choice(4, size=20_000, p=p)[:, None]
    x = dequantise(v, 3, levels=4, low=-2.0, high=1.0, dtype=np.float64)
    cell = np.floor((x + 2.0) / 0.75).astype(int)
    assert np.array_equal(cell, v)
    bits = bits_per_dimension(np.log(p[cell[:, 0]] / 0.75), 1, levels=4, low=-2.0, high=1.0)
    assert np.allclose(bits, -np.log2(p[v[:, 0]]))
    u = (x + 2.0) / 0.75 - v
    assert 0 <= u.min() <= u.max() < 1
    assert abs(u.mean() - 0.5) < 4 / math.sqrt(12 * u.size)
    assert abs(u.var() - 1 / 12) < 4 / math.sqrt(180 * u.size)


def test_without_dequantisation_the_cell_is_the_distance_of_two_values() -> None:
    # A logistic density, smooth on the scale of a cell: the midpoint rule sums to about 1.
    x = np.linspace(-1, 1, 256)
    density = 1 / (0.04 * np.cosh(x / 0.02 / 2) ** 2 * 2)
    bits = bits_per_dimension(np.log(density), 1, dequantisation="none")
    assert abs(np.sum(2.0**-bits) - 1) < 1e-3
    wide = bits_per_dimension(np.log(density), 1)
    assert bits - wide == pytest.approx(np.full(256, math.log2(255 / 256)), abs=1e-12)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_libraries_share_the_numbers(library: str) -> None:
    xp: Any = pytest.importorskip({"jax": "jax.numpy"}.get(library, library))
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.uint8)
    here, there = dequantise(images, 5), dequantise(xp.asarray(images), 5)
    assert there.dtype == xp.float32
    assert here.dtype == np.float32
    assert np.array_equal(here, np.asarray(there))
    assert not np.array_equal(here, dequantise(images, 6))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bits_per_dimension(0.0, 0), "dims = 0"),
        (lambda: bits_per_dimension(0.0, True), "dims = True"),
        (lambda: bits_per_dimension(0.0, 3, levels=1), "levels = 1"),
        (lambda: bits_per_dimension(0.0, 3, low=1, high=0), "low < high"),
        (lambda: bits_per_dimension(0.0, 3, dequantisation="unifrm"), "Did you mean 'uniform'"),
        (lambda: dequantise(np.array([0.5])), "before any scaling"),
        (lambda: dequantise(np.array([256])), "from 256 to 256, expected whole numbers"),
        (lambda: dequantise(np.array([-1])), "from -1 to -1"),
    ],
)
def test_bad_input_is_a_sentence(call: Any, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        call()
