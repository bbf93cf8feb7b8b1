"""Solvers that are no plans as methods of ``sample``: what they solve, on which times, the cost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import sgmsolve
from sgmsolve import EDM, VP, Gaussian, ProbabilityFlow, ReverseSDE, sample
from sgmsolve.adapters import solve_with
from sgmsolve.adaptive import controllers, solve_adaptive
from sgmsolve.errors import (
    BackendError,
    GridError,
    IncompleteWarning,
    MethodError,
    ModelError,
    SolveError,
)
from sgmsolve.sampling import build_plan, start
from sgmsolve.solving import find_method, prepare, solver_methods

PROCESS = VP()
TARGET = Gaussian(np.array([0.5, -0.2]), 0.25)
MODEL = TARGET.model(PROCESS)
CALL: dict[str, Any] = {"shape": (2,), "batch": 3, "seed": 4}
ENDS = (1.0, 1e-3)
TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def begin(convert: Any = np.asarray, batch: int = 3) -> tuple[Any, ...]:
    """The start that plans get on that library."""
    return start(PROCESS, 1.0, convert(np.empty((batch, 2))), seed=4)


def jnp_array(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(x)


def test_our_solver_runs_as_if_called_by_hand() -> None:
    found = sample(PROCESS, MODEL, method="gotta-go-fast", rtol=0.1, eta=0.7, **CALL)
    sde = ReverseSDE(PROCESS, MODEL, 0.7)
    hand = solve_adaptive("gotta-go-fast", sde, begin(), *ENDS, rtol=0.1, seed=4)
    assert np.array_equal(found.x, hand.x)
    assert np.array_equal(found.nfe, hand.nfe)
    redrawn = sample(PROCESS, MODEL, method="gotta-go-fast", noise="redraw", rtol=0.1, **CALL)
    other = {"rtol": 0.1, "seed": 4, "noise": "redraw"}
    by_hand = solve_adaptive("gotta-go-fast", ReverseSDE(PROCESS, MODEL), begin(), *ENDS, **other)
    assert np.array_equal(redrawn.x, by_hand.x)


def test_fixed_steps_are_those_of_the_grid() -> None:
    times = sgmsolve.grid.make(sgmsolve.grid.default_grid(PROCESS), PROCESS, 12)
    found = sample(PROCESS, MODEL, method="gotta-go-fast", steps=12, **CALL)
    sde = ReverseSDE(PROCESS, MODEL)
    hand = solve_adaptive("gotta-go-fast", sde, begin(), *ENDS, grid=times, seed=4)
    assert np.array_equal(found.x, hand.x)
    assert found.nfe.tolist() == [24] * 3
    given = sample(PROCESS, MODEL, method="gotta-go-fast", grid=times, **CALL)
    assert np.array_equal(given.x, hand.x)


@pytest.mark.parametrize(
    ("name", "library", "options", "by_hand"),
    [
        ("torchsde:srk", "torch", {"nfe": 31}, {"steps": 10, "seed": 4}),
        ("torchdiffeq:rk4", "torch", {"nfe": 43}, {"grid": 10}),
        ("torchdiffeq:dopri5", "torch", TIGHT, TIGHT),
        pytest.param(
            *("diffrax:heun", "jax", {"nfe": 21, "eta": 0}, {"grid": 10}), marks=pytest.mark.slow
        ),
        pytest.param(
            "diffrax:sra1", "jax", {"nfe": 8}, {"grid": 4, "seed": 4}, marks=pytest.mark.slow
        ),
    ],
)
def test_other_libraries_run_as_if_called_by_hand(
    name: str, library: str, options: Any, by_hand: Any
) -> None:
    """From the start that plans get, on the same equation, with the most steps in the budget."""
    convert = torch.tensor if library == "torch" else jnp_array
    dtype = {"dtype": "float64"}
    found = sample(PROCESS, MODEL, method=name, **options, **dtype, **CALL)
    noisy = name in ("torchsde:srk", "diffrax:sra1")
    sde = ReverseSDE(PROCESS, MODEL) if noisy else ProbabilityFlow(PROCESS, MODEL)
    if "grid" in by_hand:
        times = sgmsolve.grid.make(sgmsolve.grid.default_grid(PROCESS), PROCESS, by_hand["grid"])
        by_hand = {**by_hand, "grid": times}
    hand = solve_with(name, sde, begin(convert), *ENDS, **by_hand)
    assert float(abs(found.x - hand.x).max()) < 1e-12
    assert found.nfe == hand.nfe
    assert found.nfe <= options.get("nfe", math.inf)


@pytest.mark.parametrize("name", ["dopri5", "torchdiffeq:dopri5", "diffrax:tsit5"])
def test_solvers_of_odes_follow_the_exact_flow(name: str) -> None:
    options = TIGHT | ({} if name == "dopri5" else {"dtype": "float64"})
    found = sample(PROCESS, MODEL, method=name, **options, **CALL)
    kind = {"dopri5": np.asarray, "torchdiffeq:dopri5": torch.tensor}.get(name, jnp_array)
    z = np.asarray(begin(kind)[0])
    exact = TARGET.flow_map(z, *ENDS, PROCESS)
    assert np.abs(np.asarray(found.x) - exact).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "options"),
    [("gotta-go-fast", {"rtol": 0.02, "atol": 0.002}), ("torchsde:srk", {"nfe": 601})],
)
def test_solvers_of_sdes_have_the_moments_of_the_target(name: str, options: Any) -> None:
    call = {"shape": (2,), "batch": 2000, "seed": 1}
    x = np.asarray(sample(PROCESS, MODEL, method=name, **options, **call).x, dtype=np.float64)
    assert (np.abs(x.mean(axis=0) - [0.5, -0.2]) < 4.5 * 0.5 / math.sqrt(2000)).all()
    assert abs(x.var(axis=0).mean() / 0.25 - 1) < 4.5 * math.sqrt(2 / 4000)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow if r.family == "diffrax" else ())
        for n, r in solver_methods().items()
        if r.cost is not None
    ],
)
def test_costs_are_what_the_libraries_count(name: str) -> None:
    """Five steps tell a slope from an offset below five."""
    record = find_method(name)
    first, each = record.cost
    job = prepare(PROCESS, MODEL, record, nfe=first + each * 6 - 1)
    assert job.steps == 5
    assert first < 5
    _, solution = job.run_on_host((np.ones((1, 2)),))
    assert solution.nfe == first + each * 5


def test_a_grid_that_ends_at_zero_ends_at_its_smallest_positive_time() -> None:
    process = EDM()
    model = TARGET.model(process)
    record = find_method("torchdiffeq:heun2")
    options = {"grid": "karras", "grid_options": {"final": "zero", "t_min": 0.01}}
    job = prepare(process, model, record, steps=5, **options)
    assert (job.t_start, job.t_end, job.steps) == (80.0, 0.01, 5)
    wanted = sgmsolve.grid.karras(process, 5, t_min=0.01)
    assert np.allclose(job.options["grid"], wanted, rtol=1e-12)
    free = prepare(process, model, find_method("dopri5"), **options)
    assert (free.t_start, free.t_end, free.steps) == (80.0, 0.01, None)
    given = prepare(process, model, record, grid=[80.0, 1.0, 0.1, 0.0])
    assert given.options["grid"].tolist() == [80.0, 1.0, 0.1]
    with pytest.raises(GridError, match="one positive time"):
        prepare(process, model, record, grid=[80.0, 0.0])


def test_samples_are_keyed_by_their_index_where_the_solver_keys_them() -> None:
    call = {"method": "gotta-go-fast", "shape": (2,), "rtol": 0.1, "seed": 2}
    whole = sample(PROCESS, MODEL, batch=4, **call)
    part = sample(PROCESS, MODEL, batch=2, indices=[3, 1], **call)
    assert np.array_equal(part.x, whole.x[[3, 1]])
    one = {"method": "torchsde:euler", "steps": 5, "shape": (2,), "seed": 2, "batch": 2}
    shard = sample(PROCESS, MODEL, indices=[2, 3], **one).x
    assert torch.equal(shard, sample(PROCESS, MODEL, indices=[2, 3], **one).x)
    # Another shard has other noise, not that of the first rows once more.
    noises = []
    for indices in ([0, 1], [2, 3]):
        job = prepare(PROCESS, MODEL, find_method("torchsde:euler"), steps=5)
        noises.append(job.run((torch.zeros(2, 2),), seed=2, indices=indices).x)
    assert not torch.isclose(noises[0], noises[1]).any()
    large = sample(PROCESS, MODEL, **{**one, "seed": 2**63 - 1})
    assert torch.isfinite(large.x).all()


def test_a_generator_is_the_start_and_the_noise() -> None:
    fixed = {"steps": 5, "noise": "philox", **CALL}
    flows = [sample(PROCESS, MODEL, method=m, **fixed) for m in ("heun-euler", "torchdiffeq:heun2")]
    assert np.abs(flows[0].x - flows[1].x.numpy()).max() < 1e-5
    call = {"method": "gotta-go-fast", "noise": "philox", "rtol": 0.1, **CALL}
    ours = sample(PROCESS, MODEL, **call)
    theirs = sample(PROCESS, MODEL, backend="torch", dtype="float64", **call)
    assert np.abs(ours.x - theirs.x.numpy()).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "options"), [("dopri5", {}), ("torchdiffeq:rk4", {"nfe": 41, "dtype": "float64"})]
)
def test_denoising_is_the_data_prediction_at_the_end(name: str, options: Any) -> None:
    ended = sample(PROCESS, MODEL, method=name, **{**options, **CALL})
    denoised = sample(PROCESS, MODEL, method=name, denoise=True, **{**options, **CALL})
    data = TARGET.model(PROCESS, "data")((np.asarray(ended.x),), 1e-3)[0]
    assert np.abs(np.asarray(denoised.x) - data).max() < 1e-12
    assert np.max(denoised.nfe) == np.max(ended.nfe) + 1


def test_controllers_by_name() -> None:
    """Of the solver's order."""
    by_name = sample(PROCESS, MODEL, method="bosh3", controller="integral", **CALL)
    by_hand = sample(PROCESS, MODEL, method="bosh3", controller=controllers.integral(3.0), **CALL)
    default = sample(PROCESS, MODEL, method="bosh3", **CALL)
    assert np.array_equal(by_name.x, by_hand.x)
    assert not np.array_equal(by_name.x, default.x)


