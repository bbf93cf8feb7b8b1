"""Torch: the loop of ``numpy_loop`` on lowered tables, without synchronising the device.

Coefficients are Python floats, so a float32 or bfloat16 state keeps its dtype; each term after the
first is one in-place fused multiply-add on an array that the sum itself allocated. Arrays that a
network, a callback or the caller may hold are never written to, so gradients and views are safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from sgmsolve.backends.prediction import tables


class TorchOps:
    """Array operations of the loop on torch tensors."""

    kind = "torch"
    # Host work, done once while torch.compile traces; its result is a constant of the graph.
    tables = staticmethod(torch.compiler.assume_constant_result(tables))

    @staticmethod
    def combine(terms: Any, sources: list[Any]) -> Any:
        """Sum of coefficient times source; a source is let go after its last reader."""
        total: Any = None
        owned = False
        for c, s, last in terms:
            x = sources[s]
            if last:
                sources[s] = None
            if total is None:
                total, owned = (x, False) if c == 1.0 else (torch.mul(x, c), True)
            elif owned:
                total.add_(x, alpha=c)
            else:
                total, owned = torch.add(total, x, alpha=c), True
        return total

    @staticmethod
    def zeros(like: Any) -> Any:
        """Zeros shaped like a tensor."""
        return torch.zeros_like(like)

    @staticmethod
    def is_floating(x: Any) -> bool:
        """Whether the dtype is real and floating."""
        return x.dtype.is_floating_point

    @staticmethod
    def is_traced(x: Any) -> bool:
        """Never: only jax hands out arrays without values."""
        return False

    @staticmethod
    def cast(x: Any, like: Any) -> Any:
        """``x`` in the dtype of ``like``."""
        return x.to(like.dtype)

    @staticmethod
    def finite(arrays: Iterable[Any]) -> Any:
        """A 0-d flag on the device. The sum is finite iff all entries are, short of overflow."""
        total: Any = None
        for a in arrays:
            a = a.detach()
            s = a.sum(dtype=torch.float32) if a.dtype == torch.float16 else a.sum()
            total = s if total is None else total + s
        return total

    @staticmethod
    def truth(flag: Any) -> bool:
        """Read one flag: synchronises."""
        return bool(torch.isfinite(flag))

    @staticmethod
    def both(a: Any, b: Any) -> Any:
        """Both flags."""
        return a + b

    @staticmethod
    def where(flag: Any, a: Any, b: Any) -> Any:
        """``a`` where the flag is up, else ``b``, without reading it."""
        return torch.where(torch.isfinite(flag), a, b)

    @staticmethod
    def first_bad(flags: list[Any]) -> tuple[int | None, Any]:
        """Index of the first flag that is down, and all flags as a tensor; the one synchronisation.

        While a graph is being traced nothing can be read: the index is None.
        """
        if not flags:
            return None, None
        up = torch.isfinite(torch.stack(flags))
        if torch.compiler.is_compiling():
            return None, up
        down = (~up).nonzero()
        return (int(down[0, 0]) if len(down) else None), up
