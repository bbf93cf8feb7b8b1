"""What is known of PDS, TDAS and relatives on Gaussians: the spec's tables, from our plans.

Section 5 of the study: 64x64 pixels, power 1/|k|^2 (DC as |k| = 1), pixel std 0.25 (VP: 0.5), noise
levels of score_sde with eps = 1e-5 num_scales/T for VE, expected norms of the sampler's own state.
"""

from __future__ import annotations

import numpy as np
import pytest

from sgmsolve import VE, VP, build_plan
from sgmsolve.analysis import exact
from sgmsolve.precondition import Scalar, Spectral
from sgmsolve.target import Gaussian, GaussianField

SIZE = 64
FIELDS = {
    p: GaussianField.power_law((SIZE, SIZE), 2.0, v) for p, v in (("VE", 0.0625), ("VP", 0.25))
}


def mask(alpha, mean=0.5):
    """1/R-hat of the released code on the VE field of the given mean."""
    power = FIELDS["VE"].eigenvalues * SIZE**2
    power[0] += (mean * SIZE**2) ** 2
    statistic = np.log1p(power)
    return Spectral(FIELDS["VE"].transform, alpha / (statistic / statistic.max() + alpha - 1))


def disc(radius, outside):
    f = np.fft.fftfreq(SIZE)
    inside = np.hypot(f[:, None], f[None, :]) <= radius
    return Spectral(FIELDS["VE"].transform, np.where(inside, 1.0, outside))


def w2(process, T, t_min, *, corrected=False, snr=0.16, **options):
    """W2 per pixel of T iterations as score_sde runs them, from the prior."""
    target = FIELDS[type(process).__name__]
    chosen = {"norms": "propagated", "spectrum": target, "snr": snr}
    if not corrected:
        chosen = {"corrector": "none"}
    plan = build_plan(
        process,
        "predictor-corrector",
        steps=T - 1,
        grid="uniform",
        grid_options={"t_min": t_min},
        discretisation="score_sde",
        **chosen,
        **options,
    )
    assert plan.nfe == (2 if corrected else 1) * T
    return exact.error(plan, target, process, start="prior") / SIZE


PDS = {"where": "published", "preconditioner": mask(5.0)}
SPLIT = {"preconditioner": mask(5.0), "final": "predictor"}
TDAS = {"where": "noise", "preconditioner": disc(0.2, 0.9)}
M119 = {"where": "published", "preconditioner": Scalar(1.19)}
ANCESTRAL = {"predictor": "ancestral"}

TABLE_5_3 = [
    (False, 20, {}, 0.0686),
    (False, 200, {}, 0.0053),
    (False, 100, PDS, 0.0140),
    (False, 200, PDS, 0.0178),
    (False, 50, M119, 0.0148),
    (False, 50, SPLIT, 0.0210),
    (False, 100, TDAS, 0.0124),
    (False, 50, ANCESTRAL, 0.0202),
    (True, 20, {}, 0.0596),
    (True, 100, {}, 0.0049),
    (True, 50, PDS, 0.0054),
    (True, 100, PDS, 0.0062),
    (True, 100, SPLIT, 0.0051),
    (True, 100, TDAS, 0.0122),
    (True, 50, M119, 0.0115),
    (True, 50, ANCESTRAL, 0.0140),
]


@pytest.mark.parametrize(("corrected", "T", "options", "wanted"), TABLE_5_3)
def test_table_5_3(corrected, T, options, wanted):
    found = w2(VE(0.01, 50.0), T, 0.01 / T, corrected=corrected, **options)
    assert found == pytest.approx(wanted, abs=6e-5)


@pytest.mark.parametrize(
    ("corrected", "T", "options", "wanted"),
    [
        (False, 100, {}, 0.0140),
        (False, 100, PDS, 0.0124),
        (True, 50, {}, 0.0271),
        (True, 100, PDS, 0.0098),
        (True, 100, TDAS, 0.0137),
    ],
)
def test_table_5_4_at_sigma_348(corrected, T, options, wanted):
    found = w2(VE(0.01, 348.0), T, 0.02 / T, corrected=corrected, snr=0.075, **options)
    assert found == pytest.approx(wanted, abs=6e-5)


