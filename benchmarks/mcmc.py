"""Denoising MCMC: error against all calls of the model, with and without the chain.

    python benchmarks/mcmc.py [--out FILE.json] [--problems grid25 digits] [--seeds 2]

Six denoisers (KAR1, KAR2, probability flow, reverse diffusion, Euler-Maruyama, RK45), from the
prior N(0, 50^2) and from chains: the exact one (MALA, a draw of sigma, the last state), the
published one (constant step, most likely level, lowest state) with the exact posterior, and on the
digits with a small trained network of noise levels; and, for what denoising alone gains, from exact
draws of the joint law of (x, sigma), at no cost. Chains start as published, from the prior by
KAR2; every call counts: start, burn-in, steps, denoising. RK45 gets the published Tweedie step.

Errors, mean over seeds: sliced W2 to as many exact samples, total variation of the modes' weights
(of the digits: of the ten digits), and the mean square distance to the nearest mode over its exact
value. The floor is what exact samples have.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sgmsolve.problems import find

from sgmsolve.analysis.metrics import sliced_w2
from sgmsolve.mcmc import (
    Chain,
    Denoiser,
    ExactPosterior,
    NoiseLevelNetwork,
    denoise_run,
    exact_chain,
    exact_start,
    geometric_levels,
    published_chain,
    published_start,
    run_chains,
    train_level_network,
)

BUDGETS = {"grid25": (10, 15, 20, 30, 50, 100), "digits": (10, 15, 20, 30, 40, 50)}
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
FIXED = ("kar1", "kar2", "probability-flow", "reverse-diffusion", "euler-maruyama")
TOP = 50.0


def settings(name: str) -> dict[str, Any]:
    """Chains, how many and how long, and what a mode is."""
    problem = find(name)
    target = problem.target
    if name == "grid25":
        levels, eta, scale = geometric_levels(0.01, 0.5, 100), 0.02, 1.0
        modes, labels, width, size = target.means, np.arange(25), 0.03, (400, 40)
    else:
        from sklearn.datasets import load_digits

        levels, eta, scale = geometric_levels(0.05, 3.0, 60), 0.5, 0.5
        modes, labels, width, size = (
            target.data.reshape(-1, 64),
            load_digits().target,
            0.1,
            (100, 15),
        )
    chains = {
        "exact": exact_chain(target, levels, scale=scale, n_skip=2, burn_in=10),
        "published": published_chain(
            ExactPosterior(target, levels, draw="argmax"), step=eta, n_skip=5, burn_in=10
        ),
    }
    if name == "digits":
        net = train_level_network(target.sample(20000, 1), levels)
        assert isinstance(net, NoiseLevelNetwork)
        argmax = NoiseLevelNetwork(net.net, levels, draw="argmax")
        chains["published, network"] = published_chain(argmax, step=eta, n_skip=5, burn_in=10)
    return {
        "target": target,
        "model": target.model(problem.process),
        "chains": chains,
        "size": size,
        "levels": levels,
        "budgets": BUDGETS[name],
        "modes": (modes, labels, width),
    }


def errors(case: dict[str, Any], x: np.ndarray, seed: int) -> dict[str, float]:
    """What is wrong with samples."""
    modes, labels, width = case["modes"]
    flat = x.reshape(len(x), -1)
    square = np.sum(flat**2, 1)[:, None] + np.sum(modes**2, 1) - 2 * flat @ modes.T
    nearest = square.argmin(1)
    shares = [
        np.bincount(of, minlength=labels.max() + 1) / len(of) for of in (labels[nearest], labels)
    ]
    exact = case["target"].sample(len(x), seed=1000 + seed)
    return {
        "sw2": sliced_w2(x, exact, seed=seed),
        "tv": float(0.5 * np.abs(shares[0] - shares[1]).sum()),
        "variance": float(square.min(1).mean() / modes.shape[1] / width**2),
    }


def denoisers(budget: float) -> list[Denoiser]:
    """Those of a fixed number of steps that fit a budget."""
    out = []
    for name in FIXED:
        n = int((budget + 3) // 2 if name.startswith("kar") else budget)
        if n >= 3:
            out.append(Denoiser(name, n))
    return out


def rows_of(
    case: dict[str, Any],
    denoise: Callable[[Denoiser], tuple[np.ndarray, float]],
    spent: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Every denoiser at every budget, ``spent`` calls a sample being gone already."""
    wanted = [(d, b) for b in case["budgets"] for d in denoisers(b - spent)]
    wanted += [(Denoiser("rk45", tolerance=tol, tweedie=0.01), tol) for tol in TOLERANCES]
    out = []
    for denoiser, asked in wanted:
        x, nfe = denoise(denoiser)
        row = {"denoiser": denoiser.method, "asked": asked, "nfe": nfe}
        out.append({**row, **errors(case, x, seed)})
    return out


