"""Conjugate integrators: lambda-DDIM, exponential integrators (gDDIM, DEIS), for any process.

One step from t to s < t with the coefficients of ``_exponential``, h = t - s:

    order 1:  z_s = P(t) (I - h B_t) z + E e(z, t)
    order k:  z_s = P(t) z - sum_j c_j P(t_j) B_{t_j} z_j + sum_j E_j e_j,    c_j = int l_j dr,

which is Adams-Bashforth in z_hat = A_t z. B = 0 is an exponential integrator: DDIM and tAB-DEIS for
VP, gDDIM for CLD. With ``eta`` > 0 the linear flow's noise is added, drawn exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import MethodError
from sgmsolve.methods._exponential import Coefficients, Linear, coefficients
from sgmsolve.methods._matrix_function import kind_of_prediction, matrix_function
from sgmsolve.methods.registry import PHASE, register
from sgmsolve.methods.sde_multistep import check_stochasticity
from sgmsolve.methods.stability import GROWTH, warn_if_unstable
from sgmsolve.phi import cholesky
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.affine import Affine
from sgmsolve.plan.builder import gram


def _orders(claims: dict[str, float], options: Any, steps: int) -> dict[str, float]:
    """Adams-Bashforth of order k; with noise weak order 2 at most."""
    found = {"weak": float(min(options["order"], 2))}
    return found if options["eta"] else {"deterministic": float(options["order"]), **found}


def conjugate(
    process: Any,
    grid: Sequence[Any],
    *,
    B: Any = "zero",
    lam: float = 0.5,
    kind: str = "noise",
    factor: str = "lower",
    order: int = 1,
    eta: float = 0.0,
    denoise: bool = False,
) -> Plan:
    """A conjugate integrator; see the module's docstring.

    ``B``: "zero", "identity" (lam I), "ones" (lam times the all-ones matrix), a matrix (m, m) or a
    function of one forward time that returns one; ``lam`` in 1/time, positive damps. ``kind`` is
    the prediction that is frozen or extrapolated over a step ("noise" with the ``factor`` it
    belongs to, "data", "score"), ``order`` 1 to 3 the number of predictions used; order 3 begins
    with an exponential Heun step, which takes one more evaluation.

    Raises: MethodError for other values; ProcessError where the kind does not exist. Warns:
    StabilityWarning, in phase space, for steps that amplify near the prior by more than a tenth.
    """
    check_stochasticity("eta", eta)
    if order not in (1, 2, 3):
        msg = f"order = {order} was given, but conjugate integrators have order 1, 2 or 3."
        raise MethodError(msg)
    matrix = matrix_function(B, lam, process.m)
    predicts = kind_of_prediction(process, kind, factor)

    def to_score(r: Any) -> tuple[Any, Any]:
        return process.conversion(predicts, "score", r)

    weight = (1 + eta**2) / 2

    def spread(r: Any) -> Any:
        return weight * _squared(process.G(r))

    linear = Linear(process.F, spread, to_score, matrix)

    def build(times: Sequence[Any], denoise: bool = False) -> Plan:
        b = PlanBuilder(process, times, predicts=predicts, denoise=denoise, draws="increment")
        _march(b, linear, order, eta)
        return b.plan()

    plan = build(grid, denoise)
    if process.m > 1:
        warn_if_unstable(process, build, grid, "conjugate", growth=GROWTH)
    return plan


def _squared(g: Any) -> Any:
    return g @ np.swapaxes(g, -1, -2)


def _march(b: PlanBuilder, linear: Linear, order: int, eta: float) -> None:
    """All steps; ``past`` holds (t_j, state, prediction, P(t_j) down to s), newest first."""
    found: Coefficients | None = None
    past: list[tuple[Any, Affine, Affine, Any]] = []
    offset = 0
    for n, (t, s) in enumerate(b.steps()):
        if found is None:
            offset = b.times.index(t)
            ends = b.times[offset:]
            if len(ends) > 2 and b.process.has_no_noise(ends[-1]):  # steps() goes there itself
                ends = ends[:-1]
            found = coefficients(linear, ends[:-1], ends[1:])
        e = b.predict(b.z, t)
        past = [(t, b.z, e, found.P[n]), *((*p[:3], found.P[n] @ p[3]) for p in past)][:order]
        z = _step(b, linear, found, n, past)
        if n == 0 and order == 3:
            z = _corrected(b, linear, found, past[0], z, s)
        if eta:
            z = z + _noise(b, found, n, eta)
        b.advance(z)


def _step(b: PlanBuilder, linear: Linear, found: Coefficients, n: int, past: list[Any]) -> Affine:
    """The Adams-Bashforth step on the predictions in ``past``."""
    known = [p[0] for p in past]
    z = _plain(b, past[0][3]) * past[0][1]
    if linear.B is not None:
        for c, (t, state, _, P) in zip(found.spread(n, known), past, strict=True):
            z = z - _plain(b, c * (P @ linear.B(t))) * state
    for E, (_, _, e, _) in zip(found.kick(n, known), past, strict=True):
        z = z + _plain(b, E) * e
    return z


def _corrected(
    b: PlanBuilder, linear: Linear, found: Coefficients, now: Any, z: Affine, s: Any
) -> Affine:
    """Heun's corrector of the first step: the line through the predictions at t and at s."""
    t, state, e, P = now
    ahead = b.predict(z, s)
    corrected = _plain(b, P) * state
    for E, prediction in zip(found.kick(0, [t, s]), (e, ahead), strict=True):
        corrected = corrected + _plain(b, E) * prediction
    if linear.B is not None:
        first, last = found.spread(0, [t, s])
        corrected = corrected - _plain(b, first * (P @ linear.B(t))) * state
        corrected = corrected - _plain(b, last * linear.B(s)) * z
    return corrected


