"""Run torchsde and torchdiffeq; imported on first use."""

from __future__ import annotations

from typing import Any

import torch

from sgmsolve.adapters.convert import to_torchdiffeq, to_torchsde
from sgmsolve.adapters.run import ADAPTIVE, AdapterSolution, all_finite, no_steps
from sgmsolve.errors import BackendError, GridError, Status

ITO = ("euler", "srk")
AREAS = {"srk": "space-time", "log_ode": "foster"}


def torchsde(
    name: str, sde: Any, z: tuple[Any, ...], start: float, end: float, options: dict[str, Any]
) -> AdapterSolution:
    """``torchsde.sdeint`` from ``start`` to ``end``."""
    import torchsde as library

    given = dict(options)
    calculus = "ito" if name in ITO else sde.calculus if name == "milstein" else "stratonovich"
    wrapped = to_torchsde(sde, z[0].shape[1:], calculus)
    y, tau = wrapped.flatten(z), (wrapped.tau(start), wrapped.tau(end))
    steps, seed, bm = given.pop("steps", None), given.pop("seed", 0), given.pop("bm", None)
    if steps is not None:
        # A hair more than the quotient: rounding must not leave a last step of 1e-17.
        given["dt"] = (tau[1] - tau[0]) / steps * (1 + 1e-12)
    if "dt" not in given:
        raise no_steps(f"torchsde:{name}", "dt or steps (with adaptive=True, a first dt)")
    if bm is None:
        bm = wrapped.brownian(y, *tau, AREAS.get(name, "none"), seed)
    else:
        _check_cover(bm, tau)
    ts = torch.tensor(tau, dtype=torch.float64, device=y.device)
    out = library.sdeint(wrapped, y, ts, bm=bm, method=name, **given)[-1]
    if not (y.requires_grad or any(p.requires_grad for p in wrapped.parameters())):
        out = out.detach()  # milstein differentiates the diffusion and leaves its graph behind
    return _solution(wrapped, out, "")


def torchdiffeq(
    name: str, flow: Any, z: tuple[Any, ...], start: float, end: float, options: dict[str, Any]
) -> AdapterSolution:
    """``torchdiffeq.odeint`` from ``start`` to ``end``."""
    import torchdiffeq as library

    given = dict(options)
    wrapped = to_torchdiffeq(flow, z[0].shape[1:])
    y, times = wrapped.flatten(z), [start, end]
    if "steps" in given:
        times = torch.linspace(start, end, given.pop("steps") + 1, dtype=torch.float64).tolist()
    elif "grid" in given:
        times = [float(t) for t in given.pop("grid")]
        if times[0] != start or times[-1] != end:
            msg = (
                f"the grid runs from {times[0]:g} to {times[-1]:g}, expected {start:g} to {end:g}."
            )
            raise GridError(msg)
    elif "dt" in given:
        given["options"] = {**given.get("options", {}), "step_size": given.pop("dt")}
    elif name not in ADAPTIVE and "step_size" not in (given.get("options") or {}):
        raise no_steps(f"torchdiffeq:{name}", "dt, steps or grid")
    ts = torch.tensor([wrapped.tau(t) for t in times], dtype=torch.float64, device=y.device)
    if name in ADAPTIVE:
        # Left alone, torchdiffeq steps over the end and interpolates: out of the times of the
        # process, or to t < 0, where there is no score.
        given["options"] = {"step_t": ts[-1:], **(given.get("options") or {})}
    try:
        out = library.odeint(wrapped, y, ts, method=name, **given)[-1]
    except AssertionError as error:  # how torchdiffeq reports a step size that vanished
        words = str(error) or "an assertion of torchdiffeq failed"
        return AdapterSolution(z, wrapped.nfe, Status.UNFINISHED, words)
    return _solution(wrapped, out, "")


def _check_cover(bm: Any, tau: tuple[float, float]) -> None:
    """BackendError for a path that ends before the run: torchsde only warns, and returns zeros."""
    low, high = float(getattr(bm, "_start", tau[0])), float(getattr(bm, "_end", tau[1]))
    if low <= tau[0] and tau[1] <= high:
        return
    msg = (
        f"the Brownian path covers [{low:g}, {high:g}] of its own time, but "
        f"the run needs [{tau[0]:g}, {tau[1]:g}]; make it longer."
    )
    raise BackendError(msg)


def _solution(wrapped: Any, out: Any, message: str) -> AdapterSolution:
    z = wrapped.unflatten(out)
    status = Status.FINISHED if all_finite(z) else Status.NONFINITE
    return AdapterSolution(z, wrapped.nfe, status, message)
