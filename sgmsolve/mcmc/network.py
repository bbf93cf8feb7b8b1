"""A small noise-level network, trained in seconds without any framework: numpy and Adam.

The published classifier is a convolutional network of 1000 classes for 32 x 32 colour images. What
tells the level of a small picture is mostly its size and its roughness, and two hidden layers see
both. Source of the task: Kim & Ye 2022 (arXiv:2209.14593); of Adam: Kingma & Ba 2015.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import on_device
from sgmsolve.errors import ChainError
from sgmsolve.mcmc.checks import count, level_table, number
from sgmsolve.mcmc.levels import NoiseLevelNetwork

Weights = list[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class LevelPerceptron:
    """``net(x)`` -> logits (n, L) for x (n, *shape) of numpy, torch or jax.

    Features are x / r and log r with r the root mean square of a sample; weights are pairs
    (matrix, bias) of layers with ReLU between, float32 host arrays.
    """

    weights: Weights

    def __call__(self, x: Any) -> Any:
        """Logits, in the dtype of x."""
        xp = array_namespace(x)
        flat = xp.reshape(x, (x.shape[0], -1))
        size = xp.sqrt(xp.mean(flat * flat, axis=1, keepdims=True) + 1e-12)
        h = xp.concat([flat / size, xp.log(size)], axis=1)
        lent = [xp.astype(on_device(w, x), x.dtype) for w in self.weights]
        for i in range(0, len(lent), 2):
            h = h @ lent[i] + lent[i + 1]
            h = h if i + 2 == len(lent) else xp.where(h > 0, h, 0 * h)
        return h


def train_level_network(
    data: Any,
    levels: Any,
    *,
    hidden: int = 128,
    steps: int = 1500,
    batch: int = 256,
    rate: float = 3e-3,
    seed: int = 0,
    draw: str = "categorical",
) -> NoiseLevelNetwork:
    """Train a classifier of noise levels on data (n, *shape), host float64.

    Pairs are x = x0 + sigma_k eps with k uniform over ``levels``, so the prior that it knows is
    that of the table: log-uniform for geometric levels. Two hidden layers, cross-entropy, Adam with
    a rate that falls linearly to 0. With 64 numbers a sample and 100 levels: seconds.
    Raises: ChainError for data of another shape, or counts below 1.
    """
    for name, value in (("hidden", hidden), ("steps", steps), ("batch", batch)):
        count(name, value)
    number("rate", rate)
    given = np.asarray(data, dtype=np.float64)
    if given.ndim < 2 or not len(given) or not np.all(np.isfinite(given)):
        raise ChainError(f"data has shape {given.shape}, expected finite numbers (n, *shape).")
    x0, table = given.reshape(len(given), -1), level_table(levels)
    rng = np.random.default_rng(seed)
    sizes = (x0.shape[1] + 1, hidden, hidden, table.size)
    weights: Weights = []
    for rows, columns in itertools.pairwise(sizes):
        spread = np.sqrt(2 / rows)
        weights.append((rng.standard_normal((rows, columns)) * spread).astype(np.float32))
        weights.append(np.zeros(columns, dtype=np.float32))
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    for step in range(1, steps + 1):
        k = rng.integers(table.size, size=batch)
        x = x0[rng.integers(len(x0), size=batch)]
        x = x + table[k][:, None] * rng.standard_normal(x.shape)
        gradients = _gradients(weights, x, k)
        now = rate * (1 - step / (steps + 1))
        for w, g, (m, v) in zip(weights, gradients, moments, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            w -= now * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    return NoiseLevelNetwork(LevelPerceptron(weights), table, draw=draw)


def _gradients(weights: Weights, x: np.ndarray, k: np.ndarray) -> Weights:
    """Gradients of the mean cross-entropy of classes k (n,) at x (n, d)."""
    size = np.sqrt(np.mean(x * x, axis=1, keepdims=True) + 1e-12)
    inputs = [np.concatenate([x / size, np.log(size)], axis=1).astype(np.float32)]
    for i in range(0, len(weights) - 2, 2):
        inputs.append(np.maximum(inputs[-1] @ weights[i] + weights[i + 1], 0))
    logits = inputs[-1] @ weights[-2] + weights[-1]
    back = np.exp(logits - logits.max(axis=1, keepdims=True))
    back /= back.sum(axis=1, keepdims=True)
    back[np.arange(len(k)), k] -= 1
    back /= len(k)
    out: Weights = []
    for i in range(len(weights) - 2, -1, -2):
        h = inputs[i // 2]
        out = [h.T @ back, back.sum(axis=0), *out]
        back = (back @ weights[i].T) * (h > 0)
    return out
