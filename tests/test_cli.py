"""The command line: what it prints, how it refuses, and that it never shows a traceback."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import COMMANDS, refuse, succeed

import sgmsolve
from sgmsolve.analysis import order_suite
from sgmsolve.cli import main
from sgmsolve.cli.common import method_options
from sgmsolve.errors import MethodError
from sgmsolve.methods.registry import all_methods, find
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan
from sgmsolve.solving import solver_methods


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = succeed(capsys, command, "--help")
    assert "--json" in text
    example = text.split("Example:")[1].split("\n")[1].split()
    assert example[:2] == ["sgmsolve", command]
    # Every option of the example exists, and what follows it is not swallowed as another's value.
    for word in example:
        if word.startswith("--"):
            assert word in text


def test_methods_as_json_are_the_registry(capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads(succeed(capsys, "methods", "--json"))
    assert [r["name"] for r in records] == [m.name for m in all_methods()] + list(solver_methods())
    by_name = {r["name"]: r for r in records}
    assert by_name["heun"]["orders"] == {"deterministic": 2}
    assert by_name["heun"]["evaluations"] == 2
    assert "Karras" in by_name["heun"]["reference"]
    assert by_name["dpm++3m"]["matched"]["deterministic"] == 3


@pytest.mark.parametrize("columns", ["80", "120"])
def test_method_and_problem_lists_name_all(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)  # names stay whole on an ordinary terminal
    listed = succeed(capsys, "methods")
    assert all(name in listed for name in (*(m.name for m in all_methods()), *solver_methods()))
    assert "order" in succeed(capsys, "methods", "unipc-3")
    records = json.loads(succeed(capsys, "problems", "--json"))
    names = "gaussian ill-conditioned ring grid25 moons two-moons-chain checkerboard".split()
    names += ["field", "photo-field", "digits", "photo-patches"]
    names += ["psld-gaussian", "psld-ring", "psld-digits", "gbm", "double-well"]
    names += ["cox-ingersoll-ross"]
    assert [r["name"] for r in records] == names
    assert all(name in succeed(capsys, "problems") for name in names)
    assert "one millionth" in succeed(capsys, "problems", "ill-conditioned")


def test_plan_prints_and_saves_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "heun"
    words = ("plan", "heun", "--steps", 3, "--process", "edm", "-o", "fraction=0.5", "--out", out)
    printed = json.loads(succeed(capsys, *words, "--json"))
    assert printed["nfe"] == 6
    wanted = build_plan(sgmsolve.EDM(), "heun", steps=3, fraction=0.5)
    saved = Plan.load(tmp_path / "heun.npz")
    assert np.array_equal(saved.response().flat(), wanted.response().flat())
    assert saved.options["fraction"] == 0.5
    assert [r["t"] for r in printed["rows"][1:]] == wanted.t.tolist()
    assert "exists already" in refuse(capsys, *words)
    assert str(build_plan(sgmsolve.VP(), "ddim", nfe=4)) in succeed(
        capsys, "plan", "ddim", "--nfe", 4
    )


def test_order_reports_rows_and_fails_on_a_wrong_claim(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One interval of three: what is tested here is the command, not the measurement.
    quick = functools.partial(order_suite.measure_all, intervals=("edm-start",))
    monkeypatch.setattr(order_suite, "measure_all", quick)
    rows = json.loads(succeed(capsys, "order", "ddim", "--jobs", 1, "--json"))
    keys = {"method", "problem", "grid", "kind", "start", "claimed", "measured", "status", "slopes"}
    assert all(keys <= set(row) for row in rows)
    assert {row["method"] for row in rows} == {"ddim"}
    assert any(row["status"] == "ok" and row["problem"] == "mixture" for row in rows)
    monkeypatch.setitem(find("heun").orders, "deterministic", 3)  # type: ignore[arg-type]
    capsys.readouterr()
    assert main(["order", "heun", "--jobs", "1"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_order_table_fits_100_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widest row there can be, on one line."""
    row = order_suite.run_task(order_suite.tasks(find("ddim"), ("edm-start",))[0])[0]
    wide = {"interval": "edm-working", "status": "superconvergent", "measured": 2.0}
    wide["slopes"] = [2.01, 2.02, 2.03]
    made = dataclasses.replace(row, **wide)
    monkeypatch.setattr(order_suite, "measure_all", lambda *_, **__: [made])
    monkeypatch.setenv("COLUMNS", "100")
    lines = succeed(capsys, "order", "ddim").splitlines()
    assert any("superconvergent" in ln and "2.01 2.02 2.03" in ln for ln in lines)


