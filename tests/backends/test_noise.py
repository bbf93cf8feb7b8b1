"""What a seed fixes, that draws are normal, and that paths are Brownian."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from executor_cases import BACKENDS, GRID, PROCESS, Smooth, euler, heun, to_backend, to_host
from scipy import stats

from sgmsolve import EDM, ForbiddenNoise, KeyedNoise, PathNoise, ReplayNoise, solve
from sgmsolve.backends.noise import SMALL
from sgmsolve.backends.philox import philox4x32, philox_normals
from sgmsolve.errors import BackendError

STOCHASTIC = euler(PROCESS, GRID, 0.7)
SHAPES = {"small": (3,), "large": (2, SMALL)}


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter: Any, key: Any, words: str) -> None:
    """The published vectors of Random123 (kat_vectors, philox4x32 with 10 rounds)."""
    assert " ".join(f"{int(w):08x}" for w in philox4x32(counter, key)) == words


def test_philox_normals_are_box_muller_of_the_words() -> None:
    got = philox_normals(2**40 + 7, np.array([5, 9]), np.array([3, -1]), 2, 6)
    words = philox4x32((1, 2, 0xFFFFFFFF, 9), (7, 2**8))
    u, v = (float(w + 0.5) / 2**32 for w in words[:2])
    radius, angle = math.sqrt(-2 * math.log(u)), 2 * math.pi * v
    assert got.shape == (2, 2, 6)
    assert got[1, 1, 4] == pytest.approx(radius * math.cos(angle), abs=1e-14)
    assert got[1, 1, 5] == pytest.approx(radius * math.sin(angle), abs=1e-14)


def draws(backend: str, shape: tuple[int, ...], indices: Any, seed: int = 3, **options: Any) -> Any:
    noise = KeyedNoise(seed, indices, **options)
    draw = noise.bind(STOCHASTIC, (to_backend(np.zeros((len(indices), *shape)), backend),))
    return lambda row, column=0: to_host(draw(row, column)).copy()


def cases() -> list[Any]:
    """(backend, size, keying); jax compiles every one of them, so two of its four are slow."""
    out = []
    for backend in BACKENDS:
        for size in SHAPES:
            for keying in ("sample", "shard"):
                late = backend == "jax" and (size, keying) not in SOON
                marks = [pytest.mark.slow] if late else []
                out.append(pytest.param(backend, size, keying, marks=marks))
    return out


SOON = [("large", "sample"), ("small", "shard")]


@pytest.mark.parametrize(("backend", "size", "keying"), cases())
def test_a_draw_depends_on_its_own_key_only(backend: str, size: str, keying: str) -> None:
    shape, indices = SHAPES[size], np.array([0, 7, 63, 64, 130])
    draw = draws(backend, shape, indices, keying=keying)
    first = draw(2)
    order = np.array([3, 0, 4, 1, 2])
    assert (draws(backend, shape, indices[order], keying=keying)(2) == first[order]).all()
    assert (draws(backend, shape, indices[1:3], keying=keying)(2) == first[1:3]).all()
    # Every part of the key matters, and asking in another order or twice does not.
    others = [draw(3), draw(2, 1), draws(backend, shape, indices, 4, keying=keying)(2)]
    others += [draws(backend, shape, indices + 1, keying=keying)(2)]
    assert all(not np.any(other == first) for other in others)
    assert (draw(2) == first).all()
    assert len(np.unique(first)) == first.size


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_seeds_differ_in_all_bits(backend: str) -> None:
    """Seeds that agree in their low 32 bits, and rows before the first, have their own draws."""
    for shape in SHAPES.values():
        keys = [(s, r) for s in (1, 2**32 + 1, 2**63 + 1) for r in (-2, 1)]
        flat = [draws(backend, shape, np.arange(2), s)(r).ravel()[0] for s, r in keys]
        assert len(set(flat)) == len(flat)


@pytest.mark.parametrize(("backend", "size", "keying"), [*cases(), ("philox", "large", "sample")])
def test_draws_are_standard_normal(backend: str, size: str, keying: str) -> None:
    """Kolmogorov-Smirnov at 1e-5 with a fixed seed, and no correlation with neighbouring keys."""
    options = {"keying": keying}
    if backend == "philox":
        backend, options = "numpy", {"generator": "philox"}
    shape = SHAPES[size]
    n = 128 if size == "small" else 16
    draw = draws(backend, shape, np.arange(n), 12, **options)
    sample = np.stack([draw(r, c) for r in range(10) for c in range(2)])
    assert stats.kstest(sample.ravel(), "norm").pvalue > 1e-5
    for a, b in (
        (sample[1:], sample[:-1]),
        (sample[:, 1:], sample[:, :-1]),
        (sample[..., 1:], sample[..., :-1]),
    ):
        assert abs(np.mean(a * b)) * math.sqrt(a.size) < 4.5


def test_philox_is_bitwise_the_same_on_all_backends() -> None:
    for shape in SHAPES.values():
        got = [draws(b, shape, np.arange(4), generator="philox")(5) for b in BACKENDS]
        assert (got[0] == got[1]).all()
        assert (got[0] == got[2]).all()
    states = [to_backend(np.ones((4, 3)), b) for b in BACKENDS]
    runs = [solve(STOCHASTIC, Smooth(), z, noise="philox", seed=2).x for z in states]
    for run in runs[1:]:
        assert np.abs(to_host(run) - runs[0]).max() < 1e-14 * np.abs(runs[0]).max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_and_permutations_give_the_same_samples(backend: str) -> None:
    z = np.random.default_rng(0).standard_normal((6, 3))
    # The draws are bitwise the same; jax may vectorise the network by batch size.
    whole = to_host(solve(STOCHASTIC, Smooth(), to_backend(z, backend), seed=8).x)
    for part in (np.array([4]), np.array([5, 0, 2])):
        part_run = solve(STOCHASTIC, Smooth(), to_backend(z[part], backend), seed=8, indices=part)
        assert (to_host(part_run.x) == whole[part]).all()
    assert (
        np.abs(to_host(solve(STOCHASTIC, Smooth(), to_backend(z, backend), seed=9).x) - whole).min()
        > 0
    )


def test_deterministic_plans_draw_nothing() -> None:
    z = np.ones((2, 3))
    solve(heun(PROCESS, GRID), Smooth(), z, noise=ForbiddenNoise())
    with pytest.raises(BackendError, match="row 0, column 0, but noise is forbidden"):
        solve(STOCHASTIC, Smooth(), z, noise=ForbiddenNoise())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "0 <= seed"),
        ({"seed": 1.5}, "0 <= seed"),
        ({"keying": "shards"}, "Did you mean 'shard'"),
        ({"noise": "philx"}, "Did you mean 'philox'"),
        ({"noise": 3}, "expected None, 'philox' or a noise source"),
        ({"indices": [0, 1, 2]}, "3 sample indices were given for a batch of 2"),
        ({"indices": [0, -1]}, "0 <= index"),
        ({"indices": [0.5, 1.0]}, "integers"),
        ({"noise": ReplayNoise([])}, "0 arrays of noise were given"),
        ({"noise": ReplayNoise({})}, "no noise was given for row 0"),
        ({"noise": ReplayNoise([np.ones(3)] * 8)}, "noise has shape"),
    ],
)
def test_bad_noise_is_a_sentence(options: Any, sentence: str) -> None:
    with pytest.raises(BackendError, match=sentence):
        solve(STOCHASTIC, Smooth(), np.ones((2, 3)), **options)


def path(kind: str, process: Any = PROCESS, top: float = 1.0) -> tuple[Any, Any, Any]:
    """A plan of 4 steps, one of 8 on the refined grid, and their shared path."""
    fine = top * np.linspace(1.0, 0.1, 9) ** 2
    plans = [euler(process, g, 0.5, kind) for g in (fine[::2], fine)]
    return plans[0], plans[1], fine


CLOCKS = {
    "increment": lambda p, t: t,
    "kernel": lambda p, t: (p.sigma(t) / p.alpha(t)) ** 2,
    "kernel:data": lambda p, t: (p.alpha(t) / p.sigma(t)) ** 2,
}


@pytest.mark.parametrize("process", [PROCESS, EDM()], ids=["vp", "edm"])
@pytest.mark.parametrize("kind", CLOCKS)
def test_a_coarse_draw_is_composed_of_the_fine_ones(kind: str, process: Any) -> None:
    coarse, fine, times = path(kind, process, process.t_max)
    noise = PathNoise([coarse, fine], process, seed=4)
    z = (np.zeros((5, 3)),)
    few, many = noise.bind(coarse, z), noise.bind(fine, z)
    c = np.array([CLOCKS[kind](process, t) for t in times])
    for r in range(4):
        v = np.abs(np.diff(c[2 * r : 2 * r + 3]))
        parts = np.sqrt(v[0]) * many(2 * r, 0) + np.sqrt(v[1]) * many(2 * r + 1, 0)
        assert np.abs(few(r, 0) - parts / np.sqrt(v.sum())).max() < 1e-12


def test_path_covariances_are_exact() -> None:
    """Draws are linear in cell normals: unit variance, no covariance, overlaps between grids."""
    coarse, fine, times = path("increment")
    noise = PathNoise([coarse, fine], PROCESS)
    cells = noise.cells["increment"]

    def row(a: float, b: float) -> np.ndarray:
        out = np.zeros(len(cells.lengths))
        for cell, _, weight in cells.weights(a, b):
            out[cell] = weight
        return out

    few = np.array([row(times[2 * i + 2], times[2 * i]) for i in range(4)])
    many = np.array([row(times[i + 1], times[i]) for i in range(8)])
    assert np.abs(few @ few.T - np.eye(4)).max() < 1e-15
    assert np.abs(many @ many.T - np.eye(8)).max() < 1e-15
    h = -np.diff(times)
    expected = np.zeros((4, 8))
    for i in range(4):
        pair = h[2 * i : 2 * i + 2]
        expected[i, 2 * i : 2 * i + 2] = np.sqrt(pair / pair.sum())
    assert np.abs(few @ many.T - expected).max() < 1e-14


def test_path_draws_are_normal_and_keyed_by_sample() -> None:
    coarse, fine, _ = path("kernel")
    noise = PathNoise([coarse, fine], PROCESS, seed=1)
    draw = noise.bind(coarse, (np.zeros((4000, 3)),))
    sample = np.stack([draw(r, 0) for r in range(4)])
    assert stats.kstest(sample.ravel(), "norm").pvalue > 1e-5
    covariance = np.cov(sample.reshape(4, -1))
    assert np.abs(covariance - np.eye(4)).max() < 4.5 / math.sqrt(12000)
    one = PathNoise([coarse, fine], PROCESS, seed=1, indices=[17]).bind(coarse, (np.zeros((1, 3)),))
    assert (one(2, 0)[0] == draw(2, 0)[17]).all()


def test_paths_make_strong_errors_shrink() -> None:
    """On one path 16 and 32 steps end close together, with independent draws they do not."""
    z = np.random.default_rng(0).standard_normal((64, 2))
    few, many = (euler(PROCESS, np.linspace(0.9, 0.05, n), 0.7, "kernel") for n in (17, 33))
    shared = PathNoise([few, many], PROCESS, seed=2)
    apart = [solve(p, Smooth(), z, seed=s).x for p, s in ((few, 2), (many, 3))]
    together = [solve(p, Smooth(), z, noise=shared).x for p in (few, many)]
    assert np.std(together[0] - together[1]) < 0.2 * np.std(apart[0] - apart[1])


def test_iid_draws_have_no_path() -> None:
    noise = PathNoise([STOCHASTIC], PROCESS, seed=6)
    z = (np.zeros((2, 3)),)
    assert (noise.bind(STOCHASTIC, z)(3, 0) == KeyedNoise(6).bind(STOCHASTIC, z)(3, 0)).all()


def test_bad_paths_are_sentences() -> None:
    coarse, fine, _ = path("kernel")
    with pytest.raises(BackendError, match="not among the plans"):
        PathNoise([coarse], PROCESS).bind(fine, (np.zeros((1, 2)),))
    with pytest.raises(BackendError, match="need a process with alpha"):
        PathNoise([coarse], object())
    broken = coarse.draws.copy()
    broken["kind"][1] = "area"
    with pytest.raises(BackendError, match="'area' in row 1"):
        PathNoise([coarse.replace(draws=broken)], PROCESS)
    to_zero = euler(EDM(), [80.0, 1.0, 0.5], 0.5, "kernel:data")
    broken = to_zero.draws.copy()
    broken["start"][1] = 0.0
    with pytest.raises(BackendError, match="zero or infinite length"):
        PathNoise([to_zero.replace(draws=broken)], EDM())
