"""The comparison engine: each kind of error against an answer known in another way."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sgmsolve.problems import Problem, find

import sgmsolve
from sgmsolve.analysis.bench import Bench
from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.analysis.report.tables import failures, metric_tables, short
from sgmsolve.analysis.work_precision import Choice, Comparison, Row, compare
from sgmsolve.cli import main


def small(name: str) -> Problem:
    problem = find(name)
    return problem.replace(starts=24, samples=120, view=replace(problem.view, count=24))


def rows_of(found: Comparison, **wanted: object) -> list[Row]:
    return [r for r in found.rows if all(getattr(r, k) == v for k, v in wanted.items())]


def test_exact_w2_is_the_closed_form_of_ddim() -> None:
    """On a centred diagonal Gaussian DDIM scales every direction; W2 follows from the scales."""
    problem = small("ill-conditioned")
    found = compare([problem], [Choice("ddim")], [6])
    (row,) = rows_of(found, metric="w2")
    p, lam = problem.process, problem.target.eigenvalues
    plan = sgmsolve.build_plan(p, "ddim", nfe=6, **problem.grid_arguments)
    times = [*plan.t, problem.t_end]
    deviation = np.sqrt(p.alpha(times[0]) ** 2 * lam + p.sigma(times[0]) ** 2)
    for t, s in itertools.pairwise(times):
        noise = p.sigma(t) / (p.alpha(t) ** 2 * lam + p.sigma(t) ** 2)
        ratio = p.alpha(s) / p.alpha(t)
        deviation *= ratio + (p.sigma(s) - ratio * p.sigma(t)) * noise
    right = np.sqrt(p.alpha(times[-1]) ** 2 * lam + p.sigma(times[-1]) ** 2)
    assert row.error == pytest.approx(np.linalg.norm(deviation - right), rel=1e-9)
    assert (row.nfe, row.steps, row.kind, row.status) == (6, 6, "deterministic", "ok")


def test_rms_is_the_distance_to_the_exact_flow() -> None:
    problem = small("gaussian")
    found = compare([problem], [Choice("heun")], [8])
    (row,) = rows_of(found, metric="rms")
    z = Bench(problem, 0).starts(24, 0)
    model = problem.target.model(problem.process)
    plan = sgmsolve.build_plan(problem.process, "heun", nfe=8, **problem.grid_arguments)
    t_max = float(problem.process.t_max)
    exact = problem.target.flow_map(z, t_max, problem.t_end, problem.process)
    ends = np.asarray(sgmsolve.solve(plan, model, (z,)).x)
    assert row.error == pytest.approx(np.sqrt(np.mean((ends - exact) ** 2)), rel=1e-6)
    # The reference says how good it is, and is.
    ends, accuracy = Bench(problem, 0).reference()
    assert np.sqrt(np.mean((ends - exact) ** 2)) < 2 * accuracy
    assert accuracy < 1e-7
    assert row.floor == accuracy


def test_stochastic_errors_come_with_spread_and_floor() -> None:
    problem = small("ring")
    found = compare([problem], [Choice("euler-maruyama")], [3, 40])
    for metric, distance in (("energy", energy_distance), ("sliced-w2", sliced_w2)):
        coarse, fine = rows_of(found, metric=metric)
        assert coarse.error is not None
        assert fine.error is not None
        assert fine.floor is not None
        assert fine.error < coarse.error
        assert 0.3 * fine.floor < fine.error < 3 * fine.floor
        # The same number, from the public pieces.
        bench = Bench(problem, 0)
        plan = sgmsolve.build_plan(
            problem.process, "euler-maruyama", nfe=3, **problem.grid_arguments
        )
        values = [
            distance(bench.run(plan, bench.starts(120, s), s), bench.exact_samples(s))
            for s in range(3)
        ]
        assert coarse.error == pytest.approx(np.mean(values), rel=1e-9)
        assert coarse.spread == pytest.approx(np.std(values, ddof=1), rel=1e-9)
    assert not rows_of(found, metric="rms")


def test_same_seed_same_numbers() -> None:
    arguments = ([small("ring")], [Choice("ddim"), Choice("em")], [4])
    errors = [[r.error for r in compare(*arguments, seed=s).rows] for s in (1, 1, 2)]
    assert errors[0] == errors[1]
    assert all(a != b for a, b in zip(errors[0], errors[2], strict=True))


def test_true_evaluations_are_reported() -> None:
    choices = [Choice("heun"), Choice("dpm-solver-3"), Choice("dpm++3m", {"start": "matched"})]
    found = compare([small("gaussian")], choices, [7])
    for row in rows_of(found, metric="rms"):
        assert row.budget == 7
        assert row.nfe <= 7
    nfe = {r.method: r.nfe for r in rows_of(found, metric="rms")}
    assert nfe["heun"] == 6
    assert nfe["dpm-solver-3"] == 6
    assert nfe["dpm++3m (start=matched)"] == 7


def test_a_method_that_cannot_run_is_a_row_and_the_rest_goes_on() -> None:
    choices = [
        Choice("heun"),
        Choice("reverse-diffusion", {"discretisation": "score_sde"}),
        Choice("ddim"),
    ]
    found = compare([small("ring")], choices, [1])
    failed = rows_of(found, status="failed")
    assert [r.method for r in failed] == ["heun", "reverse-diffusion (discretisation=score_sde)"]
    assert "2 evaluations" in failed[0].message
    assert "exact" in failed[1].message
    assert rows_of(found, status="ok")[0].method == "ddim"


class Breaks:
    """A target whose exact model gives NaN at low noise."""

    def __init__(self, target: Any) -> None:
        self.inner = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def model(self, process: Any) -> Any:
        real = self.inner.model(process)

        def net(x: np.ndarray, t: float) -> np.ndarray:
            return real((x,), t)[0] * (np.nan if t < 0.1 else 1.0)

        return sgmsolve.as_model(net, process, predicts=real.predicts)


def breaking(name: str) -> Problem:
    problem = small(name)
    return problem.replace(make_target=lambda: Breaks(problem.make_target()))


def test_divergence_is_a_failure_with_no_number() -> None:
    found = compare([breaking("ring")], [Choice("ddim"), Choice("em")], [6])
    assert {r.metric for r in found.rows} == {"rms", "energy", "sliced-w2"}
    assert all(r.status == "failed" and r.error is None for r in found.rows)
    assert all("not finite" in r.message for r in found.rows)


def test_no_table_mixes_metrics_and_the_best_is_marked() -> None:
    found = compare([small("gaussian")], [Choice("heun"), Choice("ddim"), Choice("em")], [4, 12])
    tables = metric_tables([vars(r) for r in found.rows])
    assert [t["metric"] for t in tables] == ["w2", "rms"]
    shown = [{r["method"] for r in t["chart"]["rows"]} for t in tables]
    assert shown == [{"heun", "ddim", "em"}, {"heun", "ddim"}]
    for table in tables:
        for column, budget in enumerate(table["budgets"]):
            own = rows_of(found, metric=table["metric"], budget=budget)
            best = min(own, key=lambda r: r.error if r.error is not None else np.inf)
            marked = [ln["method"] for ln in table["lines"] if ln["cells"][column]["best"]]
            assert marked == [best.method]
        last = [
            next(r.error for r in rows_of(found, metric=table["metric"], method=m, budget=12))
            for m in (line["method"] for line in table["lines"])
        ]
        assert last == sorted(last)


def test_short_numbers() -> None:
    given = (0, 3.14159, 0.06, 12.4, 0.00123, 123456.0, 3.4e-9, 99.7, 0.000951)
    said = ["0", "3.1", "0.060", "12", "0.0012", "1.2e5", "3.4e-9", "1.0e2", "0.00095"]
    assert [short(v) for v in given] == said


def test_floors_are_means_over_fresh_pairs_with_their_own_spread() -> None:
    """Three pairs are too few: a lucky floor makes every method look worse than exact."""
    bench = Bench(small("ring"), 0)
    pairs = [(bench.exact_samples(3 + 2 * i), bench.exact_samples(4 + 2 * i)) for i in range(12)]
    values = [energy_distance(x, y) for x, y in pairs]
    mean, spread = bench.floor("energy")
    assert mean == pytest.approx(np.mean(values), rel=1e-12)
    assert spread == pytest.approx(np.std(values, ddof=1) / np.sqrt(3), rel=1e-12)
    row = {"metric": "energy", "problem": "ring", "method": "em", "kind": "stochastic"}
    row |= {"budget": 5, "nfe": 5, "steps": 5, "seconds": 0.0, "spread": None, "message": ""}
    row |= {"floor": mean, "floor_spread": spread}
    errors = {"good": mean + 1.9 * spread, "bad": mean + 2.1 * spread, "best": mean / 2}
    (table,) = metric_tables([{**row, "method": m, "error": e} for m, e in errors.items()])
    marked = {line["method"]: line["cells"][0]["best"] for line in table["lines"]}
    assert marked == {"best": True, "good": True, "bad": False}
    assert short(mean + 2 * spread) in table["floor_text"]


def test_what_failed_alike_at_several_budgets_is_said_once() -> None:
    def row(method: str, budget: int, status: str, message: str) -> dict[str, Any]:
        kept = {"method": method, "budget": budget, "status": status, "message": message}
        return {**kept, "metric": ""}

    found = failures(
        [
            row("ddim", 5, "failed", "no"),
            row("ddim", 10, "failed", "no"),
            row("heun", 5, "failed", "no"),
            row("ddim", 20, "failed", "never"),
            row("roba", 5, "ok", ""),
            row("ddim", 40, "failed", "no"),
        ]
    )
    assert [(f["method"], f["budgets"], f["message"]) for f in found] == [
        ("ddim", "5, 10 and 40", "no"),
        ("heun", "5", "no"),
        ("ddim", "20", "never"),
    ]


def test_compare_command_writes_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sgmsolve.problems.gaussian
    import sgmsolve.problems.ring

    monkeypatch.setattr(sgmsolve.problems.ring, "PROBLEM", small("ring"))
    monkeypatch.setattr(sgmsolve.problems.gaussian, "PROBLEM", small("gaussian"))
    out = tmp_path / "a" / "b"
    words = ["compare", "ring", "gaussian", "--methods", "ddim,ddim:eta=0.5,heun", "--nfe", "1,4"]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Eight modes on a ring" in printed
    assert "heun with 1 NFE was not measured" in printed
    record = json.loads((out / "results.json").read_text())
    keys = {"problem", "method", "nfe", "error", "metric", "seconds", "spread", "floor", "steps"}
    assert all(keys <= set(row) for row in record["rows"])
    assert {r["method"] for r in record["rows"]} == {"ddim", "ddim (eta=0.5)", "heun"}
    half = [r["kind"] for r in record["rows"] if r["method"] == "ddim (eta=0.5)"]
    assert set(half) == {"stochastic"}
    assert record["meta"]["seed"] == 0
    assert record["meta"]["versions"]["numpy"] == np.__version__
    assert "--nfe 1,4" in record["meta"]["command"]
    assert (out / "report.html").exists()
    assert main([*words, "--out", str(out), "--json"]) == 2
    capsys.readouterr()
    assert main([*words, "--out", str(out), "--json", "--force"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [r["error"] for r in again["rows"]] == [r["error"] for r in record["rows"]]
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "results.json"]


def test_nothing_is_written_when_no_method_can_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["compare", "ring", "--methods", "heun,ddim:eta=3", "--nfe", "1", "--out", str(out)]
    assert main(words) == 2
    assert not out.exists()
