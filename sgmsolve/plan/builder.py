"""PlanBuilder: write a method as the paper's formulas, get a Plan.

    b = PlanBuilder(process, grid, predicts="noise", name="heun")
    for t, s in b.steps():
        z, psi = b.z, process.alpha(s) / process.alpha(t)
        w = process.sigma(s) - psi * process.sigma(t)
        e0 = b.predict(z, t)
        e1 = b.predict(psi * z + w * e0, s)
        b.advance(psi * z + w / 2 * (e0 + e1))
    plan = b.plan()

Coefficients may be floats, mpmath numbers (then the tables hold mpmath numbers: that is how weights
are verified to 50 digits), matrices acting on components, with a frame one-dimensional arrays with
an entry for each of ``frame.values``, and operators:

    b = PlanBuilder(process, grid, predicts="score", operands={"M": preconditioner})
    M, A = b.operator("M"), b.operator("M M^T")
    b.advance(x + h * (A @ score) + noise * (M @ b.xi()))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sgmsolve._array import is_multiprecision
from sgmsolve.errors import GridError, PlanError
from sgmsolve.plan.affine import Affine, Operators
from sgmsolve.plan.compile import compile_plan
from sgmsolve.plan.frame import Frame
from sgmsolve.plan.parts import parse
from sgmsolve.plan.plan import DRAW_KINDS, Plan


class PlanBuilder:
    """Records states, predictions and draws; ``plan()`` turns them into tables.

    Args:
        process: the forward process.
        grid: decreasing forward times; the first is where the initial state lives. A grid that
            starts where alpha = 0 gets a first row with the data-prediction limit, one that ends
            where sigma = 0 gets a last row with the data prediction: ``steps()`` leaves both out.
        predicts: kind of prediction the method consumes.
        name, options, orders, start, reference: recorded in the plan.
        denoise: add a last row that replaces the state by the data prediction (Tweedie).
        draws: default kind of ``xi()``, see ``DRAW_KINDS``.
        operands: letters that words of operators are made of, ``{"M": preconditioner}``.
        frame: the Gaussian fit in whose centred modes the formulas are written: states, predictions
            and draws are coefficients, for processes of one component.

    Raises:
        GridError: the grid has fewer than two points, does not decrease or leaves the process's
            range; PlanError: a frame for a process of several components.
    """

    def __init__(
        self,
        process: Any,
        grid: Sequence[Any],
        *,
        predicts: str,
        name: str = "custom",
        options: dict[str, Any] | None = None,
        orders: dict[str, float] | None = None,
        start: str = "published",
        reference: str = "",
        denoise: bool = False,
        draws: str = "iid",
        operands: Mapping[str, Any] | None = None,
        frame: Frame | None = None,
    ) -> None:
        self.process = process
        self.predicts = predicts
        self.m = process.m
        self.operands, self.frame = dict(operands or {}), frame
        if frame is not None and self.m > 1:
            msg = (
                f"method {name!r} was given a frame of modes for {type(process).__name__}, which "
                f"has {self.m} components; frames are for processes of one component."
            )
            raise PlanError(msg)
        self.times = check_times(grid, process)
        self.name, self.options = name, dict(options or {})
        self.orders, self.start, self.reference = dict(orders or {}), start, reference
        self.denoise, self.draw_kind = denoise, draws
        # Whether the solution at every grid point is held even where no row needs it.
        self.keeps_nodes = False
        # A symbol is an int; `level` is the number of rows after which its value is known.
        self.kind: list[str] = ["z"]
        self.level: list[int] = [0]
        self.defined: dict[int, dict[int, Any]] = {}
        self.row_of: dict[int, int] = {}  # prediction symbol -> row
        self.draw_of: dict[int, tuple[str, float, float]] = {}
        self.points: list[tuple[int, Any]] = []  # (state symbol, time) of every row
        self.nodes: list[tuple[int, Any]] = [(0, self.times[0])]
        self._z = Affine({0: 1})
        self.time = self.times[0]
        self._interval = (self.times[1], self.times[0])

    @property
    def z(self) -> Affine:
        """The solution at the current grid point."""
        return self._z

    @z.setter
    def z(self, state: Affine) -> None:
        """What the solution is instead; before the first evaluation, what the run starts from."""
        symbol = self._name(state)
        if not self.points and len(self.nodes) == 1:
            self.nodes[0] = (symbol, self.times[0])
        self._z = Affine({symbol: 1})

    def steps(self) -> Iterator[tuple[Any, Any]]:
        """Yield (t, s) with s < t for every step the method itself must take."""
        times = self.times
        if self.process.has_no_signal(times[0]):
            self._leave_zero_alpha(times[0], times[1])
            times = times[1:]
        last = len(times) - 1
        for i in range(last):
            t, s = times[i], times[i + 1]
            if i == last - 1 and self.process.has_no_noise(s):
                self.to_data(t, s)
                return
            self._interval = (s, t)
            before = len(self.nodes)
            yield t, s
            if len(self.nodes) == before:
                msg = f"method {self.name!r} did not advance from t = {t} to s = {s}."
                raise PlanError(msg)

    def predict(self, point: Affine, t: Any) -> Affine:
        """Evaluate the model at a state and a time: one row of the plan."""
        self.points.append((self._name(point), t))
        symbol = self._new("e", len(self.points))
        self.row_of[symbol] = len(self.points) - 1
        return Affine({symbol: 1})

    def point(self) -> Affine:
        """Where the last prediction was made, as one symbol: for steps that remember it."""
        return Affine({self.points[-1][0]: 1})

    def advance(self, state: Affine, s: Any = None) -> None:
        """Make ``state`` the solution at time ``s`` (default: the end of the current step)."""
        self.time = self._interval[0] if s is None else s
        symbol = self._name(state)
        self.nodes.append((symbol, self.time))
        self._z = Affine({symbol: 1})

    def operator(self, word: str) -> Operators:
        """A product of operators, ``"M"`` or ``"M M^T"``, to be used as ``A @ expression``."""
        return Operators({parse(word, self.operands): 1.0})

    def xi(self, start: Any = None, end: Any = None, kind: str | None = None) -> Affine:
        """A fresh standard normal draw for forward times [start, end] (default: the step's)."""
        low = self._interval[0] if start is None else start
        high = self._interval[1] if end is None else end
        kind = kind or self.draw_kind
        if kind not in DRAW_KINDS:
            msg = f"unknown draw kind {kind!r}; known: {', '.join(DRAW_KINDS)}."
            raise PlanError(msg)
        symbol = self._new("x", len(self.points))
        self.draw_of[symbol] = (kind, float(low), float(high))
        return Affine({symbol: 1})

    def F(self, t: Any) -> Any:
        """Drift matrix of the process; a plain number for one component, for speed."""
        return self._plain(self.process.F(t))

    def G(self, t: Any) -> Any:
        """Diffusion matrix of the process; a plain number for one component."""
        return self._plain(self.process.G(t))

    def data(self, point: Affine, prediction: Affine, t: Any) -> Affine:
        """The data prediction E[x0 | z(t)] that a prediction at ``point`` means."""
        return self.converted("data", point, prediction, t)

    def converted(self, kind: str, point: Affine, prediction: Affine, t: Any) -> Affine:
        """A prediction made at ``point`` expressed as another kind."""
        a, b = self.process.conversion(self.predicts, kind, t)
        return self._plain(a) * point + self._plain(b) * prediction

    def to_data(self, t: Any, s: Any) -> None:
        """One row to sigma(s) = 0: the state becomes alpha(s) times its data prediction."""
        prediction = self.predict(self.z, t)
        loading = self.process.loading(s)[0]
        self.advance(loading * self.data(self.z, prediction, t), s)

    def _leave_zero_alpha(self, t: Any, s: Any) -> None:
        """First row from alpha(t) = 0: the noise-free bridge given the data prediction."""
        sigma_t, sigma_s = self.process.sigma(t), self.process.sigma(s)
        prediction = self.predict(self.z, t)
        data = self.data(self.z, prediction, t)
        self.advance(sigma_s / sigma_t * self.z + self.process.alpha(s) * data, s)

    def plan(self) -> Plan:
        """Compile what was recorded into a Plan."""
        if self.denoise and not self.process.has_no_noise(self.time):
            prediction = self.predict(self.z, self.time)
            self.advance(self.data(self.z, prediction, self.time), self.time)
        if not self.points:
            msg = f"method {self.name!r} made no prediction, so there is nothing to run."
            raise PlanError(msg)
        return compile_plan(self)

    def _new(self, kind: str, level: int) -> int:
        self.kind.append(kind)
        self.level.append(level)
        return len(self.kind) - 1

    def _plain(self, block: Any) -> Any:
        """With one component the number in a (1, 1) matrix: scalars keep plan building fast."""
        return block[0, 0] if self.m == 1 else block

    def _name(self, state: Affine) -> int:
        """Symbol of a state: itself if the expression is one already, else a new one."""
        terms = state.terms
        if len(terms) == 1:
            (symbol, block), *_ = terms.items()
            if self.kind[symbol] in "zs" and isinstance(block, (int, float)) and block == 1:
                return symbol
        level = self.level
        symbol = self._new("s", max([level[i] for i in terms], default=0))
        self.defined[symbol] = terms
        return symbol


def gram(g: Any) -> Any:
    """G G^T of a diffusion matrix or of the plain number that stands for it."""
    return g @ g.T if isinstance(g, np.ndarray) else g * g


def check_times(grid: Sequence[Any], process: Any) -> list[Any]:
    """The grid as Python numbers, checked: at least two, decreasing, inside [0, t_max]."""
    times = [t if is_multiprecision(t) else float(t) for t in grid]
    if len(times) < 2:
        msg = f"the grid has {len(times)} point(s), but one step needs two; ask for steps >= 1."
        raise GridError(msg)
    for i in range(len(times) - 1):
        if not times[i] > times[i + 1]:
            hint = " Pass grid[::-1]?" if times[0] < times[-1] else " Remove repeated times."
            msg = (
                f"the grid must decrease, but grid[{i}] = {float(times[i]):.6g} <= grid[{i + 1}] = "
                f"{float(times[i + 1]):.6g}.{hint}"
            )
            raise GridError(msg)
    if times[0] > process.t_max * (1 + 1e-12) or times[-1] < 0:
        msg = (
            f"the grid runs from {float(times[0]):.6g} to {float(times[-1]):.6g}, but the process "
            f"lives on [0, {process.t_max:.6g}]; choose times inside."
        )
        raise GridError(msg)
    return times
