"""Predictions of noise, data, score, v and flow say the same: x0 and eps at one (x, t)."""

import itertools
import math

import numpy as np
import pytest

from sgmsolve.errors import ProcessError
from sgmsolve.process import EDM, KINDS, VE, VP, Flow

PAIRS = list(itertools.product(KINDS, KINDS))


def predictions(process, t, x0, eps):
    """The definitions, retyped: Salimans & Ho 2022 for v, Liu et al. 2023 for flow."""
    alpha, sigma = process.alpha(t), process.sigma(t)
    return {
        "noise": eps,
        "data": x0,
        "score": -eps / sigma,
        "v": alpha * eps - sigma * x0,
        "flow": eps - x0,
    }, alpha * x0 + sigma * eps


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_follows_the_definitions(process, source, target):
    rng = np.random.default_rng(1)
    for t in (0.01, 0.3, 0.62, 0.9):
        a, b = process.conversion_scalars(source, target, t)
        for x0, eps in rng.standard_normal((5, 2)).tolist():
            kinds, x = predictions(process, t, x0, eps)
            size = abs(a * x) + abs(b * kinds[source])
            assert abs(a * x + b * kinds[source] - kinds[target]) < 1e-14 * size + 1e-15
        matrix_a, matrix_b = process.conversion(source, target, t)
        assert (matrix_a.item(), matrix_b.item()) == (a, b)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_there_and_back(process, source, target):
    for t in (0.01, 0.3, 0.9):
        a, b = process.conversion_scalars(source, target, t)
        c, d = process.conversion_scalars(target, source, t)
        assert d * b == pytest.approx(1.0, rel=1e-13)
        assert abs(c + d * a) <= 1e-13 * (abs(c) + abs(d * a))


@pytest.mark.parametrize("process", [Flow(), VP.cosine()], ids=["flow", "cosine"])
def test_at_zero_alpha(process):
    for source, target in PAIRS:
        impossible = source in ("noise", "score") and target in ("data", "v", "flow")
        if impossible:
            with pytest.raises(ProcessError, match=r"start at t <= 0\.999"):
                process.conversion_scalars(source, target, 1.0)
        else:
            kinds, x = predictions(process, 1.0, 0.7, -1.3)
            a, b = process.conversion_scalars(source, target, 1.0)
            assert a * x + b * kinds[source] == pytest.approx(kinds[target], abs=1e-14)


def test_at_zero_sigma():
    process = VP()
    for source in KINDS:
        if source != "score":
            with pytest.raises(ProcessError, match="there is no score at t = 0"):
                process.conversion_scalars(source, "score", 0.0)
        if source != "data":
            a, b = process.conversion_scalars(source, "data", 0.0)
            assert (a, b) == (1.0, 0.0) or source == "flow"
    with pytest.raises(ProcessError, match=r"sigma = 0 and .*; stop at a t > 0"):
        process.conversion_scalars("data", "noise", 0.0)
    assert process.conversion_scalars("score", "noise", 0.0) == (0.0, -0.0)


def test_tweedie_of_the_variance_exploding_processes():
    """D = x + sigma^2 score, the textbook formula where alpha = 1."""
    for process, t in ((EDM(), 3.0), (VE(), 0.6)):
        a, b = process.conversion_scalars("score", "data", t)
        assert a == pytest.approx(1.0, rel=1e-15)
        assert b == pytest.approx(process.sigma(t) ** 2, rel=1e-15)


def test_unknown_kinds_name_the_nearest():
    for source, target in (("nois", "data"), ("data", "scor"), ("nois", "nois")):
        with pytest.raises(ProcessError, match="Did you mean"):
            VP().conversion_scalars(source, target, 0.5)
    with pytest.raises(ProcessError, match="unknown kind of prediction"):
        VP().weights_of("eps2", 0.5)


def test_weights_follow_the_definitions(process):
    for kind in KINDS:
        u, w = process.weights_of(kind, 0.4)
        kinds, _ = predictions(process, 0.4, 0.3, -1.7)
        assert u * 0.3 - w * 1.7 == pytest.approx(kinds[kind], rel=1e-14)
    assert math.isfinite(process.weights_of("score", 1e-6)[1])
