"""A file of samples written shard by shard: killed at any point, it goes on to identical bytes.

While it is being made, ``FILE.npz`` is a folder ``FILE.npz.parts`` with ``settings.json`` and one
``.npy`` a shard, each complete or not there. When the last shard is done they are joined into
``FILE.npz`` and the folder is removed. The file holds ``x`` (n, *shape) and ``settings``, a JSON
text; it has no time stamps, so the same settings give the same bytes.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from sgmsolve.cli.common import CommandError, check_folder


class Shards:
    """The shards of one file: ``settings`` fix the samples, ``batch`` samples make a shard.

    Raises: CommandError if the file is there already, or an unfinished one that ``resume`` does not
    continue or that was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.settings = json.dumps(settings, sort_keys=True)
        self.n, self.batch = int(settings["n"]), int(settings["batch"])
        self.shape = tuple(settings["shape"])
        self.folder = path.with_name(path.name + ".parts")
        self.finished = False
        name = click.format_filename(path)
        if path.exists() or path.is_symlink():
            if not (resume and _settings_of(path) == self.settings):
                msg = f"{name} exists and is never overwritten; name another file or remove it."
                if resume:
                    msg = f"{name} was not made with these arguments and is never overwritten; " + (
                        "give the same arguments, name another file or remove it."
                    )
                raise CommandError(msg)
            self.finished = True
            return
        check_folder(path.parent)
        if self.folder.exists():
            self._continue(name, resume)
            return
        self._check_space(name)
        check_folder(self.folder)
        self._write(self.folder / "settings.json", self.settings.encode())

    def _continue(self, name: str, resume: bool) -> None:
        parts = click.format_filename(self.folder)
        if not resume:
            msg = (
                f"an unfinished run of {name} is in {parts}; pass --resume to go on, or remove it."
            )
            raise CommandError(msg)
        record = self.folder / "settings.json"
        if not record.exists():  # killed before anything was done
            self._write(record, self.settings.encode())
            return
        try:
            begun = json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            begun = {}
        wanted = json.loads(self.settings)
        other = sorted(k for k in {*begun, *wanted} if begun.get(k) != wanted.get(k))
        if other:
            key = other[0]
            msg = (
                f"the unfinished run in {parts} has {key} = {begun.get(key)!r}, but "
                f"{wanted.get(key)!r} was given; give the same arguments, or remove the folder."
            )
            raise CommandError(msg)

    def _check_space(self, name: str) -> None:
        """Shards and the joined file are on the disk together for a moment."""
        needed = 2 * 8 * self.n * math.prod(self.shape)
        free = shutil.disk_usage(self.path.parent).free
        if needed > free:
            msg = (
                f"{name} would take {needed / 1e9:.3g} GB while it is made, but its disk has "
                f"{free / 1e9:.3g} GB free; ask for fewer samples with --n, or name another disk."
            )
            raise CommandError(msg)

    @property
    def count(self) -> int:
        """Number of shards."""
        return -(-self.n // self.batch)

    def indices(self, i: int) -> range:
        """Sample indices of shard i."""
        return range(i * self.batch, min(self.n, (i + 1) * self.batch))

    def missing(self) -> Iterator[int]:
        """Shards that are still to be made, found one at a time; damaged ones count."""
        numbers = range(0 if self.finished else self.count)
        return (i for i in numbers if self._read(i) is None)

    def add(self, i: int, x: np.ndarray) -> None:
        """Store shard i."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(x, dtype=np.float64), allow_pickle=False)
        self._write(self._part(i), buffer.getvalue())

    def forget(self) -> None:
        """Remove the folder if it holds no shard: nothing is left of a run that was refused."""
        if [p.name for p in self.folder.iterdir()] == ["settings.json"]:
            shutil.rmtree(self.folder)

    def join(self) -> None:
        """Make the file of all shards, without holding more than one in memory."""
        if self.finished:
            return
        partial = self.folder / "joined.npz"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("x.npy", "w", force_zip64=True) as entry:
                header = {"descr": "<f8", "fortran_order": False, "shape": (self.n, *self.shape)}
                np.lib.format.write_array_header_1_0(entry, header)
                for i in range(self.count):
                    x = self._read(i)
                    if x is None:
                        msg = (
                            f"{click.format_filename(self._part(i))} was damaged meanwhile; resume."
                        )
                        raise CommandError(msg)
                    entry.write(x.tobytes())
            with archive.open("settings.npy", "w") as entry:
                np.save(entry, np.array(self.settings), allow_pickle=False)
        os.replace(partial, self.path)
        shutil.rmtree(self.folder)

    def _part(self, i: int) -> Path:
        return self.folder / f"{i:06d}.npy"

    def _read(self, i: int) -> np.ndarray | None:
        try:
            x: np.ndarray = np.load(self._part(i), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        right = x.dtype == np.float64 and x.shape == (len(self.indices(i)), *self.shape)
        return x if right else None

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def _settings_of(path: Path) -> str | None:
    """The settings in a finished file, None if it is something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return str(archive["settings"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
