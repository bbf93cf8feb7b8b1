"""Our SDEs as terms of diffrax; imported on first use."""

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax  # type: ignore[import-untyped]

from sgmsolve.adapters._common import Layout
from sgmsolve.reverse.additive import apply_matrix
from sgmsolve.reverse.general import contract

_DENSE = "no solver of diffrax asks for the matrix or the transpose of a diffusion."


class _Operator(lineax.AbstractLinearOperator):
    """A diffusion that is never made dense; its leaf is linear in it, as solvers subtract them."""

    leaf: Any
    columns: Any = eqx.field(static=True)
    rows: Any = eqx.field(static=True)

    def as_matrix(self) -> Any:
        raise NotImplementedError(_DENSE)

    def transpose(self) -> Any:
        raise NotImplementedError(_DENSE)

    def in_structure(self) -> Any:
        return self.columns

    def out_structure(self) -> Any:
        return self.rows


class ComponentOperator(_Operator):
    """Additive noise: the matrix (m, k) acts on components, then ``colour`` on their entries.

    ``colour`` wants a batch axis; ``single``: these arrays have none.
    """

    colour: Any = eqx.field(static=True, default=None)
    single: bool = eqx.field(static=True, default=False)

    def mv(self, vector: Any) -> Any:
        """Matrix times k arrays."""
        moved = apply_matrix(self.leaf, vector)
        if self.colour is None:
            return moved
        if not self.single:
            return self.colour(moved)
        return tuple(x[0] for x in self.colour(tuple(x[None] for x in moved)))


class ColumnsOperator(_Operator):
    """General noise: m arrays (..., k) contract with (..., k)."""

    def mv(self, vector: Any) -> Any:
        """Sum over the motions."""
        return tuple(contract(g, vector) for g in self.leaf)


for _kind in (ComponentOperator, ColumnsOperator):
    for _property in ("is_symmetric", "is_positive_semidefinite", "is_negative_semidefinite"):
        getattr(lineax, _property).register(_kind)(lambda operator: False)


class DiffraxTerms:
    """An SDE or ODE for ``diffrax.diffeqsolve``; the state y is the tuple of m arrays itself.

    Arrays are (batch, *shape), or (*shape) under ``jax.vmap`` over samples. ``nfe`` counts the
    evaluations that were *run*, by a host callback that travels with the compiled program (read it
    after ``jax.effects_barrier()``); under vmap each sample counts, and ``count=False`` leaves it
    out. An implicit solver's products with the Jacobian are not counted.
    """

    def __init__(self, sde: Any, shape: Any, calculus: str, count: bool) -> None:
        self.sde = sde if sde.noise == "none" else sde.as_calculus(calculus)
        self.layout, self.nfe, self.count = Layout(sde, shape), 0, count

    def tau(self, t: Any) -> Any:
        """The library's time at forward time t."""
        return self.layout.tau(t)

    def _called(self) -> None:
        self.nfe += 1

    def _batched(self, y: Any) -> tuple[bool, Any]:
        single = y[0].ndim == len(self.layout.shape)
        return single, tuple(x[None] for x in y) if single else tuple(y)

    def vector_field(self, tau: Any, y: Any, args: Any) -> Any:
        """dy/dtau, the drift, m arrays like y."""
        if self.count:
            jax.debug.callback(self._called)
        single, z = self._batched(y)
        made = self.sde.drift(z, self.layout.tau(tau))  # the map is its own inverse
        return tuple(x[0] for x in made) if single else made

    def diffusion(self, tau: Any, y: Any, args: Any) -> Any:
        """The diffusion as a lineax operator on the increments of ``structure(y)``."""
        t, structure = self.layout.tau(tau), self.structure(y)
        rows, (single, z) = jax.eval_shape(lambda: tuple(y)), self._batched(y)
        if self.sde.noise == "additive":
            # A host time gives a host matrix, which is no leaf that a solver could differentiate.
            matrix = jnp.asarray(self.sde.diffusion(t))
            colour = getattr(self.sde, "colour", None)
            return ComponentOperator(matrix, structure, rows, colour, single)
        made = self.sde.diffusion(z, t)
        made = tuple(g[0] for g in made) if single else made
        if self.sde.noise == "diagonal":
            return lineax.DiagonalLinearOperator(made)
        return ColumnsOperator(made, structure, rows)

    def structure(self, y: Any) -> Any:
        """Shapes and types of the Brownian increments for a state like y."""
        like = jax.ShapeDtypeStruct(y[0].shape, y[0].dtype)
        if self.sde.noise == "diagonal":
            return (like,) * len(y)
        if self.sde.noise == "additive":
            t = jnp.asarray(0.5 * float(getattr(getattr(self.sde, "process", None), "t_max", 0.0)))
            return (like,) * jax.eval_shape(self.sde.diffusion, t).shape[-1]
        single, z = self._batched(y)
        k = jax.eval_shape(lambda: self.sde.diffusion(z, jnp.asarray(0.0)))[0].shape[-1]
        return jax.ShapeDtypeStruct((k,) if single else (z[0].shape[0], k), y[0].dtype)

    def brownian(self, y: Any, tau0: Any, tau1: Any, key: Any, tol: Any, levy: Any = None) -> Any:
        """A ``diffrax.VirtualBrownianTree`` on [tau0, tau1] for a state like y."""
        area = diffrax.SpaceTimeLevyArea if levy is None else levy
        return diffrax.VirtualBrownianTree(tau0, tau1, tol, self.structure(y), key, levy_area=area)

    def terms(self, brownian: Any = None) -> Any:
        """``ODETerm``, or with a Brownian motion ``MultiTerm(ODETerm, ControlTerm)``."""
        drift = diffrax.ODETerm(self.vector_field)
        if brownian is None:
            return drift
        return diffrax.MultiTerm(drift, diffrax.ControlTerm(self.diffusion, brownian))
