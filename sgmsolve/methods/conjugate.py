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


@register(
    "conjugate",
    family="conjugate",
    summary="Conjugate integrator with B = 0: the exponential integrator; DDIM on VP.",
    predicts="noise",
    variable="t",
    orders={"deterministic": 1},
    limits=_orders,
    weights=("published",),
    scalar=False,
    reference="pandey2024efficient",
    equation="Theorem 1, Definition 3.1",
    notes="In Python B also takes a matrix or a function of forward time.",
)
@register(
    "lambda-ddim-1",
    family="conjugate",
    summary="lambda-DDIM-I: B = lambda I.",
    predicts="noise",
    variable="t",
    orders={"deterministic": 1},
    limits=_orders,
    weights=("published",),
    scalar=False,
    defaults={"B": "identity"},
    reference="pandey2024efficient",
    equation="section 3.2",
    aliases=("lambda-ddim-i",),
)
@register(
    "lambda-ddim-2",
    family="conjugate",
    summary="lambda-DDIM-II: B = lambda times the all-ones matrix.",
    predicts="noise",
    variable="t",
    orders={"deterministic": 1},
    limits=_orders,
    weights=("published",),
    processes=PHASE,
    scalar=False,
    defaults={"B": "ones"},
    reference="pandey2024efficient",
    equation="section 3.2",
    aliases=("lambda-ddim-ii",),
)
@register(
    "gddim",
    family="conjugate",
    summary="gDDIM: exponential integrator with the rotation-free factor.",
    predicts="noise",
    variable="t",
    orders={"deterministic": 1},
    limits=_orders,
    processes=PHASE,
    scalar=False,
    defaults={"factor": "rotation-free"},
    reference="zhang2023gddim",
    equation="Proposition 6",
    notes="Exact on a single data point: that factor makes the noise constant along its flow.",
)
@register(
    "gddim-2",
    family="conjugate",
    summary="gDDIM with one remembered prediction (Adams-Bashforth in t).",
    predicts="noise",
    variable="t",
    orders={"deterministic": 2},
    limits=_orders,
    processes=PHASE,
    scalar=False,
    defaults={"factor": "rotation-free", "order": 2},
    reference="zhang2023gddim",
    equation="section 4",
)
@register(
    "gddim-3",
    family="conjugate",
    summary="gDDIM with two remembered predictions (Adams-Bashforth in t).",
    predicts="noise",
    variable="t",
    orders={"deterministic": 3},
    limits=_orders,
    processes=PHASE,
    scalar=False,
    defaults={"factor": "rotation-free", "order": 3},
    reference="zhang2023gddim",
    equation="section 4",
    notes="Starts with an exponential Heun step (one more evaluation), which order 3 needs.",
)
@register(
    "conjugate-sde",
    family="conjugate",
    summary="Exponential integrator of the reverse SDE for data prediction, exact noise.",
    predicts="data",
    variable="t",
    orders={"weak": 1},
    limits=_orders,
    stochastic=True,
    processes=PHASE,
    scalar=False,
    defaults={"kind": "data", "eta": 1.0},
    reference="sgmsolve",
    equation="sgmsolve.methods.conjugate",
)
@register(
    "conjugate-sde-2",
    family="conjugate",
    summary="The same with one remembered prediction: weak order 2 with one evaluation a step.",
    predicts="data",
    variable="t",
    orders={"weak": 2},
    limits=_orders,
    stochastic=True,
    processes=PHASE,
    scalar=False,
    defaults={"kind": "data", "eta": 1.0, "order": 2},
    reference="sgmsolve",
    equation="sgmsolve.methods.conjugate",
)
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
