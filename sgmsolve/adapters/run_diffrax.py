"""Run diffrax; imported on first use."""

from __future__ import annotations

import functools
from typing import Any

import diffrax as library
import jax
import jax.numpy as jnp
import numpy as np

from sgmsolve.adapters.convert import to_diffrax
from sgmsolve.adapters.run import DIFFRAX, IMPLICIT, AdapterSolution, all_finite, no_steps
from sgmsolve.errors import GridError, MethodError, Status

LARGEST_IMPLICIT = 512


def diffrax(
    name: str, sde: Any, z: tuple[Any, ...], start: float, end: float, options: dict[str, Any]
) -> AdapterSolution:
    """``diffrax.diffeqsolve`` from ``start`` to ``end``."""
    solver = getattr(library, DIFFRAX[name])()
    # Milstein's solvers differentiate the diffusion along every entry of what they take for one
    # state: on a whole batch 342 s instead of 5 for 1000 samples of one entry (measured).
    apart = name in IMPLICIT or ("milstein" in name and options.get("brownian") is None)
    per_sample = bool(options.get("per_sample", apart)) or name in IMPLICIT
    batch, shape = z[0].shape[0], tuple(z[0].shape[1:])
    if name in IMPLICIT:
        _check_size(name, z)
    traced = any(isinstance(x, jax.core.Tracer) for x in z)
    strat = isinstance(solver, library.AbstractStratonovichSolver)
    wrapped = _wrapped(sde, shape, "stratonovich" if strat else "ito", not traced)
    wrapped.nfe = 0
    # diffrax promotes the state to the times' dtype: float64, if these were floats.
    exact = z[0].dtype if z[0].dtype.itemsize >= 4 else jnp.float32
    tau = tuple(np.asarray([wrapped.tau(start), wrapped.tau(end)], exact).tolist())
    controller, first, steps = _stepping(name, wrapped, tau, options, exact)
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
            t0=jnp.asarray(tau[0], exact),
            t1=jnp.asarray(tau[1], exact),
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


@functools.lru_cache(maxsize=64)
def _wrapped(sde: Any, shape: tuple[int, ...], calculus: str, count: bool) -> Any:
    """The terms of an SDE object, kept: diffrax compiles anew for every new function."""
    return to_diffrax(sde, shape, calculus, count=count)


def _stepping(
    name: str, wrapped: Any, tau: tuple[float, float], options: dict[str, Any], exact: Any
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
            ts = wrapped.tau(np.asarray(options["grid"], exact))
            if float(ts[0]) != tau[0] or float(ts[-1]) != tau[1]:
                msg = (
                    f"the grid runs from {float(options['grid'][0]):g} to "
                    f"{float(options['grid'][-1]):g}, expected t_start to t_end."
                )
                raise GridError(msg)
        else:
            ts = np.linspace(*tau, options["steps"] + 1, dtype=exact)
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
