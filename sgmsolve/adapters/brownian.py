"""One Brownian path for our solvers and other people's: their path as our noise source.

A path of torchsde or diffrax runs in the library's own time tau, -t for what runs down in forward
time t. A draw of kind ``increment`` on the forward interval [a, b] is then

    xi = (W(-a) - W(-b)) / sqrt(b - a):

the path in the direction of the run, as the library's own solvers read it. Column c of a plan's
draws belongs to component c mod m, and so does motion c mod m of the path.
"""

from __future__ import annotations

import hashlib
import math
import sys
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.backends._seeds import like_array
from sgmsolve.backends.noise import Draw, Noise, draw_order
from sgmsolve.errors import BackendError
from sgmsolve.plan import Plan

ROUNDING = 1e-6
"""How far, in lengths of the path, a time may lie outside: times rounded to float32 do."""


def brownian_noise(
    source: Any, shape: tuple[int, ...] | None = None, direction: int = -1
) -> BrownianNoise:
    """A path of torchsde or diffrax as a noise source of ``solve``, and as a path to step along.

    source: ``torchsde.BrownianInterval`` (or BrownianPath, BrownianTree) of size (batch, k n), as
        ``to_torchsde(...).brownian`` makes it; or ``diffrax.VirtualBrownianTree`` of k arrays
        (batch, *shape), as ``to_diffrax(...).brownian`` does. n is the number of entries of a
        component, k that of the motions: m for a plan.
    shape: (*shape) of a component, for ``increment`` and ``area`` of a torchsde path; None: rows.
    direction: -1 for what runs down in forward time (plans, reverse SDEs), +1 for what runs up.

    Use it as ``solve(plan, model, z, noise=brownian_noise(bm))`` for plans whose draws are all of
    kind ``increment``; together with ``solve_with(..., bm=bm)`` or ``brownian=`` ours and theirs
    follow one path.

    Raises: BackendError for anything else; on use for draws of another kind, another size and
    times that the path does not cover.
    """
    if direction not in (-1, 1):
        msg = f"direction = {direction!r}, expected -1 (down in forward time) or 1 (up)."
        raise BackendError(msg)
    return BrownianNoise(source, shape, direction)


