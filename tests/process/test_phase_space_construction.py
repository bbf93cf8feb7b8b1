"""Parameters, descriptions and refusals of phase-space processes; any linear augmented process."""

import copy
import json
import pickle

import mpmath as mp
import numpy as np
import pytest
from phase_cases import CASES, THREE

from sgmsolve.errors import ProcessError
from sgmsolve.process import CLD, PROCESSES, PSLD, AugmentedProcess, complete_recipe, from_spec


@pytest.fixture(params=[*CASES, "chain"])
def process(request):
    return THREE if request.param == "chain" else CASES[request.param]


def test_descriptions_go_through_json(process):
    spec = json.loads(json.dumps(process.spec()))
    assert from_spec(spec) == process
    assert type(from_spec(spec)) is PROCESSES[spec["process"]]
    for twin in (copy.deepcopy(process), pickle.loads(pickle.dumps(process))):
        assert twin == process
        assert hash(twin) == hash(process)
        assert np.array_equal(twin.covariance(0.3), process.covariance(0.3))
    assert repr(process).startswith(type(process).__name__)
    assert len(repr(process)) < 120


def test_defaults_are_those_of_the_papers():
    process = PSLD()
    assert (process.nu, process.beta, process.m_inv, process.kappa) == (4.01, 8.0, 4.0, 0.04)
    assert (process.t_min, process.t_max, process.names, process.m) == (1e-3, 1.0, ("x", "v"), 2)
    assert (CLD().nu, CLD().gamma) == (4.0, 0.0)
    assert PSLD(0.25, m_inv=0.25).nu == 1.25
    assert PSLD(beta=[8.0, 8.0]) == PSLD()
    assert len({PSLD(), PSLD(0.02), PSLD(kappa=0.1), PSLD(beta=(1.0, 8.0)), CLD()}) == 5
    np.testing.assert_array_equal(process.prior(), np.diag([1.0, 0.25]))
    np.testing.assert_array_equal(process.initial_covariance, np.diag([0.0, 0.01]))
    assert not process.starts_at_zero_alpha
    assert not process.has_no_signal(1.0)
    # Section 2.3: mismatch of the prior.
    assert np.abs(process.covariance(1.0) - process.prior()).max() < 1.5e-5
    assert np.abs(process.flow(0.0, 1.0)).max() < 5.3e-3


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PSLD(gamma=-0.1), r"gamma of PSLD must be .*zero or positive, but -0.1"),
        (lambda: PSLD(nu=-1.0), "nu of PSLD must be"),
        (lambda: PSLD(m_inv=0.0), "m_inv of PSLD must be a finite positive number"),
        (lambda: CLD(kappa=float("nan")), "kappa of CLD must be"),
        (lambda: PSLD(gamma=0.0, nu=0.0), "gamma and nu of PSLD are both 0"),
        (lambda: CLD(nu=0.0), "gamma and nu of CLD are both 0"),
        (lambda: PSLD(beta=-8.0), "beta of PSLD must be a finite positive number"),
        (lambda: PSLD(beta=(1.0, 2.0, 3.0)), r"must be a number or a pair.*but \(1.0, 2.0, 3.0\)"),
        (lambda: PSLD(beta=(8.0, -8.0)), r"beta\[1\] of PSLD"),
        (lambda: PSLD(beta=(8.0, 4.0), t_max=2.0), "falls to 0 at t = 2, but t_max = 2"),
        (lambda: PSLD(t_min=1.0), "needs 0 <= t_min < t_max"),
        (lambda: from_spec({"process": "psld", "Gamma": 1.0}), "Did you mean 'gamma'"),
    ],
)
def test_impossible_parameters_are_sentences(make, sentence):
    with pytest.raises(ProcessError, match=sentence) as raised:
        make()
    assert str(raised.value).endswith(".")


def test_limit_of_a_falling_rate():
    assert PSLD(beta=(8.0, 4.0)).t_limit == 2.0
    assert PSLD(beta=(4.0, 8.0)).t_limit == PSLD().t_limit == np.inf


