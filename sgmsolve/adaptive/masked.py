"""Adaptive runs as one jax program: for use inside ``jax.jit``, ``vmap`` and forward-mode ``grad``.

The same steppers, controllers and error norms as :func:`sgmsolve.adaptive.solve_adaptive`, in a
``lax.while_loop`` over the whole batch. Samples that are done wait, masked, until the last one is:
where the host can drive, ``solve_adaptive`` calls the network on far fewer rows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgmsolve.adaptive import _checks
from sgmsolve.adaptive.control import Control, error_norm
from sgmsolve.adaptive.registry import find_solver
from sgmsolve.adaptive.run import own_times
from sgmsolve.adaptive.stepper import Field, motions
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.errors import BackendError, MethodError, unknown

if TYPE_CHECKING:
    from sgmsolve.adaptive.tree_jax import Tree

OPTIONS = ("rtol", "atol", "h0", "controller", "norm", "max_steps", "h_min", "seed", "indices")
DEPTH = 20


class MaskedSolution(NamedTuple):
    """What ``solve_masked`` returns, a pytree.

    Attributes:
        z: m arrays (batch, *shape). t: (batch,) forward time reached.
        nfe: (batch,) evaluations that a sample needed, as ``solve_adaptive`` counts them.
        accepted, rejected: (batch,) steps. finished: (batch,) bools.
        attempts: of the whole batch; each costs batch x (evaluations of a step) network rows.
    """

    z: Any
    t: Any
    nfe: Any
    accepted: Any
    rejected: Any
    finished: Any
    attempts: Any


@dataclasses.dataclass(frozen=True)
class _Run:
    stepper: Any
    field: Field
    control: Control
    tree: Tree | None
    times: tuple[float, float]

    def draws(self, u: Any, h: Any) -> dict[str, Any]:
        """Increments and areas over [u, u + h] of the run's own time."""
        if self.tree is None:
            return {}
        made: dict[str, list[Any]] = {"increment": [], "area": []}
        for (w0, j0), (w1, j1) in zip(self.tree.at(u), self.tree.at(u + h), strict=True):
            column = h.reshape(h.shape + (1,) * (w0.ndim - 1)).astype(w0.dtype)
            made["increment"].append(w1 - w0)
            made["area"].append(j1 - j0 - column * w0)
        return {k: tuple(v) for k, v in made.items()}

    def attempt(self, state: Any) -> Any:
        """One attempt of the whole batch."""
        import jax.numpy as jnp

        from sgmsolve.adaptive._rows import choose

        z, t, u, h, known, fresh, previous, past, live, counts, attempts = state
        span = abs(self.times[1] - self.times[0])
        last = h >= (span - u) * (1 - 1e-6)
        h = jnp.where(live, jnp.where(last, span - u, h), 0.0)
        if not self.stepper.fsal:
            known = self.stepper.first(self.field, z, t)
        tried = self.stepper.attempt(self.field, z, t, h, known, self.draws(u, h), previous)
        E = error_norm(tried, self.control)
        E = jnp.where(live, E, 1.0).astype(t.dtype)
        accepted = live & (E <= 1)
        z = choose(accepted, tried.z, z)
        if tried.previous is not None:
            previous = choose(accepted, tried.previous, previous)
        if tried.last is not None:
            known = choose(accepted, tried.last, known)
        u = jnp.where(accepted, jnp.where(last, span, u + h), u)
        end = jnp.asarray(self.times[1], t.dtype)
        t = jnp.where(accepted & last, end, self.times[0] + self.field.direction * u)
        factor, past = self.control.controller(E, past, accepted)
        h = factor * h
        evaluations = jnp.where(live, self.stepper.evaluations - 1 + fresh, 0)
        # As if first evaluations were kept through rejections, which a program without branches
        # cannot turn into fewer rows.
        fresh = accepted & (not self.stepper.fsal)
        nfe, good, bad = counts
        counts = (nfe + evaluations, good + accepted, bad + (live & ~accepted))
        tries = counts[1] + counts[2]
        live = live & (u < span) & (h >= self.control.h_min) & (tries < self.control.max_steps)
        return z, t, u, h, known, fresh, previous, past, live, counts, attempts + 1


