"""Torch only: dtypes, gradients, compilation, memory, no synchronisation."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from executor_cases import GRID, PROCESS, Smooth, bashforth, euler, heun

from sgmsolve import Status, solve
from sgmsolve.backends.torch_loop import TorchOps
from sgmsolve.errors import SolveError

PLANS = {
    "euler": euler(PROCESS, GRID, 0.6),
    "heun": heun(PROCESS, GRID),
    "bashforth": bashforth(PROCESS, GRID),
}
Z = torch.tensor(np.random.default_rng(1).standard_normal((4, 3)))


class Linear(torch.nn.Module):
    """noise = x W^T + t: parameters that take gradients."""

    process, predicts = PROCESS, "noise"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(3, dtype=torch.float64) * 0.5)

    def forward(self, z: Any, t: Any) -> Any:
        return (torch.tanh(z[0] @ self.weight.T) + t,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", PLANS)
def test_states_keep_their_dtype(name: str, dtype: torch.dtype) -> None:
    solution = solve(PLANS[name], Smooth(), Z.to(dtype), noise="philox")
    exact = solve(PLANS[name], Smooth(), Z, noise="philox").x
    assert solution.x.dtype == dtype
    error = (solution.x.double() - exact).abs().max() / exact.abs().max()
    assert error < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", PLANS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    model = Linear()

    def loss(z: Any) -> Any:
        return (solve(PLANS[name], model, z, seed=2).x ** 2).mean()

    z = Z.clone().requires_grad_()
    by_z, by_weight = torch.autograd.grad(loss(z), [z, model.weight])
    h = 1e-6
    with torch.no_grad():
        e = torch.zeros_like(Z)
        e[1, 2] = h
        assert torch.isclose((loss(Z + e) - loss(Z - e)) / (2 * h), by_z[1, 2], rtol=1e-6)
        values = []
        for sign in (1, -1):
            model.weight[0, 1] += sign * h
            values.append(loss(Z))
            model.weight[0, 1] -= sign * h
        assert torch.isclose((values[0] - values[1]) / (2 * h), by_weight[0, 1], rtol=1e-6)


def test_no_graph_where_nothing_asks_for_one() -> None:
    assert not solve(PLANS["heun"], Smooth(), Z).x.requires_grad
    assert solve(PLANS["heun"], Linear(), Z).x.requires_grad
    with torch.no_grad():
        assert not solve(PLANS["heun"], Linear(), Z).x.requires_grad


@pytest.mark.parametrize("name", PLANS)
def test_compiles_in_one_graph(name: str) -> None:
    """No graph break (fullgraph), same numbers, draws included; the flags come out unread."""
    torch.compiler.reset()
    model = Linear()

    def run(z: Any) -> Any:
        solution = solve(PLANS[name], model, z, seed=3)
        return solution.x, solution.flags

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        x, flags = compiled(Z)
        assert torch.equal(x, solve(PLANS[name], model, Z, seed=3).x)
        assert flags.all()
        assert len(flags) == PLANS[name].rows + 1
        assert not compiled(Z * torch.nan)[1].any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # raised inside torch
def test_compiles_with_inductor() -> None:
    torch.compiler.reset()
    model = Linear()
    compiled = torch.compile(lambda z: solve(PLANS["euler"], model, z, seed=3).x, fullgraph=True)
    with torch.no_grad():
        got, expected = compiled(Z), solve(PLANS["euler"], model, Z, seed=3).x
    assert (got - expected).abs().max() < 1e-13 * expected.abs().max()


class Watched(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts live state-sized tensors, and operations that read a value back to the host."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.live, self.peak = size, 0, 0
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.__name__.startswith(("_local_scalar_dense", "nonzero", "equal")):
            self.reads.append(func.__name__)
        fresh = isinstance(out, torch.Tensor) and out.numel() == self.size
        if fresh and not func.__name__.endswith("_.Tensor") and not func.is_view:
            self.live += 1
            self.peak = max(self.peak, self.live)
            weakref.finalize(out.untyped_storage(), self.free)
        return out

    def free(self) -> None:
        self.live -= 1


@pytest.mark.parametrize("rows", [8, 40])
@pytest.mark.parametrize("name", PLANS)
def test_live_tensors_and_synchronisation(name: str, rows: int) -> None:
    """Registers, histories and two states at most; values are read once, after the last row."""
    build = {"euler": lambda p, g: euler(p, g, 0.6), "heun": heun, "bashforth": bashforth}
    plan = build[name](PROCESS, np.linspace(1, 0.01, rows + 1))
    z = torch.ones(16, 300)
    model = type("M", (), {"process": PROCESS, "predicts": "noise"})()
    type(model).__call__ = lambda self, z, t: (torch.zeros_like(z[0]),)
    gc.collect()
    with Watched(z.numel()) as watched, torch.no_grad():
        solve(plan, model, z)
    assert 0 < watched.peak <= plan.k * plan.m + plan.history * plan.p + 2
    assert watched.reads == ["nonzero.default"]


def test_the_flag_of_a_row() -> None:
    """NaN, Inf and opposite Infs are seen; large but finite half-precision sums are not."""
    for bad in ([1.0, float("nan")], [1.0, float("inf")], [float("inf"), -float("inf")]):
        assert not TorchOps.truth(TorchOps.finite([torch.tensor(bad)]))
    assert TorchOps.truth(TorchOps.finite([torch.full((100,), 6e4, dtype=torch.float16)]))
    assert TorchOps.first_bad([torch.tensor(1.0), torch.tensor(torch.nan)])[0] == 1


def test_per_row_checks_read_each_row() -> None:
    with Watched(Z.numel()) as watched, torch.no_grad():
        solve(PLANS["heun"], Smooth(), Z, check="each-row")
    assert len(watched.reads) >= PLANS["heun"].rows
    stopped = solve(PLANS["heun"], Smooth(), Z * torch.nan, on_nonfinite="stop")
    assert (stopped.status, stopped.nonfinite_row) == (Status.NONFINITE, 0)
    with pytest.raises(SolveError, match="in row 0 of 16"):
        solve(PLANS["heun"], Smooth(), Z * torch.nan)
