"""What an adapter adds to a solver of torchsde or diffrax: ratios, measured in one run.

    python benchmarks/adapters.py [--json FILE] [--seed N]

``solve_with`` against the same call written by hand, on the same Brownian path, one thread. The
network is a perceptron on (256, 64) float32 states; ``bare`` is the exact model of a Gaussian,
which costs next to nothing, so that its ratio shows the overhead itself. The numbers must agree to
rounding. diffrax calls are compiled before they are timed; the best of several interleaved repeats
counts, so that a busy machine hurts both sides.

Limit: 1.1 with the network. Without it the ratio is printed for what it is.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve import VP, as_model
from sgmsolve.adapters import solve_with
from sgmsolve.reverse import ProbabilityFlow, ReverseSDE

PROCESS, BATCH, SIZE, WIDTH = VP(), 256, 64, 512
START, END, STEPS, REPEATS = 1.0, 0.1, 32, 15
FOR_TORCH = ("euler", "srk")
FOR_DIFFRAX = ("euler", "sra1", "tsit5")
TOLERANCE = 1e-4
"""Relative difference of the results: float32, and sums in another order."""

LIMITS = {
    f"{library}:{name}_network_over_by_hand": 1.1
    for library, names in (("torchsde", FOR_TORCH), ("diffrax", FOR_DIFFRAX))
    for name in names
}


def weights(seed: int) -> list[np.ndarray]:
    """Three layers, float32."""
    rng = np.random.default_rng(seed)
    sizes = (SIZE, WIDTH, WIDTH, SIZE)
    pairs = itertools.pairwise(sizes)
    return [(rng.standard_normal(s) / math.sqrt(s[0])).astype(np.float32) for s in pairs]


def noise_model(xp: Any, layers: list[Any] | None) -> Callable[[Any, Any], Any]:
    """eps(x, t): the perceptron, or the exact one of data N(0, 1/4) without layers."""

    def network(x: Any, t: Any) -> Any:
        a, b, c = layers or ()
        return xp.tanh(xp.tanh(x @ a) @ b) @ c

    def bare(x: Any, t: Any) -> Any:
        alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
        return sigma / (0.25 * alpha**2 + sigma**2) * x

    return network if layers else bare


def interleaved(
    ours: Callable[[], Any], by_hand: Callable[[], Any], repeats: int
) -> tuple[float, float]:
    """Least processor seconds of each, all threads together, taken in turns."""
    found = [math.inf, math.inf]
    for _ in range(repeats):
        for i, f in enumerate((ours, by_hand)):
            begin = time.process_time()
            f()
            found[i] = min(found[i], time.process_time() - begin)
    return found[0], found[1]


def figures_of(
    name: str, what: str, ours: Callable[[], Any], by_hand: Callable[[], Any], repeats: int
) -> dict[str, float]:
    """Ratio and the milliseconds by hand; RuntimeError if the numbers differ."""
    a, b = np.asarray(ours()), np.asarray(by_hand())
    gap = float(abs(a - b).max() / abs(b).max())
    if not gap < TOLERANCE:
        msg = (
            f"{name} ({what}): the adapter and the call by hand differ by {gap:.1e} of the largest."
        )
        raise RuntimeError(msg)
    through, hand = interleaved(ours, by_hand, repeats)
    key = f"{name}_{what}"
    return {f"{key}_over_by_hand": through / hand, f"{key}_ms": 1e3 * hand}


def torch_calls(name: str, what: str, seed: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """torchsde through the adapter, and by hand."""
    import torch
    import torchsde

    torch.set_num_threads(1)
    layers = [torch.tensor(w) for w in weights(seed)] if what == "network" else None
    net = noise_model(torch, layers)
    x = torch.tensor(np.random.default_rng(seed).standard_normal((BATCH, SIZE)).astype(np.float32))
    reverse = ReverseSDE(PROCESS, as_model(net, PROCESS, predicts="noise"))
    area = "space-time" if name == "srk" else "none"
    dt = (START - END) / STEPS * (1 + 1e-12)

    class ByHand:
        sde_type, noise_type = "ito", "additive"

        def f(self, tau: Any, y: Any) -> Any:
            t = -float(tau)
            beta = PROCESS.beta(t)
            return 0.5 * beta * y - beta / PROCESS.sigma(t) * net(y, t)

        def g_prod(self, tau: Any, y: Any, v: Any) -> Any:
            return math.sqrt(PROCESS.beta(-float(tau))) * v

    def by_hand() -> Any:
        bm = torchsde.BrownianInterval(
            -START, -END, x.shape, x.dtype, entropy=0, levy_area_approximation=area
        )
        ts = torch.tensor([-START, -END], dtype=torch.float64)
        with torch.no_grad():
            return torchsde.sdeint(ByHand(), x, ts, bm=bm, method=name, dt=dt)[-1]

    def ours() -> Any:
        with torch.no_grad():
            return solve_with(f"torchsde:{name}", reverse, x, START, END, steps=STEPS).x

    return ours, by_hand


def diffrax_calls(name: str, what: str, seed: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """diffrax through the adapter, and by hand."""
    import diffrax
    import jax
    import jax.numpy as jnp
    import lineax

    layers = [jnp.asarray(w) for w in weights(seed)] if what == "network" else None
    net = noise_model(jnp, layers)
    x = jnp.asarray(np.random.default_rng(seed).standard_normal((BATCH, SIZE)), jnp.float32)
    model, ode = as_model(net, PROCESS, predicts="noise"), name == "tsit5"
    sde = ProbabilityFlow(PROCESS, model) if ode else ReverseSDE(PROCESS, model)
    solver = {"euler": diffrax.Euler, "sra1": diffrax.SRA1, "tsit5": diffrax.Tsit5}[name]()
    amount = 0.5 if ode else 1.0

    def drift(tau: Any, y: Any, args: Any) -> Any:
        beta = PROCESS.beta(-tau)
        return 0.5 * beta * y - amount * beta / PROCESS.sigma(-tau) * net(y, -tau)

    def diffusion(tau: Any, y: Any, args: Any) -> Any:
        return lineax.DiagonalLinearOperator(jnp.sqrt(PROCESS.beta(-tau)) * jnp.ones_like(y))

    like = (jax.ShapeDtypeStruct(x.shape, x.dtype),)
    shared = diffrax.VirtualBrownianTree(
        -START, -END, 2.0**-14, like, jax.random.key(0), levy_area=diffrax.SpaceTimeLevyArea
    )
    ts = jnp.linspace(-START, -END, STEPS + 1, dtype=x.dtype)

    class OneArray(diffrax.AbstractBrownianPath):
        """The path that ours follows, which holds a tuple of one array."""

        t0: float = -START
        t1: float = -END
        levy_area = diffrax.SpaceTimeLevyArea

        def evaluate(
            self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False
        ) -> Any:
            made = shared.evaluate(t0, t1, left, use_levy=use_levy)
            return (
                diffrax.SpaceTimeLevyArea(dt=made.dt, W=made.W[0], H=made.H[0])
                if use_levy
                else made[0]
            )

    terms: Any = diffrax.ODETerm(drift)
    if not ode:
        terms = diffrax.MultiTerm(terms, diffrax.ControlTerm(diffusion, OneArray()))

    def by_hand() -> Any:
        controller = diffrax.StepTo(ts=ts)
        made = diffrax.diffeqsolve(
            terms, solver, ts[0], ts[-1], None, x, stepsize_controller=controller
        )
        return jax.block_until_ready(made.ys)[0]

    more = {} if ode else {"brownian": shared}

    def ours() -> Any:
        made = solve_with(f"diffrax:{name}", sde, x, START, END, steps=STEPS, **more)
        return jax.block_until_ready(made.x)

    return ours, by_hand


def measure(seed: int, repeats: int = REPEATS) -> dict[str, float]:
    """All figures."""
    out: dict[str, float] = {}
    for what in ("network", "bare"):
        for name in FOR_TORCH:
            calls = torch_calls(name, what, seed)
            out |= figures_of(f"torchsde:{name}", what, *calls, repeats)
        for name in FOR_DIFFRAX:
            calls = diffrax_calls(name, what, seed)
            out |= figures_of(f"diffrax:{name}", what, *calls, repeats)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--seed", type=int, default=0, help="of the network and the state")
    given = parser.parse_args()
    figures = measure(given.seed)
    for name, value in figures.items():
        limit = f"  (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{name:45s} {value:10.3f}{limit}")
    if given.json:
        given.json.write_text(json.dumps({"figures": figures, "limits": LIMITS}, indent=1))


if __name__ == "__main__":
    main()