def _depth(depth: Any) -> int:
    """Halvings that the numbers of cells, 32-bit integers, have room for; MethodError otherwise."""
    number = _checks.positive("depth", depth)
    if number > 30:
        raise MethodError(f"depth = {depth!r}, expected at most 30 halvings; 20 are the default.")
    return number


def solve_masked(
    method: str, sde: Any, z: Any, t_start: float, t_end: float, **options: Any
) -> MaskedSolution:
    """``solve_adaptive`` as one traceable jax program; see there for the arguments.

    Options: rtol, atol, h0, controller, norm, max_steps, h_min, seed, indices (may be traced), and
    the solver's own; ``depth`` (20): halvings of the Brownian tree, whose path rejected steps keep
    to. Times are static. Differentiable forwards (``jax.jvp``); for reverse mode use
    ``solve_with("diffrax:...", adjoint=...)``.

    Raises: as ``solve_adaptive``; BackendError for states of another library than jax.
    """
    import jax
    import jax.numpy as jnp

    solver = find_solver(method)
    options = {name: value for name, value in options.items() if value is not None}
    for option in options:
        if option not in (*OPTIONS, "depth", *solver.options):
            names = (*solver.options, *OPTIONS, "depth")
            raise MethodError(unknown(f"option of masked {method}", option, names))
    z = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    if not all(isinstance(x, jax.Array) for x in z):
        msg = "solve_masked is one jax program, but the state is no jax array; use solve_adaptive."
        raise BackendError(msg)
    times = _checks.check_times(sde, t_start, t_end, {})
    _checks.check_noise(solver, sde)
    own = {k: options.pop(k) for k in solver.options if k in options}
    stepper, sde = solver.make(sde, **own)
    if not any(isinstance(x, jax.core.Tracer) for x in z):
        stepper.check(sde, z, float(times[0]))  # looks at values, which a tracer has none of
    times = own_times(sde, times, equal=False)
    control = _checks.check_control(solver, stepper, z, times, options)
    batch, span = z[0].shape[0], float(abs(times[1] - times[0]))
    tree = None
    if stepper.draws:
        if set(stepper.draws) - {"increment", "area"}:
            msg = f"{method} with these options draws {stepper.draws}, which no tree has."
            raise MethodError(msg)
        from sgmsolve.adaptive.tree_jax import Tree

        indices = options.get("indices", np.arange(batch))
        if np.shape(indices) != (batch,):
            msg = f"indices have shape {np.shape(indices)}, expected one a sample, ({batch},)."
            raise BackendError(msg)
        keyed, depth = KeyedNoise(options.get("seed", 0)), _depth(options.get("depth", DEPTH))
        like = jnp.zeros((0,), z[0].dtype)
        tree = Tree(keyed, indices, like, motions(sde, z, float(times[0])), span, depth)
    run = _Run(stepper, Field(sde), control, tree, (float(times[0]), float(times[1])))
    t = jnp.full((batch,), times[0])
    u, live = jnp.zeros_like(t), jnp.ones(batch, bool)
    known = stepper.first(run.field, z, t)
    counts = tuple(jnp.zeros(batch, int) for _ in range(3))
    h = jnp.full_like(t, min(control.h0, span))
    state = (z, t, u, h, known, live, z, control.controller.begin(t), live, counts, 0)
    final = jax.lax.while_loop(lambda s: jnp.any(s[8]), run.attempt, state)
    nfe, accepted, rejected = final[9]
    done = final[2] >= span
    t = sde.time(final[1]) if hasattr(sde, "clock") else final[1]
    return MaskedSolution(final[0], t, nfe, accepted, rejected, done, final[10])
