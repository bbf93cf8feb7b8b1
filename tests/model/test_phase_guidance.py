"""Guidance in phase space: the exact classifier turns a mixture's model into that of one class."""

import jax
import jax.numpy as jnp
import numpy as np
import phase_oracle
import pytest
import torch
from phase_cases import THREE

import sgmsolve
from sgmsolve import Gaussian, GaussianMixture
from sgmsolve.errors import ModelError
from sgmsolve.model import as_model, classifier_free, classifier_guidance, gradient_of, to_kind
from sgmsolve.process import CLD, PSLD, VP

KINDS = ["score", "data", "noise:lower", "noise:upper", "noise:rotation-free", "noise:lower:dsm"]
PROCESSES = {"psld": PSLD(), "cld": CLD(), "three": THREE}
MEANS = np.array([[0.6, -0.3], [-0.8, 0.1]])
VARIANCES, WEIGHTS = np.array([0.25, 0.04]), np.array([0.3, 0.7])
MIXTURE, CLASS = GaussianMixture(WEIGHTS, MEANS, VARIANCES), Gaussian(MEANS[0], VARIANCES[0])
Z = np.random.default_rng(0).standard_normal((3, 7, 2)) * np.array([1.0, 0.5, 0.5])[:, None, None]


def classifier(process, xp):
    """log p(y = 0 | z, t) by Bayes, with dense matrices, on torch or jax."""

    def log_prob(z, t):
        logs = []
        for mean, variance, weight in zip(MEANS, VARIANCES, WEIGHTS, strict=True):
            u, noise = process.loading(float(t)), process.covariance(float(t))
            V = variance * np.outer(u, u) + noise
            P, total = np.linalg.inv(V), 0.0
            d = [z[i] - xp.asarray(u[i] * mean) for i in range(len(z))]
            for i in range(len(z)):
                for j in range(len(z)):
                    total = total - 0.5 * P[i, j] * (d[i] * d[j]).sum(-1)
            logs.append(total + np.log(weight) - np.linalg.slogdet(V)[1])  # two entries: 2 x 1/2
        stacked = xp.stack(logs, -1)
        return stacked[..., 0] - xp.logsumexp(stacked, -1)

    return log_prob


class Torch:
    """torch under the names used above."""

    asarray, stack, logsumexp = torch.asarray, torch.stack, torch.logsumexp


class Jax:
    """jax under the names used above."""

    asarray, stack, logsumexp = jnp.asarray, jnp.stack, jax.scipy.special.logsumexp


def by_hand(process):
    """The gradient in numpy: the class's score minus the mixture's, by dense matrices."""

    def gradient(z, t):
        both = []
        for law in (
            {"variances": VARIANCES, "weights": WEIGHTS},
            {"variances": VARIANCES[:1], "weights": WEIGHTS[:1]},
        ):
            both.append(joint_score(process, z, t, **law))
        return tuple(one - all_ for one, all_ in zip(both[1], both[0], strict=True))

    return gradient


def joint_score(process, z, t, variances, weights):
    u, noise = process.loading(t), process.covariance(t)
    logs, pulls = [], []
    for mean, variance, weight in zip(MEANS, variances, weights, strict=False):
        P = np.linalg.inv(variance * np.outer(u, u) + noise)
        d = np.array(z) - u[:, None, None] * mean
        pull = np.einsum("ij,jbn->ibn", P, d)
        logs.append(np.log(weight) - 0.5 * (d * pull).sum((0, 2)) + np.linalg.slogdet(P)[1])
        pulls.append(-pull)
    r = np.exp(np.array(logs) - np.max(logs, axis=0))
    return np.einsum("kb,kibn->ibn", r / r.sum(0), np.array(pulls))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_the_exact_classifier_gives_the_class(name, kind, library):
    process, t = PROCESSES[name], 0.3
    convert = {"numpy": np.asarray, "torch": torch.from_numpy, "jax": jnp.asarray}[library]
    gradient = by_hand(process)
    if library != "numpy":
        gradient = gradient_of(classifier(process, {"torch": Torch, "jax": Jax}[library]))
    z = tuple(convert(x) for x in Z[: process.m])
    model = classifier_guidance(MIXTURE.model(process, kind), gradient)
    got = [np.asarray(a) for a in model(z, t)]
    expected = [np.asarray(a) for a in CLASS.model(process, kind)(z, t)]
    free = [np.asarray(a) for a in MIXTURE.model(process, kind)(z, t)]
    assert max(np.abs(a - b).max() for a, b in zip(free, expected, strict=True)) > 1e-2
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    # What the sampler sees after conversion is the guided score, in all components.
    twice = to_kind(classifier_guidance(MIXTURE.model(process, kind), gradient, 2.0), "score")
    once, none = (m.model(process, "score")(z, t) for m in (CLASS, MIXTURE))
    want = [2 * np.asarray(a) - np.asarray(b) for a, b in zip(once, none, strict=True)]
    np.testing.assert_allclose([np.asarray(a) for a in twice(z, t)], want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["score", "noise:lower"])
