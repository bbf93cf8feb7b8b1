"""Running the command line in this process, for the tests of its commands."""

from __future__ import annotations

import pytest

from sgmsolve.cli import main

COMMANDS = (
    "methods",
    "problems",
    "plan",
    "order",
    "compare",
    "sample",
    "tune",
    "precondition",
    "mcmc",
)


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
