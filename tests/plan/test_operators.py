"""Operators, frames and per-sample entries in plans: what the builder records and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from operated import FIELD, FILTER, FOURIER, PROCESS, SHAPE, framed, preconditioned

import sgmsolve
from sgmsolve import EDM, PSLD, VP, PlanBuilder
from sgmsolve.errors import PlanError
from sgmsolve.plan import Frame, Plan, per_sample
from sgmsolve.precondition import Scalar


def test_a_plan_says_where_its_operators_act() -> None:
    plan = preconditioned(M=FILTER)
    assert plan.operators == ("I", "M", "M M^T")
    assert plan.k == 1  # M z is where the run starts, not something to be kept
    text = str(plan)
    assert "operators I, M, M M^T" in text
    assert "start            Z1 = M z" in text
    v = PROCESS.sigma(1.0) ** 2 - PROCESS.sigma(float(plan.t[1])) ** 2
    assert f"Z1' = Z1 + {v / 2:.6g} e0 + {v**0.5:.6g} M xi0 + {v / 2:.6g} M M^T e0" in text


@pytest.mark.parametrize("gain", [1.0, 1.25])
def test_at_puts_numbers_for_letters(gain: float) -> None:
    """With M = c the plan is the plain one whose formulas have c and c^2 in place of M, M M^T."""
    found = preconditioned(M=FILTER).at({"M": gain}).response()
    z, e = found.z0[0, 0], found.predictions[:, 0, 0]
    t = preconditioned(M=FILTER).t
    sigma2 = np.array([PROCESS.sigma(x) ** 2 for x in (*t, 0.2)])
    v = sigma2[:-1] - sigma2[1:]
    a = (1 + gain**2) / 2
    assert z == pytest.approx(gain, rel=1e-14)
    expected = a * np.array([v[0] - 0.1 * v[1], 1.1 * v[1] - 0.1 * v[2], 1.1 * v[2]])
    np.testing.assert_allclose(e, expected, rtol=1e-13)
    np.testing.assert_allclose(found.noise[:, 0] ** 2, gain**2 * v, rtol=1e-13)


def test_words_multiply_and_add() -> None:
    b = PlanBuilder(PROCESS, [1.0, 0.5], predicts="score", operands={"M": FILTER, "S": FILTER})
    M, S = b.operator("M"), b.operator("S^T")
    e = b.predict(b.z, 1.0)
    b.advance((2 - M) @ (M @ b.z) + ((M + 1) @ S / 2) @ e)
    plan = b.plan()
    assert plan.operators == ("I", "M", "M M", "M S^T", "S^T")
    merged = plan.at({"M": 3.0, "S": 5.0})
    assert merged.move[0, 0, 0] == pytest.approx((2 - 3) * 3)
    assert merged.kick[0, 0, 0, 0] == pytest.approx(4 * 5 / 2)


def test_operators_act_on_components_of_phase_space() -> None:
    process = PSLD()
    b = PlanBuilder(process, [1.0, 0.5], predicts="score", operands={"M": Scalar(2.0)})
    gain = np.array([[0.3, 0.1], [0.2, 0.4]])
    b.advance(b.z + b.operator("M") @ (gain @ b.predict(b.z, 1.0)))
    plan = b.plan()
    np.testing.assert_array_equal(plan.parts[0].kick[0, :, :, 0], gain)
    np.testing.assert_array_equal(plan.at({"M": 2.0}).kick[0, :, :, 0], 2 * gain)


def test_what_needs_numbers_says_so() -> None:
    plan = preconditioned(M=FILTER)
    with pytest.raises(PlanError, match=r"operators I, M, M M\^T, but its response needs single"):
        plan.response()
    with pytest.raises(PlanError, match="compress needs single numbers"):
        plan.compress()
    with pytest.raises(PlanError, match=r"gains of \[\] and index None"):
        plan.at()
    with pytest.raises(PlanError, match="unknown operator 'N'"):
        PlanBuilder(PROCESS, [1.0, 0.5], predicts="score", operands={"M": FILTER}).operator("M N")
    with pytest.raises(PlanError, match="unknown operator"):
        plan.replace(operands={})
    with pytest.raises(PlanError, match="frames are for processes of one component"):
        PlanBuilder(PSLD(), [1.0, 0.5], predicts="score", frame=Frame(FOURIER, FIELD.eigenvalues))


def test_saved_plans_bring_their_operators(tmp_path) -> None:
    plan = preconditioned(M=FILTER)
    found = Plan.load(plan.replace(options={}).save(tmp_path / "a") or tmp_path / "a")
    assert found.operators == plan.operators
    for mine, theirs in zip(plan.parts, found.parts, strict=True):
        np.testing.assert_array_equal(mine.kick, theirs.kick)
        np.testing.assert_array_equal(mine.prelude_move, theirs.prelude_move)
    np.testing.assert_array_equal(found.operands["M"].eigenvalues, FILTER.eigenvalues)
    x = np.random.default_rng(0).standard_normal((2, *SHAPE))
    model = FIELD.model(PROCESS)
    mine, theirs = (sgmsolve.solve(p, model, x).x for p in (plan, found))
    np.testing.assert_array_equal(mine, theirs)


def test_frames_are_saved_and_shown(tmp_path) -> None:
    plan = framed(VP(), Frame(FOURIER, FIELD.eigenvalues, 0.3))
    plan.save(tmp_path / "a")
    found = Plan.load(tmp_path / "a")
    np.testing.assert_array_equal(found.move, plan.move)
    np.testing.assert_array_equal(found.frame.eigenvalues, FIELD.eigenvalues)
    assert (found.frame.mean == 0.3).all()
    assert "runs in 24 modes of FourierTransform (4, 6)" in str(plan)
    index = 3
    lam = plan.frame.values[index]
    c, d = (VP().alpha(u) ** 2 * lam + VP().sigma(u) ** 2 for u in (1.0, 0.6))
    expected = (d / c) ** 0.5 - 0.3 * VP().alpha(1.0) * lam / c
    assert plan.at(index=index).move[0, 0, 0] == pytest.approx(expected, rel=1e-14)


def test_interpolation_between_nodes_is_exact_to_1e_12() -> None:
    """Coefficients are smooth functions of log eigenvalue: kinks as sharp as sqrt(c_s / c_t)."""
    lam = np.geomspace(1e-7, 1e3, 4000)
    frame = Frame(FourierTransformOf(lam), lam)
    assert len(frame.values) == 512
    for alpha, sigma in ((1.0, 1e-2), (0.7, 0.7), (1e-3, 1.0), (1.0, 30.0)):
        for function in (
            lambda x, a=alpha, s=sigma: a * x / (a * a * x + s * s) * s / a**0,
            lambda x, a=alpha, s=sigma: ((a * a * x + s * s / 9) / (a * a * x + s * s)) ** 0.5,
        ):
            made, exact = frame.expand(function(frame.values)), function(lam)
            np.testing.assert_allclose(made, exact, rtol=0, atol=1e-12 * np.abs(exact).max())
            np.testing.assert_array_equal(frame.at(function(frame.values), lam), made)


def FourierTransformOf(values: np.ndarray):
    from sgmsolve.precondition.transform import IdentityTransform

    return IdentityTransform(values.shape)


def test_few_distinct_eigenvalues_are_not_interpolated() -> None:
    lam = np.array([2.0, 0.0, 2.0, 5.0])
    frame = Frame(FourierTransformOf(lam), lam)
    np.testing.assert_array_equal(frame.values, [0.0, 2.0, 5.0])
    np.testing.assert_array_equal(frame.expand(np.array([7.0, 8.0, 9.0])), [8, 7, 8, 9])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((FOURIER, -FIELD.eigenvalues), "variances of at least 0"),
        ((FOURIER, np.ones(3)), "variances of at least 0"),
        ((FOURIER, FIELD.eigenvalues, np.ones(3)), r"the mean has shape \(3,\)"),
        ((FOURIER, FIELD.eigenvalues, 0.0, 3), "at least 16"),
    ],
)
def test_impossible_frames(arguments, sentence) -> None:
    with pytest.raises(PlanError, match=sentence):
        Frame(*arguments)


def test_per_sample_stacks_plans() -> None:
    process = EDM()
    plans = [
        sgmsolve.build_plan(process, "heun", grid=[a, a / 2, a / 4, 0.0]) for a in (1.0, 2.0, 3.0)
    ]
    stacked = per_sample(plans)
    assert stacked.t.shape == (5, 3)
    for i, plan in enumerate(plans):
        np.testing.assert_array_equal(stacked.at(index=i).move, plan.move)
        np.testing.assert_array_equal(stacked.at(index=i).t, plan.t)
    with pytest.raises(PlanError, match="plan 1 has 3 rows"):
        per_sample([plans[0], sgmsolve.build_plan(process, "heun", grid=[1.0, 0.5, 0.0])])
    with pytest.raises(PlanError, match="no plans"):
        per_sample([])
    with pytest.raises(PlanError, match="expected 0 to 2"):
        stacked.at(index=3)