class Breaks:
    """NaN below t = 0.1."""

    def __call__(self, x: Any, t: Any) -> Any:
        return x * (math.nan if float(t) < 0.1 else 1.0)


@pytest.mark.parametrize("report", ["warn", "raise", "ignore"])
def test_runs_that_do_not_end_say_so(report: str) -> None:
    model = sgmsolve.as_model(Breaks(), PROCESS, predicts="noise")
    call = {"method": "torchdiffeq:rk4", "steps": 10, "on_failure": report, **CALL}
    if report == "warn":
        with pytest.warns(IncompleteWarning, match="torchdiffeq:rk4: The model returned NaN"):
            sample(PROCESS, model, **call)
    elif report == "raise":
        with pytest.raises(SolveError, match="NaN") as caught:
            sample(PROCESS, model, **call)
        assert caught.value.solution.x.shape == (3, 2)
    else:
        assert sample(PROCESS, model, **call).status is sgmsolve.Status.NONFINITE


@pytest.mark.parametrize(
    ("name", "options", "error", "sentence"),
    [
        ("gotta-go-fats", {}, MethodError, "Did you mean 'gotta-go-fast'"),
        ("torchsde:skr", {}, MethodError, "Did you mean 'torchsde:srk'"),
        ("gotta-go-fast", {"rtoll": 1.0}, MethodError, "Did you mean 'rtol'"),
        ("gotta-go-fast", {"nfe": 50}, MethodError, "give rtol and atol; or steps"),
        ("gotta-go-fast", {"steps": 5, "rtol": 0.1}, MethodError, "belong to error control"),
        ("gotta-go-fast", {"rtol": 0}, MethodError, "rtol = 0"),
        ("gotta-go-fast", {"callback": print}, MethodError, "callback was given, but gotta-go"),
        ("gotta-go-fast", {"keying": "shard"}, MethodError, "keying was given"),
        ("gotta-go-fast", {"on_nonfinite": "ignore"}, MethodError, "use on_failure"),
        ("gotta-go-fast", {"noise": sgmsolve.KeyedNoise(0)}, MethodError, "pass those"),
        ("gotta-go-fast", {"controller": "integrl"}, MethodError, "Did you mean 'integral'"),
        ("gotta-go-fast", {"on_failure": "rise"}, MethodError, "Did you mean 'raise'"),
        ("gotta-go-fast", {"eta": 0}, MethodError, "eta > 0"),
        ("torchsde:srk", {"eta": 0, "steps": 3}, ModelError, "eta > 0"),
        ("dopri5", {"eta": 1}, MethodError, "dopri5 solves the probability flow"),
        ("dopri5", {"noise": "redraw"}, MethodError, "noise"),
        ("torchsde:srk", {}, MethodError, "was given no steps"),
        ("torchsde:srk", {"steps": 3, "nfe": 30}, MethodError, "both given"),
        ("torchsde:srk", {"steps": 3, "dt": 0.1}, MethodError, "both given"),
        ("torchsde:srk", {"nfe": 3}, MethodError, "takes 4 evaluations"),
        ("torchsde:srk", {"nfe": 2.5}, MethodError, r"nfe = 2\.5"),
        ("torchsde:srk", {"grid": [1.0, 0.5]}, GridError, "equal steps"),
        ("torchsde:srk", {"steps": 3, "progress": True}, MethodError, "progress"),
        ("torchdiffeq:dopri5", {"steps": 3}, MethodError, "chooses its own steps"),
        ("torchdiffeq:implicit_adams", {"nfe": 30}, MethodError, "no fixed number"),
        ("torchdiffeq:rk4", {"steps": 0}, GridError, "steps"),
        ("diffrax:tsit5", {"steps": 3, "rtol": 0.1}, MethodError, "chooses its own steps"),
        ("diffrax:tsit5", {"rtol": 0.1}, MethodError, "no atol"),
        ("diffrax:kvaerno5", {"steps": 3}, MethodError, "is implicit"),
        ("torchdiffeq:rk4", {"steps": 3, "backend": "numpy"}, BackendError, "runs on torch"),
        ("torchdiffeq:rk4", {"steps": 3, "like": np.zeros(1)}, BackendError, "numpy array"),
        ("diffrax:tsit5", {"steps": 3, "backend": "torch"}, BackendError, "runs on jax"),
        ("dpm++2m", {"steps": 3, "denoise": "tweedie"}, MethodError, "True or False"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(
    name: str, options: Any, error: Any, sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        sample(PROCESS, MODEL, method=name, **{**CALL, **options})


def test_models_of_the_other_library_are_refused_before_any_work() -> None:
    net = torch.nn.Linear(2, 2)
    model = sgmsolve.as_model(net, PROCESS, predicts="noise")
    with pytest.raises(BackendError, match="holds a torch module, but diffrax runs jax"):
        sample(PROCESS, model, method="diffrax:tsit5", steps=3, **CALL)


def test_a_solver_has_no_plan() -> None:
    with pytest.raises(MethodError, match=r"no plan.*sample\(\.\.\., method='gotta-go-fast'\)"):
        build_plan(PROCESS, "gotta-go-fast", steps=3)