@pytest.mark.parametrize(
    ("eps", "corrected", "T", "options", "wanted"),
    [
        (None, False, 20, {}, 0.1507),
        (None, False, 100, {}, 0.0215),
        (None, False, 100, {"where": "published", "preconditioner": Scalar(1.05)}, 0.0389),
        (None, True, 50, {}, 0.0367),
        (None, True, 100, {}, 0.0137),
        (1e-3, False, 100, {}, 0.0069),
        (1e-3, False, 100, TDAS, 0.0240),
        (None, True, 100, TDAS, 0.0150),
    ],
)
def test_table_5_4_under_vp(eps, corrected, T, options, wanted):
    found = w2(VP(), T, 1 / T if eps is None else eps, corrected=corrected, **options)
    assert found == pytest.approx(wanted, abs=6e-5)


@pytest.mark.parametrize(
    ("T", "vanilla", "calibrated", "half", "whole"),
    [
        (50, 0.02340, 0.00254, 0.00415, 0.00892),
        (100, 0.01105, 0.00060, 0.00109, 0.00704),
        (200, 0.00530, 0.00033, 0.00039, 0.00446),
    ],
)
def test_table_5_7_closed_form_rules(T, vanilla, calibrated, half, whole):
    """The study filters the prior too: TDAS with g^2 = (1 + rho)/2."""
    process = VE(0.01, 50.0)
    q = 1 - (0.01 / 50) ** (2 / (T - 1))
    rules = [
        ({}, vanilla),
        ({"where": "noise", "preconditioner": Scalar((1 - q / 2) ** 0.5)}, calibrated),
        ({"predictor": "calibrated"}, calibrated),
        ({"where": "published", "preconditioner": Scalar(1 + q / 4)}, half),
        ({"where": "published", "preconditioner": Scalar(1 + q / 2)}, whole),
    ]
    for options, wanted in rules:
        found = w2(process, T, 0.01 / T, **options)
        # The plan's own calibrated noise is d/2 in its last step.
        assert found == pytest.approx(wanted, abs=4e-5 if "predictor" in options else 6e-6)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(
            {"where": "published", "preconditioner": Scalar(1.25)}, 0.7358, id="published"
        ),
        pytest.param({"preconditioner": Scalar(1.25)}, 1.0007, id="exact-split"),
        pytest.param({}, 1.0009, id="vanilla", marks=pytest.mark.slow),
        pytest.param({"predictor": "ancestral"}, 0.9991, id="ancestral", marks=pytest.mark.slow),
    ],
)
def test_a_unit_gaussian_in_ten_thousand_steps(options, wanted):
    """Acceptance test 3, on the way to the last level, whose noise has the variance 1e-4."""
    process = VE(0.01, 50.0)
    grid = {"steps": 9999, "grid": "uniform", "grid_options": {"t_min": 0.0}}
    plan = build_plan(process, "pc", corrector="none", final="none", **grid, **options)
    target = Gaussian([0.0], [[1.0]])
    found = exact.output_moments(plan, target, process, "prior").covariance[0, 0, 0]
    assert found - 1e-4 == pytest.approx(wanted, abs=9e-5)


def level(T, **options):
    """v/sigma^2 in front of the last predictor, on a mode without signal."""
    process, target = VE(0.01, 50.0), Gaussian([0.0], [[0.0]])
    plan = build_plan(
        process,
        "pc",
        steps=T - 1,
        grid="uniform",
        grid_options={"t_min": 0.0},
        final="none",
        **options,
    )
    return exact.output_moments(plan, target, process, "prior").covariance[0, 0, 0] / 1e-4


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 1.188),
        ({"where": "published", "preconditioner": Scalar(1.25)}, 0.898),
        ({"where": "published", "preconditioner": Scalar(1.1158)}, 1.000),
        ({"where": "noise", "preconditioner": Scalar((0.01 / 50) ** (1 / 99))}, 1.000),
        ({"predictor": "ancestral"}, 1.000),
    ],
)
def test_the_noise_level_the_network_sees(options, wanted):
    """Acceptance test 4."""
    assert level(100, corrector="none", **options) == pytest.approx(wanted, abs=6e-4)


def test_the_noise_level_with_half_a_step_at_the_end_is_right():
    """Of the calibrated sampler: (1 + rho)/(2 rho) on the way, right to first order at the end."""
    q = 1 - (0.01 / 50) ** (2 / 99)
    found = level(100, corrector="none", predictor="calibrated")
    assert found == pytest.approx(1 + q**2 / (2 * (1 - q)), rel=1e-6)
