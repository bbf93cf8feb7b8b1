"""What may stand at a place of a reverse SDE: operators, and a skew S where it changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError, unknown
from sgmsolve.precondition.base import WHERE, Preconditioner

PROBES = 3
ANY = (8, 8)
"""A shape of samples for operators that take any."""
WHOLE = ("published", "forward")
"""Places at which M M^T multiplies the whole reverse drift, its linear part included."""


def filters_prior(where: str, grows: bool) -> bool:
    """Whether a run starts from M z; ``grows``: noise is added to data that do not shrink.

    A preconditioned forward process whose data shrink has the plain stationary law.
    """
    return where in ("published", "noise") or (where == "forward" and grows)


def check_place(preconditioner: Any, where: Any, skew: Any) -> None:
    """Refuse an unknown place, operators that are none, and an S that changes a law.

    div(S grad p) = sum_ij S_ij d_i d_j p = 0 for a constant S with S^T = -S, so that a drift
    1/2 g^2 S score leaves the law p to itself wherever the rest of the drift does: at "exact-split"
    and in a corrector, and at "forward" for the law of the preconditioned process. At "published"
    and "noise" the law is not p_t, but another one, which S would turn.

    Raises: PreconditionError.
    """
    if where not in WHERE:
        raise PreconditionError(unknown("where:", str(where), WHERE))
    for name, given in (("preconditioner", preconditioner), ("skew", skew)):
        if given is not None and not isinstance(given, Preconditioner):
            msg = (
                f"{name} is a {type(given).__name__}, expected an operator of "
                f"sgmsolve.precondition; wrap the numbers, Scalar(1.1) or Diagonal(gains), say."
            )
            raise PreconditionError(msg)
    if skew is not None and where in ("published", "noise"):
        msg = (
            f"skew was given with where = {where!r}, but the law of the samples is then not p_t, "
            f"so that S would change it; use where='exact-split', which S leaves exact."
        )
        raise PreconditionError(msg)
    if skew is None:
        return
    shape = None if preconditioner is None else preconditioner.shape
    if None not in (shape, skew.shape) and shape != skew.shape:
        msg = (
            f"preconditioner is for samples of shape {shape}, but skew is for {skew.shape}; make "
            f"both for the shape of one sample."
        )
        raise PreconditionError(msg)
    check_skew(skew, skew.shape or shape or ANY)


def check_skew(S: Preconditioner, shape: tuple[int, ...]) -> None:
    """PreconditionError unless <x, S x> = 0 for some random samples x: that is S^T = -S."""
    x = np.random.default_rng(0).standard_normal((PROBES, *shape))
    y = np.asarray(S.apply(x)).reshape(PROBES, -1)
    x = x.reshape(PROBES, -1)
    sizes = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    gap = float((np.abs((x * y).sum(axis=1)) / np.maximum(sizes, 1e-300)).max())
    if not gap <= 1e-10:
        msg = (
            f"skew is a {type(S).__name__} with <x, S x> = {gap:.2g} |x| |S x| for some x, "
            f"expected S^T = -S; use sgmsolve.precondition.Skew or SkewMatrix."
        )
        raise PreconditionError(msg)


def is_orthogonal(M: Preconditioner | None) -> bool:
    """Whether M M^T = I, to rounding; of operators without eigenvalues seen on some samples."""
    if M is None:
        return True
    if M.scalar is not None or M.eigenvalues is not None:
        values: Any = M.scalar if M.eigenvalues is None else M.eigenvalues
        return bool(np.abs(np.asarray(values) ** 2 - 1).max() < 1e-12)
    if M.shape is None:
        return False
    x = np.random.default_rng(0).standard_normal((PROBES, *M.shape))
    return bool(np.abs(np.asarray(M.gram(x)) - x).max() < 1e-10)
