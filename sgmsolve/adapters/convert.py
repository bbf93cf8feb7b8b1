"""Wrap an SDE or ODE for another library; that library is imported here and not before."""

from __future__ import annotations

from typing import Any

from sgmsolve.adapters._common import check_sde, need
from sgmsolve.errors import ModelError
from sgmsolve.reverse._checks import check_calculus


def to_torchsde(sde: Any, shape: tuple[int, ...], calculus: str | None = None) -> Any:
    """An object for ``torchsde.sdeint``: ``noise_type``, ``sde_type``, ``f``, ``g_prod``, ``nfe``.

    A state of m arrays (batch, *shape) is a row (batch, m n): ``.flatten(z)``, ``.unflatten(y)``.
    torchsde's time is ``.tau(t)``, -t for a reverse SDE. With additive noise pass
    ``bm=.brownian(y, tau0, tau1)``: no matrix of (m n)^2 entries is ever made. ``.nfe`` counts
    every evaluation of the drift, the one that sdeint makes to look at shapes included.

    sde: a ReverseSDE (eta > 0), ForwardSDE or GeneralSDE. calculus: "ito" or "stratonovich", which
    the method must share; None: the SDE's own.

    Raises: BackendError without torchsde and for a jax model; ModelError for an ODE.
    """
    need("torchsde")
    check_sde(sde, "torchsde")
    from sgmsolve.adapters.to_torch import make_sde

    return make_sde(sde, shape, None if calculus is None else check_calculus(calculus))


def to_torchdiffeq(flow: Any, shape: tuple[int, ...]) -> Any:
    """A module for ``torchdiffeq.odeint``: called as ``(tau, y)`` on rows (batch, m n).

    Time, ``.flatten``, ``.unflatten`` and ``.nfe`` as in :func:`to_torchsde`. The network is a
    submodule, so that ``odeint_adjoint`` finds its parameters. Adaptive solvers of torchdiffeq step
    over the last time and interpolate; pass ``options={"step_t": ts[-1:]}`` where there is nothing
    beyond it (t_max; t = 0).

    Raises: BackendError without torchdiffeq and for a jax model; ModelError for an SDE with noise.
    """
    need("torchdiffeq")
    check_sde(flow, "torchdiffeq")
    if flow.noise != "none":
        msg = (
            f"a {type(flow).__name__} with noise was given to torchdiffeq, which solves ODEs; use "
            f"to_torchsde, or ProbabilityFlow(process, model)."
        )
        raise ModelError(msg)
    from sgmsolve.adapters.to_torch import TorchFlow

    return TorchFlow(flow, shape)


def to_diffrax(
    sde: Any, shape: tuple[int, ...], calculus: str | None = None, *, count: bool = True
) -> Any:
    """Terms for ``diffrax.diffeqsolve``: ``.terms(brownian)``, ``.brownian(...)``, ``.nfe``.

    The state y is the tuple of m arrays, (batch, *shape), or (*shape) under ``jax.vmap``. diffrax's
    time is ``.tau(t)``, -t for a reverse SDE. ``calculus`` as in :func:`to_torchsde`; ``count``:
    whether ``.nfe`` counts evaluations, which puts a host callback into the compiled program.

    Raises: BackendError without diffrax and for a torch model.
    """
    need("diffrax")
    check_sde(sde, "diffrax")
    from sgmsolve.adapters.to_jax import DiffraxTerms

    chosen = sde.calculus if calculus is None else check_calculus(calculus)
    return DiffraxTerms(sde, shape, chosen, count)


def plan_solver(plan: Any) -> Any:
    """A plan as a ``diffrax.AbstractSolver``, for SaveAt, adjoints and progress meters.

        solver = plan_solver(plan)
        solution = diffrax.diffeqsolve(**solver.arguments(model, z, seed=0), saveat=...)

    ``solver.arguments`` gives the terms, the times and the controller; in parts,
    ``solver.terms(model, z, seed=0)`` and ``diffrax.StepTo(ts=solver.times)``. The result is that
    of ``sgmsolve.solve`` with the same noise, after ``plan.nfe`` evaluations.

    One step of diffrax is one grid step of the plan, with all its evaluations. ``SaveAt`` with
    ``steps``, or ``ts`` at grid points, gives what the plan holds there (a predictor-corrector its
    predictor); between grid points diffrax interpolates linearly. Times are -t; forward times
    will do as well, with t0 > t1.
    The state y is the tuple of m arrays (batch, *shape). Gradients by RecursiveCheckpointAdjoint
    and DirectAdjoint; a model that is an equinox module lends its arrays to ``terms``.

    Raises: BackendError without diffrax and for a plan that goes back to earlier times (restart).
    """
    need("diffrax")
    from sgmsolve.adapters.diffrax_plan import make_solver

    return make_solver(plan)
