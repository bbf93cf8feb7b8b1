"""Noise-calibrated reverse diffusion: the exact mean of a step, and as much noise as it misses.

With s = rho^2 = sigma^2/alpha^2 a step from t to s' < t has d = rho_t^2 - rho_s'^2. Its mean given
x is exact for every target; its covariance is d (I + d Hessian of log p + ...) for x/alpha.
Injecting gamma d makes an error d (gamma - 1 + d/(lam + s)) in a Gaussian mode of data variance
lam, which reaches the end times ((lam + s_end)/(lam + s))^2. In the limit of small steps d(s) the
sum is

    integral of [(gamma - 1)/d + 1/(lam + s)] d / (lam + s)^2 ds
        = [-d/2 / (lam + s)^2] + integral of [gamma - 1 + d'(s)/2] / (lam + s)^2 ds,

by parts. So gamma = 1 - d'(s)/2 leaves boundary terms only, for every lam at once; half a step's
noise less at the end and half a step's more at the start cancel those too. On a geometric grid
d' = 1 - rho_s'^2/rho_t^2: gamma = (1 + ratio)/2. On targets with third derivatives of log p the
term -1/2 integral of d E[grad Laplacian log p . grad u] is left: the weak order stays 1.
docs/predictor-corrector.md has the derivation in full and what it gains.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from sgmsolve._array import ops
from sgmsolve.methods.multistep import choose
from sgmsolve.methods.registry import register
from sgmsolve.plan import Plan, PlanBuilder

RULES = ("steps", "ratio")


def gaps(process: Any, times: Sequence[Any]) -> list[Any]:
    """Gaps d_i = rho(t_i)^2 - rho(t_{i+1})^2 of all steps, not cancelling; None from alpha = 0."""
    found: list[Any] = []
    for t, s in itertools.pairwise(times):
        if process.has_no_signal(t):
            found.append(None)
        else:
            found.append(process.transition_variance(s, t) / process.alpha(t) ** 2)
    return found


def noise_gain(gap: Any, following: Any, kappa: float = 0.0, steps: int = 0) -> Any:
    """Gamma, the share of the forward noise that a step injects.

    gap: d of this step; following: that of the next, see ``following_gaps``. kappa, steps: step
    size over sigma^2 and number of Langevin steps between two predictor steps; they contract by
    1 - 2 kappa sigma^2/c and add kappa^2 sigma^4/c, and the fixed point of both maps is right, on a
    geometric grid, for

        gamma = 1 - (w^2 + steps kappa^2) / (2 (w + steps kappa)),   w = 1 - following/gap.
    """
    w = 1 - following / gap
    if not steps:
        return 1 - w / 2
    w = w if w > 0 else 0 * w
    return 1 - (w**2 + steps * kappa**2) / (2 * (w + steps * kappa))


def following_gaps(process: Any, times: Sequence[Any], rule: str) -> list[Any]:
    """For every step d of the next, 0 after the last with noise; by "ratio" d rho_s^2/rho_t^2."""
    choose("rule", rule, RULES)
    found = gaps(process, times)
    if rule == "ratio":
        return [
            None if d is None else d * (process.rho(s) / process.rho(t)) ** 2
            for d, t, s in zip(found, times[:-1], times[1:], strict=True)
        ]
    following = [*found[1:], 0.0]
    if process.has_no_noise(times[-1]):  # the step to the data has no noise to share
        following[-2:] = [0.0] * len(following[-2:])
    return following


@register(
    "calibrated-reverse-diffusion",
    family="one-step",
    summary="Reverse diffusion with the noise that makes a Gaussian's variance right.",
    predicts="score",
    variable="rho",
    orders={"weak": 1},
    stochastic=True,
    weights=("published",),
    reference="sgmsolve",
    equation="sgmsolve.methods.calibrated",
    aliases=("calibrated",),
    notes=(
        "Injects the mean of this step's and the next one's forward variance. Variances of "
        "Gaussian modes are right to second order (with half_start, and the exact start, at all "
        "times); the last step before a denoising row, and that row, add no more noise than this."
    ),
    order_notes="2 on Gaussians with half_start, 1 in general.",
)
def calibrated_reverse_diffusion(
    process: Any,
    grid: Sequence[Any],
    *,
    rule: str = "steps",
    half_start: bool = False,
    denoise: bool = False,
) -> Plan:
    """x_s = (x + v score(x, t))/a + alpha_s sqrt(gamma d) xi, with a, v those of the forward step.

    ``rule="steps"``: gamma d = (d + d of the next step)/2, d/2 in the last step with noise.
    ``rule="ratio"``: gamma = (1 + rho_s^2/rho_t^2)/2 in every step, the same on a geometric grid
    but for the last; better on Karras grids and VP's uniform ones below about 100 steps, worse
    above. ``half_start`` adds noise of variance alpha_t^2 d/2 to the start.
    For processes with alpha = 1 the mean is that of reverse diffusion, in general that of DDPM.
    Derived by the authors, see the module; the geometric rule is 2.6 of their study of PDS.
    """
    b = PlanBuilder(process, grid, predicts="score", denoise=denoise, draws="kernel")
    found, following = gaps(process, b.times), following_gaps(process, b.times, rule)
    place = {t: i for i, t in enumerate(b.times)}
    for t, s in b.steps():
        d, after = found[place[t]], following[place[t]]
        if half_start and t == b.times[0]:
            b.z = b.z + process.alpha(t) * ops(d).sqrt(d / 2) * b.xi(kind="iid")
        x, score = b.z, b.predict(b.z, t)
        x = b.point()
        a, v = process.alpha_ratio(s, t), process.transition_variance(s, t)
        noise = process.alpha(s) * ops(d).sqrt(noise_gain(d, after) * d)
        b.advance((x + v * score) / a + noise * b.xi())
    return b.plan()
