"""What gets installed, what it needs, and what importing it costs."""

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE_DIR = PROJECT["tool"]["setuptools"]["package-dir"]
CORE = {"numpy", "array-api-compat", "click", "rich", "tqdm"}


def installed_files() -> dict[str, Path]:
    """Every source file, keyed by the path it must have once installed."""
    found = {}
    for package, folder in PACKAGE_DIR.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT / folder)
                found[f"{package.replace('.', '/')}/{inside.as_posix()}"] = path
    return found


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    texts = [*PROJECT["build-system"]["requires"], *(text for group in groups for text in group)]
    return [r for r in map(Requirement, texts) if r.name != project["name"]]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy: no build folder is left in the work tree, or read from it."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for folder in PACKAGE_DIR.values():
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps")
    run(*pip, "--no-build-isolation", "--wheel-dir", out, ".", cwd=source)
    (built,) = out.glob("*.whl")
    return built


def test_package_list_is_the_folders_on_disk() -> None:
    files = installed_files()
    on_disk = {str(Path(name).parent).replace("/", ".") for name in files if "__init__.py" in name}
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == on_disk


def test_package_list_leaves_no_module_out() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    modules = [name for name in installed_files() if name.endswith(".py")]
    orphans = [n for n in modules if str(Path(n).parent).replace("/", ".") not in listed]
    assert not orphans, "these folders need an __init__.py and a line in pyproject.toml"


def test_pins_cover_every_requirement() -> None:
    known = pins()
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        assert name in known, f"{name} is not pinned in constraints.txt"
        assert known[name] in requirement.specifier, f"{name}: {known[name]} is outside pyproject"
    assert not any("+" in version for version in known.values()), "a local build cannot be fetched"


def test_core_needs_no_backend() -> None:
    core = {canonicalize_name(Requirement(r).name) for r in PROJECT["project"]["dependencies"]}
    assert core == CORE


def test_wheel_holds_every_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(installed_files())
    assert "sgmsolve/py.typed" in names
    assert "sgmsolve/problems/__init__.py" in names


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (record,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        folder = record.rsplit("/", 1)[0]
        metadata = Parser().parsestr(archive.read(record).decode())
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        licence = archive.read(f"{folder}/licenses/LICENSE").decode()
    assert metadata["Name"] == "sgmsolve"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    assert {canonicalize_name(r.name) for r in wanted if r.marker is None} == CORE
    extras = set(PROJECT["project"]["optional-dependencies"])
    assert set(metadata.get_all("Provides-Extra")) == extras
    assert "sgmsolve = sgmsolve.cli:main" in scripts
    assert "Apache License" in licence


def test_wheel_imports_from_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "import sgmsolve, sgmsolve.problems as p; print(sgmsolve.__file__); print(p.__file__)"
    printed = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    package = (tmp_path / "site" / "sgmsolve").resolve()
    places = [Path(line).resolve() for line in printed.split()]
    assert places == [package / "__init__.py", package / "problems" / "__init__.py"]


def test_editable_install_finds_problems() -> None:
    problems = importlib.import_module("sgmsolve.problems")
    assert Path(problems.__file__ or "").resolve() == ROOT / "problems" / "__init__.py"


def test_version_is_told_once() -> None:
    version = PROJECT["project"]["version"]
    assert importlib.import_module("sgmsolve").__version__ == version
    assert importlib.metadata.version("sgmsolve") == version
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]$", changelog, re.MULTILINE)


def test_command_line_exists(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("sgmsolve")
    assert "compare" in run(script, "--help", cwd=tmp_path)


def test_import_loads_no_backend(tmp_path: Path) -> None:
    heavy = ("torch", "jax", "scipy", "matplotlib", "sklearn", "plotly", "diffrax")
    code = f"import sys, sgmsolve; print(*[m for m in {heavy!r} if m in sys.modules])"
    assert run(sys.executable, "-c", code, cwd=tmp_path).split() == []


def test_import_is_quick(tmp_path: Path) -> None:
    """Best of five, counted inside the process, so the interpreter's own start is not in it.

    Processor time, so that what else the machine is doing does not count.
    """
    code = "import time; a = time.process_time(); import sgmsolve; print(time.process_time() - a)"
    best = min(float(run(sys.executable, "-c", code, cwd=tmp_path)) for _ in range(5))
    assert best < 0.3
