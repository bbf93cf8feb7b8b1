"""Networks that return one component of a prediction, and the count of what they return."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import phase_oracle
import pytest
import torch
from phase_cases import CASES, THREE, reference

import sgmsolve
from sgmsolve.errors import ModelError
from sgmsolve.model import as_model, edm_scalings, to_kind
from sgmsolve.process import CLD, PSLD, VP

Z = np.random.default_rng(0).standard_normal((3, 7)) * np.array([[1.0], [0.5], [0.5]])
NOISES = [f"noise:{f}{k}" for f in ("lower", "upper", "rotation-free") for k in ("", ":dsm")]
PROCESSES = {"psld": PSLD(), "cld": CLD(), "linear": CASES["linear"], "three": THREE}


def one_component(process, kind, j):
    """A network that knows component j of the exact prediction only."""
    return lambda *args: phase_oracle.prediction(process, kind, np.array(args[:-1]), args[-1])[j]


@pytest.mark.parametrize("kind", ["score", *NOISES])
@pytest.mark.parametrize("name", PROCESSES)
def test_one_component_determines_the_others(name, kind):
    process = PROCESSES[name]
    m, t = process.m, 0.3
    z = tuple(Z[:m])
    exact = phase_oracle.prediction(process, kind, np.array(z), t)
    for j, component in enumerate(process.names):
        net = one_component(process, kind, j)
        model = as_model(net, process, predicts=kind, outputs=(component,))
        np.testing.assert_allclose(model(z, t), exact, rtol=3e-11, atol=3e-11)
        data = to_kind(model, "data")(z, t)
        expected = phase_oracle.prediction(process, "data", np.array(z), t)
        np.testing.assert_allclose(data, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_data_component_determines_the_others(name):
    process, t = PROCESSES[name], 0.2
    z = tuple(Z[: process.m])
    net = one_component(process, "data", 0)
    model = as_model(net, process, predicts="data", outputs=("x",))
    expected = phase_oracle.prediction(process, "data", np.array(z), t)
    np.testing.assert_allclose(model(z, t), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        to_kind(model, "score")(z, t), phase_oracle.score(process, np.array(z), t), rtol=1e-9
    )


@pytest.mark.parametrize("kappa", [0.04, 0.0])
@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.7])
def test_completion_does_not_cancel(t, kappa):
    """One sample of a Gaussian N(0.6, 0.25), CLD's network, against 90 digits."""
    process = CLD(kappa=kappa)
    with mp.workdps(90):
        psi, noise = reference(process, t)
        u, z = psi[:, 0], mp.matrix([0.55, 0.02])
        V = noise + mp.mpf(0.25) * u * u.T
        s = -mp.lu_solve(V, z - mp.mpf(0.6) * u)
        eps = [float(v) for v in -mp.cholesky(noise).T * s]
    net = lambda x, v, t: np.full_like(x, eps[1])  # noqa: E731
    model = as_model(net, process, predicts="noise:lower", outputs=("v",))
    got = model((np.array([0.55]), np.array([0.02])), t)
    assert got[1][0] == eps[1]
    # What one rounding of the network's own number is worth, and a hundredfold.
    with mp.workdps(90):
        w = mp.lu_solve(mp.cholesky(noise), u)
        worth = 2.0**-53 * (abs(float(w[0] / w[1]) * eps[1]) + abs(eps[0]))
    assert abs(got[0][0] - eps[0]) < 100 * worth + 1e-14


@pytest.mark.parametrize("missing", ["posterior", "zero"])
def test_clds_sampler_does_not_see_the_positions_score(missing):
    process = CLD()
    full = as_model(
        lambda x, v, t: tuple(phase_oracle.prediction(process, "noise:lower", np.array([x, v]), t)),
        process,
        predicts="noise:lower",
    )
    net = one_component(process, "noise:lower", 1)
    half = as_model(net, process, predicts="noise:lower", outputs=("v",), missing=missing)
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid="uniform", steps=20)
    z = (Z[0], Z[1])
    expected = sgmsolve.solve(plan, full, z, seed=3).z
    np.testing.assert_allclose(sgmsolve.solve(plan, half, z, seed=3).z, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["score", *NOISES])
