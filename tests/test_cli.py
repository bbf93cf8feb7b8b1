"""The command line: what it prints, how it refuses, and that it never shows a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sgmsolve.cli import main
from sgmsolve.cli.common import method_options
from sgmsolve.errors import MethodError
from sgmsolve.methods.registry import all_methods, find
from sgmsolve.plan import Plan
from sgmsolve.sampling import build_plan

import sgmsolve

COMMANDS = ("methods", "problems", "plan", "order", "compare", "sample")


def succeed(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must work; what it printed."""
    capsys.readouterr()
    code = main([str(w) for w in words])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def refuse(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run a command that must be refused with one sentence and exit code 2; the sentence."""
    capsys.readouterr()
    code = main([str(w) for w in words])
    printed = capsys.readouterr()
    assert code == 2
    assert printed.err.startswith("Error: ")
    assert printed.err.count("\n") == 1
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert [r["name"] for r in records] == [m.name for m in all_methods()]
    by_name = {r["name"]: r for r in records}
    assert by_name["heun"]["orders"] == {"deterministic": 2}
    assert by_name["heun"]["evaluations"] == 2
    assert "Karras" in by_name["heun"]["reference"]
    assert by_name["dpm++3m"]["matched"]["deterministic"] == 3


def test_method_and_problem_lists_name_all(capsys: pytest.CaptureFixture[str]) -> None:
    listed = succeed(capsys, "methods")
    assert all(m.name in listed for m in all_methods())
    assert "order" in succeed(capsys, "methods", "unipc-3")
    records = json.loads(succeed(capsys, "problems", "--json"))
    names = "gaussian ill-conditioned ring grid25 moons checkerboard field digits".split()
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
    rows = json.loads(succeed(capsys, "order", "ddim", "--jobs", 1, "--json"))
    keys = {"method", "problem", "grid", "kind", "start", "claimed", "measured", "status", "slopes"}
    assert all(keys <= set(row) for row in rows)
    assert {row["method"] for row in rows} == {"ddim"}
    assert any(row["status"] == "ok" and row["problem"] == "mixture" for row in rows)
    monkeypatch.setitem(find("ddim").orders, "deterministic", 2)  # type: ignore[arg-type]
    capsys.readouterr()
    assert main(["order", "ddim", "--jobs", "1"]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_refusals_name_what_is_near(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    near = {
        "methods": ("methds",),
        "heun": ("methods", "huen"),
        "digits": ("problems", "digit"),
        "ring": ("compare", "rign", "--out", out),
        "dpm++2m": ("compare", "ring", "--methods", "dpm++2n", "--out", out),
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
    monkeypatch.setattr("sgmsolve.backends.solve.solve", no_work)
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


def sampled(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return np.array(archive["x"])


def test_sample_is_what_the_library_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ring.npz"
    words = ("sample", "ring", "--method", "em", "--nfe", 7, "--n", 10, "--seed", 3)
    printed = json.loads(
        succeed(capsys, *words, "--batch", 4, "--out", out, "--png", "2x5", "--json")
    )
    from sgmsolve.problems import find as problem

    ring = problem("ring")
    model = ring.target.model(ring.process)
    solution = sgmsolve.sample(
        ring.process,
        model,
        shape=(2,),
        batch=10,
        method="euler-maruyama",
        nfe=7,
        seed=3,
        **ring.grid_arguments,
    )
    assert np.allclose(sampled(out), solution.x, rtol=1e-12, atol=0)
    assert printed["nfe"] == solution.nfe == 7
    assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "ring.npz.parts").exists()
    assert "never overwritten" in refuse(capsys, *words, "--batch", 4, "--out", out)
    other = tmp_path / "other.npz"
    succeed(capsys, *words, "--batch", 10, "--out", other)
    assert np.array_equal(sampled(other), sampled(out)), "the batch size changed the samples"


def test_interrupted_sample_resumes_to_identical_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sample", "moons", "-m", "ancestral", "--steps", 4, "--n", 23, "--batch", 5)
    whole, broken = tmp_path / "whole.npz", tmp_path / "broken.npz"
    succeed(capsys, *words, "--out", whole)

    import sgmsolve.backends.solve as module

    real, calls = module.solve, []

    def dies(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "solve", dies)
    assert main([str(w) for w in (*words, "--out", broken)]) == 130
    assert not broken.exists()
    assert "--resume" in refuse(capsys, *words, "--out", broken)
    changed = refuse(capsys, *words, "--seed", 1, "--out", broken, "--resume")
    assert "seed = 0" in changed
    parts = sorted((tmp_path / "broken.npz.parts").glob("*.npy"))
    assert len(parts) == 2
    parts[1].write_bytes(parts[1].read_bytes()[:200])  # as if the disk had been full
    printed = json.loads(succeed(capsys, *words, "--out", broken, "--resume", "--json"))
    assert printed["made"] == 18
    assert broken.read_bytes() == whole.read_bytes()
    assert json.loads(succeed(capsys, *words, "--out", broken, "--resume", "--json"))["made"] == 0


def test_killed_sample_resumes_to_identical_bytes(tmp_path: Path) -> None:
    """A real process, killed with SIGKILL while it works."""
    words = "sample ring -m ancestral --steps 60 --n 400 --batch 10".split()
    command = [sys.executable, "-c", "import sys; from sgmsolve.cli import main; sys.exit(main())"]
    killed, whole = tmp_path / "killed.npz", tmp_path / "whole.npz"
    process = subprocess.Popen([*command, *words, "--out", str(killed)], stderr=subprocess.DEVNULL)
    parts = tmp_path / "killed.npz.parts"
    deadline = time.monotonic() + 60
    while len(list(parts.glob("*.npy"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, "it was done before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    assert 3 <= len(list(parts.glob("*.npy"))) < 40
    assert main([*words, "--out", str(killed), "--resume"]) == 0
    assert main([*words, "--out", str(whole)]) == 0
    assert killed.read_bytes() == whole.read_bytes()


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


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(words=st.lists(st.one_of(WORDS, WORDS, WORDS, TEXT), max_size=7))
def test_any_words_give_an_exit_code_and_no_traceback(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exceptions that escape `main` fail the test; `order` is left out because it takes minutes."""
    monkeypatch.chdir(tmp_path)
    if "--all" in words or "compare" in words[:1] or "order" in words[:1]:
        words = [*words, "--no-such-option"]
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


def test_help_is_quick_and_loads_no_backend(tmp_path: Path) -> None:
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
