"""Which places keep the marginals, and the size of the bias of those that do not."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import (
    Diagonal,
    Disc,
    Identity,
    Preconditioner,
    Scalar,
    Skew,
    SpaceFrequency,
    Spectral,
    bias,
)
from sgmsolve.precondition.invariance import invariance
from sgmsolve.precondition.transform import DenseTransform
from sgmsolve.reverse import ReverseSDE

VE, VP, EDM = sgmsolve.VE(), sgmsolve.VP(), sgmsolve.EDM()
SUBVP, PSLD, CLD = sgmsolve.SubVP(), sgmsolve.PSLD(), sgmsolve.CLD()

# Table 5.1 of the specification: process, lambda, m, the recursion at 1e5 steps, theory.
TABLE = [
    (VE, 10.0, 0.8, 1.9354, 1.9349),
    (VE, 10.0, 1.1, 0.8524, 0.8523),
    (VE, 10.0, 1.25, 0.7354, 0.7353),
    (VE, 10.0, 1.4, 0.6713, 0.6712),
    (VE, 0.0053, 0.8, 2.2446, 2.2433),
    (VE, 0.0053, 1.1, 0.8523, 0.8521),
    (VE, 0.0053, 1.25, 0.7354, 0.7353),
    (VE, 0.0053, 1.4, 0.6713, 0.6712),
    (VP, 4.0, 0.8, 0.7092, 0.7100),
    (VP, 4.0, 1.25, 1.5220, 1.5220),
    (VP, 0.25, 0.8, 1.3020, 1.3023),
    (VP, 0.25, 1.25, 0.8146, 0.8146),
    (VP, 0.02, 0.8, 1.7520, 1.7516),
    (VP, 0.02, 1.25, 0.7427, 0.7425),
]


def by_steps(process: Any, lam: float, m: float, where: str, v: float, eta: float = 1.0) -> float:
    """Variance at t = 0 by Euler steps of the ReverseSDE itself, extrapolated twice."""
    target = sgmsolve.Gaussian([0.0], lam)
    model = target.model(process)
    runs = []
    for n in (1500, 3000, 6000):
        sde = ReverseSDE(process, model, eta, Scalar(m), where)
        grid = float(process.t_max) * np.linspace(1.0, 0.0, n + 1) ** 2
        t, h = grid[:-1], -np.diff(grid)
        one = (np.ones((n, 1)),)
        rate, noise = sde.drift(one, t)[0][:, 0], sde.diffuse(one, t, one)[0][:, 0]
        found = v
        for scale, gain in zip((1 + h * rate) ** 2, h * noise**2, strict=True):
            found = found * scale + gain
        runs.append(found)
    once = [2 * b - a for a, b in itertools.pairwise(runs)]
    return (4 * once[1] - once[0]) / 3


def ratio_of(made: Any) -> float:
    (found,) = made.ratio
    return float(found)


@pytest.mark.parametrize(("process", "lam", "m", "steps", "theory"), TABLE)
def test_table_5_1(process: Any, lam: float, m: float, steps: float, theory: float) -> None:
    made = invariance(process, Scalar(m), "published", eigenvalues=[lam])
    assert not made.keeps
    found = ratio_of(made)
    own = lam + float(process.covariance(0.0)[0, 0])
    # The table's VE ends at sigma = 0, ours at sigma_min, and 1e5 steps are not infinitely many.
    assert found == pytest.approx(theory, rel=1.2e-3)
    assert found == pytest.approx(steps, rel=1e-3)
    start = m**2 * float(process.prior()[0, 0])
    if lam >= 0.25:
        assert by_steps(process, lam, m, "published", start) / own == pytest.approx(found, rel=5e-5)
    exact = by_steps(process, max(lam, 0.25), m, "exact-split", float(process.prior()[0, 0]))
    assert exact / (max(lam, 0.25) + own - lam) == pytest.approx(1, abs=2e-4)


def test_closed_forms_of_the_specification() -> None:
    special = pytest.importorskip("scipy.special")
    for lam, m in [(10.0, 0.8), (0.0053, 1.25), (2.0, 1.4)]:
        a, S = m * m, 80.0**2
        kept = (lam / (lam + S)) ** (2 * a - 1)
        right = a / (2 * a - 1) * (1 - kept) + a * S / lam * (lam / (lam + S)) ** (2 * a)
        found = ratio_of(invariance(EDM, Scalar(m), "published", eigenvalues=[lam]))
        assert found == pytest.approx(right, rel=1e-12)
        # The noise place: gamma, and what is left of the prior.
        found = ratio_of(invariance(EDM, Scalar(m), "noise", eigenvalues=[lam]))
        assert found == pytest.approx(a * (1 - (lam / (lam + S)) ** 2), rel=1e-12)
    late = sgmsolve.VP(beta_max=80.0)  # e^-40 of the data is left at the start
    for lam, m in [(4.0, 1.25), (0.25, 0.8), (0.02, 1.25), (1e-4, 1.1)]:
        a = m * m
        right = lam ** (2 * a - 1) * special.hyp2f1(2 * a, a, a + 1, 1 - lam)
        found = ratio_of(invariance(late, Scalar(m), "published", eigenvalues=[lam]))
        assert found == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize("process", [VE, VP, EDM, SUBVP, sgmsolve.Flow()], ids=repr)
def test_the_quadrature_agrees_with_the_differential_equation(process: Any) -> None:
    a, lam = (np.repeat([0.64, 1.2, 1.6], 2), np.tile([0.01, 3.0], 3))
    for where in ("published", "noise"):
        case = bias.Case(process, where, 1.0)
        closed = case.per_mode(a, lam, moved=False)
        solved = case.end(a[:, None, None], lam[:, None, None])
        assert np.abs(solved[1][:, 0, 0] / closed[1] - 1).max() < 1e-7
        assert np.abs(solved[2][:, 0, 0] / closed[2] - 1).max() < 1e-14


def test_the_mean_is_moved_where_the_drift_has_a_linear_part() -> None:
    target = sgmsolve.Gaussian([1.0, -0.5], [0.3, 0.02])
    M = Diagonal([1.2, 0.9])
    shift = invariance(VP, M, "published", target=target).shift
    for i, (mean, lam, m) in enumerate([(1.0, 0.3, 1.2), (-0.5, 0.02, 0.9)]):
        sde = ReverseSDE(VP, sgmsolve.Gaussian([mean], lam).model(VP), 1.0, Scalar(m), "published")
        runs = []
        for n in (2000, 4000, 8000):
            grid = np.linspace(1.0, 0.0, n + 1) ** 2
            t, h = grid[:-1], -np.diff(grid)
            rest = sde.drift((np.zeros((n, 1)),), t)[0][:, 0]
            rate = sde.drift((np.ones((n, 1)),), t)[0][:, 0] - rest
            x = mean * float(VP.alpha(1.0))
            for scale, push in zip(1 + h * rate, h * rest, strict=True):
                x = x * scale + push
            runs.append(x)
        once = [2 * b - a for a, b in itertools.pairwise(runs)]
        assert shift is not None
        assert (4 * once[1] - once[0]) / 3 - mean == pytest.approx(shift[i], rel=1e-3)
    for process, where in [(VE, "published"), (VP, "noise")]:
        assert np.abs(invariance(process, M, where, target=target).shift).max() < 1e-12
    # Together: the distance between two Gaussians that share their axes.
    made = invariance(VP, M, "published", target=target)
    assert made.ratio is not None
    gap = (np.sqrt(made.ratio) - 1) ** 2 * [0.3, 0.02] + made.shift**2
    assert made.w2 == pytest.approx(math.sqrt(gap.mean()), rel=1e-12)
    assert f"{made.w2:.3g} per entry" in made.sentence


@pytest.mark.parametrize(
    ("process", "where", "eta"),
    [(VP, "published", 1.0), (VP, "noise", 0.7), (PSLD, "published", 0.5)],
)
def test_dense_matrices_agree_with_modes(process: Any, where: str, eta: float) -> None:
    """The same target and M seen through a transform that they do not seem to share."""
    lam, gains, mean = np.array([0.4, 0.05, 1.5]), np.array([1.2, 1.05, 0.9]), [0.3, -0.2, 0.5]
    given: Any = {"where": where, "eta": eta}
    modes = invariance(process, Diagonal(gains), target=sgmsolve.Gaussian(mean, lam), **given)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    # Eigenvalues in another order: the modes are the same, the transforms are not.
    M = Spectral(DenseTransform(turn[:, [2, 0, 1]], (3,)), gains[[2, 0, 1]])
    turned = sgmsolve.Gaussian(turn @ mean, turn @ np.diag(lam) @ turn.T)
    dense = invariance(process, M, target=turned, **given)
    assert modes.gains is not None
    assert dense.gains is None
    assert dense.w2 == pytest.approx(modes.w2, rel=1e-6)
    assert np.linalg.norm(dense.shift) == pytest.approx(np.linalg.norm(modes.shift), abs=1e-9)


def test_phase_space_by_steps_of_the_sde_itself() -> None:
    """Euler steps of the 2 x 2 moment equations, read off from the ReverseSDE."""
    lam, m, eta = 0.4, 1.2, 0.8
    sde = ReverseSDE(PSLD, sgmsolve.Gaussian([0.0], lam).model(PSLD), eta, Scalar(m), "published")
    runs = []
    for n in (1000, 2000, 4000):
        grid = np.linspace(1.0, 0.0, n + 1) ** 2
        t, h = grid[:-1], -np.diff(grid)
        units = [tuple(np.full((n, 1), float(i == j)) for i in range(2)) for j in range(2)]
        L, N = (
            np.stack([np.stack(column, axis=1)[..., 0] for column in columns], axis=2)
            for columns in (
                [sde.drift(u, t) for u in units],
                [sde.diffuse(u, t, u) for u in units],
            )
        )
        V = m**2 * PSLD.prior()
        for i in range(n):
            step = np.eye(2) + h[i] * L[i]
            V = step @ V @ step.T + h[i] * N[i] @ N[i].T
        runs.append(V[0, 0])
    once = [2 * b - a for a, b in itertools.pairwise(runs)]
    found = ratio_of(invariance(PSLD, Scalar(m), "published", eigenvalues=[lam], eta=eta))
    assert (4 * once[1] - once[0]) / 3 / lam == pytest.approx(found, rel=1e-4)
    assert abs(found - 1) > 0.01


def test_operators_that_commute_with_nothing() -> None:
    """Euler steps of the ReverseSDE's own matrices, for M and a covariance of different axes."""
    gain = np.array([[1.0, 1.2], [1.1, 1.3]])
    M = SpaceFrequency((2, 2), gain, gain.T[::-1])
    half = np.random.default_rng(4).standard_normal((4, 4))
    cov, mean = half @ half.T / 4 + 0.1 * np.eye(4), np.array([[0.5, -0.4], [0.3, 0.2]])
    target = sgmsolve.Gaussian(mean, cov)
    sde = ReverseSDE(VP, target.model(VP), 1.0, M, "published")
    dense, runs = M.matrix(), []
    for n in (500, 1000, 2000):
        grid = np.linspace(1.0, 0.0, n + 1) ** 2
        t, h = grid[:-1], -np.diff(grid)
        points = np.concatenate([np.zeros((1, 4)), np.eye(4)]).reshape(5, 1, 2, 2)
        rates = [sde.drift((np.repeat(x, n, axis=0),), t)[0].reshape(n, 4) for x in points]
        V, x = dense @ dense.T * VP.prior()[0, 0], VP.alpha(1.0) * mean.ravel()
        for i in range(n):
            step = np.eye(4) + h[i] * np.stack([r[i] - rates[0][i] for r in rates[1:]], axis=1)
            V = step @ V @ step.T + h[i] * VP.g2(t[i]) * dense @ dense.T
            x = step @ x + h[i] * rates[0][i]
        runs.append(np.append(np.diag(V) / np.diag(cov), x - mean.ravel()))
    once = [2 * b - a for a, b in itertools.pairwise(runs)]
    right = (4 * once[1] - once[0]) / 3
    made = invariance(VP, M, "published", target=target)
    assert made.ratio == pytest.approx(right[:4], rel=2e-4)
    assert made.shift == pytest.approx(right[4:], abs=2e-4)
    assert np.abs(right - np.repeat([1.0, 0.0], 4)).max() > 0.05


