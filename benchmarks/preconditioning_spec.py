"""The tables of our study of PDS and TDAS by exact analysis of plans; see preconditioning.py.

Pictures of 64 x 64 pixels with power 1/|k|^2, pixel standard deviation 0.25 and mean 0.5, which
only the masks see; for VP the same in [-1, 1]. Times, noise tables and step rules are those of the
released code (``discretisation="score_sde"``), norms of the corrector propagated second moments.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sgmsolve import VE, VP, GaussianField, build_plan
from sgmsolve.analysis import exact
from sgmsolve.errors import StabilityWarning
from sgmsolve.precondition import PDS, TDAS, Disc, Scalar, Spectral

SIZE = 64
STEPS = (20, 50, 100, 200, 500, 1000, 2000)
BANDS = (4.0, 16.0)
"""Low frequencies are |k| <= 4, high ones |k| >= 16."""

LONG = tuple(sorted({*STEPS, *np.geomspace(10, 8000, 48).round().astype(int).tolist()}))
"""Numbers of steps at which the plain sampler is measured, for savings at equal error."""


@dataclass(frozen=True)
class Study:
    """A process, its corrector's snr (None: predictor only), times and spectrum."""

    title: str
    process: Any
    snr: float | None
    end: Callable[[int], float]
    exponent: float = 2.0
    least: int = 10

    @property
    def target(self) -> GaussianField:
        return field(self.exponent, 2.0 if isinstance(self.process, VP) else 1.0)


@lru_cache
def field(exponent: float, scale: float = 1.0) -> GaussianField:
    """The study's target around 0; means play no part, the prior has the target's there."""
    return GaussianField.power_law((SIZE, SIZE), exponent, variance=(0.25 * scale) ** 2)


def ve(
    sigma_max: float, snr: float | None, scales: int, title: str, exponent: float = 2.0
) -> Study:
    process = VE(sigma_min=0.01, sigma_max=sigma_max)
    return Study(title, process, snr, lambda steps: 1e-5 * scales / steps, exponent)


STUDIES = {
    "VE-50": ve(50.0, None, 1000, "VE 0.01–50, predictor only"),
    "VE-50 PC": ve(50.0, 0.16, 1000, "VE 0.01–50, with corrector (snr 0.16)"),
    "VE-348": ve(348.0, None, 2000, "VE 0.01–348, predictor only"),
    "VE-348 PC": ve(348.0, 0.075, 2000, "VE 0.01–348, with corrector (snr 0.075)"),
    "VP": Study("VP, end 1/T, predictor only", VP(), None, lambda steps: 1 / steps, least=20),
    "VP PC": Study("VP, end 1/T, with corrector", VP(), 0.16, lambda steps: 1 / steps, least=20),
    "VP fixed": Study("VP, end 1e-3, predictor only", VP(), None, lambda _: 1e-3, least=20),
    "VE-50 steep": ve(50.0, 0.16, 1000, "VE 0.01–50, power 1/|k|³, with corrector", 3.0),
}


def mask(study: Study, alpha: float) -> PDS:
    """The released mask of the pictures in [0, 1]."""
    spectrum = field(study.exponent).eigenvalues.reshape(SIZE, SIZE)
    return PDS.from_spectrum(spectrum, mean=0.5, alpha=alpha)


def shaped(study: Study, power: float) -> Spectral:
    """M = (Lambda / largest)^power."""
    target = field(study.exponent)
    relative = target.eigenvalues / target.eigenvalues.max()
    return Spectral(target.transform, relative**power)


def tdas(radius: float, gain: float) -> TDAS:
    return TDAS.disc((SIZE, SIZE), radius, gain)


Choice = dict[str, Any]

CHOICES: dict[str, Callable[[Study], Choice]] = {
    "plain": lambda _: {},
    "PDS α=20": lambda s: {"preconditioner": mask(s, 20.0)},
    "PDS α=10": lambda s: {"preconditioner": mask(s, 10.0)},
    "PDS α=5 (released)": lambda s: {"preconditioner": mask(s, 5.0)},
    "PDS α=3": lambda s: {"preconditioner": mask(s, 3.0)},
    "scalar m=1.05": lambda _: {"preconditioner": Scalar(1.05)},
    "scalar m=1.19": lambda _: {"preconditioner": Scalar(1.19)},
    "disc r=0.2, gain 1.1": lambda _: {"preconditioner": Disc((SIZE, SIZE), 0.2, 1.1)},
    "disc r=0.2, gain 1.25": lambda _: {"preconditioner": Disc((SIZE, SIZE), 0.2, 1.25)},
    "TDAS disc r=0.2, g=0.9": lambda _: {"preconditioner": tdas(0.2, 0.9), "where": "noise"},
    "TDAS disc r=0.2, g=0.8": lambda _: {"preconditioner": tdas(0.2, 0.8), "where": "noise"},
    "exact split, α=5 mask": lambda s: {"preconditioner": mask(s, 5.0), "where": "exact-split"},
    "exact split, M∝Λ^½": lambda s: {"preconditioner": shaped(s, 0.5), "where": "exact-split"},
    "ancestral": lambda _: {"predictor": "ancestral"},
    "ODE (exact split, M=0)": lambda _: {
        "preconditioner": Scalar(0.0),
        "where": "exact-split",
        "corrector": "none",
    },
}


