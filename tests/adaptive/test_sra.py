"""SRA1 and SRA3: order conditions, the formula, strong order 3/2 on one path, adaptive runs."""

import math

import numpy as np
import pytest
from brownian_path import FinePath, rms, slope

import sgmsolve
from sgmsolve.adaptive import solve_adaptive, sra
from sgmsolve.adaptive.stepper import Field
from sgmsolve.errors import MethodError
from sgmsolve.reverse import ForwardSDE, GeneralSDE, ReverseSDE

METHODS = pytest.mark.parametrize("name", ["sra1", "sra3"])
TABLEAUX = {"sra1": sra.SRA1, "sra3": sra.SRA3}
TARGET = sgmsolve.Gaussian([0.5], [[0.25]])
quiet = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")


def double_well():
    return GeneralSDE(
        lambda z, t: (z[0] - z[0] ** 3,), lambda t: np.array([[0.7]]), noise="additive"
    )


def pendulum():
    """Two components, two motions; drift and diffusion depend on time, the drift bends."""

    def drift(z, t):
        return z[1] * np.cos(t) - np.sin(3 * z[0]), -np.sin(3 * z[1] + z[0]) * (1 + t)

    def diffusion(t):
        t = np.asarray(t)
        rows = [[0.3 + t**2, 0.2 * np.sin(3 * t)], [0 * t, 1 - 0.5 * t]]
        return np.stack([np.stack(row, -1) for row in rows], -2)

    return GeneralSDE(drift, diffusion, noise="additive", m=2)


def bent():
    """One entry; a drift that bends, noise that depends on time."""
    return GeneralSDE(
        lambda z, t: (-np.sin(3 * z[0]),),
        lambda t: np.array([[1 + 0.5 * np.sin(3 * t)]]),
        noise="additive",
    )


def solvable():
    """State (X, w, J), one motion: dX = -X/(1 + t) dt + (1 + 3 t)/(1 + t) dw, dw, dJ = w dt.

    (1 + t) X(t) = X(0) + int (1 + 3 s) dw = X(0) + (1 + 3 t) w(t) - 3 J(t), on every path.
    """

    def diffusion(t):
        t = np.asarray(t)
        column = np.stack([(1 + 3 * t) / (1 + t), 1 + 0 * t, 0 * t], -1)
        return column[..., None]

    def drift(z, t):
        return -z[0] / (1 + t), 0 * z[1], z[1]

    return GeneralSDE(drift, diffusion, noise="additive", m=3)


def miss(z, x0=1.0, t=1.0):
    """X(t) less its exact value, from w and J of the same path."""
    return z[0] - (x0 + (1 + 3 * t) * z[1] - 3 * z[2]) / (1 + t)


@METHODS
def test_the_conditions_of_strong_order_three_halves(name):
    """From one step of dz = f(z, t) dt + G dw with v = I/h, var I = h^3/3, in Taylor's series.

    h f: sum alpha = 1. f' (G I): sum alpha beta = 1. h^2/2 (f' f + f_t): sum alpha c = 1/2. In the
    mean h^2/4 f'' G G, of E[(beta v)^2] = beta^2 h/3 under h f''/2: sum alpha beta^2 = 3/2.
    """
    use = TABLEAUX[name]
    alpha, c = np.array(use.alpha), np.array(use.c)
    beta = np.add(use.late, use.early)
    assert math.isclose(alpha.sum(), 1)
    assert math.isclose(alpha @ c, 1 / 2)
    assert math.isclose(alpha @ beta, 1)
    assert math.isclose(alpha @ beta**2, 3 / 2)
    if name == "sra3":
        A = np.zeros((3, 3))
        for i, row in enumerate(use.A):
            A[i, :i] = row
        assert math.isclose(alpha @ c**2, 1 / 3)
        assert math.isclose(alpha @ A @ c, 1 / 6)


