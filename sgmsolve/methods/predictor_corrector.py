"""Predictor-corrector samplers with deterministic step sizes, preconditioned where asked.

At every time of the grid: ``corrector_steps`` Langevin steps at that noise level, then a predictor
step to the next one, then a last row that returns the noise-free mean. docs/predictor-corrector.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sgmsolve.errors import MethodError
from sgmsolve.methods._correctors import (
    CORRECTORS,
    NORMS,
    StepRule,
    check_noise,
    check_numbers,
    modes_of,
)
from sgmsolve.methods._predictors import (
    PREDICTOR_NOISE,
    PREDICTORS,
    Move,
    act,
    data_move,
    entered,
    exact_moves,
    score_sde_moves,
    warn_of_overshoot,
)
from sgmsolve.methods.multistep import choose
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.precondition.base import WHERE, Preconditioner
from sgmsolve.precondition.places import WHOLE, check_place, filters_prior

FINALS = ("auto", "predictor", "plain", "none")


def _limits(claims: dict[str, float], options: Mapping[str, Any], steps: int) -> dict[str, float]:
    """Order 1 for what has no corrector and an exact place for M."""
    exact = options["where"] in ("exact-split", "corrector") or options["preconditioner"] is None
    plain = options["corrector"] == "none" and options["predictor"] != "none"
    return {"weak": 1} if exact and plain and options["discretisation"] == "exact" else {}


@register(
    "predictor-corrector",
    family="predictor-corrector",
    summary="A predictor step after every Langevin correction, with any preconditioner.",
    predicts="score",
    variable="t",
    orders={},
    limits=_limits,
    stochastic=True,
    evaluations=2,
    weights=("published",),
    reference="song2021sde",
    equation="Algorithms 1 to 5",
    aliases=("pc",),
    notes=(
        "Step sizes follow from expected norms, see the plan's `step_rule`; "
        "predictor-corrector-norms takes the run's own. where='published' is PDS, 'noise' TDAS."
    ),
    order_notes=(
        "A corrector with a fixed snr leaves a bias of about snr^2; without one 1, but for "
        "where='published', 'noise' and 'forward'."
    ),
)
def predictor_corrector(
    process: Any,
    grid: Sequence[Any],
    *,
    predictor: str = "reverse-diffusion",
    corrector: str = "langevin",
    corrector_steps: int = 1,
    snr: float = 0.16,
    epsilon: float | None = None,
    norms: str = "marginal",
    spectrum: Any = None,
    preconditioner: Any = None,
    where: str = "exact-split",
    skew: Any = None,
    discretisation: str = "exact",
    final: str = "auto",
    denoise: bool = False,
) -> Plan:
    """At each time: x + h (M M^T + S) s + sqrt(2h) M z, then the predictor's x_mean + noise M z.

    predictor: ``"reverse-diffusion"``, ``"euler-maruyama"``, ``"ancestral"``, ``"calibrated"`` (see
    ``calibrated-reverse-diffusion``; its gain allows for the corrector) or ``"none"``.
    corrector: ``"langevin"``: h = 2 (snr |M z|/|M M^T s|)^2 alpha_j with expected norms; ``"ald"``,
    annealed Langevin: h = 2 (snr sigma)^2 alpha_j (NCSNv2), or with ``epsilon`` the h = epsilon/2
    (sigma/sigma_end)^2 of NCSN; ``"none"``. alpha_j = 1 for VE, 1 - beta_j for VP.
    norms, spectrum: ``"marginal"`` or ``"propagated"`` expected norms on ``spectrum``: a Gaussian
    target or variances of M's modes. Without one all is noise: h = 2 (snr sigma)^2 for M = I. A
    Scalar M changes no corrector step. S is left out of expected norms.
    preconditioner, where: M and its place: ``"exact-split"``, score/2 (I + M M^T + S) s in place of
    score s; ``"published"`` (PDS), M M^T on the predictor's whole step, noise M z, prior M z;
    ``"noise"`` (TDAS), noise M z in predictor and corrector, whose drift is s, prior M z;
    ``"corrector"``; ``"forward"``, published for a network of the preconditioned process (prior M z
    where alpha = 1). skew: S.
    discretisation: ``"exact"``, transitions between the grid's times; or ``"score_sde"``, its
    tables: T iterations on a uniform grid of T times (``steps=T - 1``) from 1.
    final: last row, a noise-free mean: ``"predictor"``: by the predictor with M, as released;
    ``"plain"``: with M = I; ``"auto"``: the former for published and forward, else the latter;
    ``"none"``: no such row, unless ``denoise``.

    Raises: MethodError: unknown names, numbers and grids that make no sense, a spectrum that does
    not fit; PreconditionError: an M that ``where`` cannot work with.
    Sources: score_sde (arXiv:2011.13456, released code), arXiv:1907.05600 (NCSN), 2006.09011
    (NCSNv2), 2302.06504 (PDS), 2206.04029 (TDAS).
    """
    check_words(predictor, where, preconditioner, skew, discretisation, final)
    choose("corrector", corrector, CORRECTORS)
    choose("norms", norms, NORMS)
    if predictor == corrector == "none":
        msg = "predictor and corrector are both 'none', which leaves nothing to do; choose one."
        raise MethodError(msg)
    check_numbers(corrector_steps, snr, epsilon)
    if where == "corrector" and corrector == "none" and preconditioner is not None:
        msg = (
            "where='corrector' was given with corrector='none', which leaves the preconditioner "
            "nothing to do; choose a corrector, or where='exact-split'."
        )
        raise MethodError(msg)
    if corrector != "none":
        check_noise(preconditioner)
    if final == "none" and denoise:
        final = "plain"
    made = Assembly(process, grid, where, preconditioner, skew, discretisation == "score_sde")
    if corrector != "none":
        made.correct_with(corrector, corrector_steps, snr, norms, epsilon, spectrum)
    return made.plan(predictor, final)


def check_words(
    predictor: str, where: str, M: Any, S: Any, discretisation: str, final: str
) -> None:
    """MethodError for unknown words and no operators; PreconditionError for ones out of place."""
    choose("predictor", predictor, PREDICTORS)
    choose("discretisation", discretisation, ("exact", "score_sde"))
    choose("final", final, FINALS)
    choose("where", where, WHERE)
    for name, given in (("preconditioner", M), ("skew", S)):
        if not (given is None or isinstance(given, Preconditioner)):
            msg = (
                f"{name} is a {type(given).__name__}, expected an operator of "
                f"sgmsolve.precondition; wrap numbers, Scalar(1.1) or Diagonal(gains), say."
            )
            raise MethodError(msg)
    check_place(M, where, S)
    if M is not None:
        M.check_stable(where)


class Assembly:
    """One build: operators, the step rule, and the rows.

    Arguments are those of the method, checked; ``tables``: score_sde's discretisation.
    ``corrections``: step over sigma^2 and number of corrector steps, for the predictor's noise.
    """

    def __init__(
        self, process: Any, grid: Sequence[Any], where: str, M: Any, S: Any, tables: bool
    ) -> None:
        self.process, self.tables = process, tables
        self.M = None if M is None or M.scalar == 1 else M
        # Without M all places but one are one, and are to be so bit for bit.
        self.where = "exact-split" if self.M is None and where != "corrector" else where
        operands = {name: op for name, op in (("M", self.M), ("S", S)) if op is not None}
        # The row to sigma = 0 is the last one of ours, with the operators that it is to have.
        times, self.data_time = list(grid), None
        if len(times) > 1 and process.has_no_noise(times[-1]):
            self.data_time = times.pop()
            if len(times) == 1:
                msg = (
                    f"the grid has one step, to t = {float(self.data_time):g} where there is no "
                    f"noise, expected at least one step before it; take more steps."
                )
                raise MethodError(msg)
        self.b = PlanBuilder(process, times, predicts="score", draws="kernel", operands=operands)
        self.noise, self.gram = self._letters()
        self.skew = None if S is None else self.b.operator("S")
        self.rule: StepRule | None = None
        self.corrections: tuple[float, int] = (0.0, 0)
        self.moves: dict[Any, Move] = {}

    def _letters(self) -> tuple[Any, Any]:
        """M and M M^T: words, numbers if M = m I, or None for the identity."""
        if self.M is None:
            return None, None
        if self.M.scalar is not None:
            return self.M.scalar, self.M.scalar**2
        return self.b.operator("M"), self.b.operator("M M^T")

    def correct_with(
        self, corrector: str, count: int, snr: float, norms: str, epsilon: Any, spectrum: Any
    ) -> None:
        """Decide how corrector steps get their size."""
        if norms == "propagated" and spectrum is None:
            msg = (
                "norms='propagated' needs a Gaussian whose variances it follows, but no spectrum "
                "was given; pass spectrum=target, or norms='marginal'."
            )
            raise MethodError(msg)
        end = float(self.process.sigma(self.b.times[-1]))
        self.corrections = 2 * snr**2, count
        modes = modes_of(None if corrector == "ald" else self.M, spectrum)
        chosen = (snr, norms, epsilon, end)
        self.rule = StepRule(self.process, corrector, self.where, modes, *chosen)
        self.b.options["step_rule"] = self.rule.told

    def find_moves(self, predictor: str) -> None:
        """What each predictor step does; before ``level`` is asked for."""
        make = score_sde_moves if self.tables else exact_moves
        self.moves = make(self.process, predictor, self.b.times, *self.corrections)
        if predictor != "none":
            warn_of_overshoot(self.process, self.moves, self.where, self.M)

    def plan(self, predictor: str, final: str, filtered: bool = True) -> Plan:
        """All rows; ``filtered``: start from M z where the place asks for that."""
        b = self.b
        self.find_moves(predictor)
        grows = self.process.alpha(b.times[0]) == 1
        filtered = filtered and self.M is not None and filters_prior(self.where, grows)
        if filtered:
            b.z = act(self.noise, b.z)
        for t, s in b.steps():
            if self.rule is not None and self.rule.law is None:
                self.rule.begin(t, self.rule.modes.gram if filtered else 1.0)
            self._correct(t, self.moves[t].level, (s, t))
            if predictor == "none":
                b.advance(b.z)
            else:
                self._predict(t)
        self._finish(predictor, final)
        return b.plan()

    def _correct(self, t: Any, level: Any, interval: tuple[Any, Any]) -> None:
        """The corrector's steps at time t."""
        b = self.b
        if self.rule is None:
            return
        for _ in range(self.corrections[1]):
            score, h = b.predict(b.z, t), self.rule.step(t, level)
            drift = score if self.where == "noise" else act(self.gram, score)
            if self.skew is not None:
                drift = drift + self.skew @ score
            xi = act(self.noise, b.xi(*interval, kind="iid"))
            b.z = b.point() + h * drift + (2 * h) ** 0.5 * xi
            self.rule.corrected(t, h)

    def _predict(self, t: Any) -> None:
        """One predictor step to the end of the current interval."""
        b, move = self.b, self.moves[t]
        score, xi = b.predict(b.z, t), b.xi()
        skew = None if self.where == "corrector" else self.skew
        mean = entered(self.where, b.point(), score, move, self.gram, skew)
        noise = act(self.noise, xi) if self.where in PREDICTOR_NOISE else xi
        b.advance(mean + move.noise * noise)
        if self.rule is not None:
            self.rule.predicted(t, move)

    def _finish(self, predictor: str, final: str) -> None:
        """The corrector at the last time and the noise-free mean."""
        b, t = self.b, self.b.times[-1]
        wanted = final != "none" or self.data_time is not None
        if wanted or predictor == "none":
            self._correct(t, self.level(t), (t, b.times[-2]))
        if not wanted:
            if predictor == "none":
                b.advance(b.z, t)
            return
        released = final == "predictor" or (final != "plain" and self.where in WHOLE)
        gram = self.gram if released else None
        skew = self.skew if final == "predictor" and self.where != "corrector" else None
        tables = self.tables and predictor != "none"
        move = self.moves[t] if tables else data_move(self.process, t)
        score = b.predict(b.z, t)
        mean = entered(self.where, b.point(), score, move, gram, skew)
        b.advance(mean, t if self.data_time is None else self.data_time)

    def level(self, t: Any) -> Any:
        """The corrector's alpha_j at a time of the grid."""
        return self.moves[t].level if t in self.moves else 1.0
