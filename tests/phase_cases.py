"""Phase-space processes and a target to test on, and the kernel retyped for mpmath at 90 digits.

The reference subtracts without care, S - E S E^T with E from mpmath's own matrix exponential: at 90
digits there is no need for any. It shares no code with the library.
"""

import mpmath as mp
import numpy as np
from executor_cases import to_backend

from sgmsolve import CLD, PSLD, AugmentedProcess
from sgmsolve._array import kind_of

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


class Lifted:
    """Stand-in target: independent modes N(mean, variance), times the Gaussian momentum."""

    def __init__(self, means, variances):
        self.means, self.variances = np.atleast_1d(means), np.atleast_1d(variances)

    def modes(self):
        return self.variances, self.means, np.ones(len(self.means))

    def affine(self, process, kind, times):
        """Gain (R, m, m, M) and offset (R, m, M): -V^-1 (z - Psi mean) and its conversion."""
        gains, offsets = [], []
        for t in np.atleast_1d(times):
            loading, noise = process.loading(float(t)), process.covariance(float(t))
            a, b = process.conversion("score", kind, float(t))
            inverse = [
                np.linalg.inv(v * np.outer(loading, loading) + noise) for v in self.variances
            ]
            gains.append(np.stack([a - b @ P for P in inverse], axis=-1))
            pulls = [b @ P @ loading * mu for P, mu in zip(inverse, self.means, strict=True)]
            offsets.append(np.stack(pulls, axis=-1))
        return np.array(gains), np.array(offsets)


class Exact:
    """The stand-in's exact prediction for states whose last axis is the mode; any library."""

    def __init__(self, target, process, predicts, times):
        self.process, self.predicts, self.times = process, predicts, np.asarray(times)
        self.gains, self.offsets = target.affine(process, predicts, self.times)

    def __call__(self, z, t):
        library = kind_of(z[0])
        if library == "jax":  # t may be traced
            import jax.numpy as jnp

            i = jnp.argmin(jnp.abs(jnp.asarray(self.times) - t))
            gain, offset = jnp.asarray(self.gains)[i], jnp.asarray(self.offsets)[i]
        else:
            i = int(np.argmin(np.abs(self.times - t)))
            gain, offset = (to_backend(v[i], library) for v in (self.gains, self.offsets))
        m = len(z)
        return tuple(sum(gain[r, c] * z[c] for c in range(m)) + offset[r] for r in range(m))


def quadratic_striding(steps, last=0.999):
    """Forward times of the spec's section 3.2: tau_j = t_f (1 - (1 - j/N)^2), from t = 1."""
    j = np.arange(steps + 1) / steps
    return 1 - last * (1 - (1 - j) ** 2)


THREE = AugmentedProcess(
    [[0.0, 2.0, 0.0], [-2.0, 0.0, 3.0], [0.0, -3.0, -6.0]],
    np.diag([0.0, 0.0, np.sqrt(12.0)]),
    np.diag([0.0, 0.04, 0.04]),
    np.eye(3),
    t_max=2.0,
)
"""Third-order Langevin: the noise reaches the position through two integrations."""
