"""Inpainting by replacement: a hook that overwrites what is known at every grid point of a plan."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.backends._seeds import like_array
from sgmsolve.backends.noise import KeyedNoise, make_noise
from sgmsolve.errors import BackendError, unknown
from sgmsolve.phi import cholesky
from sgmsolve.plan import Plan
from sgmsolve.process.base import AbstractProcess

FIRST_COLUMN = 1 << 20
"""The hook's first column of draws: no plan draws there, so equal seeds stay independent."""

DRAWS = ("fresh", "fixed")
FINALS = ("data", "kernel")


class Inpainting:
    """A ``between`` hook; made by :func:`inpainting`."""

    def __init__(
        self,
        process: AbstractProcess,
        plan: Plan,
        known: np.ndarray,
        mask: np.ndarray,
        source: KeyedNoise,
        draws: str,
        final: str,
    ) -> None:
        self.process, self.plan, self.known, self.mask = process, plan, known, mask
        self.source, self.draws, self.final = source, draws, final
        self.after = [*np.asarray(plan.t, np.float64)[1:].tolist(), float(plan.t_end)]
        self.rows = _rows(plan)

    def __call__(self, row: int, z: tuple[Any, ...], t: Any, model: Any = None) -> Any:
        """The state with its known part replaced after a row that ends at a grid point, else None.

        Raises: BackendError for rows and times that are not those of the hook's plan.
        """
        if row >= self.plan.rows or float(t) != self.after[row]:
            msg = (
                f"the hook was made for plan {self.plan.name!r} with {self.plan.rows} rows, but "
                f"was called after row {row} at t = {float(t):.6g} of another one; make a hook for "
                f"each plan, as in inpainting(process, plan, known, mask)."
            )
            raise BackendError(msg)
        if row not in self.rows:
            return None
        return self._replaced(z, float(t), row, exact=row == self.plan.rows - 1)

    def start(self, z: Any) -> tuple[Any, ...]:
        """``z`` at ``plan.t_start`` (m arrays, or one if m = 1) with its known part replaced."""
        parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
        if len(parts) != self.process.m:
            msg = (
                f"the start has {len(parts)} component(s), expected {self.process.m} for "
                f"{self.process!r}; pass a tuple of {self.process.m} array(s) (batch, *shape)."
            )
            raise BackendError(msg)
        return self._replaced(parts, float(self.plan.t_start), -1, exact=False)

    def _replaced(self, z: tuple[Any, ...], t: float, row: int, exact: bool) -> tuple[Any, ...]:
        like = z[0]
        self._check_state(like)
        mask, known = self._on(self.mask, like), self._on(self.known, like)
        draw = self.source.bind(None, (like,))
        key = 0 if self.draws == "fixed" else row + 1
        m = self.process.m
        xi = [draw(key, FIRST_COLUMN + j) for j in range(m)]
        loading = np.asarray(self.process.loading(t), np.float64).tolist()
        factor = self._factor(t).tolist()
        out = []
        for i in range(m):
            value = loading[i] * known
            if exact and i == 0 and self.final == "data":
                value = known
            else:
                for j in range(i + 1):
                    value = value + factor[i][j] * xi[j]
            # Not a product with the mask: the free part may be anything, NaN included.
            out.append(array_namespace(z[i]).where(mask == 1, value, z[i]))
        return tuple(out)

    def _factor(self, t: float) -> np.ndarray:
        """L (m, m) with ``L L^T = Cov[z(t) | x0]``, lower triangular."""
        # Processes in phase space know it better than their covariance tells.
        own = getattr(self.process, "factor", None)
        found = cholesky(self.process.covariance(t)) if own is None else own("lower", t)
        return np.asarray(found, np.float64)

    def _on(self, values: np.ndarray, like: Any) -> Any:
        """``values`` (batch, *shape) in the library, dtype and device of ``like``."""
        return like_array(np.broadcast_to(values, tuple(like.shape)).astype(np.float64), like)

    def _check_state(self, like: Any) -> None:
        full = tuple(like.shape)
        for name, array in (("known", self.known), ("mask", self.mask)):
            try:
                fits = np.broadcast_shapes(array.shape, full) == full
            except ValueError:
                fits = False
            if not fits:
                msg = (
                    f"{name} has shape {array.shape}, but the state is {full} (batch, *shape); "
                    f"give {name} the shape of one sample {full[1:]} or of the whole batch."
                )
                raise BackendError(msg)


def _rows(plan: Plan) -> set[int]:
    """The rows after which the known part is replaced: those that end at a grid point.

    Where a step moves on from its grid point before it evaluates (noise or a linear sub-step
    first), only the point of the evaluation is at hand and the state behind it is not replaced:
    then every evaluation of that step has its known part replaced.
    """
    inner = [n for n in plan.nodes if 0 < n.boundary < plan.rows]
    ends = [n.boundary for n in inner[1:]] + [plan.rows]
    found = {plan.rows - 1}
    for node, end in zip(inner, ends, strict=True):
        found.add(node.boundary - 1)
        if node.register:
            found.update(range(node.boundary, end - 1))
    return found


