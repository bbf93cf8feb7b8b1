"""Noise-calibrated reverse diffusion against plain samplers, on exact scores and without sampling.

    python benchmarks/calibrated.py [--out FILE]

Gaussian: W2 a pixel on a 64x64 field (power 1/f^2, pixel std 0.25; 0.5 under VP and sub-VP), T rows
from the prior, the last one the noise-free mean of the data (with a corrector 2 T). Mixture: error
of E cos(2 x) on 0.3 N(-1, 0.1) + 0.7 N(1.2, 0.2) from sigma = 2 to 0.4, a geometric grid, by
quadrature.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import CubicSpline

from sgmsolve import EDM, VE, VP, GaussianField, SubVP, build_plan
from sgmsolve.analysis import exact
from sgmsolve.plan import Plan
from sgmsolve.precondition import Scalar

COUNTS = (20, 50, 100, 200, 500, 1000)
SIZE = 64
SETTINGS: dict[str, tuple[Any, str, float, float]] = {
    "VE 0.01-50, geometric": (VE(0.01, 50.0), "uniform", 0.0, 0.0625),
    "VE 0.01-348, geometric": (VE(0.01, 348.0), "uniform", 0.0, 0.0625),
    "EDM, Karras": (EDM(), "karras", 0.002, 0.0625),
    "VP, uniform": (VP(), "uniform", 1e-3, 0.25),
    "sub-VP, uniform": (SubVP(), "uniform", 1e-3, 0.25),
    "VP, log-SNR": (VP(), "log-snr", 1e-3, 0.25),
}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "reverse diffusion": ("reverse-diffusion", {}),
    "ancestral": ("ancestral", {}),
    "ancestral, large noise": ("ancestral", {"variance": "large"}),
    "calibrated": ("calibrated", {}),
    "calibrated, ratio": ("calibrated", {"rule": "ratio"}),
    "DDIM": ("ddim", {}),
    "SDE-DPM-Solver++(2M)": ("sde-dpm++2m", {}),
    "DPM-Solver++(2M)": ("dpm++2m", {}),
}
WEIGHTS, MEANS, VARIANCES = np.array([0.3, 0.7]), np.array([-1.0, 1.2]), np.array([0.1, 0.2])


def gaussian() -> list[dict[str, Any]]:
    """Rows of W2 a pixel; the scalar preconditioners of the closed-form rules on VE alone."""
    rows = []
    for setting, (process, grid, t_min, variance) in SETTINGS.items():
        target = GaussianField.power_law((SIZE, SIZE), 2.0, variance)
        common: dict[str, Any] = {"grid": grid, "grid_options": {"t_min": t_min}}

        def measure(plan: Plan, process: Any = process, target: Any = target) -> float:
            return float(exact.error(plan, target, process, start="prior")) / SIZE

        for name, (method, options) in METHODS.items():
            found = {
                T: measure(
                    build_plan(process, method, steps=T - 1, denoise=True, **common, **options)
                )
                for T in COUNTS
            }
            rows.append({"setting": setting, "method": name, "w2": found})
        if isinstance(process, VE):
            for share, name in ((4, "scalar m = 1 + q/4"), (2, "scalar m = 1 + q/2")):
                found = {T: measure(_scalar(process, T, share, common)) for T in COUNTS}
                rows.append({"setting": setting, "method": name, "w2": found})
        for snr in (0.16, 0.075):
            for predictor in ("reverse-diffusion", "ancestral", "calibrated"):
                options = {"predictor": predictor, "snr": snr, "spectrum": target}
                options["norms"] = "propagated"
                found = {
                    T: measure(build_plan(process, "pc", steps=T - 1, **common, **options))
                    for T in COUNTS
                }
                name = f"{predictor}, Langevin snr {snr:g}"
                rows.append({"setting": setting, "method": name, "w2": found})
    return rows


def _scalar(process: VE, T: int, share: int, common: dict[str, Any]) -> Plan:
    q = 1 - (process.sigma_min / process.sigma_max) ** (2 / (T - 1))
    m = Scalar(1 + q / share)
    options: dict[str, Any] = {"corrector": "none", "where": "published", "preconditioner": m}
    return build_plan(process, "pc", steps=T - 1, **common, **options)


def orders() -> list[dict[str, Any]]:
    """Weak orders between 400 and 800 steps: a Gaussian's variance, and the mixture (32 to 64)."""
    rows = []
    for name, options in (
        ("plain", None),
        ("calibrated", {}),
        ("half start", {"half_start": True}),
    ):
        method = "reverse-diffusion" if options is None else "calibrated"
        given = options or {}
        for setting, (process, grid, _, variance) in SETTINGS.items():
            target = GaussianField.power_law((8, 8), 2.0, variance)
            made = {"grid": grid, "grid_options": {"t_min": 0.02}}
            errors = [
                exact.error(
                    build_plan(process, method, steps=n, **made, **given),
                    target,
                    process,
                    "variance",
                )
                for n in (400, 800)
            ]
            slope = float(np.log2(errors[0] / errors[1]))
            rows.append({"method": name, "setting": setting, "errors": errors, "order": slope})
        errors = [abs(mixture_error(method, n, **given)) for n in (32, 64)]
        slope = float(np.log2(errors[0] / errors[1]))
        rows.append({"method": name, "setting": "mixture", "errors": errors, "order": slope})
    return rows


def mixture_error(method: str, steps: int, **options: Any) -> float:
    """Found minus exact E cos(2 x), the plan run backwards on a function of x."""
    plan = build_plan(EDM(), method, grid=np.geomspace(2.0, 0.4, steps + 1), **options)
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    weights = weights / weights.sum()
    x = np.linspace(-16, 16, 1601)
    u = np.cos(2 * x)
    for r in reversed(range(plan.rows)):
        mean = plan.move[r, 0, 0] * x + plan.kick[r, 0, 0, 0] * _score(x, float(plan.t[r]))
        u = CubicSpline(x, u)(mean[:, None] + plan.noise[r, 0, 0] * nodes) @ weights
    wide = VARIANCES + 4 + float((plan.prelude_noise**2).sum())
    found = weights @ CubicSpline(x, u)(MEANS + np.sqrt(wide) * nodes[:, None]) @ WEIGHTS
    wanted = WEIGHTS @ (np.cos(2 * MEANS) * np.exp(-2 * (VARIANCES + 0.16)))
    return float(found - wanted)


def _score(x: np.ndarray, t: float) -> np.ndarray:
    c, d = VARIANCES + t**2, x[:, None] - MEANS
    logs = np.log(WEIGHTS / np.sqrt(c)) - d**2 / (2 * c)
    share = np.exp(logs - logs.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(-(share * d / c).sum(axis=1))


def markdown(rows: list[dict[str, Any]], show: Callable[[float], str]) -> str:
    """One table a setting."""
    lines = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        lines += [f"| {setting} | " + " | ".join(f"T={T}" for T in COUNTS) + " |"]
        lines += ["|---" * (len(COUNTS) + 1) + "|"]
        for row in rows:
            if row["setting"] == setting:
                cells = " | ".join(show(row["w2"][T]) for T in COUNTS)
                lines.append(f"| {row['method']} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/calibrated.json"))
    given = parser.parse_args()
    rows, measured = gaussian(), orders()
    print(markdown(rows, lambda v: f"{v:.5f}"))
    for row in measured:
        print(f"{row['method']:12} {row['setting']:24} order {row['order']:.2f}")
    given.out.write_text(json.dumps({"gaussian": rows, "orders": measured}, indent=1) + "\n")


if __name__ == "__main__":
    main()
