"""Steps saved at equal error on field and photo-field (exactly) and digits (by samples).

See preconditioning.py. Every run ends with the noise-free mean of the data. Runs on the fields
start from the exact marginal, which leaves errors of the steps only; where a method filters its
prior as published, M multiplies that start. "plain" is reverse diffusion with exact transitions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from preconditioning_spec import steps_for
from sgmsolve.problems import find

from sgmsolve import VE, VP, build_plan, solve
from sgmsolve.analysis import exact
from sgmsolve.errors import SgmsolveError
from sgmsolve.precondition import PDS, TDAS, Scalar, alpha_rule, noise_rule
from sgmsolve.precondition.fit import GaussianFit

PROBLEMS = ("field", "photo-field")
STEPS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
LONG = tuple(sorted({*STEPS, *np.geomspace(2, 8000, 40).round().astype(int).tolist()}))
DIGIT_STEPS = (5, 10, 20, 50, 100, 200, 500)
DIGIT_LONG = (5, 7, 10, 14, 20, 28, 40, 50, 70, 100, 140, 200, 280, 400, 500, 800, 1600)
SAMPLES = 400
FLOOR = 0.01
"""Errors of the variance on digits below which nothing can be told."""
GRIDS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "VE, geometric": (VE(sigma_min=0.01, sigma_max=50.0), "log-snr", {"t_min": 0.0}),
    "VP, geometric": (VP(), "log-snr", {"t_min": 1e-3}),
    "VP, uniform": (VP(), "uniform", {"t_min": 1e-3}),
}
"""Process, grid and its options: geometric in sigma/alpha, or equal steps in t."""

Mask = Callable[[float], PDS]


def choices(mask: Mask, shape: tuple[int, ...], fit: Any) -> dict[str, Callable[..., Any]]:
    """Name -> (steps, smallest and largest sigma/alpha) -> (method, options)."""

    def pc(M: Any, where: str) -> tuple[str, dict[str, Any]]:
        options = {"corrector": "none", "preconditioner": M, "where": where}
        return "predictor-corrector", options

    def half(n: int, low: float, high: float) -> Scalar:
        return Scalar(noise_rule(n, low, high))

    return {
        "plain": lambda *_: ("predictor-corrector", {"corrector": "none"}),
        "PDS, α = 5": lambda *_: pc(mask(5.0), "published"),
        "PDS, α(T)": lambda n, low, high: pc(mask(alpha_rule(n, low, high)), "published"),
        "TDAS, disc": lambda *_: pc(TDAS.disc(shape, 0.2, 0.9), "noise"),
        "TDAS, γ(T)": lambda n, low, high: pc(half(n, low, high), "noise"),
        "exact split": lambda *_: pc(mask(5.0), "exact-split"),
        "calibrated": lambda *_: ("calibrated-reverse-diffusion", {"denoise": True}),
        "target-aware": lambda *_: ("target-aware", {"fit": fit, "denoise": True}),
    }


def plan_for(process: Any, grid: str, more: dict[str, Any], steps: int, choose: Any) -> Any:
    """A plan of ``steps`` evaluations, the last one for the mean."""
    low, high = float(process.rho(max(more["t_min"], 0.0))), float(process.rho(process.t_max))
    method, options = choose(steps, low, high)
    plan = build_plan(process, method, steps=steps - 1, grid=grid, grid_options=more, **options)
    assert plan.nfe == steps, (method, steps, plan.nfe)
    return plan


def pictures_mask(target: Any) -> Mask:
    """Masks of a field as pictures in [0, 1]: scaled to pixel standard deviation 0.25, mean 0.5."""
    power = target.eigenvalues.reshape(target.shape)
    power = power * 0.25**2 / power.mean()
    return lambda alpha: PDS.from_spectrum(power, mean=0.5, alpha=alpha)


def exactly(name: str) -> list[dict[str, Any]]:
    """W2 a pixel over the pixel's standard deviation, and savings, on a problem and all grids."""
    target = find(name).target
    scale = math.sqrt(target.eigenvalues.sum())
    menu = choices(pictures_mask(target), target.shape, target)
    found = []
    for title, (process, grid, more) in GRIDS.items():

        def error(steps: int, choose: Any) -> float | None:
            try:
                plan = plan_for(process, grid, more, steps, choose)  # noqa: B023
            except SgmsolveError:  # too few steps for a rule
                return None
            return exact.error(plan, target, process) / scale  # noqa: B023

        plain = {n: error(n, menu["plain"]) for n in LONG}
        rows = []
        for label, choose in menu.items():
            # One step is exact for the target-aware: more are the same to rounding.
            most = 50 if label == "target-aware" else STEPS[-1]
            values = [error(n, choose) if n <= most else None for n in STEPS]
            rows.append({"choice": label, "error": values, "saving": savings(plain, values, STEPS)})
        found.append({"problem": name, "grid": title, "steps": STEPS, "rows": rows})
    return found


def savings(plain: Any, values: Any, steps: Any) -> list[float | str | None]:
    """Steps of the plain sampler with the same error over those taken; "inf", "<" as elsewhere."""
    out: list[float | str | None] = []
    for n, value in zip(steps, values, strict=True):
        if value is None:
            out.append(None)
            continue
        needed = steps_for(plain, value)
        if needed is None:
            out.append("inf")
        else:
            out.append(needed / n if needed > 0 else f"<{-needed / n:.2g}")
    return out


def digits() -> dict[str, Any]:
    """Variance about the nearest digit over what it should be, by samples, and savings.

    The error is |ratio - 1|. As the ratio is a mean over 64 pixels of every sample, it is known to
    FLOOR; smaller errors count as that. Sliced W2 of so few samples could not tell methods apart.
    """
    problem = find("digits")
    target, process = problem.target, problem.process
    pictures = (target.data + 1) / 2
    menu = choices(
        lambda alpha: PDS.from_images(pictures, alpha=alpha),
        target.shape,
        GaussianFit.from_target(target),
    )
    model, modes = target.model(process), target.data.reshape(-1, 64)
    start = problem.marginal(SAMPLES, process.t_max, seed=0)

    def ratio(steps: int, choose: Any) -> float | None:
        try:
            plan = plan_for(process, "log-snr", {"t_min": problem.t_end}, steps, choose)
        except SgmsolveError:
            return None
        x = solve(plan, model, start, seed=1).x.reshape(-1, 64)
        nearest = [((one - modes) ** 2).mean(axis=1).min() for one in x]
        return float(np.mean(nearest)) / target.bandwidth**2

    def wrong(value: float | None) -> float | None:
        return None if value is None else max(abs(value - 1), FLOOR)

    plain = {n: ratio(n, menu["plain"]) for n in DIGIT_LONG}
    errors = {n: wrong(value) for n, value in plain.items()}
    rows = []
    for label, choose in menu.items():
        values = [ratio(n, choose) for n in DIGIT_STEPS]
        saved = savings(errors, [wrong(v) for v in values], DIGIT_STEPS)
        at_floor = [v is not None and abs(v - 1) <= FLOOR for v in values]
        told = [
            f">{s:.2g}" if low and isinstance(s, float) else s
            for s, low in zip(saved, at_floor, strict=True)
        ]
        rows.append({"choice": label, "ratio": values, "saving": told})
    return {"steps": DIGIT_STEPS, "plain": plain, "rows": rows, "samples": SAMPLES}
