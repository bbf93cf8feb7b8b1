"""Exact targets under processes of several components, against densities built without them."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import torch
from executor_cases import BACKENDS, to_backend, to_host
from phase_cases import CASES, THREE, quadratic_striding
from scipy.integrate import solve_ivp
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from target_cases import covariance

import sgmsolve
from sgmsolve import CLD, PSLD, VP
from sgmsolve.errors import (
    AnalysisError,
    BackendError,
    GridError,
    ModelError,
    ProcessError,
    TargetError,
)
from sgmsolve.target import Empirical, Gaussian, GaussianField, GaussianMixture, phase
from sgmsolve.target.phase_flow import flow_matrices

pytestmark = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")

NAMES = ("psld", "cld", "overdamped")
PROCESSES = {**{name: CASES[name] for name in NAMES}, "three": THREE}
KINDS = [
    *("score", "data", "noise:lower", "noise:upper", "noise:rotation-free"),
    *("noise:lower:dsm", "noise:upper:dsm"),
]
T = 0.17  # where Psi, Sigma and the target all matter


def make_targets():
    normal = np.random.default_rng(2).standard_normal
    spectrum = np.array([[0.9, 0.2], [0.4, 0.3]])
    return {
        "diagonal": Gaussian(normal((1, 2)), np.array([[0.7, 0.04]])),
        "dense": Gaussian(normal(3), covariance(3, 1)),
        "low-rank": Gaussian.low_rank(normal(4), normal((4, 2)), [1.0, 0.3], 0.4),
        "field": GaussianField((2, 2), spectrum, mean=0.3),
        "mixture": GaussianMixture([3, 1, 2], normal((3, 2)), covariance(2, 2, 3)),
        "empirical": Empirical(normal((5, 1, 2)), 0.3),
        "points": Empirical(normal((4, 2)), 0.0),
    }


TARGETS = make_targets()


def components(target):
    """Weights (K,), means (K, d) and covariances (K, d, d) of a target, from its parameters."""
    if isinstance(target, Empirical):
        flat = target.data.reshape(len(target.data), -1)
        covs = np.broadcast_to(np.eye(target.dim) * target.bandwidth**2, (len(flat), *(2 * [2])))
        return np.full(len(flat), 1 / len(flat)), flat, covs
    if isinstance(target, GaussianMixture):
        covs = [q @ np.diag(v) @ q.T for q, v in zip(target.basis, target.eigenvalues, strict=True)]
        return target.weights, target.means, np.array(covs)
    mean, cov = target.moments()
    return np.ones(1), mean.reshape(1, -1), np.asarray(cov)[None]


def brute_log_prob(target, process, z, t):
    """Log of a mixture of Gaussians of m d dimensions; the component index runs slowest."""
    u, noise = process.loading(t), process.covariance(t)
    flat = np.concatenate([part.reshape(len(part), -1) for part in z], axis=1)
    parts = []
    for w, mean, cov in zip(*components(target), strict=True):
        joint = np.kron(np.outer(u, u), cov) + np.kron(noise, np.eye(target.dim))
        parts.append(np.log(w) + multivariate_normal.logpdf(flat, np.kron(u, mean), joint))
    return logsumexp(np.array(parts).reshape(-1, len(flat)), axis=0)


def draw(target, process, t, n=6, seed=4):
    """N exact draws of z(t) and the standard normals behind them, L eps with the lower L."""
    rng = np.random.default_rng(seed)
    x0 = target.sample(n, rng)
    eps = rng.standard_normal((process.m, *x0.shape))
    moved = np.tensordot(process.factor("lower", t), eps, axes=1)
    return tuple(u * x0 + part for u, part in zip(process.loading(t), moved, strict=True)), eps


def relative(a, b):
    a, b = np.asarray([to_host(x) for x in a]), np.asarray([to_host(x) for x in b])
    assert a.shape == b.shape
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.fixture(params=PROCESSES)
def process(request):
    return PROCESSES[request.param]


@pytest.fixture(params=TARGETS)
def target(request):
    return TARGETS[request.param]


def test_density_is_that_of_the_joint_mixture(target, process):
    z, _ = draw(target, process, T)
    wanted = brute_log_prob(target, process, z, T)
    assert np.abs(target.marginal_log_prob(z, T, process) - wanted).max() < 1e-9


def test_score_is_the_slope_of_the_joint_mixture(target, process):
    """Central differences of the density built here, entry by entry."""
    z, _ = draw(target, process, T, n=3)
    score = target.score(z, T, process)
    h = 1e-5 * np.sqrt(process.covariance(T)[0, 0])
    for i in range(process.m):
        for entry in np.ndindex(target.shape):
            step = [np.zeros_like(part) for part in z]
            step[i][(slice(None), *entry)] = h
            ends = [tuple(a + s * b for a, b in zip(z, step, strict=True)) for s in (1, -1)]
            rise = [target.marginal_log_prob(end, T, process) for end in ends]
            brute = [brute_log_prob(target, process, end, T) for end in ends]
            got = score[i][(slice(None), *entry)]
            for up, down in (rise, brute):
                scale = np.abs(score[i]).max() + 1
                assert np.abs(got - (up - down) / (2 * h)).max() < 1e-6 * scale


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_are_the_affine_images_of_the_score(target, process, kind):
    """The data prediction by Tweedie's formula, Psi^-1 (z + Q score), all components of it."""
    z, _ = draw(target, process, T)
    a, b = process.conversion("score", kind, T)
    score = target.score(z, T, process)
    wanted = np.tensordot(a, np.array(z), axes=1) + np.tensordot(b, np.array(score), axes=1)
    got = target.model(process).as_kind(kind)(z, T)
    # Psi^-1 (overdamped: 1e12) loses digits that the model's own formula keeps.
    limit = 1e-11 + 1e-14 * np.abs(a).max() * (kind == "data")
    for i in range(process.m):
        assert np.abs(got[i] - wanted[i]).max() < limit * (1 + np.abs(wanted[i]).max()), i


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["diagonal", "dense", "low-rank", "field"])
def test_affine_is_the_model_mode_by_mode(name, kind, process):
    target = TARGETS[name]
    z, _ = draw(target, process, T)
    lam, mean, count = target.modes()
    times = np.array([0.9, T])
    gain, offset = target.affine(process, kind, times)
    m, modes = process.m, len(lam)
    assert (gain.shape, offset.shape) == ((2, m, m, modes), (2, m, modes))
    one = target.affine(process, kind, T)
    assert np.abs(one[0] - gain[1]).max() <= 1e-13 * np.abs(gain[1]).max()
    assert np.abs(one[1] - offset[1]).max() <= 1e-13 * (1 + np.abs(offset[1]).max())
    assert count.sum() == target.dim
    coefficients = np.array([target.transform.forward(part) for part in z])
    shift = target.transform.forward(target.mean[None])[0]
    away = np.abs(target.eigenvalues[:, None] - lam) + np.abs(shift[:, None] - mean)
    which = np.argmin(away, axis=1)
    assert away.min(axis=1).max() < 1e-12
    wanted = np.einsum("pmM,mnM->pnM", one[0][..., which], coefficients) + one[1][:, None, which]
    got = np.array([target.transform.forward(p) for p in target.predict(kind, z, T, process)])
    for i in range(m):
        assert np.abs(got[i] - wanted[i]).max() < 1e-12 * (1 + np.abs(wanted[i]).max())


