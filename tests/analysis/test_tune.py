"""The tuner: optima found in other ways, errors that mean what they say, warnings where due."""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sgmsolve.problems import find

import sgmsolve
from sgmsolve.analysis import exact
from sgmsolve.analysis.metrics import sliced_w2
from sgmsolve.analysis.tune import ModelProblem, Tuned, tune
from sgmsolve.analysis.tune_objective import GaussianError, StrongError
from sgmsolve.analysis.tune_problems import gaussian_of, perturbed, twin
from sgmsolve.analysis.tune_report import Scores, cautions
from sgmsolve.analysis.tune_search import Search, latin_hypercube
from sgmsolve.analysis.tune_space import Parameter, log_steps, times_of
from sgmsolve.errors import AnalysisError, MethodError, StabilityWarning
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan

GAUSSIAN, RING = find("gaussian"), find("ring").replace(starts=200, samples=400)


def said(found: Tuned, words: str) -> bool:
    return any(words in text for text in found.warnings)


def w2(method: str, nfe: int, grid: str, shape: dict[str, float], **options: Any) -> float:
    more = {"t_min": GAUSSIAN.t_end, **shape}
    plan = build_plan(GAUSSIAN.process, method, nfe=nfe, grid=grid, grid_options=more, **options)
    return exact.error(plan, GAUSSIAN.target, GAUSSIAN.process, "w2")


def test_one_parameter_is_the_optimum_of_a_dense_scan() -> None:
    found = tune(GAUSSIAN, "ddim", nfe=8, grid="quadratic")
    powers = np.linspace(1.5, 6, 4001)
    errors = [w2("ddim", 8, "quadratic", {"power": p}) for p in powers[::20]]
    near = powers[::20][int(np.argmin(errors))]
    fine = [p for p in powers if abs(p - near) < 0.03]
    right = fine[int(np.argmin([w2("ddim", 8, "quadratic", {"power": p}) for p in fine]))]
    assert found.grid_options["power"] == pytest.approx(right, abs=2e-3)
    assert right == pytest.approx(2.0625, abs=0.003)  # and not the default
    assert found.scores.train < found.default_scores.train


def test_two_parameters_are_not_above_a_dense_scan() -> None:
    found = tune(GAUSSIAN, "dpm++2s", nfe=6, grid="karras")
    scan = min(
        w2("dpm++2s", 6, "karras", {"rho": rho}, r=r)
        for rho in np.geomspace(1, 100, 30)
        for r in np.linspace(0.1, 0.95, 30)
    )
    assert found.scores.train <= scan
    assert found.scores.train == pytest.approx(
        w2("dpm++2s", 6, "karras", {"rho": found.grid_options["rho"]}, **found.options), rel=1e-9
    )


@pytest.mark.parametrize(
    ("problem", "method", "nfe", "more"),
    [
        (GAUSSIAN, "unipc-3", 10, {}),
        (GAUSSIAN, "ddim", 5, {"grid": "log-snr", "free_grid": True}),
        (GAUSSIAN, "sa-solver", 6, {}),
        (RING, "heun", 9, {}),
        (RING, "sde-dpm++2m", 5, {"budget": 40}),
        (RING, "restart", 14, {"budget": 30}),
        (RING, "dpm-solver-fast", 7, {"budget": 12}),
        (RING, "dpm++2m", 2, {"free_grid": True, "budget": 3}),
    ],
)
def test_train_error_is_never_above_the_default_and_the_budget_holds(
    problem: Any, method: str, nfe: int, more: dict[str, Any]
) -> None:
    found = tune(problem, method, nfe=nfe, **more)
    assert found.scores.train <= found.default_scores.train
    assert found.plan.nfe <= nfe
    own = build_plan(problem.process, method, nfe=nfe, **problem.grid_arguments)
    assert np.array_equal(found.default_plan.response().flat(), own.response().flat())
    assert found.evaluations <= more.get("budget", 2000) + 2
    errors = [e for _, e, _ in found.history]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(found.scores.train, rel=1e-12)


