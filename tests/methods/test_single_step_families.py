"""One-step and single-step methods against the papers' own loops, written here a second time.

Each oracle is a plain loop in the paper's variables; both see the same starts and the same normals.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import toy

from sgmsolve import grid as grids
from sgmsolve.errors import MethodError
from sgmsolve.methods.registry import find, methods_for
from sgmsolve.process import EDM, VE, VP, Flow, SubVP

X = np.linspace(-2.5, 2.5, 7)
EDM_GRID = np.array([5.0, 2.2, 0.9, 0.3, 0.08])
VP_GRID = np.array([0.9, 0.6, 0.35, 0.1, 0.02])


def close(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-12) -> None:
    assert np.abs(a - b).max() <= tolerance * (1 + np.abs(b).max())


def edm_noise(x: np.ndarray, sigma: float) -> np.ndarray:
    return toy.noise(x, 1.0, sigma)


@pytest.mark.parametrize(("name", "fraction"), [("heun", 1.0), ("midpoint", 0.5)])
def test_edm_algorithm_1(name: str, fraction: float) -> None:
    got, _ = toy.solution(name, EDM(), EDM_GRID, X)
    x = X
    for t, s in itertools.pairwise(EDM_GRID):
        d = edm_noise(x, t)
        inner = t + fraction * (s - t)
        e = edm_noise(x + fraction * (s - t) * d, inner)
        x = x + (s - t) * ((1 - 1 / (2 * fraction)) * d + e / (2 * fraction))
    close(got, x)


def test_edm_algorithm_2_with_churn() -> None:
    churn = {"s_churn": 1.2, "s_t_min": 0.2, "s_t_max": 3.0, "s_noise": 1.007}
    got, xi = toy.solution("edm-churn", EDM(), EDM_GRID, X, **churn)
    x, drawn = X, iter(xi)
    for t, s in itertools.pairwise(EDM_GRID):
        gamma = min(1.2 / 4, np.sqrt(2) - 1) if 0.2 <= t <= 3.0 else 0.0
        t_hat = (1 + gamma) * t
        if gamma:
            x = x + np.sqrt(t_hat**2 - t**2) * 1.007 * next(drawn)
        d = edm_noise(x, t_hat)
        e = edm_noise(x + (s - t_hat) * d, s)
        x = x + (s - t_hat) * (d + e) / 2
    assert next(drawn, None) is None
    close(got, x)


def test_churn_is_capped_and_stays_in_the_process_s_range() -> None:
    plan = find("edm-churn")(EDM(), [4.0, 2.0, 1.0], s_churn=1e6)
    assert plan.t[0] == pytest.approx(4 * np.sqrt(2), rel=1e-14)
    assert find("edm-churn")(VP(), [1.0, 0.5, 0.1]).t.max() <= 1.0


def test_restart_goes_up_by_exact_noise_and_down_by_heun() -> None:
    got, xi = toy.solution("restart", EDM(), EDM_GRID, X, rho_low=0.3, rho_high=2.2, times=2)

    def heun(x: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        for t, s in itertools.pairwise(nodes):
            d = edm_noise(x, t)
            x = x + (s - t) * (d + edm_noise(x + (s - t) * d, s)) / 2
        return x

    x = heun(X, EDM_GRID[:4])
    for draw in xi:
        x = heun(x + np.sqrt(2.2**2 - 0.3**2) * draw, EDM_GRID[1:4])
    assert len(xi) == 2
    close(got, heun(x, EDM_GRID[3:]))


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_algorithm_2_on_a_table(variance: str) -> None:
    betas = np.linspace(1e-3, 0.3, 12)
    process = VP.discrete(betas)
    times = [process.time_of_index(n) for n in range(11, -1, -1)]
    got, xi = toy.solution("ddpm", process, times, X, variance=variance)
    bars = np.cumprod(1 - betas)
    x = X
    for n, draw in zip(range(11, 0, -1), xi, strict=True):
        eps = toy.noise(x, np.sqrt(bars[n]), np.sqrt(1 - bars[n]))
        small = betas[n] * (1 - bars[n - 1]) / (1 - bars[n])
        std = np.sqrt(small if variance == "small" else betas[n])
        x = (x - betas[n] / np.sqrt(1 - bars[n]) * eps) / np.sqrt(1 - betas[n]) + std * draw
    close(got, x, 1e-11)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("process", [VP(), SubVP(), EDM(), Flow()], ids=repr)
def test_ddim_noise_and_data_forms_agree_with_the_posterior(process: object, eta: float) -> None:
    grid = EDM_GRID if isinstance(process, EDM) else VP_GRID
    got, xi = toy.solution("ddim", process, grid, X, eta=eta)
    other, _ = toy.solution("ddim-data", process, grid, X, eta=eta)
    x = X
    for i, (t, s) in enumerate(itertools.pairwise(grid)):
        a_t, s_t, a_s, s_s = process.alpha(t), process.sigma(t), process.alpha(s), process.sigma(s)  # type: ignore[attr-defined]
        var = eta**2 * s_s**2 / s_t**2 * (s_t**2 - (a_t / a_s) ** 2 * s_s**2)
        eps, x0 = toy.noise(x, a_t, s_t), toy.data(x, a_t, s_t)
        x = a_s * x0 + np.sqrt(s_s**2 - var) * eps
        x = x + np.sqrt(var) * xi[i] if eta else x
    close(got, x)
    close(other, x)


@pytest.mark.parametrize("process", [VP(), EDM(), VE()], ids=repr)
def test_one_process_three_names(process: object) -> None:
    """DDIM with eta = 1 = Euler ancestral = DDPM with the posterior variance, and so on."""
    grid = VP_GRID if not isinstance(process, EDM) else EDM_GRID
    ddim, _ = toy.solution("ddim-sde", process, grid, X, seed=3)
    for name in ("euler-ancestral", "ancestral", "ddim-data-sde"):
        same, _ = toy.solution(name, process, grid, X, seed=3)
        close(same, ddim)
    for alias in ("euler", "dpm-solver-1"):
        assert find(alias).name == "ddim"
    assert find("dpm2").name == "dpm-solver-2"
    noiseless, _ = toy.solution("ddim", process, grid, X)
    none, _ = toy.solution("euler-ancestral", process, grid, X, eta=0.0)
    close(none, noiseless)


def test_euler_maruyama_and_probability_flow_by_hand() -> None:
    process = VP()
    for name, eta in (("em", 1.0), ("pf-euler", 0.0), ("em", 0.5)):
        got, xi = toy.solution(name, process, VP_GRID, X, eta=eta)
        x = X
        for i, (t, s) in enumerate(itertools.pairwise(VP_GRID)):
            h, beta = t - s, 0.1 + t * 19.9
            score = -toy.noise(x, process.alpha(t), process.sigma(t)) / process.sigma(t)
            x = x + h * (beta / 2 * x + (1 + eta**2) / 2 * beta * score)
            x = x + eta * np.sqrt(beta * h) * xi[i] if eta else x
        close(got, x)


@pytest.mark.parametrize("name", ["reverse-diffusion", "ancestral"])
def test_score_sde_discretisation(name: str) -> None:
    process, grid = VP(), np.linspace(1.0, 1e-3, 31)
    got, xi = toy.solution(name, process, grid, X, discretisation="score_sde")
    x = X
    for t, s, draw in zip(grid, grid[1:], xi, strict=False):
        beta = (0.1 + t * 19.9) * (t - s)
        score = -toy.noise(x, process.alpha(t), process.sigma(t)) / process.sigma(t)
        if name == "ancestral":
            mean = (x + beta * score) / np.sqrt(1 - beta)
        else:
            mean = (2 - np.sqrt(1 - beta)) * x + beta * score
        x = mean + np.sqrt(beta) * draw
    close(got, x, 1e-11)
    with pytest.raises(MethodError, match="T >= 20"):
        find(name)(process, np.linspace(1, 0.1, 20), discretisation="score_sde")
    with pytest.raises(MethodError, match="for VP"):
        find(name)(EDM(), np.linspace(1, 0.1, 31), discretisation="score_sde")


def test_ve_reverse_diffusion_is_the_published_one() -> None:
    process = VE()
    got, xi = toy.solution("reverse-diffusion", process, VP_GRID, X)
    x = X
    for t, s, draw in zip(VP_GRID, VP_GRID[1:], xi, strict=False):
        v = process.sigma(t) ** 2 - process.sigma(s) ** 2
        x = x - v * toy.noise(x, 1.0, process.sigma(t)) / process.sigma(t) + np.sqrt(v) * draw
    close(got, x, 1e-11)


def test_dpm_solver_2_and_3_as_in_the_paper() -> None:
    process = VP()
    al, si, lam = process.alpha, process.sigma, process.lam

    def eps(x: np.ndarray, t: float) -> np.ndarray:
        return toy.noise(x, al(t), si(t))

    x2 = x3 = X
    for t, s in itertools.pairwise(VP_GRID):
        h = lam(s) - lam(t)
        mid = process.time_of_lam(lam(t) + h / 2)
        u = al(mid) / al(t) * x2 - si(mid) * np.expm1(h / 2) * eps(x2, t)
        x2 = al(s) / al(t) * x2 - si(s) * np.expm1(h) * eps(u, mid)
        s1, s2 = (process.time_of_lam(lam(t) + r * h) for r in (1 / 3, 2 / 3))
        e0 = eps(x3, t)
        u1 = al(s1) / al(t) * x3 - si(s1) * np.expm1(h / 3) * e0
        d1 = eps(u1, s1) - e0
        q = 2 * h / 3
        u2 = al(s2) / al(t) * x3 - si(s2) * (np.expm1(q) * e0 + 2 * (np.expm1(q) / q - 1) * d1)
        d2 = eps(u2, s2) - e0
        x3 = al(s) / al(t) * x3 - si(s) * np.expm1(h) * e0
        x3 = x3 - si(s) * 1.5 * (np.expm1(h) / h - 1) * d2
    close(toy.solution("dpm-solver-2", process, VP_GRID, X)[0], x2)
    close(toy.solution("dpm-solver-3", process, VP_GRID, X)[0], x3)


def test_dpm2_ancestral_and_2s_ancestral_as_in_k_diffusion() -> None:
    grid = EDM_GRID
    got, xi = toy.solution("dpm2-ancestral", EDM(), grid, X)
    other, xi_2s = toy.solution("dpm++2s-ancestral", EDM(), grid, X)
    x = y = X
    for i, (t, s) in enumerate(itertools.pairwise(grid)):
        up = np.sqrt(s**2 * (t**2 - s**2) / t**2)
        down = np.sqrt(s**2 - up**2)
        mid = np.sqrt(t * down)
        x = x + (down - t) * edm_noise(x + (mid - t) * edm_noise(x, t), mid) + up * xi[i]
        h = np.log(t / down)
        u = mid / t * y - np.expm1(-h / 2) * toy.data(y, 1.0, t)
        y = down / t * y - np.expm1(-h) * toy.data(u, 1.0, mid) + up * xi_2s[i]
    close(got, x)
    close(other, y)


def test_dpmpp_sde_by_hand() -> None:
    grid = EDM_GRID
    got, xi = toy.solution("dpm++sde", EDM(), grid, X)
    x, draws = X, iter(xi)

    def parts(t: float, s: float) -> tuple[float, float]:
        up = np.sqrt(s**2 * (t**2 - s**2) / t**2)
        return np.sqrt(s**2 - up**2), up

    for t, s in itertools.pairwise(grid):
        mid = np.sqrt(t * s)
        xi_1, xi_2 = next(draws), next(draws)
        d0 = toy.data(x, 1.0, t)
        down, up = parts(t, mid)
        d1 = toy.data(down / t * x + (1 - down / t) * d0 + up * xi_1, 1.0, mid)
        down, up = parts(t, s)
        # both pieces in the clock 1/sigma^2 in which the noise kernel has independent increments
        q = (1 / mid**2 - 1 / t**2) / (1 / s**2 - 1 / t**2)
        x = down / t * x + (1 - down / t) * d1 + up * (np.sqrt(q) * xi_1 + np.sqrt(1 - q) * xi_2)
    close(got, x)


@pytest.mark.parametrize("name", ["sde-dpm++2s", "sde-dpm++3s"])
def test_sde_single_step_noise_is_one_path(name: str) -> None:
    """Noise covariance of all stage points and the result: the exact kernel's, stage by stage."""
    process = VP()
    t, s = 0.6, 0.3
    plan = find(name)(process, [t, s])
    lam = process.lam
    total = np.sqrt(-np.expm1(-2 * (lam(s) - lam(t)))) * process.sigma(s)
    assert np.linalg.norm(plan.response().noise) == pytest.approx(total, rel=1e-13)
    points = [plan.t[r] for r in range(plan.rows)] + [s]
    got, _ = toy.solution(name, process, [t, s], X)
    assert np.isfinite(got).all()
    # rows r and q of the path: cov = sigma_r sigma_q e^{-(lam_r + lam_q)} (e^{2 lam_min} - e^{2
    # lam_t})
    noises = _stage_noises(plan)
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            low = min(lam(a), lam(b))
            expected = process.sigma(a) * process.sigma(b) * np.exp(-lam(a) - lam(b))
            expected *= np.exp(2 * low) - np.exp(2 * lam(t))
            assert noises[i] @ noises[j] == pytest.approx(expected, abs=1e-13)


