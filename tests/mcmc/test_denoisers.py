"""The six published denoisers against the specification's formulas, and ours from any level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from mcmc_cases import ring

import sgmsolve
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.backends import ReplayNoise
from sgmsolve.errors import ChainError, MethodError
from sgmsolve.mcmc import Denoiser
from sgmsolve.mcmc.view import View
from sgmsolve.process import EDM, VE, VP
from sgmsolve.target import Gaussian, GaussianMixture

RING = ring()
LOW = 0.01
N = 9


def score(x: np.ndarray, sigma: float) -> np.ndarray:
    return RING.score(x, float(sigma), EDM())


def kar(x: np.ndarray, a: float, xi: Callable[[], np.ndarray], churn: bool) -> np.ndarray:
    """EDM's algorithms 1 and 2 as section 3.5 counts them."""
    k = np.arange(N - 1)
    levels = (a ** (1 / 7) + k / (N - 2) * (LOW ** (1 / 7) - a ** (1 / 7))) ** 7
    for sigma, after in zip(levels, [*levels[1:], 0.0], strict=True):
        if churn and 0.05 <= sigma <= 1:
            up = (1 + min(80 / N, np.sqrt(2) - 1)) * sigma
            x, sigma = x + np.sqrt(up**2 - sigma**2) * 1.007 * xi(), up
        d1 = -sigma * score(x, sigma)
        y = x + (after - sigma) * d1
        if after > 0:
            d2 = -after * score(y, after)
            x = x + (after - sigma) * (d1 + d2) / 2
        else:
            x = y
    return x


def variance_steps(
    x: np.ndarray, a: float, xi: Callable[[], np.ndarray], noise: bool
) -> np.ndarray:
    levels = LOW * (a / LOW) ** (np.arange(N) / (N - 1))
    for k in range(N - 1, -1, -1):
        g2 = levels[k] ** 2 - (levels[k - 1] ** 2 if k else 0.0)
        x = x + (g2 if noise else g2 / 2) * score(x, levels[k])
        if noise and k:
            x = x + np.sqrt(g2) * xi()
    return x


def euler_maruyama(x: np.ndarray, a: float, xi: Callable[[], np.ndarray]) -> np.ndarray:
    for i, t in enumerate(np.linspace(1, 1e-5, N)):
        sigma = LOW * (a / LOW) ** t
        g = sigma * np.sqrt(2 * np.log(a / LOW))
        x = x + g**2 * score(x, sigma) / N
        if i < N - 1:
            x = x + g / np.sqrt(N) * xi()
    return x


