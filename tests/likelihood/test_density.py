"""Log-densities against closed forms: Gaussians and mixtures under every process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from likelihood_cases import COVARIANCE, GAUSSIAN, MIXTURE, PROCESSES, first_time, states
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.errors import Status
from sgmsolve.likelihood import gaps, log_density

torch = pytest.importorskip("torch")


def moments(process: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    u, noise = process.loading(t), process.covariance(t)
    mean = np.kron(u, GAUSSIAN.mean)
    return mean, np.kron(np.outer(u, u), COVARIANCE) + np.kron(noise, np.eye(2))


def normal(z: tuple[Any, ...], mean: np.ndarray, cov: np.ndarray) -> np.ndarray:
    y = np.concatenate([np.asarray(x) for x in z], axis=1) - mean
    quadratic = np.einsum("ni,ij,nj->n", y, np.linalg.inv(cov), y)
    return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * cov)[1])


@pytest.mark.parametrize("name", PROCESSES)
def test_a_gaussian_has_its_density_at_every_process(name: str) -> None:
    process, kind = PROCESSES[name]
    start = first_time(process)
    z = states(process, GAUSSIAN, 6, start)
    x = z if process.m > 1 else z[0]
    model = GAUSSIAN.model(process, kind)
    found = log_density(process, model, x, t_min=start, prior=GAUSSIAN)
    assert found.statuses == (Status.FINISHED,) * 6
    # The flow is linear, so the integral of its divergence is the same for all samples.
    first, last = moments(process, start), moments(process, found.t_max)
    volume = 0.5 * (np.linalg.slogdet(last[1])[1] - np.linalg.slogdet(first[1])[1])
    assert np.abs(found.volume.numpy() - volume).max() < 3e-5
    assert np.abs(found.log_prior.numpy() - normal(found.z_T, *last)).max() < 1e-10
    assert np.abs(found.log_p.numpy() - normal(z, *first)).max() < 3e-5
    assert torch.equal(found.log_p, found.log_prior + found.volume)


@pytest.mark.parametrize("name", ["ve", "flow", "psld"])
def test_a_mixture_has_its_density_at_every_process(name: str) -> None:
    process, kind = PROCESSES[name]
    start = first_time(process)
    z = states(process, MIXTURE, 6, start)
    x = z if process.m > 1 else z[0]
    found = log_density(process, MIXTURE.model(process, kind), x, t_min=start, prior=MIXTURE)
    assert gaps(found, MIXTURE, x).solver.abs().max() < 3e-5


def ring_log_p(x: np.ndarray, alpha: float, variance: float) -> np.ndarray:
    angle = 2 * np.pi * np.arange(8) / 8
    centres = alpha * np.stack([np.cos(angle), np.sin(angle)], 1)
    distance = ((x[:, None] - centres) ** 2).sum(-1)
    return np.log(np.exp(-0.5 * distance / variance).mean(1) / (2 * np.pi * variance))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("edm", "float64"), ("edm", "float32"), ("vp", "float64"), ("ve", "float32")],
)
def test_the_ring_is_within_1e_4_nats_at_the_default_tolerance(name: str, dtype: str) -> None:
    ring = find("ring")
    process = ring.process if name == "edm" else PROCESSES[name][0]
    start = ring.t_end if name == "edm" else max(process.t_min, 1e-3)
    x = torch.tensor(ring.target.sample(40, seed=7), dtype=getattr(torch, dtype))
    model = ring.target.model(process, "noise")
    found = log_density(process, model, x, t_min=start, prior=ring.target)
    alpha, sigma = float(process.alpha(start)), float(process.sigma(start))
    right = ring_log_p(x.double().numpy(), alpha, 0.01 * alpha**2 + sigma**2)
    assert np.abs(found.log_p.double().numpy() - right).max() < 1e-4
    found = gaps(found, ring.target, x)
    clean = ring_log_p(x.double().numpy(), 1.0, 0.01)
    assert np.abs(found.data.double().numpy() - (clean - right)).max() < 1e-4


def test_the_gaps_are_those_of_the_laws_at_both_ends() -> None:
    process = sgmsolve.VP()
    x = torch.tensor(MIXTURE.sample(20, seed=3))
    found = log_density(process, MIXTURE.model(process, "noise"), x)
    known = gaps(found, MIXTURE, x)
    # With the process's prior, the solver's gap is the prior's.
    assert (known.solver - known.prior).abs().max() < 1e-5
    exact = MIXTURE.marginal_log_prob(found.z_T[0], 1.0, process)
    z, s2 = found.z_T[0], float(process.sigma(1.0)) ** 2
    for gap, variance in ((known.prior, s2), (known.standard_normal, 1.0)):
        law = -0.5 * (z**2).sum(1) / variance - np.log(2 * np.pi * variance)
        assert (gap - (law - exact)).abs().max() < 1e-12
        assert 1e-6 < gap.abs().max() < 1e-2
    clean = MIXTURE.log_prob(x) - MIXTURE.marginal_log_prob(x, 1e-3, process)
    assert (known.data - clean).abs().max() < 1e-12
    assert known.data.abs().max() > 1e-4


def test_phase_space_data_gap_has_the_auxiliary_law() -> None:
    process = sgmsolve.PSLD()
    x, v = states(process, GAUSSIAN, 5, 0.01)
    found = log_density(process, GAUSSIAN.model(process, "score"), (x, v), t_min=0.01, rtol=0.01)
    known = gaps(found, GAUSSIAN, (x, v))
    law = np.zeros((4, 4))
    law[:2, :2], law[2:, 2:] = COVARIANCE, process.initial_covariance[1, 1] * np.eye(2)
    clean = normal((x, v), np.concatenate([GAUSSIAN.mean, np.zeros(2)]), law)
    right = clean - normal((x, v), *moments(process, 0.01))
    assert np.abs(known.data.numpy() - right).max() < 1e-10


@pytest.mark.parametrize("name", ["vp", "psld"])
def test_the_gradient_is_the_score(name: str) -> None:
    process, kind = PROCESSES[name]
    model = MIXTURE.model(process, kind)
    z = tuple(x.requires_grad_() for x in states(process, MIXTURE, 1, 0.3))
    found = log_density(process, model, z if process.m > 1 else z[0], t_min=0.3, prior=MIXTURE)
    slope = torch.autograd.grad(found.log_p.sum(), z)
    with torch.no_grad():
        score = MIXTURE.predict("score", z if process.m > 1 else z[0], 0.3, process)
    score = score if process.m > 1 else (score,)
    for a, b in zip(slope, score, strict=True):
        assert (a - b).abs().max() < 1e-4 * b.abs().max()
