"""``sgmsolve mcmc``."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refuse, succeed
from sgmsolve.problems import find
from sgmsolve.problems.two_moons_chain import MOONS

from sgmsolve import mcmc
from sgmsolve.cli import main
from sgmsolve.mcmc import mode_coverage

SMALL = ("--chains", 40, "--emissions", 4, "--levels", 20, "--high", 1)


def test_exact_chain_on_the_moons(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "moons"
    printed = succeed(
        capsys, "mcmc", "two-moons-chain", *SMALL, "--burn-in", 20, "--json", "--out", out
    )
    report = json.loads(printed)
    assert report["samples"] == 160
    assert report["evaluations of a sample"] == pytest.approx((37 + 40) / 4 + 10 + 17)
    assert report["as the paper counts"] == 27
    assert report["largest R-hat"] > 1
    with np.load(out.with_suffix(".npz")) as file:
        assert file["trace"].shape == (40, 40)
        covered = mode_coverage(file["x"], find("two-moons-chain").target, MOONS)
    assert covered.tv < 0.2
    assert report["TV of the moons' weights"] == covered.tv
    assert 0 < report["changes of moon in a window"] < 0.5
    assert report["chains that ended early"] == []
    assert "exists already" in refuse(
        capsys, "mcmc", "two-moons-chain", *SMALL, "--out", out.with_suffix(".npz")
    )


def test_published_chain_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--chain", "published", "--step", 0.02, "--denoiser", "rk45", *SMALL)
    printed = succeed(capsys, "mcmc", "moons", *words)
    assert "of them denoising" in printed
    assert "TV" not in printed  # its target is no mixture


def test_without_arviz_the_samples_are_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "arviz", None)
    out = tmp_path / "ring.npz"
    words = ["mcmc", "ring", *map(str, SMALL)]
    assert main([*words, "--json", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["largest R-hat"] is None
    assert "pip install 'sgmsolve[lab]'" in said.err
    assert out.exists()
    rows = [line.split() for line in succeed(capsys, *words).splitlines()]
    assert ["largest", "R-hat", "-"] in rows


def test_chains_that_ended_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tight = functools.partial(mcmc.published_chain, limit=1.3)
    monkeypatch.setattr(mcmc, "published_chain", tight)
    words = ("mcmc", "ring", "--chain", "published", "--n-skip", 1, "--burn-in", 0, *SMALL)
    assert main([str(w) for w in (*words, "--json")]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    ended = report["chains that ended early"]
    assert 0 < len(ended) < 40
    assert all(e["status"] == "diverged" and 0 <= e["step"] < 4 for e in ended)
    assert f"(chain {ended[0]['chain']} at step {ended[0]['step']}: The state" in said.err
    # A chain that ended in step k has made k emissions.
    assert report["samples"] == 160 - sum(4 - e["step"] for e in ended)


def test_bad_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert "phase space" in refuse(capsys, "mcmc", "psld-ring")
    assert "0 < low < high" in refuse(capsys, "mcmc", "ring", "--low", 2, "--high", 1)
    assert "mean 'heun'" in refuse(capsys, "mcmc", "ring", "--denoiser", "hean")
    assert "leave --steps out" in refuse(capsys, "mcmc", "ring", "--denoiser", "rk45", "--steps", 4)


def test_a_short_run_warns_of_its_r_hat(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(w) for w in ("mcmc", "ring", *SMALL)]) == 0
    assert "R-hat of" in capsys.readouterr().err