BY_HAND = {
    "kar1": lambda x, a, xi: kar(x, a, xi, False),
    "kar2": lambda x, a, xi: kar(x, a, xi, True),
    "probability-flow": lambda x, a, xi: variance_steps(x, a, xi, False),
    "reverse-diffusion": lambda x, a, xi: variance_steps(x, a, xi, True),
    "euler-maruyama": euler_maruyama,
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("a", [0.07, 1.3])
def test_published_denoisers_are_the_formulas(name: str, a: float) -> None:
    """Also their calls: 2N - 3 of the two by Karras et al., N of the others."""
    rng = np.random.default_rng(1)
    x = RING.sample(5, 3) + a * rng.standard_normal((5, 2))
    plan = Denoiser(name, N).plan(VP(), a)
    assert plan.nfe == (2 * N - 3 if name.startswith("kar") else N)
    draws = [rng.standard_normal((5, 2)) for _ in range(sum(map(len, _active(plan))))]
    found = sgmsolve.solve(plan, View(RING.model(VP())), x, noise=ReplayNoise(draws)).x
    queue = iter(draws)
    wanted = BY_HAND[name](x, a, lambda: next(queue))
    assert next(queue, None) is None
    assert np.allclose(found, wanted, rtol=1e-9, atol=1e-11)


def _active(plan: sgmsolve.Plan) -> list[list[int]]:
    return [plan.active_draws(r) for r in range(-1, plan.rows)]


@pytest.mark.parametrize("name", [*BY_HAND, "dpm++2m", "ddim-sde", "rk45"])
def test_each_sample_is_denoised_from_its_own_level(name: str) -> None:
    """A batch of three levels gives what each gives alone: plans, times, draws and calls."""
    rng = np.random.default_rng(2)
    sigma = np.array([0.02, 1.5, 0.02, 0.4])
    x = RING.sample(4, 3) + sigma[:, None] * rng.standard_normal((4, 2))
    denoiser = Denoiser(name) if name == "rk45" else Denoiser(name, 8)
    model, chains = RING.model(VP()), np.array([7, 3, 5, 11])
    whole = denoiser(model, x, sigma, seed=4, chains=chains, emissions=np.array([0, 1, 2, 2]))
    for i, emission in enumerate((0, 1, 2, 2)):
        alone = denoiser(
            *(model, x[i : i + 1], sigma[i : i + 1]),
            **{"seed": 4, "chains": chains[i : i + 1], "emissions": np.array([emission])},
        )
        assert np.allclose(whole.x[i], alone.x[0], rtol=1e-10, atol=1e-12)
        assert whole.nfe[i] == alone.nfe[0]


@pytest.mark.parametrize("process", [VP(), VE(), EDM()], ids=lambda p: type(p).__name__)
def test_rk45_solves_the_probability_flow(process: sgmsolve.AbstractProcess) -> None:
    """On a Gaussian: x(0.01) = x sqrt((v + s_min^2) / (v + sigma^2)), from each sample's level."""
    v, sigma = 0.09, np.array([0.05, 0.6, 3.0])
    target = Gaussian(np.zeros(3), v)
    x = np.random.default_rng(0).standard_normal((3, 3)) * np.sqrt(v + sigma**2)[:, None]
    found = Denoiser("rk45", tolerance=1e-8)(target.model(process), x, sigma)
    end = LOW * (sigma / LOW) ** 1e-5
    wanted = x * np.sqrt((v + end**2) / (v + sigma**2))[:, None]
    assert np.allclose(found.x, wanted, rtol=3e-7)
    assert np.all(np.diff(found.nfe) >= 0)


@pytest.mark.parametrize("d", [1, 2])
def test_rk45_is_the_pair_on_ve_from_that_level(d: int) -> None:
    """Steps and result of ProbabilityFlow(VE(s_min, a)): the carried level takes no part."""
    a, tolerance = 0.8, 1e-4
    target = GaussianMixture([1, 2], [[-1.0] * d, [0.5] * d], 0.01)
    x = target.sample(6, 1) + a * np.random.default_rng(0).standard_normal((6, d))
    found = Denoiser("rk45", tolerance=tolerance)(target.model(EDM()), x, a)
    process = VE(LOW, a)
    flow = sgmsolve.ProbabilityFlow(process, target.model(process))
    wanted = solve_adaptive("dopri5", flow, x, 1.0, 1e-5, rtol=tolerance, atol=tolerance)
    assert np.array_equal(found.nfe, wanted.nfe)
    assert np.allclose(found.x, wanted.x, rtol=1e-9, atol=1e-11)


def test_the_churn_of_kar2_below_its_limit() -> None:
    """Gamma = 80 / N where that is under sqrt(2) - 1: the first call is at (1 + gamma) a."""
    assert np.isclose(Denoiser("kar2", 250).plan(EDM(), 0.9).t[0], (1 + 80 / 250) * 0.9)


def test_tweedie_is_one_more_call() -> None:
    """x + tau^2 score(x, tau) of the published code."""
    x, model = RING.sample(4, 1) + 0.1, RING.model(VP())
    plain, more = Denoiser("kar1", 6), Denoiser("kar1", 6, tweedie=0.02)
    first, second = plain(model, x, 0.3), more(model, x, 0.3)
    assert np.allclose(second.x, first.x + 0.02**2 * score(first.x, 0.02), rtol=1e-9, atol=1e-12)
    assert np.array_equal(second.nfe, first.nfe + 1)


def test_our_methods_run_on_the_process_of_the_model() -> None:
    """Heun from sigma under VP equals the plan built for that start, and ends at the data."""
    process, sigma = VP(), 0.8
    x, model = RING.sample(3, 1) + 0.3, RING.model(process)
    found = Denoiser("dpm++2m", 6, grid="log-snr")(model, x, sigma)
    t, end = process.time_of_rho(sigma), process.time_of_rho(0.01)
    plan = sgmsolve.build_plan(
        process,
        "dpm++2m",
        steps=6,
        grid="log-snr",
        grid_options={"t_max": t, "t_min": end},
        denoise=True,
    )
    wanted = sgmsolve.solve(plan, model, process.alpha(t) * x).x
    assert np.allclose(found.x, wanted, rtol=1e-12)
    assert np.all(found.nfe == plan.nfe)


def test_levels_without_a_table_are_raised_by_their_exact_noise() -> None:
    """On N(0, 0): x = sigma xi is raised to a level at most 1 % above; its law stays right."""
    n = 1000
    sigma = np.geomspace(0.1, 1.0, n)
    seen: list[np.ndarray] = []

    def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        seen.append(np.array([x[:, 0] / t, t]))
        return x / np.reshape(t, (-1, 1))

    model = sgmsolve.as_model(net, EDM(), predicts="noise")
    x = sigma[:, None] * np.random.default_rng(0).standard_normal((n, 2))
    Denoiser("kar1", 3)(model, x, sigma, raised=True)
    levels = np.sort(seen[0][1])
    assert np.all((levels >= sigma * (1 - 1e-12)) & (levels <= sigma * 1.0101))
    assert 230 <= len(np.unique(levels)) <= 233
    assert abs(np.mean(seen[0][0] ** 2) - 1) < 0.15


def test_a_level_at_the_top_of_the_process_is_not_raised_beyond_it() -> None:
    top = EDM(0.01, 1.005)
    seen: list[float] = []

    def net(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        seen.append(float(np.max(t)))
        return 0 * x

    model = sgmsolve.as_model(net, top, predicts="noise")
    Denoiser("heun", 2)(model, np.ones((2, 2)), np.array([1.003, 0.3]), raised=True)
    assert max(seen) == 1.003


def test_denoisers_are_refused_in_sentences() -> None:
    model, x = RING.model(EDM()), np.ones((2, 2))
    cases = [
        (lambda: Denoiser("kar1"), "n = None, expected an integer of at least 3"),
        (lambda: Denoiser("kar1", 2), "at least 3"),
        (lambda: Denoiser("rk45", 5), "no n"),
        (lambda: Denoiser("kar2", 5, options=(("s_churn", 1),)), "takes no options"),
        (lambda: Denoiser("heun", 5, s_min=0), "s_min = 0"),
        (lambda: Denoiser("heun", 5, tweedie=-1.0), "tweedie = -1.0"),
        (lambda: Denoiser("heun", 5, grid="karas"), "mean 'karras'"),
        (lambda: Denoiser("heun", 5, options=(("fraction", [1]),)), "expected pairs of a name"),
        (lambda: Denoiser("rk45").plan(EDM(), 1.0), "no plan"),
        (lambda: Denoiser("kar1", 5)(model, x, 100.0), "choose levels inside"),
        (lambda: Denoiser("kar1", 5, s_min=1e-3)(RING.model(VE()), x, 1.0), "0.001 to 1"),
        (lambda: Denoiser("reverse-diffusion", 4095)(model, x, 1.0), "at most 4094"),
    ]
    for make, words in cases:
        with pytest.raises(ChainError, match=words):
            make()
    with pytest.raises(MethodError, match="mean 'heun'"):
        Denoiser("hean", 5)(model, x, 1.0)
