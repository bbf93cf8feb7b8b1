"""Kernel and factors of CLD and PSLD against mpmath, closed forms and their own equations."""

import mpmath as mp
import numpy as np
import pytest
from phase_cases import CASES, reference
from scipy.integrate import solve_ivp

from sgmsolve.errors import GridError, ProcessError
from sgmsolve.process import CLD, FACTORS, PSLD

TIMES = (1e-8, 1e-6, 1e-4, 1e-3, 0.03, 0.2, 0.6, 1.0)
KERNELS = ("hsm", "dsm")


@pytest.fixture(params=CASES)
def process(request):
    return CASES[request.param]


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_and_factors_against_mpmath(process, kernel):
    """The issue's figure: entries within 1e-12 sqrt(S_ii S_jj), diagonals of factors 1e-12."""
    for t in TIMES:
        found = process.covariance(t) if kernel == "hsm" else process.transition(0.0, t)[1]
        lower, upper = (process.factor(name, t, kernel) for name in ("lower", "upper"))
        with mp.workdps(90):
            _, cov = reference(process, t, kernel)
            scale = [mp.sqrt(cov[i, i]) for i in range(2)]
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                assert abs(found[i, j] - cov[i, j]) < 1e-13 * scale[i] * scale[j]
            root = mp.sqrt(cov[0, 0] * cov[1, 1] - cov[0, 1] ** 2)
            diagonals = (lower[0, 0], lower[1, 1], upper[0, 0], upper[1, 1])
            wanted = (scale[0], root / scale[0], root / scale[1], scale[1])
            for value, exact in zip(diagonals, wanted, strict=True):
                assert abs(value / exact - 1) < 1e-13
            assert abs(lower[1, 0] - cov[0, 1] / scale[0]) < 1e-13 * scale[1]
            assert abs(upper[0, 1] - cov[0, 1] / scale[1]) < 1e-13 * scale[0]
            assert (lower[0, 1], upper[1, 0]) == (0, 0)


def test_flow_against_mpmath(process):
    for start, end in ((0.0, 1e-7), (0.0, 0.4), (0.3, 0.30001), (0.2, 1.0), (0.7, 0.2)):
        found = process.flow(start, end)
        with mp.workdps(90):
            psi, _ = reference(process, end, start=start)
            size = mp.norm(psi, mp.inf)
            assert all(abs(found[i, j] - psi[i, j]) < 1e-13 * size for i in (0, 1) for j in (0, 1))
    assert np.array_equal(process.loading(0.4), process.flow(0.0, 0.4)[:, 0])


def test_transitions_from_later_times(process):
    for start, end in ((0.3, 0.3 + 1e-9), (0.2, 0.9)):
        _, found = process.transition(start, end)
        with mp.workdps(90):
            _, cov = reference(process, end, "dsm", start)
            for i, j in ((0, 0), (0, 1), (1, 1)):
                assert abs(found[i, j] - cov[i, j]) < 1e-13 * mp.sqrt(cov[i, i] * cov[j, j])


@pytest.mark.parametrize(
    ("t", "xx", "xm", "mm"),
    [
        (1e-3, 8.3190437e-5, 2.1916730e-4, 1.7576225e-2),
        (0.1, 0.2280107447, 0.1288251061, 0.2160311909),
        (0.5, 0.9869916108, 5.0795891e-3, 0.2480145769),
    ],
)
def test_golden_values_of_section_2_3(t, xx, xm, mm):
    found = PSLD(gamma=0.01, nu=4.01).covariance(t)
    np.testing.assert_allclose(found, [[xx, xm], [xm, mm]], rtol=6e-8)


def test_closed_form_of_section_2_3():
    """The critically damped kernel as published, with cancellation: 1e-13 at moderate t."""
    for process in (PSLD(), PSLD(0.25), PSLD(2.0, 1.0, 0.25), CLD()):
        d, m_inv = process.nu - process.gamma, process.m_inv
        xx0, mm0 = 0.0, process.kappa / m_inv
        for t in (0.1, 0.5, 1.0):
            b = 8 * t
            w = np.exp(-(process.nu + process.gamma) * b / 4)
            e = 1 / w**2
            psi = w * np.array([[1 + d * b / 4, m_inv * b / 2], [-b / 2, 1 - d * b / 4]])
            xx = xx0 * (1 + d * b / 2 + m_inv * b**2 / 4) + mm0 * m_inv**2 * b**2 / 4
            xx += -m_inv * b**2 / 2 - d * b / 2 + e - 1
            xm = mm0 * m_inv * b / 2 - mm0 * m_inv * d * b**2 / 8 + d * b**2 / 4
            mm = mm0 * (1 - d * b / 2 + m_inv * b**2 / 4)
            mm += -(b**2) / 2 + d * b / (2 * m_inv) + (e - 1) / m_inv
            wanted = w**2 * np.array([[xx, xm], [xm, mm]])
            np.testing.assert_allclose(process.covariance(t), wanted, atol=1e-13)
            np.testing.assert_allclose(process.flow(0.0, t), psi, atol=1e-13)


