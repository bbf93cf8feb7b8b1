"""Which functions act on which numbers: floats, mpmath numbers and arrays of any library.

Formulas in ``process/``, ``phi.py`` and ``methods/`` are written once against ``ops(t)``:

* a Python float (also ``numpy.float64``) is handled by ``math``: 50 ns a call, float64;
* an ``mpmath.mpf`` by ``mpmath``, so that every coefficient can be checked to any precision;
* an array by its own array-API namespace (numpy, torch, jax), traced values included.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from sgmsolve.errors import BackendError


def _log(x: float) -> float:
    return math.log(x) if x > 0 else (-math.inf if x == 0 else math.nan)


def _host_matrix(rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """An (m, m) array of scalars: float64, or object where the entries are mpmath numbers."""
    matrix = np.array(rows)
    return matrix.astype(np.float64) if matrix.dtype.kind in "iu" else matrix


class _Real:
    """The ``math`` module with the array API's names.

    ``host`` says that values are single numbers that Python may branch on, ``exact`` that they are
    mpmath numbers; ``number`` lifts a Python float, so that constants keep full precision.
    """

    host = True
    exact = False
    pi = math.pi
    inf = math.inf
    exp = staticmethod(math.exp)
    expm1 = staticmethod(math.expm1)
    log = staticmethod(_log)
    log1p = staticmethod(math.log1p)
    sqrt = staticmethod(math.sqrt)
    sin = staticmethod(math.sin)
    cos = staticmethod(math.cos)
    tan = staticmethod(math.tan)
    acos = staticmethod(math.acos)
    asin = staticmethod(math.asin)
    atan = staticmethod(math.atan)
    sinh = staticmethod(math.sinh)
    cosh = staticmethod(math.cosh)
    tanh = staticmethod(math.tanh)
    asinh = staticmethod(math.asinh)
    matrix = staticmethod(_host_matrix)

    @staticmethod
    def number(value: float) -> Any:
        """Return the constant ``value`` in this number type."""
        return value

    @staticmethod
    def where(condition: bool, a: float, b: float) -> float:
        """Return ``a`` where the condition holds, else ``b``."""
        return a if condition else b


class _Multiprecision(_Real):
    """mpmath with the array API's names; made on first use so that mpmath stays optional."""

    exact = True

    def __init__(self) -> None:
        import mpmath

        names = "exp expm1 log1p sqrt sin cos tan acos asin atan sinh cosh tanh asinh pi"
        for name in names.split():
            setattr(self, name, getattr(mpmath, name))
        own = {"log": lambda x: mpmath.log(x) if x else -mpmath.inf, "number": mpmath.mpf}
        vars(self).update(own)


class _Arrays:
    """An array-API namespace plus ``matrix``."""

    host = False
    exact = False

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.pi = math.pi
        self.inf = math.inf

    def __getattr__(self, name: str) -> Any:
        return getattr(self.xp, name)

    @staticmethod
    def number(value: float) -> float:
        """Return the constant ``value``: a Python float leaves the array's dtype alone."""
        return value

    def matrix(self, rows: Sequence[Sequence[Any]]) -> Any:
        """Stack entries (arrays of one shape, or floats) into an array of shape (..., m, m)."""
        like = next((v for row in rows for v in row if not isinstance(v, (int, float))), None)
        if like is None:  # numpy makes plain numbers of 0-d arrays
            like = self.xp.asarray(float(rows[0][0]))
        full = [
            [self.xp.full_like(like, float(v)) if isinstance(v, (int, float)) else v for v in row]
            for row in rows
        ]
        return self.xp.stack([self.xp.stack(row, axis=-1) for row in full], axis=-2)


REAL = _Real()
_cache: dict[Any, Any] = {}


def is_multiprecision(x: Any) -> bool:
    """Whether ``x`` is an mpmath number."""
    return type(x).__module__.startswith("mpmath")


def ops(x: Any) -> Any:
    """Return the functions that act on ``x``: ``exp, expm1, log, sqrt, ..., where, matrix``."""
    if isinstance(x, (float, int)):
        return REAL
    if is_multiprecision(x):
        if "mpmath" not in _cache:
            _cache["mpmath"] = _Multiprecision()
        return _cache["mpmath"]
    xp = array_namespace(x)
    found = _cache.get(xp)
    if found is None:
        found = _cache[xp] = _Arrays(xp)
    return found


def array_namespace(*arrays: Any) -> Any:
    """Return the array-API namespace of the arrays (floats are skipped; numpy if none is left)."""
    # array_api_compat's own inference is cached in a way that breaks graphs under torch.compile.
    kinds = {kind_of(a) for a in arrays if not isinstance(a, (float, int)) and a is not None}
    if len(kinds) > 1:
        msg = f"arrays of {' and '.join(sorted(kinds))} were mixed; convert them to one library."
        raise BackendError(msg)
    if kinds == {"torch"}:
        import array_api_compat.torch

        return array_api_compat.torch
    if kinds == {"jax"}:
        import jax.numpy

        return jax.numpy
    import array_api_compat.numpy

    return array_api_compat.numpy


def kind_of(x: Any) -> str:
    """Return ``"numpy"``, ``"torch"`` or ``"jax"`` without importing either library."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return "torch"
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(x, (jax.Array, jax.core.Tracer)):
        return "jax"
    return "numpy"


def constant_like(value: float, t: Any) -> Any:
    """Return ``value`` in the number type (and shape) of ``t``."""
    xp = ops(t)
    return xp.number(value) if xp.host else xp.full_like(t, value)


def softplus(x: Any) -> Any:
    """Return log(1 + e^x) without overflow and to full relative precision, elementwise."""
    xp = ops(x)
    return xp.where(x > 0, x, 0.0) + xp.log1p(xp.exp(-abs(x)))
