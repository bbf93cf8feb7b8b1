"""The general SDEs of the suite: their equations, laws and paths against independent numerics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import refuse, succeed
from scipy import integrate, stats
from sgmsolve.problems import SDE_NAMES, NoTargetError, SDEProblem, find
from sgmsolve.problems import cox_ingersoll_ross as cir

from sgmsolve.errors import SgmsolveError

# drift and diffusion, written once more
EQUATIONS = {
    "gbm": (lambda x: 0.5 * x, lambda x: 0.6 * x),
    "double-well": (lambda x: x * (1 - x) * (1 + x), lambda x: 0.7 + 0 * x),
    "cox-ingersoll-ross": (lambda x: 1.0 - x, lambda x: 0.5 * x**0.5),
}
X = np.array([[0.05], [0.4], [1.0], [2.5]])


@pytest.fixture(params=SDE_NAMES)
def problem(request: pytest.FixtureRequest) -> SDEProblem:
    found = find(request.param)
    assert isinstance(found, SDEProblem)
    return found


def noise_of(sde: Any, x: Any) -> Any:
    """g(x), however the noise is given."""
    return sde.diffuse((x,), 0.3, (0 * x + 1,))[0]


def test_equation_in_both_calculi(problem: SDEProblem) -> None:
    drift, diffusion = EQUATIONS[problem.name]
    ito, strat = problem.sde(), problem.sde("stratonovich")
    assert (ito.calculus, strat.calculus) == ("ito", "stratonovich")
    np.testing.assert_allclose(ito.drift((X,), 0.3)[0], drift(X), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose(noise_of(ito, X), diffusion(X), rtol=1e-14)
    np.testing.assert_allclose(noise_of(strat, X), diffusion(X), rtol=1e-14)
    h = 1e-6
    correction = (diffusion(X + h) ** 2 - diffusion(X - h) ** 2) / (8 * h)  # g g' / 2
    np.testing.assert_allclose(strat.drift((X,), 0.3)[0], drift(X) - correction, atol=1e-8)
    # written by hand here, converted by GeneralSDE there
    converted = ito.as_calculus("stratonovich").drift((X,), 0.3)[0]
    np.testing.assert_allclose(strat.drift((X,), 0.3)[0], converted, atol=1e-14)
    back = strat.as_calculus("ito").drift((X,), 0.3)[0]
    np.testing.assert_allclose(back, ito.drift((X,), 0.3)[0], atol=1e-14)
    linear, rest = ito.split((X,), 0.3)
    np.testing.assert_allclose(linear[0] + rest[0], drift(X), atol=1e-14)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_equation_in_other_libraries(problem: SDEProblem, library: str) -> None:
    module = pytest.importorskip("torch" if library == "torch" else "jax.numpy")
    x = module.asarray(X.astype(np.float32))
    drift, diffusion = EQUATIONS[problem.name]
    for calculus in ("ito", "stratonovich"):
        sde = problem.sde(calculus)
        got = np.asarray(sde.as_calculus("ito").drift((x,), 0.3)[0])
        np.testing.assert_allclose(got, drift(X), rtol=1e-5, atol=1e-6)
        assert type(sde.drift((x,), 0.3)[0]) is type(0 * x)
    np.testing.assert_allclose(np.asarray(noise_of(sde, x)), diffusion(X), rtol=1e-6)


def test_square_root_ends_at_zero() -> None:
    """A discrete path below zero has no noise, and nothing is NaN there, gradients included."""
    torch = pytest.importorskip("torch")
    sde = find("cox-ingersoll-ross").sde()
    x = np.array([[-0.1], [0.0], [0.25]])
    assert np.array_equal(noise_of(sde, x).ravel(), [0, 0, 0.25])
    assert np.array_equal(sde._derivative((x,), 0.0)[0].ravel(), [0, 0, 0.5])
    y = torch.tensor(x, requires_grad=True)
    (slope,) = torch.autograd.grad(sde.diffusion((y,), 0.0)[0].sum(), y)
    assert slope.ravel().tolist() == [0, 0, 0.5]


def test_moments_solve_their_equations(problem: SDEProblem) -> None:
    """(E X)' = E f and (E X^2)' = E (2 X f + g^2), with E over the law in ``cdf``."""
    drift, diffusion = EQUATIONS[problem.name]
    assert problem.cdf is not None
    t, h = 0.7, 1e-4
    ends = {"gbm": (1e-6, 60.0), "double-well": (-3.0, 3.0), "cox-ingersoll-ross": (1e-9, 8.0)}
    x = np.linspace(*ends[problem.name], 400_001)
    masses = np.diff(problem.cdf(x, t))
    middle = (x[1:] + x[:-1]) / 2

    def expected(y: np.ndarray) -> float:
        return float(np.sum(masses * y))

    assert masses.sum() == pytest.approx(1, abs=1e-8)
    mean, variance = problem.mean(t), problem.variance(t)
    assert expected(middle) == pytest.approx(mean, rel=1e-5, abs=1e-7)
    assert expected((middle - mean) ** 2) == pytest.approx(variance, rel=1e-5)
    slope = (problem.mean(t + h) - problem.mean(t - h)) / (2 * h)
    assert slope == pytest.approx(expected(drift(middle)), rel=1e-5, abs=1e-6)
    squares = [problem.mean(s) ** 2 + problem.variance(s) for s in (t - h, t + h)]
    grown = expected(2 * middle * drift(middle) + diffusion(middle) ** 2)
    assert np.diff(squares)[0] / (2 * h) == pytest.approx(grown, rel=1e-4, abs=1e-5)


def test_stationary_moments_by_quadrature() -> None:
    """The density of the double well, integrated by scipy; f p = (g^2 p)' / 2 there."""
    p = find("double-well")

    def weight(x: float) -> float:
        return float(np.exp((x**2 - x**4 / 2) / 0.49))

    whole = integrate.quad(weight, -5, 5, epsabs=1e-13)[0]
    second = integrate.quad(lambda x: x**2 * weight(x), -5, 5, epsabs=1e-13)[0]
    assert p.variance(0.0) == pytest.approx(second / whole, rel=1e-12)
    assert p.mean(0.4) == 0.0
    for end in (-1.1, 0.2, 1.3):
        part = integrate.quad(weight, -5, end, epsabs=1e-13)[0]
        assert p.cdf(np.array(end), 0.5) == pytest.approx(part / whole, abs=1e-6)


