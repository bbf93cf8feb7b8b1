"""Plans with operators, shared by tests: a Gaussian field, filters on it, a small method."""

from __future__ import annotations

import numpy as np

from sgmsolve import VE, GaussianField, PlanBuilder
from sgmsolve.precondition import Preconditioner, Spectral
from sgmsolve.precondition.transform import FourierTransform

SHAPE = (4, 6)
FIELD = GaussianField.power_law(SHAPE, 2.0, 1.0, 0.3)
FOURIER = FourierTransform(SHAPE)
PROCESS = VE()
FILTER = Spectral(FOURIER, 1 + 0.3 / (1 + FIELD.eigenvalues))


class Hidden(Preconditioner):
    """An operator that does not say in what basis it is diagonal."""

    def __init__(self, inner: Preconditioner) -> None:
        self.inner, self.shape = inner, SHAPE

    def apply(self, x):
        return self.inner.apply(x)

    def transpose(self, x):
        return self.inner.transpose(x)


def preconditioned(process=PROCESS, steps=3, filtered=True, **operands):
    """x + v/2 (1 + M M^T + S) (1.1 e - 0.1 e_before) + sqrt(v) M xi from M z; S optional."""
    grid = list(np.geomspace(1, 0.2, steps + 1))
    b = PlanBuilder(process, grid, predicts="score", operands=operands)
    M, A = b.operator("M"), b.operator("M M^T")
    drift = 1 + A + (b.operator("S") if "S" in operands else 0)
    b.z = M @ b.z if filtered else b.z
    before = None
    for t, s in b.steps():
        e = b.predict(b.z, t)
        v = process.sigma(t) ** 2 - process.sigma(s) ** 2
        mixed = e if before is None else 1.1 * e - 0.1 * before
        b.advance(b.z + drift @ (v / 2 * mixed) + v**0.5 * (M @ b.xi()))
        before = e
    return b.plan()


def framed(process, frame, denoise=False):
    """A step exact on the frame's Gaussian, 0.3 residual + 0.05 of the last one, and noise."""
    b = PlanBuilder(process, [1.0, 0.6, 0.3, 0.1], predicts="data", frame=frame, denoise=denoise)
    lam, before = frame.values, 0
    for t, s in b.steps():
        c, d = (process.alpha(u) ** 2 * lam + process.sigma(u) ** 2 for u in (t, s))
        e = b.predict(b.z, t) - process.alpha(t) * lam / c * b.z
        b.advance((d / c) ** 0.5 * b.z + 0.3 * e + 0.05 * before + 0.1 * b.xi())
        before = e
    return b.plan()