def test_zero_means_the_score(kind):
    z, process = (Z[0], Z[1]), CLD()
    net = one_component(process, kind, 1)
    if "upper" in kind or "rotation" in kind:  # there v's noise holds the position's score, too

        def net(x, v, t):
            s = phase_oracle.score(process, np.array([x, v]), t) * np.array([[0], [1]])
            _, name, *kernel = kind.split(":")
            return (-process.factor(name, t, *(kernel or ["hsm"])).T @ s)[1]

    model = as_model(net, process, predicts=kind, outputs=("v",), missing="zero")
    got = to_kind(model, "score")(z, 0.3)
    np.testing.assert_allclose(got[0], 0, atol=1e-10)
    expected = phase_oracle.score(process, np.array(z), 0.3)[1]
    np.testing.assert_allclose(got[1], expected, rtol=1e-12)


def test_completion_on_torch_and_jax():
    process, kind = PSLD(), "noise:lower"
    z = (Z[0], Z[1])
    eps = phase_oracle.prediction(process, kind, np.array(z), 0.3)
    for array in (torch.from_numpy, jnp.asarray):
        model = as_model(lambda x, v, t, a=array: a(eps[1]), process, predicts=kind, outputs=("v",))
        got = model(tuple(array(x) for x in z), 0.3)
        np.testing.assert_allclose(np.asarray(got[0]), eps[0], rtol=1e-11, atol=1e-12)
    traced = jax.jit(lambda x, v, t: model((x, v), t))(*map(jnp.asarray, z), 0.3)
    np.testing.assert_allclose(traced, eps, rtol=1e-11, atol=1e-12)
    half = as_model(lambda x, v, t: x.astype(np.float16), process, predicts=kind, outputs=("v",))
    assert [a.dtype for a in half(tuple(x.astype(np.float32) for x in z), 0.3)] == [np.float32] * 2


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (1, {}, r"returned 1 array\(s\) at t = 0.3 .* expected 2, one for each of x, v"),
        (2, {"outputs": ("v",)}, r"returned 2 array.*expected 1, for outputs = \('v',\)"),
        (1, {"scalings": None}, r"as_model\(..., outputs=\('v',\)\)"),
    ],
)
def test_wrong_counts_are_named(count, options, words):
    model = as_model(lambda x, v, t: (x,) * count, PSLD(), predicts="noise:lower", **options)
    with pytest.raises(ModelError, match=words):
        model((Z[0], Z[1]), 0.3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": ("y",)}, "unknown component of PSLD"),
        ({"outputs": "v"}, "expected names of components"),
        ({"outputs": ("v", "x")}, "names 2 components, expected one"),
        ({"outputs": ()}, "names 0 components"),
        ({"outputs": ("v",), "missing": "zeros"}, "Did you mean 'zero'"),
        ({"outputs": ("v",), "missing": "zero"}, "drives it with noise"),
        ({"outputs": ("v",), "predicts": "data"}, "return 'x', with missing='posterior'"),
        ({"outputs": ("x",), "predicts": "data", "missing": "zero"}, "undetermined"),
    ],
)
def test_bad_outputs(options, words):
    given = {"predicts": "noise:lower", **options}
    with pytest.raises(ModelError, match=words):
        as_model(lambda x, v, t: v, PSLD(), **given)


def test_a_component_without_the_data_is_refused():
    model = as_model(lambda x, v, t: v, CLD(kappa=0.0), predicts="data", outputs=("x",))
    assert len(model((Z[0], Z[1]), 0.3)) == 2
    np.testing.assert_array_equal(model((Z[0], Z[1]), 0.3)[1], 0)  # the momentum starts at 0


def test_names_of_all_components_change_nothing():
    z = (Z[0], Z[1])
    model = as_model(lambda x, v, t: (v, x), PSLD(), predicts="score", outputs=("x", "v"))
    assert model(z, 0.3)[0] is z[1]
    one = as_model(lambda x, t: x, VP(), predicts="data", outputs=("x",))
    assert one(z[:1], 0.3)[0] is z[0]


def test_scalings_of_another_process_are_refused():
    with pytest.raises(ModelError, match="make them for that process"):
        as_model(lambda x, t: x, VP(), predicts="data", scalings=edm_scalings(sgmsolve.EDM(), 0.5))
