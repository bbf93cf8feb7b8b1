"""Solvers that are no plans in comparisons: fixed steps spend budgets, others run once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import refuse, succeed
from sgmsolve.problems import Problem, find

import sgmsolve
from sgmsolve.adapters import solve_with
from sgmsolve.adaptive import solve_adaptive
from sgmsolve.analysis.bench import Bench, rms
from sgmsolve.analysis.metrics import energy_distance, sliced_w2
from sgmsolve.analysis.report.tables import failures, metric_tables
from sgmsolve.analysis.work_precision import Choice, Comparison, Row, compare
from sgmsolve.cli.compare import parse_choices


def small(name: str) -> Problem:
    problem = find(name)
    return problem.replace(starts=24, samples=60, view=replace(problem.view, count=24))


def only(found: Comparison, method: str, metric: str) -> Row:
    (row,) = [r for r in found.rows if r.metric == metric and r.method.startswith(method)]
    return row


LOOSE = {"rtol": 1e-3, "atol": 1e-3}


def test_deterministic_solvers_are_held_against_the_reference() -> None:
    problem = small("ring")
    choices = [Choice("torchdiffeq:rk4"), Choice("dopri5", LOOSE), Choice("ddim")]
    found = compare([problem], choices, [22])
    bench = Bench(problem, 0)
    z, (reference, accuracy) = bench.starts(24, 0), bench.reference()
    flow = sgmsolve.ProbabilityFlow(problem.process, bench.model)
    fixed, free = only(found, "torchdiffeq:rk4", "rms"), only(found, "dopri5", "rms")
    times = sgmsolve.grid.karras(problem.process, 5, t_min=problem.t_end)
    import torch

    ends = (times[0], times[-1])
    by_hand = solve_with("torchdiffeq:rk4", flow, torch.tensor(z), *ends, grid=times)
    assert fixed.error == pytest.approx(rms(by_hand.x.numpy(), reference), rel=1e-9)
    assert (fixed.budget, fixed.nfe, fixed.steps, fixed.nfe_max) == (22, 20, 5, 20)
    solution = solve_adaptive("dopri5", flow, z, *ends, **LOOSE)
    assert free.error == pytest.approx(rms(solution.x, reference), rel=1e-9)
    assert free.nfe == pytest.approx(solution.nfe.mean(), rel=1e-12)
    assert (free.budget, free.nfe_max) == (None, solution.nfe.max())
    assert free.steps == round(solution.accepted.mean())
    assert (free.kind, free.floor) == ("deterministic", accuracy)


def test_stochastic_solvers_are_held_against_samples_on_gaussians_too() -> None:
    """There the plans beside them are measured exactly and by samples, for both to be compared."""
    problem = small("gaussian")
    choices = [Choice("gotta-go-fast", {"rtol": 0.1}), Choice("em")]
    found = compare([problem], choices, [6])
    bench = Bench(problem, 0)
    sde = sgmsolve.ReverseSDE(problem.process, bench.model)
    t_max = float(problem.process.t_max)
    runs = [
        solve_adaptive(
            "gotta-go-fast", sde, bench.starts(24, s), t_max, problem.t_end, rtol=0.1, seed=s
        )
        for s in range(3)
    ]
    for metric, distance in (("energy", energy_distance), ("sliced-w2", sliced_w2)):
        values = [distance(r.x, bench.exact_samples(s)) for s, r in enumerate(runs)]
        row = only(found, "gotta-go-fast", metric)
        assert row.error == pytest.approx(np.mean(values), rel=1e-9)
        assert row.spread == pytest.approx(np.std(values, ddof=1), rel=1e-9)
        assert row.nfe == pytest.approx(np.mean([r.nfe for r in runs]), rel=1e-12)
        assert row.nfe_max == max(r.nfe.max() for r in runs)
        assert only(found, "em", metric).floor == row.floor
    assert [r.method for r in found.rows if r.metric == "w2"] == ["em"]
    alone = compare([problem], [Choice("em")], [6])
    assert {r.metric for r in alone.rows} == {"w2"}
    assert alone.rows[0].error == only(found, "em", "w2").error


def test_what_a_solver_cannot_do_is_a_row() -> None:
    problem = small("ring")
    choices = [
        Choice("torchsde:srk"),
        Choice("torchdiffeq:implicit_adams"),
        Choice("dopri5", {"max_steps": 3}),
    ]
    found = compare([problem], choices, [3])
    assert all(r.status == "failed" and r.error is None for r in found.rows)
    said = {
        f["method"]: (f["budgets"], f["message"]) for f in failures([vars(r) for r in found.rows])
    }
    assert "takes 4 evaluations" in said["torchsde:srk"][1]
    assert "give steps or dt" in said["torchdiffeq:implicit_adams"][1]
    assert said["dopri5 (max_steps=3)"][0] == ""
    assert "24 of 24 samples did not reach the end" in said["dopri5 (max_steps=3)"][1]


def row(method: str, budget: int | None, error: float, **more: Any) -> dict[str, Any]:
    made = Row("ring", method, "deterministic", budget, 20, 5, "rms", error, 1.0, floor=1e-9)
    return {**vars(made), **more}


def test_own_steps_have_a_column_of_their_own() -> None:
    rows = [row("a", 20, 0.2), row("b", 20, 0.1)]
    rows += [row("c", None, 0.01, nfe=87.25, nfe_max=120, steps=None)]
    (table,) = metric_tables(rows)
    assert table["columns"] == ["20", "own steps"]
    lines = {
        line["method"]: [(c["text"], c["best"]) for c in line["cells"]] for line in table["lines"]
    }
    assert lines["b"] == [("0.10", True), ("–", False)]
    # Its cost is its own: nothing to be best of.
    assert lines["c"] == [("–", False), ("0.010 (87 NFE)", False)]
    assert [line["method"] for line in table["lines"]] == ["b", "a", "c"]
    hint = table["lines"][-1]["cells"][1]["hint"]
    assert hint == "87.2 evaluations on average, at most 120, 1.00 s"


def test_the_colon_of_a_library_belongs_to_the_name() -> None:
    texts = ["torchdiffeq:dopri5:rtol=1e-4:atol=2e-4", "gotta-go-fast:extrapolate=no:noise=redraw"]
    first, second = parse_choices(texts)
    assert (first.method, first.options) == ("torchdiffeq:dopri5", {"rtol": 1e-4, "atol": 2e-4})
    assert second.options == {"extrapolate": False, "noise": "redraw"}
    assert first.budgets([5, 10]) == [None]
    spends = parse_choices(["torchsde:srk", "torchsde:srk:dt=0.1", "diffrax:tsit5", "heun"])
    assert [c.budgets([5, 10]) for c in spends] == [[5, 10], [None], [5, 10], [5, 10]]


def test_compare_command_runs_plans_and_solvers_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sgmsolve.problems.ring

    monkeypatch.setattr(sgmsolve.problems.ring, "PROBLEM", small("ring"))
    methods = "heun,gotta-go-fast:rtol=0.5,torchdiffeq:rk4,torchsde:euler,dopri5:rtol=1e-2"
    words = ("compare", "ring", "-m", methods, "--nfe", "8,12", "--out", tmp_path)
    printed = succeed(capsys, *words)
    assert "own steps" in printed
    assert "NFE)" in printed
    record = json.loads((tmp_path / "results.json").read_text())
    assert all(r["status"] == "ok" for r in record["rows"])
    budgets = {r["method"]: [] for r in record["rows"]}
    for r in record["rows"]:
        if r["metric"] in ("rms", "energy"):
            budgets[r["method"]].append(r["budget"])
    assert budgets == {
        "heun": [8, 12],
        "gotta-go-fast (rtol=0.5)": [None],
        "torchdiffeq:rk4": [8, 12],
        "torchsde:euler": [8, 12],
        "dopri5 (rtol=0.01)": [None],
    }
    used = {m["name"] for m in record["methods"] if m["used"]}
    assert used == {"heun", "gotta-go-fast", "torchdiffeq:rk4", "torchsde:euler", "dopri5"}
    assert "evaluations on average" in (tmp_path / "report.html").read_text()


def test_bad_choices_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {
        "torchsde:srk": "torchsde:skr",
        "takes a Python object": "torchsde:srk:bm=1",
        "expected a number": "gotta-go-fast:rtol=abc",
        "expected true or false": "gotta-go-fast:mixed=abc",
        "has no value": "gotta-go-fast:rtol",
        "Did you mean 'rtol'": "gotta-go-fast:rtoll=1",
        "unknown method 'torchsde'": "torchsde",
    }
    for sentence, choice in refused.items():
        assert sentence in refuse(capsys, "compare", "ring", "-m", choice, "--out", tmp_path / "x")
    words = ("compare", "gbm", "-m", "gotta-go-fast", "--out", tmp_path / "x")
    assert "is a general SDE" in refuse(capsys, *words)
    assert "is a general SDE" in refuse(capsys, "sample", "gbm", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()