def test_square_root_law_and_laplace_transform() -> None:
    t = 0.6
    scale, freedom, noncentrality = cir.law(t)
    law = stats.ncx2(freedom, noncentrality, scale=scale)
    assert cir.moments(t) == pytest.approx((law.mean(), law.var()), rel=1e-12)
    for u in (0.3, 2.0):
        assert cir.laplace(u, t) == pytest.approx(law.expect(lambda x, u=u: np.exp(-u * x)))
    # The transform solves phi_t = -u k th phi - (k u + s^2 u^2 / 2) phi_u: from the equation.
    u, h = 1.3, 1e-5
    in_time = (cir.laplace(u, t + h) - cir.laplace(u, t - h)) / (2 * h)
    in_u = (cir.laplace(u + h, t) - cir.laplace(u - h, t)) / (2 * h)
    assert in_time == pytest.approx(-u * cir.laplace(u, t) - (u + u**2 / 8) * in_u, rel=1e-7)
    assert cir.laplace(u, 1e-9) == pytest.approx(np.exp(-u * cir.X0), rel=1e-6)
    assert 2 * cir.RATE * cir.LEVEL >= cir.SIGMA**2  # Feller's condition


def test_exact_path_solves_the_equation_on_a_path() -> None:
    """Against 2^14 steps of Milstein's method, as Ito's and as Stratonovich's equation."""
    p = find("gbm")
    rng, n = np.random.default_rng(0), 1 << 14
    dw = rng.standard_normal((n, 40, 1)) / np.sqrt(n)
    x = p.start(40, 0)
    assert np.array_equal(x, np.ones((40, 1)))
    for step in dw:
        x = x + 0.5 * x / n + 0.6 * x * step + 0.18 * x * (step**2 - 1 / n)
    exact = p.exact_path(p.start(40, 0), 1.0, dw.sum(axis=0))
    assert np.max(np.abs(x / exact - 1)) < 3e-4
    y, strat = p.start(40, 0), p.sde("stratonovich")
    for step in dw.reshape(1024, 16, 40, 1).sum(axis=1):  # Heun's method
        (a,), (b,) = strat.drift((y,), 0.0), strat.diffusion((y,), 0.0)
        guess = y + a / 1024 + b * step
        (c,), (d,) = strat.drift((guess,), 0.0), strat.diffusion((guess,), 0.0)
        y = y + (a + c) / 2048 + (b + d) * step / 2
    assert np.max(np.abs(y / exact - 1)) < 3e-3


def test_simulated_laws(problem: SDEProblem) -> None:
    """Fine Euler-Maruyama paths end in the law of ``cdf``; starts have the law of t_start."""
    drift, diffusion = EQUATIONS[problem.name]
    n, steps, rng = 4000, 400, np.random.default_rng(3)
    x = problem.start(n, seed=4)
    assert x.shape == (n, 1)
    assert np.array_equal(x, problem.start(n, seed=4))
    h = (problem.t_end - problem.t_start) / steps
    for _ in range(steps):
        x = x + h * drift(x) + diffusion(x) * np.sqrt(h) * rng.standard_normal(x.shape)
    end = problem.t_end
    assert stats.kstest(x.ravel(), lambda y: problem.cdf(y, end)).pvalue > 1e-3
    spread = np.sqrt(problem.variance(end) / n)
    assert abs(x.mean() - problem.mean(end)) < 4 * spread


def test_stationary_starts() -> None:
    p = find("double-well")
    x = p.start(20_000, seed=0)
    assert stats.kstest(x.ravel(), lambda y: p.cdf(y, 0.0)).pvalue > 1e-3
    assert not np.array_equal(x, p.start(20_000, seed=1))


def test_samplers_are_told_that_there_is_no_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p = find("gbm")
    with pytest.raises(NoTargetError, match="is a general SDE and has no target: samplers need"):
        _ = p.target
    assert not hasattr(p, "process")
    assert issubclass(NoTargetError, SgmsolveError)
    with pytest.raises(AttributeError, match="no attribute 'proces'"):
        _ = p.proces
    out = tmp_path / "x"
    for words in (
        ("compare", "gbm", "--out", out),
        ("compare", "ring", "double-well", "--out", out),
        ("sample", "gbm", "--out", out),
        ("sample", "gbm", "--method", "heun", "--out", out),
        ("tune", "heun", "--problem", "cox-ingersoll-ross", "--nfe", 6, "--out", out),
    ):
        assert "is a general SDE and has no" in refuse(capsys, *words)
    assert not out.exists()


def test_lists_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    listed = succeed(capsys, "problems")
    assert sum("general SDE" in line for line in listed.splitlines()) == 3
    shown = succeed(capsys, "problems", "cox-ingersoll-ross")
    assert "dX = 1 (1 - X) dt + 0.5 sqrt(X) dW (Ito), X(0) = 0.5" in shown
    assert "Laplace transform" in shown
