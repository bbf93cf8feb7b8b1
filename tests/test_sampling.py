"""Budgets, the start from the prior, and one call from process and model to samples."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from executor_cases import BACKENDS, Smooth, to_host
from scipy import stats

import sgmsolve
from sgmsolve import EDM, VP, Gaussian, GaussianMixture, as_model, build_plan, sample
from sgmsolve.backends.noise import SMALL
from sgmsolve.errors import BackendError, GridError, MethodError, ProcessError
from sgmsolve.methods.registry import methods_for
from sgmsolve.sampling import start

PROCESS = VP()


@pytest.mark.parametrize("method", [m.name for m in methods_for(PROCESS) if not m.budget_options])
def test_a_budget_buys_the_most_steps_that_fit(method: str) -> None:
    counts = {}
    for steps in range(1, 9):
        counts[steps] = build_plan(PROCESS, method, steps=steps).nfe
    assert list(counts.values()) == sorted(counts.values())
    for nfe in (counts[1], counts[1] + 1, counts[7], counts[8] - 1):
        expected = max(n for n in counts.values() if n <= nfe)
        plan = build_plan(PROCESS, method, nfe=nfe)
        assert plan.nfe == expected
        most = max(s for s, n in counts.items() if n <= nfe)
        expected_times = build_plan(PROCESS, method, steps=most).t
        assert (plan.t == expected_times).all()


def test_a_budget_includes_start_and_denoising_rows() -> None:
    plain = build_plan(PROCESS, "heun", nfe=10)
    denoised = build_plan(PROCESS, "heun", nfe=10, denoise=True)
    assert (plain.nfe, denoised.nfe) == (10, 9)
    assert len(denoised.nodes) == 6


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({}, MethodError, "neither steps nor nfe was given"),
        ({"steps": 3, "nfe": 3}, MethodError, "both given"),
        ({"nfe": 1}, MethodError, "one step of 'heun' takes 2 evaluations"),
        ({"nfe": 0}, MethodError, "nfe = 0"),
        ({"nfe": 2.5}, MethodError, "nfe = 2.5"),
        ({"nfe": 4, "grid": [1.0, 0.5]}, MethodError, "grid of fixed times"),
        ({"steps": 0}, GridError, "steps"),
        ({"steps": 3, "grid": "kerras"}, GridError, "Did you mean 'karras'"),
        ({"steps": 3, "fractoin": 1.0}, MethodError, "Did you mean 'fraction'"),
        ({"steps": 3, "grid_options": {"rhoo": 3}, "grid": "karras"}, GridError, "'rho'"),
    ],
)
def test_bad_budgets_are_sentences(options: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        build_plan(PROCESS, "heun", **options)


def test_grids_by_name_and_by_times() -> None:
    named = build_plan(EDM(), "heun", steps=3, grid="karras", grid_options={"rho": 5.0})
    times = sgmsolve.grid.karras(EDM(), 3, rho=5.0)
    given = build_plan(EDM(), "heun", grid=times)
    assert (named.move == given.move).all()
    assert (named.t[::2] == times[:-1]).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [3, SMALL + 1])
def test_the_start_is_the_prior_keyed_by_sample(backend: str, size: int) -> None:
    process = EDM()
    call = {"model": as_model(lambda x, t: 0 * x, process, predicts="noise"), "steps": 1}
    one = {**call, "shape": (size,), "method": "ddim", "backend": backend, "seed": 5}
    drawn = to_host(sample(process, batch=64, **one).x) / 80.0
    assert stats.kstest(drawn.ravel(), "norm").pvalue > 1e-5
    assert (
        to_host(sample(process, indices=[9, 3], batch=2, **one).x) / 80.0 == drawn[[9, 3]]
    ).all()


def test_the_start_of_other_times_and_components() -> None:
    like = np.zeros((4000, 2))
    (x,) = start(EDM(), 3.0, like, seed=1)
    assert abs(x.std() / 3.0 - 1) < 4.5 / math.sqrt(2 * x.size)

    class Pair:
        m = 2

        def starting_covariance(self, t: float) -> np.ndarray:
            return t * np.array([[1.0, 0.6], [0.6, 2.0]])

    z = np.stack(start(Pair(), 1.0, like, seed=1)).reshape(2, -1)
    error = np.abs(np.cov(z) - Pair().starting_covariance(1.0))
    assert error.max() < 4.5 * 2 * math.sqrt(2) / math.sqrt(8000)
    assert abs(np.corrcoef(z)[0, 1] - 0.6 / math.sqrt(2)) < 0.05


@pytest.mark.parametrize("backend", BACKENDS)
def test_sampling_a_gaussian(backend: str) -> None:
    """Mean and variance of samples of N(0.3, 0.25) with 20 steps."""
    target, process = Gaussian(np.full(4, 0.3), 0.25), VP()
    solution = sample(
        process, target.model(process), shape=(4,), batch=2000, steps=20, backend=backend
    )
    x = to_host(solution.x)
    assert solution.nfe == 20
    assert abs(x.mean() - 0.3) < 4.5 * 0.5 / math.sqrt(x.size)
    assert abs(x.var() / 0.25 - 1) < 4.5 * math.sqrt(2 / x.size) + 0.01


def test_where_the_state_lives() -> None:
    process = VP()
    net = torch.nn.Linear(3, 3).to(torch.float32)
    model = as_model(lambda x, t: x, process, predicts="noise")
    call = {"shape": (3,), "steps": 2, "batch": 2}
    with torch.no_grad():
        owned = sample(process, as_model(_Net(net), process, predicts="noise"), **call)
    assert owned.x.dtype == torch.float32
    assert isinstance(sample(process, model, **call).x, np.ndarray)
    like = torch.zeros(1, dtype=torch.bfloat16)
    assert sample(process, model, like=like, **call).x.dtype == torch.bfloat16
    assert sample(process, model, dtype=np.float32, **call).x.dtype == np.float32
    with pytest.raises(BackendError, match="Did you mean 'torch'"):
        sample(process, model, backend="troch", **call)
    with pytest.raises(BackendError, match="like is a torch array"):
        sample(process, model, backend="numpy", like=like, **call)
    with pytest.raises(BackendError, match="numpy has no devices"):
        sample(process, model, device="cpu", backend="numpy", **call)


class _Net(torch.nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any, t: Any) -> Any:
        return self.inner(x)


def test_philox_samples_agree_between_backends() -> None:
    model = Smooth()
    runs = [
        to_host(
            sample(
                Smooth.process,
                model,
                shape=(3,),
                batch=4,
                steps=6,
                method="ddim",
                eta=1.0,
                noise="philox",
                backend=b,
                **({"dtype": torch.float64} if b == "torch" else {}),
            ).x
        )
        for b in BACKENDS
    ]
    for run in runs[1:]:
        assert np.abs(run - runs[0]).max() < 1e-14 * np.abs(runs[0]).max()


def test_options_of_other_functions_are_errors() -> None:
    with pytest.raises(MethodError, match="Did you mean 'eta'"):
        sample(PROCESS, Smooth(), shape=(3,), steps=3, method="ddim", et=0.5)


def test_importing_loads_no_array_library() -> None:
    """Building and printing a plan needs neither torch, jax nor scipy."""
    code = (
        "import sys, sgmsolve; str(sgmsolve.build_plan(sgmsolve.VP(), 'dpm++2m', steps=3));"
        "print(*(m for m in ('torch', 'jax', 'scipy') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    for name in ("sample", "Gaussian", "as_model", "problems"):
        assert name in dir(sgmsolve)
        assert getattr(sgmsolve, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        sgmsolve.sampel  # noqa: B018


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": int}, "expected a real floating type"),
        ({"dtype": "flaot"}, "dtype = 'flaot'"),
        ({"dtype": torch.int32, "backend": "torch"}, "expected a real floating type"),
        ({"dtype": "int32", "backend": "jax"}, "expected a real floating type"),
        ({"batch": -1}, "batch holds the size -1"),
        ({"batch": 2.5}, "batch holds the size 2.5"),
        ({"shape": 3}, "shape = 3"),
        ({"shape": (3.0,)}, "shape holds the size 3.0"),
        ({"backend": "torch", "device": "gpu0"}, "torch made no state on device = 'gpu0'"),
        ({"backend": "jax", "device": "gpu0"}, "jax made no state on device = 'gpu0'"),
        ({"like": [0.0]}, "like is a list"),
    ],
)
def test_states_that_cannot_be_are_sentences(options: Any, sentence: str) -> None:
    """An integer dtype above all: it would silently cut the start's normals to whole numbers."""
    with pytest.raises(BackendError, match=sentence):
        sample(PROCESS, Smooth(), **{"shape": (3,), "steps": 2, "batch": 2, **options})


