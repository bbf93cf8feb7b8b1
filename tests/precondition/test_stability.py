"""Gains with which a place cannot work, or only with a bias that has no bound."""

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import PreconditionError, StabilityWarning
from sgmsolve.precondition import PDS, Diagonal, Scalar, Skew, SpaceFrequency


def test_gains_under_the_stability_bound():
    edge = 0.7071
    for m in (
        Scalar(edge),
        Diagonal(np.array([1.0, edge])),
        PDS((4, 4), space=edge * np.ones((4, 4))),
    ):
        with pytest.warns(
            StabilityWarning, match=r"of M M\^T is 0\.5, expected above 1/2: .*VE and 1"
        ):
            m.check_stable("published")
        for where in ("exact-split", "noise", "corrector", "forward"):
            m.check_stable(where)
    Scalar(0.7072).check_stable("published")
    Skew((5,), (1,), 1.0).check_stable("published")  # nothing is known of a skew matrix
    for where in ("published", "noise", "corrector", "forward"):
        with pytest.raises(PreconditionError, match="M is singular"):
            Scalar(0.0).check_stable(where)
    Scalar(0.0).check_stable("exact-split")
    with pytest.raises(PreconditionError, match="Did you mean 'noise'"):
        Scalar(1.0).check_stable("nose")
    low = np.full((33, 32), 0.9)
    low[0, 0] = 1.5
    with pytest.warns(StabilityWarning, match=r"at least 0\.2362"):
        SpaceFrequency((33, 32), 0.6 * low, low + 0 * low).check_stable("published")
    SpaceFrequency((33, 32), low, low).check_stable("published")


@pytest.mark.parametrize("process", [sgmsolve.EDM(), sgmsolve.VP(beta_max=60.0)], ids=repr)
def test_what_is_said_of_gains_under_the_bound(process):
    """The excess of a mode grows like (noise / lam)^(1 - 2a), for both kinds of noise."""
    m, lam = Scalar(0.5), np.array([1e-6, 1e-8])
    with pytest.warns(StabilityWarning, match=r"1 - 2a = 0\.5, with noise = sigma_max\^2"):
        m.check_stable("published")
    ratio = sgmsolve.invariance(process, m, "published", eigenvalues=lam).ratio
    assert ratio[1] / ratio[0] == pytest.approx(100**0.5, rel=1e-2)
    assert ratio[0] == pytest.approx(process.prior()[0, 0] ** 0.5 * 1e3, rel=1)


def test_the_gains_of_2022_run_where_they_were_published():
    made = PDS.from_images(np.random.default_rng(0).uniform(0, 1, (40, 4, 6)), normalisation="eccv")
    assert made.frequency.min() ** 2 < 0.5
    for process in (sgmsolve.VE(), sgmsolve.VP()):
        with pytest.warns(StabilityWarning, match="expected above 1/2"):
            plan = sgmsolve.build_plan(
                process, "predictor-corrector", steps=4, preconditioner=made, where="published"
            )
        assert plan.operands["M"] is made
