"""Operators in plans: words of letters, and the tables of what they multiply.

A word is a product of operators applied from right to left, ``("M", "M^T")`` for M M^T. A letter is
a name in ``plan.operands``, with ``^T`` for the transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgmsolve.errors import PlanError, unknown

if TYPE_CHECKING:
    from sgmsolve.plan.plan import Plan

Word = tuple[str, ...]
TRANSPOSED = "^T"
TABLES = ("move", "kick", "noise", "prelude_move", "prelude_noise")


@dataclass(frozen=True, eq=False)
class Part:
    """Tables shaped like the plan's own: the numbers that multiply one word of operators.

    word: letters, for example ``("M", "M^T")``; the other fields are those of ``Plan``.
    """

    word: Word
    move: np.ndarray
    kick: np.ndarray
    noise: np.ndarray
    prelude_move: np.ndarray
    prelude_noise: np.ndarray

    @property
    def name(self) -> str:
        """The word as text, ``"M M^T"``."""
        return " ".join(self.word)


def parse(text: str, operands: Mapping[str, Any]) -> Word:
    """The word that a text such as ``"M M^T"`` names; PlanError for unknown letters or none."""
    word = tuple(text.split())
    for letter in word or ("",):
        if letter.removesuffix(TRANSPOSED) not in operands:
            raise PlanError(unknown("operator", letter, operands))
    return word


def function(letter: str, operands: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What a letter does to arrays (batch, *shape)."""
    operator = operands[letter.removesuffix(TRANSPOSED)]
    made: Callable[[Any], Any]
    made = operator.transpose if letter.endswith(TRANSPOSED) else operator.apply
    return made


def check_parts(plan: Plan) -> None:
    """PlanError for parts that do not fit the plan's tables or whose letters nothing defines."""
    for part in plan.parts:
        parse(part.name, plan.operands)
        for name in TABLES:
            given, expected = getattr(part, name), getattr(plan, name)
            if given.shape != expected.shape or not np.isfinite(given).all():
                msg = (
                    f"plan {plan.name!r}: {name} of the operator {part.name} has shape "
                    f"{given.shape} or entries that are not finite, expected {expected.shape}."
                )
                raise PlanError(msg)
    frame = plan.frame
    if frame is not None and (plan.parts or plan.tail != frame.values.shape or plan.m > 1):
        msg = (
            f"plan {plan.name!r} has tables with trailing axes {plan.tail}, operators "
            f"{plan.operators} and {plan.m} component(s), but one with a frame has an entry for "
            f"each of its {len(frame.values)} values, no operators and one component."
        )
        raise PlanError(msg)


def at(plan: Plan, gains: Mapping[str, float] | None = None, index: int | None = None) -> Plan:
    """The plain plan of one mode or one sample.

    gains: the number each letter multiplies that mode by, ``{"M": 1.2}``; a transpose has the same.
    index: which entry of the tables' trailing axis to take: a mode value of the frame or a sample.

    Raises: PlanError for missing or unknown gains, an index that is missing or out of range.
    """
    given = dict(gains or {})
    needed = {letter.removesuffix(TRANSPOSED) for part in plan.parts for letter in part.word}
    if set(given) != needed or (index is None) == bool(plan.tail):
        msg = (
            f"plan {plan.name!r} was asked for gains of {sorted(given)} and index {index}, but it "
            f"has the operators {sorted(needed)} and trailing axes {plan.tail}; give a gain for "
            f"each operator, and an index if there is an axis."
        )
        raise PlanError(msg)
    if plan.tail and not 0 <= (index or 0) < plan.tail[0]:
        msg = f"index = {index} was asked for, expected 0 to {plan.tail[0] - 1}."
        raise PlanError(msg)
    tables = {name: getattr(plan, name) for name in TABLES}
    for part in plan.parts:
        gain = np.prod([given[letter.removesuffix(TRANSPOSED)] for letter in part.word])
        tables = {name: table + gain * getattr(part, name) for name, table in tables.items()}
    if plan.tail:
        tables = {name: np.ascontiguousarray(table[..., index]) for name, table in tables.items()}
    plain: dict[str, Any] = {"parts": (), "operands": {}, "frame": None}
    if plan.ends is None:
        return plan.replace(**tables, **plain)
    start, end = plan.ends[:, index].tolist()
    own = {"t": plan.t[:, index].copy(), "t_start": start, "t_end": end, "ends": None}
    return plan.replace(**tables, **plain, **own)


def per_sample(plans: Any) -> Plan:
    """One plan for a batch whose samples have grids of their own.

    plans: one plan a sample, all of one method with the same number of rows: their tables become
    entries of a trailing axis (B,), and ``t`` is (R, B). A batch of B is run at once, the model
    being called with B times. Draws are independent (kind ``iid``), nodes are left out, and
    ``t_start`` and ``t_end`` are the largest.

    Raises: PlanError for no plans, or plans of different structure.
    """
    given = list(plans)
    if not given:
        msg = "per_sample was given no plans; pass one for every sample."
        raise PlanError(msg)
    first = given[0]
    for i, plan in enumerate(given):
        plan.need_plain("per_sample")
        same = plan.process == first.process and plan.predicts == first.predicts
        fits = all(getattr(first, n).shape == getattr(plan, n).shape for n in ("t", *TABLES))
        if not (same and fits):
            msg = (
                f"plan {i} has {plan.rows} rows, {plan.k} registers and predicts {plan.predicts}, "
                f"but plan 0 has {first.rows}, {first.k} and {first.predicts}; stack plans of one "
                f"method, process and number of steps."
            )
            raise PlanError(msg)
    unique: dict[int, int] = {}
    where = [unique.setdefault(id(plan), len(unique)) for plan in given]
    distinct = list({id(plan): plan for plan in given}.values())
    stacked = {
        name: np.stack([getattr(plan, name) for plan in distinct], axis=-1)[..., where]
        for name in ("t", *TABLES)
    }
    draws = {name: getattr(first, name).copy() for name in ("draws", "prelude_draws")}
    for record in draws.values():
        record["kind"][record["kind"] != "none"] = "iid"
    ends = np.array([[plan.t_start, plan.t_end] for plan in distinct]).T
    most = {"t_start": float(ends[0].max()), "t_end": float(ends[1].max())}
    return first.replace(**stacked, **draws, **most, ends=ends[:, where], nodes=(), pathwise=False)
