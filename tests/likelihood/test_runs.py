"""Runs: libraries agree, priors, error estimates, fixed steps, samples that do not finish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from likelihood_cases import GAUSSIAN, MIXTURE, PROCESSES, states
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.errors import IncompleteWarning, Status
from sgmsolve.likelihood import gaps, log_density

torch = pytest.importorskip("torch")


def test_torch_jax_and_numpy_agree() -> None:
    jnp = pytest.importorskip("jax.numpy")
    process, model = sgmsolve.VP(), MIXTURE.model(sgmsolve.VP(), "noise")
    x = MIXTURE.sample(4, seed=5)
    here = log_density(process, model, torch.tensor(x))
    # One compiled program: the batch does not shrink.
    there = log_density(process, model, jnp.asarray(x), compact=False)
    assert np.abs(here.log_p.numpy() - np.asarray(there.log_p)).max() < 1e-11
    assert here.nfe.tolist() == there.nfe.tolist()
    plain = log_density(process, model, x, derivative="differences")
    assert np.abs(here.log_p.numpy() - plain.log_p).max() < 1e-8
    again = log_density(process, model, torch.tensor(x), derivative="differences")
    assert np.abs(again.log_p.numpy() - plain.log_p).max() < 1e-11


@pytest.mark.slow
@pytest.mark.parametrize("divergence", ["exact", "hutchinson", "hutch++"])
def test_jax_in_phase_space_and_with_probes(divergence: str) -> None:
    jnp = pytest.importorskip("jax.numpy")
    process, kind = PROCESSES["psld" if divergence == "exact" else "vp"]
    model, z = MIXTURE.model(process, kind), states(process, MIXTURE, 3, 0.05)
    here = log_density(process, model, z, t_min=0.05)
    given = tuple(jnp.asarray(x.numpy()) for x in z)
    # A sketch as wide as the state is exact.
    count = {"exact": None, "hutchinson": 400, "hutch++": 6}[divergence]
    options: dict[str, Any] = {"divergence": divergence, "probes": count, "compact": False}
    there = log_density(process, model, given, t_min=0.05, **options)
    if divergence == "hutchinson":
        assert (np.abs(here.log_p.numpy() - there.log_p) < 4 * there.standard_error).all()
        assert there.standard_error.max() < 0.1
    else:
        assert np.abs(here.log_p.numpy() - there.log_p).max() < 1e-5


def test_no_graph_is_kept_of_a_network_s_weights() -> None:
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    layers = layers.double()
    model = sgmsolve.as_model(lambda x, t: layers(x), sgmsolve.VP(), predicts="noise")
    x = torch.randn((5, 2), dtype=torch.float64)
    found = log_density(sgmsolve.VP(), model, x, t_min=0.2)
    assert not found.log_p.requires_grad
    plain = log_density(sgmsolve.VP(), model, x, t_min=0.2, derivative="differences")
    assert (found.log_p - plain.log_p).abs().max() < 1e-7


def test_priors() -> None:
    process, model = sgmsolve.VE(sigma_max=20.0), MIXTURE.model(sgmsolve.VE(sigma_max=20.0))
    x = torch.tensor(MIXTURE.sample(3, seed=5))
    own = log_density(process, model, x, rtol=1e-4)
    laws = {
        "standard-normal": 1.0,
        "function": 9.0,
        "process": float(process.sigma(1.0)) ** 2,
    }
    for name, variance in laws.items():
        scale = torch.tensor(variance, dtype=torch.float64) ** 0.5
        law = torch.distributions.Normal(torch.zeros_like(scale), scale)
        prior = (lambda z: law.log_prob(z).sum(1)) if name == "function" else name  # noqa: B023
        found = log_density(process, model, x, prior=prior, rtol=1e-4)
        assert (found.log_prior - law.log_prob(own.z_T[0]).sum(1)).abs().max() < 1e-9
        assert torch.equal(found.volume, own.volume)


def test_the_estimated_error_covers_the_true_one() -> None:
    process, target = sgmsolve.EDM(), find("ring").target
    x = torch.tensor(target.sample(20, seed=2))
    model = target.model(process, "noise")
    found = log_density(process, model, x, prior=target, rtol=1e-4, atol=1e-4, estimate_error=True)
    true = gaps(found, target, x).solver.abs()
    assert float(true.mean()) < float(found.error.mean()) < 100 * float(true.mean())
    assert log_density(process, model, x[:1]).error is None


def test_fixed_steps_converge_at_the_order_of_the_solver() -> None:
    # A Gaussian whose flow is smooth: 5th order between N and 2 N.
    process = sgmsolve.VP()
    x = torch.tensor(GAUSSIAN.sample(3, seed=2))
    model = GAUSSIAN.model(process, "noise")
    errors = []
    for n in (16, 32):
        found = log_density(process, model, x, t_min=0.3, steps=n, prior=GAUSSIAN)
        errors.append(float(gaps(found, GAUSSIAN, x).solver.abs().max()))
        assert set(found.nfe.tolist()) <= {6 * n + 1, 7 * n}
    assert 4.5 < np.log2(errors[0] / errors[1]) < 6.5


def test_samples_that_do_not_finish_have_no_density() -> None:
    process, target = sgmsolve.EDM(), find("ring").target
    x = torch.tensor(target.sample(6, seed=2))
    model = target.model(process, "noise")
    full = log_density(process, model, x)
    attempts = int(np.median(full.nfe)) // 6
    with pytest.warns(IncompleteWarning, match="did not reach the end"):
        found = log_density(process, model, x, max_steps=attempts)
    done = np.array([s is Status.FINISHED for s in found.statuses])
    assert 0 < done.sum() < 6
    assert np.array_equal(np.isfinite(found.log_p.numpy()), done)
    assert (found.log_p - full.log_p)[done].abs().max() < 1e-9
    assert "did not reach" in found.message
