"""Fixtures over every target and every process."""

import pytest
from target_cases import PROCESSES, TARGETS, noisy


@pytest.fixture(params=TARGETS)
def target(request):
    return TARGETS[request.param]


@pytest.fixture(params=PROCESSES)
def process(request):
    return PROCESSES[request.param][0]


@pytest.fixture
def t(request, process):
    return next(t for p, t in PROCESSES.values() if p is process)


@pytest.fixture
def states(target, process, t):
    return noisy(target, process, t)
