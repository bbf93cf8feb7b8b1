"""Plan files: one npz with the tables and a JSON header; nothing in it can run code.

See :mod:`sgmsolve._archive` for what the header guards against. The same plan always gives the same
bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve._archive import Archive, json_bytes
from sgmsolve.errors import PlanError, PreconditionError
from sgmsolve.plan.frame import Frame
from sgmsolve.plan.parts import TABLES, Part
from sgmsolve.plan.plan import DRAW, Node, Plan

FILE = Archive("sgmsolve plan", "sgmsolve-plan", 2, PlanError, "plan.save(path)")
"""Version 2 adds operators, frames and trailing axes; a plan without them is written as 1."""

_TABLES = ("t", "move", "kick", "noise", "prelude_move", "prelude_noise")
_DRAWS = ("draws", "prelude_draws")
_PLAIN = ("name", "process", "predicts", "t_start", "t_end", "orders", "start", "reference")
_FIELDS = (*_PLAIN, "options", "operators", "pathwise", "nodes")
_FRAME = "frame_"


def save(plan: Plan, path: str | os.PathLike[str]) -> Path:
    """Write ``plan`` to ``path`` (``.npz`` is appended if missing) and return the path written.

    The write is atomic: the file is complete or not there. Tables and times are kept bit for bit;
    tuples among the options come back as lists.

    Raises:
        PlanError: tables in mpmath numbers, options that JSON cannot hold, operators of a class of
            your own, a path that cannot be written.
    """
    arrays, header = _arrays(plan), _header(plan)
    if not plan.plain:
        extra, more = _extended(plan)
        header, arrays = {**header, **extra, "version": FILE.version}, {**arrays, **more}
    return FILE.save(path, header, arrays)


def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan written by ``save``.

    Raises:
        PlanError: no such file, not a plan, damaged, or written in a newer format; the sentence
            says which.
    """
    header, arrays = FILE.load(path)
    try:
        return _plan(header, arrays)
    except PlanError:
        raise
    except Exception as error:
        raise FILE.unreadable(path, f"{type(error).__name__}: {error}") from error


def _arrays(plan: Plan) -> dict[str, np.ndarray]:
    """The plan's tables in the types the file holds."""
    for name in _TABLES:
        if getattr(plan, name).dtype != np.float64:
            msg = (
                f"plan {plan.name!r} cannot be saved: {name} holds {getattr(plan, name).dtype} "
                f"entries (mpmath numbers?), but plan files hold float64; build the plan on a "
                f"grid of floats."
            )
            raise PlanError(msg)
    tables = {n: np.ascontiguousarray(getattr(plan, n), dtype="<f8") for n in _TABLES}
    return {**tables, **{n: np.ascontiguousarray(getattr(plan, n), dtype=DRAW) for n in _DRAWS}}


def _header(plan: Plan) -> dict[str, Any]:
    """Everything that is not an array, as JSON data (checked)."""
    fields = {name: getattr(plan, name) for name in _FIELDS}
    fields["nodes"] = [[n.time, n.boundary, n.register] for n in plan.nodes]
    try:
        json_bytes(fields)
        return {**fields, "version": 1}
    except (TypeError, ValueError) as error:
        msg = (
            f"plan {plan.name!r} cannot be saved: its options, orders and process must be finite "
            f"numbers, strings, lists and dictionaries ({error}); replace the other values."
        )
        raise PlanError(msg) from error


def _extended(plan: Plan) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of operators and of the frame."""
    from sgmsolve.precondition import Spectral

    header: dict[str, Any] = {"parts": [list(p.word) for p in plan.parts], "operands": {}}
    arrays = {
        f"part{i}_{name}": np.ascontiguousarray(getattr(part, name), dtype="<f8")
        for i, part in enumerate(plan.parts)
        for name in TABLES
    }
    for letter, operator in plan.operands.items():
        header["operands"][letter], own = _operator(plan, operator)
        arrays |= {f"operand_{letter}_{name}": array for name, array in own.items()}
    if plan.ends is not None:
        arrays["ends"] = np.ascontiguousarray(plan.ends, dtype="<f8")
    if plan.frame is not None:
        frame = plan.frame
        header["frame"], own = _operator(plan, Spectral(frame.transform, frame.eigenvalues))
        header["nodes_of_frame"] = frame.nodes
        arrays |= {_FRAME + name: array for name, array in own.items()}
        arrays["mean_of_frame"] = np.broadcast_to(frame.mean, frame.shape).astype("<f8")
    return header, arrays


def _operator(plan: Plan, operator: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from sgmsolve.precondition.io import to_arrays

    try:
        return to_arrays(operator)
    except PreconditionError as error:
        raise PlanError(f"plan {plan.name!r} cannot be saved: {error}") from error


def _restored(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The fields of Plan that ``_extended`` wrote."""
    from sgmsolve.precondition.io import from_arrays

    def under(start: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(start): a for k, a in arrays.items() if k.startswith(start)}

    parts = [
        Part(tuple(word), *(arrays[f"part{i}_{name}"] for name in TABLES))
        for i, word in enumerate(header["parts"])
    ]
    operands = {
        letter: from_arrays(own, under(f"operand_{letter}_"))
        for letter, own in header["operands"].items()
    }
    frame = None
    if "frame" in header:
        fit = from_arrays(header["frame"], under(_FRAME))
        mean = arrays["mean_of_frame"]
        assert fit.transform is not None
        frame = Frame(fit.transform, fit.eigenvalues, mean, header["nodes_of_frame"])
    more = {"frame": frame, "ends": arrays.get("ends")}
    return {"parts": tuple(parts), "operands": operands, **more}


def _plan(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Plan:
    """A Plan from checked parts; ``Plan`` itself compares the shapes."""
    dtypes = {**dict.fromkeys(_TABLES, np.dtype("<f8")), **dict.fromkeys(_DRAWS, DRAW)}
    for name, dtype in dtypes.items():
        if arrays[name].dtype != dtype:
            msg = f"its array {name} holds {arrays[name].dtype}, not {dtype}"
            raise TypeError(msg)
    fields: dict[str, Any] = {name: header[name] for name in (*_PLAIN, "options", "pathwise")}
    fields |= {name: arrays[name] for name in dtypes}
    fields |= _restored(header, arrays) if "parts" in header else {}
    return Plan(
        **fields,
        nodes=tuple(Node(*node) for node in header["nodes"]),
    )