def test_reverse_time_is_found_out(kind):
    """The classifier asked at t_max - t, as in the code of PSLD: not the class, by far."""
    process, t, z = PSLD(), 0.3, tuple(Z[:2])
    right = by_hand(process)
    wrong = classifier_guidance(
        MIXTURE.model(process, kind), lambda z, t: right(z, process.t_max - t)
    )
    expected = CLASS.model(process, kind)(z, t)
    worst = max(np.abs(a - b).max() for a, b in zip(wrong(z, t), expected, strict=True))
    assert worst > 0.05
    times = []
    classifier_guidance(MIXTURE.model(process, kind), lambda z, t: times.append(t) or right(z, t))(
        z, t
    )
    assert times == [t]


@pytest.mark.parametrize(("shown", "hits"), [("forward", True), ("reverse", False)])
def test_a_guided_run_ends_in_the_class(shown, hits):
    process = PSLD()
    right = by_hand(process)
    gradient = right if shown == "forward" else lambda z, t: right(z, 1 - t)
    model = classifier_guidance(MIXTURE.model(process, "score"), gradient)
    plan = sgmsolve.build_plan(process, "pf-euler", grid="uniform", steps=400)
    rng = np.random.default_rng(1)
    n = 4000
    z = (rng.standard_normal((n, 2)), 0.5 * rng.standard_normal((n, 2)))
    x = sgmsolve.solve(plan, model, z).x
    exact = sgmsolve.solve(plan, CLASS.model(process, "score"), z).x
    same = bool(np.abs(x - exact).max() < 1e-6)
    # Within 5 standard errors and the error of 400 Euler steps (0.01 of mean, 0.06 of variance).
    mean = np.abs(x.mean(0) - MEANS[0]).max() < 5 * 0.5 / np.sqrt(n) + 0.02
    spread = np.abs(x.var(0) - VARIANCES[0]).max() < 5 * 0.25 * np.sqrt(2 / n) + 0.06
    assert (same, bool(mean and spread)) == (hits, hits)


def test_classifier_free_in_phase_space():
    process, t, z = PSLD(), 0.3, tuple(Z[:2])
    model = classifier_free(
        CLASS.model(process, "noise:lower"), MIXTURE.model(process, "data"), 1.7
    )
    got = to_kind(model, "score")(z, t)
    one, free = (m.model(process, "score")(z, t) for m in (CLASS, MIXTURE))
    for a, b, c in zip(got, one, free, strict=True):
        np.testing.assert_allclose(a, c + 1.7 * (b - c), rtol=1e-9, atol=1e-10)


def test_gradient_of():
    weights = torch.tensor([0.3, -0.2], dtype=torch.float64)
    z = tuple(torch.from_numpy(x) for x in Z[:2])
    gradient = gradient_of(lambda z, t: t * (z[0] @ weights) + (z[1] ** 2).sum(-1))
    with torch.no_grad():
        first, second = gradient(z, 0.5)
    np.testing.assert_allclose(first, np.broadcast_to(0.5 * weights.numpy(), (7, 2)))
    np.testing.assert_allclose(second, 2 * Z[1])
    assert not first.requires_grad
    traced = jax.jit(gradient_of(lambda z, t: t * (z[0] ** 2).sum(-1)))
    np.testing.assert_allclose(traced((jnp.asarray(Z[0]),), 2.0)[0], 4 * Z[0], rtol=1e-6)
    with pytest.raises(ModelError, match="records no gradients"):
        gradient(tuple(Z[:2]), 0.5)
    with pytest.raises(ModelError, match="log_prob is a float"):
        gradient_of(1.0)


def test_a_gradient_of_the_position_alone_is_refused():
    model = classifier_guidance(MIXTURE.model(PSLD(), "score"), lambda z, t: z[0])
    with pytest.raises(ModelError, match=r"1 array\(s\) .* every component of the state, x, v"):
        model(tuple(Z[:2]), 0.3)


def test_the_oracle_is_the_lifted_target():
    """One entry, so that phase_oracle and the library's targets check each other."""
    target = GaussianMixture(
        phase_oracle.WEIGHTS, phase_oracle.MEANS[:, None], phase_oracle.VARIANCES
    )
    for process in PROCESSES.values():
        z = Z[: process.m, :, :1]
        got = target.model(process, "score")(tuple(z), 0.2)
        want = phase_oracle.score(process, z[:, :, 0], 0.2)
        np.testing.assert_allclose(np.array(got)[:, :, 0], want, rtol=1e-9)
    assert as_model(lambda x, t: x, VP(), predicts="noise").process == VP()