class BrownianNoise(Noise):
    """See :func:`brownian_noise`. ``start``, ``end``: the path's own times; None where traced."""

    def __init__(self, source: Any, shape: tuple[int, ...] | None, direction: int) -> None:
        self.shape, self.direction = shape, direction
        self.source, self.kind, self.start, self.end = _recognise(source)

    def increment(self, a: float, b: float) -> tuple[Any, ...]:
        """W at forward time ``b`` less W at ``a``, for a step from a to b: k arrays.

        Raises: BackendError for times outside the path, or against the direction of the run.
        """
        return self._split(self._query(*self._times(a, b), area=False))

    def area(self, a: float, b: float) -> tuple[Any, ...]:
        """The integral of W - W(a) over the library's time on a step from a to b: k arrays.

        It is h (W / 2 + H), W the increment, H the space-time Levy area, h = |b - a|. Raises:
        BackendError as ``increment``, and for a path that was made without H.
        """
        return self._split(self._query(*self._times(a, b), area=True))

    def bind(self, plan: Plan, z: tuple[Any, ...]) -> Draw:
        """See :class:`~sgmsolve.backends.noise.Noise`; everything is checked here."""
        self.check(plan, z)
        shape, m = tuple(z[0].shape[1:]), plan.m
        last: dict[tuple[float, float], tuple[Any, ...]] = {}

        def draw(row: int, column: int) -> Any:
            a, b = interval(plan, row, column)
            if (a, b) not in last:
                last.clear()
                last[a, b] = self._split(self._query(*self._times(b, a), area=False), shape)
            return like_array(last[a, b][column % m] * (1 / math.sqrt(b - a)), z[0])

        return draw

    def identity(self, batch: int) -> str:
        """Which path it is."""
        if self.kind == "torch":
            return f"torchsde path, entropy {self.source.entropy}, [{self.start}, {self.end}]"
        keys = str([str(x) for x in _leaves(self.source)])
        digest = hashlib.sha256(keys.encode()).hexdigest()[:16]
        return f"diffrax path, keys {digest}, [{self.start}, {self.end}]"

    def check(self, plan: Plan, z: tuple[Any, ...]) -> None:
        """BackendError unless the path can make all draws of the plan on states like ``z``."""
        if kind_of(z[0]) != self.kind:
            msg = (
                f"the Brownian path is made of {self.kind}, but the state of {kind_of(z[0])}; "
                f"convert the state, or use a path of its library."
            )
            raise BackendError(msg)
        for row, column in draw_order(plan):
            record = plan.prelude_draws[column] if row < 0 else plan.draws[row, column]
            if record["kind"] != "increment":
                msg = (
                    f"plan {plan.name!r} draws noise of kind {str(record['kind'])!r} in row {row}, "
                    f"but a Brownian path has draws of kind 'increment' only; use a plan of "
                    f"euler-maruyama's kind, or PathNoise."
                )
                raise BackendError(msg)
            self._times(float(record["end"]), float(record["start"]))
        self._check_size(plan.m, z[0])

    def _check_size(self, m: int, like: Any) -> None:
        batch, shape = like.shape[0], tuple(like.shape[1:])
        if self.kind == "torch":
            given: Any = tuple(self.source.shape)
            expected: Any = (batch, m * math.prod(shape))
        else:
            given = [tuple(s.shape) for s in self._structure()]
            expected = [(batch, *shape)] * m
        if given != expected:
            msg = (
                f"the Brownian path has the size {given}, but a state of {m} component(s) "
                f"{(batch, *shape)} needs {expected}; make it with .brownian of "
                f"to_{'torchsde' if self.kind == 'torch' else 'diffrax'}."
            )
            raise BackendError(msg)

    def _structure(self) -> tuple[Any, ...]:
        import jax

        path = self.source
        return _leaves(jax.eval_shape(lambda: path.evaluate(path.t0, path.t1)))

    def _times(self, a: float, b: float) -> tuple[float, float]:
        """The path's own times of a step from forward time a to b, checked and clipped."""
        p, q = self.direction * a, self.direction * b
        if not p < q:
            msg = (
                f"a step from t = {a:g} to {b:g} was asked of a path for runs "
                f"{'down' if self.direction < 0 else 'up'} in forward time; swap the times, or "
                f"pass direction={-self.direction}."
            )
            raise BackendError(msg)
        if self.start is None or self.end is None:
            return p, q
        slack = ROUNDING * (self.end - self.start)
        if p < self.start - slack or q > self.end + slack:
            low, high = sorted((self.direction * self.start, self.direction * self.end))
            msg = (
                f"a step from t = {a:g} to {b:g} was asked of a Brownian path that covers forward "
                f"times from {low:g} to {high:g}; make the path on [{self.start:g}, {self.end:g}] "
                f"longer: its own time is {'-t' if self.direction < 0 else 't'}."
            )
            raise BackendError(msg)
        return max(p, self.start), min(q, self.end)

    def _query(self, p: float, q: float, area: bool) -> tuple[Any, ...]:
        """Rows (torchsde) or k arrays (diffrax): the increment, or its area, over [p, q]."""
        if self.kind == "torch":
            if not area:
                return (self.source(p, q),)
            if self.source.levy_area_approximation == "none":
                raise BackendError(_no_area("levy_area_approximation='space-time'"))
            return (self.source(p, q, return_U=True)[1],)
        import jax.numpy as jnp

        low, high = jnp.asarray(p), jnp.asarray(q)  # floats would be compiled into the path
        if not area:
            return _leaves(self.source.evaluate(low, high))
        made = self.source.evaluate(low, high, use_levy=True)
        if getattr(made, "H", None) is None:
            raise BackendError(_no_area("levy_area=diffrax.SpaceTimeLevyArea"))
        pairs = zip(_leaves(made.W), _leaves(made.H), strict=True)
        return tuple((q - p) * (0.5 * w + h) for w, h in pairs)

    def _split(self, made: tuple[Any, ...], shape: tuple[int, ...] | None = None) -> Any:
        """Rows (batch, k n) of torchsde as k arrays (batch, *shape); arrays of diffrax as such."""
        shape = self.shape if shape is None else shape
        if self.kind == "jax" or shape is None:
            return made
        rows, n = made[0], math.prod(shape)
        xp, count = array_namespace(rows), rows.shape[1] // n
        if count * n != rows.shape[1]:
            msg = (
                f"the Brownian path has {rows.shape[1]} entries a sample, expected a multiple of "
                f"those of shape {shape}; pass the shape it was made for."
            )
            raise BackendError(msg)
        return tuple(
            xp.reshape(rows[:, i * n : (i + 1) * n], (rows.shape[0], *shape)) for i in range(count)
        )


def interval(plan: Plan, row: int, column: int) -> tuple[float, float]:
    """Forward interval [a, b] of a draw; row -1 is the prelude."""
    record = plan.prelude_draws[column] if row < 0 else plan.draws[row, column]
    return float(record["start"]), float(record["end"])


def _recognise(source: Any) -> tuple[Any, str, float | None, float | None]:
    """(path, array library, start, end) of a source; BackendError for anything else."""
    torchsde, diffrax = sys.modules.get("torchsde"), sys.modules.get("diffrax")
    if torchsde is not None:
        inner = getattr(source, "_interval", source)  # BrownianPath and BrownianTree hold one
        if isinstance(inner, torchsde.BrownianInterval):
            return inner, "torch", float(inner._start), float(inner._end)
    if diffrax is not None and isinstance(source, diffrax.AbstractBrownianPath):
        if not isinstance(source, diffrax.UnsafeBrownianPath):  # which keeps to no path
            times = (_number(source.t0), _number(source.t1))
            return source, "jax", *(times if None not in times else (None, None))
    msg = (
        f"a {type(source).__name__} was given as a Brownian path, expected torchsde's "
        f"BrownianInterval or diffrax's VirtualBrownianTree."
    )
    raise BackendError(msg)


def _number(t: Any) -> float | None:
    """A time as a float; None inside a jax transformation."""
    import jax

    return None if isinstance(t, jax.core.Tracer) else float(t)


def _leaves(tree: Any) -> tuple[Any, ...]:
    import jax

    return tuple(jax.tree.leaves(tree))


def _no_area(how: str) -> str:
    return (
        f"the space-time area of a Brownian path that was made without it was asked for; make the "
        f"path with {how}."
    )
