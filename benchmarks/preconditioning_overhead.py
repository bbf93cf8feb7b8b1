"""Cost of preconditioning at 3 x 256 x 256, batch 8: Fourier transforms a row, and time.

See preconditioning.py. The rival is the published operation count done by hand in torch: six
complex 2-D transforms in a predictor call (four for M M^T, two for M z) and six in a corrector
call. Both sides have a network that costs nothing and the same normals, ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sgmsolve.problems import photo_field

from sgmsolve import VE, build_plan, solve
from sgmsolve.backends.noise import Noise
from sgmsolve.precondition import PDS, SpaceFrequency

SHAPE, BATCH, STEPS, REPEATS = (3, 256, 256), 8, 4, 7
LIMIT = 1.15
TRANSFORMS = ("fft2", "ifft2", "fftn", "ifftn", "rfft2", "irfft2", "rfftn", "irfftn")
PROCESS = VE(sigma_min=0.01, sigma_max=378.0)


class Ready(Noise):
    """The same normals for every draw."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def bind(self, plan: Any, z: Any) -> Callable[[int, int], Any]:
        return lambda row, column: self.value


class Free:
    """A network that costs nothing."""

    process, predicts = PROCESS, "score"

    def __init__(self, value: Any) -> None:
        self.value = (value,)

    def __call__(self, z: Any, t: Any) -> Any:
        return self.value


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Counts calls of torch's transforms, by name and dtype of what they take."""
    import array_api_compat.torch.fft as compat
    import torch

    counts: dict[str, int] = {}
    kept = [(m, n, getattr(m, n)) for m in (torch.fft, compat) for n in TRANSFORMS if hasattr(m, n)]
    depth = [0]

    def wrap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(x: Any, *args: Any, **more: Any) -> Any:
            if not depth[0]:  # one module's function calls the other's
                key = f"{name} {str(x.dtype).removeprefix('torch.')}"
                counts[key] = counts.get(key, 0) + 1
            depth[0] += 1
            try:
                return call(x, *args, **more)
            finally:
                depth[0] -= 1

        return counting

    for module, name, call in kept:
        setattr(module, name, wrap(name, call))
    try:
        yield counts
    finally:
        for module, name, call in kept:
            setattr(module, name, call)


def by_hand(r: Any, p: Any, rows: list[tuple[float, float]], snr: float) -> Callable[..., Any]:
    """The released sampler's operations: (corrector, predictor) at each of ``rows``."""
    import torch

    def filtered(v: Any) -> Any:
        return torch.fft.ifft2(r * torch.fft.fft2(v)).real

    def gram(v: Any) -> Any:
        return filtered(p * p * filtered(v))

    def run(x: Any, score: Any, z: Any) -> Any:
        for g2, g in rows:
            drift, noise = gram(score), filtered(p * z)
            norms = [v.flatten(1).norm(dim=1).mean() for v in (noise, drift)]
            h = 2 * (snr * norms[0] / norms[1]) ** 2
            x = x + h * drift + torch.sqrt(2 * h) * noise
            x_mean = x + gram(g2 * score)
            x = x_mean + g * filtered(p * z)
        return x_mean

    return run


def measure() -> dict[str, Any]:
    """Transforms of one predictor-corrector iteration, and seconds over those by hand."""
    import torch

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x, score, z = (torch.randn((BATCH, *SHAPE), generator=generator) for _ in range(3))
    spectrum = photo_field.spectrum(256, 3) / 4
    both = PDS.from_spectrum(spectrum, mean=0.5)
    # Pixels of a stationary field are all alike: a map that darkens to the corners instead.
    across = np.linspace(-1, 1, SHAPE[-1]) ** 2
    space = 5 / (1 - (across[:, None] + across) / 4 + 4)
    cases = {
        "frequency": both,
        "frequency and space": SpaceFrequency(SHAPE, both.frequency, space),
    }
    found: dict[str, Any] = {}
    for name, M in cases.items():
        plan = build_plan(
            PROCESS,
            "predictor-corrector",
            steps=STEPS - 1,
            grid="uniform",
            discretisation="score_sde",
            preconditioner=M,
            where="published",
            corrector="langevin" if M.space is None else "ald",  # expected norms need modes
        )
        found[name] = _compare(plan, M, x, score, z)
    return {"limit": LIMIT, "cases": found, "shape": SHAPE, "batch": BATCH}


def _compare(plan: Any, M: Any, x: Any, score: Any, z: Any) -> dict[str, Any]:
    import torch

    model, noise = Free(score), Ready(z)

    def ours() -> Any:
        return solve(plan, model, x, noise=noise).x

    r = torch.as_tensor(M.frequency, dtype=torch.float32)
    p = torch.as_tensor(np.ones(SHAPE) if M.space is None else M.space, dtype=torch.float32)
    published = by_hand(r, p, [(1.0, 1.0)] * STEPS, 0.075)
    with counted() as mine:
        out = ours()
    with counted() as theirs:
        published(x, score, z)
    assert out.dtype == torch.float32
    seconds = [float("inf")] * 2
    for _ in range(REPEATS):
        for i, run in enumerate((ours, lambda: published(x, score, z))):
            begin = time.process_time()
            run()
            seconds[i] = min(seconds[i], time.process_time() - begin)
    return {
        "transforms": {key: count / STEPS for key, count in mine.items()},
        "published": {key: count / STEPS for key, count in theirs.items()},
        "seconds": seconds[0] / STEPS,
        "published seconds": seconds[1] / STEPS,
        "ratio": seconds[0] / seconds[1],
    }
