"""The table of docs/target-aware.md is that of the record, and the record reaches its figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def benchmark() -> Any:
    file = ROOT / "benchmarks" / "target_aware.py"
    spec = importlib.util.spec_from_file_location("target_aware_benchmark", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_record() -> None:
    module = benchmark()
    report = json.loads(module.RECORD.read_text(encoding="utf-8"))
    assert module.table(report) in (ROOT / "docs" / "target-aware.md").read_text(encoding="utf-8")
    assert all(module.verdict(report["problems"]).values())


def test_few_evaluations_on_the_ring() -> None:
    """The figure itself, on few starts: recorded ratios are 0.31 and 0.51."""
    module = benchmark()
    module.EVALUATIONS, module.FINE = (5, 8), 300
    found = module.Bench("ring", 200, 1)
    others = [found.errors(name) for name in ("dpm++2m", "dpm++3m", "unipc-2", "deis-tab-3")]
    fit = module.fits(found, 1)["samples"]
    ours = found.errors("target-aware", fit=fit)
    for i, most in enumerate((0.4, 0.7)):
        best = min(min(rows[i].values()) for rows in others)
        assert min(ours[i].values()) < most * best