def test_complete_recipe_recovers_the_matrices_of_the_paper():
    """Section 2.2: D = beta/2 diag(Gamma, M nu), Q = beta/2 [[0, -1], [1, 0]]."""
    process = PSLD(0.3, 2.0, 5.0)
    D, Q = complete_recipe(process.F(0.5), process.G(0.5), process.stationary)
    np.testing.assert_allclose(D, 4 * np.diag([0.3, 2.0 / 5.0]), rtol=1e-14)
    np.testing.assert_allclose(Q, [[0.0, -4.0], [4.0, 0.0]], rtol=1e-14)
    inverse = np.diag([1.0, 5.0])
    np.testing.assert_allclose(process.F(0.5), -(D + Q) @ inverse, rtol=1e-14)


def test_stationary_law_is_verified():
    F, G = PSLD().F(0.5), PSLD().G(0.5)
    made = AugmentedProcess(F, G, stationary=np.diag([1.0, 0.25]))
    np.testing.assert_array_equal(made.prior(), np.diag([1.0, 0.25]))
    wrong = np.diag([1.0, 0.2501])
    with pytest.raises(ProcessError, match=r"does not leave .* invariant: entry \(\d, \d\)"):
        AugmentedProcess(F, G, stationary=wrong)
    with pytest.raises(ProcessError, match="does not leave"):
        AugmentedProcess(F, 1.01 * G, stationary=np.diag([1.0, 0.25]))
    # A rotation leaves every round law invariant and approaches none.
    turn = [[0.0, 1.0], [-1.0, 0.0]]
    with pytest.raises(ProcessError, match=r"does not converge .*fraction 1 of a deviation"):
        AugmentedProcess(turn, np.zeros((2, 2)), stationary=np.eye(2))
    # Two components that never meet: one has friction and noise, the other stands still.
    apart = np.diag([0.0, -1.0])
    with pytest.raises(ProcessError, match=r"along \[-?1.0, -?0.0\]"):
        AugmentedProcess(apart, np.diag([0.0, np.sqrt(2.0)]), stationary=np.eye(2))
    # A light component counts as much as a heavy one.
    light = PSLD(m_inv=1e6)
    with pytest.raises(ProcessError, match=r"entry \(1, 1\)"):
        AugmentedProcess(light.F(0.5), light.G(0.5), stationary=np.diag([1.0, 1.0001e-6]))
    with pytest.raises(ProcessError, match="singular"):
        AugmentedProcess(F, G, stationary=np.diag([1.0, 0.0]))


def test_chain_of_three_against_mpmath():
    """Entries and diagonals of factors where the noise is integrated twice: t^2.5 beside t^0.5."""
    for t in (1e-8, 1e-4, 0.3, 2.0):
        for kernel in ("hsm", "dsm"):
            _, found = THREE.kernel(t, kernel)
            lower, upper = THREE.factor("lower", t, kernel), THREE.factor("upper", t, kernel)
            with mp.workdps(90):
                F = mp.matrix(THREE.F(0.5).tolist())
                psi = mp.expm(F * mp.mpf(t), method="taylor")
                first = mp.diag([0, mp.mpf(0.04), mp.mpf(0.04)]) * (kernel == "hsm")
                # The stationary law, from G's rounded entry.
                law = mp.eye(3) * (mp.mpf(THREE.G(0.5)[2, 2]) ** 2 / 12)
                cov = law - psi * law * psi.T + psi * first * psi.T
                for i in range(3):
                    for j in range(3):
                        gap = abs(found[i, j] - cov[i, j])
                        assert gap < 1e-12 * mp.sqrt(cov[i, i] * cov[j, j])
                flip = mp.matrix(3, 3)
                for i in range(3):
                    flip[i, 2 - i] = 1
                exact, turned = mp.cholesky(cov), mp.cholesky(flip * cov * flip)
                for i in range(3):
                    assert abs(lower[i, i] / exact[i, i] - 1) < 1e-12
                    assert abs(upper[i, i] / turned[2 - i, 2 - i] - 1) < 1e-12
            size = np.sqrt(np.diag(found))
            for factor in (lower, upper):
                gap = (factor @ factor.T - found) / np.outer(size, size)
                assert np.abs(gap).max() < 1e-13
            assert not np.triu(lower, 1).any()
            assert not np.tril(upper, -1).any()