def published(name):
    """(A0, B0, alpha, beta1, beta2, c0, c1) as in Roessler's tables."""
    if name == "sra1":
        return [[0, 0], [3 / 4, 0]], [[0, 0], [3 / 2, 0]], [1 / 3, 2 / 3], [1, 0], [-1, 1], [1, 0]
    A0 = [[0, 0, 0], [1, 0, 0], [1 / 4, 1 / 4, 0]]
    B0 = [[0, 0, 0], [0, 0, 0], [1, 1 / 2, 0]]
    return A0, B0, [1 / 6, 1 / 6, 2 / 3], [1, 0, 0], [-1, 1, 0], [1, 0, 0]


@METHODS
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_a_step_is_roesslers_formula(name, down):
    """Spelt out with all sums, for (n, m) = (3, 2), up and down in time; e against Euler's step."""
    A0, B0, alpha, beta1, beta2, c1 = published(name)
    if down:
        psld = sgmsolve.PSLD()
        sde = ReverseSDE(psld, TARGET.model(psld, "noise:lower"))
    else:
        sde = pendulum()
    rng, t, h = np.random.default_rng(0), 0.6, 0.2
    z, dw, area = (tuple(rng.standard_normal((2, 3, 1))) for _ in range(3))
    sign = -1 if down else 1
    Z, W, V = (np.stack(x) for x in (z, dw, tuple(a / h for a in area)))

    def G(c, x):
        return np.einsum("ij,j...->i...", sde.diffusion(t + sign * c * h), x)

    rates = []
    for row, noise in zip(A0, B0, strict=True):
        H = Z + sum(h * a * k for a, k in zip(row, rates, strict=False))
        H = H + sum(b * G(c, V) for b, c in zip(noise, c1, strict=True))
        rates.append(np.stack(sde.drift(tuple(H), t + sign * sum(row) * h)))
    high = Z + sum(h * a * k for a, k in zip(alpha, rates, strict=True))
    for one, two, c in zip(beta1, beta2, c1, strict=True):
        high = high + G(c, one * W + two * V)
    stepper, _ = sra._maker(name, TABLEAUX[name])(sde)
    field = Field(sde)
    draws = {"increment": dw, "area": area}
    tried = stepper.attempt(field, z, t, h, stepper.first(field, z, t), draws, z)
    assert np.allclose(np.stack(tried.z), high, rtol=1e-13, atol=1e-13)
    euler = Z + h * rates[0] + G(0, W)
    assert np.allclose(np.stack(tried.error), high - euler, rtol=1e-12, atol=1e-13)


@quiet
def test_sra1_is_torchsdes_srk_on_its_own_path():
    torch, torchsde = pytest.importorskip("torch"), pytest.importorskip("torchsde")
    from sgmsolve.adapters import brownian_noise, solve_with

    vp = sgmsolve.VP()
    sde = ReverseSDE(vp, TARGET.model(vp, "noise"))
    z = (torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None],)
    options = {"levy_area_approximation": "space-time", "entropy": 4}
    bm = torchsde.BrownianInterval(-1.0, -0.5, (5, 1), torch.float64, **options)
    theirs = solve_with("torchsde:srk", sde, z, 1.0, 0.5, dt=0.125, bm=bm)
    path = brownian_noise(bm, (1,))
    ours = solve_adaptive("sra1", sde, z, 1.0, 0.5, steps=4, noise=path)
    assert float(abs(ours.x - theirs.z[0]).max()) < 1e-12


def strong_case(name):
    """(sde, z, from, to, steps, order) of 300 paths.

    What is left at h^2 in one step is f'' G G int int w dw dt, nothing for a linear drift: there
    the order is 2.
    """
    rng = np.random.default_rng(3)
    if name == "double-well":
        return double_well(), (rng.standard_normal((300, 1)),), 0.0, 1.0, (128, 256, 512), 1.5
    if name == "time-dependent":
        return bent(), (rng.standard_normal((300, 1)),), 0.0, 1.0, (64, 128, 256), 1.5
    process = sgmsolve.VP() if name == "vp" else sgmsolve.PSLD()
    kind = "noise" if name == "vp" else "noise:lower"
    z = tuple(rng.standard_normal((process.m, 300, 1)))
    return ReverseSDE(process, TARGET.model(process, kind)), z, 0.6, 0.2, (16, 32, 64), 2.0