def _stage_noises(plan: object) -> list[np.ndarray]:
    """Response of Z_1 at every boundary to all draws, predictions set to zero."""
    columns = [(r, j) for r in range(plan.rows) for j in plan.active_draws(r)]  # type: ignore[attr-defined]
    Z = np.zeros((plan.k, len(columns)))  # type: ignore[attr-defined]
    out = [Z[0].copy()]
    for r in range(plan.rows):  # type: ignore[attr-defined]
        Z = plan.move[r] @ Z  # type: ignore[attr-defined]
        for n, (row, j) in enumerate(columns):
            if row == r:
                Z[:, n] += plan.noise[r, :, j]  # type: ignore[attr-defined]
        out.append(Z[0].copy())
    return out


SHORT = {
    "one step": [0.7, 0.2],
    "two steps": [0.7, 0.4, 0.1],
    "three steps": [0.7, 0.5, 0.3, 0.1],
    "down to zero noise": [0.7, 0.3, 0.0],
    "one step to zero noise": [0.7, 0.0],
}


@pytest.mark.parametrize("grid", list(SHORT.values()), ids=list(SHORT))
@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("method", methods_for(VP()), ids=lambda m: m.name)
def test_short_grids(method: object, grid: list[float], denoise: bool) -> None:
    """Every method runs on 1, 2, 3 steps; an end at zero noise is the last data prediction."""
    process = EDM()
    if method.name == "predictor-corrector" and grid == SHORT["one step to zero noise"]:  # type: ignore[attr-defined]
        with pytest.raises(MethodError, match="expected at least one step before it"):
            method(process, grid)  # type: ignore[operator]
        return
    plan = method(process, grid, denoise=denoise)  # type: ignore[operator]
    draws = toy.Draws(X.shape)
    seen: list[np.ndarray] = []
    predict = toy.predictor(process, plan.predicts)

    def spy(z: tuple[np.ndarray, ...], t: float) -> tuple[np.ndarray, ...]:
        seen.append(toy.data(z[0], 1.0, t))
        return predict(z, t)

    result = toy.run(plan, spy, X, draws)
    assert len(seen) == plan.nfe
    assert np.isfinite(result).all()
    if grid[-1] == 0 or denoise:
        close(result, seen[-1], 1e-9)


