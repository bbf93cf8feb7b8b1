"""How many Fourier transforms a preconditioned row takes, and that none is done in float64."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgmsolve import build_plan, solve
from sgmsolve.precondition import PDS, SpaceFrequency

torch = pytest.importorskip("torch")
FILE = Path(__file__).parents[2] / "benchmarks" / "preconditioning_overhead.py"


@pytest.fixture(scope="module")
def overhead() -> Any:
    spec = importlib.util.spec_from_file_location("preconditioning_overhead", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("space", "corrector", "forward", "back"),
    [
        # M M^T s + M z is F^-1[r^2 F s + r F z]: two there, one back.
        (False, "langevin", 4, 2),
        (False, "none", 2, 1),
        # With gains on pixels between the transforms: M (M^T s + z).
        (True, "ald", 4, 4),
        (True, "none", 2, 2),
    ],
)
def test_transforms_of_an_iteration(
    overhead: Any, space: bool, corrector: str, forward: int, back: int
) -> None:
    shape = (3, 8, 8)
    rng = np.random.default_rng(0)
    M: Any = PDS.from_images(rng.random((20, *shape)))
    if space:
        M = SpaceFrequency(shape, M.frequency, 1 + rng.random(shape))

    def counts(steps: int) -> dict[str, int]:
        plan = build_plan(
            overhead.PROCESS,
            "predictor-corrector",
            steps=steps,
            grid="uniform",
            discretisation="score_sde",
            corrector=corrector,
            preconditioner=M,
            where="published",
        )
        x, score, z = (torch.randn((2, *shape)) for _ in range(3))
        with overhead.counted() as found:
            made = solve(plan, overhead.Free(score), x, noise=overhead.Ready(z)).x
        assert made.dtype == torch.float32
        return found

    few, more = counts(3), counts(5)
    rise = {name: (more[name] - few[name]) / 2 for name in more}
    assert rise == {"rfftn float32": forward, "irfftn complex64": back}