def test_places_that_keep_the_marginals() -> None:
    M, S = Diagonal([1.2, 1.0, 1.1]), Skew((3,), (1,), 0.4)
    target = sgmsolve.Gaussian([0.1, 0.2, 0.3], [1.0, 0.5, 0.2])
    for where in ("exact-split", "corrector", "forward"):
        made = invariance(PSLD, M, where, skew=S, target=target)
        assert made.keeps
        assert np.array_equal(made.ratio, np.ones(3))
        assert made.w2 == 0.0
    for same in (None, Identity(), Scalar(-1.0), Diagonal([1.0, -1.0, 1.0])):
        made = invariance(VP, same, "published", target=target)
        assert made.keeps
        assert "M M^T = I" in made.sentence
    plain = invariance(VE, M, "forward", target=target, retrained=False)
    assert not plain.keeps
    assert plain.w2 == invariance(VE, M, "published", target=target).w2
    assert "retrained=False" in invariance(VE, M, "forward").sentence
    # Under VP the preconditioned process forgets M: its prior is the plain one.
    pair = [
        ratio_of(invariance(VP, Scalar(0.8), w, eigenvalues=[9.0], retrained=False))
        for w in ("forward", "published")
    ]
    alpha, prior = float(VP.alpha(1.0)), float(VP.prior()[0, 0])
    rest = (1 - 0.64) * prior / 9 * (9 * alpha / (9 * alpha**2 + prior)) ** 1.28
    assert pair[0] - pair[1] == pytest.approx(rest, rel=1e-9)


