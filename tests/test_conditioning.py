"""Inpainting: what is replaced, when, with which noise; and how far from the truth that leads."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from phase_cases import THREE

import sgmsolve
from sgmsolve import Gaussian, KeyedNoise, inpainting
from sgmsolve.conditioning import FIRST_COLUMN
from sgmsolve.errors import BackendError
from sgmsolve.process import CLD, EDM, PSLD, VP

pytestmark = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")

PROCESSES = {"vp": VP(), "edm": EDM(), "psld": PSLD(), "cld": CLD(), "three": THREE}
MASK, KNOWN = np.array([1, 0, 1]), np.array([0.7, np.nan, -1.2])
TARGET = Gaussian(np.array([0.2, 0.0, -0.1]), 0.5)


def made(process, steps=6, method=None, **options):
    method = method or ("euler-maruyama" if process.m > 1 else "ancestral")
    plan = sgmsolve.build_plan(process, method, grid="uniform", steps=steps)
    kind = plan.predicts
    return plan, TARGET.model(process, kind), inpainting(process, plan, KNOWN, MASK, **options)


def begin(process, n=5, xp=np.asarray):
    rng = np.random.default_rng(3)
    factor = np.sqrt(np.diag(process.prior()))
    return tuple(xp(factor[i] * rng.standard_normal((n, 3))) for i in range(process.m))


def standardised(process, z, t):
    """The known entries' noise L^-1 (z - u known), (m, batch, 2)."""
    u, covariance = process.loading(t), process.covariance(t)
    known = np.array([np.asarray(a)[:, [0, 2]] for a in z])
    d = known - u[:, None, None] * KNOWN[[0, 2]]
    return np.einsum("ij,jbn->ibn", np.linalg.inv(np.linalg.cholesky(covariance)), d)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_known_part_follows_the_kernel_at_the_end_of_each_step(name):
    """With replayed draws: u(t) known + L(t) xi at the time the step ENDS, to rounding."""
    process = PROCESSES[name]
    plan, model, hook = made(process, seed=11)
    seen = []

    def between(row, z, t, model):
        out = hook(row, z, t, model)
        np.testing.assert_array_equal([a[:, 1] for a in out], [a[:, 1] for a in z])
        seen.append((row, t, out))
        return out

    z = hook.start(begin(process))
    sgmsolve.solve(plan, model, z, between=between)
    ends = [*plan.t[1:].tolist(), plan.t_end]
    assert [t for _, t, _ in seen] == ends
    draw = KeyedNoise(11).bind(None, z)
    for key, t, at in [(0, plan.t_start, z), *((r + 1, t, o) for r, t, o in seen[:-1])]:
        xi = np.array([draw(key, FIRST_COLUMN + j)[:, [0, 2]] for j in range(process.m)])
        np.testing.assert_allclose(standardised(process, at, t), xi, rtol=1e-7, atol=1e-8)
    # The time of the step's start, one late as in the code of PSLD, would be far off.
    late = standardised(process, seen[2][2], ends[1])
    assert np.abs(late - standardised(process, seen[2][2], ends[2])).max() > 1e-2


@pytest.mark.parametrize("name", PROCESSES)
def test_the_draws_have_the_kernels_law(name):
    """4000 samples: mean, variance and correlation of the components within 5 standard errors."""
    process = PROCESSES[name]
    plan, _, hook = made(process)
    n = 4000
    z = hook(1, begin(process, n), float(plan.t[2]))
    eps = standardised(process, z, float(plan.t[2])).transpose(1, 2, 0).reshape(-1, process.m)
    assert np.abs(eps.mean(0)).max() < 5 / np.sqrt(2 * n)
    assert np.abs(np.cov(eps.T) - np.eye(process.m)).max() < 5 * np.sqrt(2 / (2 * n))


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("final", ["data", "kernel"])
def test_the_end(name, final):
    process = PROCESSES[name]
    plan, model, hook = made(process, final=final)
    z = sgmsolve.solve(plan, model, hook.start(begin(process, 400)), between=hook).z
    known = z[0][:, [0, 2]]
    if final == "data":
        np.testing.assert_array_equal(known, np.broadcast_to(KNOWN[[0, 2]], known.shape))
    else:
        eps = standardised(process, z, plan.t_end)
        np.testing.assert_allclose(eps.var(axis=(1, 2)), 1, atol=5 * np.sqrt(2 / 800))
    for i in range(1, process.m):  # auxiliary components: their own marginal of the kernel
        spread = np.sqrt(process.covariance(plan.t_end)[i, i])
        centre = process.loading(plan.t_end)[i] * KNOWN[[0, 2]]
        eps = (z[i][:, [0, 2]] - centre) / spread
        assert abs(eps.mean()) < 5 / np.sqrt(800)
        assert eps.var() == pytest.approx(1, abs=5 * np.sqrt(2 / 800))


