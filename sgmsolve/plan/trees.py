"""Rooted trees: the terms of the Taylor expansion of a solution of y' = e(y, u).

A tree is the sorted tuple of its subtrees; ``()`` is a single node. The string ``"u"`` is a leaf
that stands for the variable itself, so that a model evaluated at a wrong time is noticed as well
as one evaluated at a wrong state. Butcher, "Numerical Methods for ODEs" (3rd ed., 2016), sections
300-318.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

from sgmsolve.plan.plan import Plan
from sgmsolve.plan.steps import Formula, Step, drift_end, scalar_steps

Tree = Any
"""``"u"`` or a tuple of trees."""

LEAF = "u"


def order(tree: Tree) -> int:
    """Number of nodes: the tree's term is of size h^order."""
    return 1 if tree == LEAF else 1 + sum(order(child) for child in tree)


def coefficient(tree: Tree) -> Fraction:
    """1/density: the c of y_tree = c u^order for dy_tree/du = product of the subtrees' y."""
    out = Fraction(1, order(tree))
    for child in () if tree == LEAF else tree:
        out *= coefficient(child)
    return out


@cache
def rooted_trees(highest: int) -> tuple[Tree, ...]:
    """All trees of up to ``highest`` nodes, subtrees before the trees that hold them; no bare "u".

    1, 2, 5, 13, 37 trees have exactly 1, 2, 3, 4, 5 nodes, leaves "u" included.
    """
    found: list[Tree] = []
    for nodes in range(1, highest + 1):
        smaller = [LEAF, *found]
        found += [tuple(c) for c in _forests(nodes - 1, len(smaller) - 1, smaller)]
    return tuple(found)


def _forests(nodes: int, last: int, smaller: list[Tree]) -> list[list[Tree]]:
    """Multisets of trees among the first ``last`` + 1 with ``nodes`` nodes together."""
    if nodes == 0:
        return [[]]
    out = []
    for i in range(last, -1, -1):
        if order(smaller[i]) <= nodes:
            rest = _forests(nodes - order(smaller[i]), i, smaller)
            out += [[smaller[i], *more] for more in rest]
    return out


def tree_defects(
    plan: Plan,
    process: Any,
    highest: int,
    *,
    eta: float = 0.0,
    ancestral: bool = False,
    steps: Sequence[Step] | None = None,
) -> np.ndarray:
    """Defects of every step for the systems that isolate the trees of up to ``highest`` nodes.

    In y = x/alpha the noise-prediction flow is dy = (1 + eta^2) e(y, rho) drho. The system with
    one component a tree, e_tree = product of its subtrees' y (and of rho - rho_t for each leaf
    "u"), has y_tree = c (rho - rho_t)^order exactly. The plan's own step, stages included, is run
    on it, each noise prediction converted to the plan's kind at the point where it is made;
    history is exact. An extra component with e = 0, y = 1 multiplies all others, so that a wrong
    linear flow in a stage is noticed. Shape (steps, 1 + trees) in units of rho_t^order; a method
    of order p has O(h^{p+1}) for all trees.
    """
    trees = rooted_trees(highest)
    out = []
    for step in scalar_steps(plan, process, steps):
        _, rho_end, rate = drift_end(process, step, eta, ancestral)
        rho_t, alpha_t = process.rho(step.t), process.alpha(step.t)
        constants = [rate ** _grown(tree) * _fraction(coefficient(tree), rho_t) for tree in trees]

        def solution(rho: Any, c: list[Any] = constants, base: Any = rho_t) -> list[Any]:
            return [1, *(k * (rho - base) ** order(q) for k, q in zip(c, trees, strict=True))]

        def point(at: Formula, seen: dict[int, list[Any]], first: Any = alpha_t) -> list[Any]:
            psi = at.psi[0, 0]
            x = [psi * first, *(0 * psi for _ in trees)]
            for r, w in at.weights.items():
                x = [a + w[0, 0] * b for a, b in zip(x, seen[r], strict=True)]
            alpha = process.alpha(at.time)
            return [a / alpha for a in x]

        predictions: dict[int, list[Any]] = {}
        used = {r for f in (step.end, *step.stages.values()) for r in f.weights}
        for r in sorted(used):
            t, rho = plan.t[r], process.rho(plan.t[r])
            y = point(step.stages[r], predictions) if r in step.stages else solution(rho)
            noise = [0, *_products(trees, y, rho - rho_t)]
            a, b = process.conversion_scalars("noise", plan.predicts, t)
            x = [process.alpha(t) * value for value in y]
            predictions[r] = [a * v + b * n for v, n in zip(x, noise, strict=True)]
        got, want = point(step.end, predictions), solution(rho_end)
        size = [1, *(rho_t ** order(tree) for tree in trees)]
        out.append([(g - w) / c for g, w, c in zip(got, want, size, strict=True)])
    return np.array(out)


def _grown(tree: Any) -> int:
    """Nodes of a tree that are not leaves "u": each brings a factor 1 + eta^2."""
    return 0 if tree == LEAF else 1 + sum(_grown(child) for child in tree)


def _fraction(c: Any, like: Any) -> Any:
    """A fraction in the number type of ``like``."""
    return (c.numerator + 0 * like) / c.denominator


def _products(trees: Sequence[Any], y: Sequence[Any], u: Any) -> list[Any]:
    """Right-hand sides: the constant component times y of the subtrees, u for leaves."""
    index = {tree: i for i, tree in enumerate(trees, start=1)}
    out = []
    for tree in trees:
        value = y[0]
        for child in tree:
            value = value * (u if child == LEAF else y[index[child]])
        out.append(value)
    return out