def test_a_skew_of_zero_and_one_of_any_shape_are_kept() -> None:
    class Turn(Preconditioner):
        """Skew on samples of any shape."""

        def apply(self, x: Any) -> Any:
            return np.roll(x, 1, axis=-1) - np.roll(x, -1, axis=-1)

        def transpose(self, x: Any) -> Any:
            return -self.apply(x)

    for S in (Scalar(0.0), Turn()):
        assert invariance(VP, Diagonal([1.2, 1.0]), skew=S).keeps


def test_sentences_and_tables() -> None:
    field = sgmsolve.GaussianField.power_law((4, 6), variance=0.06)
    M = SpaceFrequency((4, 6), np.where(field.eigenvalues > 0.05, 1.0, 1.25).reshape(4, 6))
    made = invariance(VE, M, "published")
    assert "a/(2a - 1) of it, 0.7353 to 1" in made.sentence
    assert np.allclose(made.gains, [1.0, 1.5625])
    assert made.ratio is None
    assert "gain in front of their variance, 1 to 1.562" in invariance(CLD, M, "noise").sentence
    assert "not above 1/2" in invariance(VE, Scalar(0.7), "published").sentence
    table = invariance(VP, M, "published", eigenvalues=[0.02, 0.25, 4.0])
    assert table.ratio is not None
    assert table.ratio.shape == (2, 3)
    assert np.abs(table.ratio[0] - 1).max() < 1e-4  # what the prior leaves out
    assert table.ratio[1] == pytest.approx([0.7427, 0.8146, 1.5220], rel=1e-3)
    assert table.w2 is None
    paired = invariance(VP, M, "published", eigenvalues=field.eigenvalues)
    whole = invariance(VP, M, "published", target=field)
    assert np.array_equal(paired.ratio, whole.ratio)
    assert paired.w2 == whole.w2 > 0.01


