"""Milstein's method: the formula, both estimates, strong order 1 on one path, adaptive runs."""

import math

import numpy as np
import pytest
from brownian_path import FinePath, rms, slope

from sgmsolve.adaptive import solve_adaptive
from sgmsolve.adaptive.milstein import Milstein
from sgmsolve.adaptive.stepper import Field
from sgmsolve.errors import BackendError, MethodError
from sgmsolve.reverse import GeneralSDE

MU, SIGMA = 0.5, 0.8
TURN = np.array([[0.3, -0.7], [0.7, 0.3]])
STRETCH = np.array([[0.5, -0.2], [0.2, 0.5]])  # commutes with TURN
PULL = np.array([[-0.4, 0.1], [-0.1, -0.4]])  # and so does this
ERRORS = pytest.mark.parametrize("error", ["doubling", "embedded"])
CALCULI = pytest.mark.parametrize("calculus", ["ito", "stratonovich"])


def gbm(calculus="ito", derivative=True, mu=MU):
    return GeneralSDE(
        lambda z, t: ((mu if calculus == "ito" else mu - SIGMA**2 / 2) * z[0],),
        lambda z, t: (SIGMA * z[0],),
        derivative=(lambda z, t: (0 * z[0] + SIGMA,)) if derivative else None,
        calculus=calculus,
    )


def with_path():
    """Entries (X, w) on one motion: geometric Brownian motion and what drives it."""

    def entries(x, a, b):
        return (np.stack([a * x[..., 0], b + 0 * x[..., 0]], axis=-1),)

    return GeneralSDE(
        lambda z, t: entries(z[0], MU, 0.0),
        lambda z, t: (entries(z[0], SIGMA, 1.0)[0][..., None],),
        derivative=lambda z, t: entries(z[0], SIGMA**2, 0.0),
        noise="general",
    )


def exact(x, w, t=1.0):
    return x * np.exp((MU - SIGMA**2 / 2) * t + SIGMA * w)


def matrices(xp, calculus="ito", commutes=True, second=STRETCH):
    """dz = PULL z dt + TURN z dw_1 + second z dw_2, a row of z a sample."""
    pull = PULL if calculus == "ito" else PULL - (TURN @ TURN + second @ second) / 2
    A, B, C = (xp.asarray(x, dtype=xp.float64).T for x in (pull, TURN, second))
    return GeneralSDE(
        lambda z, t: (z[0] @ A,),
        lambda z, t: (xp.stack([z[0] @ B, z[0] @ C], -1),),
        noise="general",
        calculus=calculus,
        commutes=commutes,
    )


def wavy(calculus="ito"):
    """Diagonal noise and drift that bend and depend on time, with g' at hand."""
    return GeneralSDE(
        lambda z, t: (np.sin(z[0] + t),),
        lambda z, t: (np.cos(z[0]) + 0.5 * t,),
        derivative=lambda z, t: (-np.sin(z[0]),),
        calculus=calculus,
    )


def attempt(sde, stepper, z, t, h, draws):
    field = Field(sde)
    return stepper.attempt(field, z, t, h, stepper.first(field, z, t), draws, z)


def wavy_step(x, t, h, w, calculus):
    """One step of ``wavy``, and 1/2 g g' dw^2."""
    g, slope_ = np.cos(x) + 0.5 * t, -np.sin(x)
    square = w * w - (h if calculus == "ito" else 0)
    return x + h * np.sin(x + t) + g * w + g * slope_ * square / 2, g * slope_ * w * w / 2