def plan_of(study: Study, steps: int, choice: Choice) -> tuple[Any, Any]:
    """(plan, process) of T = steps iterations of score_sde's sampler, M in the last mean too."""
    corrector = "none" if study.snr is None else "langevin"
    if choice.get("predictor") == "ancestral" and isinstance(study.process, VP):
        return _ancestral(study, steps)
    options = {"corrector": corrector, "where": "published", **choice}
    if options["corrector"] == "langevin":
        options |= {"snr": study.snr, "norms": "propagated", "spectrum": study.target}
    plan = build_plan(
        study.process,
        "predictor-corrector",
        steps=steps - 1,
        grid="uniform",
        grid_options={"t_min": study.end(steps)},
        discretisation="score_sde",
        final="predictor",
        **options,
    )
    return plan, study.process


def _ancestral(study: Study, steps: int) -> tuple[Any, Any]:
    """DDPM on the chain of T betas, scores those of the chain: the study's ancestral VP."""
    process = VP.discrete(np.linspace(0.1 / steps, 20 / steps, steps))
    more = {} if study.snr is None else {"norms": "propagated", "spectrum": study.target}
    plan = build_plan(
        process,
        "predictor-corrector",
        grid=np.arange(steps, 0, -1) / steps,
        predictor="ancestral",
        corrector="none" if study.snr is None else "langevin",
        snr=study.snr or 0.16,
        **more,
    )
    return plan, process


def laws(study: Study, steps: int, choice: Choice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(variances, those of the data, numbers) of the modes of the output from the prior."""
    plan, process = plan_of(study, steps, choice)
    made = exact.output_moments(plan, study.target, process, start="prior")
    data = exact.reference_law(plan, study.target, process)
    assert plan.ends_with_data
    return made.variance[0], data.variance[0], data.multiplicity


def w2(study: Study, steps: int, choice: Choice) -> float:
    """W2 divided by the root of the number of pixels; inf for gains with which PDS diverges."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the smallest eigenvalue", StabilityWarning)
        try:
            v, data, number = laws(study, steps, choice)
        except StabilityWarning:
            return math.inf
    return float(np.sqrt(number @ (np.sqrt(v) - np.sqrt(data)) ** 2) / SIZE)


def bands(study: Study, steps: int, choice: Choice) -> list[float]:
    """Mean over modes of the standard deviation over the right one, at low and high frequencies."""
    v, data, number = laws(study, steps, choice)
    k = (data.max() / data) ** (1 / study.exponent)
    pick = (k <= BANDS[0] + 1e-9, k >= BANDS[1] - 1e-9)
    ratio = np.sqrt(v / data)
    return [float(np.average(ratio[at], weights=number[at])) for at in pick]


def steps_for(curve: dict[int, float], error: float) -> float | None:
    """Steps at which a curve falls to ``error``: log-log between its points.

    None where it never does; the negative of its first number of steps where it starts below.
    """
    steps = sorted(curve)
    below = [i for i, n in enumerate(steps) if curve[n] <= error]
    if not below:
        return None
    if below[0] == 0:
        return float(-steps[0])
    one, two = steps[below[0] - 1], steps[below[0]]
    share = math.log(curve[one] / error) / math.log(curve[one] / curve[two])
    return math.exp(math.log(one) + share * math.log(two / one))


SEARCHES: dict[str, tuple[np.ndarray, Callable[[Study, float], Choice]]] = {
    "best scalar m": (
        np.arange(0.9, 1.6001, 0.005),
        lambda _, m: {"preconditioner": Scalar(m)},
    ),
    "best α": (
        np.append(np.geomspace(1.5, 800, 96), 3000.0),
        lambda s, alpha: {"preconditioner": mask(s, alpha)},
    ),
    "best TDAS scalar g": (
        np.arange(0.6, 1.1001, 0.005),
        lambda _, g: {"preconditioner": Scalar(g), "where": "noise"},
    ),
    "best M∝Λ^(p/2)": (
        np.arange(-0.3, 0.1001, 0.01),
        lambda s, p: {"preconditioner": shaped(s, p / 2)},
    ),
}
"""Families whose parameter is chosen for each T; the names in the study begin with oracle."""


def best(study: Study, steps: int, family: str) -> tuple[float, float]:
    """(parameter, W2) of the best member, by a search that halves its stride."""
    values, make = SEARCHES[family]
    found: dict[int, float] = {}

    def error(i: int) -> float:
        if i not in found:
            found[i] = w2(study, steps, make(study, float(values[i])))
        return found[i]

    stride = 16
    at = min(range(0, len(values), stride), key=error)
    while stride > 1:
        stride //= 2
        near = (i for i in (at - stride, at, at + stride) if 0 <= i < len(values))
        at = min(near, key=error)
    return float(values[at]), error(at)
