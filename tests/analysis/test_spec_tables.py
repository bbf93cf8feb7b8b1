"""Anchor values of the study of PDS and TDAS (spec, section 5), by recursion and from our plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from analysis import pds_recursion as oracle
from analysis.pds_recursion import Rule

from sgmsolve import VE, VP, Gaussian, GaussianField, build_plan
from sgmsolve.analysis import exact
from sgmsolve.precondition import PDS, TDAS, Scalar, gain_rule, noise_rule

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


SIDE = 16
SMALL = oracle.eigenvalues(SIDE)


def small_gain(name: str) -> tuple[Any, Any]:
    """A preconditioner of 16 x 16 pixels and its gains for the recursion."""
    if name == "mask":
        return PDS.from_spectrum(SMALL, mean=0.5, alpha=5.0), oracle.published_gain(SMALL, 5.0)
    if name == "disc":
        return TDAS.disc((SIDE, SIDE), 0.2, 0.9), oracle.disc_gain(0.2, 0.9, SIDE)
    return (None, 1.0) if name == "none" else (Scalar(1.19), 1.19)


def from_plan(process: Any, target: GaussianField, steps: int, end: float, **options: Any) -> Any:
    """Output variances, sorted by those of the data, and these, from a plan."""
    if options.get("corrector") != "none":
        options |= {"norms": "propagated", "spectrum": target}
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=steps - 1,
        grid="uniform",
        grid_options={"t_min": end},
        discretisation="score_sde",
        final="predictor",
        **options,
    )
    made = exact.output_moments(plan, target, process, start="prior")
    data = exact.reference_law(plan, target, process)
    assert plan.ends_with_data
    return np.repeat(made.variance[0], made.multiplicity.astype(int)), np.repeat(
        data.variance[0], data.multiplicity.astype(int)
    )


@pytest.mark.parametrize("snr", [None, 0.16])
@pytest.mark.parametrize("where", ["published", "noise", "exact-split"])
@pytest.mark.parametrize("gain", ["mask", "disc", "scalar", "none"])
@pytest.mark.parametrize("sde", ["VE", "VP"])
def test_plans_give_the_same_variances_as_the_recursion(
    sde: str, gain: str, where: str, snr: float | None
) -> None:
    M, m = small_gain(gain)
    scale = 1.0 if sde == "VE" else 4.0
    target = GaussianField((SIDE, SIDE), scale * SMALL)
    rule = Rule(np.broadcast_to(m, SMALL.shape).ravel(), where, snr=snr)
    lam, one = (scale * SMALL).ravel(), np.ones(SMALL.size)
    options = {"preconditioner": M, "where": where}
    options |= {"corrector": "none"} if snr is None else {"snr": snr}
    for steps, end in ((20, 1e-3), (33, 0.02)):
        if sde == "VE":
            process = VE(sigma_min=0.01, sigma_max=50.0)
            expected = oracle.ve(rule, lam, one, steps, VE50, eps=end)
        else:
            if steps == 20:  # beta_max / T = 1
                continue
            process = VP()
            prior = 1 - np.exp(-10.05)  # of x(1) given x(0), not 1 as released
            expected = oracle.vp(rule, lam, one, steps, end, prior)
        made, data = from_plan(process, target, steps, end, **options)
        order = np.lexsort((expected, lam))
        again = np.lexsort((made, data))
        assert np.allclose(data[again], lam[order], rtol=1e-12)
        assert np.allclose(made[again], expected[order], rtol=1e-9)


def printed_error(process: Any, scale: float, steps: int, end: float, **options: Any) -> float:
    """W2 a pixel from a plan on the study's 64 x 64 pictures."""
    target = GaussianField((oracle.N, oracle.N), scale * FIELD)
    made, data = from_plan(process, target, steps, end, **options)
    return float(np.sqrt(np.mean((np.sqrt(made) - np.sqrt(data)) ** 2)))


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ({"corrector": "none"}, {20: 0.0686, 100: 0.0110}),
        ({"corrector": "none", "mask": 5.0, "where": "published"}, {20: 0.0332, 100: 0.0140}),
        ({"mask": 5.0, "where": "published"}, {20: 0.0303, 50: 0.0054}),
        ({"corrector": "none", "mask": 5.0, "where": "exact-split"}, {50: 0.0210}),
        ({"corrector": "none", "disc": 0.8, "where": "noise"}, {50: 0.0257}),
        ({"predictor": "ancestral"}, {50: 0.0140}),
    ],
)
def test_plans_give_the_printed_errors(options: dict[str, Any], printed: dict[int, float]) -> None:
    mask, gain = options.pop("mask", None), options.pop("disc", None)
    if mask is not None:
        options["preconditioner"] = PDS.from_spectrum(FIELD, mean=0.5, alpha=mask)
    if gain is not None:
        options["preconditioner"] = TDAS.disc((oracle.N, oracle.N), 0.2, gain)
    process = VE(sigma_min=0.01, sigma_max=50.0)
    for steps, value in printed.items():
        error = printed_error(process, 1.0, steps, 0.01 / steps, **options)
        assert abs(error - value) < 5.1e-5, (steps, value, error)


def test_the_noise_rule_of_second_order() -> None:
    """TDAS with one gamma for all modes: 0.0006 at T = 100, where the plain sampler has 0.0110."""
    process = VE(sigma_min=0.01, sigma_max=50.0)
    gain = Scalar(noise_rule(100, 0.01, 50.0))
    error = printed_error(
        process, 1.0, 100, 1e-4, corrector="none", preconditioner=gain, where="noise"
    )
    assert abs(error - 0.00060) < 5.1e-6


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, 1.188),
        ({"preconditioner": Scalar(1.25), "where": "published"}, 0.898),
        ({"preconditioner": Scalar(noise_rule(100, 0.01, 50.0, "network")), "where": "noise"}, 1.0),
        ({"preconditioner": Scalar(gain_rule(100, 0.01, 50.0)), "where": "published"}, 1.0),
    ],
)
def test_noise_level_that_the_network_is_fed(options: dict[str, Any], level: float) -> None:
    """v / sigma^2 after many steps on a mode without signal, T = 100."""
    assert round(gain_rule(100, 0.01, 50.0), 4) == 1.1158
    process, nothing = VE(sigma_min=0.01, sigma_max=50.0), Gaussian([0.0], [1e-14])
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=99,
        grid="uniform",
        grid_options={"t_min": 0.0},
        discretisation="score_sde",
        corrector="none",
        final="none",
        **options,
    )
    found = exact.output_moments(plan, nothing, process, start="prior").variance[0, 0]
    assert abs(found / 1e-4 - level) < 5.1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "variance"),
    [
        ({}, 1.0009),
        ({"predictor": "ancestral"}, 0.9991),
        ({"preconditioner": Scalar(1.25), "where": "published"}, 0.7358),
        ({"preconditioner": Scalar(1.25), "where": "exact-split"}, 1.0007),
    ],
)
def test_ten_thousand_steps_on_white_data(options: dict[str, Any], variance: float) -> None:
    """Data of variance 1: what stays of a bias when the steps are short. Last noise included."""
    process, white = VE(sigma_min=0.01, sigma_max=50.0), Gaussian([0.0], [1.0])
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=9999,
        grid="uniform",
        grid_options={"t_min": 1e-6},
        discretisation="score_sde",
        corrector="none",
        final="predictor",
        **options,
    )
    found = exact.output_moments(plan, white, process, start="prior").variance[0, 0]
    last = 0.0 if options.get("predictor") else 1e-4 * (1.25**2 if options else 1.0)
    assert abs(found + last - variance) < 5.1e-5
