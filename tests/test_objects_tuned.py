"""Tuning a method whose options are objects: plans are made again from what was given."""

from __future__ import annotations

from cli_runs import succeed

from sgmsolve.plan import Plan


def test_a_fit_survives_tuning(tmp_path, capsys) -> None:
    out = tmp_path / "tuned.npz"
    words = ("target-aware", "--problem", "ring", "--nfe", 4, "-o", "fit=target", "--budget", 3)
    succeed(capsys, "tune", *words, "--free-grid", "--out", out)
    plan = Plan.load(out)
    assert plan.frame is not None
    assert plan.options["fit"] == "GaussianFit"