@CALCULI
@ERRORS
def test_a_diagonal_step_is_the_formula(error, calculus):
    """Against the step spelt out, with a time and a step for each sample; and its estimate."""
    rng = np.random.default_rng(0)
    x, dw, half = rng.standard_normal((3, 4, 2))
    t, h = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3, 0.1, 0.2, 0.5])
    draws = {"increment": (dw,), "half": (half,)}
    tried = attempt(wavy(calculus), Milstein(error), (x,), t, h, draws)
    t, h = t[:, None], h[:, None]
    once, bend = wavy_step(x, t, h, dw, calculus)
    if error == "doubling":
        first, _ = wavy_step(x, t, h / 2, half, calculus)
        twice, _ = wavy_step(first, t + h / 2, h / 2, dw - half, calculus)
        end, e = twice, twice - once
        assert tried.last is None
    else:
        rate = np.sin(once + t + h)
        rise = np.cos(once) + 0.5 * (t + h) - np.cos(x) - 0.5 * t
        end, e = once, h / 2 * (rate - np.sin(x + t)) + rise * dw / 2 - bend
        assert np.allclose(tried.last[0], rate, rtol=1e-14)
    assert np.allclose(tried.z[0], end, rtol=1e-13)
    assert np.allclose(tried.error[0], e, rtol=1e-11, atol=1e-14)
    for size, expected in zip(tried.sizes, (x, end), strict=True):
        assert np.allclose(size[0], expected, rtol=1e-13)


@pytest.mark.parametrize("kind", ["torch", "jax"])
@CALCULI
def test_a_commutative_step_is_the_double_sum(kind, calculus):
    """1/2 sum_kl G_l G_k z (dw_k dw_l - delta_kl h) for g_k = G_k z."""
    xp = pytest.importorskip("torch" if kind == "torch" else "jax.numpy")
    rng = np.random.default_rng(1)
    x, dw, h = rng.standard_normal((3, 2)), rng.standard_normal((3, 2)), 0.2
    sde = matrices(xp, calculus)
    draws = {"increment": (xp.asarray(dw),)}
    found = attempt(sde, Milstein("embedded"), (xp.asarray(x),), 0.0, h, draws).z[0]
    pair, ito = (TURN, STRETCH), calculus == "ito"
    drift = PULL - (0 if ito else 1) * sum(G @ G for G in pair) / 2
    step = np.stack([np.eye(2) + h * drift] * 3)
    for k, G in enumerate(pair):
        step = step + dw[:, k, None, None] * G
        for m, H in enumerate(pair):
            product = dw[:, k] * dw[:, m] - (h if ito and k == m else 0)
            step = step + product[:, None, None] * (H @ G) / 2
    assert np.allclose(np.asarray(found), np.einsum("nij,nj->ni", step, x), rtol=1e-13)


@CALCULI
@ERRORS
def test_strong_order_one_against_the_exact_path(error, calculus):
    path, steps = FinePath(0, 1, 1024, [(1000, 1)], seed=1), (16, 32, 64, 128)
    right = exact(1.0, path.motions[0][0][-1])
    errors = []
    for n in steps:
        options = {"steps": n, "noise": path, "error": error}
        run = solve_adaptive("milstein", gbm(calculus), np.ones((1000, 1)), 0, 1, **options)
        errors.append(rms(run.x - right))
    assert abs(-slope(steps, errors) - 1) < 0.15, errors


@CALCULI
def test_strong_order_one_with_two_motions(calculus):
    """z = exp((PULL - (TURN^2 + STRETCH^2)/2) t + TURN w_1 + STRETCH w_2) z_0: all commute."""
    torch, linalg = pytest.importorskip("torch"), pytest.importorskip("scipy.linalg")
    path, steps, n = FinePath(0, 1, 256, [(300, 2)], seed=2), (16, 32, 64), 300
    w = path.motions[0][0][-1]
    A = PULL - (TURN @ TURN + STRETCH @ STRETCH) / 2
    full = linalg.expm(A + w[:, 0, None, None] * TURN + w[:, 1, None, None] * STRETCH)
    right = full @ np.array([1.0, 0.5])

    class Path:
        def increment(self, a, b):
            return tuple(torch.from_numpy(x) for x in path.increment(a, b))

    z, errors = torch.tensor([[1.0, 0.5]], dtype=torch.float64).repeat(n, 1), []
    for count in steps:
        options = {"steps": count, "noise": Path(), "error": "embedded"}
        run = solve_adaptive("milstein", matrices(torch, calculus), z, 0, 1, **options)
        errors.append(rms(run.x.numpy() - right))
    assert abs(-slope(steps, errors) - 1) < 0.15, errors


