"""The direction of imports: no arrow goes back, and the mathematics loads no backend."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sgmsolve"

# room -> rooms it may import (itself, errors and _array always)
ALLOWED = {
    "errors": set(),
    "_array": set(),
    "_archive": set(),
    "phi": set(),
    "process": {"phi"},
    "_grid_checks": {"process", "grid"},
    "grid": {"process", "phi", "_grid_checks"},
    "model": {"process", "phi"},
    "precondition": {"process", "phi"},
    "target": {"process", "phi", "model", "precondition"},
    "plan": {"phi", "precondition"},
    "methods": {"plan", "process", "grid", "phi", "precondition"},
    "reverse": {"process", "model", "precondition"},
    "adapters": {"reverse", "model", "plan", "backends", "precondition"},
    "adaptive": {
        *("process", "phi", "model", "reverse", "backends", "precondition", "methods", "plan"),
    },
    "likelihood": {"process", "model", "reverse", "backends", "adaptive"},
    "solving": {
        *("process", "grid", "methods", "reverse", "backends", "adapters", "adaptive"),
        "precondition",
    },
    "backends": {"plan", "precondition"},
    "mcmc": {
        *("process", "grid", "phi", "model", "target", "reverse", "plan", "methods"),
        *("backends", "adaptive", "sampling"),
    },
    "conditioning": {"process", "phi", "plan", "backends"},
    "sampling": {
        *("process", "phi", "grid", "model", "plan", "methods", "backends", "precondition"),
        *("adapters", "adaptive", "solving"),  # loaded when one of their solvers is named
    },
    "analysis": {
        *("process", "grid", "phi", "model", "target", "plan", "methods", "backends"),
        *("reverse", "adapters", "adaptive", "solving", "sampling", "problems"),
        *("precondition", "mcmc"),
    },
}
FREE = {"cli", "__init__"}
BACKENDS = {"torch", "jax", "jaxlib", "diffrax", "torchsde", "torchdiffeq", "equinox", "scipy"}
MAY_LOAD = {
    "backends/torch_loop.py": {"torch"},
    "backends/torch_noise.py": {"torch"},
    "backends/jax_scan.py": {"jax"},
    "backends/jax_noise.py": {"jax"},
    "adapters/to_torch.py": {"torch"},
    "adapters/run_torch.py": {"torch"},
    "adapters/to_jax.py": {"jax", "diffrax", "equinox", "lineax"},
    "adapters/run_diffrax.py": {"jax", "diffrax"},
    "adapters/diffrax_plan.py": {"jax", "diffrax", "equinox", "lineax"},
    "adaptive/tree_jax.py": {"jax"},
    "analysis/strong_jax.py": {"jax", "diffrax"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, at top level) of every import in a file; imports for type checkers only do not
    count."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        top = any(node is n for n in tree.body)
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.append((node.module or "", top))
            if node.module == "sgmsolve":
                found += [(f"sgmsolve.{alias.name}", top) for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    here = room(path)
    if here in FREE:
        return
    assert here in ALLOWED, f"sgmsolve/{here} is a new room: say here what it may import"
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] != "sgmsolve" or len(parts) == 1:
            continue
        there = parts[1]
        allowed = {here, "errors", "_array", "_archive"} | ALLOWED[here]
        assert there in allowed, f"{here} imports {there} in {path.relative_to(ROOT)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_backend_files_load_backends_at_import(path: Path) -> None:
    allowed = MAY_LOAD.get(str(path.relative_to(PACKAGE)), set())
    loaded = {name.split(".")[0] for name, top in imports(path) if top}
    assert not (loaded & BACKENDS) - allowed


def test_files_stay_short() -> None:
    long = {
        str(p.relative_to(ROOT)): n
        for folder in ("sgmsolve", "problems", "benchmarks")
        for p in (ROOT / folder).rglob("*.py")
        if (n := len(p.read_text().splitlines())) > 320
    }
    assert not long, f"files over 320 lines: {long}"
