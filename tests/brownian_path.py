"""A Brownian path for fixed steps with exact increments and areas, and slopes of errors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class FinePath:
    """Motions shaped ``shapes`` (batch first) on ``cells`` equal cells from forward time a to b.

    Cells are drawn from the joint law of w and int w, so that both are exact between any two of
    their ends. ``motions[k]`` = (w, J) at the ends, J the integral of w from the start.
    """

    def __init__(self, a: float, b: float, cells: int, shapes: Any, seed: int) -> None:
        rng, self.a, self.b, self.cells = np.random.default_rng(seed), a, b, cells
        h = abs(b - a) / cells
        self.h, self.motions = h, []
        for shape in shapes:
            xi, eta = rng.standard_normal((2, cells, *shape))
            dw = math.sqrt(h) * xi
            w = np.concatenate([0 * dw[:1], np.cumsum(dw, axis=0)])
            area = h * w[:-1] + h * dw / 2 + math.sqrt(h**3 / 12) * eta
            self.motions.append((w, np.concatenate([0 * dw[:1], np.cumsum(area, axis=0)])))

    def place(self, t: float) -> int:
        """The cell's end at forward time t."""
        at = (t - self.a) / (self.b - self.a) * self.cells
        assert abs(at - round(at)) < 1e-6
        return round(at)

    def increment(self, a: float, b: float) -> tuple[Any, ...]:
        p, q = self.place(a), self.place(b)
        return tuple(w[q] - w[p] for w, _ in self.motions)

    def area(self, a: float, b: float) -> tuple[Any, ...]:
        p, q = self.place(a), self.place(b)
        return tuple(J[q] - J[p] - (q - p) * self.h * w[p] for w, J in self.motions)


def slope(x: Any, y: Any) -> float:
    """Of log y against log x."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def rms(x: Any) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(x)))))