def test_bad_input() -> None:
    M = SpaceFrequency((4, 6), None, 1 + np.arange(24).reshape(4, 6) / 50)
    frequency = np.full((4, 6), 1.2)
    frequency[0, 0] = 1.0
    both = SpaceFrequency((4, 6), frequency, M.space)
    field = sgmsolve.GaussianField.power_law((4, 6))
    large = sgmsolve.Gaussian(np.zeros((20, 20)), 0.1 + np.arange(400.0).reshape(20, 20))
    bad: Any = [
        (VP, M, "there", {}, "where"),
        ("vp", M, "noise", {}, "process is a str, expected a forward process"),
        (VP, M, "noise", {"target": 1.0}, r"target is a float, expected a target with moments"),
        (VP, np.eye(3), "published", {}, "preconditioner is a ndarray"),
        (VP, M, "noise", {"skew": Skew((4, 6), (0, 1), 1.0)}, "S would change it"),
        (VP, None, "exact-split", {"skew": Scalar(1.0)}, r"skew is a Scalar .*expected S\^T = -S"),
        (VP, None, "corrector", {"skew": Identity()}, "skew is a Identity"),
        (VP, M, "exact-split", {"skew": Skew((6, 4), (0, 1), 1.0)}, r"\(4, 6\), but skew is for"),
        (VP, M, "noise", {"target": field, "eigenvalues": [1.0]}, "give one of them"),
        (VP, M, "noise", {"eta": -1.0}, "eta = -1.0"),
        (VP, Scalar(1.1), "noise", {"eigenvalues": [1.0, 0.0]}, "smallest variance .* is 0.0"),
        (VP, M, "noise", {"target": sgmsolve.Gaussian(np.zeros((4, 4)), 1.0)}, "have shape"),
        (VP, both, "noise", {"eigenvalues": [1.0, 2.0]}, "M has none in a transform"),
        (VP, Disc((20, 20), 0.2, 1.1), "noise", {"target": large}, "make states of 400 numbers"),
    ]
    for process, operator, where, options, words in bad:
        with pytest.raises(PreconditionError, match=words):
            invariance(process, operator, where, **options)
