"""Run diffrax; imported on first use."""

from __future__ import annotations

from typing import Any

import diffrax as library
import jax
import jax.numpy as jnp

from sgmsolve.adapters.convert import to_diffrax
from sgmsolve.adapters.run import DIFFRAX, IMPLICIT, AdapterSolution, all_finite, no_steps
from sgmsolve.errors import GridError, MethodError, Status

LARGEST_IMPLICIT = 512


def diffrax(
    name: str, sde: Any, z: tuple[Any, ...], start: float, end: float, options: dict[str, Any]
) -> AdapterSolution:
    """``diffrax.diffeqsolve`` from ``start`` to ``end``."""
    solver = getattr(library, DIFFRAX[name])()
    per_sample = bool(options.get("per_sample", False)) or name in IMPLICIT
    batch, shape = z[0].shape[0], tuple(z[0].shape[1:])
    if name in IMPLICIT:
        _check_size(name, z)
    traced = any(isinstance(x, jax.core.Tracer) for x in z)
    strat = isinstance(solver, library.AbstractStratonovichSolver)
    wrapped = to_diffrax(sde, shape, "stratonovich" if strat else "ito", count=not traced)
    tau = (wrapped.tau(start), wrapped.tau(end))
    controller, first, steps = _stepping(name, wrapped, tau, options)
    most = options.get("max_steps", max(4096, steps + 1))
    more = {k: options[k] for k in ("adjoint",) if k in options} | options.get("options", {})

    def one(y: Any, key: Any) -> Any:
        brownian = options.get("brownian")
        if brownian is None and sde.noise != "none":
            tol = options.get("tol", 2.0**-14 * abs(tau[1] - tau[0]))
            brownian = wrapped.brownian(y, min(tau), max(tau), key, tol)
        terms = wrapped.terms(brownian if sde.noise != "none" else None)
        made = library.diffeqsolve(
            terms,
            solver,
            t0=tau[0],
            t1=tau[1],
            dt0=first,
            y0=y,
            stepsize_controller=controller,
            max_steps=most,
            throw=False,
            **more,
        )
        return tuple(x[-1] for x in made.ys), made.result, made.stats

    seed = options.get("seed", 0)
    key = jax.random.key(seed) if isinstance(seed, int) else seed
    if per_sample:
        out, result, stats = jax.vmap(one)(z, jax.random.split(key, batch))
    else:
        out, result, stats = one(z, key)
    if traced or any(isinstance(x, jax.core.Tracer) for x in out):
        return AdapterSolution(out, None, None, "", dict(stats))
    jax.effects_barrier()
    nfe = wrapped.nfe // batch if per_sample else wrapped.nfe
    done = jnp.all(result == library.RESULTS.successful)
    message = "" if bool(done) else _words(result)
    finite = Status.FINISHED if all_finite(out) else Status.NONFINITE
    return AdapterSolution(out, nfe, finite if bool(done) else Status.UNFINISHED, message, stats)


def _stepping(
    name: str, wrapped: Any, tau: tuple[float, float], options: dict[str, Any]
) -> tuple[Any, Any, int]:
    """(step size controller, first step, number of steps if that is known)."""
    if "controller" in options:
        return options["controller"], options.get("dt"), 0
    sign = 1.0 if tau[1] > tau[0] else -1.0
    if "rtol" in options or "atol" in options:
        if not isinstance(getattr(library, DIFFRAX[name])(), library.AbstractAdaptiveSolver):
            msg = (
                f"diffrax:{name} estimates no error, so that rtol means nothing; give steps or dt."
            )
            raise MethodError(msg)
        missing = [k for k in ("rtol", "atol") if k not in options]
        if missing:
            raise MethodError(f"diffrax:{name} was given no {missing[0]}; give rtol and atol.")
        first = options.get("dt")
        pid = library.PIDController(rtol=options["rtol"], atol=options["atol"])
        return pid, None if first is None else sign * first, 0
    if "grid" in options or "steps" in options:
        if "grid" in options:
            ts = wrapped.tau(jnp.asarray(options["grid"]))
            if float(ts[0]) != tau[0] or float(ts[-1]) != tau[1]:
                msg = (
                    f"the grid runs from {float(options['grid'][0]):g} to "
                    f"{float(options['grid'][-1]):g}, expected t_start to t_end."
                )
                raise GridError(msg)
        else:
            ts = jnp.linspace(*tau, options["steps"] + 1)
        return library.StepTo(ts=ts), None, len(ts)
    if "dt" in options:
        steps = int(abs(tau[1] - tau[0]) / options["dt"]) + 2
        return library.ConstantStepSize(), sign * options["dt"], steps
    raise no_steps(f"diffrax:{name}", "dt, steps, grid or (adaptive solvers) rtol and atol")


def _check_size(name: str, z: tuple[Any, ...]) -> None:
    batch, size = z[0].shape[0], len(z) * z[0][0].size
    if size > LARGEST_IMPLICIT:
        gib = batch * size**2 * z[0].dtype.itemsize / 2**30
        msg = (
            f"diffrax:{name} is implicit and a sample has {size} entries, expected at most "
            f"{LARGEST_IMPLICIT}: its Jacobians for a batch of {batch} need {gib:.3g} GiB; use an "
            f"explicit solver such as diffrax:tsit5."
        )
        raise MethodError(msg)


def _words(result: Any) -> str:
    """What diffrax says about the first sample that failed."""
    names: Any = library.RESULTS
    worst = jnp.argmax(jnp.ravel(result != names.successful))
    return str(names[jax.tree_util.tree_map(lambda code: jnp.ravel(code)[worst], result)])
