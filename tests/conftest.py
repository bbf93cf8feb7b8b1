"""Set-up that every test shares: the slow tier, and numerical libraries made strict and quiet.

Warnings are errors through `filterwarnings` in pyproject.toml, numpy's floating-point ones
included; a test that expects one says so with `pytest.warns`.
"""

import os

import pytest

# Read by jax, torch and the BLAS libraries when (and only if) a test imports them; processes that
# tests start inherit them. One thread each, because `make test` runs two workers on two cores.
os.environ.setdefault("JAX_ENABLE_X64", "1")
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
