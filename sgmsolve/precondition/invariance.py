"""Whether a place of a preconditioner keeps the marginals of a process, and by how much it misses.

Let J_t = F z p_t - 1/2 G G^T grad p_t be the current that moves p_t, dp_t/dt = -div J_t, and
A = M M^T. Run backwards, the exact split has div J_t on the right-hand side of its Fokker-Planck
equation whatever A and S are, the published drift div(A J_t). So the latter transports p_t if and
only if

    div((A - I) J_t) = 0    for all t,

which holds for A = I and in equilibrium, J_t = 0: there it is Langevin dynamics, and a corrector
may have any M. The plain drift with noise of covariance A has div J_t plus
1/2 div(G G^T (A - I) grad p_t), which does not vanish either.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.phi import sqrtm_psd
from sgmsolve.precondition import bias
from sgmsolve.precondition._checks import host
from sgmsolve.precondition.base import Preconditioner
from sgmsolve.precondition.places import check_place, is_orthogonal
from sgmsolve.process.base import AbstractProcess, ScalarProcess

LARGEST_DENSE = 128


@runtime_checkable
class HasMoments(Protocol):
    """What is needed of a target."""

    def moments(self) -> tuple[Any, Any]:
        """Mean (*shape) and covariance."""


_REASONS = {
    "exact-split": (
        "the score's Langevin half alone carries M M^T, with the noise that belongs to it, and S "
        "adds no divergence: the marginals are those of the process for any M, from its plain prior"
    ),
    "corrector": (
        "p_t is stationary under the Langevin dynamics of a corrector for any invertible M and any "
        "skew S; its steps of size h, which nothing adjusts, cost O(h)"
    ),
    "forward": (
        "it is the exact reversal of dz = M M^T F z dt + G M dw for a network that was trained on "
        "that process; a network of the plain process needs retrained=False here"
    ),
    "published": "div((M M^T - I) J_t) is not 0 for the current J_t that moves p_t",
    "noise": "noise of covariance M M^T comes with the drift that belongs to covariance I",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Invariance:
    """What a place does to the law of the samples, in the limit of small steps.

    Attributes:
        keeps: whether the marginals are kept.
        sentence: why, with the size of the bias where not.
        where: the place.
        gains: eigenvalues a of M M^T that ``ratio`` is for; None if they are not known.
        eigenvalues: the data's variances that ``ratio`` is for, None without any.
        ratio: variance of the samples over that of the process at t = 0. One entry a mode, paired
            with gains and eigenvalues; (gains, eigenvalues) for a table; one an entry of a sample,
            (dim,), where M and the target share no transform. Of the position in phase space.
        shift: error of the mean, shaped like ratio, in the units of the data; None for a table.
        w2: Wasserstein distance per entry, sqrt(W2^2 / dim); None for a table.
    """

    keeps: bool
    sentence: str
    where: str
    gains: np.ndarray | None = None
    eigenvalues: np.ndarray | None = None
    ratio: np.ndarray | None = None
    shift: np.ndarray | None = None
    w2: float | None = None


def invariance(
    process: AbstractProcess,
    preconditioner: Preconditioner | None,
    where: str = "exact-split",
    *,
    skew: Preconditioner | None = None,
    target: Any = None,
    eigenvalues: Any = None,
    eta: float = 1.0,
    retrained: bool = True,
) -> Invariance:
    """Whether a preconditioner at a place keeps the marginals, and the bias where it does not.

    process, preconditioner, where, skew, eta: as for ``ReverseSDE``. retrained: at "forward",
    whether the network was trained on the preconditioned process.

    For the size of the bias, one of
        target: its mean and covariance are taken for a Gaussian's. Mode by mode where M is diagonal
            in the covariance's transform, otherwise dense, up to 128 numbers a state (seconds);
        eigenvalues: variances of the data, positive. As many as M has modes: one a mode, in the
            order of its transform. If M is a number: a spectrum. Otherwise a table over the
            distinct gains of M.

    The run starts at t_max from the prior of the place (see ``ReverseSDE.starting``), with the mean
    that the process has there, and is solved exactly up to 1e-8. Where marginals are kept ratio is
    1: what the plain prior leaves out is not counted.

    Raises: PreconditionError for operators, places, variances and sizes that make no sense;
    AnalysisError where the solution does not settle.
    """
    check_place(preconditioner, where, skew)
    for name, given, kind, wanted in (
        ("process", process, AbstractProcess, "a forward process such as sgmsolve.VP()"),
        ("target", target, HasMoments, "a target with moments()"),
    ):
        if not isinstance(given, kind) and not (name == "target" and given is None):
            msg = f"{name} is a {type(given).__name__}, expected {wanted}; pass one."
            raise PreconditionError(msg)
    if target is not None and eigenvalues is not None:
        raise PreconditionError("target and eigenvalues were both given; give one of them.")
    if isinstance(eta, bool) or not (isinstance(eta, (int, float)) and 0 <= eta < math.inf):
        raise PreconditionError(f"eta = {eta!r}, expected a finite number of at least 0.")
    orthogonal = is_orthogonal(preconditioner)
    keeps = (
        orthogonal or where in ("exact-split", "corrector") or (where == "forward" and retrained)
    )
    gains = _gains(preconditioner)
    why = (
        "M M^T = I" if orthogonal else _REASONS[where if keeps or where == "noise" else "published"]
    )
    told = f"{where!r} {'keeps' if keeps else 'does not keep'} the marginals of {process!r}: {why}"
    told += "" if keeps else _limits(process, where, gains, eta)
    made = Invariance(keeps, f"{told}.", where, None if gains is None else np.unique(gains))
    if target is None and eigenvalues is None:
        return made
    case = bias.Case(process, where, eta)
    if target is not None:
        found = _of_target(case, preconditioner, target, keeps)
    else:
        found = _of_eigenvalues(case, gains, eigenvalues, keeps)
    if not keeps and found.get("w2") is not None:
        told += f"; on this spectrum that is a distance W2 of {found['w2']:.3g} per entry"
    return dataclasses.replace(made, sentence=f"{told}.", **found)


def _of_eigenvalues(case: bias.Case, gains: Any, eigenvalues: Any, keeps: bool) -> dict[str, Any]:
    lam = host(eigenvalues, "eigenvalues").reshape(-1)
    _check_positive(case.process, lam)
    if gains is None:
        msg = (
            "the eigenvalues of the data were given, but M has none in a transform of its own; "
            "pass target, for which dense matrices are made."
        )
        raise PreconditionError(msg)
    if len(gains) == 1 or len(gains) == lam.size:
        return _paired(case, np.broadcast_to(gains, lam.shape), lam, np.zeros(lam.size), keeps)
    a = np.unique(gains)
    shape = (a.size, lam.size)
    ratio = np.ones(shape)
    if not keeps:
        _, v, own = case.per_mode(np.repeat(a, lam.size), np.tile(lam, a.size), moved=False)
        ratio = (v / own).reshape(shape)
    return {"gains": a, "eigenvalues": lam, "ratio": ratio}


def _paired(
    case: bias.Case, a: np.ndarray, lam: np.ndarray, mean: np.ndarray, keeps: bool
) -> dict[str, Any]:
    found = {"gains": a.copy(), "eigenvalues": lam}
    if keeps:
        return {**found, "ratio": np.ones(lam.size), "shift": np.zeros(lam.size), "w2": 0.0}
    carried, v, own = case.per_mode(a, lam, moved=bool(np.any(mean)))
    shift = (carried - 1) * mean
    w2 = math.sqrt(float(np.mean((np.sqrt(v) - np.sqrt(own)) ** 2 + shift**2)))
    return {**found, "ratio": v / own, "shift": shift, "w2": w2}


def _of_target(case: bias.Case, M: Any, target: Any, keeps: bool) -> dict[str, Any]:
    mean, covariance = target.moments()
    shape = tuple(np.shape(mean))
    if M is not None:
        M.check(shape)
    transform, lam = (getattr(covariance, k, None) for k in ("transform", "eigenvalues"))
    scalar = 1.0 if M is None else M.scalar
    if transform is not None and (scalar is not None or _same(M.transform, transform)):
        lam = np.asarray(lam, dtype=np.float64)
        _check_positive(case.process, lam)
        values = np.full(lam.size, scalar) if scalar is not None else M.eigenvalues
        modes = np.asarray(transform.forward(np.asarray(mean)[None]))[0]
        return _paired(case, np.asarray(values) ** 2, lam, modes, keeps)
    dim = math.prod(shape)
    if keeps:
        return {"ratio": np.ones(dim), "shift": np.zeros(dim), "w2": 0.0}
    if dim * case.process.m > LARGEST_DENSE:
        msg = (
            f"M is not diagonal in the transform of the target's covariance, and samples of shape "
            f"{shape} make states of {dim * case.process.m} numbers, expected at most "
            f"{LARGEST_DENSE} for dense matrices; use a smaller image, or eigenvalues."
        )
        raise PreconditionError(msg)
    dense = np.eye(dim) if M is None else M.matrix(shape)
    Lambda = np.asarray(covariance.matrix(), dtype=np.float64)
    _check_positive(case.process, np.linalg.eigvalsh(Lambda))
    X, V, own = (x[0] for x in case.end((dense @ dense.T)[None], Lambda[None]))
    shift = (X - np.eye(dim)) @ np.asarray(mean, dtype=np.float64).reshape(-1)
    root = sqrtm_psd(own)
    cross = np.trace(sqrtm_psd(root @ V @ root))
    square = max(float(np.trace(V) + np.trace(own) - 2 * cross), 0.0) + float(shift @ shift)
    ratio = np.diag(V) / np.diag(own)
    return {"gains": None, "ratio": ratio, "shift": shift, "w2": math.sqrt(square / dim)}


def _gains(M: Preconditioner | None) -> np.ndarray | None:
    """Eigenvalues of M M^T, one entry for multiples of the identity; None if they are not known."""
    if M is None:
        return np.ones(1)
    if M.scalar is not None:
        return np.array([float(M.scalar) ** 2])
    return None if M.eigenvalues is None else np.asarray(M.eigenvalues) ** 2


def _limits(process: AbstractProcess, where: str, gains: Any, eta: float) -> str:
    """The bias of all modes ("noise"), or of those of small variance under one component."""
    if gains is None or eta != 1:
        return ""
    low, high = float(gains.min()), float(gains.max())
    if where == "noise":
        return f"; modes end with the gain in front of their variance, {_span(low, high)}"
    if not isinstance(process, ScalarProcess):
        return ""
    if low <= 0.5:
        return (
            f"; at the gain {low:.4g}, not above 1/2, the variance of a mode that is small against "
            "the noise grows without bound"
        )
    ends = [a / (2 * a - 1) for a in (high, low)]
    return f"; modes of small variance end with a/(2a - 1) of it, {_span(*ends)}"


def _span(low: float, high: float) -> str:
    return f"{low:.4g}" if math.isclose(low, high) else f"{low:.4g} to {high:.4g}"


def _check_positive(process: AbstractProcess, lam: np.ndarray) -> None:
    floor = float(process.covariance(0.0)[0, 0])
    if lam.size == 0 or float(lam.min()) < 0 or float(lam.min()) + floor <= 0:
        msg = (
            f"the smallest variance of the data is {lam.min() if lam.size else None}, expected "
            f"positive ones: at t = 0 {process!r} adds {floor:g}; leave modes without width out."
        )
        raise PreconditionError(msg)


def _same(a: Any, b: Any) -> bool:
    """Whether two transforms have the same modes in the same order, up to sign."""
    if a is None or a.shape != b.shape:
        return False
    x = np.random.default_rng(0).standard_normal((2, *a.shape))
    one, other = (np.abs(np.asarray(f.forward(x))) for f in (a, b))
    return bool(np.abs(one - other).max() < 1e-9)
