"""Options, sentences, statuses and counts of every adaptive run."""

from __future__ import annotations

import numpy as np
import pytest

import sgmsolve
from sgmsolve import VP, ProbabilityFlow, ReverseSDE
from sgmsolve.adaptive import known_methods, solve_adaptive
from sgmsolve.adaptive.masked import solve_masked
from sgmsolve.errors import (
    BackendError,
    GridError,
    IncompleteWarning,
    MethodError,
    SolveError,
    Status,
)
from sgmsolve.reverse import GeneralSDE
from sgmsolve.target import Gaussian

MODEL = Gaussian(np.zeros(2), np.array([0.2, 0.5])).model(VP())
SDE, FLOW = ReverseSDE(VP(), MODEL), ProbabilityFlow(VP(), MODEL)
Z = np.random.default_rng(0).standard_normal((4, 2))


def run(method="gotta-go-fast", sde=SDE, z=Z, start=1.0, end=1e-2, **options):
    return solve_adaptive(method, sde, z, start, end, **options)


SENTENCES = [
    ({"method": "gotta-go-fats"}, MethodError, "Did you mean 'gotta-go-fast'"),
    ({"rtoll": 1.0}, MethodError, "Did you mean 'rtol'"),
    ({"rtol": 0.0}, MethodError, "rtol = 0.0, expected a finite number above 0"),
    ({"atol": -1e-3}, MethodError, "atol = -0.001, expected a finite number above 0"),
    ({"rtol": float("nan")}, MethodError, "rtol = nan"),
    ({"atol": (1e-3, 1e-3)}, MethodError, "atol has 2 entries, expected one number or 1"),
    ({"max_steps": 0}, MethodError, "max_steps = 0, expected an integer of at least 1"),
    ({"norm": "l2"}, MethodError, "unknown value of norm"),
    ({"noise": "redrawn"}, MethodError, "Did you mean 'redraw'"),
    ({"noise": 3.0}, MethodError, "expected 'bridge', 'redraw', 'reuse' or a path"),
    ({"controller": "pi"}, MethodError, "controller is a str"),
    ({"theta": 2.0}, MethodError, "expected 0 < theta <= 1"),
    ({"r": -2.0}, MethodError, "r above 0"),
    ({"error": "drfit"}, MethodError, "Did you mean 'drift'"),
    ({"extrapolate": 1}, MethodError, "extrapolate = 1, expected True or False"),
    ({"steps": 10, "rtol": 0.1}, MethodError, "rtol belong to error control"),
    ({"steps": 10, "grid": [1.0, 0.01]}, MethodError, "steps and grid were given"),
    ({"grid": [1.0, 0.5, 0.7, 0.01]}, GridError, "in the direction of the run"),
    ({"save_at": [0.5, 1.5]}, GridError, "save_at = "),
    ({"start": 0.01, "end": 1.0}, GridError, "runs down in forward time"),
    ({"end": -0.5}, GridError, "-0.5"),
    ({"end": float("nan")}, GridError, "t_end = nan"),
    ({"z": Z.astype(int)}, BackendError, "expected a real floating type"),
    ({"z": (Z, Z)}, BackendError, "2 array(s), expected 1"),
    ({"z": [[1.0]]}, BackendError, "expected arrays of numpy, torch or jax"),
    ({"sde": MODEL}, MethodError, "wrap the model in one"),
    ({"sde": FLOW}, MethodError, "solves SDEs, but the ProbabilityFlow has no noise"),
    ({"method": "dopri5"}, MethodError, "solves ODEs, but the ReverseSDE has additive noise"),
    ({"method": "dopri5", "sde": FLOW, "noise": "bridge"}, MethodError, "leave it out"),
    ({"denoise": "twedie"}, MethodError, "Did you mean 'tweedie'"),
    ({"on_failure": "warm"}, MethodError, "Did you mean 'warn'"),
    ({"end": 0.0}, GridError, "no noise and there is no score"),
    ({"dense": "no"}, MethodError, "dense = 'no', expected True or False"),
    ({"seed": -1}, BackendError, "0 <= seed"),
    ({"indices": [0, 1]}, BackendError, "2 sample indices were given for a batch of 4"),
]


@pytest.mark.parametrize(("options", "error", "words"), SENTENCES)
def test_bad_input_gets_a_sentence_before_any_work(options, error, words):
    calls = []
    model = sgmsolve.as_model(lambda x, t: calls.append(1) or -x, VP(), predicts="score")
    options = {"sde": ReverseSDE(VP(), model), **options}
    with pytest.raises(error) as caught:
        run(**options)
    assert words in str(caught.value)
    assert not calls


