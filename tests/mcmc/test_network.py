"""The small noise-level network: its gradients, and what it learns of data whose levels it sees."""

from __future__ import annotations

import numpy as np
import pytest

from sgmsolve.errors import ChainError
from sgmsolve.mcmc import (
    ExactPosterior,
    LevelPerceptron,
    exact_start,
    geometric_levels,
    train_level_network,
)
from sgmsolve.mcmc.network import _gradients
from sgmsolve.target import GaussianMixture


def cross_entropy(logits: np.ndarray, k: np.ndarray) -> float:
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.sum(np.exp(logits - top), axis=1)) + top[:, 0]
    return float(np.mean(total - logits[np.arange(len(k)), k]))


def test_gradients_are_those_of_the_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    shapes = [(4, 6), (6,), (6, 5), (5,), (5, 3), (3,)]
    weights = [rng.standard_normal(s) for s in shapes]
    x, k = rng.standard_normal((7, 3)), rng.integers(3, size=7)
    gradients = _gradients([w.astype(np.float64) for w in weights], x, k)
    for i, w in enumerate(weights):
        direction, h = rng.standard_normal(w.shape), 1e-5
        moved = []
        for s in (1, -1):
            beside = [*weights[:i], w + s * h * direction, *weights[i + 1 :]]
            moved.append(cross_entropy(LevelPerceptron(beside)(x), k))
        assert np.isclose((moved[0] - moved[1]) / (2 * h), np.sum(gradients[i] * direction), 1e-3)


def test_training_comes_near_the_best_possible() -> None:
    """Cross-entropy within 0.2 nats of the exact posterior's, which no classifier can beat."""
    means = np.random.default_rng(0).standard_normal((5, 8))
    target = GaussianMixture(np.ones(5), means, 0.01)
    levels = geometric_levels(0.1, 2.0, 12)
    net = train_level_network(target.sample(5000, 1), levels, hidden=64, steps=600)
    x, sigma = exact_start(target, levels, chains=4000, seed=9)
    k = np.searchsorted(levels, sigma * (1 - 1e-9))
    best = cross_entropy(ExactPosterior(target, levels).logits(x), k)
    found = cross_entropy(net.logits(x), k)
    assert best - 0.02 < found < best + 0.2
    assert found < np.log(12) - 0.9
    same = train_level_network(target.sample(5000, 1), levels, hidden=64, steps=600)
    assert np.array_equal(same.logits(x), net.logits(x))


def test_the_network_runs_on_torch() -> None:
    torch = pytest.importorskip("torch")
    net = train_level_network(np.ones((3, 2, 2)), [0.1, 1.0], hidden=4, steps=3, batch=5)
    x = np.random.default_rng(0).standard_normal((6, 2, 2))
    found = net.logits(torch.tensor(x, dtype=torch.float32))
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), net.logits(x), atol=1e-5)


def test_training_is_refused_in_sentences() -> None:
    for make, words in (
        (lambda: train_level_network(np.ones(3), [0.1, 1.0]), r"shape \(3,\)"),
        (lambda: train_level_network(np.full((3, 2), np.nan), [0.1, 1.0]), "finite numbers"),
        (lambda: train_level_network(np.ones((3, 2)), [0.1, 1.0], steps=0), "steps = 0"),
    ):
        with pytest.raises(ChainError, match=words):
            make()
