"""Preconditioned SDEs in our adaptive solvers and through ``sample``: the law is the right one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sgmsolve.problems import find

import sgmsolve
from sgmsolve import Gaussian, ProbabilityFlow, ReverseSDE, sample
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.errors import MethodError, PreconditionError
from sgmsolve.precondition import Diagonal, Scalar, SkewMatrix
from sgmsolve.sampling import start

VP = sgmsolve.VP()
MEAN, COV = np.array([0.4, -0.3]), np.array([[0.8, 0.35], [0.35, 0.2]])
TARGET = Gaussian(MEAN, COV)
M, S = Diagonal([1.6, 0.6]), SkewMatrix([[0.0, 0.8], [-0.8, 0.0]])


class Uncoloured(ReverseSDE):
    """Forgets M in the noise: the mistake that the tests below must see."""

    colour = None


def law(process: Any, target: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    mean, cov = target.moments()
    u, noise = process.loading(t), process.covariance(t)
    one = np.eye(mean.size)
    return np.kron(u, mean), np.kron(np.outer(u, u), np.asarray(cov)) + np.kron(noise, one)


def begun(process: Any, target: Any, n: int, t: float = 1.0) -> tuple[np.ndarray, ...]:
    mean, cov = law(process, target, t)
    drawn = np.random.default_rng(0).standard_normal((n, len(mean)))
    flat = mean + drawn @ np.linalg.cholesky(cov).T
    return tuple(flat.reshape(n, process.m, -1)[:, i] for i in range(process.m))


def misses(z: Any, process: Any, target: Any, t: float) -> float:
    """Largest error of a first or second moment of whitened states, in standard errors."""
    mean, cov = law(process, target, t)
    flat = np.concatenate(z, axis=1) - mean
    white = np.linalg.solve(np.linalg.cholesky(cov), flat.T)
    n, d = flat.shape
    second = (white @ white.T / n - np.eye(d)) * np.sqrt(n / (1 + np.eye(d)))
    return float(max(np.abs(white.mean(axis=1)).max() * np.sqrt(n), np.abs(second).max()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gotta-go-fast", {"rtol": 0.05, "atol": 0.005}),
        ("sra1", {"steps": 120}),
        ("milstein", {"steps": 300}),
    ],
)
def test_an_anisotropic_gaussian_in_solvers_of_sdes(name: str, options: Any) -> None:
    model, z = TARGET.model(VP), begun(VP, TARGET, 2000)
    for kind, right in [(ReverseSDE, True), (Uncoloured, False)]:
        sde = kind(VP, model, 1.0, M, skew=S)
        found = solve_adaptive(name, sde, z, 1.0, 0.01, seed=3, **options)
        off = misses(found.z, VP, TARGET, 0.01)
        assert off < 4.5 if right else off > 10


@pytest.mark.parametrize(
    ("n", "ends", "rtol"),
    [(500, (0.4, 0.15), 0.05), pytest.param(1000, (1.0, 0.02), 0.02, marks=pytest.mark.slow)],
)
def test_psld_gaussian_in_gotta_go_fast(n: int, ends: Any, rtol: float) -> None:
    problem = find("psld-gaussian")
    process, target = problem.process, problem.target
    model, M = target.model(process, "noise:lower"), Diagonal(np.linspace(1.5, 0.5, 8))
    z = begun(process, target, n, ends[0])
    for kind, right in [(ReverseSDE, True), (Uncoloured, False)]:
        sde = kind(process, model, 1.0, M)
        found = solve_adaptive("gotta-go-fast", sde, z, *ends, rtol=rtol, atol=rtol / 10)
        off = misses(found.z, process, target, ends[1])
        assert off < 4.5 if right else off > 6


def test_the_published_place_has_the_bias_that_invariance_says() -> None:
    from sgmsolve.precondition.invariance import invariance

    target, M = Gaussian([0.0, 0.0], [0.3, 0.3]), Diagonal([1.25, 0.8])
    made = invariance(VP, M, "published", target=target)
    call: Any = {"shape": (2,), "batch": 4000, "method": "sra1", "steps": 150, "dtype": "float64"}
    grid = {"grid": "uniform", "grid_options": {"t_min": 2e-4}}
    x = sample(VP, target.model(VP), preconditioner=M, where="published", **call, **grid).x
    assert made.ratio is not None
    assert abs(made.ratio - 1).min() > 0.15
    assert np.abs(x.var(axis=0) / 0.3 / made.ratio - 1).max() < 4.5 * np.sqrt(2 / 4000)


def test_options_of_sample_are_those_of_the_sde() -> None:
    model, call = TARGET.model(VP), {"shape": (2,), "batch": 3, "seed": 4}
    z = start(VP, 1.0, np.empty((3, 2)), seed=4)
    for where, skew in [("exact-split", S), ("published", None), ("noise", None)]:
        options: Any = {"preconditioner": Diagonal([1.6, 0.8]), "where": where, "skew": skew}
        found = sample(VP, model, method="gotta-go-fast", rtol=0.1, eta=0.7, **options, **call)
        sde = ReverseSDE(VP, model, 0.7, **options)
        begin = (options["preconditioner"].apply(z[0]),) if where != "exact-split" else z
        hand = solve_adaptive("gotta-go-fast", sde, begin, 1.0, 1e-3, rtol=0.1, seed=4)
        assert np.array_equal(found.x, hand.x)
    turned = sample(VP, model, method="dopri5", rtol=1e-7, atol=1e-7, skew=S, **call)
    flow = ProbabilityFlow(VP, model, skew=S)
    hand = solve_adaptive("dopri5", flow, z, 1.0, 1e-3, rtol=1e-7, atol=1e-7)
    assert np.array_equal(turned.x, hand.x)
    plain = sample(VP, model, method="dopri5", rtol=1e-7, atol=1e-7, **call)
    assert np.abs(turned.x - plain.x).max() > 0.05
    with pytest.raises(PreconditionError, match="does nothing in a probability flow"):
        sample(VP, model, method="dopri5", preconditioner=M, **call)
    with pytest.raises(MethodError, match="takes the drift from the process"):
        sample(VP, model, method="dpm-solver-12", skew=S, **call)


def test_the_last_denoising_step_is_the_plain_one_unless_the_place_has_its_own() -> None:
    model, z = TARGET.model(VP), begun(VP, TARGET, 2)
    for where in ("exact-split", "noise", "published", "forward"):
        sde = ReverseSDE(VP, model, 1.0, Scalar(1.2), where)
        for kind in ("data", "drift-sde", "drift-ode"):
            run = {"steps": 3, "seed": 1}
            if where == "forward" and kind == "data":
                with pytest.raises(MethodError, match="use denoise='drift-sde'"):
                    solve_adaptive("sra1", sde, z, 1.0, 0.1, denoise=kind, **run)
                continue
            before = solve_adaptive("sra1", sde, z, 1.0, 0.1, **run).z
            after = solve_adaptive("sra1", sde, z, 1.0, 0.1, denoise=kind, **run).z
            eta = float(kind == "drift-sde")
            scale = 1.44 if where in ("published", "forward") else 1.0
            (rate,) = ReverseSDE(VP, model, eta).drift(before, 0.1)
            right = before[0] + 0.1 * scale * rate
            right = TARGET.model(VP, "data")(before, 0.1)[0] if kind == "data" else right
            assert np.abs(after[0] - right).max() < 1e-12
