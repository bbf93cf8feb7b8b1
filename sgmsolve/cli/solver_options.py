"""Options of solvers that are no plans, from ``key=value`` texts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sgmsolve.errors import MethodError, unknown

if TYPE_CHECKING:
    from sgmsolve.solving import SolverMethod

NUMBERS = ("rtol", "atol", "dt", "dt_min", "h0", "h_min", "tol", "eta")
WHOLE = ("max_steps",)
WORDS = ("controller",)
OBJECTS = ("preconditioner", "skew")
"""Words for objects, see ``solving.objects``."""
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


def solver_options(method: SolverMethod, given: Iterable[str]) -> dict[str, Any]:
    """Typed options; MethodError names the nearest key.

    Keys take what their default is; matrices, paths and objects of other libraries cannot be typed.
    """
    known = [k for k in method.options if _typable(method, k)]
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            msg = f"option {text!r} has no value; write it as KEY=VALUE, for example rtol=0.01."
            raise MethodError(msg)
        if key in method.options and key not in known:
            msg = f"option {key!r} of {method.name} takes a Python object; use it from Python."
            raise MethodError(msg)
        if key not in known:
            raise MethodError(unknown(f"option of method {method.name!r}:", key, known))
        found[key] = _typed(method, key, value.strip())
    return found


def _typable(method: SolverMethod, key: str) -> bool:
    named = key in (*NUMBERS, *WHOLE) or (key in WORDS and method.family == "adaptive")
    plain = isinstance(method.options[key], (bool, int, float, str)) and key != "dense"
    return named or plain or key in OBJECTS


def _typed(method: SolverMethod, key: str, text: str) -> Any:
    default = method.options[key]
    if key == "denoise" and text.lower() not in (*TRUE, *FALSE):
        return text
    if isinstance(default, bool):
        if text.lower() in (*TRUE, *FALSE):
            return text.lower() in TRUE
        expected = "true or false"
    elif isinstance(default, str) or key in WORDS or key in OBJECTS:
        return text
    else:
        whole = key in WHOLE or isinstance(default, int)
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        expected = "a whole number" if whole else "a number"
    msg = f"option {key}={text!r} of method {method.name!r} was given, expected {expected}."
    raise MethodError(msg)