@METHODS
@pytest.mark.parametrize("problem", ["double-well", "time-dependent", "vp", "psld"])
def test_strong_order_on_one_path(name, problem):
    sde, z, a, b, steps, order = strong_case(problem)
    fine = 4 * steps[-1]
    path = FinePath(a, b, fine, [z[0].shape] * len(sde.diffusion(a).T), seed=1)

    def end(method, count):
        return np.stack(solve_adaptive(method, sde, z, a, b, steps=count, noise=path).z)

    right = end("sra3", fine)
    errors = [rms(end(name, n) - right) for n in steps]
    assert abs(-slope(steps, errors) - order) < 0.15, errors
    # The reference is none of a sister alone: Euler-Maruyama (milstein here) nears it at order 1.
    euler = [rms(end("milstein", n) - right) for n in steps]
    assert abs(-slope(steps, euler) - 1) < 0.15
    assert errors[-1] < euler[-1] / 4


def begin(n):
    """State of ``solvable`` for n samples."""
    return np.ones((n, 1)), np.zeros((n, 1)), np.zeros((n, 1))


@METHODS
def test_errors_against_an_exact_solution(name):
    """Linear drift: order 2. w and its integral are exact."""
    path, sde = FinePath(0, 1, 128, [(400, 1)], seed=2), solvable()
    steps = (32, 64, 128)
    found = [solve_adaptive(name, sde, begin(400), 0, 1, steps=n, noise=path).z for n in steps]
    w, J = path.motions[0]
    for z in found:
        assert np.allclose(z[1], w[-1], rtol=0, atol=1e-12)
        assert np.allclose(z[2], J[-1], rtol=0, atol=1e-12)
    assert abs(-slope(steps, [rms(miss(z)) for z in found]) - 2) < 0.15


@METHODS
def test_error_falls_with_tolerance_and_increments_keep_their_variance(name):
    """h ~ tol^(2/3) and error ~ h^2: slope 4/3. w is the sum of the accepted increments."""
    n, tolerances, errors = 400, [3e-3, 1e-3, 3e-4], []
    for tol in tolerances:
        run = solve_adaptive(
            name, solvable(), begin(n), 0, 1, rtol=1e-9, atol=(tol, 1e9, 1e9), seed=5
        )
        assert run.rejected.sum() > 0.3 * run.accepted.sum()
        errors.append(rms(miss(run.z)))
        w, J = run.z[1][:, 0], run.z[2][:, 0]
        assert abs(w.mean()) < 3 / math.sqrt(n)
        assert abs(w.var() - 1) < 3 * math.sqrt(2 / n)
        assert abs(np.mean(J**2) * 3 - 1) < 3 * math.sqrt(2 / n)
        assert abs(np.mean(w * J) * 2 - 1) < 3 * math.sqrt((1 + 4 / 3) / n)
    assert abs(slope(tolerances, errors) - 4 / 3) < 0.2, errors
    assert errors[0] < tolerances[0]


@METHODS
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("tol", [0.1, 0.01])
def test_reverse_moments_of_a_gaussian(name, n, tol):
    """Where redrawing is biased: few dimensions, tolerances that reject."""
    vp, batch = sgmsolve.VP(), 2000
    target = sgmsolve.Gaussian(np.full(n, 0.5), 0.25 * np.eye(n))
    sde, a, b = ReverseSDE(vp, target.model(vp, "noise")), 0.8, 0.1
    rng = np.random.default_rng(n)

    def law(t):
        u, noise = float(vp.loading(t)[0]), float(vp.covariance(t)[0, 0])
        return 0.5 * u, 0.25 * u**2 + noise

    mean, variance = law(a)
    z = mean + math.sqrt(variance) * rng.standard_normal((batch, n))
    run = solve_adaptive(name, sde, z, a, b, rtol=tol, atol=tol, seed=1)
    assert run.rejected.sum() > 0.05 * run.accepted.sum()
    mean, variance = law(b)
    # The discretisation's own bias is below tol / 10 of the deviation here.
    assert abs(run.x.mean() - mean) < 3.5 * math.sqrt(variance / (n * batch)) + 0.1 * tol
    assert abs(run.x.var() / variance - 1) < 3.5 * math.sqrt(2 / (n * batch)) + 0.1 * tol