def _noise(b: PlanBuilder, found: Coefficients, n: int, eta: float) -> Affine:
    """The linear flow's own noise over the step."""
    columns = found.columns(n, b.process.G)
    return _plain(b, eta * cholesky(gram(columns))) * b.xi()


def _plain(b: PlanBuilder, block: Any) -> Any:
    return block[0, 0] if b.m == 1 else block


def _add(name: str, summary: str, weak: bool = False, **record: Any) -> None:
    """One record of ``conjugate``; for all processes unless told otherwise."""
    order = record.get("defaults", {}).get("order", 1)
    common: dict[str, Any] = {
        "predicts": record.get("defaults", {}).get("kind", "noise"),
        "orders": {"weak" if weak else "deterministic": order},
        "stochastic": weak,
    }
    register(
        name,
        family="conjugate",
        summary=summary,
        variable="t",
        limits=_orders,
        scalar=False,
        **common,
        **record,
    )(conjugate)


_EI: dict[str, Any] = {"reference": "pandey2024efficient", "weights": ("published",)}
_add(
    "conjugate",
    "Conjugate integrator with B = 0: the exponential integrator; DDIM on VP.",
    equation="Theorem 1, Definition 3.1",
    notes="In Python B also takes a matrix or a function of forward time.",
    **_EI,
)
_add(
    "lambda-ddim-1",
    "lambda-DDIM-I: B = lambda I.",
    equation="section 3.2",
    defaults={"B": "identity"},
    aliases=("lambda-ddim-i",),
    **_EI,
)
_add(
    "lambda-ddim-2",
    "lambda-DDIM-II: B = lambda times the all-ones matrix.",
    equation="section 3.2",
    defaults={"B": "ones"},
    aliases=("lambda-ddim-ii",),
    processes=PHASE,
    **_EI,
)
_GDDIM: dict[str, Any] = {"reference": "zhang2023gddim", "processes": PHASE}
_add(
    "gddim",
    "gDDIM: exponential integrator with the rotation-free factor.",
    equation="Proposition 6",
    defaults={"factor": "rotation-free"},
    notes="Exact on a single data point: that factor makes the noise constant along its flow.",
    **_GDDIM,
)
_add(
    "gddim-2",
    "gDDIM with one remembered prediction (Adams-Bashforth in t).",
    equation="section 4",
    defaults={"factor": "rotation-free", "order": 2},
    **_GDDIM,
)
_add(
    "gddim-3",
    "gDDIM with two remembered predictions (Adams-Bashforth in t).",
    equation="section 4",
    defaults={"factor": "rotation-free", "order": 3},
    notes="Starts with an exponential Heun step (one more evaluation), which order 3 needs.",
    **_GDDIM,
)
_OWN: dict[str, Any] = {"reference": "sgmsolve", "equation": "sgmsolve.methods.conjugate"}
_add(
    "conjugate-sde",
    "Exponential integrator of the reverse SDE for data prediction, exact noise.",
    weak=True,
    defaults={"kind": "data", "eta": 1.0},
    processes=PHASE,
    **_OWN,
)
_add(
    "conjugate-sde-2",
    "The same with one remembered prediction: weak order 2 with one evaluation a step.",
    weak=True,
    defaults={"kind": "data", "eta": 1.0, "order": 2},
    processes=PHASE,
    **_OWN,
)