def test_a_free_grid_beats_the_best_named_one() -> None:
    """DDIM, 6 evaluations: measured gains 1.70 in train, 1.91 in transfer."""
    named = tune(GAUSSIAN, "ddim", nfe=6)
    free = tune(GAUSSIAN, "ddim", nfe=6, free_grid=True)
    assert 1.6 < named.scores.train / free.scores.train < 1.8
    assert 1.8 < free.default_scores.transfer / free.scores.transfer < 2.0  # type: ignore[operator]
    assert free.grid == "free"
    assert (free.times[0], free.times[-1]) == (1.0, GAUSSIAN.t_end)
    assert free.grid_options["times"] == free.times.tolist()
    # A minimum: no single time can be moved to better effect.
    for i in range(1, 6):
        for factor in (0.99, 1.01):
            moved = free.times.copy()
            moved[i] *= factor
            plan = build_plan(GAUSSIAN.process, "ddim", grid=moved)
            assert exact.error(plan, GAUSSIAN.target, GAUSSIAN.process) > free.scores.train


def test_held_out_and_transfer_errors_are_what_they_say() -> None:
    found = tune(GAUSSIAN, "ddim", nfe=6, free_grid=True, seed=3)
    others = [perturbed(GAUSSIAN.target, 3 + 10_000_000 + i) for i in range(8)]
    errors = [exact.error(found.plan, o, GAUSSIAN.process) for o in others]
    assert found.scores.held_out == pytest.approx(math.sqrt(np.mean(np.square(errors))), rel=1e-12)
    assert len({round(e, 12) for e in errors}) == 8
    # Strong: train and held-out starts are other draws, measured against the exact flow.
    strong = tune(GAUSSIAN, "ddim", nfe=6, objective="strong", grid="karras")
    model = GAUSSIAN.target.model(GAUSSIAN.process)
    for shift, error in ((0, strong.scores.train), (10_000_000, strong.scores.held_out)):
        z = GAUSSIAN.marginal(2000, 1.0, shift)[:512]
        right = GAUSSIAN.target.flow_map(z, 1.0, GAUSSIAN.t_end, GAUSSIAN.process)
        ends = np.asarray(sgmsolve.solve(strong.plan, model, (z,)).x)
        assert error == pytest.approx(np.sqrt(np.mean((ends - right) ** 2)), rel=1e-4)
    assert strong.scores.train != strong.scores.held_out
    assert strong.transfer_on is not None  # a Gaussian problem is one, whatever is measured


def test_samples_are_compared_with_the_same_noise() -> None:
    sized = RING.replace(samples=2000)
    found = tune(sized, "euler-maruyama", nfe=5, budget=10, search={"eta": None}, seed=1)
    assert found.objective == "sliced-w2"
    model = RING.target.model(RING.process)

    def distance(seed: int) -> float:
        z, right = (sized.marginal(2000, *a) for a in ((80.0, seed), (0.002, 1_000_000 + seed)))
        return sliced_w2(np.asarray(sgmsolve.solve(found.plan, model, (z,), seed=seed).x), right)

    assert found.scores.train == pytest.approx(distance(1), rel=1e-12)
    others = [distance(10_000_001 + s) for s in range(3)]
    assert found.scores.held_out == pytest.approx(np.mean(others), rel=1e-12)


