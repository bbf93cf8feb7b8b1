"""Plans, models and array libraries that the executor tests share."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve import VP, PlanBuilder
from sgmsolve.plan import DRAW, Plan

BACKENDS = ("numpy", "torch", "jax")


def to_backend(x: np.ndarray, backend: str, dtype: str | None = None) -> Any:
    """``x`` as an array of a library."""
    if backend == "torch":
        import torch

        return torch.tensor(x, dtype=getattr(torch, dtype or "float64"))
    if backend == "jax":
        import jax.numpy as jnp

        return jnp.asarray(x, dtype=dtype)
    return np.asarray(x, dtype=dtype)


def to_host(x: Any) -> np.ndarray:
    """An array of any library as numpy."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


class Spec:
    """A process that is nothing but its description."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def spec(self) -> dict[str, Any]:
        return self.plan.process


class Tabled:
    """A model that ignores the state and returns row r's entry of a table (R, p, batch, d).

    Times are R, R - 1, ..., 1 (``with_times``), so that the row can be read off a traced t.
    """

    def __init__(self, plan: Plan, table: Any) -> None:
        self.process, self.predicts, self.plan, self.table = Spec(plan), plan.predicts, plan, table

    def __call__(self, z: Any, t: Any) -> Any:
        if isinstance(t, float):
            return tuple(self.table[round(self.plan.rows - t)])
        return tuple(self.table[(self.plan.rows - t).round().astype("int32")])


def with_times(plan: Plan) -> Plan:
    """The same tables, evaluated at times R, ..., 1: the response does not know times."""
    return plan.replace(t=np.arange(plan.rows, 0, -1.0))


def random_plan(
    seed: int, *, m: int = 2, k: int = 3, history: int = 3, columns: int = 2, rows: int = 7
) -> Plan:
    """A plan with every kind of entry: zeros, ones, components, registers, lags and draws."""
    rng = np.random.default_rng(seed)
    km, p = k * m, m

    def entries(*shape: int) -> np.ndarray:
        values = rng.standard_normal(shape)
        return np.where(rng.random(shape) < 0.3, 0.0, np.where(rng.random(shape) < 0.2, 1, values))

    kick = entries(rows, km, p, history)
    for lag in range(1, history):
        kick[:lag, ..., lag] = 0.0
    noise = entries(rows, km, columns)
    noise[2] = 0.0
    draws = np.zeros((rows, columns), DRAW)
    draws["kind"] = "iid"
    return Plan(
        name="random",
        process={"process": "none"},
        predicts="noise",
        t=np.arange(rows, 0, -1.0),
        move=entries(rows, km, km) / km,
        kick=kick,
        noise=noise,
        draws=draws,
        prelude_move=entries(km, m),
        prelude_noise=entries(km, 1),
        prelude_draws=np.zeros(1, DRAW),
        t_start=float(rows),
        t_end=0.0,
    )


def euler(process: Any, grid: Any, eta: float = 0.0, kind: str = "iid") -> Plan:
    """One evaluation a step, one register; with ``eta`` one draw a step."""
    b = PlanBuilder(process, grid, predicts="noise", name="euler", draws=kind)
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        state = psi * b.z + w * b.predict(b.z, t)
        if eta:
            state = state + eta * process.transition_variance(s, t) ** 0.5 * b.xi()
        b.advance(state)
    return b.plan()


def heun(process: Any, grid: Any) -> Plan:
    """Two evaluations a step: two registers."""
    b = PlanBuilder(process, grid, predicts="noise", name="heun")
    for t, s in b.steps():
        z, psi = b.z, process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        e0 = b.predict(z, t)
        e1 = b.predict(psi * z + w * e0, s)
        b.advance(psi * z + w / 2 * (e0 + e1))
    return b.plan()


def bashforth(process: Any, grid: Any) -> Plan:
    """One evaluation a step and one remembered prediction."""
    b = PlanBuilder(process, grid, predicts="noise", name="bashforth")
    before = None
    for t, s in b.steps():
        psi = process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        e = b.predict(b.z, t)
        b.advance(psi * b.z + (w * e if before is None else 1.5 * w * e - 0.5 * w * before))
        before = e
    return b.plan()


PROCESS = VP()
GRID = np.linspace(1.0, 0.01, 9)


class Smooth:
    """A nonlinear model for every library: noise = tanh(x) (1 + t / 2)."""

    process, predicts = PROCESS, "noise"

    def __call__(self, z: Any, t: Any) -> Any:
        x = z[0]
        return (x * (1 + t / 2) / (1 + x * x),)


class Poisoned(Smooth):
    """NaN from time t on (downwards)."""

    def __init__(self, t: float) -> None:
        self.t, self.calls = t, 0

    def __call__(self, z: Any, t: Any) -> Any:
        self.calls += 1
        (e,) = super().__call__(z, t)
        if isinstance(t, float):
            return (e * (float("nan") if t <= self.t else 1.0),)
        import jax.numpy as jnp

        return (e * jnp.where(t <= self.t, jnp.nan, 1.0).astype(e.dtype),)
