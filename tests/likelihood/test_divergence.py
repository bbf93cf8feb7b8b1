"""Traces of known matrices: exact values, expectations and variances in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sgmsolve.likelihood.divergence import linearise, trace
from sgmsolve.likelihood.probes import Probes, carried

N = 6


def matrix(seed: int = 0, rank: int = N) -> np.ndarray:
    """Not symmetric; (N, N) of the given rank."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, rank)) @ rng.standard_normal((rank, N)) + 0.0


def rows_of(probes: int, batch: int, distribution: str, seed: int = 1) -> np.ndarray:
    y = (np.zeros((batch, N)),)
    made = Probes(probes, distribution, seed).drawn(y, None)
    return made(carried(y, seed, None), N, np.float64)


def estimate(kind: str, A: np.ndarray, probes: Any, batch: int = 1) -> np.ndarray:
    return trace(kind, lambda v: v @ A, probes, np.zeros((batch, N)))


def test_the_exact_trace_sums_the_diagonal() -> None:
    A = matrix()
    made = estimate("exact", A, None, batch=3)
    assert made.shape == (3, 1)
    assert np.allclose(made, np.trace(A), rtol=1e-14)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutchinson_has_the_mean_and_the_variance_of_theory(distribution: str) -> None:
    A, samples = matrix(), 40_000
    made = estimate("hutchinson", A, rows_of(1, samples, distribution), samples)[:, 0]
    B = (A + A.T) / 2
    off = np.sum(B * B) - (np.sum(np.diag(B) ** 2) if distribution == "rademacher" else 0)
    error = made.std() / np.sqrt(samples)
    assert abs(made.mean() - np.trace(A)) < 4 * error
    # The fourth moment gives the variance's own error.
    spread = (made - made.mean()) ** 2
    assert abs(spread.mean() - 2 * off) < 4 * spread.std() / np.sqrt(samples)
    assert 4 * spread.std() / np.sqrt(samples) < 0.15 * off
    assert 4 * error < 0.15 * np.sqrt(off)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutch_is_unbiased_and_beats_hutchinson_at_equal_cost(distribution: str) -> None:
    # A decaying spectrum, as the analysis of Hutch++ wants.
    Q = np.linalg.qr(matrix(3))[0]
    A, samples = Q @ np.diag(10.0 ** -np.arange(N)) @ Q.T, 20_000
    made = estimate("hutch++", A, rows_of(4, samples, distribution), samples)
    assert made.shape == (samples, 2)
    one = made.mean(axis=1)
    assert abs(one.mean() - np.trace(A)) < 4 * one.std() / np.sqrt(samples)
    assert 4 * one.std() / np.sqrt(samples) < 0.01 * np.trace(A)
    plain = estimate("hutchinson", A, rows_of(6, samples, distribution), samples).mean(axis=1)
    assert one.std() < 0.3 * plain.std()


def test_hutch_is_unbiased_where_its_sketch_sees_little() -> None:
    samples = 40_000
    made = estimate("hutch++", 2 * np.eye(N), rows_of(4, samples, "rademacher"), samples)
    one = made.mean(axis=1)
    error = one.std() / np.sqrt(samples)
    assert abs(one.mean() - 2 * N) < 4 * error < 0.005 * 2 * N


def test_hutch_is_exact_up_to_the_rank_of_its_sketch() -> None:
    probes = rows_of(4, 50, "gaussian")
    for rank, exact in ((1, True), (2, True), (3, False)):
        A = matrix(5, rank)
        error = np.abs(estimate("hutch++", A, probes, 50) - np.trace(A)).max()
        assert (error < 1e-12) == exact
        assert exact or error > 0.1


@pytest.mark.parametrize("kind", ["exact", "hutchinson", "hutch++"])
@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_libraries_estimate_the_same(library: str, kind: str) -> None:
    xp: Any = pytest.importorskip(library)
    A, probes = matrix(), None if kind == "exact" else rows_of(4, 3, "gaussian")
    there = xp.asarray(A)
    given = None if probes is None else xp.asarray(probes)
    made = trace(kind, lambda v: v @ there, given, xp.asarray(np.zeros((3, N))))
    assert np.abs(np.asarray(made) - estimate(kind, A, probes, 3)).max() < 1e-12


def test_probes_belong_to_a_sample_and_not_to_its_place() -> None:
    y = (np.zeros((5, N)),)
    all_five = rows_of(3, 5, "gaussian")
    made = Probes(3, "gaussian", 1).drawn((y[0][:2],), np.array([4, 2]))
    some = made(carried((y[0][:2],), 1, np.array([4, 2])), N, np.float64)
    assert np.array_equal(some, all_five[:, [4, 2]])
    # What is carried finds the rows after some samples have left.
    left = Probes(3, "gaussian", 1).drawn(y, None)(carried(y, 1, None)[[1, 3]], N, np.float64)
    assert np.array_equal(left, all_five[:, [1, 3]])
    wide = np.zeros((70_000, 1))
    made = Probes(1, "gaussian", 1).drawn((wide,), None)
    last = made(carried((wide,), 1, None)[[65_536, 69_999]], 1, np.float64)
    assert np.array_equal(last[0], made.table[[65_536, 69_999], 0])
    other = Probes(3, "gaussian", 2).drawn(y, None)(carried(y, 2, None), N, np.float64)
    assert not np.isclose(other, all_five).any()


def test_jax_draws_its_own_by_the_sample_s_number() -> None:
    jnp = pytest.importorskip("jax.numpy")
    y = (jnp.zeros((3, N)),)
    many = np.array([70_000, 3, 2**32 - 1])
    probes = Probes(2, "rademacher", 9)
    made = np.asarray(probes(carried(y, 9, many), 40, jnp.float64))
    turned = np.asarray(probes(carried(y, 9, many[::-1].copy()), 40, jnp.float64))
    assert np.array_equal(made[:, ::-1], turned)
    assert set(made.ravel().tolist()) == {-1.0, 1.0}
    rows = made.reshape(6, 40)
    assert np.abs(rows @ rows.T - 40 * np.eye(6)).max() < 30


@pytest.mark.parametrize("library", ["torch", "jax", "numpy"])
def test_products_are_those_of_the_jacobian(library: str) -> None:
    name = {"jax": "jax.numpy"}.get(library, library)
    xp: Any = pytest.importorskip(name)
    A = xp.asarray(matrix())
    y = np.random.default_rng(2).standard_normal((4, N))
    v = np.random.default_rng(3).standard_normal((4, N))

    def function(y: Any) -> Any:
        return xp.sin(y @ A)

    how = "differences" if library == "numpy" else "automatic"
    reach = np.array([1.0, 0.5, 1.0, 2.0])
    value, product = linearise(function, xp.asarray(y), how, reach)
    J = np.cos(y @ matrix())[:, None, :] * matrix()[None]  # (n, in, out)
    forward, back = np.einsum("ni,nio->no", v, J), np.einsum("no,nio->ni", v, J)
    made = np.asarray(product(xp.asarray(v)))
    assert np.allclose(np.asarray(value), np.sin(y @ matrix()), rtol=1e-14)
    right = forward if library == "numpy" else back
    assert np.abs(made - right).max() < (1e-10 if library == "numpy" else 1e-13)
