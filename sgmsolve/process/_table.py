"""The VP schedule of a table of discrete rates."""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from sgmsolve._array import kind_of, ops
from sgmsolve.process._schedules import AbstractIntegrated

# (n + 1) / N * N may round to either side of n + 1; this far off, in cells, t still is the node.
_NODE = 1e-9


@final
class Table(AbstractIntegrated):
    """N discrete rates: B is linear between its nodes (0, 0) and (t_n = (n + 1) / N, B_n).

    B_n = -sum_{i <= n} log(1 - beta_i). The convention of DPM-Solver's discrete schedule
    (Lu et al. 2022, appendix D) on [1/N, 1]; below 1/N it goes to the data, not extrapolated.
    """

    def __init__(self, betas: Sequence[float]) -> None:
        self.betas = betas
        self.size = len(betas)
        self.steps = [-math.log1p(-b) for b in betas]
        # Sums in two floats (Knuth's two-sum), so that differences of nodes keep every digit.
        high, low = [0.0], [0.0]
        for step in self.steps:
            total = high[-1] + step
            part = total - high[-1]
            error = (high[-1] - (total - part)) + (step - part)
            high.append(total)
            low.append(low[-1] + error)
        self.high, self.low = high, low
        self._exact = functools.lru_cache(maxsize=4)(self._exact_tables)

    def __getstate__(self) -> dict[str, Any]:
        return {"betas": self.betas}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["betas"])

    def _exact_tables(self, prec: int) -> tuple[list[Any], list[Any], list[Any]]:
        import mpmath

        steps = [-mpmath.log1p(-mpmath.mpf(b)) for b in self.betas]
        high = [mpmath.mpf(0)]
        for step in steps:
            high.append(high[-1] + step)
        return steps, high, [mpmath.mpf(0)] * (self.size + 1)

    def _tables(self, t: Any) -> tuple[Any, Any, Any]:
        xp = ops(t)
        if xp.host:
            if xp.exact:
                import mpmath

                return self._exact(mpmath.mp.prec)
            return self.steps, self.high, self.low
        kind = kind_of(t)
        place = {"device": t.device} if kind == "torch" else {}
        rows = (self.steps, self.high, self.low)
        steps, high, low = (xp.asarray(np.asarray(r), dtype=t.dtype, **place) for r in rows)
        return steps, high, low

    def _cell(self, t: Any, from_left: bool = False) -> tuple[Any, Any]:
        """Index of the cell that holds t (a node: the one below if ``from_left``), and as t's type.

        Arrays need both: a float32 time minus an int32 index would be float64.
        """
        xp = ops(t)
        if xp.host:
            n = math.ceil(t * self.size - _NODE) - 1 if from_left else int(t * self.size)
            n = 0 if n < 0 else n if n < self.size else self.size - 1
            return n, n
        place = xp.ceil(t * self.size - _NODE) - 1 if from_left else xp.floor(t * self.size)
        place = xp.clip(place, 0, self.size - 1)
        return xp.astype(place, xp.int32), place

    def beta(self, t: Any) -> Any:
        """Piecewise constant rate -N log(1 - beta_n) on (n/N, (n+1)/N]: a node looks down."""
        return self.size * self._tables(t)[0][self._cell(t, from_left=True)[0]]

    def integral(self, t: Any) -> Any:
        """Linear interpolation between the nodes."""
        steps, high, low = self._tables(t)
        n, place = self._cell(t)
        return high[n] + (low[n] + (t * self.size - place) * steps[n])

    def increment(self, start: Any, end: Any) -> Any:
        """Part of the first cell, whole cells, part of the last cell."""
        steps, high, low = self._tables(end if not ops(end).host else start)
        (i, first), (j, last) = self._cell(start), self._cell(end)
        whole = (high[j] - high[i + 1]) + (low[j] - low[i + 1])
        parts = (first + 1 - start * self.size) * steps[i] + (end * self.size - last) * steps[j]
        inside = steps[j] * (self.size * (end - start))
        return ops(inside).where(i == j, inside, whole + parts)

    def time_of_integral(self, value: Any) -> Any:
        """Exact inverse of the interpolation."""
        steps, high, low = self._tables(value)
        xp = ops(value)
        if xp.host:
            n = min(max(bisect.bisect_right(high, value) - 1, 0), self.size - 1)
            place = n
        else:
            found = xp.searchsorted(high, value, side="right")
            n = xp.astype(xp.clip(found - 1, 0, self.size - 1), xp.int32)
            place = xp.astype(n, value.dtype)
        return (place + (value - high[n] - low[n]) / steps[n]) / self.size
