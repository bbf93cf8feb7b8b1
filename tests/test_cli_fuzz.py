"""Any words on the command line give an exit code and at most a sentence, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import COMMANDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sgmsolve.cli import main

WORDS = st.sampled_from(
    [
        *COMMANDS,
        *("--json", "--help", "-h", "--steps", "--nfe", "--out", "--method", "--methods", "-m"),
        *("--option", "-o", "--png", "--resume", "--force", "--seed", "--n", "--batch", "--grid"),
        *("--process", "--version", "--all", "--", "-", "--jobs"),
        *("heun", "ddim", "dpm++2m", "em", "ring", "gaussian", "VP", "edm", "flow", "karras"),
        *("1", "2", "3", "-1", "0", "eta=1", "eta=", "=", "start=matched", "2x2", "x", "a.npz"),
        *("uniform", "table", "log-snr", "order=3", "denoise=1", "eta=nan", "nan", "1e9"),
    ]
)
TEXT = st.text(
    st.characters(blacklist_categories=("Nd", "Nl", "No"), blacklist_characters="/"), max_size=8
)


VALID = (
    "methods heun --json",
    "problems ring",
    "plan heun --steps 3 --process EDM --grid karras --out a",
    "plan sa-solver --nfe 6 -o tau=0.5 --json",
    "plan ancestral --steps 20 -o discretisation=score_sde",
    "sample ring -m ddim --steps 2 --n 3 --batch 2 --seed 1 --out a.npz --png 1x3",
    "sample gaussian --nfe 3 --n 2 --out a.npz --resume --json",
    "compare ring --methods ddim,em --nfe 2,4 --out",  # never complete: that would be real work
    "order --jobs 1",
    "tune ddim -p gaussian --nfe 3 --grid log-snr --budget 2 --seed 1",  # nothing to tune: no work
)


@st.composite
def edited(draw: st.DrawFn) -> list[str]:
    """A valid command with up to three words replaced, put in or taken out."""
    words = draw(st.sampled_from(VALID)).split()
    for _ in range(draw(st.integers(0, 3))):
        i = draw(st.integers(0, len(words)))
        kind = draw(st.sampled_from(["replace", "insert", "remove"]))
        new = [] if kind == "remove" else [draw(st.one_of(WORDS, WORDS, TEXT))]
        words[i : i + (kind != "insert")] = new
    return words


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(words=st.one_of(edited(), edited(), st.lists(st.one_of(WORDS, TEXT), max_size=7)))
def test_any_words_give_an_exit_code_and_no_traceback(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions that escape `main` fail the test; what would work for minutes is left out."""
    monkeypatch.chdir(tmp_path)
    named = {"--all", "heun", "ddim", "dpm++2m", "em"} & {*words}
    if words[:1] == ["order"] and named:
        words = [*words, "--no-such-option"]
    if words[:1] == ["compare"] and words[-1] != "--out":
        words = [*words, "--out"]
    assert main(words) in (0, 1, 2)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    command=st.sampled_from(["plan", "sample"]),
    name=st.sampled_from(["ddim", "heun", "sa-solver", "dpm-solver-3"]),
    option=st.sampled_from(
        ["eta", "denoise", "start", "fraction", "predictor", "tau", "r1", "r2", "corrector"]
    ),
    value=st.one_of(st.sampled_from(["nan", "inf", "-1", "0", "1e300", "none", "", "5"]), TEXT),
    steps=st.sampled_from(["1", "2", "3"]),
)
def test_any_option_value_gives_a_plan_or_a_sentence(
    command: str,
    name: str,
    option: str,
    value: str,
    steps: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {
        "plan": ["plan", name, "--steps", steps],
        "sample": ["sample", "ring", "-m", name, "--steps", steps, "--n", "2", "--out", "a.npz"],
    }[command]
    assert main([*words, "-o", f"{option}={value}", "--json"]) in (0, 2)
