"""The tables of docs/phase-results.md are those of the record, not typed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_record() -> None:
    spec = importlib.util.spec_from_file_location(
        "phase_table", ROOT / "benchmarks" / "phase_table.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "phase-results.md").read_text()
    start = page.index("## Gaussian, exact W2")
    assert page[start:].strip() == module.tables().strip()
