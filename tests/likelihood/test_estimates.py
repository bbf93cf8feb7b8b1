"""Estimated divergences along whole runs, on fields whose divergence is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from likelihood_cases import MIXTURE
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.likelihood import log_density

torch = pytest.importorskip("torch")

B = 0.1 * (1 - 1e-3) + 0.5 * 19.9 * (1 - 1e-6)
"""Integral of VP's beta from 1e-3 to 1."""


def linear(M: np.ndarray, process: Any = None) -> Any:
    """A "score" M x: the flow's divergence is -beta/2 (d + tr M), whatever M is."""
    matrix = torch.tensor(M)
    net = lambda x, t: x @ matrix.T  # noqa: E731
    return sgmsolve.as_model(net, process or sgmsolve.VP(), predicts="score")


def some_matrix(rank: int = 4) -> np.ndarray:
    rng = np.random.default_rng(8)
    return 0.2 * rng.standard_normal((4, rank)) @ rng.standard_normal((rank, 4)) - 0.0


def test_a_field_that_is_no_gradient_has_its_own_divergence() -> None:
    M = some_matrix()
    found = log_density(sgmsolve.VP(), linear(M), torch.ones((3, 4), dtype=torch.float64))
    assert found.products == 4
    assert np.abs(found.volume.numpy() + 0.5 * B * (4 + np.trace(M))).max() < 1e-5


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian"])
def test_hutchinson_has_the_mean_and_the_variance_of_theory(distribution: str) -> None:
    M, n, K = some_matrix(), 4000, 2
    x = torch.zeros((n, 4), dtype=torch.float64)
    found = log_density(
        sgmsolve.VP(),
        linear(M),
        x,
        divergence="hutchinson",
        probes=K,
        distribution=distribution,
        seed=11,
        rtol=1e-3,
        atol=1e-3,
    )
    assert found.products == K
    made, right = found.volume.numpy(), -0.5 * B * (4 + np.trace(M))
    assert abs(made.mean() - right) < 4 * made.std() / np.sqrt(n)
    S = (M + M.T) / 2
    off = np.sum(S * S) - (np.sum(np.diag(S) ** 2) if distribution == "rademacher" else 0)
    variance = (0.5 * B) ** 2 * 2 * off / K
    assert made.var() == pytest.approx(variance, rel=0.1)
    # The standard error is that of the samples' own estimates.
    assert float((found.standard_error**2).mean()) == pytest.approx(variance, rel=0.1)


def test_hutch_is_exact_where_the_jacobian_fits_its_sketch() -> None:
    x = torch.zeros((6, 4), dtype=torch.float64)
    for rank, exact in ((2, True), (4, False)):
        M = some_matrix(rank)
        found = log_density(sgmsolve.VP(), linear(M), x, divergence="hutch++", probes=6, seed=1)
        error = np.abs(found.volume.numpy() + 0.5 * B * (4 + np.trace(M))).max()
        assert (error < 1e-5) == exact
        assert (float(found.standard_error.max()) < 1e-5) == exact


def test_an_estimate_belongs_to_the_sample_and_not_to_its_batch() -> None:
    process = sgmsolve.EDM()
    model = find("ring").target.model(process, "noise")
    x = torch.tensor(find("ring").target.sample(6, seed=2))
    options: dict[str, Any] = {"divergence": "hutchinson", "distribution": "gaussian", "seed": 5}
    found = log_density(process, model, x, **options)
    assert len(set(found.nfe.tolist())) > 1  # samples finish at different times
    for rows in ([4], [5, 0]):
        some = log_density(process, model, x[rows], indices=np.array(rows), **options)
        assert (some.log_p - found.log_p[rows]).abs().max() < 1e-9
        assert some.nfe.tolist() == found.nfe[rows].tolist()


def test_hutchinson_on_a_mixture_averages_to_the_exact_value() -> None:
    process, model = sgmsolve.VP(), MIXTURE.model(sgmsolve.VP(), "noise")
    x = torch.tensor(MIXTURE.sample(1, seed=4))
    exact = float(log_density(process, model, x).log_p)
    many = log_density(
        process, model, x.expand(1500, 2), divergence="hutchinson", rtol=1e-4, atol=1e-4
    ).log_p.numpy()
    error = many.std() / np.sqrt(1500)
    assert abs(many.mean() - exact) < 4 * error
    assert 0 < 4 * error < 0.02
