"""Tables 5.1, 5.2 and 5.5 of our study of PDS and TDAS: single modes; see preconditioning.py."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from preconditioning_spec import STUDIES, field, mask
from scipy.optimize import brentq
from scipy.special import hyp2f1

from sgmsolve import VE, VP, Gaussian, build_plan
from sgmsolve.analysis import exact
from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import Scalar, Spectral, gain_rule, noise_rule

LIMIT_MODES = {
    "VE": [(lam, m) for lam in (10.0, 0.0053) for m in (0.8, 1.1, 1.25, 1.4)],
    "VP": [(lam, m) for lam in (4.0, 0.25, 0.02) for m in (0.8, 1.25)],
}
LIMIT_STEPS = (1000, 10_000)
DATASETS = {
    "CIFAR-10 32": (50.0, 0.16),
    "CelebA 64": (90.0, 0.17),
    "LSUN 256": (378.0, 0.075),
    "FFHQ 1024": (1348.0, 0.15),
}
LEVEL_STEPS = (50, 66, 100, 125, 166, 200, 400, 1000, 2000)


def limit_theory(name: str, lam: float, m: float) -> float:
    """v(0)/lambda of PDS as T grows, for exact scores."""
    a = m * m
    if name == "VP":
        return float(lam ** (2 * a - 1) * hyp2f1(2 * a, a, a + 1, 1 - lam))
    left = lam / (lam + 2500)
    return a / (2 * a - 1) * (1 - left ** (2 * a - 1)) + a * 2500 / lam * left ** (2 * a)


def limit(name: str, lam: float, m: float, where: str, steps: int) -> float:
    """v(0)/lambda of one mode, predictor only; the last step's noise is kept (VE's is nothing)."""
    process = VE(sigma_min=1e-4, sigma_max=50.0) if name == "VE" else VP()
    target = Gaussian([0.0], [lam])
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=steps - 1,
        grid="uniform",
        grid_options={"t_min": 1e-5 if name == "VE" else 1 / steps},
        discretisation="score_sde",
        corrector="none",
        preconditioner=Scalar(m),
        where=where,
        final="predictor",
    )
    made = exact.output_moments(plan, target, process, start="prior").variance[0, 0]
    return float(made + m**2 * (1e-8 if name == "VE" else 0.1 / steps)) / lam


def limits() -> list[dict[str, Any]]:
    """5.1: PDS and the exact split on single modes of VE (1e-4 to 50) and VP as steps shrink."""
    rows = []
    for name, cases in LIMIT_MODES.items():
        for lam, m in cases:
            row = {"sde": name, "lambda": lam, "m": m, "theory": limit_theory(name, lam, m)}
            for where in ("published", "exact-split"):
                row[where] = [limit(name, lam, m, where, steps) for steps in LIMIT_STEPS]
            rows.append(row)
    return rows


def level(steps: int, span: float, snr: float | None, choice: dict[str, Any]) -> float:
    """r = v/sigma^2 that the predictor's network is fed at the end of a run on no signal.

    The plan gives the variance after the predictor; one more corrector step is in closed form.
    """
    process, noise = VE(sigma_min=0.01, sigma_max=0.01 * span), Gaussian([0.0], [1e-14])
    options = {"corrector": "none"}
    if snr is not None:
        options = {"corrector": "langevin", "snr": snr, "norms": "propagated", "spectrum": noise}
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=steps - 1,
        grid="uniform",
        grid_options={"t_min": 0.0},
        discretisation="score_sde",
        final="none",
        **options,
        **choice,
    )
    r = float(exact.output_moments(plan, noise, process, start="prior").variance[0, 0]) / 1e-4
    if snr is None:
        return r
    g2 = choice["preconditioner"].scalar ** 2 if choice.get("where") == "noise" else 1.0
    k = 2 * snr**2 * g2 / r
    return (1 - k) ** 2 * r + 2 * k * g2


def _gain_for(steps: int, span: float, snr: float, where: str) -> float | None:
    """The gain with which r = 1, the smallest above 1 for PDS; None without one."""

    def excess(m: float) -> float:
        return level(steps, span, snr, {"preconditioner": Scalar(m), "where": where}) - 1

    grid = np.linspace(1.0, 1.45, 31) if where == "published" else np.linspace(0.7, 1.05, 15)
    for one, two in itertools.pairwise(grid):
        if excess(one) * excess(two) <= 0:
            return float(brentq(excess, one, two, xtol=1e-5))
    return None


def levels() -> list[dict[str, Any]]:
    """5.2: the noise level that networks are fed, and the gains that make it right."""
    rows = []
    for name, (sigma_max, snr) in DATASETS.items():
        span = sigma_max / 0.01
        for steps in LEVEL_STEPS:
            pds = [{"preconditioner": Scalar(m), "where": "published"} for m in (1.19, 1.25)]
            try:
                alone = gain_rule(steps, 0.01, sigma_max)
            except PreconditionError:
                alone = None
            values = [
                level(steps, span, None, {}),
                level(steps, span, snr, {}),
                *(level(steps, span, snr, choice) for choice in pds),
                alone,
                _gain_for(steps, span, snr, "published"),
                noise_rule(steps, 0.01, sigma_max, "network"),
                _gain_for(steps, span, snr, "noise"),
            ]
            rows.append({"data": name, "steps": steps, "values": values})
    return rows


def langevin() -> list[dict[str, Any]]:
    """5.5: one corrector step (snr 0.16) at a fixed level, in the law that it should keep."""
    target, process = field(2.0), VE(sigma_min=0.001, sigma_max=100.0)
    rows = []
    for sigma in (50.0, 1.0, 0.1, 0.01):
        c = target.eigenvalues + sigma**2
        textbook = Spectral(target.transform, np.sqrt(c / c.max()))
        pds = mask(STUDIES["VE-50"], 5.0)
        t = math.log(sigma / 0.001) / math.log(1e5)
        for name, M in (("I", Scalar(1.0)), ("PDS α=5", pds), ("M∝Σ_t^½", textbook)):
            plan = build_plan(
                process,
                "predictor-corrector",
                grid=[t, t - 1e-6],
                predictor="none",
                snr=0.16,
                spectrum=target,
                preconditioner=M,
                where="corrector",
                final="none",
            )
            h = sum(float(np.sum(part.kick[0])) for part in (plan, *plan.parts))
            rate = h * (np.ones_like(c) if M.scalar else M.eigenvalues**2) / c
            row = {"sigma": sigma, "M": name, "h": h, "kappa": rate.max() / rate.min()}
            row |= {"iterations": 1 / rate.min(), "worst": 1 / (1 - rate.max() / 2)}
            rows.append({key: v if key == "M" else float(v) for key, v in row.items()})
    return rows
