"""Small pictures of samples as PNG data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

SIDE = 300  # pixels of a scatter picture, shown at half that size on ordinary screens
INK = (24, 34, 52)


def data_uri(samples: np.ndarray, view: Any, colour: str) -> str:
    """A picture of the samples (n, *shape) as the view wants it; only finite ones are drawn."""
    shown = samples if view.project is None else view.project(samples)
    finite = np.isfinite(shown).reshape(len(shown), -1).all(axis=1)
    pixels = (
        contact_sheet(shown, view) if view.kind == "image" else scatter(shown[finite], view, colour)
    )
    return png(pixels)


def png(pixels: np.ndarray) -> str:
    """uint8 pixels (h, w, 4) as a data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def on_white(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file: uint8 pixels (h, w, 4) laid on white."""
    from PIL import Image

    alpha = pixels[..., 3:] / 255
    flat = np.round(255 * (1 - alpha) + pixels[..., :3] * alpha).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(flat).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def contact_sheet(
    images: np.ndarray, view: Any, columns: int | None = None, zoom: int = 1
) -> np.ndarray:
    """Pictures (n, h, w) side by side as dark ink on clear ground, uint8 (H, W, 4)."""
    n, h, w = images.shape
    across = columns or max(1, round(np.sqrt(n * 1.6)))
    down = -(-n // across)
    gap = max(1, h // 8)
    alpha = np.zeros((down * (h + gap) - gap, across * (w + gap) - gap))
    for i, image in enumerate(images):
        y, x = divmod(i, across)
        level = (np.nan_to_num(image) - view.low) / (view.high - view.low)
        top, left = y * (h + gap), x * (w + gap)
        alpha[top : top + h, left : left + w] = np.clip(level, 0, 1)
    return _tinted(np.kron(alpha, np.ones((zoom, zoom))), INK)


def scatter(points: np.ndarray, view: Any, colour: str) -> np.ndarray:
    """Points (n, 2) as soft dots whose opacity adds up, uint8 (SIDE, SIDE, 4); upwards is up."""
    edges = np.linspace(view.low, view.high, SIDE + 1)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(edges, edges))
    # A round dot of about 4 pixels: a small separable kernel.
    kernel = np.array([0.35, 0.8, 1.0, 0.8, 0.35])
    for axis in (0, 1):
        counts = sum(
            k * np.roll(counts, i - 2, axis=axis) for i, k in enumerate(kernel)
        )  # dots that wrap around are outside the limits by two pixels at most
    alpha = 1 - np.exp(-0.55 * counts)
    rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return _tinted(alpha.T[::-1], rgb)


def _tinted(alpha: np.ndarray, rgb: tuple[int, ...]) -> np.ndarray:
    pixels = np.empty((*alpha.shape, 4), dtype=np.uint8)
    pixels[..., :3] = rgb
    pixels[..., 3] = np.round(255 * alpha)
    return pixels
