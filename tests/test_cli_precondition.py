"""``sgmsolve precondition``: the file it writes, what it prints, how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from cli_runs import refuse, succeed

from sgmsolve.cli import main
from sgmsolve.precondition import PDS, Statistics, folder_statistics, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    root.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(root / f"{i}.png")
    return root


def test_the_file_is_the_preconditioner_of_the_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p"
    words = ["--alpha", 4, "--filters", "space,frequency", "--statistics", tmp_path / "s.npz"]
    said = succeed(capsys, "precondition", folder, "-o", out, *words)
    assert "PDS from 5 images, shape (3, 8, 6)" in " ".join(said.split())
    assert f"saved to {out}.npz" in said
    made, wanted = (
        load(out),
        PDS.from_statistics(folder_statistics(folder), 4.0, ("frequency", "space")),
    )
    x = np.random.default_rng(1).standard_normal((2, 3, 8, 6))
    np.testing.assert_array_equal(made.apply(x), wanted.apply(x))
    assert wanted.frequency is not None
    assert f"{wanted.frequency.max():.4f}" in said
    assert Statistics.load(tmp_path / "s.npz").count == 5


def test_json_says_what_was_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.png").write_text("no image")
    out = tmp_path / "p.npz"
    words = ["--skip-bad", "--limit", 4, "--size", "4x6", "--channels", 1, "--json"]
    capsys.readouterr()
    assert main([str(w) for w in ("precondition", folder, "--out", out, *words)]) == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert said["images"] == 4
    assert said["shape"] == [1, 4, 6]
    assert said["gains"]["frequency"]["smallest"] == pytest.approx(1)
    assert 1 < said["gains"]["frequency"]["largest"] <= 1.25
    assert ("bad.png" in printed.err) == bool(said["skipped"])
    assert out.exists()


def test_what_was_skipped_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(7):
        (folder / f"bad{i}.png").write_text("no image")
    main(["precondition", str(folder), "-o", str(tmp_path / "p"), "--skip-bad"])
    printed = capsys.readouterr()
    assert "7 skipped" in printed.out
    assert "Warning: 7 skipped: " in printed.err
    assert "bad4.png and 2 more" in printed.err


def test_gains_below_the_stability_bound_are_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["precondition", str(folder), "-o", str(tmp_path / "p"), "--normalisation", "eccv"])
    assert "too large by a factor like" in capsys.readouterr().err


def test_bad_input_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.npz"
    cases = {
        ("--alpha", "1"): "alpha is 1.0, expected a finite number > 1",
        ("--filters", "frequncy"): "Did you mean 'frequency'?",
        ("--normalisation", "max"): "unknown normalisation 'max'",
        ("--size", "0"): "write pixels such as 64",
        ("--size", "4x4x4"): "write pixels such as 64",
        ("--channels", "2"): "'2' is not one of '1', '3'",
        ("--limit", "0"): "--limit",
        ("--statistics", str(out)): "both name",
    }
    for words, sentence in cases.items():
        assert sentence in refuse(capsys, "precondition", folder, "-o", out, *words)
    assert "is no folder" in refuse(capsys, "precondition", tmp_path / "none", "-o", out)
    assert "--out" in refuse(capsys, "precondition", folder)
    assert not out.exists()
    (folder / "bad.png").write_text("no image")
    said = refuse(capsys, "precondition", folder, "-o", out)
    assert "bad.png cannot be read" in said
    assert "--skip-bad" in said
    out.write_text("taken")
    assert "exists already" in refuse(capsys, "precondition", folder, "-o", out)
