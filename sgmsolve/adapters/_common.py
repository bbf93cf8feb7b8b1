"""What all adapters share: time, layout, and which library a model belongs to."""

from __future__ import annotations

import importlib.util
import math
import operator
import sys
from typing import Any

from sgmsolve._array import array_namespace, kind_of
from sgmsolve.errors import BackendError, ModelError

EXTRA = {"torchsde": "torch", "torchdiffeq": "torch", "diffrax": "jax"}
"""The array library, and the name of the extra, behind each solver library."""

_INNER = ("net", "model", "conditional", "__self__", "func", "__wrapped__")


def need(library: str) -> None:
    """BackendError if a solver library is not installed."""
    if importlib.util.find_spec(library) is None:
        msg = (
            f"this needs {library}, which is not installed; pip install "
            f"'sgmsolve[{EXTRA[library]}]'."
        )
        raise BackendError(msg)


def library_of(model: Any) -> str | None:
    """The array library of the module that a model holds, None if none is found."""
    torch, equinox = sys.modules.get("torch"), sys.modules.get("equinox")
    for _ in range(16):
        if torch is not None and isinstance(model, torch.nn.Module):
            return "torch"
        if equinox is not None and isinstance(model, equinox.Module):
            return "jax"
        model = next((v for n in _INNER if (v := getattr(model, n, None)) is not None), None)
        if model is None:
            break
    return None


def torch_module(model: Any) -> Any:
    """The torch module that a model wraps, or None."""
    torch = sys.modules.get("torch")
    for _ in range(16):
        if torch is None or model is None:
            return None
        if isinstance(model, torch.nn.Module):
            return model
        model = next((v for n in _INNER if (v := getattr(model, n, None)) is not None), None)
    return None


def check_sde(sde: Any, library: str) -> None:
    """ModelError for something that is no SDE, BackendError for another library's model."""
    if not all(hasattr(sde, name) for name in ("drift", "diffuse", "noise", "direction")):
        msg = (
            f"a {type(sde).__name__} was given, expected a ReverseSDE, ProbabilityFlow or "
            f"GeneralSDE of sgmsolve.reverse; wrap the model in one."
        )
        raise ModelError(msg)
    check_library(getattr(sde, "model", None), library)


def check_library(model: Any, library: str) -> None:
    """BackendError for the model of another array library than the solver's."""
    found, wanted = library_of(model), EXTRA[library]
    if found not in (None, wanted):
        others = " or ".join(k for k, v in EXTRA.items() if v == found)
        msg = (
            f"the model holds a {found} module, but {library} runs {wanted}; use {others}, or a "
            f"network written in {wanted}."
        )
        raise BackendError(msg)


def check_state(z: Any, sde: Any, library: str) -> tuple[Any, ...]:
    """The state as a tuple of m arrays of the library's kind (one array will do if m = 1)."""
    parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    if len(parts) != sde.m:
        msg = f"the state has {len(parts)} array(s), expected {sde.m}; pass one a component."
        raise ModelError(msg)
    for x in parts:
        if not hasattr(x, "dtype") or kind_of(x) != EXTRA[library]:
            what = kind_of(x) if hasattr(x, "dtype") else type(x).__name__
            msg = (
                f"the state is made of {what}, but {library} runs {EXTRA[library]} arrays; convert "
                f"it, or use a solver of the state's library."
            )
            raise BackendError(msg)
    return parts


class Layout:
    """m arrays (batch, *shape) as rows (batch, m n) and back; n entries a component, in C order.

    ``tau`` and ``time`` convert forward time to the library's time and back.
    """

    def __init__(self, sde: Any, shape: Any) -> None:
        try:
            self.shape = tuple(operator.index(n) for n in shape)
        except TypeError:
            self.shape = (-1,)
        if any(n < 1 for n in self.shape):
            msg = f"shape = {shape!r}, expected the sizes of one sample, such as (3, 32, 32)."
            raise BackendError(msg)
        self.sde, self.m, self.size = sde, sde.m, math.prod(self.shape)
        process = getattr(sde, "process", None)
        self._latest = math.inf if process is None else float(process.t_max)

    def flatten(self, z: Any) -> Any:
        """Components (batch, *shape) as one array (batch, components n)."""
        rows = [x.reshape(x.shape[0], self.size) for x in z]
        return rows[0] if len(rows) == 1 else array_namespace(rows[0]).concat(rows, axis=1)

    def unflatten(self, y: Any) -> tuple[Any, ...]:
        """The inverse of ``flatten``."""
        n, batch = self.size, y.shape[0]
        if y.shape[1] == n:
            return (y.reshape(batch, *self.shape),)
        return tuple(
            y[:, i * n : (i + 1) * n].reshape(batch, *self.shape) for i in range(y.shape[1] // n)
        )

    def tau(self, t: Any) -> Any:
        """The library's time at forward time t: -t for what runs down, t otherwise."""
        return -t if self.sde.direction < 0 else t

    def time(self, tau: Any) -> Any:
        """Forward time at the library's time: a float, or a 0-d array that carries a gradient."""
        if getattr(tau, "requires_grad", False):
            # torchdiffeq's first step size depends on the state: cutting its gradient here, but
            # not where the solver multiplies by it, would leave a wrong one (by 1e-3, measured).
            return self.tau(tau)
        t = self.tau(float(tau))
        # A float32 time may be rounded to just above t_max, which is no user's mistake.
        return self._latest if self._latest < t <= self._latest * (1 + 1e-6) else t