def test_what_was_tuned_on_a_gaussian_and_does_not_transfer_is_said_with_figures() -> None:
    found = tune(find("ring"), "dpm++2m", nfe=10, objective="gaussian")
    assert found.scores.train < 1e-4 < found.default_scores.train
    assert 0.15 < found.scores.held_out < 0.25
    assert 2.0 < found.scores.transfer / found.default_scores.transfer < 2.6  # type: ignore[operator]
    (text,) = [w for w in found.warnings if "does not transfer" in w]
    assert "0.251" in text
    assert "0.109" in text
    assert said(found, "does not hold elsewhere")
    # Tuned on the ring itself it is better than the default, held out too, and nothing is said.
    direct = tune(find("ring"), "dpm++2m", nfe=10, search={"rho": (1, 400)})
    assert direct.scores.held_out < 0.6 * direct.default_scores.held_out
    assert not said(direct, "transfer")
    assert direct.scores.transfer is None
    assert not said(direct, "where it was tuned")


def test_the_gaussian_of_a_problem_has_its_moments() -> None:
    fit = gaussian_of(find("moons"))
    x = find("moons").target.sample(200_000, seed=0)
    assert np.allclose(fit.mean, x.mean(axis=0), atol=0.01)
    assert np.allclose(np.asarray(fit.moments()[1]), np.cov(x.T), atol=0.01)
    assert gaussian_of(GAUSSIAN) is GAUSSIAN.target


def test_the_twin_has_the_moments_and_is_no_gaussian() -> None:
    other = twin(GAUSSIAN)
    assert other is not None
    for a, b in zip(other.target.moments(), GAUSSIAN.target.moments(), strict=True):
        assert np.allclose(np.asarray(a), np.asarray(b), atol=1e-12)
    x = other.target.sample(100_000, seed=0) - other.target.moments()[0]
    direction = np.linalg.eigh(np.asarray(other.target.moments()[1]))[1][:, -1]
    y = x @ direction
    # Two bumps at -+0.9 s: excess kurtosis -2 0.9^4 = -1.31.
    assert np.mean(y**4) / np.mean(y**2) ** 2 - 3 == pytest.approx(-1.312, abs=0.03)
    assert twin(find("field")) is None


def test_where_no_other_law_was_measured_that_is_said() -> None:
    found = tune(find("field"), "ddim", nfe=4, budget=10)
    assert found.scores.transfer is None
    assert said(found, "no other law was measured")


def test_the_saved_plan_gives_the_reported_error(tmp_path: Path) -> None:
    found = tune(GAUSSIAN, "sde-dpm++2m", nfe=7, free_grid=True, budget=300)
    found.plan.save(tmp_path / "p.npz")
    plan = Plan.load(tmp_path / "p.npz")
    error = exact.error(plan, GAUSSIAN.target, GAUSSIAN.process)
    assert error == pytest.approx(found.scores.train, rel=1e-13)
    assert plan.options["eta"] == found.options["eta"]
    assert [n.time for n in plan.nodes] == found.times.tolist()
    again = build_plan(GAUSSIAN.process, plan.name, grid=found.times, **plan.options)
    assert np.array_equal(again.kick, plan.kick)


def test_same_seed_same_result() -> None:
    a, b, c = (tune(RING, "dpm-solver-2", nfe=6, budget=25, seed=s) for s in (0, 0, 1))
    assert a.history == b.history
    assert a.scores == b.scores
    assert a.scores.train != c.scores.train


def test_a_network_is_tuned_on_its_own_trajectories() -> None:
    """The network is the exact one of a Gaussian: the flow is known."""
    process, target = sgmsolve.VP(), sgmsolve.Gaussian([0.3, -0.2], [[0.5, 0.1], [0.1, 0.2]])

    def net(x: np.ndarray, t: float) -> np.ndarray:
        return np.asarray(target.predict("noise", x, t, process))

    model = sgmsolve.as_model(net, process, predicts="noise")
    problem = ModelProblem(model, process, (2,), t_end=1e-3, starts=32)
    found = tune(problem, "dpm++2m", nfe=6, free_grid=True)
    z = problem.marginal(32, float(process.t_max), 0)
    assert np.std(z) == pytest.approx(1, abs=0.2)
    right = target.flow_map(z, float(process.t_max), 1e-3, process)
    ends = np.asarray(sgmsolve.solve(found.plan, model, (z,)).x)
    error = np.sqrt(np.mean((ends - right) ** 2))
    assert error == pytest.approx(found.scores.train, abs=1e-7)
    assert found.scores.held_out < 0.5 * found.default_scores.held_out
    with pytest.raises(AnalysisError, match="exact samples, which a network alone does not have"):
        tune(problem, "euler-maruyama", nfe=6)
    with pytest.raises(AnalysisError, match="needs a Gaussian that stands for the data"):
        tune(problem, "ddim", nfe=6, objective="gaussian")
    fitted = dataclasses.replace(problem, gaussian=target)
    on_fit = tune(fitted, "ddim", nfe=6, objective="gaussian")
    assert on_fit.transfer_on == "rms to fine trajectories of model"
    assert on_fit.scores.transfer is not None


