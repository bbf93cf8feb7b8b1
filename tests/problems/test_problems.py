"""The curated problems: what they claim to be, and that their scores are exact."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sgmsolve.problems import (
    NAMES,
    SDE_NAMES,
    Problem,
    UnknownProblemError,
    all_problems,
    find,
)

import sgmsolve
from sgmsolve.errors import SgmsolveError

pytestmark = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")


@pytest.fixture(params=[name for name in NAMES if name not in SDE_NAMES])
def problem(request: pytest.FixtureRequest) -> Problem:
    return find(request.param)


def test_names_and_refusal() -> None:
    assert [p.name for p in all_problems()] == list(NAMES)
    assert len({p.title for p in all_problems()}) == len(NAMES)
    with pytest.raises(UnknownProblemError, match="mean 'checkerboard'"):
        find("chekerboard")


def test_record_is_consistent(problem: Problem) -> None:
    assert problem.target.shape == problem.shape
    assert problem.exact == hasattr(problem.target, "modes")
    assert len(problem.shows.split()) >= 45
    assert 0 < problem.t_end < problem.process.t_max
    method = "ddim" if problem.process.m == 1 else "pf-euler"
    plan = sgmsolve.build_plan(problem.process, method, steps=4, **problem.grid_arguments)
    assert (plan.t_start, plan.t_end) == (problem.process.t_max, problem.t_end)


def test_prior_is_the_marginal_at_the_start(problem: Problem) -> None:
    """Runs of `sgmsolve sample` start from the prior: at t_max nothing of the data may be left."""
    p = problem.process
    signal = p.loading(p.t_max)[:, None] ** 2 * np.mean(problem.target.moments()[1].diagonal())
    prior = np.diag(p.prior())
    assert np.all(signal[:, 0] < 1e-3 * prior)
    assert np.all(np.abs(p.covariance(p.t_max) - p.prior()) < 1e-3 * prior.max())


def test_marginal_has_the_exact_moments(problem: Problem) -> None:
    n, t, p = 2000 if problem.dimension <= 256 else 60, 0.3, problem.process
    drawn = problem.marginal(n, t, seed=5)
    z = np.array(drawn if p.m > 1 else (drawn,)).reshape(p.m, n, -1)
    u, noise = p.loading(t), p.covariance(t)
    mean, covariance = problem.target.moments()
    spread = np.asarray(covariance.diagonal()).reshape(-1)
    for i in range(p.m):
        variance = u[i] ** 2 * spread + noise[i, i]
        off = (z[i].mean(axis=0) - u[i] * mean.reshape(-1)) / np.sqrt(variance / n)
        assert np.mean(off**2) < 1 + 8 / np.sqrt(problem.dimension)
        assert np.isclose(z[i].var(axis=0).mean(), variance.mean(), rtol=0.12)
    for i in range(1, p.m):
        joint = np.mean((z[0] - z[0].mean(axis=0)) * (z[i] - z[i].mean(axis=0)))
        scale = np.sqrt(z[0].var(axis=0).mean() * z[i].var(axis=0).mean())
        assert abs(joint - (u[0] * u[i] * spread.mean() + noise[0, i])) < 0.05 * scale
    assert not np.array_equal(z[0].reshape(-1), np.ravel(problem.marginal(n, t, seed=6)[0]))


def test_score_is_the_gradient_of_the_log_density(problem: Problem) -> None:
    t, h, p = 0.4, 1e-4, problem.process
    drawn = problem.marginal(3, t, seed=1)
    z = drawn if p.m > 1 else (drawn,)
    model = problem.target.model(p)
    score = model.as_kind("score")(z, t)
    v = np.random.default_rng(0).standard_normal((p.m, *z[0].shape))
    v /= np.sqrt(problem.dimension)

    def log_prob(s: float) -> np.ndarray:
        moved = tuple(x + s * h * part for x, part in zip(z, v, strict=True))
        return problem.target.marginal_log_prob(moved if p.m > 1 else moved[0], t, p)

    slope = (log_prob(1) - log_prob(-1)) / (2 * h)
    inner = sum(np.sum((s * part).reshape(3, -1), axis=1) for s, part in zip(score, v, strict=True))
    width = np.sqrt(p.covariance(t)[0, 0])
    assert np.allclose(slope * width, inner * width, rtol=1e-5, atol=1e-6)


def test_ring_and_grid_modes() -> None:
    ring = find("ring").marginal(4000, 0.002, seed=0)
    radius, turn = np.hypot(*ring.T), np.arctan2(ring[:, 1], ring[:, 0]) / (2 * np.pi) * 8
    assert np.isclose(radius.mean(), np.sqrt(1 + 0.1**2), atol=0.01)
    counts = np.bincount(np.round(turn).astype(int) % 8, minlength=8)
    assert np.all(np.abs(counts - 500) < 110)
    grid = find("grid25").marginal(2000, 0.002, seed=0) / 0.5
    assert np.isclose((grid - np.round(grid)).std(), 0.03 / 0.5, rtol=0.05)
    assert len(np.unique(np.round(grid), axis=0)) == 25


def test_checkerboard_fills_every_other_square() -> None:
    x = find("checkerboard").marginal(3000, 0.002, seed=0)
    cell = np.floor((x + 1) / 0.5).astype(int)
    filled = (cell.sum(axis=1) % 2 == 1) & np.all((cell >= 0) & (cell < 4), axis=1)
    assert 0.8 < filled.mean() < 0.97
    inside = x[filled] % 0.5
    # Flat within a square: four equal quarters hold equal shares.
    quarters = np.bincount((inside > 0.25) @ np.array([1, 2]), minlength=4) / len(inside)
    assert np.all(np.abs(quarters - 0.25) < 0.035)


def test_moons_are_two_arcs() -> None:
    x = find("moons").marginal(2000, 1e-3, seed=0)
    centres = np.array([[-0.3, -0.15], [0.3, 0.15]])
    away = np.abs(np.linalg.norm(x[:, None] - centres, axis=2) - 0.6)
    assert np.mean(away.min(axis=1) < 0.24) > 0.99
    assert np.isclose(np.mean(away[:, 0] < away[:, 1]), 0.5, atol=0.05)


def test_field_has_the_spectrum_of_images() -> None:
    x = find("field").marginal(100, 1e-3, seed=0)
    power = np.mean(np.abs(np.fft.fft2(x, norm="ortho")) ** 2, axis=0)
    f = np.fft.fftfreq(64, d=1 / 64)
    f2 = f[:, None] ** 2 + f[None, :] ** 2
    for lo, hi in ((4, 16), (100, 400)):
        ring = (f2 >= lo) & (f2 < hi)
        share = power[ring].mean() / np.mean(1 / (1 + f2[ring]))
        assert np.isclose(share, 1 / np.mean(1 / (1 + f2)), rtol=0.05)


def test_ill_conditioned_spectrum() -> None:
    values, mean, _ = find("ill-conditioned").target.modes()
    assert np.isclose(values.max() / values.min(), 1e6)
    assert len(values) == 64
    assert not mean.any()


def test_digits_are_all_real_pictures() -> None:
    from sklearn.datasets import load_digits

    target = find("digits").target
    assert target.data.shape == (1797, 8, 8)
    assert np.array_equal(8 * (target.data + 1), load_digits().images)
    assert target.bandwidth == 0.1


def test_digits_without_scikit_learn_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(SgmsolveError, match=r"pip install 'sgmsolve\[lab\]'"):
        find("digits").make_target()
