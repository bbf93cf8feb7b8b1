"""Stopping in mid-trajectory and going on: bitwise the run that was not interrupted."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from executor_cases import (
    BACKENDS,
    GRID,
    PROCESS,
    Smooth,
    bashforth,
    euler,
    heun,
    to_backend,
    to_host,
)

from sgmsolve import State, Status, solve, steps
from sgmsolve.errors import BackendError

Z = np.random.default_rng(1).standard_normal((4, 3))
PLANS = {
    "euler": euler(PROCESS, GRID, 0.6),
    "heun": heun(PROCESS, GRID),
    "bashforth": bashforth(PROCESS, GRID),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PLANS)
def test_stop_and_resume(name: str, backend: str, tmp_path: Path) -> None:
    """From any row, also through a file: bitwise the uninterrupted run."""
    plan, z = PLANS[name], to_backend(Z, backend)
    whole = [to_host(s.x) for s in steps(plan, Smooth(), z, seed=7)]
    for stop in (0, 3):
        stopped = solve(plan, Smooth(), z, seed=7, callback=lambda s, stop=stop: s.row == stop)
        assert stopped.status is Status.STOPPED
        assert stopped.nfe == stop + 1
        assert stopped.state is not None
        stopped.state.save(tmp_path / f"{stop}.npz")
        state = State.load(tmp_path / f"{stop}.npz")
        rest = [to_host(s.x) for s in steps(plan, Smooth(), z, seed=7, resume=state)]
        assert len(rest) == plan.rows - stop - 1
        assert all((a == b).all() for a, b in zip(rest, whole[stop + 1 :], strict=True))
        ended = solve(plan, Smooth(), z, seed=7, resume=stopped.state)
        assert ended.nfe == plan.nfe
        assert ended.status is Status.FINISHED
        assert np.abs(to_host(ended.x) - whole[-1]).max() <= 1e-14 * np.abs(whole[-1]).max()


def test_resuming_something_else_is_a_sentence(tmp_path: Path) -> None:
    stopped = solve(PLANS["euler"], Smooth(), Z, seed=7, callback=lambda s: True)
    with pytest.raises(BackendError, match=r"another noise \(seed 7, .*seed 8"):
        solve(PLANS["euler"], Smooth(), None, seed=8, resume=stopped.state)
    with pytest.raises(BackendError, match="another plan"):
        solve(euler(PROCESS, GRID, 0.61), Smooth(), None, seed=7, resume=stopped.state)
    with pytest.raises(BackendError, match=r"shape \(4, 3\), but z has shape \(4, 2\)"):
        solve(PLANS["euler"], Smooth(), Z[:, :2], seed=7, resume=stopped.state)
    (tmp_path / "no.npz").write_bytes(b"PK\x03\x04 nothing")
    for path in (tmp_path / "no.npz", tmp_path / "absent.npz"):
        with pytest.raises(BackendError, match="holds no state of a run"):
            State.load(path)


def test_a_damaged_state_is_a_sentence() -> None:
    state = solve(PLANS["heun"], Smooth(), Z, callback=lambda s: True).state
    assert state is not None
    for changes in ({"registers": state.registers[:1]}, {"row": 17}, {"history": (Z,) * 3}):
        with pytest.raises(BackendError, match="it is damaged"):
            solve(PLANS["heun"], Smooth(), Z, resume=dataclasses.replace(state, **changes))
