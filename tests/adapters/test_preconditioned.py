"""Preconditioned SDEs in torchsde, torchdiffeq and diffrax: Euler steps written out by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from adapter_cases import BOTH, PSLD, VP

import sgmsolve
from sgmsolve import ProbabilityFlow, ReverseSDE
from sgmsolve.adapters import brownian_noise, solve_with, to_diffrax, to_torchsde
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.precondition import Skew, SpaceFrequency

SHAPE = (3, 4)
FREQUENCY = np.full(SHAPE, 1.3)
FREQUENCY[0, 0] = 1.0
M = SpaceFrequency(SHAPE, FREQUENCY, 1 + np.arange(12.0).reshape(SHAPE) / 40)
S = Skew(SHAPE, (1, 1), 0.6)
TARGET = sgmsolve.Gaussian(np.full(SHAPE, 0.2), 0.1 + np.arange(12.0).reshape(SHAPE) / 10)
GRID = [1.0, 0.875, 0.75, 0.625, 0.5]
PLACES: dict[str, Any] = {
    "exact-split": {"skew": S},
    "published": {"where": "published"},
    "noise": {"where": "noise"},
}


def sde_of(process: Any, place: str, eta: float = 0.8) -> ReverseSDE:
    model = TARGET.model(process, "noise" if process.m == 1 else "noise:lower")
    return ReverseSDE(process, model, eta, M, **PLACES[place])


def by_hand(process: Any, place: str, z: Any, path: Any, eta: float = 0.8) -> np.ndarray:
    """Euler-Maruyama with dense matrices on host arrays (m, batch, dim)."""
    P, T = M.matrix(), S.matrix()
    A = P @ P.T
    y = np.stack([np.asarray(x).reshape(len(x), 12) for x in z])
    for t, s in itertools.pairwise(GRID):
        parts = tuple(x.reshape(-1, *SHAPE) for x in y)
        score = TARGET.score(parts if process.m > 1 else parts[0], t, process)
        score = np.stack(score if process.m > 1 else (score,)).reshape(y.shape)
        G = process.G(t)
        linear = -np.tensordot(process.F(t), y, 1)
        h = 0.5 * np.tensordot(G @ G.T, score, 1)
        rate = {
            "exact-split": linear + h + eta**2 * h @ A + h @ T.T,
            "published": (linear + (1 + eta**2) * h) @ A,
            "noise": linear + (1 + eta**2) * h,
        }[place]
        dw = np.stack([np.asarray(w).reshape(len(w), 12) for w in path.increment(t, s)])
        y = y + (t - s) * rate + eta * np.tensordot(G, dw, 1) @ P.T
    return y


def gap(z: Any, y: np.ndarray) -> float:
    made = np.stack([np.asarray(x).reshape(len(x), 12) for x in z])
    return float(np.abs(made - y).max() / np.abs(y).max())


@BOTH
@pytest.mark.parametrize("place", PLACES)
def test_torchsde_euler(process: Any, place: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchsde")
    drawn = np.random.default_rng(1).standard_normal((process.m, 2, *SHAPE))
    z, sde = tuple(torch.tensor(x) for x in drawn), sde_of(process, place)
    wrapped = to_torchsde(sde, SHAPE)
    bm = wrapped.brownian(wrapped.flatten(z), -1.0, -0.5, entropy=3)
    theirs = solve_with("torchsde:euler", sde, z, 1.0, 0.5, dt=0.125, bm=bm)
    assert gap(theirs.z, by_hand(process, place, z, brownian_noise(bm, SHAPE))) < 1e-12


class Kept:
    """Increments on the steps of GRID, for ``by_hand`` and (``path``) for diffrax.

    A tree of diffrax takes ten times as long to compile as the solver.
    """

    def __init__(self, m: int) -> None:
        self.dw = 0.35 * np.random.default_rng(2).standard_normal((m, 4, 2, *SHAPE))

    def increment(self, t: float, s: float) -> Any:
        return self.dw[:, GRID.index(t)]

    def path(self) -> Any:
        import diffrax
        import jax.numpy as jnp

        class Path(diffrax.AbstractPath):
            dw: Any
            t0: float = -1.0
            t1: float = -0.5

            def evaluate(self, t0: Any, t1: Any = None, left: bool = True, **_: Any) -> Any:
                step = jnp.rint((t0 + 1.0) * 8).astype(int)
                return tuple(w[step] for w in self.dw)

        return Path(tuple(jnp.asarray(w) for w in self.dw))


@pytest.mark.parametrize(("process", "place"), [(VP, "published"), (PSLD, "exact-split")])
def test_diffrax_euler(process: Any, place: str) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("diffrax")
    drawn = np.random.default_rng(1).standard_normal((process.m, 2, *SHAPE))
    z, sde = tuple(jax.numpy.asarray(x) for x in drawn), sde_of(process, place)
    kept = Kept(process.m)
    theirs = solve_with("diffrax:euler", sde, z, 1.0, 0.5, grid=GRID, brownian=kept.path())
    assert gap(theirs.z, by_hand(process, place, z, kept)) < 1e-12


@pytest.mark.slow
def test_diffrax_sra1_is_ours_on_the_same_path() -> None:
    """It subtracts diffusions at two times, which must leave M in front of their difference."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("diffrax")
    drawn = 0.3 * np.random.default_rng(1).standard_normal((2, 1, *SHAPE))
    z, sde = tuple(jax.numpy.asarray(x) for x in drawn), sde_of(PSLD, "exact-split")
    tree = to_diffrax(sde, SHAPE, count=False).brownian(z, -1.0, -0.5, jax.random.key(0), 1e-3)
    theirs = solve_with("diffrax:sra1", sde, z, 1.0, 0.5, grid=GRID, brownian=tree)
    path = brownian_noise(tree, SHAPE)
    ours = solve_adaptive("sra1", sde, z, 1.0, 0.5, grid=GRID, noise=path)
    assert gap(theirs.z, np.stack([np.asarray(x).reshape(1, 12) for x in ours.z])) < 1e-12


