"""R-hat and its warning, trace plots, and the coverage of modes."""

from __future__ import annotations

import dataclasses
import sys
import warnings

import numpy as np
import pytest
from mcmc_cases import LEVELS, ring

from sgmsolve.errors import ChainError
from sgmsolve.mcmc import (
    ChainStatus,
    ChainWarning,
    Denoiser,
    Diagnosis,
    denoising_mcmc,
    diagnose,
    exact_chain,
    exact_start,
    mode_coverage,
    run_chains,
    summaries,
    trace_plot,
)
from sgmsolve.mcmc.chain import ChainRun
from sgmsolve.process import EDM
from sgmsolve.target import GaussianMixture

RING = ring()


def made(x: np.ndarray, sigma: np.ndarray) -> ChainRun:
    """A run with these emissions, (emissions, chains, d) and (emissions, chains)."""
    start = exact_start(RING, LEVELS, chains=x.shape[1], seed=0)
    run = run_chains(exact_chain(RING, LEVELS, n_skip=1), RING.model(EDM()), start, emissions=1)
    return dataclasses.replace(run, x=x, sigma=sigma)


def independent(n: int, chains: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, chains, 2)), np.exp(rng.standard_normal((n, chains)))


def test_independent_draws_pass() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = diagnose(made(*independent(400, 4)))
    assert set(found.r_hat) == {"log sigma", "rms of x", "x along 0", "x along 1"}
    assert max(found.r_hat.values()) < 1.01
    assert all(1200 < ess < 2200 for ess in found.ess.values())
    assert (found.chains, found.draws, found.message) == (4, 1600, "")


def test_chains_that_have_not_mixed_are_warned_about_with_the_number() -> None:
    """One coordinate of one chain is shifted by two standard deviations."""
    x, sigma = independent(200, 4)
    x[:, 2, 1] += 2
    with pytest.warns(ChainWarning, match=r"R-hat of x along 1 is 1\.\d\d\d, above 1\.01") as told:
        found = diagnose(made(x, sigma))
    assert f"{found.r_hat['x along 1']:.3f}" in str(told[0].message)
    # B/W: shifts of 2 in one of 4 chains have the variance 1 between chains.
    assert np.isclose(found.r_hat["x along 1"], np.sqrt(2.0), atol=0.12)
    assert found.r_hat["log sigma"] < 1.03


def test_a_quantity_that_is_stuck_is_no_success() -> None:
    x, sigma = independent(50, 4)
    with pytest.warns(ChainWarning, match="R-hat of log sigma is inf"):
        diagnose(made(x, np.full_like(sigma, 0.01)))


def test_one_move_at_the_middle_is_no_division_by_zero() -> None:
    """Both halves of every chain stand still, which R-hat divides by."""
    x, sigma = independent(6, 4)
    x[:] = np.where(np.arange(6) < 3, 0.0, 1.0)[:, None, None] + np.arange(4)[:, None]
    with pytest.warns(ChainWarning, match=r"R-hat of [\w ]+ is inf \(no chain moved it\)"):
        found = diagnose(made(x, sigma))
    assert found.r_hat["x along 0"] == np.inf


def test_more_effective_draws_than_draws_are_not_told() -> None:
    found = Diagnosis({"log sigma": 1.2}, {"log sigma": 406.0}, 4, 180, 1.01)
    assert "406" not in found.message
    assert "180 draws, too few to estimate" in found.message
    fewer = dataclasses.replace(found, ess={"log sigma": 60.0})
    assert "effective sample size of 60 of 180 draws" in fewer.message


def test_summaries_leave_out_chains_that_ended() -> None:
    x, sigma = independent(6, 4)
    run = made(x, sigma)
    statuses = list(run.statuses)
    statuses[1] = ChainStatus.DIVERGED
    run = dataclasses.replace(run, statuses=tuple(statuses))
    found = summaries(run)
    assert np.array_equal(found["log sigma"], np.log(sigma[:, [0, 2, 3]]).T)
    assert np.allclose(found["rms of x"], np.sqrt(np.mean(x[:, [0, 2, 3]] ** 2, axis=2)).T)
    assert np.array_equal(found["x along 1"], x[:, [0, 2, 3], 1].T)
    wide = dataclasses.replace(run, x=np.ones((6, 4, 5, 5)))
    assert found.keys() < summaries(wide).keys()
    with pytest.raises(ChainError, match="4 finished chains with 3 emissions"):
        diagnose(made(x[:3], sigma[:3]))


def test_trace_plot() -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure = trace_plot(made(*independent(30, 3)), chains=2)
    titles = " ".join(axis.get_title() for axis in figure.axes)
    assert all(name in titles for name in ("log sigma", "rms of x", "x along 1"))
    pyplot.close(figure)


def test_without_arviz_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ChainError, match=r"pip install 'sgmsolve\[lab\]'"):
        diagnose(made(*independent(6, 4)))


def test_mode_coverage_by_hand() -> None:
    """Three modes of weights 1:1:2; eight samples, none in the second, one off by 0.2."""
    means = [[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
    mixture = GaussianMixture([1, 1, 2], means, [0.01, 0.01, 0.04])
    x = np.array([[0, 0]] * 4 + [[0, 4]] * 3 + [[0.2, 4]], dtype=float)
    found = mode_coverage(x, mixture)
    assert np.array_equal(found.weights, [0.5, 0, 0.5])
    assert np.array_equal(found.expected, [0.25, 0.25, 0.5])
    assert (found.tv, found.missed, found.switches) == (0.25, 1, None)
    assert np.isclose(found.variance_ratio, (0.04 / 8) / (2 * 0.025))
    grouped = mode_coverage(x, mixture, [0, 0, 1])
    assert (grouped.tv, grouped.missed) == (0.0, 0)


def test_exact_samples_cover_with_their_own_variance() -> None:
    found = mode_coverage(RING.sample(40000, 0), RING)
    assert found.tv < 0.01
    assert np.isclose(found.variance_ratio, 1, atol=0.02)


def test_switches_are_counted_within_a_chain() -> None:
    start = exact_start(RING, LEVELS, chains=20, seed=1)
    found = denoising_mcmc(
        exact_chain(RING, LEVELS), RING.model(EDM()), Denoiser("kar1", 5), start, emissions=6
    )
    x = found.x.reshape(6, 20, 2)
    mode = np.argmin(np.sum((x[:, :, None] - RING.means) ** 2, axis=-1), axis=-1)
    assert mode_coverage(found, RING).switches == np.mean(np.diff(mode, axis=0) != 0)


def test_coverage_is_refused_in_sentences() -> None:
    for make, words in (
        (lambda: mode_coverage(np.ones((3, 3)), RING), r"shape \(3, 3\), expected \(n, 2\)"),
        (lambda: mode_coverage(np.ones((3, 2)), "ring"), "expected a GaussianMixture"),
        (lambda: mode_coverage(np.ones((3, 2)), RING, [0, 1]), "one integer of at least 0"),
    ):
        with pytest.raises(ChainError, match=words):
            make()
