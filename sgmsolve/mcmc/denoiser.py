"""From a state (x, sigma) to the data: any plan of ours, each sample from its own level."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from sgmsolve._array import array_namespace
from sgmsolve.adaptive._rows import put, take
from sgmsolve.backends import solve
from sgmsolve.errors import ChainError, GridError, unknown
from sgmsolve.mcmc.checks import count, number
from sgmsolve.mcmc.draws import RAISED, STRIDE, EmissionNoise, derived_seed
from sgmsolve.mcmc.flow import rk45
from sgmsolve.mcmc.published import LEAST, published_plan
from sgmsolve.mcmc.view import View
from sgmsolve.model.base import scalar_for
from sgmsolve.plan import Plan, per_sample
from sgmsolve.process.base import ScalarProcess
from sgmsolve.sampling import build_plan

PUBLISHED = (*LEAST, "rk45")
"""Names of the six denoisers of the released code."""

RATIO = 1.01
"""Of neighbouring levels in the table that ``raised`` samples start from."""


@dataclasses.dataclass(frozen=True)
class Denoised:
    """Result of a denoiser: ``x`` (batch, *shape) and calls ``nfe`` (batch,)."""

    x: Any
    nfe: np.ndarray


@dataclasses.dataclass(frozen=True)
class Denoiser:
    """How samples get from their own noise levels to the data.

    Attributes:
        method: one of ``PUBLISHED``, or the name of one of our methods.
        n: of a published one, N as the released code counts it; of ours, steps of the grid. rk45
            has none: it has ``tolerance``.
        s_min: level at which the grid ends; 0.01 is published. Ours go on to the data from there.
        grid: of our methods: ``"karras"`` or ``"log-snr"`` (geometric).
        tweedie: radius of a last denoising step x + tau^2 score(x, tau), None for none. Published
            with 0.01; only rk45 and probability-flow need one.
        tolerance: of rk45: rtol and atol.
        options: of the method, pairs (name, value).

    Raises: ChainError for anything that makes no sense.
    """

    method: str
    n: int | None = None
    s_min: float = 0.01
    grid: str = "karras"
    tweedie: float | None = None
    tolerance: float = 1e-5
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.method, str):
            raise ChainError(f"method is a {type(self.method).__name__}, expected a name.")
        if self.method == "rk45":
            if self.n is not None or not number("tolerance", self.tolerance) < 1:
                msg = (
                    f"rk45 was given n = {self.n} and tolerance = {self.tolerance}, expected a "
                    "tolerance in (0, 1) and no n: it chooses its steps."
                )
                raise ChainError(msg)
        else:
            count("n", self.n, LEAST.get(self.method, 1))
        if self.method in PUBLISHED and self.options:
            raise ChainError(f"{self.method!r} is as published and takes no options.")
        for name, value in (("s_min", self.s_min), ("tweedie", self.tweedie)):
            if value is not None or name == "s_min":
                number(name, value)
        try:
            hash(self.options)
        except TypeError:
            msg = f"options = {self.options!r}, expected pairs of a name and a number or name."
            raise ChainError(msg) from None
        if self.grid not in ("karras", "log-snr"):
            raise ChainError(unknown("grid", str(self.grid), ("karras", "log-snr")))

    @property
    def published(self) -> bool:
        """Whether it is one of the released code's."""
        return self.method in PUBLISHED

    def plan(self, process: ScalarProcess, sigma: float) -> Plan:
        """The plan from level ``sigma``: for the view sigma = t if published, else for ``process``.

        Raises: ChainError for rk45, which is no plan; MethodError, GridError from the method.
        """
        if self.method == "rk45":
            raise ChainError("rk45 chooses its steps as it goes and is no plan.")
        return _plan(self, process, max(float(sigma), self.s_min * (1 + 1e-6)))

    def check(self, process: ScalarProcess, levels: Any) -> None:
        """Build the plans of the lowest and the highest level, so that errors come early."""
        if self.method != "rk45":
            for sigma in (np.min(levels), np.max(levels)):
                self.plan(process, float(sigma))

    def __call__(
        self,
        model: Any,
        x: Any,
        sigma: Any,
        *,
        seed: int = 0,
        chains: Any = None,
        emissions: Any = None,
        raised: bool = False,
    ) -> Denoised:
        """Denoise x (batch, *shape), data plus noise of the levels sigma (batch,) or a number.

        chains, emissions: integers (batch,) that key the draws, so that a sample does not depend on
        the batch it is in; by default 0, 1, ... and 0. Every distinct level has a plan: where
        levels are not from a table, ``raised=True`` first takes each sample up to the next level of
        a table of ratio 1.01, by exactly the noise that parts them. (rk45 needs no plans.)
        """
        view, batch = View(model), x.shape[0]
        sigma = np.broadcast_to(np.asarray(sigma, dtype=np.float64), (batch,))
        view.check_levels(min(self.s_min, self.tweedie or self.s_min), float(sigma.max()))
        who = np.arange(batch) if chains is None else np.asarray(chains)
        when = np.zeros(batch, dtype=np.int64) if emissions is None else np.asarray(emissions)
        if self.method == "rk45":
            found = rk45(view, x, sigma, self.s_min, self.tolerance)
            made, nfe = found.z[0], found.nfe.copy()
        else:
            noise = EmissionNoise(derived_seed(seed, "denoise"), who, when)
            sigma = np.maximum(sigma, self.s_min * (1 + 1e-6))
            x, sigma = _raised(x, sigma, noise, view.ends[1]) if raised else (x, sigma)
            made, nfe = self._run(view, x, sigma, noise)
        if self.tweedie is not None:
            tau = float(self.tweedie)
            made, nfe = made - tau * view.noise(made, np.full(batch, tau)), nfe + 1
        return Denoised(made, nfe)

    def _run(
        self, view: View, x: Any, sigma: np.ndarray, noise: EmissionNoise
    ) -> tuple[Any, np.ndarray]:
        """Groups of samples whose plans have tables of one shape run together."""
        levels, which = np.unique(sigma, return_inverse=True)
        plans = [self.plan(view.base, level) for level in levels]
        shapes = [_layout(p) for p in plans]
        nfe = np.array([p.nfe for p in plans])[which]
        out = array_namespace(x).asarray(x, copy=True)
        for shape in dict.fromkeys(shapes):
            rows = np.flatnonzero([shapes[i] == shape for i in which])
            mine = [plans[which[i]] for i in rows]
            one = len({id(p) for p in mine}) == 1
            part, source = (
                take(x, rows),
                EmissionNoise(noise.keyed.seed, noise.chains[rows], noise.emissions[rows]),
            )
            model = view if self.published else view.model
            if not self.published:
                part = self._scale(view.base, part, sigma[rows], mine[0].t_start)
            plan = mine[0] if one else per_sample(mine)
            out = put(out, rows, solve(plan, model, part, noise=source, on_nonfinite="ignore").x)
        return out, nfe

    @staticmethod
    def _scale(process: ScalarProcess, x: Any, sigma: np.ndarray, t: float) -> Any:
        """A state of the process: alpha x."""
        alpha = np.asarray(process.alpha(np.asarray(process.time_of_rho(sigma))))
        return x if np.all(alpha == 1) else scalar_for(alpha, x) * x


