"""What a run hands out: intermediates, a state to go on from, the solution."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve._array import kind_of
from sgmsolve.errors import BackendError, Status
from sgmsolve.plan import Plan


@dataclass(frozen=True, eq=False)
class State:
    """Everything a run needs to go on: bitwise the same result as without the interruption.

    (jax compiles rows driven by the host and rows inside a scan separately, and may round them
    differently: bitwise holds between ``steps`` and ``steps``; against a scan, to rounding.)

    Attributes:
        row: rows done; the next one to run.
        registers: k m arrays.
        history: (K - 1) p arrays, predictions newest first.
        plan_key: digest of the plan's tables.
        noise: identity of the noise source.
        nfe: evaluations so far, those of ``between`` included.
    """

    row: int
    registers: tuple[Any, ...]
    history: tuple[Any, ...]
    plan_key: str
    noise: str
    nfe: int

    def save(self, path: Any) -> None:
        """Write a plain npz (no pickle). bfloat16 arrays are stored as float32, which is exact."""
        header: dict[str, Any] = {
            "row": self.row,
            "plan": self.plan_key,
            "noise": self.noise,
            "nfe": self.nfe,
        }
        header |= {"register": len(self.registers), "history": len(self.history)}
        arrays: dict[str, Any] = {f"register{i}": _host(a) for i, a in enumerate(self.registers)}
        arrays |= {f"history{i}": _host(a) for i, a in enumerate(self.history)}
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        with Path(path).open("wb") as file:
            np.savez(file, header=text, **arrays)

    @staticmethod
    def load(path: Any) -> State:
        """Read a state written by ``save``, as numpy arrays; BackendError for anything else."""
        try:
            with Path(path).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                found = {
                    kind: tuple(file[f"{kind}{i}"] for i in range(int(header[kind])))
                    for kind in ("register", "history")
                }
            return State(
                row=int(header["row"]),
                registers=found["register"],
                history=found["history"],
                plan_key=str(header["plan"]),
                noise=str(header["noise"]),
                nfe=int(header["nfe"]),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            msg = f"{path} holds no state of a run ({error}); write one with state.save(path)."
            raise BackendError(msg) from error


@dataclass(frozen=True, eq=False)
class Step:
    """The moment after a row.

    Attributes:
        row: the row just run (0-based).
        t: forward time that ``z`` belongs to: the next evaluation's, or ``plan.t_end``.
        z: the first register, m arrays: where the next evaluation happens (a stage, in multi-stage
            plans: ``plan.nodes`` says which boundaries hold the solution).
        registers: all k m register arrays.
        prediction: the p arrays of this row, in the plan's kind.
        nfe: evaluations so far.
        state: go on from here with ``solve(..., resume=step.state)``.
    """

    row: int
    t: float
    z: tuple[Any, ...]
    registers: tuple[Any, ...]
    prediction: tuple[Any, ...]
    nfe: int
    state: State = field(repr=False)

    @property
    def x(self) -> Any:
        """The data component of ``z``."""
        return self.z[0]


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a run.

    Attributes:
        z: m arrays at time ``plan.t_end`` (or, for a stopped run, the first register).
        nfe: evaluations made, those of ``between`` included.
        status: how the run ended.
        plan: the plan.
        nonfinite_row, nonfinite_time: first row whose prediction was not finite, and its time; the
            number of rows and ``t_end`` if only the result is not finite; None if all was finite.
        state: where to go on from, unless the run is finished.
        flags: under jax, and wherever the run is being traced, the finite flag of every row and of
            the result, as an array (rows + 1,).
    """

    z: tuple[Any, ...]
    nfe: int
    status: Status
    plan: Plan
    nonfinite_row: int | None = None
    nonfinite_time: float | None = None
    state: State | None = None
    flags: Any = None

    @property
    def x(self) -> Any:
        """The data component, ``z[0]``."""
        return self.z[0]


def _host(array: Any) -> np.ndarray:
    if kind_of(array) == "torch":
        array = array.detach().cpu()
        if array.dtype.itemsize == 2:
            array = array.float()
    elif kind_of(array) == "jax" and array.dtype.name == "bfloat16":
        array = array.astype("float32")
    return np.asarray(array)
