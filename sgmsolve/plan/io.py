"""Plan files: one npz with the tables and a JSON header; nothing in it can run code.

The header names the format, its version and a SHA-256 over itself and the arrays, so that a file
that was cut, changed or made by something else is told apart from a plan before anything is run.
The same plan always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve.errors import PlanError
from sgmsolve.plan.plan import DRAW, Node, Plan

FORMAT = "sgmsolve-plan"
VERSION = 1

_TABLES = ("t", "move", "kick", "noise", "prelude_move", "prelude_noise")
_DRAWS = ("draws", "prelude_draws")
_PLAIN = ("name", "process", "predicts", "t_start", "t_end", "orders", "start", "reference")
_FIELDS = (*_PLAIN, "options", "operators", "pathwise", "nodes")


def save(plan: Plan, path: str | os.PathLike[str]) -> Path:
    """Write ``plan`` to ``path`` (``.npz`` is appended if missing) and return the path written.

    The write is atomic: the file is complete or not there. Tables and times are kept bit for bit;
    tuples among the options come back as lists.

    Raises:
        PlanError: tables in mpmath numbers, options that JSON cannot hold, a path that cannot be
            written.
    """
    target = Path(path)
    if target.suffix != ".npz":
        target = target.with_name(target.name + ".npz")
    arrays = _arrays(plan)
    header = _header(plan)
    header["checksum"] = _checksum(header, arrays)
    text = np.frombuffer(_json(header), dtype=np.uint8)
    partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(partial, "xb") as file:
            _write_npz(file, {"header": text, **arrays})
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        msg = (
            f"plan {plan.name!r} cannot be written to {target}: {error.strerror or error}; "
            f"choose a file in a folder that exists and can be written."
        )
        raise PlanError(msg) from error
    return target


def load(path: str | os.PathLike[str]) -> Plan:
    """Read a plan written by ``save``.

    Raises:
        PlanError: no such file, not a plan, damaged, or written in a newer format; the sentence
            says which.
    """
    source = Path(path)
    if not source.exists():
        source = source.with_name(source.name + ".npz")
    try:
        content = source.read_bytes()
    except OSError as error:
        msg = (
            f"plan file {path} cannot be read: {error.strerror or error}; pass a file that "
            f"plan.save(path) wrote."
        )
        raise PlanError(msg) from error
    except ValueError as error:  # a NUL byte in the name
        msg = f"plan file {path!r} cannot be read: {error}; pass a file that plan.save wrote."
        raise PlanError(msg) from error
    # Parsers of foreign bytes raise nearly anything (zipfile alone seven types), hence Exception.
    try:
        members = _read_npz(content)
        header = json.loads(members.pop("header").tobytes().decode("utf-8"))
        version = header["version"] if header["format"] == FORMAT else None
    except Exception as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error
    if not isinstance(version, int):
        raise _unreadable(path, "its header names another format")
    if version > VERSION:
        msg = (
            f"plan file {path} has format version {version}, but this sgmsolve reads versions up "
            f"to {VERSION}; upgrade sgmsolve or save the plan again with this version."
        )
        raise PlanError(msg)
    try:
        if header.pop("checksum") != _checksum(header, members):
            raise _unreadable(path, "its checksum does not match its contents")
        return _plan(header, members)
    except PlanError:
        raise
    except Exception as error:
        raise _unreadable(path, f"{type(error).__name__}: {error}") from error


def _unreadable(path: Any, why: str) -> PlanError:
    """The sentence for a damaged or foreign file, with at most a line of the reason."""
    reason = " ".join(why.split()).rstrip(".")[:160]
    return PlanError(
        f"{path} is not a readable sgmsolve plan ({reason}); it is damaged or was not written by "
        f"plan.save. Build the plan again and save it."
    )


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
        return dict(json.loads(_json({"format": FORMAT, "version": VERSION, **fields})))
    except (TypeError, ValueError) as error:
        msg = (
            f"plan {plan.name!r} cannot be saved: its options, orders and process must be finite "
            f"numbers, strings, lists and dictionaries ({error}); replace the other values."
        )
        raise PlanError(msg) from error


def _json(data: dict[str, Any]) -> bytes:
    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        msg = f"a value of type {type(value).__name__} among them"
        raise TypeError(msg)

    return json.dumps(data, allow_nan=False, default=plain).encode()


def _checksum(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the header without its checksum and every array with its type and shape."""
    digest = hashlib.sha256(_json(header))
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.descr} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _write_npz(file: Any, arrays: dict[str, np.ndarray]) -> None:
    """What ``np.savez_compressed`` writes, without the time of day, so that bytes repeat."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")
            archive.writestr(info, member.getvalue(), compress_type=zipfile.ZIP_DEFLATED)


def _read_npz(content: bytes) -> dict[str, np.ndarray]:
    """All members, each read to its end so that zip's own checksums are compared first."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        raw = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return {
        name: np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        for name, data in raw.items()
    }


def _plan(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Plan:
    """A Plan from checked parts; ``Plan`` itself compares the shapes."""
    dtypes = {**dict.fromkeys(_TABLES, np.dtype("<f8")), **dict.fromkeys(_DRAWS, DRAW)}
    for name, dtype in dtypes.items():
        if arrays[name].dtype != dtype:
            msg = f"its array {name} holds {arrays[name].dtype}, not {dtype}"
            raise TypeError(msg)
    fields: dict[str, Any] = {name: header[name] for name in (*_PLAIN, "options", "pathwise")}
    fields |= {name: arrays[name] for name in dtypes}
    return Plan(
        **fields,
        operators=tuple(header["operators"]),
        nodes=tuple(Node(*node) for node in header["nodes"]),
    )
