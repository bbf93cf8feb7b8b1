"""The tables of docs/preconditioning.md are those of the record, not typed."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tables_are_those_of_the_record() -> None:
    file = ROOT / "benchmarks" / "preconditioning_table.py"
    spec = importlib.util.spec_from_file_location("preconditioning_table", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    tables = module.tables()
    assert len(tables) == 18
    for name, table in tables.items():
        begin, end = module.marks(name)
        indent = page[: page.index(begin)].rpartition("\n")[2]
        between = page[page.index(begin) + len(begin) : page.index(end)]
        assert textwrap.dedent(between).strip() == table, name
        assert indent.strip() == "", name


def test_the_pictures_are_small() -> None:
    for name in ("bands", "w2"):
        file = ROOT / "docs" / "assets" / f"preconditioning-{name}.png"
        assert 10_000 < file.stat().st_size < 100_000