def test_torchsdes_milstein_on_its_own_path():
    torch, torchsde = pytest.importorskip("torch"), pytest.importorskip("torchsde")
    from sgmsolve.adapters import brownian_noise, solve_with

    z = (torch.linspace(0.5, 2, 4, dtype=torch.float64)[:, None],)
    bm = torchsde.BrownianInterval(0.0, 1.0, (4, 1), torch.float64, entropy=4)
    theirs = solve_with("torchsde:milstein", gbm(), z, 0.0, 1.0, dt=0.125, bm=bm)
    path = brownian_noise(bm, (1,), direction=1)
    options = {"steps": 8, "noise": path, "error": "embedded"}
    ours = solve_adaptive("milstein", gbm(derivative=False), z, 0.0, 1.0, **options)
    assert float(abs(ours.x - theirs.z[0].detach()).max()) < 1e-12


@ERRORS
def test_gradients_reach_what_the_diffusion_depends_on(error):
    """Through the second derivative of the diffusion too; against differences."""
    torch = pytest.importorskip("torch")
    z = torch.linspace(0.5, 2, 4, dtype=torch.float64)[:, None]

    def end(s):
        sde = GeneralSDE(lambda z, t: (z[0],), lambda z, t: (torch.sin(s * z[0]),))
        return solve_adaptive("milstein", sde, z, 0.0, 1.0, seed=1, steps=8, error=error).x.sum()

    s = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(end(s), s)
    expected = (end(0.8 + 1e-5) - end(0.8 - 1e-5)) / 2e-5
    assert abs(float(found / expected) - 1) < 1e-7
    assert not end(0.8).requires_grad


SEEN = {
    "noise alone": gbm(mu=0.0),
    "noise alone, Stratonovich": GeneralSDE(
        lambda z, t: (0 * z[0],),
        lambda z, t: (SIGMA * z[0],),
        derivative=lambda z, t: (0 * z[0] + SIGMA,),
        calculus="stratonovich",
    ),
    "bent": wavy(),
    "additive drift": GeneralSDE(
        lambda z, t: (np.sin(3 * z[0]),), lambda t: np.array([[0.7]]), noise="additive"
    ),
    "additive time": GeneralSDE(
        lambda z, t: (0 * z[0],), lambda t: (1 + t)[..., None, None], noise="additive"
    ),
}


@ERRORS
@pytest.mark.parametrize("case", SEEN)
def test_estimates_see_everything_at_order_three_halves(error, case):
    """rms of e over one step from (1, 0.3), down to small steps: no problem is invisible."""
    rng, n, sizes = np.random.default_rng(0), 4000, (0.02, 0.005, 0.00125)
    stepper, found = Milstein(error), []
    xi, eta = rng.standard_normal((2, n, 1))
    for h in sizes:
        t, step = np.full(n, 0.3), np.full(n, h)
        first, second = math.sqrt(h / 2) * xi, math.sqrt(h / 2) * eta
        draws = {"increment": (first + second,), "half": (first,)}
        tried = attempt(SEEN[case], stepper, (np.ones((n, 1)),), t, step, draws)
        found.append(rms(tried.error[0]))
    assert abs(slope(sizes, found) - 1.5) < 0.1
    assert stepper.order == 1.5
    assert found[0] > 0.02 * sizes[0] ** 1.5


@ERRORS
def test_error_falls_with_tolerance_and_increments_keep_their_variance(error):
    """h ~ tol^(2/3), error ~ h: slope 2/3, against the exact solution on each path."""
    n, tolerances, errors = 800, [1e-3, 3e-4, 1e-4], []
    for tol in tolerances:
        z = np.tile([1.0, 0.0], (n, 1))
        options = {"rtol": tol, "atol": 1e-9, "error": error, "seed": 2}
        run = solve_adaptive("milstein", with_path(), z, 0, 1, **options)
        assert run.rejected.sum() > 0.3 * run.accepted.sum()
        x, w = run.x.T
        errors.append(rms(x / exact(1.0, w) - 1))
        assert abs(w.mean()) < 3 / math.sqrt(n)
        assert abs(w.var() - 1) < 3 * math.sqrt(2 / n)
    assert abs(slope(tolerances, errors) - 2 / 3) < 0.12, errors
    assert errors[0] < 10 * tolerances[0]