def test_gaussian_score_of_the_spec():
    """s = -V^-1 (z - S_t [mu; 0]) of spec 9.2, V the kernel's covariance from diag(c, kappa M)."""
    p, t = PSLD(), 0.3
    b, d = 8 * t, p.nu - p.gamma
    w2, e = np.exp(-(p.nu + p.gamma) * b / 2), np.exp((p.nu + p.gamma) * b / 2)
    x, v = 0.25, 0.01
    xx = x * (1 + d * b / 2 + b**2) + v * 4 * b**2 - 2 * b**2 - d * b / 2 + e - 1
    xm = -x * b / 2 - x * d * b**2 / 8 + 2 * v * b - v * d * b**2 / 2 + d * b**2 / 4
    mm = x * b**2 / 4 + v * (1 - d * b / 2 + b**2) - b**2 / 2 + d * b / 8 + (e - 1) / 4
    inverse = np.linalg.inv(w2 * np.array([[xx, xm], [xm, mm]]))
    start = 0.6 * np.sqrt(w2) * np.array([1 + d * b / 4, -b / 2])
    z = np.array([0.4, -0.7])
    got = Gaussian([0.6], [x]).score(tuple(part.reshape(1, 1) for part in z), t, p)
    assert np.abs(np.ravel(got) + inverse @ (z - start)).max() < 1e-11