def plain(case: dict[str, Any], seed: int, joint: bool) -> list[dict[str, Any]]:
    """From the prior, or from independent draws of (x, sigma), which nobody has for nothing."""
    n = case["size"][0] * case["size"][1]
    rng = np.random.default_rng(seed)
    start, sigma = TOP * rng.standard_normal((n, *case["target"].shape)), np.full(n, TOP)
    if joint:
        start, sigma = exact_start(case["target"], case["levels"], chains=n, seed=seed)

    def denoise(denoiser: Denoiser) -> tuple[np.ndarray, float]:
        found = denoiser(case["model"], start, sigma, seed=seed)
        return found.x, float(np.mean(found.nfe))

    return rows_of(case, denoise, 0.0, seed)


def chained(case: dict[str, Any], chain: Chain, seed: int) -> list[dict[str, Any]]:
    """From a chain that starts as published."""
    chains, emissions = case["size"]
    start = published_start(
        *(case["model"], chain.sigma_step),
        **{"shape": case["target"].shape, "chains": chains, "sigma_max": TOP, "seed": seed},
    )
    run = run_chains(chain, case["model"], start, emissions=emissions, seed=seed, start_calls=37)
    spent = sum(run.calls.values()) / emissions

    def denoise(denoiser: Denoiser) -> tuple[np.ndarray, float]:
        found = denoise_run(run, case["model"], denoiser)
        return found.x, found.nfe.total

    made = rows_of(case, denoise, spent, seed)
    level = float(np.nanmedian(run.sigma))
    return [{**row, "spent": spent, "median level": level} for row in made]


def averaged(runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Mean over seeds of every number, and the spread of sliced W2."""
    out = []
    for same in zip(*runs, strict=True):
        row = {k: v for k, v in same[0].items() if isinstance(v, str) or k == "asked"}
        for key in same[0].keys() - row.keys():
            row[key] = round(float(np.mean([r[key] for r in same])), 5)
        row["sw2 spread"] = round(float(np.std([r["sw2"] for r in same], ddof=1)), 5)
        out.append(row)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--problems", nargs="+", default=["grid25", "digits"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows = []
    for name in given.problems:
        case, seeds = settings(name), range(given.seeds)
        n = case["size"][0] * case["size"][1]
        floor = [
            [{"denoiser": "exact", **errors(case, case["target"].sample(n, s), s)}] for s in seeds
        ]
        kinds = {"exact samples": averaged(floor)}
        print(name, kinds, flush=True)
        for kind, chain in {"none": None, "joint law": None, **case["chains"]}.items():
            begun = time.perf_counter()
            if chain is None:
                runs = [plain(case, s, joint=kind != "none") for s in seeds]
            else:
                runs = [chained(case, chain, s) for s in seeds]
            kinds[kind] = averaged(runs)
            print(f"{name} {kind}: {time.perf_counter() - begun:.0f} s", flush=True)
            for row in kinds[kind]:
                print("  ", row, flush=True)
        rows += [{"problem": name, "chain": k, **row} for k, made in kinds.items() for row in made]
    if given.out:
        lines = ",\n".join(json.dumps(row) for row in rows)
        given.out.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
