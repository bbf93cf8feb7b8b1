"""What finished samples cost: Gotta-Go-Fast with compaction against a masked batch.

    python benchmarks/compaction.py [--json FILE]

A batch of 512 with a network that costs something (a residual MLP, 3 x 256 wide), tolerances that
spread the evaluations over the samples: rows of all network calls over the sum of the samples' own
evaluations, and wall-clock ratios taken in one run, alternating. torch: ``compact=True`` against
``compact=False``. jax: buckets of powers of two, and the fully jitted masked form; programs built.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import sgmsolve
from sgmsolve import VP, ReverseSDE
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.target import GaussianMixture

BATCH, WIDTH, LAYERS, ROUNDS = 512, 256, 3, 3
SETTINGS: dict[str, Any] = {"rtol": 0.05, "atol": 2e-3, "seed": 1}


def weights(dimension: int) -> list[np.ndarray]:
    """A random residual network: in, hidden layers, out."""
    rng = np.random.default_rng(0)
    sizes = [dimension + 1, *[WIDTH] * LAYERS, dimension]
    return [rng.standard_normal((a, b)) / np.sqrt(a) for a, b in itertools.pairwise(sizes)]


def network(xp: Any, layers: list[Any], exact: Any) -> Any:
    """The exact score plus a small learned-looking part; its cost is the network's."""

    def net(x: Any, t: Any) -> Any:
        column = t.reshape((-1, 1)) if getattr(t, "ndim", 0) else xp.full_like(x[:, :1], float(t))
        h = xp.concatenate([x, column + 0 * x[:, :1]], 1)
        for w in layers[:-1]:
            h = xp.tanh(h @ w)
        return exact((x,), t)[0] + 1e-3 * (h @ layers[-1])

    return net


def model_of(kind: str) -> tuple[Any, np.ndarray]:
    """(model, start) of a library."""
    process = VP()
    target = GaussianMixture(
        np.ones(2), np.array([[0.7, 0.0], [-0.7, 0.1]]), np.array([0.04, 1e-3])
    )
    exact = target.model(process)
    exact = exact.as_kind("score") if exact.predicts != "score" else exact
    z = np.random.default_rng(2).standard_normal((BATCH, 2))
    layers: list[Any] = weights(2)
    if kind == "torch":
        import torch

        layers = [torch.tensor(w) for w in layers]
        return sgmsolve.as_model(network(torch, layers, exact), process, predicts="score"), (
            torch.tensor(z)
        )
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    layers = [jnp.asarray(w) for w in layers]
    return sgmsolve.as_model(network(jnp, layers, exact), process, predicts="score"), jnp.asarray(z)


def timed(work: Any) -> tuple[float, Any]:
    """Seconds and result of a call."""
    began = time.perf_counter()
    found = work()
    np.asarray(found.z[0])
    return time.perf_counter() - began, found


def rounds(*works: Any) -> list[tuple[float, Any]]:
    """The shortest of alternating timings of each, after one call to warm up."""
    found: list[tuple[float, Any]] = [timed(work) for work in works]
    best = [math.inf] * len(works)
    for _ in range(ROUNDS):
        for i, work in enumerate(works):
            seconds, result = timed(work)
            best[i], found[i] = min(best[i], seconds), (seconds, result)
    return [(b, r) for b, (_, r) in zip(best, found, strict=True)]


def on_torch() -> dict[str, float]:
    """Compaction against the masked batch."""
    import torch

    torch.set_num_threads(1)
    model, z = model_of("torch")
    sde = ReverseSDE(VP(), model)

    def run(compact: bool) -> Any:
        with torch.no_grad():
            return solve_adaptive("gotta-go-fast", sde, z, 1.0, 1e-3, compact=compact, **SETTINGS)

    (fast, compacted), (slow, masked) = rounds(lambda: run(True), lambda: run(False))
    own = int(compacted.nfe.sum())
    return {
        "mean evaluations": float(compacted.nfe.mean()),
        "largest evaluations": float(compacted.nfe.max()),
        "rows / own evaluations, compacted": compacted.rows / own,
        "rows / own evaluations, masked": masked.rows / own,
        "seconds, compacted": fast,
        "seconds masked / compacted": slow / fast,
    }


def on_jax() -> dict[str, float]:
    """Buckets against the batch that stays whole, and against one jitted program."""
    import jax

    from sgmsolve.adaptive.masked import solve_masked

    model, z = model_of("jax")
    sde = ReverseSDE(VP(), model)
    jitted = jax.jit(
        lambda z: solve_masked("gotta-go-fast", sde, (z,), 1.0, 1e-3, rtol=0.05, atol=2e-3, seed=1)
    )

    def run(compact: bool) -> Any:
        return solve_adaptive("gotta-go-fast", sde, z, 1.0, 1e-3, compact=compact, **SETTINGS)

    timings = rounds(lambda: run(True), lambda: run(False), lambda: jitted(z))
    (fast, compacted), (slow, masked), (whole, program) = timings
    own = int(compacted.nfe.sum())
    return {
        "rows / own evaluations, buckets": compacted.rows / own,
        "rows / own evaluations, host-driven mask": masked.rows / own,
        "rows / own evaluations, jitted mask": float(
            2 * BATCH * program.attempts / np.asarray(program.nfe).sum()
        ),
        "seconds, buckets": fast,
        "seconds host-driven mask / buckets": slow / fast,
        "seconds jitted mask / buckets": whole / fast,
    }


LIMITS = {
    "torch: rows / own evaluations, compacted": 1.0,
    "jax: rows / own evaluations, buckets": 2.0,
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    found = {"torch": on_torch(), "jax": on_jax()}
    figures = {f"{kind}: {k}": v for kind, parts in found.items() for k, v in parts.items()}
    report = json.dumps({"figures": figures, "limits": LIMITS}, indent=1)
    print(report)
    if given.json:
        given.json.write_text(report + "\n")


if __name__ == "__main__":
    main()
