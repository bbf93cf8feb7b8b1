"""Tables 5.3, 5.4 and 5.6 to 5.8 of our study of PDS and TDAS; see preconditioning.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from preconditioning_spec import (
    BANDS,
    CHOICES,
    LONG,
    SEARCHES,
    STEPS,
    STUDIES,
    Study,
    bands,
    best,
    field,
    mask,
    steps_for,
    ve,
    w2,
)

from sgmsolve.errors import SgmsolveError
from sgmsolve.precondition import Scalar, Spectral, alpha_rule, noise_rule

WINDOWS = {
    50.0: (None, 0.16),
    348.0: (None, 0.075),
    1348.0: (None, 0.15),
}
SHOWN = ("plain", "PDS α=5 (released)", "ancestral")
"""Choices whose standard deviations at low and high frequencies are recorded."""
PROFILED = (
    "plain",
    "PDS α=5 (released)",
    "PDS α(T)",
    "TDAS disc r=0.2, g=0.9",
    "TDAS γ(T)",
    "exact split, α=5 mask",
)


def curve(study: Study) -> dict[int, float]:
    """W2 of the plain sampler against T."""
    return {n: w2(study, n, {}) for n in LONG if n >= study.least}


def or_why(call: Callable[[], float]) -> float | str:
    """A number, or the sentence with which it is refused."""
    try:
        return call()
    except SgmsolveError as reason:
        return str(reason)


def errors(key: str) -> dict[str, Any]:
    """5.3, 5.4: W2 a pixel of every choice and the savings, and the best of four families."""
    study = STUDIES[key]
    plain = curve(study)
    rows = []
    for name, choose in CHOICES.items():
        choice = choose(study)
        found = [or_why(lambda n=n: w2(study, n, choice)) for n in STEPS]  # noqa: B023
        row: dict[str, Any] = {"choice": name, "w2": found}
        if name in SHOWN:
            row["bands"] = [
                None if isinstance(e, str) else bands(study, n, choice)
                for n, e in zip(STEPS, found, strict=True)
            ]
        rows.append(row)
    for family in SEARCHES:
        pairs = [best(study, n, family) for n in STEPS]
        rows.append({"choice": family, "w2": [e for _, e in pairs], "at": [p for p, _ in pairs]})
    for row in rows:
        row["saving"] = [
            None if isinstance(e, str) or not math.isfinite(e) else saving(plain, e, n)
            for n, e in zip(STEPS, row["w2"], strict=True)
        ]
    return {"study": study.title, "steps": STEPS, "plain": plain, "rows": rows}


def saving(plain: dict[int, float], error: float, steps: int) -> float | str:
    """Steps of the plain sampler with that error over ``steps``.

    "inf": it never has it; "<x": it has less at the smallest T tried.
    """
    needed = steps_for(plain, error)
    if needed is None:
        return "inf"
    return needed / steps if needed > 0 else f"<{-needed / steps:.2g}"


def windows() -> list[dict[str, Any]]:
    """5.6: up to which T a fixed alpha beats the plain sampler, and the best saving below."""
    rows = []
    for sigma_max, choices in WINDOWS.items():
        for snr in choices:
            study = ve(sigma_max, snr, 1000 if sigma_max == 50 else 2000, "")
            plain = {n: w2(study, n, {}) for n in LONG if n <= 1000}
            for alpha in (3.0, 5.0, 10.0):
                M = {"preconditioner": mask(study, alpha)}
                low, high = 15, 600
                while high - low > 1:
                    middle = (low + high) // 2
                    wins = w2(study, middle, M) < w2(study, middle, {})
                    low, high = (middle, high) if wins else (low, middle)
                tried = np.unique(np.geomspace(15, low, 30).round().astype(int)).tolist()
                gains = {n: saving(plain, w2(study, n, M), n) for n in tried}
                known = {n: g for n, g in gains.items() if isinstance(g, float)}
                at = max(known, key=lambda n: known[n])
                row = {"sigma_max": sigma_max, "snr": snr, "alpha": alpha, "below": high}
                rows.append({**row, "saving": known[at], "at": at})
    return rows


def rules() -> list[dict[str, Any]]:
    """5.7: rules in closed form, predictor only."""
    rows = []
    for key in ("VE-50", "VE-348"):
        study = STUDIES[key]
        low, high = study.process.sigma_min, study.process.sigma_max
        for n in STEPS:
            q = -math.expm1(-2 * math.log(high / low) / (n - 1))
            half = {"preconditioner": Scalar(noise_rule(n, low, high)), "where": "noise"}
            choices = [{}, {"predictor": "ancestral"}, half]
            choices += [{"preconditioner": Scalar(1 + q * share)} for share in (0.25, 0.5)]
            rows.append(
                {"study": key, "steps": n, "q": q, "w2": [w2(study, n, c) for c in choices]}
            )
    return rows


def shapes() -> list[dict[str, Any]]:
    """5.8: M = m (Lambda/geometric mean)^(p/2), the best m and p: is flat the best?"""
    target = field(2.0)
    relative = target.eigenvalues / np.exp(np.log(target.eigenvalues).mean())
    rows = []
    for n in (20, 50, 100, 200, 500):
        for key in ("VE-50", "VE-50 PC"):
            found: dict[tuple[int, int], float] = {}

            def error(m: int, p: int) -> float:
                """In hundredths."""
                if (m, p) not in found:  # noqa: B023
                    M = Spectral(target.transform, m / 100 * relative ** (p / 200))
                    found[m, p] = w2(STUDIES[key], n, {"preconditioner": M})  # noqa: B023
                return found[m, p]  # noqa: B023

            flat = min(range(95, 150), key=lambda m: error(m, 0))
            near = [(m, p) for p in (-2, -1, 0, 1) for m in range(flat - 5, flat + 6)]
            at = min(near, key=lambda mp: error(*mp))
            bent = []
            for p in (10, 30):
                m = min(range(72, 240, 4), key=lambda m, p=p: error(m, p))
                m = min(range(m - 4, m + 5), key=lambda m, p=p: error(m, p))
                bent.append({"p": p / 100, "m": m / 100, "w2": error(m, p)})
            row = {"steps": n, "study": key, "m": at[0] / 100, "p": at[1] / 100, "w2": error(*at)}
            rows.append({**row, "flat m": flat / 100, "flat w2": error(flat, 0), "bent": bent})
    return rows


def profiles() -> dict[str, Any]:
    """Standard deviations by band and W2 against T on VE-50, predictor only, for the pictures."""
    study = STUDIES["VE-50"]
    low, high = study.process.sigma_min, study.process.sigma_max

    def chosen(name: str, n: int) -> dict[str, Any]:
        if name == "PDS α(T)":
            return {"preconditioner": mask(study, alpha_rule(n, low, high))}
        if name == "TDAS γ(T)":
            return {"preconditioner": Scalar(noise_rule(n, low, high)), "where": "noise"}
        return CHOICES[name](study)

    steps = [n for n in LONG if 20 <= n <= 2000]
    out: dict[str, Any] = {"steps": steps, "edges": BANDS, "rows": []}
    for name in PROFILED:
        choices = [chosen(name, n) for n in steps]
        out["rows"].append(
            {
                "choice": name,
                "bands": [bands(study, n, c) for n, c in zip(steps, choices, strict=True)],
                "w2": [w2(study, n, c) for n, c in zip(steps, choices, strict=True)],
            }
        )
    return out