@pytest.mark.parametrize("process", [Flow(), VP.cosine()], ids=repr)
@pytest.mark.parametrize("method", methods_for(VP()), ids=lambda m: m.name)
def test_start_from_zero_alpha(method: object, process: object) -> None:
    """Data-prediction plans start with the data limit; the others name a usable time."""
    grid = grids.uniform(process, 5)  # type: ignore[arg-type]
    if method.predicts != "data":  # type: ignore[attr-defined]
        with pytest.raises(Exception, match=r"start at t <= 0\.9"):
            method(process, grid)  # type: ignore[operator]
        return
    # A fit has its own way there; without variance it is this limit.
    options = {"fit": 0.0} if "fit" in method.options else {}  # type: ignore[attr-defined]
    plan = method(process, grid, **options)  # type: ignore[operator]
    first = plan.node_responses()[1]
    t, s = grid[:2]
    x = process.sigma(s) / process.sigma(t)  # type: ignore[attr-defined]
    assert first.z0[0, 0] == pytest.approx(x, rel=1e-14)
    assert first.predictions[0, 0, 0] == pytest.approx(process.alpha(s), rel=1e-13)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("ddim", {"eta": 1.5}, "eta = 1.5"),
        ("dpm-solver-2", {"r": 0.0}, "r = 0.0"),
        ("dpm-solver-2", {"weights": "exac"}, "weights 'exac'"),
        ("heun", {"fraction": 2.0}, "fraction = 2.0"),
        ("edm-churn", {"s_churn": -1.0}, "s_churn = -1"),
        ("ancestral", {"variance": "tiny"}, "variance 'tiny'"),
        ("dpm-solver-fast", {"tail": "3"}, "tail = '3'"),
        ("restart", {"rho_low": 2.0, "rho_high": 1.0}, "rho_low = 2.0"),
        ("restart", {"times": 1.5}, "times = 1.5"),
        ("dpm++sde", {"r": 1.0}, "r = 1.0"),
        ("ddim", {"etta": 1.0}, "Did you mean 'eta'"),
    ],
)
def test_wrong_options_are_sentences(name: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence.replace("(", r"\(")):
        find(name)(EDM(), EDM_GRID, **options)


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(MethodError, match="Did you mean 'heun'"):
        find("huen")