def test_deterministic_methods_stay_so_unless_noise_is_named() -> None:
    assert tune(RING, "ddim", nfe=4, budget=5).options == {}
    found = tune(RING, "ddim", nfe=4, budget=15, search={"eta": (0.2, 0.6)})
    assert found.objective == "sliced-w2"
    assert set(found.options) == {"eta"}
    assert found.grid_options["t_min"] == RING.t_end
    assert "rho" not in found.grid_options  # only what was named is searched
    assert tune(RING, "sde-dpm++2m", nfe=4, budget=5, eta=0.5).plan.options["eta"] == 0.5


def test_phase_space_options_are_searched_where_they_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On PSLD with the exact Gaussian error; lam only where the method's B brings it in."""
    monkeypatch.setattr("sgmsolve.analysis.tune.twin", lambda problem: None)
    psld = GAUSSIAN.replace(process=sgmsolve.PSLD(), grid="striding", grid_options={}, name="p")
    with warnings.catch_warnings():
        warnings.simplefilter("error", StabilityWarning)
        found = tune(psld, "lambda-ddim-2", nfe=8, objective="gaussian", budget=40)
        tune(psld, "roba", nfe=8, objective="gaussian", budget=2)  # its steps are too long
    assert set(found.options) == {"lam"}
    assert found.scores.train < 0.9 * found.default_scores.train
    zero = tune(psld, "conjugate", nfe=8, objective="gaussian", budget=10)
    assert zero.options == {}
    with pytest.raises(AnalysisError, match="lam was to be searched, but has no effect"):
        tune(psld, "conjugate", nfe=8, objective="gaussian", search={"lam": None})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"grid": "log-snr"}, "there is nothing to tune"),
        ({"search": {"rho": (7, 7)}}, "rho was to be searched from 7 to 7"),
        ({"search": {"eta": (0, math.inf)}}, "expected two finite numbers"),
        ({"search": {"ets": None}}, "Did you mean 'eta'"),
        ({"search": {"eta": None}, "eta": 0.5}, "both fixed to 0.5"),
        ({"objective": "kl"}, "unknown objective 'kl'"),
        ({"objective": "strong", "search": {"eta": None}}, "draws noise"),
        ({"objective": "strong", "denoise": True}, "leave out denoise"),
        ({"budget": 0}, "budget = 0"),
    ],
)
def test_refusals(more: dict[str, Any], words: str) -> None:
    with pytest.raises(AnalysisError, match=words):
        tune(GAUSSIAN, "ddim", nfe=5, **more)


def test_what_no_plan_can_be_built_for_is_refused() -> None:
    with pytest.raises(MethodError, match="nfe >= 2"):
        tune(GAUSSIAN, "heun", nfe=1)
    with pytest.raises(sgmsolve.errors.GridError, match="expected the name of a grid"):
        tune(GAUSSIAN, "ddim", nfe=2, grid=[1.0, 0.5, 0.1])  # type: ignore[arg-type]