@METHODS
def test_evaluations_are_counted(name):
    rows, stages = [], {"sra1": 2, "sra3": 3}[name]
    inner = double_well()

    def drift(z, t):
        rows.append(z[0].shape[0])
        return inner.drift(z, t)

    sde = GeneralSDE(drift, lambda t: np.array([[0.7]]), noise="additive")
    run = solve_adaptive(name, sde, np.linspace(-3, 3, 20)[:, None], 0, 1, rtol=0.01, atol=0.01)
    assert run.rows == sum(rows) == run.nfe.sum()
    assert run.calls == len(rows)
    assert (run.nfe == run.accepted + (stages - 1) * (run.accepted + run.rejected)).all()
    assert run.rejected.sum() > 0


@METHODS
def test_libraries_and_shapes_agree(name):
    """numpy on rows, torch and jax on images, one Philox: equal to rounding, counts equal."""
    x = np.random.default_rng(0).standard_normal((2, 8))
    options = {"rtol": 0.1, "atol": 0.1, "generator": "philox", "seed": 3, "h0": 0.3}
    right = solve_adaptive(name, double_well(), x, 0.0, 1.0, **options)
    idle = solve_adaptive(name, double_well(), x, 0.0, 1.0, compact=False, **options)
    assert np.array_equal(idle.x, right.x)  # and no warning for samples that stand still
    assert right.rejected.sum() > 0
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    shaped = x.reshape(2, 2, 2, 2)
    for z in (torch.from_numpy(shaped), jnp.asarray(shaped)):
        run = solve_adaptive(name, double_well(), z, 0.0, 1.0, **options)
        assert np.allclose(np.asarray(run.x).reshape(2, 8), right.x, rtol=0, atol=1e-11)
        assert (run.nfe == right.nfe).all()


@METHODS
@quiet
def test_phase_space_keeps_its_law(name):
    """PSLD from its marginal at 0.8 to 0.2: the covariance of both components."""
    psld, batch = sgmsolve.PSLD(), 2000
    sde, a, b = ReverseSDE(psld, TARGET.model(psld, "noise:lower")), 0.8, 0.2

    def law(t):
        u = psld.loading(t)
        return 0.5 * u, 0.25 * np.outer(u, u) + psld.covariance(t)

    mean, cov = law(a)
    rng = np.random.default_rng(2)
    z = mean[:, None] + np.linalg.cholesky(cov) @ rng.standard_normal((2, batch))
    run = solve_adaptive(name, sde, tuple(z[..., None]), a, b, rtol=0.05, atol=0.05, seed=1)
    mean, cov = law(b)
    found = np.stack(run.z)[..., 0]
    whitened = np.linalg.solve(np.linalg.cholesky(cov), found - mean[:, None])
    assert (np.abs(whitened.mean(axis=1)) < 4 / math.sqrt(batch)).all()
    gap = np.abs(whitened @ whitened.T / batch - np.eye(2))
    assert (gap < 4 * np.sqrt(np.array([[2, 1], [1, 2]]) / batch)).all()


@METHODS
def test_noise_that_depends_on_the_state_is_refused(name):
    gbm = GeneralSDE(lambda z, t: z, lambda z, t: z)
    with pytest.raises(MethodError, match=f"{name} is for additive noise.*diagonal.*milstein"):
        solve_adaptive(name, gbm, np.ones((2, 1)), 0.0, 1.0)


def test_forward_sdes_run_up():
    """The forward VP: variance 1 is kept, from variance 1."""
    z = np.random.default_rng(0).standard_normal((2000, 1))
    run = solve_adaptive("sra1", ForwardSDE(sgmsolve.VP()), z, 0.1, 0.9, rtol=0.01, atol=0.01)
    assert abs(run.x.var() - 1) < 3.5 * math.sqrt(2 / 2000)
