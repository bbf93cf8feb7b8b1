"""Log-densities of a model by the instantaneous change of variables along its probability flow.

The flow dz/dt = f(z, t) = F z - 1/2 G G^T score(z, t) carries p_(t_min) to p_(t_max), so

    log p_(t_min)(z) = log p_T(z_T) + int_(t_min)^(t_max) div f(z(t), t) dt,    z(t_min) = z,

(Chen et al. 2018, arXiv:1806.07366, theorem 1; Song et al. 2021, arXiv:2011.13456, eq. 39). What
comes out is the density of the model at t_min, where a little noise is left, and p_T is replaced by
the prior; see ``gaps`` for what both cost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.errors import Status
from sgmsolve.likelihood._checks import (
    check_estimator,
    check_input,
    check_options,
    check_times,
    count_probes,
)
from sgmsolve.likelihood.field import DensityField, State, kept_field
from sgmsolve.likelihood.prior import check_prior, prior_log_density
from sgmsolve.likelihood.probes import Probes, carried, place
from sgmsolve.process.base import AbstractProcess
from sgmsolve.reverse import ProbabilityFlow


@dataclasses.dataclass(frozen=True, eq=False)
class LogDensity:
    """Log-densities, and how each of them was made.

    Attributes:
        log_p: (batch,) nats, ``log_prior + volume``: the model's log-density of z(t_min), the mean
            over the probes; NaN where the solver did not finish.
        log_prior: (batch,) the prior's log-density at ``z_T``.
        volume: (batch,) integral of the divergence.
        z_T: m arrays (batch, *shape), the latent state at ``t_max``.
        standard_error: (batch,) of ``log_p`` from the spread over the probes; None for the exact
            divergence and for a single probe.
        error: (batch,) change of ``log_p`` from a run with ten times the tolerances, an estimate
            of the solver's error; None unless ``estimate_error=True``.
        nfe: (batch,) evaluations of the drift for each sample.
        products: vector-Jacobian products in each of them.
        statuses: (batch,) Status of each sample; ``message`` says what did not finish.
        t_min, t_max, process: what was integrated.
    """

    log_p: Any
    log_prior: Any
    volume: Any
    z_T: State
    standard_error: Any
    error: Any
    nfe: np.ndarray
    products: int
    statuses: tuple[Status, ...]
    message: str
    t_min: float
    t_max: float
    process: AbstractProcess


def log_density(
    process: AbstractProcess,
    model: Any,
    x: Any,
    *,
    t_min: float | None = None,
    t_max: float | None = None,
    divergence: str = "exact",
    probes: int | None = None,
    distribution: str = "rademacher",
    derivative: str = "automatic",
    seed: int = 0,
    indices: Any = None,
    prior: Any = "process",
    method: str = "dopri5",
    rtol: float | None = None,
    atol: float | None = None,
    estimate_error: bool = False,
    **options: Any,
) -> LogDensity:
    """Log-density p_(t_min) of a model at x, by the probability flow run from t_min up to t_max.

    process, model: as for ``ProbabilityFlow``; a model of any kind. It must treat samples apart
        from each other (no batch statistics).
    x: (batch, *shape), or m of them in a tuple; float32 or float64. For m > 1 components the flow
        gives log p(z) of all of them; the density of x alone is not to be had from an ODE.
    t_min, t_max: forward times; default ``process.t_min`` and ``process.t_max``, or the last
        usable time where the data's weight vanishes at ``t_max``.
    divergence: ``"exact"`` (m dim products an evaluation, at most 512), ``"hutchinson"`` or
        ``"hutch++"``; see :mod:`sgmsolve.likelihood.divergence`.
    probes: products an evaluation: 1 by default for Hutchinson; for Hutch++ a multiple of 3
        (default 3), a third of them each for the sketch, its basis and the rest.
    distribution: ``"rademacher"`` (signs) or ``"gaussian"`` probes. They are keyed by ``seed`` and
        the samples' ``indices`` (default 0, 1, ...; jax draws its own) and stay fixed along a
        trajectory, so that the integrand is smooth. Hutch++ keeps its random matrices too, but
        makes the basis Q from the Jacobian anew at every evaluation.
    derivative: ``"automatic"`` is reverse mode of torch or jax; ``"differences"`` are central
        differences of sixth order, six evaluations a product, float64 only: for numpy, and for
        models that cannot be differentiated.
    prior: log p_T: ``"process"`` is N(0, Sigma) of ``process.starting_covariance``,
        ``"standard-normal"`` N(0, I), a target its exact marginal, or a function of z_T (the array
        for m = 1, else the tuple) that returns (batch,).
    method, rtol, atol: an ODE solver of ``sgmsolve.adaptive.solve_adaptive`` and its tolerances,
        3e-7. Every sample has its own steps, and the integral of the divergence is under error
        control with the state. A network in half precision cannot meet this: give 1e-4, say.
    estimate_error: also run with ten times the tolerances, and report the difference.
    options: of the solver: ``h0``, ``h_min``, ``max_steps``, ``controller``, ``norm``, ``steps`` or
        ``grid`` (upwards; no error control), ``compact``, ``jit``, ``progress``, ``on_failure``.

    torch's derivative of the model is first held against differences, on at most eight samples: a
    network under ``torch.no_grad`` would give a wrong divergence without a word.
    A torch result carries a graph only if x requires a gradient.
    Raises: MethodError for unknown names and impossible numbers of probes, GridError for times,
    BackendError for numpy without derivatives, traced arrays and 16-bit states, ModelError for
    shapes, a model of another process or one that cannot be differentiated, ProcessError for an
    unknown prior.
    """
    flow = ProbabilityFlow(process, model)
    z = check_input(process, x)
    start, end = check_times(process, t_min, t_max)
    check_prior(prior)
    check_estimator(divergence, distribution, derivative, z)
    count, products = count_probes(divergence, probes, z)
    drawn = None if count is None else Probes(count, distribution, KeyedNoise(seed).seed)
    if kind_of(z[0]) == "jax":
        field = kept_field(flow, divergence, derivative, drawn)
    else:
        drawn = None if drawn is None else drawn.drawn(z, indices)
        torch_s = kind_of(z[0]) == "torch" and derivative == "automatic"
        doubtful = (math.sqrt(start * end), end) if torch_s else ()
        field = DensityField(flow, divergence, derivative, drawn, doubtful)
    tolerances = check_options(options, rtol, atol, estimate_error)
    values = 1 if count is None else (count if divergence == "hutchinson" else count // 2)

    xp, x0 = array_namespace(z[0]), z[0]
    begin = (*z, xp.zeros((x0.shape[0], values), dtype=x0.dtype, **place(x0)))
    if drawn is not None:
        begin = (*begin, carried(z, seed, indices))

    def run(control: dict[str, Any]) -> Any:
        from sgmsolve.adaptive import solve_adaptive

        return solve_adaptive(method, field, begin, start, end, **control, **options)

    def read(solution: Any) -> tuple[Any, Any, Any]:
        each = solution.z[flow.m]
        last = prior_log_density(prior, process, tuple(solution.z[: flow.m]), end)
        done = xp.asarray(solution.finished, **place(x0))
        volume = xp.mean(each, axis=1)
        return xp.where(done, last + volume, xp.full_like(volume, math.nan)), last, each

    with _graph(z):
        solution, error = run(tolerances), None
        log_p, log_prior, each = read(solution)
        if estimate_error:
            loose = run({name: tenfold(value) for name, value in tolerances.items()})
            error = abs(log_p - read(loose)[0])
    spread = None
    if values > 1:
        spread = xp.std(each, axis=1, correction=1) / math.sqrt(values)
    return LogDensity(
        log_p,
        log_prior,
        xp.mean(each, axis=1),
        tuple(solution.z[: flow.m]),
        spread,
        error,
        solution.nfe,
        products,
        solution.statuses,
        solution.message,
        start,
        end,
        process,
    )


def _graph(z: State) -> Any:
    """No graph of a torch run that nobody asked a gradient of."""
    if kind_of(z[0]) == "torch" and not any(x.requires_grad for x in z):
        return sys.modules["torch"].no_grad()
    return contextlib.nullcontext()


def tenfold(tolerance: Any) -> Any:
    """Ten times a tolerance, or each of several."""
    if isinstance(tolerance, (tuple, list)):
        return tuple(10 * value for value in tolerance)
    return 10 * tolerance
