"""Anchor values of the study of PDS and TDAS (spec, section 5), by recursion and from our plans."""

from __future__ import annotations

import numpy as np
import pytest
from analysis import pds_recursion as oracle
from analysis.pds_recursion import Rule

VE50, VE348 = (0.01, 50.0), (0.01, 348.0)


def merged(field: np.ndarray) -> np.ndarray:
    """One entry a distance from DC: every field here depends on |k| only."""
    _, first = np.unique(np.round(oracle.radii() ** 2).ravel(), return_index=True)
    return np.asarray(field).ravel()[first]


WEIGHT = np.unique(np.round(oracle.radii() ** 2).ravel(), return_counts=True)[1].astype(float)
FIELD = oracle.eigenvalues()
LAM = merged(FIELD)
MASK = {a: merged(oracle.published_gain(FIELD, a)) for a in (3, 5, 10, 20)}
DISC = merged(oracle.disc_gain(0.2, 0.9))


def w2(rule: Rule, steps: int, sde: str = "VE-50", lam: np.ndarray = LAM) -> float:
    """W2 a pixel as the tables have it: times of the released code."""
    if sde == "VP":
        return oracle.distance(oracle.vp(rule, 4 * lam, WEIGHT, steps, 1 / steps), 4 * lam, WEIGHT)
    limits, scales = (VE50, 1000) if sde == "VE-50" else (VE348, 2000)
    out = oracle.ve(rule, lam, WEIGHT, steps, limits, eps=1e-5 * scales / steps)
    return oracle.distance(out, lam, WEIGHT)


@pytest.mark.parametrize(
    ("rule", "sde", "printed"),
    [
        (Rule(), "VE-50", {20: 0.0686, 50: 0.0234, 100: 0.0110}),
        (Rule(snr=0.16), "VE-50", {20: 0.0596, 50: 0.0148, 100: 0.0049}),
        (Rule(MASK[5]), "VE-50", {20: 0.0332, 50: 0.0087, 100: 0.0140}),
        (Rule(MASK[5], snr=0.16), "VE-50", {20: 0.0303, 50: 0.0054, 100: 0.0062}),
        (Rule(MASK[20]), "VE-50", {20: 0.0574, 100: 0.0050}),
        (Rule(MASK[5], "exact-split"), "VE-50", {20: 0.0608, 100: 0.0099}),
        (Rule(DISC, "noise"), "VE-50", {20: 0.0622, 100: 0.0124}),
        (Rule(DISC, "noise", snr=0.16), "VE-50", {20: 0.0552, 50: 0.0168}),
        (Rule(0.0, "exact-split"), "VE-50", {20: 0.3770, 50: 0.1064}),
        (Rule(noise=lambda rho: rho), "VE-50", {20: 0.0464, 50: 0.0202}),
        (Rule(MASK[5]), "VE-348", {50: 0.0091}),
        (Rule(MASK[5], snr=0.075), "VE-348", {50: 0.0085}),
        (Rule(MASK[5]), "VP", {20: 0.1317, 100: 0.0518}),
        (Rule(MASK[5], "exact-split", snr=0.16), "VP", {20: 0.1353, 100: 0.0134}),
    ],
)
def test_the_recursion_gives_the_printed_tables(
    rule: Rule, sde: str, printed: dict[int, float]
) -> None:
    for steps, value in printed.items():
        assert abs(w2(rule, steps, sde) - value) < 6e-5, (steps, value)
