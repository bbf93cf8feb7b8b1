"""The tables of docs/mcmc.md are those of the record, not typed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_record() -> None:
    file = ROOT / "benchmarks" / "mcmc_table.py"
    spec = importlib.util.spec_from_file_location("mcmc_table", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "mcmc.md").read_text(encoding="utf-8")
    for problem in module.REACHED:
        assert module.table(problem) in page
