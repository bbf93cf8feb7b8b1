"""Every member of the reverse family has the marginals of the forward process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve
from sgmsolve.reverse import ForwardSDE, ProbabilityFlow, ReverseSDE

TARGET = sgmsolve.Gaussian([0.6, -0.3], [[0.5, 0.2], [0.2, 0.9]])
PROCESSES = {
    "vp": (sgmsolve.VP(), "noise", 0.9, 0.2),
    "ve": (sgmsolve.VE(sigma_max=5.0), "data", 0.9, 0.2),
    "edm": (sgmsolve.EDM(sigma_max=5.0), "data", 4.0, 0.3),
    "psld": (sgmsolve.PSLD(), "noise:lower", 0.9, 0.2),
}
ETAS: dict[str, Any] = {
    "0": 0.0,
    "0.5": 0.5,
    "1": 1.0,
    "function": lambda t: 0.3 + 0.7 * t / (1 + t),
}


def affine(sde: Any, t: float, m: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """(A, b) of drift = A z + b on the flattened state (m d,), read off from the drift."""
    basis = np.concatenate([np.zeros((1, m * d)), np.eye(m * d)])
    z = tuple(basis.reshape(-1, m, d)[:, i] for i in range(m))
    out = np.stack(sde.drift(z, t), axis=1).reshape(-1, m * d)
    return (out[1:] - out[0]).T, out[0]


def exact(process: Any, t: float) -> tuple[np.ndarray, np.ndarray]:
    mean, covariance = TARGET.mean, np.array([[0.5, 0.2], [0.2, 0.9]])
    u, noise = process.loading(t), process.covariance(t)
    return np.kron(u, mean), np.kron(np.outer(u, u), covariance) + np.kron(noise, np.eye(2))


def moments(sde: Any, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance at ``end`` of a linear SDE that is exact at ``start``."""
    integrate = pytest.importorskip("scipy.integrate")
    process, m, d = sde.process, sde.process.m, 2
    n = m * d
    down = start > end

    def rate(s: float, y: np.ndarray) -> np.ndarray:
        A, b = affine(sde, -s if down else s, m, d)
        D = np.kron(sde.diffusion(-s if down else s), np.eye(d))
        P = y[n:].reshape(n, n)
        return np.concatenate([A @ y[:n] + b, (A @ P + P @ A.T + D @ D.T).ravel()])

    mean, cov = exact(process, start)
    span = (-start, -end) if down else (start, end)
    y0 = np.concatenate([mean, cov.ravel()])
    y = integrate.solve_ivp(rate, span, y0, method="DOP853", rtol=1e-10, atol=1e-11).y[:, -1]
    return y[:n], y[n:].reshape(n, n)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("name", PROCESSES)
def test_the_moments_of_a_gaussian_stay_those_of_the_forward_process(name: str, eta: str) -> None:
    process, kind, start, end = PROCESSES[name]
    sde = ReverseSDE(process, TARGET.model(process, kind), ETAS[eta])
    mean, cov = moments(sde, start, end)
    right_mean, right_cov = exact(process, end)
    assert np.abs(mean - right_mean).max() < 1e-7
    assert np.abs(cov - right_cov).max() < 1e-7


@pytest.mark.parametrize("name", PROCESSES)
def test_the_forward_object_is_the_forward_process(name: str) -> None:
    process, kind, end, start = PROCESSES[name]
    sde = ReverseSDE(process, TARGET.model(process, kind)).forward()
    assert isinstance(sde, ForwardSDE)
    mean, cov = moments(sde, start, end)
    right_mean, right_cov = exact(process, end)
    assert np.abs(mean - right_mean).max() < 1e-7
    assert np.abs(cov - right_cov).max() < 1e-7


MIXTURE = sgmsolve.GaussianMixture([0.4, 0.6], [[-1.0], [0.7]], [0.1, 0.2])


def fokker_planck(process: Any, sde: Any, t: float, gain: float = 1.0) -> tuple[Any, Any]:
    """(d log p / d tau by automatic differentiation of log p, the operator's right-hand side).

    d_tau p = -div(f p) + 1/2 sum_ij (D D^T)_ij d_i d_j p, divided by p.
    """
    torch = pytest.importorskip("torch")
    n, m = 60, process.m
    rng = np.random.default_rng(3)
    size = np.sqrt(np.diag(process.covariance(t)) + process.loading(t) ** 2)
    points = torch.tensor(rng.uniform(-1.8, 1.8, (n, m)) * size).requires_grad_(True)

    def log_p(z: Any, when: float) -> Any:
        parts = tuple(z[:, i : i + 1] for i in range(m))
        return MIXTURE.marginal_log_prob(parts if m > 1 else parts[0], when, process)

    value = log_p(points, t)
    (slope,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    hessian = torch.stack(
        [torch.autograd.grad(slope[:, i].sum(), points, retain_graph=True)[0] for i in range(m)], 1
    )
    parts = tuple(points[:, i : i + 1] for i in range(m))
    linear, score = sde.split(parts, t)
    f = torch.cat([a + gain * b for a, b in zip(linear, score, strict=True)], 1)
    divergence = sum(
        torch.autograd.grad(f[:, i].sum(), points, retain_graph=True)[0][:, i] for i in range(m)
    )
    D = torch.tensor(sde.diffusion(t))
    second = hessian + slope[:, :, None] * slope[:, None, :]
    spread = 0.5 * torch.einsum("ij,nij->n", D @ D.T, second)
    h = 1e-3 * t
    weights = {1: 0.8, 2: -0.2, 3: 4 / 105, 4: -1 / 280}  # eighth order
    with torch.no_grad():
        forward = sum(
            w * (log_p(points, t + k * h) - log_p(points, t - k * h)) for k, w in weights.items()
        )
    return (-forward / h).detach(), (-divergence - (f * slope).sum(1) + spread).detach()


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("name", PROCESSES)
def test_a_mixture_solves_the_fokker_planck_equation(name: str, eta: str) -> None:
    process, kind, _, t = PROCESSES[name]
    sde = ReverseSDE(process, MIXTURE.model(process, kind), ETAS[eta])
    left, right = fokker_planck(process, sde, t)
    scale = left.abs().max()
    assert (left - right).abs().max() < 1e-6 * scale
    # The measure sees 1 % of the score part.
    left, right = fokker_planck(process, sde, t, gain=1.01)
    assert (left - right).abs().max() > 1e-3 * scale


def test_the_probability_flow_is_the_family_without_noise() -> None:
    process = sgmsolve.PSLD()
    model = MIXTURE.model(process, "noise:upper")
    flow, sde = ProbabilityFlow(process, model), ReverseSDE(process, model, 0.0)
    z = tuple(np.random.default_rng(0).standard_normal((2, 5, 1)))
    assert flow.noise == sde.noise == "none"
    for a, b in zip(flow.drift(z, 0.4), sde.drift(z, 0.4), strict=True):
        assert np.array_equal(a, b)
    assert not np.any(flow.diffusion(0.4))
