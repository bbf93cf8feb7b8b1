"""The trace of a Jacobian, exact or estimated, from products with it.

The state is one array y (n, N), N entries a sample, and f(y) belongs to each sample alone. With A
the Jacobian of a sample, (N, N):

    exact        tr A = sum_j e_j . A e_j                                     N products
    hutchinson   v . A v,  E[v v^T] = I                                       1 a probe
    hutch++      tr(Q^T A Q) + g . (I - Q Q^T) A (I - Q Q^T) g                3 a probe
                 with Q an orthonormal basis of A S, S one column a probe

Each is given for every probe, and its mean over the probes is the estimate: unbiased, as tr A =
tr(Q^T A Q) + tr((I - Q Q^T) A (I - Q Q^T)) for any A. The variance of one Hutchinson probe is
2 (|B|_F^2 - sum_i b_ii^2) for Rademacher and 2 |B|_F^2 for Gaussian entries, B = (A + A^T) / 2.
Sources: Hutchinson 1990, Commun. Stat. Simul. 19(2); Meyer, Musco, Musco & Woodruff 2021
(arXiv:2010.09649), Algorithm 1. A^T serves as well as A.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import ModelError
from sgmsolve.likelihood.probes import place

Product = Callable[[Any], Any]

ESTIMATORS = ("exact", "hutchinson", "hutch++")
DERIVATIVES = ("automatic", "differences")

LARGEST = 512
"""Most entries of a sample for which the trace is taken exactly."""

REACH = 0.005
"""Step of central differences in standard deviations of the noise: error of order REACH^6."""

MISMATCH = 0.2
"""Part of |v| |A v| by which v . A v may differ between autograd and differences."""

SAME = 1e-4
"""Part of their size by which multiples of the identity may differ through rounding."""

NO_DERIVATIVE = (
    "torch's derivative of the model is not that of its values, which the divergence needs; remove "
    "torch.no_grad, torch.inference_mode or detach around the network, or pass "
    "derivative='differences'."
)

CENTRAL = ((1, 3 / 4), (2, -3 / 20), (3, 1 / 60))
"""Sixth-order central difference: f' = sum_k w_k (f(y + k h) - f(y - k h)) / h."""


def trace(estimator: str, product: Product, probes: Any, like: Any) -> Any:
    """The trace, (n, K): one value a probe, K = 1 if exact.

    product: v (n, N) -> A v or A^T v. probes: (K, n, N); (2 K, n, N) for Hutch++, of which the
    first K are the columns of S; None if exact. like: the state (n, N).
    """
    xp = array_namespace(like)
    if estimator == "exact":
        n, size = like.shape
        unit = xp.reshape(xp.eye(size, dtype=like.dtype, **place(like)), (size, 1, size))
        parts = _each(lambda v: _form(product, xp.broadcast_to(v, (n, size))), unit)
        return xp.sum(parts, axis=0)[:, None]
    if estimator == "hutchinson":
        return xp.permute_dims(_each(lambda v: _form(product, v), probes), (1, 0))
    k = probes.shape[0] // 2
    sketch = xp.permute_dims(_each(product, probes[:k]), (1, 2, 0))
    Q = xp.linalg.qr(sketch)[0]
    seen = _each(lambda v: _form(product, v), xp.permute_dims(Q, (2, 0, 1)))
    rest = xp.permute_dims(probes[k:], (1, 2, 0))
    rest = xp.permute_dims(rest - Q @ (Q.mT @ rest), (2, 0, 1))
    unseen = _each(lambda v: _form(product, v), rest)
    return xp.permute_dims(xp.sum(seen, axis=0) + unseen, (1, 0))


def linearise(
    function: Callable[[Any], Any], y: Any, derivative: str, reach: Any
) -> tuple[Any, Product]:
    """(f(y), v -> A^T v or A v) at y (n, N).

    torch and jax differentiate in reverse, with one evaluation and one product for each v; a torch
    graph is kept where y requires a gradient. ``"differences"`` takes six evaluations a product, at
    distances that are multiples of ``reach``, a number or (n,).
    Raises: ModelError for a torch function that carries no derivative.
    """
    if derivative == "differences":
        return function(y), _differences(function, y, reach)
    if kind_of(y) == "jax":
        import jax

        value, pull = jax.vjp(function, y)
        return value, lambda v: pull(v)[0]
    return _torch(function, y)


def _torch(function: Callable[[Any], Any], y: Any) -> tuple[Any, Product]:
    import torch

    graph = y.requires_grad
    with torch.enable_grad():
        # A view: a model may return its argument, and its derivative is then not the caller's.
        point = y.view_as(y) if graph else y.detach().requires_grad_()
        value = function(point)
    if not value.requires_grad:
        raise ModelError(NO_DERIVATIVE)

    def product(v: Any) -> Any:
        (made,) = torch.autograd.grad(value, point, v, retain_graph=True, create_graph=graph)
        return made

    return (value if graph else value.detach()), product


def check_derivative(function: Callable[[Any], Any], y: Any, m: int, reach: float) -> None:
    """ModelError for a torch model of m components that is cut off from autograd.

    A network under ``torch.no_grad`` leaves what wraps it (scalings, conversions), which adds
    multiples of y: a derivative is there, but the wrong one. It shows by being the same multiple of
    the identity for all samples and entries, while differences say something else.
    """
    import torch

    n, size = y.shape
    v = torch.cos(torch.arange(size // m, dtype=y.dtype, device=y.device)).repeat(m)
    with torch.no_grad():
        _, product = linearise(function, y.detach(), "automatic", reach)
        told = product(v.expand(n, size))
        multiples = (told / v).reshape(n, m, -1)
        spread = multiples.amax((0, 2)) - multiples.amin((0, 2))
        if (spread > SAME * multiples.abs().amax()).any():
            return
        h = 4 * REACH * reach
        seen = (function(y + h * v) - function(y - h * v)) / (2 * h)
        allowed = MISMATCH * torch.linalg.vector_norm(v) * torch.linalg.vector_norm(seen, dim=1)
        wrong = torch.abs(torch.sum(v * (told - seen), dim=1)) > allowed
    if 2 * int(wrong.sum()) > n:
        raise ModelError(NO_DERIVATIVE)


def _differences(function: Callable[[Any], Any], y: Any, reach: Any) -> Product:
    step = REACH * (reach if isinstance(reach, float) else reach[:, None])

    def product(v: Any) -> Any:
        xp = array_namespace(y)
        # Directions of any length, probes and basis vectors alike: the step is taken along v/|v|.
        length = xp.sqrt(xp.sum(v * v, axis=1, keepdims=True))
        h = step / xp.where(length > 0, length, xp.ones_like(length))
        return sum(
            (w / h) * (function(y + k * h * v) - function(y - k * h * v)) for k, w in CENTRAL
        )

    return product


def _form(product: Product, v: Any) -> Any:
    """The quadratic form v . A v, (n,)."""
    return array_namespace(v).sum(v * product(v), axis=1)


def _each(function: Callable[[Any], Any], values: Any) -> Any:
    """``function`` of every entry along the first axis, one after the other: bounded memory."""
    if kind_of(values) == "jax":
        import jax

        return jax.lax.map(function, values)
    return array_namespace(values).stack([function(v) for v in values], axis=0)