def test_closed_form_of_the_cld_paper():
    """Section 3.8 of the spec: CLD's own beta is 4, half of ours, and f its friction."""
    f, g, vv0 = 2 / np.sqrt(4.0), np.sqrt(4.0) / 2, 0.04 / 4  # f = nu / m_inv = 1 / g
    for t in (0.1, 0.4, 0.9):
        c = 4 * t
        w = np.exp(-2 * g * c)
        psi = w * np.array([[1 + 2 * g * c, 4 * g**2 * c], [-c, 1 - 2 * g * c]])
        e = np.exp(4 * g * c)
        xx = e - 1 - 4 * g * c - 8 * g**2 * c**2 + 16 * g**4 * c**2 * vv0
        xv = 4 * g**2 * c * vv0 + 4 * g * c**2 - 8 * g**3 * c**2 * vv0
        vv = f**2 * (e - 1) / 4 + f * c - 4 * g * c * vv0 + 4 * g**2 * c**2 * vv0 + vv0 - 2 * c**2
        found = CLD()
        np.testing.assert_allclose(found.flow(0.0, t), psi, atol=1e-14)
        cov = np.array([[xx, xv], [xv, vv]]) / e
        np.testing.assert_allclose(found.covariance(t), cov, atol=1e-14)


def test_cld_is_psld_without_gamma():
    for kwargs in ({}, {"nu": 7.0, "m_inv": 2.0, "kappa": 0.3, "beta": (1.0, 9.0)}):
        cld, psld = CLD(**kwargs), PSLD(gamma=0.0, **kwargs)
        for t in (1e-5, 0.3, 1.0):
            assert np.array_equal(cld.covariance(t), psld.covariance(t))
            assert np.array_equal(cld.F(t), psld.F(t))
            assert np.array_equal(cld.G(t), psld.G(t))


def test_coefficients_are_those_of_the_paper():
    """Section 2.2, eq. 7 of the paper with -nu, and beta(t) as int beta says."""
    process = PSLD(0.02, 4.1, 3.9, beta=(2.0, 10.0))
    t, beta = 0.3, 2.0 + 0.3 * 8.0
    drift = beta / 2 * np.array([[-0.02, 3.9], [-1.0, -4.1]])
    np.testing.assert_allclose(process.F(t), drift, rtol=1e-15)
    noise = np.diag([0.02 * beta, 4.1 / 3.9 * beta])
    np.testing.assert_allclose(process.G(t) @ process.G(t).T, noise, rtol=1e-15)
    np.testing.assert_allclose(process.clock(t), 2.0 * t + 4.0 * t * t, rtol=1e-15)


def test_lyapunov_equation(process):
    """F and G belong to the kernel: an ODE solver gets the same flow and covariance."""

    def rate(t, y):
        psi, cov = y.reshape(2, 2, 2)
        F, G = process.F(t), process.G(t)
        return np.stack([F @ psi, F @ cov + cov @ F.T + G @ G.T]).ravel()

    first = np.stack([np.eye(2), process.initial_covariance]).ravel()
    end = 0.05
    ran = solve_ivp(rate, (0, end), first, method="DOP853", rtol=1e-12, atol=1e-15)
    psi, cov = ran.y[:, -1].reshape(2, 2, 2)
    np.testing.assert_allclose(process.flow(0.0, end), psi, atol=3e-11)
    np.testing.assert_allclose(process.covariance(end), cov, atol=3e-11)


