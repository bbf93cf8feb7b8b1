from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def load(name: str):
    """A module of docs/hooks, which is no package and not on the path."""
    spec = importlib.util.spec_from_file_location(
        f"docs_hooks_{name}", ROOT / f"docs/hooks/{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def examples():
    return load("examples")


@pytest.fixture(scope="session")
def methods_page():
    return load("methods_page")


@pytest.fixture(scope="session")
def content():
    pytest.importorskip("latex2mathml", reason="formulas need the docs extra: make docs")
    return load("content")