def test_adaptive_euler_refuses_noise_that_depends_on_the_state():
    gbm = GeneralSDE(lambda z, t: z[0], lambda z, t: z[0], derivative=lambda z, t: 1 + 0 * z[0])
    with pytest.raises(MethodError, match=r"Lamba's adaptive Euler.* is for additive noise"):
        run(sde=gbm, start=0.0, end=1.0, error="drift")


def test_every_known_method_runs_and_counts_its_evaluations():
    for name in known_methods():
        calls = []

        def net(x, t, calls=calls):
            calls.append(x.shape[0])
            return -x / (1 + 0 * x)

        model = sgmsolve.as_model(net, VP(), predicts="score")
        sde = (ReverseSDE if _stochastic(name) else ProbabilityFlow)(VP(), model)
        found = run(name, sde, end=0.1, rtol=0.05, atol=0.01)
        assert found.rows == sum(calls) == found.nfe.sum(), name
        assert found.status is Status.FINISHED
        assert (found.t == 0.1).all()


def _stochastic(name):
    from sgmsolve.adaptive.registry import find_solver

    return find_solver(name).stochastic


def stubborn(x, t):
    """A network that gives up on samples which start above 2: NaN."""
    return np.where(x[:, :1] > 2, np.nan, -x)


def test_one_bad_sample_does_not_spoil_the_others():
    model = sgmsolve.as_model(stubborn, VP(), predicts="score")
    z = np.array([[0.1, 0.2], [5.0, 5.0], [0.3, -0.4]])
    with pytest.warns(IncompleteWarning, match=r"1 of 3 samples did not reach the end.*NaN or Inf"):
        found = run(sde=ReverseSDE(VP(), model), z=z)
    assert found.statuses[1] is Status.NONFINITE
    assert found.t[1] == 1.0
    np.testing.assert_array_equal(found.x[1], z[1])
    assert found.finished.tolist() == [True, False, True]
    good = run(sde=ReverseSDE(VP(), model), z=z[[0, 2]], indices=[0, 2])
    np.testing.assert_array_equal(found.x[[0, 2]], good.x)


def test_none_is_the_default_and_the_denoised_state_keeps_its_type():
    for name in ("steps", "grid", "save_at", "rtol"):
        np.testing.assert_array_equal(run(**{name: None}).x, run().x)
    import torch

    model = sgmsolve.as_model(lambda x, t: (0.5 * x).double(), VP(), predicts="data")
    z = torch.tensor(Z, dtype=torch.float32)
    found = run(sde=ReverseSDE(VP(), model), z=z, denoise=True, end=0.3)
    assert found.x.dtype == torch.float32


def test_an_ito_equation_without_derivative_is_refused_before_any_work():
    calls = []
    sde = GeneralSDE(lambda z, t: calls.append(1) or z[0], lambda z, t: z[0])
    with pytest.raises(BackendError, match="numpy cannot differentiate"):
        run(sde=sde, start=0.0, end=1.0)
    assert not calls


@pytest.mark.parametrize("depth", [0, -3, 31, 2.5])
def test_the_depth_of_the_tree_is_checked(depth):
    import jax.numpy as jnp

    with pytest.raises(MethodError, match="depth = "):
        solve_masked("gotta-go-fast", SDE, jnp.asarray(Z), 1.0, 0.01, depth=depth)


def test_statuses_say_what_stopped_a_sample_and_nothing_is_lost():
    with pytest.warns(IncompleteWarning, match="largest number of steps"):
        found = run(max_steps=5)
    assert set(found.statuses) == {Status.MAX_STEPS}
    assert (found.accepted + found.rejected == 5).all()
    assert ((found.t < 1) & (found.t > 0.01)).all()
    with pytest.raises(SolveError, match="below its floor") as caught:
        run(rtol=1e-9, atol=1e-9, h_min=1e-4, on_failure="raise")
    kept = caught.value.solution
    assert caught.value.status is Status.STEP_TOO_SMALL
    assert kept.x.shape == Z.shape
    assert np.isfinite(kept.x).all()
    assert run(max_steps=5, on_failure="ignore").message


