"""Euler-Maruyama with a preconditioner at every place: against ReverseSDE, and its order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sgmsolve.problems import find

import sgmsolve
from sgmsolve import PSLD, VE, VP, Gaussian, KeyedNoise, ReverseSDE
from sgmsolve.analysis.exact import error
from sgmsolve.errors import MethodError, PreconditionError
from sgmsolve.precondition import PDS, Diagonal, Skew, SpaceFrequency

SHAPE = (3, 4)
RNG = np.random.default_rng(0)
GAINS = RNG.uniform(1.0, 1.3, (3, 4))
BOTH = SpaceFrequency(
    SHAPE, frequency=(GAINS + np.roll(GAINS[::-1, ::-1], 1, (0, 1))) / 2, space=GAINS
)
SKEW = Skew(SHAPE, (0, 1), 0.4)
ROOT = RNG.standard_normal((12, 12)) / 4
TARGET = Gaussian(RNG.standard_normal(SHAPE), ROOT @ ROOT.T + 0.1 * np.eye(12))


@pytest.mark.parametrize("where", ["exact-split", "published", "noise", "forward"])
@pytest.mark.parametrize("process", [VP(), VE(), PSLD()], ids=["vp", "ve", "psld"])
@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_a_plan_is_euler_on_the_reverse_sde(process, where, eta) -> None:
    """Drift, noise and prior of every place, for an M that is diagonal nowhere, and S."""
    skew = SKEW if where in ("exact-split", "forward") else None
    options = {"preconditioner": BOTH, "where": where, "skew": skew, "eta": eta}
    grid = [process.t_max * x for x in (1.0, 0.95, 0.9)]
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid=grid, **options)
    model = TARGET.model(process)
    z = tuple(RNG.standard_normal((2, *SHAPE)) for _ in range(process.m))
    found = sgmsolve.solve(plan, model, z, noise="philox", seed=5).z
    sde = ReverseSDE(process, model, **options)
    draw = KeyedNoise(5, generator="philox").bind(plan, z)
    y = sde.starting(z)
    for r, (t, s) in enumerate(itertools.pairwise(grid)):
        xi = tuple(draw(r, j) for j in range(process.m))
        drift, noise = sde.drift(y, t), sde.diffuse(y, t, xi)
        y = tuple(
            a + (t - s) * d + (t - s) ** 0.5 * n for a, d, n in zip(y, drift, noise, strict=True)
        )
    for mine, theirs in zip(found, y, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-11 * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["field", "psld-gaussian"])
def test_exact_split_is_of_order_one_and_the_released_drift_is_biased(name) -> None:
    problem = find(name)
    if name == "field":
        M = PDS.from_spectrum(problem.target, alpha=3.0)
    else:
        M = Diagonal(np.linspace(1.0, 1.5, problem.dimension).reshape(problem.shape))

    def errors(where, steps):
        plans = [
            sgmsolve.build_plan(
                problem.process, "euler-maruyama", steps=n, preconditioner=M, where=where
            )
            for n in steps
        ]
        return [error(p, problem.target, problem.process) for p in plans]

    exact, biased = errors("exact-split", (200, 400, 800)), errors("published", (400, 800))
    slopes = np.log2(np.array(exact[:-1]) / exact[1:])
    assert ((slopes > 0.9) & (slopes < 1.1)).all()
    assert biased[1] > 5 * exact[2]
    assert biased[1] > 0.95 * biased[0]


def test_claims_and_refusals() -> None:
    assert sgmsolve.build_plan(VP(), "em", steps=2, preconditioner=BOTH).orders == {"weak": 1}
    biased = sgmsolve.build_plan(VP(), "em", steps=2, preconditioner=BOTH, where="noise")
    assert biased.orders == {}
    with pytest.raises(MethodError, match="this method has none; use predictor-corrector"):
        sgmsolve.build_plan(VP(), "em", steps=2, preconditioner=BOTH, where="corrector")
    with pytest.raises(PreconditionError, match="unknown where: 'exact'"):
        sgmsolve.build_plan(VP(), "em", steps=2, preconditioner=BOTH, where="exact")
    with pytest.raises(PreconditionError, match="expected an operator"):
        sgmsolve.build_plan(VP(), "em", steps=2, preconditioner=1.1)
