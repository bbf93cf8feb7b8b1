"""A mixture's predictions in phase space by dense matrices, written without the library's."""

import numpy as np

MEANS, VARIANCES, WEIGHTS = np.array([0.6, -0.8]), np.array([0.25, 0.04]), np.array([0.3, 0.7])


def score(process, z, t, means=MEANS, variances=VARIANCES, weights=WEIGHTS):
    """grad log p_t at z (m, n) for n scalar samples of a Gaussian mixture."""
    u, noise = process.loading(t), process.covariance(t)
    logs, pulls = [], []
    for mean, variance, weight in zip(means, variances, weights, strict=True):
        V = variance * np.outer(u, u) + noise
        d = z - (u * mean)[:, None]
        pull = np.linalg.solve(V, d)
        logs.append(np.log(weight) - 0.5 * (d * pull).sum(0) - 0.5 * np.linalg.slogdet(V)[1])
        pulls.append(-pull)
    r = np.exp(np.array(logs) - np.max(logs, axis=0))
    return np.einsum("kn,kmn->mn", r / r.sum(0), np.array(pulls))


def posterior(process, z, t, **law):
    """E[x0 | z] (n,): from score = -Sigma^-1 (z - u x0_hat), in the direction of u."""
    u, noise = process.loading(t), process.covariance(t)
    g = np.linalg.solve(noise, u)
    return (u @ score(process, z, t, **law) + g @ z) / (g @ u)


def prediction(process, kind, z, t, **law):
    """Every kind from the definitions: score, E[eps | z] = -F^T score, Tweedie."""
    s = score(process, z, t, **law)
    if kind == "score":
        return s
    if kind == "data":
        psi, noise = process.transition(0.0, t)
        return np.linalg.solve(psi, z + noise @ s)
    _, name, *kernel = kind.split(":")
    return -process.factor(name, t, *(kernel or ["hsm"])).T @ s
