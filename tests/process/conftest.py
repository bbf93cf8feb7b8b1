"""The processes every test of this folder runs on, with their formulas retyped for mpmath.

``Reference`` holds the published definitions with no care for cancellation: at 60 digits there is
no need for any. It shares no code with the library.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import pytest

from sgmsolve.process import EDM, VE, VP, Flow, ScalarProcess, SubVP

TABLE = (0.02, 0.1, 0.001, 0.05, 0.3, 0.25, 0.4, 0.08, 0.2, 0.35)


@dataclass(frozen=True)
class Reference:
    process: ScalarProcess
    alpha: Callable[[Any], Any]
    variance: Callable[[Any], Any]
    f: Callable[[Any], Any]
    g2: Callable[[Any], Any]
    initial: str = "0"
    kinks: tuple[float, ...] = ()


def linear_integral(t):
    return mp.mpf(0.1) * t + (mp.mpf(20.0) - mp.mpf(0.1)) * t**2 / 2


def linear_rate(t):
    return mp.mpf(0.1) + (mp.mpf(20.0) - mp.mpf(0.1)) * t


def scaled_roots():
    return mp.sqrt(mp.mpf(0.85)), mp.sqrt(mp.mpf(12.0))


def scaled_rate(t):
    a, b = scaled_roots()
    return (a + (b - a) * t) ** 2


def scaled_integral(t):
    a, b = scaled_roots()
    return ((a + (b - a) * t) ** 3 - a**3) / (3 * (b - a))


def cosine_angle(t):
    return (t + mp.mpf(0.008)) / (1 + mp.mpf(0.008)) * mp.pi / 2


def cosine_alpha(t):
    return mp.cos(cosine_angle(t)) / mp.cos(cosine_angle(mp.mpf(0)))


def cosine_rate(t):
    return mp.pi / (1 + mp.mpf(0.008)) * mp.tan(cosine_angle(t))


def table_integral(t):
    total, n = mp.mpf(0), 0
    while n < 9 and t * 10 > n + 1:
        total, n = total - mp.log(1 - mp.mpf(TABLE[n])), n + 1
    return total - (10 * t - n) * mp.log(1 - mp.mpf(TABLE[n]))


def table_rate(t):
    return -10 * mp.log(1 - mp.mpf(TABLE[min(max(int(mp.ceil(10 * t)) - 1, 0), 9)]))


def preserving(process, integral, rate, kinks=()):
    return Reference(
        process,
        lambda t: mp.exp(-integral(t) / 2),
        lambda t: 1 - mp.exp(-integral(t)),
        lambda t: -rate(t) / 2,
        rate,
        kinks=kinks,
    )


def ve_sigma(t):
    return mp.mpf(0.01) * (mp.mpf(50) / mp.mpf(0.01)) ** t


REFERENCES = [
    preserving(VP(), linear_integral, linear_rate),
    preserving(VP.scaled_linear(), scaled_integral, scaled_rate),
    Reference(
        VP.cosine(),
        cosine_alpha,
        lambda t: 1 - cosine_alpha(t) ** 2,
        lambda t: -cosine_rate(t) / 2,
        cosine_rate,
    ),
    preserving(VP.discrete(TABLE), table_integral, table_rate, tuple(i / 10 for i in range(1, 10))),
    Reference(
        VE(),
        lambda t: mp.mpf(1),
        lambda t: ve_sigma(t) ** 2,
        lambda t: mp.mpf(0),
        lambda t: 2 * ve_sigma(t) ** 2 * (mp.log(50) - mp.log(mp.mpf(0.01))),
        initial="0.0001",
    ),
    Reference(
        SubVP(),
        lambda t: mp.exp(-linear_integral(t) / 2),
        lambda t: (1 - mp.exp(-linear_integral(t))) ** 2,
        lambda t: -linear_rate(t) / 2,
        lambda t: linear_rate(t) * (1 - mp.exp(-2 * linear_integral(t))),
    ),
    Reference(EDM(), lambda t: mp.mpf(1), lambda t: t**2, lambda t: mp.mpf(0), lambda t: 2 * t),
    Reference(
        Flow(), lambda t: 1 - t, lambda t: t**2, lambda t: -1 / (1 - t), lambda t: 2 * t / (1 - t)
    ),
]


@pytest.fixture(params=REFERENCES, ids=lambda r: repr(r.process).split("(")[0])
def reference(request: pytest.FixtureRequest) -> Reference:
    return request.param


@pytest.fixture
def process(reference: Reference) -> ScalarProcess:
    return reference.process


@pytest.fixture
def digits60():
    with mp.workdps(60):
        yield
