"""Exact moments of plans with operators and frames: modes against dense against samples."""

from __future__ import annotations

import numpy as np
import pytest
from operated import FIELD, FILTER, FOURIER, PROCESS, SHAPE, Hidden, framed, preconditioned

import sgmsolve
from sgmsolve import VP, Gaussian, GaussianField
from sgmsolve.analysis.exact import error, output_moments
from sgmsolve.errors import AnalysisError
from sgmsolve.plan import Frame, PlanBuilder, per_sample
from sgmsolve.precondition import Scalar, Skew

SKEW = Skew(SHAPE, (1, 1), 0.3)


@pytest.mark.parametrize("operands", [{"M": FILTER}, {"M": FILTER, "S": SKEW}, {"M": Scalar(1.2)}])
@pytest.mark.parametrize("start", ["exact", "prior"])
def test_mode_by_mode_is_dense(operands, start) -> None:
    """One transform, complex symbols of shifts included, against full matrices."""
    modes = preconditioned(**operands)
    dense = preconditioned(**{letter: Hidden(op) for letter, op in operands.items()})
    a, b = (output_moments(p, FIELD, PROCESS, start) for p in (modes, dense))
    assert b.covariance.shape == (24, 24, 1)
    repeated = np.sort(np.repeat(a.covariance[0, 0], a.multiplicity.astype(int)))
    np.testing.assert_allclose(repeated, np.linalg.eigvalsh(b.covariance[..., 0]), rtol=1e-10)
    np.testing.assert_allclose(
        np.sort(np.repeat(a.mean[0], a.multiplicity.astype(int))), np.sort(b.mean[:, 0]), atol=1e-12
    )
    for metric in ("w2", "kl"):
        values = [error(p, FIELD, PROCESS, metric, start) for p in (modes, dense)]
        assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("gain", [1.0, 1.3])
def test_scalars_are_the_plan_of_that_number(gain) -> None:
    plan = preconditioned(M=Scalar(gain))
    law = output_moments(plan, FIELD, PROCESS)
    plain = output_moments(plan.at({"M": gain}), FIELD, PROCESS)
    np.testing.assert_allclose(law.covariance, plain.covariance, rtol=1e-11)
    np.testing.assert_allclose(law.mean, plain.mean, rtol=1e-11)
    assert error(plan, FIELD, PROCESS) == pytest.approx(error(plan.at({"M": gain}), FIELD, PROCESS))


def test_every_mode_is_the_plan_at_its_gain() -> None:
    plan = preconditioned(M=FILTER)
    law = output_moments(plan, FIELD, PROCESS)
    order = np.argsort(FIELD.eigenvalues, kind="stable")
    found = np.repeat(law.covariance[0, 0], law.multiplicity.astype(int))
    for i in (0, 7, 23):
        lam, gain = FIELD.eigenvalues[order[i]], FILTER.eigenvalues[order[i]]
        alone = output_moments(plan.at({"M": gain}), Gaussian([0.0], [lam]), PROCESS)
        assert alone.covariance[0, 0, 0] == pytest.approx(found[i], rel=1e-12)


@pytest.mark.parametrize("denoise", [False, True])
@pytest.mark.parametrize("start", ["exact", "prior"])
def test_frames_against_an_affine_run(denoise, start) -> None:
    """A plan on a Gaussian is affine: its map is found by running it on unit vectors."""
    process = VP()
    plan = framed(process, Frame(FOURIER, 1.3 * FIELD.eigenvalues, 0.7), denoise)
    units = np.concatenate([np.zeros((1, 24)), np.eye(24)]).reshape(25, *SHAPE)
    model = FIELD.model(process)
    quiet = plan.replace(noise=np.zeros_like(plan.noise))
    out = FOURIER.forward(sgmsolve.solve(quiet, model, FOURIER.inverse(units.reshape(25, 24))).x)
    linear, offset = (out[1:] - out[0]).T, out[0]
    alpha, sigma = process.alpha(1.0), process.sigma(1.0)
    mean = alpha * FOURIER.forward(FIELD.mean[None])[0] if start == "exact" else np.zeros(24)
    variance = sigma**2 + (alpha**2 * FIELD.eigenvalues if start == "exact" else 0)
    law = output_moments(plan, FIELD, process, start)
    still = output_moments(quiet, FIELD, process, start)
    by_mean = np.sort(np.repeat(law.mean[0], law.multiplicity.astype(int)))
    np.testing.assert_allclose(by_mean, np.sort(linear @ mean + offset), atol=1e-12)
    spread = np.sort(np.repeat(still.covariance[0, 0], still.multiplicity.astype(int)))
    np.testing.assert_allclose(spread, np.sort(np.diag(linear) ** 2 * variance), rtol=1e-10)
    assert (law.covariance > still.covariance).all()