def test_saved_times_are_reached_exactly():
    found = run("dopri5", FLOW, rtol=1e-8, atol=1e-9, save_at=[0.5, 0.25])
    for place, t in enumerate((0.5, 0.25)):
        alone = run("dopri5", FLOW, end=t, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(found.saved[0][place], alone.x, rtol=1e-6)
    with pytest.warns(IncompleteWarning):
        short = run("dopri5", FLOW, rtol=1e-8, atol=1e-9, save_at=[0.9, 0.05], max_steps=8)
    assert np.isfinite(short.saved[0][0]).all()
    assert np.isnan(short.saved[0][1]).all()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_the_start_is_left_alone_and_libraries_agree(kind):
    z = Z.copy()
    if kind == "torch":
        import torch

        given = torch.tensor(z)
    else:
        given = z
    found = run(z=given, seed=4)
    np.testing.assert_array_equal(np.asarray(given), Z)
    np.testing.assert_allclose(np.asarray(found.x), run(z=Z, seed=4).x, rtol=1e-11, atol=1e-12)


def test_jax_works_in_halving_batches_of_few_shapes():
    import jax.numpy as jnp

    shapes = []

    def net(x, t):  # called once a compiled program
        shapes.append(x.shape[0])
        return -x * (1 + 9 * x**2) / (1 + x**2)

    model = sgmsolve.as_model(net, VP(), predicts="score")
    z = np.array([1e-3, 0.1, 1.0, 3.0, 6.0])[:, None]
    found = run(sde=ReverseSDE(VP(), model), z=jnp.asarray(z), end=0.3, noise="redraw")
    own = int(found.nfe.sum())
    assert own <= found.rows <= 2 * own
    assert set(shapes) <= {5, 4, 2, 1}
    assert len(shapes) <= 2 * 4
    masked = run(
        sde=ReverseSDE(VP(), model), z=jnp.asarray(z), end=0.3, noise="redraw", compact=False
    )
    assert masked.rows > found.rows
    np.testing.assert_array_equal(masked.nfe, found.nfe)
    np.testing.assert_allclose(masked.x, found.x, rtol=1e-10)


def test_the_jitted_form_takes_the_steps_of_the_host_driven_one():
    import jax
    import jax.numpy as jnp

    z = jnp.asarray(Z)
    settings = {"rtol": 1e-5, "atol": 1e-6}
    found = run("dopri5", FLOW, z=z, **settings)
    whole = jax.jit(lambda z: solve_masked("dopri5", FLOW, (z,), 1.0, 1e-2, **settings))(z)
    np.testing.assert_allclose(whole.z[0], found.x, rtol=1e-11)
    np.testing.assert_array_equal(whole.accepted, found.accepted)
    np.testing.assert_array_equal(whole.nfe, found.nfe)
    assert whole.finished.all()
    assert int(whole.attempts) == int((found.accepted + found.rejected).max())


def test_the_tree_has_the_law_of_a_path_and_its_integral():
    import jax
    import jax.numpy as jnp

    from sgmsolve.adaptive.tree_jax import Tree
    from sgmsolve.backends.noise import KeyedNoise

    n, times = 5000, (0.3, 0.71, 1.9)
    tree = Tree(KeyedNoise(0), np.arange(n), jnp.zeros((0,)), ((),), 2.0, 16)
    at = jax.jit(lambda u: tree.at(u)[0])
    made = np.stack([np.asarray(v) for u in times for v in at(jnp.full(n, u))])
    expected = np.zeros((6, 6))
    for i, a in enumerate(times):
        for j, b in enumerate(times):
            low, high = min(a, b), max(a, b)
            expected[2 * i, 2 * j] = low
            expected[2 * i + 1, 2 * j + 1] = low**3 / 3 + low**2 / 2 * (high - low)
            cross = b * b / 2 if b <= a else a * a / 2 + a * (b - a)
            expected[2 * i, 2 * j + 1] = expected[2 * j + 1, 2 * i] = cross
    scale = np.sqrt(np.diag(expected))
    assert np.abs((np.cov(made) - expected) / np.outer(scale, scale)).max() < 4.5 / np.sqrt(n)


def test_the_tree_halves_by_the_laws_of_the_bridge():
    import jax.numpy as jnp

    from sgmsolve.adaptive.areas import bridge_split
    from sgmsolve.adaptive.tree_jax import Tree
    from sgmsolve.backends.noise import KeyedNoise

    n, span, keyed, like = 6, 1.7, KeyedNoise(3), jnp.zeros((0,))
    tree = Tree(keyed, np.arange(n), like, ((),), span, 1)
    half, whole = (np.stack(tree.at(jnp.full(n, u))[0], -1) for u in (span / 2, span))
    xi = [keyed.each(np.arange(n), np.ones(n, int), c, (), like) for c in range(2)]
    M, L = bridge_split(np.full(n, span), np.full(n, 0.5))
    made = (M @ whole[..., None] + L @ np.stack(xi, -1)[..., None])[..., 0]
    np.testing.assert_allclose(half, made, rtol=1e-12)