def inpainting(
    process: AbstractProcess,
    plan: Plan,
    known: Any,
    mask: Any,
    *,
    seed: int = 0,
    indices: Any = None,
    noise: Any = None,
    draws: str = "fresh",
    final: str = "data",
) -> Inpainting:
    """Inpainting by replacement: ``solve(plan, model, hook.start(z), between=hook)``.

    Wherever a row of the plan ends at a grid point, the entries with mask = 1 of all m components
    of the state become a draw from the forward kernel at the time t of that point (the END of the
    step just made; where churn has raised the noise, the time it was raised to),

        z(t) = u(t) known + L(t) xi,   u = loading, L L^T = covariance (HSM),

    and ``hook.start(z)`` does so at ``plan.t_start``. Only the point of the next evaluation is
    replaced. Stages inside a step, other registers and remembered predictions are left alone: a
    plan's coefficients act entry by entry, so the unknown entries learn of the known ones through
    the network alone, and that only sees points of evaluations. Where a step adds noise or moves
    linearly before it evaluates (churn, splittings that begin with O or L), its stages go on from
    a state that was not replaced, and each of their points is replaced at its own time.

    After the last row the data component's known part is ``known`` itself; the other components
    keep a draw from the kernel at ``plan.t_end`` (``final="kernel"``: the data component too).

    The result is biased: past noise of the known part is forgotten at each step, so that the
    unknown part is not a draw of p(unknown | known), not even with an exact network and infinitely
    many steps. docs/conditioning.md measures it.

    Args:
        process: the forward process, any number of components.
        plan: the plan that will be run; it knows which rows end at grid points.
        known: x0 where it is known, (*shape) or (batch, *shape), numpy, torch or jax; entries with
            mask = 0 are not looked at (NaN is fine).
        mask: 1 (or True) where x0 is known, 0 elsewhere; broadcast like ``known``.
        seed, indices: key the hook's draws by sample, as ``solve``'s do the plan's; the same seed
            gives draws independent of the plan's. Pass ``solve``'s indices.
        noise: None, ``"philox"`` or a KeyedNoise, as in ``solve``.
        draws: ``"fresh"`` draws at every grid point; ``"fixed"`` keeps one draw a sample at all
            times, so that the known part follows z(t) = u(t) known + L(t) xi smoothly.
        final: ``"data"`` or ``"kernel"``.

    Raises: BackendError for a plan of another process or without grid points, masks that are not 0
    and 1, NaN or Inf in the known part, shapes that do not fit (also on call), unknown options.
    Source: Song et al. 2021 (arXiv:2011.13456, appendix I.2) for one component; the code of PSLD
    (arXiv:2303.01748) for two, which uses the time of the START of the step and ends with
    u(t_min) known.
    """
    if not isinstance(process, AbstractProcess) or not isinstance(plan, Plan):
        given = type(plan if isinstance(process, AbstractProcess) else process).__name__
        msg = (
            f"inpainting was given a {given}, expected a process and a plan; call "
            f"inpainting(process, plan, known, mask)."
        )
        raise BackendError(msg)
    if process.spec() != plan.process:
        msg = (
            f"plan {plan.name!r} was built for the process {plan.process}, but inpainting was "
            f"given {process!r}; build the plan with that process."
        )
        raise BackendError(msg)
    if not any(node.boundary for node in plan.nodes):
        msg = (
            f"plan {plan.name!r} does not say where its grid points are (plan.nodes is empty); "
            f"build it with build_plan."
        )
        raise BackendError(msg)
    for name, value, choices in (("draws", draws, DRAWS), ("final", final, FINALS)):
        if value not in choices:
            raise BackendError(unknown(f"value of {name}:", str(value), choices))
    source = make_noise(noise, seed, indices, "sample")
    if not isinstance(source, KeyedNoise):
        msg = (
            f"noise is a {type(source).__name__}, expected draws keyed by sample; pass None, "
            f"'philox' or a KeyedNoise."
        )
        raise BackendError(msg)
    where, values = _checked(known, mask)
    return Inpainting(process, plan, values, where, source, draws, final)


def _checked(known: Any, mask: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mask and known as host arrays, 0 where nothing is known; BackendError if they do not fit."""
    values, where = _host(known, "known"), _host(mask, "mask")
    if not np.isin(where, (0.0, 1.0)).all():
        wrong = float(where[~np.isin(where, (0.0, 1.0))].flat[0])
        msg = (
            f"mask holds {wrong:g}, expected 1 where x0 is known and 0 elsewhere; pass a boolean "
            f"mask such as mask > 0.5."
        )
        raise BackendError(msg)
    try:
        shape = np.broadcast_shapes(values.shape, where.shape)
    except ValueError:
        msg = (
            f"mask has shape {where.shape} and known {values.shape}, which do not broadcast; give "
            f"both the shape of one sample or of the whole batch."
        )
        raise BackendError(msg) from None
    bad = ~np.isfinite(values) & (where == 1)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(np.broadcast_to(bad, shape))[0])
        msg = (
            f"known is NaN or Inf at {at}, where mask is 1; give a finite number there or set the "
            f"mask to 0."
        )
        raise BackendError(msg)
    return where, np.where(where == 1, values, 0.0)


def _host(value: Any, what: str) -> np.ndarray:
    if kind_of(value) == "torch":
        value = value.detach().cpu().double()
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = (
            f"{what} is a {type(value).__name__} that is not an array of numbers ({error}); pass "
            f"an array."
        )
        raise BackendError(msg) from error