def _layout(plan: Plan) -> tuple[Any, ...]:
    """What plans must share to be stacked."""
    return plan.move.shape, plan.kick.shape, plan.noise.shape, plan.prelude_noise.shape


@functools.lru_cache(maxsize=1024)
def _plan(denoiser: Denoiser, process: ScalarProcess, sigma: float) -> Plan:
    n = denoiser.n
    assert n is not None  # checked when the denoiser was made
    if denoiser.published:
        return published_plan(denoiser.method, sigma, n, denoiser.s_min)
    ends = {
        "t_max": float(process.time_of_rho(sigma)),
        "t_min": float(process.time_of_rho(denoiser.s_min)),
    }
    try:
        return build_plan(
            process,
            denoiser.method,
            steps=n,
            grid=denoiser.grid,
            grid_options=ends,
            denoise=True,
            **dict(denoiser.options),
        )
    except GridError as error:
        msg = f"no grid from level {sigma:.4g} to {denoiser.s_min:.4g} under {process!r}: {error}"
        raise ChainError(msg) from error


def _raised(
    x: Any, sigma: np.ndarray, noise: EmissionNoise, highest: float
) -> tuple[Any, np.ndarray]:
    """(x, sigma) with few distinct levels: sqrt(s'^2 - s^2) xi takes a sample up to level s'."""
    up = np.exp(math.log(RATIO) * np.ceil(np.log(sigma) / math.log(RATIO)))
    up = np.where(up > highest, sigma, np.maximum(up, sigma))
    rows = noise.emissions * STRIDE
    shape = tuple(x.shape[1:])
    xi = noise.keyed.each(noise.chains, rows + STRIDE - 1, RAISED, shape, x)
    return x + scalar_for(np.sqrt((up - sigma) * (up + sigma)), x) * xi, up
