"""Guidance: models made from models, in whatever kind they predict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import ModelError
from sgmsolve.model.base import (
    Prediction,
    State,
    check_prediction,
    linear_combination,
    scalar_for,
    to_kind,
)
from sgmsolve.process.base import AbstractProcess

Scale = float | Callable[[Any], Any]
"""A guidance scale: a number, or a function of forward time (a guidance interval, say)."""


def _scale_at(scale: Scale, t: Any) -> Any:
    return scale(t) if callable(scale) else float(scale)


def _same_process(one: AbstractProcess, other: AbstractProcess) -> None:
    if one is not other and one != other:
        msg = (
            f"the conditional model belongs to {one!r} and the unconditional one to {other!r}, "
            f"expected the same process; wrap both networks with as_model on one process."
        )
        raise ModelError(msg)


def _extrapolate(free: Prediction, given: Prediction, scale: Any) -> Prediction:
    """``free + scale (given - free)``, component by component."""
    return tuple(u + scalar_for(scale, c) * (c - u) for u, c in zip(free, given, strict=True))


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierFree:
    """Two models, two evaluations; made by :func:`classifier_free`."""

    conditional: Any
    unconditional: Any
    scale: Scale

    @property
    def process(self) -> AbstractProcess:
        """The conditional model's process."""
        return self.conditional.process

    @property
    def predicts(self) -> str:
        """The conditional model's kind."""
        return self.conditional.predicts

    def __call__(self, z: State, t: Any) -> Prediction:
        """The guided prediction at forward time t, arrays (batch, *shape)."""
        scale = _scale_at(self.scale, t)
        # Known before the run, so an evaluation that would be multiplied by zero is not paid for.
        if isinstance(scale, float) and scale == 1.0:
            return self.conditional(z, t)
        if isinstance(scale, float) and scale == 0.0:
            return self.unconditional(z, t)
        return _extrapolate(self.unconditional(z, t), self.conditional(z, t), scale)


def classifier_free(model_cond: Any, model_uncond: Any, scale: Scale) -> ClassifierFree:
    """Classifier-free guidance: ``uncond + scale (cond - uncond)``.

    ``scale`` = 0 is the unconditional model, 1 the conditional one, above 1 guidance; this is the
    convention of Stable Diffusion and diffusers. Ho & Salimans 2022 (arXiv:2207.12598, equation 6)
    write w = scale - 1. A function of forward time guides on part of the way only (Kynkaanniemi
    et al. 2024, arXiv:2404.07724). Affine conversions commute with it, so the kind does not
    matter; the unconditional model is converted to the conditional one's kind. Where the scale is
    the number 1 or 0 only one of the two networks is evaluated.

    Raises: ModelError if the two models belong to different processes.
    """
    _same_process(model_cond.process, model_uncond.process)
    return ClassifierFree(model_cond, to_kind(model_uncond, model_cond.predicts), scale)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierFreeBatched:
    """One network on a doubled batch; made by :func:`classifier_free_batched`."""

    model: Any
    scale: Scale

    @property
    def process(self) -> AbstractProcess:
        """The model's process."""
        return self.model.process

    @property
    def predicts(self) -> str:
        """The model's kind."""
        return self.model.predicts

    def __call__(self, z: State, t: Any) -> Prediction:
        """The guided prediction at forward time t, arrays (batch, *shape)."""
        xp = array_namespace(z[0])
        twice = tuple(xp.concat([x, x], axis=0) for x in z)
        both = check_prediction(self.model(twice, t), twice, t=t)
        n = z[0].shape[0]
        free, given = tuple(e[:n] for e in both), tuple(e[n:] for e in both)
        return _extrapolate(free, given, _scale_at(self.scale, t))


def classifier_free_batched(model: Any, scale: Scale) -> ClassifierFreeBatched:
    """Classifier-free guidance with one call on the concatenated batch (2 batch, *shape).

    The network must treat the first half as unconditional and the second half as conditional (the
    order of diffusers), for example by closing over ``concat([no_prompt, prompt])``. The result is
    ``uncond + scale (cond - uncond)`` of shape (batch, *shape), as in :func:`classifier_free`.
    """
    return ClassifierFreeBatched(model, scale)