def test_dtypes_by_name() -> None:
    call = {"shape": (3,), "steps": 2, "batch": 2}
    for dtype in ("bfloat16", np.float16, torch.float64):
        found = sample(PROCESS, Smooth(), backend="torch", dtype=dtype, **call).x.dtype
        assert str(found).removeprefix("torch.") in str(dtype)


def test_other_arguments_of_the_wrong_type_are_sentences() -> None:
    with pytest.raises(ProcessError, match=r"process is VP, expected .*VP\(\)"):
        build_plan(VP, "ddim", steps=3)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="method is a int"):
        build_plan(PROCESS, 3, steps=3)  # type: ignore[arg-type]
    with pytest.raises(GridError, match="grid_options = "):
        build_plan(PROCESS, "ddim", steps=3, grid_options=[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("keying", ["sample", "shard"])
def test_a_batch_of_none(backend: str, keying: str) -> None:
    """Also with noise: an empty shard of a job is an empty result, not an error."""
    call = {"shape": (3,), "steps": 2, "method": "ancestral", "backend": backend}
    assert sample(PROCESS, Smooth(), batch=0, keying=keying, **call).x.shape == (0, 3)


def test_keyed_noise_brings_its_own_start() -> None:
    """A source that is keyed fixes the start too, with its own seed and indices."""
    call = {"shape": (3,), "steps": 2, "method": "ancestral", "batch": 2}
    noise = sgmsolve.KeyedNoise(7, [4, 1])
    expected = sample(PROCESS, Smooth(), seed=7, indices=[4, 1], **call).x
    assert (sample(PROCESS, Smooth(), noise=noise, **call).x == expected).all()
    paths = [build_plan(PROCESS, "ancestral", steps=2)]
    path = sgmsolve.PathNoise(paths, PROCESS, seed=7, indices=[4, 1])
    drawn = start(PROCESS, 1.0, np.zeros((2, 3)), noise=path)[0]
    assert (drawn == start(PROCESS, 1.0, np.zeros((2, 3)), seed=7, indices=[4, 1])[0]).all()


def test_everything_public_can_be_imported_by_star() -> None:
    code = "from sgmsolve import *; sample, build_plan, as_model, Gaussian, solve, VP, errors"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("nfe", "tail"), [(18, "2,1"), (19, "1"), (20, "2"), (2, "2")])
def test_dpm_solver_fast_spends_the_whole_budget(nfe: int, tail: str) -> None:
    """Its closing steps are there to use up what a multiple of three leaves over."""
    plan = build_plan(VP(), "dpm-solver-fast", nfe=nfe)
    assert plan.nfe == nfe
    assert plan.options["tail"] == tail
    assert build_plan(VP(), "dpm-solver-fast", nfe=20, tail="2,1").nfe == 18


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_missing_library_is_a_sentence(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    model = GaussianMixture.ring().model(PROCESS)
    with pytest.raises(BackendError, match=rf"pip install 'sgmsolve\[{backend}\]'"):
        sample(PROCESS, model, shape=(2,), steps=2, backend=backend)
