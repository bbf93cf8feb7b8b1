"""`sgmsolve sample`: what it draws, and that a killed run goes on to identical bytes."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refuse, succeed
from sgmsolve.problems import digits

import sgmsolve
from sgmsolve.cli import main
from sgmsolve.sampling import start


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

    real, calls = sgmsolve.backends.solve, []

    def dies(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("sgmsolve.backends.solve", dies)
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


def test_what_is_missing_is_said_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """scikit-learn for digits, pillow for a picture, space for the file."""
    out = tmp_path / "a.npz"
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda n: None if n == "PIL" else real(n))
    assert "pillow" in refuse(capsys, "sample", "ring", "--out", out, "--png", "2x2")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    monkeypatch.setattr(digits, "PROBLEM", digits.PROBLEM.replace())
    assert "scikit-learn" in refuse(capsys, "sample", "digits", "--out", out)
    assert "GB free" in refuse(capsys, "sample", "field", "--n", 10**9, "--out", out)
    assert not list(tmp_path.iterdir())


def test_a_finished_file_is_not_resumed_with_other_arguments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sample", "ring", "--steps", 2, "--out", tmp_path / "a.npz")
    succeed(capsys, *words, "--n", 3)
    assert "same arguments" in refuse(capsys, *words, "--n", 4, "--resume")


def test_a_picture_of_points_shows_the_first_samples_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sample", "ring", "--steps", 2, "--png", "1x2")
    succeed(capsys, *words, "--n", 2, "--out", tmp_path / "two.npz")
    succeed(capsys, *words, "--n", 90, "--out", tmp_path / "many.npz")
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "many.png").read_bytes()


def test_solvers_that_are_no_plans_sample_and_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("sample", "ring", "-m", "gotta-go-fast", "-o", "rtol=0.2", "--n", 11, "--batch", 4)
    whole, broken = tmp_path / "whole.npz", tmp_path / "broken.npz"
    printed = json.loads(succeed(capsys, *words, "--out", whole, "--json"))
    ring = sgmsolve.problems.find("ring")
    call = {"shape": (2,), "batch": 11, "method": "gotta-go-fast", **ring.grid_arguments}
    solution = sgmsolve.sample(ring.process, ring.target.model(ring.process), rtol=0.2, **call)
    assert np.allclose(sampled(whole), solution.x, rtol=1e-12, atol=1e-12)
    assert printed["nfe"] == pytest.approx(solution.nfe.mean(), rel=1e-12)
    assert printed["nfe_max"] == solution.nfe.max()

    real, calls = sgmsolve.solving.Job.run_on_host, []

    def dies(*args: object, **kwargs: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sgmsolve.solving.Job, "run_on_host", dies)
    assert main([str(w) for w in (*words, "--out", broken)]) == 130
    mean = succeed(capsys, *words, "--out", broken, "--resume")
    assert f"evaluations each on average and at most {solution.nfe[4:].max()}" in mean
    assert broken.read_bytes() == whole.read_bytes()
    assert "evaluations" not in succeed(capsys, *words, "--out", broken, "--resume")


def test_other_libraries_sample_from_the_same_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, again = tmp_path / "a.npz", tmp_path / "b.npz"
    words = ("sample", "gaussian", "-m", "torchdiffeq:dopri5", "-o", "rtol=1e-9", "-o", "atol=1e-9")
    assert "evaluations each: " in succeed(capsys, *words, "--n", 3, "--out", out)
    p = sgmsolve.problems.find("gaussian")
    (z,) = start(p.process, 1.0, np.empty((3, 2)), seed=0)
    exact = p.target.flow_map(z, 1.0, p.t_end, p.process)
    assert np.abs(sampled(out) - exact).max() < 1e-6
    words = ("sample", "gaussian", "-m", "torchsde:euler", "--steps", 5, "--n", 5, "--batch", 2)
    printed = json.loads(succeed(capsys, *words, "--out", again, "--json"))
    assert (printed["steps"], printed["nfe"]) == (5, 6)
    first = sampled(again)
    again.unlink()
    succeed(capsys, *words, "--out", again)
    assert np.array_equal(sampled(again), first)


def test_a_refused_run_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("sample", "ring", "-m", "gotta-go-fast", "--n", 2, "--out", tmp_path / "a.npz")
    assert "rtol = 0.0" in refuse(capsys, *words, "-o", "rtol=0")
    assert "give rtol and atol" in refuse(capsys, *words, "--nfe", 30)
    assert not list(tmp_path.iterdir())


def test_samples_that_did_not_finish_are_said_and_fail_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.npz"
    words = ("sample", "gaussian", "-m", "gotta-go-fast", "-o", "max_steps=5", "--n", "3")
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "3 of the samples made did not reach the end" in said
    assert sampled(out).shape[0] == 3
