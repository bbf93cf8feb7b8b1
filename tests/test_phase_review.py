"""Faults found in a review of phase space, each with the input that showed it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import sgmsolve
from sgmsolve.sampling import start

PAIR = sgmsolve.Gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))


def inpainted(process, method, steps, **options):
    """Mean and std of x2 given x1 = 2, by replacement, from 1000 samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sgmsolve.errors.StabilityWarning)
        plan = sgmsolve.build_plan(process, method, steps=steps, **options)
    hook = sgmsolve.inpainting(process, plan, np.array([2.0, 0.0]), np.array([1.0, 0.0]), seed=1)
    z = start(process, plan.t_start, np.zeros((1000, 2)), seed=3)
    model = PAIR.model(process, plan.predicts)
    x = np.asarray(sgmsolve.solve(plan, model, hook.start(z), between=hook, seed=5).x)
    return float(x[:, 1].mean()), float(x[:, 1].std())


@pytest.mark.parametrize("method", ["roba", "noba", "nobab", "robab", "strang2", "strang2-ode"])
def test_inpainting_reaches_every_evaluation_of_a_step(method):
    """Replacement gives about 1.25 +- 0.56 with every method (1.8 is the exact mean).

    Steps that begin with O or L kept a state that no replacement reached: nobab gave a mean of
    -0.25, strang2 one of 0 (no conditioning at all), noba a standard deviation of 139.
    """
    mean, std = inpainted(sgmsolve.PSLD(gamma=0.1), method, 60)
    assert 1.1 < mean < 1.4
    assert 0.45 < std < 0.68


@pytest.mark.parametrize("method", ["rse", "cvv", "roba", "coba"])
def test_a_denoising_row_hides_no_instability(method):
    """The limit is the scheme's: a denoising row shrinks the state, whatever came before it."""
    said = []
    for denoise in (False, True):
        with pytest.warns(sgmsolve.errors.StabilityWarning) as found:
            sgmsolve.build_plan(sgmsolve.PSLD(), method, steps=3, grid="uniform", denoise=denoise)
        said.append(str(found[0].message))
    assert said[0] == said[1]


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
@pytest.mark.parametrize("method", ["cse", "coba"])
def test_conjugate_splittings_run_down_to_t_zero(method):
    """With kappa > 0 the momentum is noisy at t = 0: the last step is one like all others.

    It was an IndexError. Steps to 0 and to 1e-9 differ by the length that is left alone.
    """
    process = sgmsolve.PSLD()
    ends = []
    for last in (0.0, 1e-9):
        grid = [*np.linspace(1.0, 0.02, 50), last]
        plan = sgmsolve.build_plan(process, method, grid=grid)
        z = start(process, plan.t_start, np.zeros((8, 2)), seed=3)
        model = PAIR.model(process, plan.predicts)
        ends.append(np.array(sgmsolve.solve(plan, model, z, seed=5).z))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-3 * np.abs(ends[1]).max())


@pytest.mark.parametrize("B", [1j * np.eye(2), lambda t: 1j * np.eye(2)])
def test_a_complex_B_is_refused(B):
    """Its imaginary part was dropped with numpy's warning."""
    with pytest.raises(sgmsolve.errors.MethodError, match="expected a finite matrix"):
        sgmsolve.build_plan(sgmsolve.PSLD(), "conjugate", steps=3, B=B)
