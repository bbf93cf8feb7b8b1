"""Phase-space processes to test on, and their kernel retyped for mpmath at 90 digits.

The reference subtracts without care, S - E S E^T with E from mpmath's own matrix exponential: at 90
digits there is no need for any. It shares no code with the library.
"""

import mpmath as mp

from sgmsolve.process import CLD, PSLD

CASES = {
    "psld": PSLD(),
    "psld-celeba": PSLD(0.005),
    "cld": CLD(),
    "equal": PSLD(2.0, 1.0, 0.25),
    "position-only": PSLD(3.0, 0.0, 1.0),
    "underdamped": PSLD(0.02, 1.0),
    "nearly-free": CLD(0.05, 4.0, 0.3),
    "overdamped": PSLD(0.01, 40.0),
    "stiff": CLD(300.0),
    "heavy": PSLD(0.3, 1.0, 1 / 64),
    "light": PSLD(0.3, 3.0, 100.0),
    "known-momentum": PSLD(kappa=0.0),
    "linear": PSLD(0.02, beta=(0.1, 15.9)),
}


def clock(process, t):
    """b = int_0^t beta, mpmath."""
    first, last = process.beta if isinstance(process.beta, tuple) else (process.beta,) * 2
    return mp.mpf(first) * t + (mp.mpf(last) - mp.mpf(first)) * t * t / 2


def generator(process):
    g, nu, m_inv = mp.mpf(process.gamma), mp.mpf(process.nu), mp.mpf(process.m_inv)
    return mp.matrix([[-g, m_inv], [-1, -nu]]) / 2


def reference(process, t, kernel="hsm", start=0):
    """(Psi, Sigma) over [start, t] as mpmath matrices; call inside ``mp.workdps(90)``."""
    b = clock(process, mp.mpf(t)) - clock(process, mp.mpf(start))
    psi = mp.expm(generator(process) * b, method="taylor")
    mass = 1 / mp.mpf(process.m_inv)
    law = mp.diag([1, mass])
    first = mp.diag([0, mp.mpf(process.kappa) * mass if kernel == "hsm" else 0])
    return psi, law - psi * law * psi.T + psi * first * psi.T
