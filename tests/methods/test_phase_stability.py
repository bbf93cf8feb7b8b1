"""Stability near the prior: the known limits, the warning's sentence, and silence elsewhere."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from phase_methods import build, striding

from sgmsolve import PSLD, build_plan
from sgmsolve.errors import StabilityWarning
from sgmsolve.methods.stability import spectral_radius, stability_limit

P = PSLD()
LIMITS = {
    "nse": 0.250,
    "rse": 0.250,
    "nvv": 0.250,
    "rvv": 0.250,
    "euler-maruyama": 0.249,
    "robab": 0.251,
    "roba": 0.182,
    "rbao": 0.182,
    "cvv": 0.171,
    "cse": 0.133,
    "coba": 0.086,
}
RADII = {
    "pf-euler": (1.08, 1.28, 1.89, 2.23, 2.31),
    "rse": (1, 1, 1, 1, 1.76),
    "rvv": (1, 1, 1, 1, 1.76),
    "conjugate": (1.016, 1.18, 3.4, 12.7, 15.4),
    "euler-maruyama": (0.60, 0.20, 0.61, 1.002, 1.09),
    "roba": (0.67, 0.45, 1.48, 2.9, 3.3),
    "sscs": (0.67, 0.45, 0.20, 0.14, 0.12),
}
"""Spectral radii of one step from t = 1 of h = .05, .1, .2, .249, .26."""


def _quietly(name: str) -> Any:
    def made(times: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", StabilityWarning)
            return build(P, times, name)

    return made


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name: str) -> None:
    assert stability_limit(P, _quietly(name), 1.0) == pytest.approx(LIMITS[name], abs=7e-4)


@pytest.mark.parametrize("name", RADII)
def test_spectral_radii(name: str) -> None:
    for h, wanted in zip((0.05, 0.1, 0.2, 0.249, 0.26), RADII[name], strict=True):
        found = spectral_radius(_quietly(name)([1.0, 1 - h]), P)
        assert found == pytest.approx(wanted, rel=1e-2, abs=5.5e-3)


def test_sscs_has_no_limit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(P, [1.0, 1e-3], "sscs")
        build(P, [1.0, 1e-3], "strang2")
    assert stability_limit(P, _quietly("sscs"), 1.0) == pytest.approx(0.999, abs=2e-4)


def test_the_warning_says_which_step() -> None:
    times = np.array([1.0, 0.9, 0.6, 0.5, 0.1])
    with pytest.warns(StabilityWarning) as caught:
        build(P, times, "rvv")
    assert len(caught) == 1
    text = str(caught[0].message)
    assert "'s B/2 A s@end B/2' amplifies errors near the prior in steps longer than 0.25" in text
    assert "from t = 0.9; step 2 of this grid, to t = 0.6, is 0.3 long." in text


@pytest.mark.parametrize(
    ("name", "steps"), [("rvv", 8), ("roba", 11), ("coba", 24), ("rse", 8), ("euler-maruyama", 9)]
)
def test_smallest_stable_striding_grid(name: str, steps: int) -> None:
    build(P, striding(P, steps), name)  # warnings are errors
    with pytest.warns(StabilityWarning):
        build(P, striding(P, steps - 2), name)


def test_nothing_is_said_for_multiprecision() -> None:
    mp = pytest.importorskip("mpmath")
    build(P, [mp.mpf(1), mp.mpf(1) / 2], "rse")


@pytest.mark.parametrize(
    ("name", "limit", "long", "short"),
    [("conjugate", 0.0846, 16, 24), ("lambda-ddim-2", 0.123, 8, 16), ("pf-euler", 0.0572, 24, 40)],
)
def test_methods_that_always_amplify_warn_of_a_tenth(
    name: str, limit: float, long: int, short: int
) -> None:
    """Limits from the radii of one step at t = 1; spec 5a has 1.18 at h = .1 for B = 0."""
    with pytest.warns(StabilityWarning, match="by more than 10% in steps longer than") as caught:
        build_plan(PSLD(), name, steps=long)
    said = float(str(caught[0].message).split("longer than ")[1].split(" ")[0])
    assert said == pytest.approx(limit, rel=0.005)
    build_plan(PSLD(), name, steps=short)  # a warning would be an error


@pytest.mark.parametrize("name", ["gddim", "gddim-2", "conjugate-sde-2"])
def test_the_rotation_free_factor_and_data_have_no_limit(name: str) -> None:
    build_plan(PSLD(), name, steps=3)


def test_a_budget_warns_once() -> None:
    with pytest.warns(StabilityWarning) as caught:
        build_plan(PSLD(), "roba", nfe=8)
    assert len(caught) == 1