@ERRORS
def test_evaluations_are_counted(error):
    rows = []

    def drift(z, t):
        rows.append(z[0].shape[0])
        return (MU * z[0],)

    sde = GeneralSDE(
        drift, lambda z, t: (SIGMA * z[0],), derivative=lambda z, t: (0 * z[0] + SIGMA,)
    )
    x = np.linspace(0.1, 3, 20)[:, None]
    run = solve_adaptive("milstein", sde, x, 0, 1, rtol=1e-3, error=error)
    attempts = run.accepted + run.rejected
    assert run.rows == sum(rows) == run.nfe.sum()
    assert (run.nfe == attempts + (1 if error == "embedded" else run.accepted)).all()
    assert run.rejected.sum() > 0


@ERRORS
def test_libraries_and_shapes_agree(error):
    """numpy with g', torch and jax that differentiate, on images: equal to rounding."""
    x = np.random.default_rng(0).uniform(0.5, 2, (2, 8))
    options = {"rtol": 0.02, "atol": 0.02, "generator": "philox", "seed": 3, "error": error}
    right = solve_adaptive("milstein", gbm(), x, 0.0, 1.0, **options)
    idle = solve_adaptive("milstein", gbm(), x, 0.0, 1.0, compact=False, **options)
    assert np.array_equal(idle.x, right.x)
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    shaped = x.reshape(2, 2, 2, 2)
    for z in (torch.from_numpy(shaped), jnp.asarray(shaped)):
        run = solve_adaptive("milstein", gbm(derivative=False), z, 0.0, 1.0, **options)
        assert np.allclose(np.asarray(run.x).reshape(2, 8), right.x, rtol=0, atol=1e-12)
        assert (run.nfe == right.nfe).all()


def test_two_motions_run_adaptively():
    """E z(1) = exp(PULL) z_0, on torch; jax gets the same from the same normals."""
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    linalg = pytest.importorskip("scipy.linalg")
    z = np.tile([1.0, 0.5], (300, 1))
    options = {"rtol": 0.05, "atol": 0.05, "seed": 1, "generator": "philox"}
    run = solve_adaptive("milstein", matrices(torch), torch.from_numpy(z), 0, 1, **options)
    x = run.x.numpy()
    gap = x.mean(axis=0) - linalg.expm(PULL) @ [1.0, 0.5]
    assert (np.abs(gap) < 3.5 * x.std(axis=0) / math.sqrt(300)).all()
    other = solve_adaptive("milstein", matrices(jnp), jnp.asarray(z[:2]), 0, 1, **options)
    assert np.allclose(np.asarray(other.x), x[:2], rtol=0, atol=1e-12)


def test_what_is_refused():
    """Sentences, before the drift is called."""
    torch = pytest.importorskip("torch")
    z = torch.ones((2, 2), dtype=torch.float64)
    other = np.array([[0.0, 1.0], [0.0, 0.0]])
    cases = [
        (MethodError, "needs noise that commutes.*2 motions", matrices(torch, commutes=False), z),
        (MethodError, "commutes=True was given, but", matrices(torch, second=other), z),
        (BackendError, "numpy cannot differentiate", gbm(derivative=False), np.ones((2, 1))),
        (BackendError, "along 2 motions, which numpy cannot", matrices(np), np.ones((2, 2))),
    ]
    for error, text, sde, start in cases:
        sde._drift = None  # never called
        with pytest.raises(error, match=text):
            solve_adaptive("milstein", sde, start, 0.0, 1.0)
    with pytest.raises(MethodError, match=r"error of milstein.*doubling"):
        solve_adaptive("milstein", gbm(), np.ones((2, 1)), 0.0, 1.0, error="duobling")