@pytest.mark.parametrize("t", [0.3, 1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize("name", [name for name in CASES if name != "stiff"])
def test_coefficients_keep_their_digits(name, t):
    """Every entry against the same formulas with many digits, however little noise there is."""
    check_digits(CASES[name], t)


@pytest.mark.slow
def test_coefficients_keep_their_digits_through_two_integrations():
    check_digits(THREE, 1e-8)


def check_digits(p, t):
    with mp.workdps(60 if p.m == 2 else 40):  # third order costs seconds
        exact = phase.split(p, mp.mpf(t))
        responses = {k: phase.response(p, k, mp.mpf(t), exact) for k in KINDS if "free" not in k}
    found = phase.split(p, t)
    for field in found._fields:
        wanted, got = floats(getattr(exact, field)), floats(getattr(found, field))
        assert np.abs(got - wanted).max() <= 2e-13 * np.abs(wanted).max(), field
    # Third order at 1e-8 divides by sigma = 1e-20, which no float64 state can show.
    limit = 1e-11 if p.m == 2 else 1e-16 / found.sigma + 1e-13
    for kind, pair in responses.items():
        least = np.sqrt(p.initial_covariance.max()) if kind == "data" else 0.0
        wanted, got = map(whole, (pair, phase.response(p, kind, t, found)))
        assert np.abs(got - wanted).max() <= limit * max(np.abs(wanted).max(), least), kind


def floats(value):
    return np.array(value, dtype=object).astype(float)


def whole(pair):
    """(P, q) as one matrix: both multiply numbers of size 1."""
    return np.concatenate([floats(pair[0]), floats(pair[1])[:, None]], axis=1)


@pytest.mark.parametrize(
    ("name", "t"), [*((name, t) for name in NAMES for t in (1e-3, 1e-5, 1e-8)), ("three", 1e-3)]
)
def test_small_noise_is_found_exactly_at_data_points(name, t):
    """With the nearest point at 0 nothing is rounded before the target sees it: E[eps|z] = eps."""
    process, target = PROCESSES[name], Empirical([[-0.7], [0.0], [0.7]], 0.0)
    eps = np.random.default_rng(0).standard_normal((process.m, 5, 1))
    z = tuple(np.tensordot(process.factor("lower", t), eps, axes=1))
    assert relative(target.predict("noise:lower", z, t, process), eps) < 1e-11
    back = -np.tensordot(process.inverse_factor("lower", t).T, eps, axes=1)
    score = target.predict("score", z, t, process)
    data = target.predict("data", z, t, process)
    for i in range(process.m):
        assert np.abs(score[i] - back[i]).max() < 1e-10 * np.abs(back[i]).max()
    assert np.abs(data[0]).max() < 1e-12
    # What is left of z after x0 = 0 is known: E[z(0) | z, x0] by regression, C0 Psi^T Sigma^-1 z.
    wanted = -process.initial_covariance @ process.flow(0.0, t).T @ back.reshape(process.m, -1)
    scale = 1e-10 * (1 + np.abs(wanted).max())
    assert np.abs(np.reshape(data, (process.m, -1)) - wanted)[1:].max() < scale


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["dense", "field", "mixture", "empirical"])
def test_single_precision_and_libraries(name, backend):
    target, p = TARGETS[name], PROCESSES["psld"]
    z, _ = draw(target, p, T)
    for kind in ("noise:lower", "data", "noise:upper:dsm"):
        wanted = target.predict(kind, z, T, p)
        same = target.predict(kind, tuple(to_backend(part, backend) for part in z), T, p)
        assert relative(same, wanted) < 1e-13
        short = tuple(to_backend(part, backend, "float32") for part in z)
        got = target.predict(kind, short, T, p)
        assert {str(part.dtype).split(".")[-1] for part in got} == {"float32"}
        assert relative(got, wanted) < 3e-6
    wanted = target.marginal_log_prob(z, T, p)
    got = target.marginal_log_prob(tuple(to_backend(part, backend) for part in z), T, p)
    assert np.abs(to_host(got) - wanted).max() < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("which", ["psld", "three"])
@pytest.mark.parametrize("name", ["dense", "mixture", "points"])
def test_a_time_for_each_sample(name, which, backend):
    target, process = TARGETS[name], PROCESSES[which]
    times = np.array([0.05, T, 0.6, 0.9])
    drawn = [draw(target, process, t, n=1, seed=i)[0] for i, t in enumerate(times.tolist())]
    z = tuple(np.concatenate(parts) for parts in zip(*drawn, strict=True))
    lent = tuple(to_backend(part, backend) for part in z)
    for kind in ("noise:lower", "data", "score"):
        alone = [target.predict(kind, d, float(t), process) for d, t in zip(drawn, times)]  # noqa: B905
        wanted = [np.concatenate(parts) for parts in zip(*alone, strict=True)]
        got = target.predict(kind, lent, to_backend(times, backend), process)
        assert relative(got, wanted) < 1e-11
        first = tuple(part[:1] for part in lent)
        single = target.predict(kind, first, to_backend(times[0], backend), process)
        assert relative(single, alone[0]) < 1e-11
    alone = [target.marginal_log_prob(d, float(t), process)[0] for d, t in zip(drawn, times)]  # noqa: B905
    got = target.marginal_log_prob(lent, to_backend(times, backend), process)
    assert np.abs(to_host(got) - alone).max() < 1e-10


def test_traced_times_and_gradients_through_the_density():
    target, p = TARGETS["mixture"], PROCESSES["psld"]
    z, _ = draw(target, p, T)
    model = target.model(p, "noise:lower")
    traced = jax.jit(lambda z, t: model(z, t))(tuple(map(jnp.asarray, z)), jnp.asarray(T))
    assert relative(traced, model(z, T)) < 1e-12
    lent = tuple(torch.from_numpy(part).requires_grad_() for part in z)
    log_p = target.marginal_log_prob(lent, T, p)
    assert relative(torch.autograd.grad(log_p.sum(), lent), target.score(z, T, p)) < 1e-11
    ones = (jnp.ones((1, 2)),) * 3
    traced = jax.jit(lambda t: target.score(ones, t, THREE))(jnp.asarray(T))
    assert relative(traced, target.score(ones, T, THREE)) < 1e-12


EXACT_ODE = ([0.60002350, -0.00268922], [0.25004730, -0.00077284, 0.01758056])


def law_after_the_flow(target, p, start, end):
    """Mean and covariance the exact flow makes of N(0, prior), from three trajectories."""
    zero, one = np.zeros((3, 1)), np.eye(3)
    z = (zero + one[1][:, None], zero + one[2][:, None])
    ends = np.array(target.flow_map(z, start, end, p))[:, :, 0]
    mean, columns = ends[:, 0], ends[:, 1:] - ends[:, :1]
    return mean, columns @ p.prior() @ columns.T


def test_exact_ode_of_the_spec():
    """Spec 9.2: from N(0, diag(1, .25)) at t = 1 to t = 1e-3, target N(.6, .25)."""
    mean, cov = law_after_the_flow(Gaussian([0.6], [0.25]), PSLD(), 1.0, 1e-3)
    assert np.abs(mean - EXACT_ODE[0]).max() < 6e-9
    assert np.abs(cov[[0, 0, 1], [0, 1, 1]] - EXACT_ODE[1]).max() < 6e-9


@pytest.mark.parametrize("name", ["diagonal", "dense", "low-rank", "field"])
@pytest.mark.parametrize("which", ["psld", "cld", "overdamped", "three"])
def test_flow_map_solves_the_probability_flow(name, which):
    target, p = TARGETS[name], PROCESSES[which]
    z, _ = draw(target, p, 0.8, n=2)

    def slope(t, y):
        state = tuple(y.reshape(p.m, 2, *target.shape))
        F, G = p.F(float(t)), p.G(float(t))
        score = np.array(target.score(state, float(t), p))
        moved = np.tensordot(F, np.array(state), axes=1)
        return np.ravel(moved - 0.5 * np.tensordot(G @ G.T, score, axes=1))

    solved = solve_ivp(slope, (0.8, 0.02), np.ravel(z), method="DOP853", rtol=1e-11, atol=1e-13)
    got = target.flow_map(z, 0.8, 0.02, p)
    assert np.abs(np.ravel(got) - solved.y[:, -1]).max() < 1e-8


@pytest.mark.parametrize("which", ["psld", "cld", "known-momentum"])
def test_flow_maps_compose_and_return(which):
    p = CASES[which]
    target = Gaussian([0.3, -0.2, 0.0], [0.5, 1e-4, 0.0])
    z, _ = draw(target, p, 1e-6)
    whole = target.flow_map(z, 1e-6, 0.9, p)
    for middle in (1e-4, 0.4):
        there = target.flow_map(z, 1e-6, middle, p)
        assert relative(target.flow_map(there, middle, 0.9, p), whole) < 1e-9
        back = target.flow_map(there, middle, 1e-6, p)
        assert np.abs(np.array(back) - np.array(z)).max() < 1e-9


def test_flow_map_carries_the_law():
    """R V(start) R^T = V(end) in every mode, down to widths of 1e-12."""
    lam = np.array([0.0, 1e-8, 1e-3, 1.0])
    for p in (PSLD(), CLD(), THREE):
        times = (0.9, 1e-6)
        R = flow_matrices(p, lam, *times)
        laws = [
            lam[:, None, None] * np.outer(u, u) + p.covariance(t)
            for t in times
            for u in [p.loading(t)]
        ]
        moved = R @ laws[0] @ np.swapaxes(R, 1, 2)
        width = np.sqrt(np.einsum("Mii->Mi", laws[1]))
        scale = width[:, :, None] * width[:, None, :]
        assert np.abs((moved - laws[1]) / scale).max() < 1e-8


@pytest.mark.parametrize("backend", BACKENDS)
def test_flow_map_on_every_library(backend):
    target, p = TARGETS["field"], PSLD()
    z, _ = draw(target, p, 0.8)
    got = target.flow_map(tuple(to_backend(part, backend) for part in z), 0.8, 0.05, p)
    assert relative(got, target.flow_map(z, 0.8, 0.05, p)) < 1e-13


def test_sentences():
    target, p = TARGETS["mixture"], PSLD()
    z, _ = draw(target, p, T)
    model = target.model(p)
    assert model.predicts == "data"
    alone = r"1 array\(s\), expected 2 \(x, v\)"
    for call in (
        lambda: model(z[:1], T),
        lambda: target.predict("score", z[0], T, p),
        lambda: target.marginal_log_prob(z[:1], T, p),
        lambda: TARGETS["dense"].flow_map(z[0], 0.5, 0.1, p),
    ):
        with pytest.raises(ModelError, match=alone):
            call()
    with pytest.raises(ModelError, match=r"2 array\(s\), expected 1 \(x\)"):
        target.model(VP())(z, T)
    with pytest.raises(TargetError, match="x is a tuple, expected one array"):
        target.predict("score", z, T, VP())
    with pytest.raises(ModelError, match=r"shapes \[\(3, 2\), \(6, 2\)\]"):
        model((z[0], z[1][:3]), T)
    with pytest.raises(TargetError, match="reshape it"):
        model(tuple(part[:, :1] for part in z), T)
    with pytest.raises(ProcessError, match="write noise:lower"):
        target.model(p, "noise")
    with pytest.raises(ProcessError, match="kind of prediction in phase space"):
        model.as_kind("v")
    with pytest.raises(ModelError, match="kind of prediction"):
        target.model(p, "nois")
    with pytest.raises(ProcessError, match="singular at t = 0"):
        model(z, 0.0)
    with pytest.raises(GridError, match=r"-0\.1 lies outside"):
        model(z, -0.1)


def test_sentences_of_flow_maps():
    p, target = PSLD(), TARGETS["dense"]
    z, _ = draw(target, p, T)
    mixed = TARGETS["mixture"]
    with pytest.raises(AnalysisError, match="no closed-form probability-flow map"):
        mixed.flow_map(draw(mixed, p, T)[0], 0.5, 0.1, p)
    with pytest.raises(AnalysisError, match="expected a number"):
        target.flow_map(z, np.array([0.5, 0.4]), 0.1, p)
    with pytest.raises(ProcessError, match="singular at t = 0"):
        target.flow_map(z, 0.5, 0.0, p)
    with pytest.raises(GridError, match="outside the forward times"):
        target.flow_map(z, 1.5, 0.1, p)


def test_plans_and_models_of_other_spaces_do_not_mix():
    target, p = TARGETS["mixture"], PSLD()
    z, _ = draw(target, p, 1.0)
    wide = sgmsolve.build_plan(p, "euler-maruyama", grid=quadratic_striding(5))
    flat = sgmsolve.build_plan(VP(), "ddim", steps=5)
    with pytest.raises(BackendError, match=r"2 component\(s\), but plan 'ddim' is for 1"):
        sgmsolve.solve(flat, target.model(p), z)
    with pytest.raises(BackendError, match="built for the process"):
        sgmsolve.solve(flat, target.model(p), z[:1])
    with pytest.raises(BackendError, match=r"1 component\(s\)"):
        sgmsolve.solve(wide, target.model(VP()), z[:1])
    assert np.isfinite(sgmsolve.solve(wide, target.model(p), z).x).all()
