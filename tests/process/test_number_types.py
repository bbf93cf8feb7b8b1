"""One formula, every number type: floats, mpmath, numpy, torch, jax (traced too)."""

from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest

FUNCTIONS = ("alpha", "sigma", "f", "g2", "lam", "log_snr", "rho")
TIMES = (0.0007, 0.02, 0.11, 0.35, 0.5, 0.77, 0.985)


def floats(process, name):
    return np.array([getattr(process, name)(t) for t in TIMES])


def check(process, array, convert=lambda fn: fn):
    """Every scalar function on ``array(TIMES)``, and the transitions between neighbours."""
    lam = floats(process, "lam")

    def everything(t, lam):
        start, end = t[:-1], t[1:]
        return (
            [getattr(process, name)(t) for name in FUNCTIONS],
            process.time_of_lam(lam),
            process.transition_variance(start, end),
            process.alpha_ratio(start, end),
        )

    functions, back, *transitions = convert(everything)(array(TIMES), array(lam))
    for name, found in zip(FUNCTIONS, functions, strict=True):
        np.testing.assert_allclose(np.asarray(found), floats(process, name), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(np.asarray(back), TIMES, rtol=1e-12, atol=1e-15)
    for found, name in zip(transitions, ("transition_variance", "alpha_ratio"), strict=True):
        wanted = [getattr(process, name)(s, e) for s, e in pairwise(TIMES)]
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=2e-14)


def check_shapes(process, t):
    shape = tuple(t.shape)
    psi, sigma = process.transition(0.5 * t, t)
    for found in (process.alpha(t), process.lam(t), process.time_of_lam(t), process.f(t)):
        assert (tuple(found.shape), found.dtype) == (shape, t.dtype)
    for found in (process.F(t), process.G(t), process.covariance(t), psi, sigma):
        assert tuple(found.shape) == (*shape, 1, 1)
        assert found.dtype == t.dtype
    assert tuple(process.loading(t).shape) == (*shape, 1)
    for source, target in (("noise", "data"), ("v", "flow"), ("data", "data"), ("flow", "score")):
        for found in process.conversion(source, target, t):
            assert tuple(found.shape) == (*shape, 1, 1)
            assert found.dtype == t.dtype


def test_numpy(process):
    check(process, lambda v: np.asarray(v, dtype=np.float64))
    check_shapes(process, np.full((2, 3), 0.4))
    check_shapes(process, np.full((2,), 0.4, dtype=np.float32))


def test_torch(process):
    torch = pytest.importorskip("torch")
    check(process, lambda v: torch.tensor(np.asarray(v), dtype=torch.float64))
    check_shapes(process, torch.full((2, 3), 0.4, dtype=torch.float64))
    check_shapes(process, torch.full((), 0.4, dtype=torch.float32))


def test_jax(process):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        check(process, lambda v: jax.numpy.asarray(np.asarray(v)), jax.jit)
        check_shapes(process, jax.numpy.full((2, 3), 0.4))


def test_gradients_pass_through(process):
    """d alpha / dt = f alpha, by automatic differentiation of the array code."""
    torch = pytest.importorskip("torch")
    t = torch.tensor([0.13, 0.42, 0.86], dtype=torch.float64, requires_grad=True)
    alpha = process.alpha(t)
    wanted = process.f(t) * alpha
    if process.alpha(0.5) == 1:
        np.testing.assert_array_equal(wanted.detach().numpy(), 0.0)
    else:
        (found,) = torch.autograd.grad(alpha.sum(), t)
        np.testing.assert_allclose(found.numpy(), wanted.detach().numpy(), rtol=1e-12)


def test_mpmath_keeps_every_digit(reference):
    p = reference.process
    with mp.workdps(50):
        for text in ("1e-8", "0.0312", "0.4449", "0.9"):
            t = mp.mpf(text)
            for name in FUNCTIONS:
                assert isinstance(getattr(p, name)(t), mp.mpf), name
            tiny = mp.mpf("1e-38")  # 1 - exp(-B) of the retyped formula loses 9 of 50 digits
            assert abs(p.alpha(t) / reference.alpha(t) - 1) < tiny
            assert abs(p.sigma(t) ** 2 / reference.variance(t) - 1) < tiny
            assert abs(p.g2(t) / reference.g2(t) - 1) < tiny
            assert abs(p.f(t) - reference.f(t)) <= tiny * abs(reference.f(t))
            assert abs(p.time_of_lam(p.lam(t)) / t - 1) < tiny
            e, a, v = t + mp.mpf("0.05"), reference.alpha, reference.variance
            exact = v(e) - (a(e) / a(t)) ** 2 * v(t)
            assert abs(p.transition_variance(t, e) / exact - 1) < tiny
            assert abs(p.alpha_ratio(t, e) * a(t) / a(e) - 1) < tiny
            assert p.covariance(t).dtype == object
            assert p.loading(t)[0] == p.alpha(t)


def test_numpy_scalars_are_floats(process):
    t = np.float64(0.37)
    for name in FUNCTIONS:
        assert getattr(process, name)(t) == getattr(process, name)(0.37)
