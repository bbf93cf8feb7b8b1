"""Files of arrays with a JSON header: one npz, written whole or not at all, that runs no code.

The header names the format, its version and a SHA-256 over itself and the arrays, so that a file
that was cut, changed or made by something else is told apart before anything is done with it. The
same contents always give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve.errors import SgmsolveError


@dataclass(frozen=True)
class Archive:
    """One kind of file.

    Attributes:
        what: what it holds, for sentences ("preconditioner").
        format: the name in its header ("sgmsolve-preconditioner").
        version: the newest version of the format that can be read, and the one written.
        error: the type of every exception raised.
        writer: the call that writes such files, for sentences ("save(path)").
    """

    what: str
    format: str
    version: int
    error: type[SgmsolveError]
    writer: str

    def save(
        self, path: str | os.PathLike[str], header: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> Path:
        """Write and return the path, to which ``.npz`` is appended if missing.

        Raises: ``error`` for a header that JSON cannot hold, or a path that cannot be written.
        """
        target = Path(path)
        if target.suffix != ".npz":
            target = target.with_name(target.name + ".npz")
        try:
            whole = {"format": self.format, "version": self.version, **header}
            whole = dict(json.loads(json_bytes(whole)))
        except (TypeError, ValueError) as error:
            msg = (
                f"this {self.what} cannot be saved: its header must be finite numbers, strings, "
                f"lists and dictionaries ({error}); replace the other values."
            )
            raise self.error(msg) from error
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        whole["checksum"] = checksum(whole, arrays)
        text = np.frombuffer(json_bytes(whole), dtype=np.uint8)
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with open(partial, "xb") as file:
                _write_npz(file, {"header": text, **arrays})
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                partial.unlink(missing_ok=True)
            msg = (
                f"this {self.what} cannot be written to {str(target)!r}: "
                f"{getattr(error, 'strerror', None) or error}; choose a file in a folder that "
                f"exists and can be written."
            )
            raise self.error(msg) from error
        return target

    def load(self, path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The header (without format, version and checksum) and the arrays.

        Raises: ``error`` for no such file, another kind, a newer version, or damage.
        """
        try:
            source = Path(path)
            if not source.exists():
                source = source.with_name(source.name + ".npz")
            content = source.read_bytes()
        except (OSError, ValueError, TypeError) as error:
            msg = (
                f"{self.what} file {str(path)!r} cannot be read: "
                f"{getattr(error, 'strerror', None) or error}; pass a file that {self.writer} "
                f"wrote."
            )
            raise self.error(msg) from error
        # Parsers of foreign bytes raise nearly anything (zipfile alone seven types).
        try:
            arrays = _read_npz(content)
            header = dict(json.loads(arrays.pop("header").tobytes().decode("utf-8")))
            version = header["version"] if header["format"] == self.format else None
        except Exception as error:
            raise self.unreadable(path, f"{type(error).__name__}: {error}") from error
        if not isinstance(version, int):
            raise self.unreadable(path, "its header names another format")
        if version > self.version:
            msg = (
                f"{self.what} file {path} has format version {version}, but this sgmsolve reads "
                f"versions up to {self.version}; upgrade sgmsolve, or save it again with this one."
            )
            raise self.error(msg)
        if header.pop("checksum", None) != checksum(header, arrays):
            raise self.unreadable(path, "its checksum does not match its contents")
        del header["format"], header["version"]
        return header, arrays

    def unreadable(self, path: Any, why: str) -> SgmsolveError:
        """The sentence for a damaged or foreign file, with at most a line of the reason."""
        reason = " ".join(why.split()).rstrip(".")[:160]
        return self.error(
            f"{path} is not a readable {self.what} ({reason}); it is damaged or was not written "
            f"by {self.writer}. Make it again and save it."
        )


def json_bytes(data: dict[str, Any]) -> bytes:
    """JSON of finite numbers, strings, lists, dictionaries and numpy's versions of them."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        msg = f"a value of type {type(value).__name__} among them"
        raise TypeError(msg)

    return json.dumps(data, allow_nan=False, default=plain).encode()


def checksum(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over the header without its checksum and every array with its type and shape."""
    digest = hashlib.sha256(json_bytes(header))
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