def test_diffrax_diffusion_of_a_batch_and_of_one_sample() -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("diffrax")
    z = tuple(jax.numpy.asarray(np.random.default_rng(1).standard_normal((2, 2, *SHAPE))))
    sde = sde_of(PSLD, "exact-split")
    right = sde.diffuse(z, 0.7, z)
    terms = to_diffrax(sde, SHAPE, count=False)
    whole = terms.diffusion(-0.7, z, None).mv(z)
    one = tuple(x[1] for x in z)
    single = terms.diffusion(-0.7, one, None).mv(one)
    mapped = jax.vmap(lambda y: terms.diffusion(-0.7, y, None).mv(y))(z)
    for a, b, c, d in zip(right, whole, single, mapped, strict=True):
        assert np.abs(np.asarray(a - b)).max() < 1e-14
        assert np.abs(np.asarray(a[1] - c)).max() < 1e-14
        assert np.abs(np.asarray(a - d)).max() < 1e-14


@pytest.mark.parametrize("options", [{"skew": S}, {"preconditioner": M, "where": "forward"}])
def test_torchdiffeq_euler_on_the_flow(options: Any) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchdiffeq")
    z = tuple(torch.tensor(x) for x in np.random.default_rng(1).standard_normal((2, 2, *SHAPE)))
    flow = ProbabilityFlow(PSLD, TARGET.model(PSLD, "noise:lower"), **options)
    theirs = solve_with("torchdiffeq:euler", flow, z, 1.0, 0.5, grid=GRID)
    y, P = np.stack([x.numpy().reshape(2, 12) for x in z]), M.matrix()
    for t, s in itertools.pairwise(GRID):
        score = np.stack(TARGET.score(tuple(x.reshape(2, *SHAPE) for x in y), t, PSLD))
        G = PSLD.G(t)
        linear = -np.tensordot(PSLD.F(t), y, 1)
        h = 0.5 * np.tensordot(G @ G.T, score.reshape(y.shape), 1)
        whole = (linear + h) @ P @ P.T
        y = y + (t - s) * (whole if "where" in options else linear + h + h @ S.matrix().T)
    assert gap(theirs.z, y) < 1e-12