def test_scipy_is_asked_for_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(AnalysisError, match=r"pip install 'sgmsolve\[lab\]'"):
        tune(GAUSSIAN, "ddim", nfe=5)
    monkeypatch.undo()
    assert importlib.import_module("scipy.optimize")


def test_cautions_have_thresholds() -> None:
    """A gain counts as lost where its logarithm is under half of that in train."""
    default = Scores(1.0, 1.0, 1.0)

    def texts(train: float, held_out: float, transfer: float) -> list[str]:
        return list(cautions(Scores(train, held_out, transfer), default, "there", None))

    assert texts(0.25, 0.49, 0.49) == []
    assert [t.split(":")[0] for t in texts(0.25, 0.51, 0.49)] == [
        "part of the gain is fitted to what was tuned on"
    ]
    assert "only by 1.96" in texts(0.25, 0.49, 0.51)[0]
    assert "no better than the default's 1" in texts(0.25, 0.49, 0.995)[0]
    assert "worse than" in texts(0.25, 0.49, 1.1)[0]
    assert "worse than" in texts(0.25, math.inf, 0.4)[0]
    assert texts(0.995, 1.0, 1.0)[0].startswith("tuning did not help")
    accurate = list(cautions(Scores(0.1, 0.1), Scores(1, 1), None, 0.04))
    assert len(accurate) == 1
    assert "reference's own" in accurate[0]
    assert list(cautions(Scores(0.1, 0.1), Scores(1, 1), None, 0.03)) == []


def test_the_optimiser_finds_known_minima_within_its_budget() -> None:
    def valley(u: np.ndarray) -> float:
        x, y = 4 * u - 2
        return float((1 - x) ** 2 + 20 * (y - x * x) ** 2 + 1e-3)

    run = Search(valley, 300)
    run.cube([np.array([0.1, 0.9])], seed=0)
    assert np.allclose(run.best[0], [0.75, 0.75], atol=2e-3)
    assert len(run.history) <= 300
    # Two minima: the deeper one is narrow and away from the start.
    line = Search(lambda u: float(min((u[0] - 0.2) ** 2 + 0.1, 20 * (u[0] - 0.83) ** 2 + 0.01)), 80)
    line.cube([np.array([0.2])], seed=0)
    assert line.best[0][0] == pytest.approx(0.83, abs=1e-4)
    deep = Search(lambda x: float(1 + np.sum((x - np.arange(6) / 7) ** 2)), 1500, -5.0, 5.0)
    deep.descend(np.full(6, 3.0))
    assert np.allclose(deep.best[0], np.arange(6) / 7, atol=1e-3)
    few = Search(lambda u: math.nan, 7)
    few.cube([np.array([0.5, 0.5])], seed=0)
    assert len(few.history) == 7


def test_points_are_spread_and_coordinates_invert() -> None:
    points = latin_hypercube(10, 3, seed=4)
    assert np.array_equal(np.sort(np.floor(10 * points), axis=0)[:, 1], np.arange(10))
    for log in (False, True):
        p = Parameter("x", 0.5, 8.0, log, False, 1.0)
        assert (p.value(0), p.value(1)) == (0.5, 8.0)
        assert p.unit(p.value(0.3)) == pytest.approx(0.3)
        assert p.value(0.5) == pytest.approx(2.0 if log else 4.25)
    times = sgmsolve.grid.make("karras", sgmsolve.EDM(), 9)
    assert np.allclose(times_of(log_steps(times), times[0], times[-1]), times, rtol=1e-12)


def test_objectives_use_at_most_512_starts_and_keep_the_target() -> None:
    error = StrongError(find("ring"), 0)
    assert error.benches[0].problem.starts == 512
    assert error.benches[0].problem.target is find("ring").target
    assert GaussianError(GAUSSIAN, 0).train(
        build_plan(GAUSSIAN.process, "ddim", nfe=4, **GAUSSIAN.grid_arguments)
    ) == pytest.approx(w2("ddim", 4, "log-snr", {}), rel=1e-12)
