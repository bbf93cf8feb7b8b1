"""What two components ask of the core: sentences, blocks and models of any width."""

from __future__ import annotations

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import MethodError, ModelError, PlanError, ProcessError
from sgmsolve.methods.registry import all_methods
from sgmsolve.plan import PlanBuilder

PSLD = sgmsolve.PSLD()
GRID = [1.0, 0.5, 0.1]


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
@pytest.mark.parametrize("method", all_methods(), ids=lambda m: m.name)
def test_methods_run_on_matrices_or_say_that_they_do_not(method: object) -> None:
    if not method.scalar:  # type: ignore[attr-defined]
        plan = method(PSLD, GRID)  # type: ignore[operator]
        assert (plan.m, plan.p) == (2, 2)
        return
    with pytest.raises(MethodError, match="PSLD has 2 components"):
        method(PSLD, GRID)  # type: ignore[operator]


def test_a_kind_names_its_factor() -> None:
    with pytest.raises(ProcessError, match="noise:lower"):
        sgmsolve.as_model(lambda x, v, t: (x, v), PSLD, predicts="noise")


def test_a_model_returns_all_components_of_its_kind() -> None:
    only_momentum = sgmsolve.as_model(lambda x, v, t: v, PSLD, predicts="noise:lower")
    z = (np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ModelError, match=r"returned 1 array\(s\) .* expected 2"):
        sgmsolve.model.to_kind(only_momentum, "score")(z, 0.5)


@pytest.mark.parametrize(
    ("coefficient", "sentence"),
    [
        (np.ones((1, 2)), r"shape \(1, 2\), expected a number or \(2, 1\)"),
        (0.1, "multiplies a prediction with fewer components"),
    ],
)
def test_coefficients_of_another_width_are_refused(coefficient: object, sentence: str) -> None:
    b = PlanBuilder(PSLD, GRID, predicts="score")
    wide = np.array([[0.0], [1.0]])
    for t, _ in b.steps():
        b.advance(b.z + wide @ b.predict(b.z, t))
    b.advance(b.z + coefficient * b.predict(b.z, 0.1), 0.05)
    with pytest.raises(PlanError, match=sentence):
        b.plan()


def test_the_exact_analysis_starts_from_the_law_that_samples_start_from() -> None:
    """The prior is the stationary law, which differs from the marginal of x0 = 0 at t_max."""
    assert (PSLD.starting_covariance(1.0) == PSLD.prior()).all()
    assert np.abs(PSLD.prior() - PSLD.covariance(1.0)).max() > 1e-6
    assert (PSLD.starting_covariance(0.5) == PSLD.covariance(0.5)).all()