@pytest.mark.parametrize("kernel", ["hsm", "dsm"])
def test_rotation_free_factor(kernel):
    """Against PSLD's angle for two components, against its own equation for three."""
    known = CASES["psld"]
    made = AugmentedProcess(known.F(0.5), known.G(0.5), known.initial_covariance)
    for t in (1e-8, 1e-3, 0.2, 1.0):
        R = known.factor("rotation-free", t, kernel)
        size = np.sqrt((R**2).sum(axis=1, keepdims=True))
        gap = (made.factor("rotation-free", t, kernel) - R) / size
        assert np.abs(gap).max() < 1e-12

    def R(t):
        return THREE.factor("rotation-free", t, kernel)

    for t in (1e-5, 0.3, 1.7):
        h = 1e-4 * t
        slope = (R(t - 2 * h) - 8 * R(t - h) + 8 * R(t + h) - R(t + 2 * h)) / (12 * h)
        inverse, G = THREE.inverse_factor("lower", t, kernel), THREE.G(t)
        wanted = (THREE.F(t) + G @ G.T @ inverse.T @ inverse / 2) @ R(t)
        size = np.sqrt((R(t) ** 2).sum(axis=1, keepdims=True))
        assert np.abs((slope - wanted) / size).max() * t < 1e-9
        assert (
            np.abs(THREE.inverse_factor("rotation-free", t, kernel) @ R(t) - np.eye(3)).max() < 1e-9
        )
    np.testing.assert_allclose(R(2.0), THREE.factor("lower", 2.0, kernel), atol=1e-14)
    THREE.reversed_linear(0.1, 0.2)  # keeps functions, which a copy makes again
    copy = pickle.loads(pickle.dumps(THREE))
    assert copy == THREE
    assert (copy.reversed_linear(0.1, 0.2)[0] == THREE.reversed_linear(0.1, 0.2)[0]).all()


def turning(t):
    """A drift whose values at different times do not commute; smooth in t, floats or mpmath."""
    o = 0 * t
    return np.array([[o - 1, 3 * t, o], [t * t - 2, -t, o + 1], [t, t - 1, t - 2]])


def noisy(t):
    o = 0 * t
    return np.array([[o, o, o], [o, 1 + t, o], [o, t * t, o + 2]])


def test_time_varying_drift_against_an_ode_solver():
    from scipy.integrate import solve_ivp

    process = AugmentedProcess(turning, noisy, np.diag([0, 0.5, 0.2]), label="turning")

    def rate(t, y):
        psi, cov = y.reshape(2, 3, 3)
        F, G = turning(t), noisy(t)
        return np.stack([F @ psi, F @ cov + cov @ F.T + G @ G.T]).ravel()

    start, end = 0.15, 0.95
    for low, first in ((0.0, process.initial_covariance), (start, np.zeros((3, 3)))):
        begin = np.stack([np.eye(3), first]).ravel()
        ran = solve_ivp(rate, (low, end), begin, method="DOP853", rtol=1e-13, atol=1e-15)
        psi, cov = ran.y[:, -1].reshape(2, 3, 3)
        found = process.covariance(end) if low == 0.0 else process.transition(low, end)[1]
        np.testing.assert_allclose(found, cov, atol=2e-12)
        np.testing.assert_allclose(process.flow(low, end), psi, atol=2e-12)
        np.testing.assert_allclose(process.flow(end, low), np.linalg.inv(psi), atol=1e-11)
    np.testing.assert_array_equal(process.loading(0.4), process.flow(0.0, 0.4)[:, 0])


@pytest.mark.slow
def test_time_varying_drift_in_mpmath():
    process = AugmentedProcess(turning, noisy, np.diag([0, 0.5, 0.2]), label="turning")
    with mp.workdps(22):
        middle, end = mp.mpf("0.05"), mp.mpf("0.12")
        exact = process.covariance(end)
        psi, noise = process.transition(middle, end)
        whole = psi @ process.covariance(middle) @ psi.T + noise
        assert max(abs(v) for v in (whole - exact).ravel()) < mp.mpf("1e-20")
        lower = process.factor("lower", end)
        assert max(abs(v) for v in (lower @ lower.T - exact).ravel()) < mp.mpf("1e-20")
    np.testing.assert_allclose(process.covariance(0.12), exact.astype(float), rtol=1e-13)


