"""Gotta-Go-Fast against Euler-Maruyama at equal evaluations: a mixture and the digits, VP and VE.

    python benchmarks/gotta_go_fast.py [--out FILE.json] [--seeds 3]

For every tolerance: evaluations (mean and largest over samples, over seeds), and two errors of the
denoised samples against exact ones, mean and standard deviation over seeds: sliced W2, and the
variance about the nearest mode (of the digits: the nearest picture, smoothed) over its ideal value
v^2/(v + sigma(t_end)^2) after Tweedie.
"floor" is sliced W2 between exact sets. Euler-Maruyama has equal steps in t and as many evaluations
as Gotta-Go-Fast used on average, the last one for denoising, as in the paper.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from sgmsolve.problems import find

from sgmsolve import VE, VP, ReverseSDE, build_plan, solve
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.analysis.metrics import sliced_w2
from sgmsolve.target import Empirical, GaussianMixture

TOLERANCES = (0.01, 0.02, 0.05, 0.1, 0.5)
ANGLES = 2 * np.pi * np.arange(8) / 8
CENTRES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
WIDTH = 0.05


def cases() -> dict[str, dict[str, Any]]:
    """Targets in [-1, 1] for VP and in [0, 1] for VE, as the paper has its images."""
    known = find("digits").target
    digits, width = known.data.reshape(-1, 64), known.bandwidth
    weights = np.where(np.arange(8) % 2, 2.0, 1.0)
    vp, ve = (VP(), 1e-3, 0.0078), (VE(0.01, 50.0), 1e-5, 0.0039)
    return {
        "mixture VP": {
            "target": GaussianMixture(weights, 0.7 * CENTRES, WIDTH**2),
            "modes": (0.7 * CENTRES, WIDTH**2),
            "run": vp,
            "samples": 2000,
        },
        "mixture VE": {
            "target": GaussianMixture(weights, 0.5 + 0.35 * CENTRES, (WIDTH / 2) ** 2),
            "modes": (0.5 + 0.35 * CENTRES, (WIDTH / 2) ** 2),
            "run": ve,
            "samples": 2000,
        },
        "digits VP": {
            "target": Empirical(digits, bandwidth=width),
            "modes": (digits, width**2),
            "run": vp,
            "samples": 400,
        },
        "digits VE": {
            "target": Empirical((digits + 1) / 2, bandwidth=width / 2),
            "modes": ((digits + 1) / 2, (width / 2) ** 2),
            "run": ve,
            "samples": 400,
        },
    }


def variance_ratio(case: dict[str, Any], x: np.ndarray) -> float:
    """Variance about the nearest mode over what exact samples have after the last denoising."""
    (modes, v), (process, t_end, _) = case["modes"], case["run"]
    sigma2 = float(process.sigma(t_end)) ** 2
    nearest = np.array([((one - modes) ** 2).mean(axis=1).min() for one in x])
    return float(nearest.mean() / (v**2 / (v + sigma2)))


def errors(case: dict[str, Any], x: np.ndarray, seed: int) -> dict[str, float]:
    """Sliced W2 to an exact set, and the variance ratio."""
    exact = np.asarray(case["target"].sample(len(x), seed=1000 + seed)).reshape(len(x), -1)
    return {"sliced_w2": sliced_w2(x, exact, seed=seed), "variance": variance_ratio(case, x)}


def start(case: dict[str, Any], seed: int) -> np.ndarray:
    """The prior of the paper."""
    process = case["run"][0]
    n = int(np.prod(case["target"].shape))
    scale = 1.0 if isinstance(process, VP) else float(process.sigma(1.0))
    return scale * np.random.default_rng(seed).standard_normal((case["samples"], n))


def adaptive(case: dict[str, Any], rtol: float, seed: int, noise: str) -> dict[str, Any]:
    """One run of Gotta-Go-Fast."""
    process, t_end, atol = case["run"]
    sde = ReverseSDE(process, case["target"].model(process))
    more = {"grow": math.inf} if noise == "redraw" else {}
    found = solve_adaptive(
        *("gotta-go-fast", sde, start(case, seed), 1.0, t_end),
        **{"rtol": rtol, "atol": atol, "noise": noise, "seed": seed, "denoise": True, **more},
    )
    tried = found.accepted + found.rejected
    counts = {"nfe": float(found.nfe.mean()), "largest": int(found.nfe.max())}
    counts["published"] = float(2 * tried.mean())
    return {
        **counts,
        "rejected": float(found.rejected.sum() / tried.sum()),
        **errors(case, found.x, seed),
    }


def euler(case: dict[str, Any], nfe: int, seed: int) -> dict[str, Any]:
    """Euler-Maruyama with equal steps and ``nfe`` evaluations."""
    process, t_end, _ = case["run"]
    times = np.linspace(1.0, t_end, max(2, nfe))
    plan = build_plan(process, "euler-maruyama", grid=times, denoise=True)
    model = case["target"].model(process)
    made = solve(plan, model, start(case, seed), seed=seed)
    return {"nfe": plan.nfe, **errors(case, made.x, seed)}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of everything."""
    out: dict[str, Any] = {}
    for key in runs[0]:
        values = [r[key] for r in runs]
        out[key] = [float(np.mean(values)), float(np.std(values, ddof=1))]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    rows = []
    for name, case in cases().items():
        seeds = range(given.seeds)
        shots = [case["target"].sample(case["samples"], seed=2000 + s) for s in seeds]
        floor = summary([errors(case, np.reshape(x, (len(x), -1)), s) for s, x in enumerate(shots)])
        rows.append({"case": name, "method": "exact samples", **floor})
        for rtol in TOLERANCES:
            for noise in ("bridge", "redraw"):
                runs = [adaptive(case, rtol, s, noise) for s in seeds]
                row = {"case": name, "method": f"ggf {noise}", "rtol": rtol, **summary(runs)}
                rows.append(row)
                print(row, flush=True)
                if noise == "bridge":
                    nfe = round(row["nfe"][0])
                    same = summary([euler(case, nfe, s) for s in seeds])
                    rows.append({"case": name, "method": "em", "rtol": rtol, **same})
                    print(rows[-1], flush=True)
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
