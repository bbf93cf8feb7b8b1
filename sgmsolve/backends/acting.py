"""Operators at work: a sum of words, each applied to an array of its own, with shared prefixes.

M M^T u + M z is evaluated as M (M^T u + z): letters common to the left of several words are applied
once. Words whose letters are all diagonal in one transform become gains there, so that a sum of n
of them costs n transforms and one back.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.backends._seeds import cast
from sgmsolve.plan import Plan
from sgmsolve.plan.parts import TRANSPOSED, Word, function
from sgmsolve.precondition.constants import Constants
from sgmsolve.precondition.transform import same_transform


class Gains:
    """Gains of words in a transform, (dim,) on the host, as arrays of any library."""

    def __init__(self, transform: Any, values: dict[Word, np.ndarray]) -> None:
        self.transform = transform
        self.native = {word: transform.native(v) for word, v in values.items()}
        self._constants = Constants()

    def sum(self, operands: dict[Word, Any]) -> Any:
        """Sum over words of word applied to array: n transforms and one back."""
        total: Any = None
        for word, x in operands.items():
            gains = self._constants.get(" ".join(word), self.native[word], x)
            made = gains * self.transform.to_native(x)
            total = made if total is None else total + made
        return self.transform.from_native(total, x)


class Acting(NamedTuple):
    """What the letters of a plan mean. Hashable: compiled runs are specialised to it."""

    letters: tuple[str, ...]
    operators: tuple[Any, ...]
    gains: Gains | None

    @classmethod
    def of(cls, plan: Plan) -> Acting:
        """The operators of a plan; gains where all its words are diagonal in one transform."""
        letters = tuple(sorted(plan.operands))
        operators = tuple(plan.operands[letter] for letter in letters)
        return _made(letters, operators, tuple(part.word for part in plan.parts))

    def apply(self, operands: dict[Word, Any]) -> Any:
        """Sum over words of the word applied to its array."""
        if self.gains is not None:
            return self.gains.sum(operands)
        return self._horner(operands)

    def _horner(self, operands: dict[Word, Any]) -> Any:
        """Words by their first letter: letter (sum of the words without it)."""
        total = operands.get(())
        named = dict(zip(self.letters, self.operators, strict=True))
        for letter in dict.fromkeys(word[0] for word in operands if word):
            rest = {word[1:]: x for word, x in operands.items() if word[:1] == (letter,)}
            made = function(letter, named)(self._horner(rest))
            total = made if total is None else total + made
        return total


@functools.lru_cache(maxsize=16)
def _made(letters: tuple[str, ...], operators: tuple[Any, ...], words: tuple[Word, ...]) -> Acting:
    """One object for all plans with these operators: another grid compiles nothing."""
    return Acting(letters, operators, _gains(dict(zip(letters, operators, strict=True)), words))


def _gains(operands: dict[str, Any], words: tuple[Word, ...]) -> Gains | None:
    """Gains of all words in their common transform, None where there is none."""
    used = {letter.removesuffix(TRANSPOSED) for word in words for letter in word}
    found = [operands[letter] for letter in used]
    transforms = [op.transform for op in found if op.scalar is None]
    if not transforms or any(t is None or not same_transform(t, transforms[0]) for t in transforms):
        return None
    values = {}
    for word in words:
        total = np.ones(transforms[0].dim)
        for letter in word:
            operator = operands[letter.removesuffix(TRANSPOSED)]
            total = total * (operator.eigenvalues if operator.scalar is None else operator.scalar)
        values[word] = total
    return Gains(transforms[0], values)


def spread_outputs(row: Any, sources: list[Any], frame: Any) -> list[Any]:
    """What a row computes whose coefficients have a trailing axis; None for an empty sum.

    (Q,) values of a frame become (dim,), one a mode; (B,) samples become (B, 1, ...). What the
    row's coefficients share is computed once, but no two are expanded to all modes at a time.
    """
    like = wide(sources[0])
    terms = [(i, c, s) for i, parts in row.outputs for c, s, _ in parts]
    varying = [k for k, (_, c, _) in enumerate(terms) if np.ndim(c) and np.ptp(c)]
    host = np.stack([terms[k][1] for k in varying]) if varying else np.zeros((0, 1))
    if frame is not None and varying:
        host = frame.tabulate(host, _host_dtype(like))
    place = {k: n for n, k in enumerate(varying)}
    out: list[Any] = [None] * len(row.outputs)
    for k, (i, c, s) in enumerate(terms):
        factor = _broadcast(host[place[k]], like, frame) if k in place else float(np.ravel(c)[0])
        made = factor * sources[s]
        out[i] = made if out[i] is None else out[i] + made
    if like.dtype == sources[0].dtype:
        return out
    return [None if x is None else cast(x, sources[0]) for x in out]


def wide(like: Any) -> Any:
    """An array of the kind that times and coefficients of samples are held in: 32 bits at least."""
    if like.dtype.itemsize >= 4:
        return like
    xp = array_namespace(like)
    return xp.astype(like[:1], xp.float32)


def _broadcast(host: np.ndarray, like: Any, frame: Any) -> Any:
    if frame is not None:
        return cast(frame.to_modes(host), like)
    return array_namespace(like).reshape(cast(host, like), (-1,) + (1,) * (like.ndim - 1))


def _host_dtype(like: Any) -> Any:
    """float64 for states of float64, else float32, on the host."""
    return np.float64 if "float64" in str(like.dtype) else np.float32