def test_linear_rate_as_an_augmented_process():
    """PSLD with beta(t) from 0.1 to 15.9: the general integrator against the closed clock."""
    known = CASES["linear"]
    made = AugmentedProcess(
        known.F, known.G, known.initial_covariance, known.stationary, label="psld-linear"
    )
    for t in (1e-8, 1e-3, 0.4, 1.0):
        size = np.sqrt(np.diag(known.covariance(t)))
        gap = np.abs(made.covariance(t) - known.covariance(t)) / np.outer(size, size)
        assert gap.max() < 1e-12
        for name in ("lower", "upper"):
            ratio = np.diag(made.factor(name, t)) / np.diag(known.factor(name, t))
            np.testing.assert_allclose(ratio, 1.0, rtol=1e-12)


def test_functions_are_described_by_label_and_values():
    def make(fn, label="mine"):
        return AugmentedProcess(fn, noisy, label=label)

    assert make(turning) == make(lambda t: turning(t))
    assert make(turning) != make(turning, "other")
    assert make(turning) != make(lambda t: turning(t) * 1.0001)
    with pytest.raises(ProcessError, match="a description cannot hold a function"):
        from_spec(make(turning).spec())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AugmentedProcess([[1.0, 2.0]], np.eye(2)), r"drift has shape \(1, 2\)"),
        (lambda: AugmentedProcess(-np.eye(2), np.eye(3)), "diffusion at t = .*expected a finite"),
        (lambda: AugmentedProcess(-np.eye(1), np.eye(1)), "at least 2 components"),
        (lambda: AugmentedProcess(-np.eye(2), np.eye(2), names=("x",)), "give one name"),
        (lambda: AugmentedProcess(-np.eye(2), np.eye(2), np.eye(2)), "row and column 0 are zero"),
        (lambda: AugmentedProcess("F", np.eye(2)), "cannot hold a function"),
        (lambda: AugmentedProcess([["a"]], np.eye(2)), "no matrix of numbers"),
        (lambda: AugmentedProcess(turning, np.eye(3)), "pass label="),
        (
            lambda: AugmentedProcess(-np.eye(2), np.eye(2), stationary=np.eye(3)),
            r"shape \(3, 3\), expected \(2, 2\)",
        ),
        (
            lambda: AugmentedProcess(
                lambda t: -np.eye(2) * (1 + 9 * (t > 1 / 3)), np.eye(2), label="jump"
            ).flow(0.0, 1.0),
            "varies too fast",
        ),
        (
            lambda: AugmentedProcess(-1e6 * np.eye(2), np.eye(2)).flow(0.0, 1.0),
            "F is too large to integrate: more than 50000 panels",
        ),
        (
            lambda: AugmentedProcess(-np.eye(2), np.zeros((2, 2))).factor("rotation-free", 0.5),
            "is singular at t = 0.5",
        ),
    ],
)
def test_impossible_matrices_are_sentences(make, sentence):
    with pytest.raises(ProcessError, match=sentence) as raised:
        make()
    assert str(raised.value).endswith(".")


def test_arrays_of_times_one_by_one():
    torch = pytest.importorskip("torch")
    t = torch.tensor([[0.1, 0.4]], dtype=torch.float32)
    found = THREE.covariance(t)
    assert (tuple(found.shape), found.dtype) == ((1, 2, 3, 3), torch.float32)
    np.testing.assert_allclose(found[0, 1], THREE.covariance(float(t[0, 1])), rtol=1e-6)
    assert THREE.loading(np.array([0.1, 0.4])).shape == (2, 3)
    jax = pytest.importorskip("jax")
    times = np.array([0.4, 0.1], dtype=np.float32)
    for way in (jax.jit(THREE.covariance), jax.jit(jax.vmap(THREE.covariance))):
        np.testing.assert_allclose(way(times), THREE.covariance(times), rtol=1e-6)