def test_the_targets_own_frame_is_the_exact_flow() -> None:
    process = VP()
    plan = framed(process, Frame(FOURIER, FIELD.eigenvalues, FIELD.mean))
    still = plan.replace(noise=np.zeros_like(plan.noise))
    assert error(still, FIELD, process) < 1e-13
    spread = (
        output_moments(plan, FIELD, process).covariance
        - output_moments(still, FIELD, process).covariance
    )
    assert spread.min() > 0.01


def test_refusals_are_sentences() -> None:
    big = GaussianField.power_law((40, 40))

    class Elsewhere(Hidden):
        shape = (40, 40)

    operator = Elsewhere(Scalar(1.1))
    operator.shape = (40, 40)
    with pytest.raises(AnalysisError, match="share no transform with the target, and samples have"):
        output_moments(preconditioned(M=operator), big, PROCESS)
    frame = framed(VP(), Frame(FOURIER, FIELD.eigenvalues))
    with pytest.raises(AnalysisError, match="so fit in the target's transform"):
        output_moments(frame, Gaussian(np.zeros(SHAPE), 1.0), VP())
    plan = sgmsolve.build_plan(VP(), "ddim", steps=2)
    with pytest.raises(AnalysisError, match="analyse one sample's plan"):
        output_moments(per_sample([plan, plan]), FIELD, VP())


def test_starting_laws_are_given_by_the_targets_modes() -> None:
    """Modes, gains and a frame regroup them; the same law must give the same error."""
    from sgmsolve.analysis.exact import marginal
    from sgmsolve.precondition import Diagonal

    target = Gaussian([1.0, 2.0, 3.0], [3.0, 0.5, 1.0])
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))

    class Turned(Diagonal):
        transform = None

        def apply(self, x):
            return (x @ q * self.eigenvalues) @ q.T

        transpose = apply

    turned = Turned([1.0, 1.2, 1.4])
    turned.transform = None
    for operator in (Diagonal([1.0, 1.2, 1.4]), turned):
        plan = preconditioned(M=operator)
        law = marginal(target, PROCESS, plan.t_start)
        given = error(plan, target, PROCESS, start=law)
        assert given == pytest.approx(error(plan, target, PROCESS), rel=1e-10)
    plan = framed(VP(), Frame(FOURIER, 1.3 * FIELD.eigenvalues, 0.7))
    law = marginal(FIELD, VP(), plan.t_start)
    given = error(plan, FIELD, VP(), start=law)
    assert given == pytest.approx(error(plan, FIELD, VP()), rel=1e-10)
    turns = preconditioned(M=FILTER, S=SKEW)
    with pytest.raises(AnalysisError, match="mean 0 where a skew turns modes"):
        error(turns, FIELD, PROCESS, start=marginal(FIELD, PROCESS, turns.t_start))


def test_a_skews_transpose_is_its_negative() -> None:
    """S^T next to S in one plan: together they do nothing."""
    b = PlanBuilder(PROCESS, [1.0, 0.5], predicts="score", operands={"S": SKEW})
    e = b.predict(b.z, 1.0)
    v = PROCESS.sigma(1.0) ** 2 - PROCESS.sigma(0.5) ** 2
    b.advance(b.z + v * e + v * ((b.operator("S") + b.operator("S^T") / 2) @ e))
    half = preconditioned_by(0.5)
    a, c = (output_moments(p, FIELD, PROCESS) for p in (b.plan(), half))
    np.testing.assert_allclose(a.covariance, c.covariance, rtol=1e-12)


def preconditioned_by(amount):
    b = PlanBuilder(PROCESS, [1.0, 0.5], predicts="score", operands={"S": SKEW})
    e = b.predict(b.z, 1.0)
    v = PROCESS.sigma(1.0) ** 2 - PROCESS.sigma(0.5) ** 2
    b.advance(b.z + v * e + amount * v * (b.operator("S") @ e))
    return b.plan()


def test_one_sample_of_many_has_its_own_law() -> None:
    plans = [sgmsolve.build_plan(VP(), "em", grid=[t, t / 2, t / 4]) for t in (1.0, 0.5)]
    for i, plan in enumerate(plans):
        alone = per_sample(plans).at(index=i)
        assert error(alone, FIELD, VP()) == error(plan, FIELD, VP())