@dataclasses.dataclass(frozen=True, eq=False)
class ClassifierGuidance:
    """A model plus a classifier's gradient; made by :func:`classifier_guidance`."""

    model: Any
    log_prob_grad: Callable[[State, Any], Any]
    scale: Scale

    @property
    def process(self) -> AbstractProcess:
        """The model's process."""
        return self.model.process

    @property
    def predicts(self) -> str:
        """The model's kind."""
        return self.model.predicts

    def __call__(self, z: State, t: Any) -> Prediction:
        """The guided prediction at forward time t, arrays (batch, *shape), in the state's dtype."""
        given = check_prediction(self.model(z, t), z, t=t)
        gradient = check_prediction(self.log_prob_grad(z, t), z, t=t)
        if len(gradient) != len(given):
            msg = (
                f"the gradient has {len(gradient)} array(s) and the prediction {len(given)}, "
                f"expected as many; return the gradient with respect to every component of the "
                f"state, {', '.join(self.process.names)}."
            )
            raise ModelError(msg)
        _, b = self.process.conversion("score", self.predicts, t)
        scale = _scale_at(self.scale, t)
        p = len(given)
        return tuple(
            linear_combination(
                [(1.0, array_namespace(z[0]).astype(given[i], z[0].dtype))]
                + [(scale * b[..., i, j], gradient[j]) for j in range(p)]
            )
            for i in range(p)
        )


def classifier_guidance(
    model: Any, log_prob_grad: Callable[[State, Any], Any], scale: Scale = 1.0
) -> ClassifierGuidance:
    """Classifier guidance: ``score + scale grad_z log p(y | z, t)``, in the model's own kind.

    ``log_prob_grad(z, t)`` takes the state and forward time, the time the classifier was trained
    with (the code of PSLD passes reverse time), and returns the gradient with respect to all m
    components, an array (or a tuple of arrays) shaped like the prediction; :func:`gradient_of`
    makes one from log p(y | z, t). With ``kind = a z + b score`` the prediction gains
    ``b scale grad``: -sigma grad for noise (Dhariwal & Nichol 2021, arXiv:2105.05233,
    algorithm 2), sigma^2 / alpha grad for data, and with m components ``-L^T scale grad`` for noise
    of the factor L: the momentum's gradient guides the position, too.

    Raises: on call, ModelError for a gradient of another shape; ProcessError at alpha = 0 (float t)
    for data, v and flow, where their weight of the score is infinite.
    """
    if not callable(log_prob_grad):
        msg = (
            f"log_prob_grad is a {type(log_prob_grad).__name__}, expected a function of (z, t); "
            f"pass one."
        )
        raise ModelError(msg)
    return ClassifierGuidance(model, log_prob_grad, scale)


def gradient_of(log_prob: Callable[[State, Any], Any]) -> Callable[[State, Any], Prediction]:
    """The gradient of ``log_prob(z, t)`` with respect to all components, by torch or jax.

    ``log_prob`` takes the state and forward time and returns log p(y | z, t), an array (batch,) in
    which sample i depends on sample i alone. Gradients do not flow on into what made z, and torch
    keeps no graph (classifiers inside ``torch.no_grad()`` work). For numpy states write the
    gradient yourself.

    Raises: ModelError for something that cannot be called; on call, for numpy states.
    """
    if not callable(log_prob):
        msg = (
            f"log_prob is a {type(log_prob).__name__}, expected a function of (z, t) that returns "
            f"log p(y | z, t); pass one."
        )
        raise ModelError(msg)

    def gradient(z: State, t: Any) -> Prediction:
        library = kind_of(z[0])
        if library == "torch":
            import torch

            with torch.enable_grad():
                leaves = tuple(x.detach().requires_grad_() for x in z)
                return torch.autograd.grad(log_prob(leaves, t).sum(), leaves)
        if library == "jax":
            import jax

            return jax.grad(lambda state: log_prob(state, t).sum())(tuple(z))
        msg = (
            "gradient_of was called with a numpy state, which records no gradients; use torch or "
            "jax, or pass classifier_guidance a function that returns the gradient."
        )
        raise ModelError(msg)

    return gradient
