"""``sgmsolve tune``: what it prints and writes, and what it refuses before any work."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refuse, succeed
from sgmsolve.problems import find

from sgmsolve.analysis import exact
from sgmsolve.plan import Plan

WORDS = ("tune", "ddim", "--problem", "gaussian", "--nfe", 5)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_json_is_the_result_and_the_plan_file_reproduces_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = json.loads(succeed(capsys, *WORDS, "--free-grid", "--out", "a/b", "--json"))
    assert (found["problem"], found["method"], found["nfe"], found["steps"]) == (
        *("gaussian", "ddim"),
        *(5, 5),
    )
    plan = Plan.load(Path("a/b.npz"))
    assert found["plan"] == "a/b.npz"
    assert [n.time for n in plan.nodes] == found["times"]
    problem = find("gaussian")
    error = exact.error(plan, problem.target, problem.process)
    assert error == pytest.approx(found["errors"]["tuned"]["train"], rel=1e-12)
    for name in ("train", "held_out", "transfer"):
        assert found["errors"]["tuned"][name] < 0.7 * found["errors"]["default"][name]
    assert found["history"][0]["train"] == found["errors"]["default"]["train"]
    assert found["history"][-1]["times"] == found["times"]
    assert found["warnings"] == []


def test_the_table_shows_both_plans_and_warns(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tune", "dpm++2m", "-p", "ring", "--nfe", 10, "--objective", "gaussian")
    text = " ".join(succeed(capsys, *words).split())
    assert re.search(r"transfer 1\.09e-01 2\.51e-01 0\.43\dx rms to fine", text)
    assert "rho = 1.61" in text
    assert "Warning: the setting tuned on a Gaussian does not transfer: in rms" in text
    assert "saved to dpm++2m-ring-10.npz" in text
    assert Plan.load(Path("dpm++2m-ring-10.npz")).nfe == 10
    assert "exists already" in refuse(capsys, *words)


def test_search_fix_and_force(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("tune", "sde-dpm++2m", "-p", "gaussian", "--nfe", 4, "--json", "--out", "x.npz")
    one = json.loads(succeed(capsys, *words, "--search", "rho=2:9", "-o", "eta=0.3"))
    assert one["options"] == {}
    assert 2 <= one["grid_options"]["rho"] <= 9
    assert Plan.load(Path("x.npz")).options["eta"] == 0.3
    two = json.loads(
        succeed(capsys, *words, "--force", "--search", "eta=0.25:0.5", "--grid", "uniform")
    )
    assert 0.25 <= two["options"]["eta"] <= 0.5
    assert two["grid"] == "uniform"
    times = [n.time for n in Plan.load(Path("x.npz")).nodes]
    assert np.allclose(np.diff(times), np.diff(times)[0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*WORDS[:1], "dddim", *WORDS[2:]), "Did you mean 'ddim'"),
        ((*WORDS[:3], "gausian", *WORDS[4:]), "Did you mean 'gaussian'"),
        (("tune", "heun", "-p", "gaussian", "--nfe", 1), "give nfe >= 2"),
        ((*WORDS, "--grid", "log-snr"), "there is nothing to tune"),
        ((*WORDS, "--grid", "karas"), "Did you mean 'karras'"),
        ((*WORDS, "--search", "eta=1"), "expected KEY or KEY=LOW:HIGH"),
        ((*WORDS, "--search", "eta=a:b"), "expected KEY or KEY=LOW:HIGH"),
        ((*WORDS, "--search", "=0:1"), "expected KEY or KEY=LOW:HIGH"),
        ((*WORDS, "--search", "eta=1:0"), "the smaller one first"),
        ((*WORDS, "--search", "eta=0:nan"), "two finite numbers"),
        ((*WORDS, "--search", "etaa"), "Did you mean 'eta'"),
        ((*WORDS, "--objective", "stong"), "Did you mean 'strong'"),
        ((*WORDS, "-o", "eta=x"), "expected a number"),
        (WORDS[:4], "Missing option '--nfe'"),
        (("tune", "lambda-ddim-2", "-p", "gaussian", "--nfe", 5), "is VP"),
    ],
)
def test_refusals_come_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], words: tuple[object, ...], sentence: str
) -> None:
    assert sentence in refuse(capsys, *words)
    assert not list(Path().iterdir())