@pytest.mark.parametrize("name", ["vp", "psld"])
def test_fixed_draws_follow_one_realisation(name):
    process = PROCESSES[name]
    plan, model, hook = made(process, draws="fixed", seed=2)
    z = hook.start(begin(process))
    first, seen = standardised(process, z, plan.t_start), []

    def between(row, z, t, model):
        out = hook(row, z, t, model)
        if row < plan.rows - 1:
            seen.append(standardised(process, out, t))
        return out

    sgmsolve.solve(plan, model, z, between=between)
    for eps in seen:
        np.testing.assert_allclose(eps, first, rtol=1e-8, atol=1e-9)
    fresh = inpainting(process, plan, KNOWN, MASK, seed=2)
    t = float(plan.t[1])
    again = standardised(process, fresh(0, begin(process), t), t)
    assert np.abs(again - first).max() > 0.1


def test_draws_are_keyed_by_sample_and_independent_of_the_plans():
    process = PSLD()
    plan, model, hook = made(process, seed=4)
    z = begin(process, 6)
    whole = sgmsolve.solve(plan, model, hook.start(z), seed=4, between=hook)
    pick = np.array([4, 1])
    part = inpainting(process, plan, KNOWN, MASK, seed=4, indices=pick)
    few = part.start(tuple(a[pick] for a in z))
    got = sgmsolve.solve(plan, model, few, seed=4, indices=pick, between=part)
    np.testing.assert_array_equal(got.z, [a[pick] for a in whole.z])
    # The same seed as the plan's own draws: not the same numbers.
    own = KeyedNoise(4).bind(None, z)
    mine = standardised(process, hook(0, z, float(plan.t[1])), float(plan.t[1]))
    assert all(np.abs(mine[0] - own(r, 0)[:, [0, 2]]).max() > 0.5 for r in range(3))
    other = inpainting(process, plan, KNOWN, MASK, seed=5).start(z)
    assert np.abs(other[0] - hook.start(z)[0])[:, 0].min() > 1e-4


@pytest.mark.parametrize("name", ["vp", "psld"])
def test_backends_agree(name):
    process = PROCESSES[name]
    plan, model, hook = made(process, noise="philox", seed=9)
    outs = []
    for array in (np.asarray, torch.from_numpy, jnp.asarray):
        z = hook.start(begin(process, xp=array))
        done = sgmsolve.solve(plan, model, z, noise="philox", seed=9, between=hook)
        assert type(done.x) is type(array(np.zeros(1)))
        outs.append([np.asarray(a) for a in done.z])
    for out in outs[1:]:
        np.testing.assert_allclose(out, outs[0], rtol=1e-9, atol=1e-11)
    mask, known = torch.from_numpy(MASK), torch.from_numpy(KNOWN)
    same = inpainting(process, plan, known, mask.bool(), noise="philox", seed=9)
    np.testing.assert_array_equal(same.start(begin(process)), hook.start(begin(process)))
    single = hook.start(tuple(torch.from_numpy(a).float() for a in begin(process)))
    assert all(a.dtype == torch.float32 for a in single)


@pytest.mark.parametrize(
    ("method", "rows"),
    [("heun", [1, 3, 5]), ("dpm++2m", [0, 1, 2]), ("edm-churn", [1, 2, 3, 4, 5])],
)
def test_stages_are_left_alone(method, rows):
    """Replaced after the rows that end a step; with churn at the raised time of the point.

    With churn the stages go on from a state that is not replaced, so their points are, too.
    """
    process = VP()
    options = {"s_churn": 20.0} if "churn" in method else {}
    plan = sgmsolve.build_plan(process, method, grid="uniform", steps=3, **options)
    hook = inpainting(process, plan, KNOWN, MASK, seed=1)
    found = []

    def between(row, z, t, model):
        out = hook(row, z, t, model)
        if out is not None:
            found.append((row, t, out))
        return out

    model = TARGET.model(process)
    z = hook.start(begin(process))
    sgmsolve.solve(plan, model, z[0], between=between)
    assert [row for row, _, _ in found] == rows
    draw = KeyedNoise(1).bind(None, z)
    for row, t, out in found[:-1]:
        xi = draw(row + 1, FIRST_COLUMN)[:, [0, 2]]
        np.testing.assert_allclose(standardised(process, out, t)[0], xi, rtol=1e-9, atol=1e-10)
        nodes = [n.time for n in plan.nodes if n.boundary == row + 1]
        if nodes:
            assert (t > nodes[0] + 1e-4) if "churn" in method else (t == nodes[0])


