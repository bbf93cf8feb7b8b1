"""Exact analysis of two and three components: golden values and weak order of Euler and EM."""

import numpy as np
import pytest
from phase_cases import THREE, Lifted, quadratic_striding

import sgmsolve
from sgmsolve import CLD, PSLD
from sgmsolve.analysis import exact
from sgmsolve.analysis.moments import Moments

TARGET = Lifted(0.6, 0.25)
START = Moments(np.zeros((2, 1)), np.diag([1.0, 0.25])[:, :, None], np.ones(1))


@pytest.mark.parametrize(
    ("method", "mean", "cov"),
    [
        ("pf-euler", (0.62660337, -0.00635309), (2.45598414, -0.00787677, 0.26382009)),
        ("euler-maruyama", (0.60938135, -0.00297739), (0.27061826, 0.00096400, 0.02669285)),
    ],
)
def test_golden_values_of_section_9_2(method, mean, cov):
    """Rows 'Euler' and 'EM': PSLD with Gamma = 0.01, 40 quadratic steps from the prior."""
    plan = sgmsolve.build_plan(PSLD(), method, grid=quadratic_striding(40))
    found = exact.output_moments(plan, TARGET, PSLD(), start=START)
    np.testing.assert_allclose(found.mean[:, 0], mean, atol=5.1e-9)
    (xx, xm), (_, mm) = found.covariance[..., 0]
    np.testing.assert_allclose((xx, xm, mm), cov, atol=5.1e-9)


@pytest.mark.parametrize("method", ["pf-euler", "euler-maruyama"])
@pytest.mark.parametrize("process", [PSLD(), CLD(), PSLD(0.02, 1.0), PSLD(beta=(2.0, 14.0)), THREE])
def test_weak_order_one_by_exact_propagation(method, process):
    target = Lifted([0.6, -0.4], [0.25, 0.04])
    errors = []
    for steps in (256, 512) if process is THREE else (512, 1024):
        plan = sgmsolve.build_plan(process, method, steps=steps, grid="quadratic")
        errors.append(exact.error(plan, target, process, start="exact"))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1 if process is THREE else 0.06)
    assert errors[1] < 0.06


def test_section_9_1_errors_of_euler_and_em():
    """Largest error of means and covariances over the eigen-directions N(.6, .25), N(-.4, .04)."""
    target, process = Lifted([0.6, -0.4], [0.25, 0.04]), PSLD()
    start = Moments(np.zeros((2, 2)), np.repeat(START.covariance, 2, axis=2), np.ones(2))
    published = {
        "pf-euler": (8.3e-1, 2.7e-1, 1.1e-1, 5.1e-2, 2.4e-2),
        "euler-maruyama": (1.2e-2, 5.8e-3, 2.8e-3, 1.4e-3, 7.0e-4),
    }
    # The prior's mismatch, which the exact reverse process keeps, is 1e-5 for both.
    wanted = exact.marginal(target, process, 1e-3)
    for method, errors in published.items():
        for steps, error in zip((64, 128, 256, 512, 1024), errors, strict=True):
            plan = sgmsolve.build_plan(process, method, grid=quadratic_striding(steps))
            found = exact.output_moments(plan, target, process, start=start)
            gap = max(
                np.abs(found.mean - wanted.mean).max(),
                np.abs(found.covariance - wanted.covariance).max(),
            )
            assert gap == pytest.approx(error, rel=0.05)


def test_denoising_row_is_tweedie():
    """The last row replaces the state by E[z(0) | z], so the data law comes out to first order."""
    errors = []
    for steps in (500, 1000):
        plan = sgmsolve.build_plan(PSLD(), "em", steps=steps, grid="quadratic", denoise=True)
        assert plan.nfe == steps + 1
        errors.append(exact.error(plan, TARGET, PSLD()))
    assert 1.8 < errors[0] / errors[1] < 2.2
    assert errors[1] < 1.2e-3
