"""Overhead of the executors: ratios, measured in one run.

    python benchmarks/executor.py [--json FILE] [--seed N]

torch, (16, 3, 32, 32) float32, one thread, a network that returns a constant:
  * a row of a one-history plan against the bare ``a * x + b * y``              (at most 2)
  * the same with noise against twice that plus one draw                        (at most 1)
    once with our keyed draw, once with plain torch.randn
  * against diffusers' DPMSolverMultistep and UniPC, same method and steps      (at most 1/2)
numpy: overhead per row on a tiny batch, in microseconds.
jax: compile time at 1000 rows against 10 rows (at most 1.3), and with another grid (no
    compilation). Every figure is the best of several interleaved repeats, so that a busy machine
    hurts both sides.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve import VP, KeyedNoise, build_plan, solve

PROCESS, STEPS, REPEATS = VP(), 50, 30

LIMITS = {
    "torch_row_over_bare": 2.0,
    "torch_noisy_row_over_two_bare_and_draw": 1.0,
    "dpm++2m_row_over_diffusers": 0.5,
    "unipc_row_over_diffusers": 0.5,
    "jax_compile_1000_over_10": 1.3,
    "jax_other_grid_over_compile": 0.1,
}
"""The figures that the project set itself; the others are printed for what they are."""


class Constant:
    """A network that costs nothing."""

    process = PROCESS

    def __init__(self, value: Any, predicts: str) -> None:
        self.value, self.predicts = (value,), predicts

    def __call__(self, z: Any, t: Any) -> Any:
        return self.value


def best(*functions: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Least processor seconds of each, taken in turns: all of them run on one thread."""
    found = [float("inf")] * len(functions)
    for _ in range(repeats):
        for i, f in enumerate(functions):
            begin = time.process_time()
            f()
            found[i] = min(found[i], time.process_time() - begin)
    return found


def torch_rows(seed: int) -> dict[str, float]:
    """Rows of torch plans against bare arithmetic and draws."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = torch.randn(16, 3, 32, 32), torch.randn(16, 3, 32, 32)
    quiet = build_plan(PROCESS, "ddim", steps=STEPS)
    noisy = build_plan(PROCESS, "ddim", steps=STEPS, eta=1.0)
    older = build_plan(PROCESS, "dpm++2m", steps=STEPS)
    draw = KeyedNoise(0).bind(noisy, (x,))

    def bare() -> None:
        for _ in range(STEPS):
            0.3 * x + 0.2 * y

    def draws() -> None:
        for r in range(STEPS):
            draw(r, 0)

    def randn() -> None:
        for _ in range(STEPS):
            torch.randn(16, 3, 32, 32)

    runs = [lambda p=p: solve(p, Constant(y, p.predicts), x, seed=0) for p in (quiet, noisy, older)]
    with torch.no_grad():
        b, d, n, q, s, o = best(bare, draws, randn, *runs)
    return {
        "torch_row_us": 1e6 * q / quiet.rows,
        "torch_bare_us": 1e6 * b / STEPS,
        "torch_row_over_bare": (q / quiet.rows) / (b / STEPS),
        "torch_two_history_row_over_bare": (o / older.rows) / (b / STEPS),
        "torch_draw_over_randn": d / n,
        "torch_noisy_row_over_two_bare_and_draw": (s / noisy.rows) / ((2 * b + d) / STEPS),
        "torch_noisy_row_over_two_bare_and_randn": (s / noisy.rows) / ((2 * b + n) / STEPS),
    }


def diffusers_rows(seed: int) -> dict[str, float]:
    """The same methods through diffusers' schedulers, where diffusers is installed."""
    try:
        import diffusers
    except ImportError:
        return {}
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    x, y = torch.randn(16, 3, 32, 32), torch.randn(16, 3, 32, 32)
    out = {}
    for ours, theirs, more in (
        ("dpm++2m", "DPMSolverMultistepScheduler", {"solver_order": 2}),
        ("unipc", "UniPCMultistepScheduler", {"solver_order": 2}),
    ):
        scheduler = getattr(diffusers, theirs)(num_train_timesteps=1000, **more)

        def loop(scheduler: Any = scheduler) -> None:
            scheduler.set_timesteps(STEPS)
            state = x
            for t in scheduler.timesteps:
                state = scheduler.step(y, t, state).prev_sample

        plan = build_plan(PROCESS, ours, steps=STEPS)
        with torch.no_grad():
            a, b = best(lambda p=plan: solve(p, Constant(y, p.predicts), x), loop)
        out[f"{ours}_row_over_diffusers"] = (a / plan.rows) / (b / STEPS)
    return out


def numpy_rows() -> dict[str, float]:
    """Overhead of a row on two numbers, above the same arithmetic written out."""
    plan = build_plan(PROCESS, "ddim", steps=2000)
    z, y = np.ones((2, 1)), np.zeros((2, 1))

    def bare() -> None:
        for _ in range(plan.rows):
            0.3 * z + 0.2 * y

    a, b = best(lambda: solve(plan, Constant(y, plan.predicts), z), bare, repeats=7)
    return {
        "numpy_row_overhead_us": 1e6 * (a - b) / plan.rows,
        "numpy_bare_us": 1e6 * b / plan.rows,
    }


def jax_compile() -> dict[str, float]:
    """Seconds of the first run, less those of the second, at 10 and 1000 rows."""
    import jax
    import jax.numpy as jnp

    x = jnp.ones((16, 3, 32, 32), jnp.float32)

    def first(steps: int) -> tuple[float, float]:
        plan = build_plan(PROCESS, "ddim", steps=steps)
        again = build_plan(PROCESS, "ddim", grid=np.linspace(0.95, 0.002, steps + 1))
        model = Constant(0 * x, plan.predicts)
        times = []
        for p in (plan, plan, again):
            begin = time.perf_counter()
            jax.block_until_ready(solve(p, model, x).x)
            times.append(time.perf_counter() - begin)
        return times[0] - times[1], times[2] - times[1]

    first(5)
    found = {steps: [first(steps) for _ in range(3)] for steps in (10, 1000)}
    short, long = (min(c for c, _ in found[s]) for s in (10, 1000))
    return {
        "jax_compile_s": short,
        "jax_compile_1000_over_10": long / short,
        "jax_other_grid_over_compile": max(o for _, o in found[10]) / short,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the arrays that are combined")
    given = parser.parse_args()
    figures = {
        **torch_rows(given.seed),
        **diffusers_rows(given.seed),
        **numpy_rows(),
        **jax_compile(),
    }
    for name, value in figures.items():
        limit = f"  (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:45s} {value:10.3f}{limit}")
    if "unipc_row_over_diffusers" not in figures:
        print("diffusers is not installed here: `make bench` measures against it")
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=1))


if __name__ == "__main__":
    main()
