"""The Plan itself: shapes, response, merged draws."""

import dataclasses

import numpy as np
import pytest

from sgmsolve.errors import PlanError
from sgmsolve.plan import DRAW, Plan, PlanBuilder
from sgmsolve.process.vp import VP


def improved_euler() -> Plan:
    """Two draws a step, one of them used in both rows, and two registers."""
    b = PlanBuilder(VP(), (0.9, 0.7, 0.4), predicts="noise", name="sie", draws="increment")
    for t, s in b.steps():
        e0 = b.predict(b.z, t)
        one, two = b.xi(), b.xi(kind="area")
        e1 = b.predict(0.9 * b.z + 0.3 * e0 + 0.4 * one + 0.1 * two, s)
        b.advance(0.8 * b.z + 0.2 * e1 + 0.7 * one - 0.2 * two)
    return b.plan()


def law(plan: Plan) -> np.ndarray:
    """Covariance of the result for fixed predictions and start."""
    noise = plan.response().noise
    return noise.T @ noise


def test_response_is_the_affine_map_of_a_run() -> None:
    """Against a run by hand with random predictions and draws."""
    plan, rng = improved_euler(), np.random.default_rng(0)
    e, z0 = rng.standard_normal(plan.rows), rng.standard_normal()
    xi = {(r, j): rng.standard_normal() for r in range(plan.rows) for j in plan.active_draws(r)}
    Z = plan.prelude_move[:, 0] * z0
    for r in range(plan.rows):
        Z = plan.move[r] @ Z + plan.kick[r, :, 0, 0] * e[r]
        for j in range(1, min(plan.history, r + 1)):
            Z = Z + plan.kick[r, :, 0, j] * e[r - j]
        Z = Z + sum(plan.noise[r, :, j] * xi[r, j] for j in plan.active_draws(r))
    found = plan.response()
    value = found.z0[0, 0] * z0 + found.predictions[:, 0, 0] @ e
    value += found.noise[:, 0] @ np.array([xi[key] for key in sorted(xi)])
    assert value == pytest.approx(Z[0], rel=1e-14)


def test_compress_keeps_the_law() -> None:
    plan = improved_euler()
    merged = plan.compress()
    assert not merged.pathwise
    for r in range(plan.rows):
        want = plan.noise[r] @ plan.noise[r].T
        np.testing.assert_allclose(merged.noise[r] @ merged.noise[r].T, want, atol=1e-15)
    np.testing.assert_allclose(law(merged), law(plan), rtol=1e-13)
    assert {str(k) for k in merged.draws["kind"].ravel()} == {"iid", "none"}


def test_compress_makes_fewer_draws() -> None:
    """Three draws for one register become one."""
    plan = _with_three_draws()
    merged = plan.compress()
    assert merged.noise.shape == (1, 1, 1)
    assert merged.noise[0, 0, 0] == pytest.approx(np.sqrt(0.3**2 + 0.4**2 + 1.2**2))


def _with_three_draws() -> Plan:
    b = PlanBuilder(VP(), (0.9, 0.4), predicts="noise")
    for t, _ in b.steps():
        e = b.predict(b.z, t)
        b.advance(b.z + e + 0.3 * b.xi() + 0.4 * b.xi() - 1.2 * b.xi())
    return b.plan()


def test_plan_counts() -> None:
    plan = improved_euler()
    assert plan.nfe == plan.rows == 4
    assert (plan.m, plan.p) == (1, 1)
    assert plan.stochastic
    assert not plan.replace(noise=0 * plan.noise).stochastic
    assert "sie" in repr(plan)


def test_inconsistent_tables_are_refused() -> None:
    plan = improved_euler()
    with pytest.raises(PlanError, match="move has shape"):
        plan.replace(move=plan.move[:-1])
    with pytest.raises(PlanError, match="noise has shape"):
        plan.replace(draws=np.zeros((plan.rows, 1), DRAW))
    kick = plan.kick.copy()
    kick[2, 0, 0, 0] = np.nan
    with pytest.raises(PlanError, match="not finite in row 2"):
        plan.replace(kick=kick)
    with pytest.raises(PlanError, match=r"unknown plan field 'kicks'.*'kick'"):
        plan.replace(kicks=kick)


def test_plans_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        improved_euler().name = "other"  # type: ignore[misc]