def test_transitions_compose(process):
    psi, noise = process.transition(0.2, 0.75)
    whole = psi @ process.covariance(0.2) @ psi.T + noise
    np.testing.assert_allclose(whole, process.covariance(0.75), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(
        process.flow(0.2, 0.21) @ process.flow(0.21, 0.2), np.eye(2), atol=1e-9
    )


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_factors_are_factors(process, name, kernel):
    for t in (1e-7, 0.01, 0.4, 1.0):
        _, cov = process.kernel(t, kernel)
        size = np.sqrt(np.diag(cov))
        L = process.factor(name, t, kernel)
        assert np.abs((L @ L.T - cov) / np.outer(size, size)).max() < 1e-13
        assert np.abs(process.inverse_factor(name, t, kernel) @ L - np.eye(2)).max() < 2e-12


@pytest.mark.parametrize("kernel", KERNELS)
def test_rotation_free_factor_moves_with_one_data_point(process, kernel):
    """dR/dt = (F + G G^T Sigma^-1 / 2) R, by fourth-order differences, and R = L at t_max."""

    def R(t):
        return process.factor("rotation-free", t, kernel)

    for t in (1e-6, 1e-3, 0.1, 0.5, 0.9):
        h = 1e-5 * t if process.nu < 20 else 1e-6 * t
        slope = (R(t - 2 * h) - 8 * R(t - h) + 8 * R(t + h) - R(t + 2 * h)) / (12 * h)
        inverse, G = process.inverse_factor("lower", t, kernel), process.G(t)
        wanted = (process.F(t) + G @ G.T @ inverse.T @ inverse / 2) @ R(t)
        size = np.sqrt((R(t) ** 2).sum(axis=1, keepdims=True))
        assert np.abs((slope - wanted) / size).max() * t < 2e-8
    last = process.t_max
    np.testing.assert_allclose(R(last), process.factor("lower", last, kernel), atol=1e-14)


def test_rotation_free_noise_is_constant_along_the_flow_of_one_point():
    """Spec, section 5b: eps_R stays, eps_L turns. The probability flow by an ODE solver."""
    process, x0 = PSLD(), 0.7

    def rate(t, z):
        inverse, G = process.inverse_factor("lower", t), process.G(t)
        score = -inverse.T @ inverse @ (z - process.loading(t) * x0)
        return process.F(t) @ z - G @ G.T @ score / 2

    start = np.array([0.3, -0.9])
    ran = solve_ivp(rate, (0.999, 0.01), start, method="DOP853", rtol=1e-11, atol=1e-13)
    noises = {}
    for name in FACTORS:
        noises[name] = [
            process.inverse_factor(name, t) @ (z - process.loading(t) * x0)
            for t, z in ((0.999, start), (0.01, ran.y[:, -1]))
        ]
    free, lower = noises["rotation-free"], noises["lower"]
    np.testing.assert_allclose(free[1], free[0], atol=1e-8)
    assert np.abs(lower[1] - lower[0]).max() > 0.1


@pytest.mark.parametrize("name", ["psld", "cld", "underdamped"])
def test_rotation_angle_against_mpmath(name):
    process = CASES[name]
    for kernel in KERNELS:
        with mp.workdps(20):
            exact = process.angle(mp.mpf("0.97"), kernel)
        assert abs(process.angle(0.97, kernel) / exact - 1) < 1e-13


def test_rotation_angle_ends_at_t_max():
    with pytest.raises(GridError, match=r"t = 1.1 lies outside the forward times \[0, 1\]"):
        PSLD().factor("rotation-free", 1.1)


def test_no_noise_at_zero():
    for process in (PSLD(), CLD()):
        np.testing.assert_array_equal(process.covariance(0.0), process.initial_covariance)
        for name in FACTORS:
            np.testing.assert_array_equal(process.factor(name, 0.0), [[0, 0], [0, 0.1]])
            with pytest.raises(ProcessError, match=r"singular at t = 0.*stop at a t > 0"):
                process.inverse_factor(name, 0.0)
        assert not process.has_no_noise(0.0)
    assert PSLD(kappa=0.0).has_no_noise(0.0)


def test_kernels_of_both_trainings():
    process = PSLD()
    mean, cov = process.kernel(0.3)
    np.testing.assert_array_equal(mean[:, 0], process.flow(0.0, 0.3)[:, 0])
    whole, noise = process.kernel(0.3, "dsm")
    np.testing.assert_array_equal(whole, process.flow(0.0, 0.3))
    first = whole @ process.initial_covariance @ whole.T
    np.testing.assert_allclose(cov - noise, first, atol=1e-15)
    with pytest.raises(ProcessError, match="Did you mean 'hsm'"):
        process.kernel(0.3, "hms")
    with pytest.raises(ProcessError, match="Did you mean 'lower'"):
        process.factor("lowr", 0.3)
