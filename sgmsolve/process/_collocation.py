"""Flows and noise factors of dz = F(t) z dt + G(t) dw for any smooth F and G, on the host.

Gauss collocation, solved by Picard iteration: on a panel of width h with h |F| <= 1 the values
Y_i = I + h sum_j A_ij F(t_j) Y_j at n Gauss nodes are iterated until nothing changes, which happens
after about 15 rounds. The iterates are sums of products as in a Taylor series, so small entries
(the s^2/2 in a chain of three integrators) keep their relative precision, which a linear solve
would lose. Works for float64 and for mpmath numbers. Order 2n; Hairer, Lubich & Wanner, "Geometric
Numerical Integration", section II.1.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import ProcessError
from sgmsolve.phi import gauss_collocation

Matrix = Callable[[Any], np.ndarray]
_MOST_PANELS = {True: 50_000, False: 512}
"""Panels over [0, t_max], for a constant F (one solution serves all) and a varying one."""


def panel_flow(F: Matrix, a: Any, h: Any, rule: Any, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Solution of Y' = F Y, Y(a) = I: at the nodes (n, m, m) and at a + h."""
    c, b, matrix = rule
    drift = np.array([h * F(a + x * h) for x in c])
    eye = np.eye(m, dtype=int) + 0 * drift[0]
    y = np.broadcast_to(eye, drift.shape)
    unit, before = abs(eye).max(), None
    for _ in range(400):
        slope = drift @ y
        new = eye + np.tensordot(matrix, slope, axes=1)
        change = abs(new - y).max()
        y = new
        if change == 0 * unit or (before is not None and change >= before and change < 1e-10):
            break
        before = change
    return y, eye + np.tensordot(b, drift @ y, axes=1)


def setting(like: Any) -> Any:
    """The rule for a number type."""
    if is_multiprecision(like):
        import mpmath

        return gauss_collocation(12 + mpmath.mp.dps // 2, like)
    return gauss_collocation(12)


class Propagator:
    """Flows and transitions of one process; ``panels(start, end)`` says how many panels to use."""

    def __init__(self, F: Matrix, G: Matrix, m: int, constant: bool, times: tuple[float, float]):
        self.F, self.G, self.m, self.constant = F, G, m, constant
        self.density = self._panels_per_time(*times)

    def _panels_per_time(self, low: float, high: float) -> float:
        """Panels a unit of time: enough for |F|, then doubled until the flow stands still."""
        times = np.linspace(low, high, 65)
        size = max(float(np.abs(self.F(float(t))).sum(axis=1).max()) for t in times)
        density = max(size, 1 / (high - low))
        self._limit(density * (high - low), "F is too large to integrate", high)
        if self.constant:
            return density
        wide = self._across(low, high, density)
        while True:
            fine = self._across(low, high, 2 * density)
            worst = max(
                float(np.abs(f - w).max() / max(np.abs(f).max(), 1e-300))
                for f, w in zip(fine, wide, strict=True)
            )
            if worst < 1e-12:
                return density
            density, wide = 2 * density, fine
            self._limit(density * (high - low), "F or G varies too fast to integrate", high)

    def _limit(self, panels: float, what: str, t_max: float) -> None:
        most = _MOST_PANELS[self.constant]
        if panels > most:
            msg = (
                f"{what}: more than {most} panels would be needed over [0, {t_max:.6g}]; give "
                f"moderate, smooth rates, or a shorter time."
            )
            raise ProcessError(msg)

    def _across(self, low: float, high: float, density: float) -> tuple[np.ndarray, np.ndarray]:
        psi, columns = self._forward(low, high, density)
        return psi, columns @ columns.T

    def _grid(self, start: Any, end: Any, density: float) -> tuple[int, Any]:
        panels = max(1, int(np.ceil(float(abs(end - start)) * density)))
        return panels, (end - start) / panels

    def flow(self, start: Any, end: Any) -> np.ndarray:
        """Psi from ``start`` to ``end``, either direction, (m, m)."""
        rule = setting(end)
        panels, h = self._grid(start, end, self.density)
        psi = np.eye(self.m, dtype=int) + 0 * self.F(end)
        whole: Any = None
        for i in range(panels):
            # A constant F has the same solution on every panel.
            if whole is None or not self.constant:
                _, whole = panel_flow(self.F, start + i * h, h, rule, self.m)
            psi = whole @ psi
        return psi

    def noise(self, start: Any, end: Any) -> tuple[np.ndarray, np.ndarray]:
        """(Psi, V): the flow, and columns (m, N) whose Gram matrix V V^T is the covariance."""
        return self._forward(start, end, self.density)

    def _forward(self, start: Any, end: Any, density: float) -> tuple[np.ndarray, np.ndarray]:
        """March back from ``end``: P(s) = Psi(s -> end) obeys dP^T/d(end - s) = F(s)^T P^T."""
        rule = setting(end)
        c, b, _ = rule
        panels, h = self._grid(start, end, density)
        psi = np.eye(self.m, dtype=int) + 0 * self.F(end)
        roots = (b * h) ** (0 * h + 0.5)
        columns = []
        inner: Any = None
        for i in range(panels):
            top = end - i * h

            def back(u: Any, top: Any = top) -> np.ndarray:
                return self.F(top - u).T

            if inner is None or not self.constant:
                inner, whole = panel_flow(back, 0 * h, h, rule, self.m)
                driven = np.array([self.G(top - x * h) for x in c])
                driven = roots[:, None, None] * (inner.swapaxes(1, 2) @ driven)
            columns.append((psi @ driven).transpose(1, 0, 2).reshape(self.m, -1))
            psi = psi @ whole.T
        return psi, np.concatenate(columns, axis=1)


def triangular(columns: np.ndarray, lower: bool) -> np.ndarray:
    """Triangular L with positive diagonal and ``L L^T = V V^T``, V (m, N), by Householder's QR.

    Before each reflection the column of V with the largest entry in the current row is brought to
    the front: then the method is stable column by column of V (Powell & Reid 1969; Cox & Higham
    1998), so noise survives that is small beside the initial covariance.
    """
    a = (columns if lower else columns[::-1]).T.copy()
    m = a.shape[1]
    for k in range(min(a.shape)):
        pivot = k + int(np.argmax(abs(a[k:, k])))
        a[[k, pivot]] = a[[pivot, k]]
        v = a[k:, k].copy()
        norm = (v @ v) ** (0 * v[0] + 0.5)
        if norm == 0:
            continue
        v[0] = v[0] + (norm if v[0] > 0 else -norm)
        a[k:, k:] = a[k:, k:] - np.outer(v, (2 / (v @ v)) * (v @ a[k:, k:]))
    factor = np.tril(a[:m].T)
    factor = factor * np.where(np.diag(factor) < 0, -1, 1)
    return factor if lower else factor[::-1, ::-1]


def invert_triangular(factor: np.ndarray, lower: bool) -> np.ndarray:
    """Inverse of a triangular matrix by substitution, column by column."""
    a = factor if lower else factor[::-1, ::-1]
    m = a.shape[0]
    out = 0 * a
    for j in range(m):
        out[j, j] = 1 / a[j, j]
        for i in range(j + 1, m):
            out[i, j] = -(a[i, j:i] @ out[j:i, j]) / a[i, i]
    return out if lower else out[::-1, ::-1]
