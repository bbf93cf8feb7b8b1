"""Statistics of a folder of images, one image in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition.statistics import Accumulator, Statistics

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
SEED = 0
DEEP = ("I", "I;16", "I;16B", "I;16L")  # grey levels 0 to 65535


def folder_statistics(
    folder: str | os.PathLike[str],
    size: int | Sequence[int] | None = None,
    channels: int | None = None,
    *,
    skip_bad: bool = False,
    limit: int | None = None,
    progress: bool = True,
) -> Statistics:
    """Statistics of the image files in a folder and the folders within, as (C, H, W) in [0, 1].

    size: (H, W), or one number for both: every image is scaled until it covers that size and its
    middle cut out; without it, images of different sizes are refused. channels: 1 or 3, to which
    images are converted; without it, all must be grey or all coloured. skip_bad: leave out files
    that cannot be read; their names are ``skipped`` of the result. limit: so many images, drawn
    from all with a fixed seed (about 200 make a good mask). progress: a tqdm bar on stderr.

    Raises: PreconditionError for a folder without images, a file that cannot be read (named), other
    sizes or channels than the first image's, impossible arguments, or without pillow.
    """
    shape = _checked_size(size)
    if channels not in (None, 1, 3):
        msg = f"channels = {channels!r}, expected 1 (grey), 3 (colour) or None; pass one of them."
        raise PreconditionError(msg)
    if limit is not None and limit < 1:
        msg = f"limit = {limit!r}, expected at least 1 image; leave it out to take all."
        raise PreconditionError(msg)
    files = image_files(folder)
    if limit is not None and limit < len(files):
        files = [files[i] for i in np.random.default_rng(SEED).permutation(len(files))]
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        msg = "images need pillow, which is not installed; run: pip install 'sgmsolve[lab]'."
        raise PreconditionError(msg) from error
    gathered, skipped = Accumulator(), []
    first: tuple[Path, tuple[int, ...]] | None = None
    for path in _watched(files, limit, gathered, progress):
        try:
            image = read_image(path, shape, channels)
        except PreconditionError:
            if not skip_bad:
                raise
            skipped.append(str(path))
            continue
        if first is None:
            first = path, image.shape
        _check_same(path, image.shape, first)
        gathered.add(image[None])
    if not gathered.count:
        msg = f"none of the {len(skipped)} image files in {os.fspath(folder)!r} can be read, the "
        msg += f"first is {skipped[0]}; expected at least one, name another folder."
        raise PreconditionError(msg)
    return gathered.result(skipped)


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Image files by their suffix in a folder and the folders within, sorted, hidden ones left out.

    Raises: PreconditionError if there is no such folder or no image in it.
    """
    root = Path(folder)
    try:
        there = root.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        msg = f"{os.fspath(folder)!r} is no folder, expected one of image files; check the path."
        raise PreconditionError(msg)
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    if not found:
        kinds = ", ".join(s[1:] for s in SUFFIXES)
        msg = f"folder {os.fspath(folder)!r} holds no image files, expected some of {kinds}; "
        raise PreconditionError(msg + "name another folder.")
    return found


def read_image(
    path: Path, shape: tuple[int, int] | None = None, channels: int | None = None
) -> np.ndarray:
    """The first frame of an image file as (C, H, W) float64 in [0, 1].

    Raises: PreconditionError naming the file.
    """
    import PIL.Image
    import PIL.ImageOps

    # Decoders of foreign bytes raise nearly anything.
    try:
        with PIL.Image.open(path) as opened:
            if opened.mode == "F" or (opened.mode == "I" and opened.format == "TIFF"):
                kind = "floats" if opened.mode == "F" else "signed or 32-bit numbers"
                msg = f"its grey levels are {kind}, whose range is unknown"
                raise ValueError(msg)
            deep = opened.mode in DEEP
            grey = channels == 1 or (channels is None and (deep or opened.mode in ("1", "L", "LA")))
            if deep:
                levels = np.asarray(opened, dtype=np.float32) / 65535
                image = PIL.Image.fromarray(levels)
            else:
                image = opened.convert("L" if grey else "RGB")
        if shape is not None and image.size != shape[::-1]:
            image = PIL.ImageOps.fit(image, shape[::-1], PIL.Image.Resampling.BICUBIC)
        pixels = np.asarray(image, dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:160]
        msg = f"image file {path} cannot be read ({reason}); repair or remove it, or skip such "
        raise PreconditionError(msg + "files (skip_bad=True, --skip-bad).") from error
    pixels = np.clip(pixels if deep else pixels / 255, 0.0, 1.0)
    image_axes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    return image_axes if grey or len(image_axes) == 3 else np.repeat(image_axes, 3, axis=0)


def _checked_size(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair):
        msg = f"size is {size!r}, expected pixels such as 64 or (48, 64); pass one."
        raise PreconditionError(msg)
    return pair[0], pair[1]


def _check_same(path: Path, shape: tuple[int, ...], first: tuple[Path, tuple[int, ...]]) -> None:
    if shape == first[1]:
        return
    if shape[0] != first[1][0]:
        kinds = {1: "grey", 3: "coloured"}
        msg = (
            f"{path} is {kinds[shape[0]]}, but {first[0]} is {kinds[first[1][0]]}; expected one "
            f"kind, pass channels=1 or channels=3 (--channels) to convert all."
        )
    else:
        msg = (
            f"{path} has {shape[1]} x {shape[2]} pixels, but {first[0]} has {first[1][1]} x "
            f"{first[1][2]}; expected one size, pass size (--size) to scale all."
        )
    raise PreconditionError(msg)


def _watched(
    files: list[Path], limit: int | None, gathered: Accumulator, progress: bool
) -> Iterator[Path]:
    """The files under a progress bar, until ``limit`` images were gathered."""
    from tqdm import tqdm

    total = len(files) if limit is None else min(limit, len(files))
    shown: dict[str, Any] = {"unit": "image", "desc": "statistics", "leave": False}
    with tqdm(total=total, disable=None if progress else True, **shown) as bar:
        for path in files:
            if limit is not None and gathered.count >= limit:
                return
            before = gathered.count
            yield path
            bar.update(1 if limit is None else gathered.count - before)
