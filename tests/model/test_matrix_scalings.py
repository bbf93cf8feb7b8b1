"""Scalings for m components against mpmath at 90 digits; mixed scores against their formulas."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import phase_oracle
import pytest
import torch
from phase_cases import THREE, reference

from sgmsolve.errors import ModelError, ProcessError
from sgmsolve.model import (
    MatrixScalings,
    as_model,
    augmented_scalings,
    edm_scalings,
    mixed_score,
)
from sgmsolve.process import CLD, PSLD, VP

PROCESSES = {
    "psld": PSLD(),
    "cld": CLD(),
    "known-momentum": CLD(kappa=0.0),
    "heavy": PSLD(2.0, 1.0, 0.25),
}
KINDS = ["score", "data", "noise:lower", "noise:upper", "noise:rotation-free", "noise:lower:dsm"]
SIGMA = 0.5
Z = np.random.default_rng(0).standard_normal((3, 7)) * np.array([[1.0], [0.5], [0.5]])


def exact(process, t, sigma=SIGMA):
    """(C_skip and C_out of the score, c_skip of the data, c_out, Sigma_hat), mpmath."""
    psi, noise = reference(process, t)
    u = psi[:, 0]
    hat = noise + mp.mpf(sigma) ** 2 * u * u.T
    g = mp.lu_solve(noise, u)
    c_out = mp.sqrt(mp.mpf(sigma) ** 2 / (1 + mp.mpf(sigma) ** 2 * (u.T * g)[0]))
    return -(hat**-1), c_out * g, mp.mpf(sigma) ** 2 * mp.lu_solve(hat, u), c_out, hat


def close(got, want, rtol, at_prior=False):
    want = np.array([[float(v) for v in row] for row in want.tolist()])
    # At the prior the components are uncorrelated up to rounding: entries of 1e-5 among ones.
    atol = 1e-15 * np.abs(want).max() if at_prior else 0
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_scalings_against_90_digits(name, t):
    process = PROCESSES[name]
    made = augmented_scalings(process, SIGMA)
    denoiser = augmented_scalings(process, SIGMA, predicts="data")
    with mp.workdps(90):
        skip, out, pull, c_out, hat = exact(process, t)
        close(made.c_skip(t), skip, 1e-12, t == 1)
        close(made.c_out(t), out, 1e-12, t == 1)
        close(made.c_in(t), mp.cholesky(hat) ** -1, 1e-12, t == 1)
        close(denoiser.c_skip(t)[:1], pull.T, 1e-12)
        assert denoiser.c_out(t)[0, 0] == pytest.approx(float(c_out), rel=1e-13)
        precision = out[0] / c_out * reference(process, t)[0][0, 0]
        precision += out[1] / c_out * reference(process, t)[0][1, 0]
        assert made.c_noise(t) == pytest.approx(float(-mp.log(precision) / 8), rel=1e-12)


@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_inputs_and_target_have_unit_variance(name, t):
    """Second moments of the float64 scalings under the exact law of (x0, z)."""
    process = PROCESSES[name]
    made = augmented_scalings(process, SIGMA, predicts="data")
    with mp.workdps(90):
        _, _, _, _, hat = exact(process, t)
        u = reference(process, t)[0][:, 0]
        c_in = mp.matrix(made.c_in(t).tolist())
        skip = mp.matrix([made.c_skip(t)[0].tolist()])
        got = c_in * hat * c_in.T
        assert max(abs(float(got[i, j] - (i == j))) for i in range(2) for j in range(2)) < 1e-12
        cross = mp.mpf(SIGMA) ** 2 * (skip * u)[0]
        left = mp.mpf(SIGMA) ** 2 - 2 * cross + (skip * hat * skip.T)[0]
        assert float(left / mp.mpf(made.c_out(t)[0, 0]) ** 2) == pytest.approx(1, abs=1e-3)
        # The target is uncorrelated with the input: nothing linear is left to learn.
        rest = mp.mpf(SIGMA) ** 2 * u.T - skip * hat
        size = [float(rest[k] / (made.c_out(t)[0, 0] * mp.sqrt(hat[k, k]))) for k in range(2)]
        assert np.abs(size).max() < 1e-8


@pytest.mark.parametrize("name", ["psld", "cld", "heavy"])
@pytest.mark.parametrize("t", [0.01, 0.1, 0.5])
def test_one_output_carries_the_whole_score(name, t):
    """I - L^T Sigma_hat^-1 L has rank one: the score minus the skip is C_out times a number."""
    process = PROCESSES[name]
    made = augmented_scalings(process, SIGMA)
    u, noise = process.loading(t), process.covariance(t)
    lower = np.linalg.cholesky(noise)
    singular = np.linalg.svd(np.eye(2) + lower.T @ made.c_skip(t) @ lower, compute_uv=False)
    assert singular[1] < 1e-15 * 16
    assert singular[0] > 1e-4
    assert made.c_out(t).shape == (2, 1)
    both = lower.T @ made.c_out(t)[:, 0] / np.linalg.norm(lower.T @ made.c_out(t))
    along = np.linalg.solve(lower, u)
    np.testing.assert_allclose(both, along / np.linalg.norm(along), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["psld", "cld", "three"])
def test_every_kind_from_one_network(name, kind):
    """With the target c_out F = x0_hat - c_skip z a mixture's prediction of any kind comes out."""
    process = {**PROCESSES, "three": THREE}[name]
    m, t = process.m, 0.2
    z = np.array(Z[:m])
    u, noise = process.loading(t), process.covariance(t)
    hat = noise + SIGMA**2 * np.outer(u, u)
    c_skip = SIGMA**2 * np.linalg.solve(hat, u)
    c_out = SIGMA / np.sqrt(1 + SIGMA**2 * u @ np.linalg.solve(noise, u))
    lower = np.linalg.cholesky(hat)

    def net(*args):
        inputs = lower @ np.array(args[:-1])
        return (phase_oracle.posterior(process, inputs, t) - c_skip @ inputs) / c_out

    scalings = augmented_scalings(process, SIGMA, predicts=kind)
    model = as_model(net, process, predicts=kind, scalings=scalings)
    expected = phase_oracle.prediction(process, kind, z, t)
    np.testing.assert_allclose(model(tuple(z), t), expected, rtol=1e-9, atol=1e-10)
    nothing = as_model(lambda *a: 0 * a[0], process, predicts=kind, scalings=scalings)
    law = {"means": [0.0], "variances": [SIGMA**2], "weights": [1.0]}
    gaussian = phase_oracle.prediction(process, kind, z, t, **law)
    np.testing.assert_allclose(nothing(tuple(z), t), gaussian, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_jax_and_traced_times(kind):
    process, t = PSLD(), 0.3
    scalings = augmented_scalings(process, SIGMA, predicts=kind)
    model = as_model(
        lambda x, v, c: 0.3 * x - v + c,
        process,
        predicts=kind,
        scalings=scalings,
        label=scalings.c_noise,
    )
    want = model((Z[0], Z[1]), t)
    assert (
        np.abs(
            want[0]
            - as_model(lambda x, v, c: 0 * x, process, predicts=kind, scalings=scalings)(
                (Z[0], Z[1]), t
            )[0]
        ).max()
        > 1e-3
    )
    for array in (torch.from_numpy, jnp.asarray):
        got = model((array(Z[0]), array(Z[1])), t)
        np.testing.assert_allclose([np.asarray(a) for a in got], want, rtol=1e-13, atol=1e-14)
    traced = jax.jit(lambda x, v, t: model((x, v), t))(*map(jnp.asarray, Z[:2]), t)
    rtol = 1e-11 if "rotation" not in kind else 1e-8  # angles of arrays are interpolated
    np.testing.assert_allclose(traced, want, rtol=rtol, atol=1e-12)
    single = model(tuple(torch.from_numpy(x).float() for x in Z[:2]), t)
    assert all(a.dtype == torch.float32 for a in single)


def spec(process, t):
    """Sxx, Sxm, Smm, Delta and u as floats from 40 digits."""
    with mp.workdps(90):
        psi, S = reference(process, t)
        delta = S[0, 0] * S[1, 1] - S[0, 1] ** 2
        return [float(v) for v in (S[0, 0], S[0, 1], S[1, 1], delta, psi[0, 0], psi[1, 0])]


@pytest.mark.parametrize("process", [PSLD(), CLD()], ids=repr)
@pytest.mark.parametrize("reading", ["psld", "cld"])
@pytest.mark.parametrize("t", [1e-3, 0.1, 0.7])
def test_mixed_score_is_its_formula(process, reading, t):
    """A Gaussian's exact score from the network that the formula says, and the formula itself."""
    xx, xm, mm, delta, *_ = spec(process, t)
    x, v = Z[0], Z[1] * 0.3
    s = phase_oracle.score(process, np.array([x, v]), t, means=[0.4], variances=[0.3], weights=[1])

    def psld(x, v, t):  # net = -L^T (s + z / Smm)
        rest = s + np.array([x, v]) / mm
        low = np.sqrt(xx), xm / np.sqrt(xx), np.sqrt(delta / xx)
        return -(low[0] * rest[0] + low[1] * rest[1]), -low[2] * rest[1]

    def cld(x, v, t):  # net = -(s^v + v / Svv) / ell
        return -(s[1] + v / mm) / np.sqrt(xx / delta)

    net = {"psld": psld, "cld": cld}[reading]
    scalings = mixed_score(process, reading)
    model = as_model(net, process, predicts="score", scalings=scalings)
    np.testing.assert_allclose(model((x, v), t), s, rtol=1e-9, atol=1e-9)
    zero = as_model(
        lambda x, v, t: np.zeros_like(net(x, v, t)) if reading == "cld" else (0 * x, 0 * v),
        process,
        predicts="score",
        scalings=scalings,
    )((x, v), t)
    np.testing.assert_allclose(zero[1], -v / mm, rtol=1e-12)
    if reading == "psld":
        np.testing.assert_allclose(zero[0], -x / mm, rtol=1e-12)


def test_what_is_left_at_the_prior():
    """Data of variance 1: CLD's network has nothing to do at t = 1, PSLD's 3 x of the position."""
    process, z = CLD(), np.array([Z[0], Z[1]])
    s = phase_oracle.score(process, z, 1.0, means=[0.0], variances=[1.0], weights=[1.0])
    cld = as_model(lambda x, v, t: 0 * v, process, predicts="score", scalings=mixed_score(process))
    np.testing.assert_allclose(cld(tuple(z), 1.0)[1], s[1], atol=0.05 * np.abs(s[1]).max())
    scalings = mixed_score(process, "psld")
    psld = as_model(lambda x, v, t: (-3 * x, 0 * v), process, predicts="score", scalings=scalings)
    got = psld(tuple(z), 1.0)
    assert np.abs(got[0] - s[0]).max() < 0.05 * np.abs(s[0]).max()


def test_defaults_of_the_mixed_score():
    assert mixed_score(CLD()).reading == "cld"
    assert mixed_score(PSLD()).reading == "psld"
    assert mixed_score(PSLD(0.0, 4.0)).reading == "cld"


def test_own_matrix_scalings():
    class Mine(MatrixScalings):
        predicts, arrays = "score", 2

        def matrices(self, t):
            return (
                np.array([[1.0, 2.0], [3.0, 4.0]]),
                np.array([[5.0, t], [6.0, 7.0]]),
                np.diag([2.0, 3.0]),
            )

    model = as_model(lambda x, v, t: (x, v), PSLD(), predicts="score", scalings=Mine())
    x, v = Z[0], Z[1]
    got = model((x, v), 0.5)
    np.testing.assert_allclose(got[0], x + 2 * v + 5 * 2 * x + 0.5 * 3 * v, rtol=1e-14)
    np.testing.assert_allclose(got[1], 3 * x + 4 * v + 6 * 2 * x + 7 * 3 * v, rtol=1e-14)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: augmented_scalings(VP(), 0.5), "expected a process with auxiliary components"),
        (lambda: augmented_scalings(PSLD(), -1), "sigma_data is -1"),
        (lambda: mixed_score(VP()), "expected a process with auxiliary components"),
        (lambda: mixed_score(THREE), "given a process with 3 components, expected two"),
        (lambda: mixed_score(PSLD(), "pslt"), "Did you mean 'psld'"),
        (lambda: edm_scalings(PSLD(), 0.5), "use augmented_scalings"),
        (
            lambda: as_model(len, PSLD(), predicts="data", scalings=augmented_scalings(PSLD())),
            "pass predicts='score'",
        ),
        (
            lambda: as_model(len, PSLD(), predicts="score", scalings=mixed_score(CLD())),
            "scalings belong to CLD",
        ),
        (
            lambda: as_model(
                lambda x, v, t: (x, v),
                PSLD(),
                predicts="score",
                scalings=augmented_scalings(PSLD()),
            )((Z[0], Z[1]), 0.3),
            r"returned 2 array.* expected 1, that its scalings take",
        ),
    ],
)
def test_bad_scalings(make, words):
    with pytest.raises(ModelError, match=words):
        make()


def test_kinds_and_times_that_do_not_exist():
    with pytest.raises(ProcessError, match="noise:lower"):
        augmented_scalings(PSLD(), predicts="noise")
    with pytest.raises(ProcessError, match="singular"):
        augmented_scalings(PSLD()).matrices(0.0)