def test_unknown_entries_learn_through_the_network_alone():
    """A network that ignores its input leaves the unknown entries as they were without a hook."""
    process = PSLD()
    plan, _, hook = made(process)
    from sgmsolve.model import as_model

    blind = as_model(lambda x, v, t: (0 * x + t, 0 * v - t), process, predicts="score")
    z = begin(process)
    free = sgmsolve.solve(plan, blind, z, seed=1).z
    held = sgmsolve.solve(plan, blind, hook.start(z), seed=1, between=hook).z
    np.testing.assert_array_equal([a[:, 1] for a in held], [a[:, 1] for a in free])


def conditional(correlation, known):
    """Mean and variance of entry 1 given entry 0, standard deviations 0.6, means 0.2 and -0.1."""
    return -0.1 + correlation * (known - 0.2), 0.36 * (1 - correlation**2)


@pytest.mark.parametrize("draws", ["fresh", "fixed"])
@pytest.mark.parametrize("name", ["vp", "psld"])
def test_the_bias_of_replacement(name, draws):
    """A correlated Gaussian: towards the conditional law, but not all the way (docs page)."""
    process, n, correlation, known = PROCESSES[name], 3000, 0.8, 1.4
    cov = 0.36 * np.array([[1, correlation], [correlation, 1]])
    target = Gaussian(np.array([0.2, -0.1]), cov)
    method = "euler-maruyama"
    plan = sgmsolve.build_plan(process, method, grid="uniform", steps=250)
    hook = inpainting(process, plan, [known, 0.0], [1, 0], draws=draws)
    rng = np.random.default_rng(0)
    scale = np.sqrt(np.diag(process.prior()))
    z = tuple(s * rng.standard_normal((n, 2)) for s in scale)
    model = target.model(process, plan.predicts)
    y = sgmsolve.solve(plan, model, hook.start(z), between=hook).x[:, 1]
    mean, variance = conditional(correlation, known)
    moved = (y.mean() + 0.1) / (mean + 0.1)
    # Measured 0.61 to 0.63, and 1.37 to 1.42 (fresh) or 1.62 (fixed); exact would be 1 and 1.
    assert 0.55 < moved < 0.7
    low, high = (1.2, 1.6) if draws == "fresh" else (1.4, 1.85)
    assert low < y.var() / variance < high


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.array([1, 0])}, r"mask has shape \(2,\) and known \(3,\)"),
        ({"mask": np.array([1, 0.5, 1])}, "mask holds 0.5"),
        ({"mask": np.array([1, np.nan, 1])}, "mask holds nan"),
        ({"mask": np.array([1, 1, 1])}, r"known is NaN or Inf at \(1,\)"),
        ({"known": "text"}, "not an array of numbers"),
        ({"draws": "frehs"}, "Did you mean 'fresh'"),
        ({"final": "exact"}, "unknown value of final"),
        ({"noise": sgmsolve.ForbiddenNoise()}, "expected draws keyed by sample"),
        ({"seed": -1}, "the seed is -1"),
        ({"process": VP.cosine()}, "was built for the process"),
        ({"process": "vp"}, "was given a str"),
        ({"plan": "ddim"}, "was given a str"),
    ],
)
def test_bad_arguments(change, words):
    process = VP()
    plan = sgmsolve.build_plan(process, "ddim", steps=3)
    given = {"process": process, "plan": plan, "known": KNOWN, "mask": MASK, **change}
    with pytest.raises(BackendError, match=words):
        inpainting(**given)


def test_bad_states_and_plans():
    process = PSLD()
    plan, model, hook = made(process)
    z = begin(process)
    with pytest.raises(BackendError, match=r"known has shape \(3,\), but the state is \(5, 4\)"):
        hook.start((np.zeros((5, 4)),) * 2)
    batch = inpainting(process, plan, np.zeros((4, 3)), MASK)
    with pytest.raises(BackendError, match=r"known has shape \(4, 3\), but the state is \(5, 3\)"):
        sgmsolve.solve(plan, model, z, between=batch)
    with pytest.raises(BackendError, match=r"the start has 1 component\(s\), expected 2"):
        hook.start(z[0])
    other = sgmsolve.build_plan(process, "euler-maruyama", grid="uniform", steps=7)
    with pytest.raises(BackendError, match="make a hook for each plan"):
        sgmsolve.solve(other, model, z, between=hook)
    bare = plan.replace(nodes=())
    with pytest.raises(BackendError, match=r"plan\.nodes is empty"):
        inpainting(process, bare, KNOWN, MASK)
    with pytest.raises(BackendError, match="2 sample indices were given for a batch of 5"):
        inpainting(process, plan, KNOWN, MASK, indices=[0, 1]).start(z)
