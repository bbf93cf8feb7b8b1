"""The table of docs/adaptive.md is that of the record, not typed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_is_that_of_the_record() -> None:
    file = ROOT / "benchmarks" / "gotta_go_fast_table.py"
    spec = importlib.util.spec_from_file_location("gotta_go_fast_table", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.table() in (ROOT / "docs" / "adaptive.md").read_text(encoding="utf-8")
