"""The rules of gains against the variance recursion they solve."""

import itertools

import numpy as np
import pytest

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import alpha_rule, gain_rule, noise_rule

LOW, HIGH = 0.01, 50.0


def predictor(steps, a, gamma, variance, low=LOW, high=HIGH):
    """Final variance of one mode in units of the exact one, variance + sigma_min^2; VE.

    x <- x - a G^2 (x / (variance + sigma^2)) + sqrt(gamma) G z on the geometric grid.
    """
    sigma = np.geomspace(low, high, steps)[::-1]
    v = high**2 + variance
    for s, t in itertools.pairwise(sigma):
        g = s**2 - t**2
        v = (1 - a * g / (variance + s**2)) ** 2 * v + gamma * g
    return v / (variance + low**2)


@pytest.mark.parametrize("steps", [61, 100, 400])
def test_network_gains_give_the_variance_the_network_is_told(steps):
    m = gain_rule(steps, LOW, HIGH)
    assert predictor(steps, m**2, m**2, 0.0) == pytest.approx(1, abs=1e-9)
    g = noise_rule(steps, LOW, HIGH, "network")
    assert predictor(steps, 1, g**2, 0.0) == pytest.approx(1, abs=1e-9)


def test_the_figures_of_the_study():
    # ../shared/spec/pds_tdas.md, section 8, item 4: T = 100, sigma_max = 50, no signal.
    assert gain_rule(100, LOW, HIGH) == pytest.approx(1.1158, abs=5e-5)
    assert predictor(100, 1, 1, 0.0) == pytest.approx(1.188, abs=5e-4)
    assert predictor(100, 1.25**2, 1.25**2, 0.0) == pytest.approx(0.898, abs=5e-4)
    assert noise_rule(100, LOW, HIGH, "network") == pytest.approx((LOW / HIGH) ** (1 / 99))
    q = 1 - (LOW / HIGH) ** (2 / 99)
    assert gain_rule(100, LOW, HIGH, "variance") ** 2 == pytest.approx(1 + q / 2, rel=1e-12)
    assert noise_rule(100, LOW, HIGH) ** 2 == pytest.approx(1 - q / 2, rel=1e-12)
    for high, steps in ((50, 43), (378, 53), (1348, 59)):
        assert alpha_rule(steps, LOW, high) == pytest.approx(5, abs=0.06)


@pytest.mark.parametrize("variance", [0.05, 1.0])
def test_variance_gains_cancel_the_first_order(variance):
    errors = {}
    for steps in (200, 400):
        m, g = (rule(steps, LOW, HIGH, "variance") ** 2 for rule in (gain_rule, noise_rule))
        runs = {"plain": (1, 1), "pds": (m, m), "tdas": (1, g)}
        errors[steps] = {k: predictor(steps, *v, variance) - 1 for k, v in runs.items()}
    for name in ("pds", "tdas"):
        assert abs(errors[200][name]) < 0.07 * errors[200]["plain"]
        # What is left falls with the square of q.
        assert abs(errors[400][name]) < 0.28 * abs(errors[200][name])
    assert errors[400]["plain"] == pytest.approx(0.5 * errors[200]["plain"], rel=0.1)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: gain_rule(20, LOW, HIGH), r"q = 0\.592.*at least 61 steps"),
        (lambda: alpha_rule(8, LOW, HIGH), "more than 9 steps"),
        (lambda: gain_rule(100, 50, 50), "sigma_max is 50, expected a finite number > 50"),
        (lambda: gain_rule(100, 0, 50), "sigma_min is 0"),
        (lambda: gain_rule(1, LOW, HIGH), "at least 2 noise levels"),
        (lambda: alpha_rule(float("nan"), LOW, HIGH), "steps is nan, expected a whole"),
        (lambda: alpha_rule(float("inf"), LOW, HIGH), "steps is inf"),
        (lambda: alpha_rule(None, LOW, HIGH), "steps is None"),
        (lambda: noise_rule(2.5, LOW, HIGH), "whole number"),
        (lambda: noise_rule(100, LOW, HIGH, "varience"), "Did you mean 'variance'"),
    ],
)
def test_bad_input_is_a_sentence(call, sentence):
    with pytest.raises(PreconditionError, match=sentence):
        call()


def test_the_least_number_of_steps_is_enough():
    gain_rule(61, LOW, HIGH)
    with pytest.raises(PreconditionError, match="at least 61"):
        gain_rule(60, LOW, HIGH)
