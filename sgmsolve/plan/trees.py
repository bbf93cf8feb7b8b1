"""Rooted trees: the terms of the Taylor expansion of a solution of y' = e(y, u).

A tree is the sorted tuple of its subtrees; ``()`` is a single node. The string ``"u"`` is a leaf that
stands for the variable itself, so that a model evaluated at a wrong time is noticed as well as one
evaluated at a wrong state. Butcher, "Numerical Methods for ODEs" (3rd ed., 2016), sections 300-318.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

Tree = Any
"""``"u"`` or a tuple of trees."""

LEAF = "u"


def order(tree: Tree) -> int:
    """Number of nodes: the tree's term is of size h^order."""
    return 1 if tree == LEAF else 1 + sum(order(child) for child in tree)


def coefficient(tree: Tree) -> Fraction:
    """c with y_tree(u) = c u^order for dy_tree/du = product of the subtrees' y, from y = 0: 1/density."""
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