def test_plan_starts_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Where alpha(t_max) = 0 the refusal's advice can be followed."""
    words = ("plan", "heun", "--process", "flow", "--steps", 3)
    assert "t <= 0.999" in refuse(capsys, *words)
    ends = ("--t-max", 0.999, "--t-min", 0.01, "--json")
    rows = json.loads(succeed(capsys, *words, *ends))["rows"]
    assert rows[1]["t"] == 0.999
    assert "lies outside" in refuse(capsys, *words, "--t-max", "nan")


def test_refusals_name_what_is_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    near = {
        "methods": ("methds",),
        "heun": ("methods", "huen"),
        "digits": ("problems", "digit"),
        "ring": ("compare", "rign", "--out", out),
        "ancestral": ("compare", "ring", "--methods", "ddim,ancestrall", "--out", out),
        "eta": ("plan", "ddim", "--option", "etta=1"),
        "--steps": ("plan", "ddim", "--step=5"),
        "karras": ("plan", "ddim", "--grid", "karas"),
        "EDM": ("plan", "ddim", "--process", "EDN"),
        "moons": ("sample", "moon", "--out", out),
        "discretisation": ("plan", "ancestral", "-o", "discretization=exact"),
    }
    for name, words in near.items():
        assert name in refuse(capsys, *words)
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("order", "--all"),
        ("order heun --all", "not both"),
        ("plan ddim --steps 0", "0"),
        ("plan ddim --steps 5 --nfe 5", "both"),
        ("plan ddim -o eta", "KEY=VALUE"),
        ("plan ddim -o eta=many", "number"),
        ("plan ddim -o denoise=perhaps", "true or false"),
        ("plan heun --nfe 1", "nfe >= 2"),
        ("plan dpm++3m --nfe 2 -o start=mached", "matched"),
        ("compare ring --nfe 5,x --out o", "5,10,20"),
        ("compare ring --nfe , --out o", "no numbers"),
        ("compare --out o", "PROBLEM"),
        ("compare ring", "--out"),
        ("sample ring --out o.npz --png 8by8", "8x8"),
        ("sample ring --out .", "names no file"),
        ("sample ring --out ''", "names no file"),
    ],
)
def test_bad_usage_is_a_sentence(
    words: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refuse(capsys, *[w.strip("'") for w in words.split()])
    assert not list(tmp_path.iterdir())


def test_unwritable_output_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_work(*_: object, **__: object) -> None:
        pytest.fail("the work had begun")

    monkeypatch.setattr("sgmsolve.analysis.work_precision.compare", no_work)
    monkeypatch.setattr("sgmsolve.backends.solve", no_work)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    for inside in (in_the_way, in_the_way / "folder"):
        assert "cannot be written" in refuse(capsys, "compare", "ring", "--out", inside)
    assert "cannot be written" in refuse(capsys, "sample", "ring", "--out", in_the_way / "a.npz")
    assert "cannot be written" in refuse(capsys, "plan", "ddim", "--out", in_the_way / "a.npz")
    done = tmp_path / "done"
    done.mkdir()
    (done / "results.json").write_text("{}")
    assert "--force" in refuse(capsys, "compare", "ring", "--out", done)
    assert (done / "results.json").read_text() == "{}"


def test_options_are_typed_from_the_record() -> None:
    assert method_options(find("ddim"), ["eta=1"]) == {"eta": 1.0}
    assert isinstance(method_options(find("ddim"), ["eta=1"])["eta"], float)
    assert method_options(find("ddim"), ["denoise=yes"]) == {"denoise": True}
    assert method_options(find("dpm-solver-3"), ["r1=none"]) == {"r1": None}
    assert method_options(find("sa-solver"), ["predictor=2"]) == {"predictor": 2}
    assert method_options(find("dpm++3m"), ["start=matched"]) == {"start": "matched"}
    with pytest.raises(MethodError, match="whole number"):
        method_options(find("sa-solver"), ["predictor=2.5"])


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = ("torch", "jax", "scipy", "sklearn", "plotly", "matplotlib", "rich", "jinja2")
    code = (
        "import sys; from sgmsolve.cli import main; main(['--help']); "
        f"sys.exit([m for m in {heavy!r} if m in sys.modules].__repr__().strip('[]'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
    assert "compare" in done.stdout
