"""The law that a preconditioned reverse SDE ends with, on Gaussians, in the limit of small steps.

For data N(mu, Lambda) the score is linear, -C^-1 (z - u mu) with C = u u^T Lambda + Sigma (m x m
blocks, u the loading and Sigma the covariance of the process), with k = (1 + eta^2)/2, A = M M^T,
the mean X mu and the covariance V of the reverse SDE obey, per unit of tau = -t,

    X' = L X + B,    V' = L V + V L^T + Q,    Q = eta^2 A G G^T,
    published:  L = -A (F + k G G^T C^-1),  B = A k G G^T C^-1 u;      noise: A = I in L and B.

For one component and eta = 1, with r = (sigma/alpha)^2 from r_0 at t = 0 to R at t_max, a mode of
data variance lambda and gain a, an eigenvalue of A, that starts with v_T ends with

    published:  v = h_0 [v_T / h_T + a int_{r_0}^R alpha^(2 - 2a) (lambda + r)^(-2a) dr],
                h = (alpha (lambda + r))^(2a),
    noise:      v = alpha_0^2 a (lambda + r_0) [1 - lambda (lambda + r_0) / (lambda + R)^2]

(the latter for v_T = a sigma_T^2),

so that VE and EDM give a/(2a - 1) [1 - (lambda/(lambda + R))^(2a - 1)] + ..., and VP, as R grows,
lambda^(2a - 1) 2F1(2a, a; a + 1; 1 - lambda).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from sgmsolve.errors import AnalysisError
from sgmsolve.phi import gauss_legendre
from sgmsolve.precondition.places import filters_prior
from sgmsolve.process.base import AbstractProcess, ScalarProcess

PANELS = 24
LARGEST_PANELS = 768
TOLERANCE = 1e-8
REFINEMENTS = (1, 2, 3, 4)


@dataclasses.dataclass(frozen=True)
class Modes:
    """What runs side by side: B blocks of n x n, n = m for modes, m dim for one dense block.

    Attributes:
        process: the forward process. whole: whether A multiplies the drift, too.
        A: (B, s, s), s = 1 for modes. Lambda: covariance of the data, likewise.
        eta: amount of noise.
    """

    process: AbstractProcess
    whole: bool
    A: np.ndarray
    Lambda: np.ndarray
    eta: float

    def law(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the process at forward times: X (rows, 1, n, s) and C (rows, B, n, n)."""
        u = np.asarray(self.process.loading(t), dtype=np.float64)
        noise = np.asarray(self.process.covariance(t), dtype=np.float64)
        one = np.eye(self.A.shape[-1])
        pull = u[:, :, None] * u[:, None, :]
        C = kron(pull[:, None], self.Lambda[None]) + kron(noise[:, None], one)
        return kron(u[:, None, :, None], one), C

    def rates(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(L, Q, B) at forward times, with axes (rows, B) in front."""
        X, C = self.law(t)
        F, G = (np.asarray(f(t), dtype=np.float64) for f in (self.process.F, self.process.G))
        one = np.eye(self.A.shape[-1])
        GG = G @ np.swapaxes(G, -1, -2)
        pull = (1 + self.eta**2) / 2 * kron(GG[:, None], one) @ inverse(C)
        L = -kron(F[:, None], one) - pull
        B = pull @ X
        if self.whole:
            full = kron(np.eye(self.process.m), self.A)[None]
            L, B = full @ L, full @ B
        return L, self.eta**2 * kron(GG[:, None], self.A[None]), B

    def end(self, t_start: float, X: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """X (B, n, s) and V (B, n, n) at t = 0 from those at t_start, to 1e-8.

        Implicit midpoint steps, extrapolated in h^2. Raises: AnalysisError if that does not settle.
        """
        panels = PANELS
        while True:
            nodes = self._nodes(t_start, panels)
            runs = [self._run(nodes, k, X, V) for k in REFINEMENTS]
            s = X.shape[-1]
            (X_end, one), (V_end, other) = (
                _extrapolated([run[..., part] for run in runs])
                for part in (slice(s), slice(s, None))
            )
            gap = max(one, other)
            if gap < TOLERANCE:
                return X_end, V_end
            panels *= 2
            if panels > LARGEST_PANELS:
                msg = (
                    f"the covariance at t = 0 settled to {gap:.1e} only, expected {TOLERANCE:g}: "
                    f"the eigenvalues may span too much; leave out the smallest."
                )
                raise AnalysisError(msg)

    def _nodes(self, t_start: float, panels: int) -> np.ndarray:
        """Decreasing times, dense where the fastest mode moves or changes its speed."""
        t = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 3000), np.linspace(0, 1, 1001)[1:]])
        t = np.unique(t) * t_start
        few = [int(np.argmin(self.Lambda[:, 0, 0])), int(np.argmax(self.A[:, 0, 0]))]
        speed = np.zeros(len(t))
        for i in sorted(set(few)):
            one = dataclasses.replace(self, A=self.A[i : i + 1], Lambda=self.Lambda[i : i + 1])
            speed = np.maximum(speed, np.linalg.norm(one.rates(t)[0][:, 0], axis=(-2, -1)))
        # Equal shares of time, of the motion of the fastest mode, and of how fast that changes.
        share = np.stack([np.ones(len(t)), speed, np.sqrt(np.abs(np.gradient(speed, t)))])
        share = np.cumsum(np.diff(t) * (share[:, 1:] + share[:, :-1]), axis=1)
        total = np.concatenate([[0.0], (share / share[:, -1:]).sum(axis=0)])
        return np.interp(np.linspace(total[-1], 0.0, panels + 1), total, t)

    def _run(self, nodes: np.ndarray, k: int, X: np.ndarray, V: np.ndarray) -> np.ndarray:
        """X and V at the end, (B, n, s + n), with each panel cut into k."""
        parts = np.arange(k + 1) / k
        fine = (nodes[:-1, None] + np.diff(nodes)[:, None] * parts[None, :-1]).ravel()
        fine = np.append(fine, nodes[-1])
        one = np.eye(V.shape[-1])
        for t, s in itertools.pairwise(fine):
            h = t - s
            L, Q, B = (x[0] for x in self.rates(np.array([0.5 * (t + s)])))
            K = inverse(one - 0.5 * h * L)
            move = K @ (one + 0.5 * h * L)
            V = move @ V @ np.swapaxes(move, -1, -2) + h * K @ Q @ np.swapaxes(K, -1, -2)
            X = move @ X + h * K @ B
        return np.concatenate([X, V], axis=-1)


@dataclasses.dataclass(frozen=True)
class Case:
    """A process and a place that misses, with the run's start."""

    process: AbstractProcess
    where: str
    eta: float

    @property
    def start(self) -> float:
        """The forward time at which runs start: t_max, or where there is signal."""
        if isinstance(self.process, ScalarProcess):
            return self.process.largest_usable_time()
        return float(self.process.t_max)

    @property
    def still(self) -> bool:
        """Whether the process has no drift."""
        return not np.any(self.process.F(0.5 * self.start))

    def end(self, A: np.ndarray, Lambda: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(map of the mean, covariance, the process's own) at t = 0 of (B, s, s) blocks."""
        prior = self.process.starting_covariance(self.start)
        one = np.broadcast_to(np.eye(A.shape[-1]), A.shape)
        V = kron(prior, A if filters_prior(self.where, self.still) else one)
        loading = np.asarray(self.process.loading(self.start), dtype=np.float64)
        X = kron(loading[:, None], one)
        modes = Modes(self.process, self.where != "noise", A, Lambda, float(self.eta))
        X, V = modes.end(self.start, X, V)
        s = A.shape[-1]
        return X[:, :s], V[:, :s, :s], modes.law(np.zeros(1))[1][0][:, :s, :s]

    def per_mode(
        self, a: np.ndarray, lam: np.ndarray, *, moved: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same for modes of gain a and variance lam, (Q,); ``moved``: there is a mean."""
        pairs, back = np.unique(np.stack([a, lam], axis=1), axis=0, return_inverse=True)
        back, one, process = back.reshape(-1), np.ones(len(pairs)), self.process
        if isinstance(process, ScalarProcess) and self.eta == 1:
            a, lam = pairs.T
            own = process.alpha(0.0) ** 2 * lam + process.sigma(0.0) ** 2
            if self.where == "noise":
                v = noise_variance(process, a, lam, self.start)
                return one[back], v[back], own[back]
            if self.still or not moved:
                prior = float(process.starting_covariance(self.start)[0, 0])
                first = a * prior if self.where == "published" or self.still else prior * one
                v = published_variance(process, a, lam, first, self.start)
                return one[back], v[back], own[back]
        found = self.end(*(x[:, None, None] for x in pairs.T))
        return tuple(x[:, 0, 0][back] for x in found)  # type: ignore[return-value]


def published_variance(
    process: ScalarProcess, a: np.ndarray, lam: np.ndarray, v_start: np.ndarray, t_start: float
) -> np.ndarray:
    """The closed form above for ``published``, by quadrature; a, lam and v_start broadcast."""
    a, lam, v_start = np.broadcast_arrays(a, lam, v_start)
    r0, R = (float(process.sigma(t) / process.alpha(t)) ** 2 for t in (0.0, t_start))
    least = lam + r0
    high = np.arcsinh(np.sqrt((R - r0) / least))
    count = max(8, math.ceil(2 * float(high.max())))
    nodes, weights = (np.asarray(x, dtype=np.float64) for x in gauss_legendre(16))
    total = np.zeros(lam.shape)
    # r = r_0 + (lambda + r_0) sinh^2 y: sigma is smooth in y at r_0 = 0, which it need not be in r.
    for panel in range(count):
        for u, w in zip(nodes, weights, strict=True):
            y = high * (panel + u) / count
            rho = np.sqrt(np.minimum(r0 + least * np.sinh(y) ** 2, R))
            alpha = np.asarray(process.alpha(process.time_of_rho(rho)))
            log = (2 - 2 * a) * np.log(alpha) + (1 - 4 * a) * np.log(np.cosh(y))
            total += 2 * w * np.exp(log) * np.sinh(y)
    total *= high / count
    first, last = float(process.alpha(0.0)), float(process.alpha(t_start))
    kept = v_start * (first * least / (last * (lam + R))) ** (2 * a)
    return kept + a * first ** (2 * a) * least * total


def noise_variance(
    process: ScalarProcess, a: np.ndarray, lam: np.ndarray, t_start: float
) -> np.ndarray:
    """The closed form above for ``noise``, from a prior a sigma^2."""
    r0, R = (float(process.sigma(t) / process.alpha(t)) ** 2 for t in (0.0, t_start))
    first = float(process.alpha(0.0)) ** 2
    return first * a * (lam + r0) * (1 - lam * (lam + r0) / (lam + R) ** 2)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverses of (..., n, n), by hand for n = 1 and 2, where there may be very many."""
    if matrix.shape[-1] == 1:
        return 1 / matrix
    if matrix.shape[-1] > 2:
        return np.linalg.inv(matrix)
    a, b, c, d = (matrix[..., i, j] for i in range(2) for j in range(2))
    flat = np.stack([d, -b, -c, a], axis=-1) / (a * d - b * c)[..., None]
    return flat.reshape(matrix.shape)


def kron(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Kronecker products of (..., m, m) and (..., s, s)."""
    made = a[..., :, None, :, None] * b[..., None, :, None, :]
    return made.reshape(*made.shape[:-4], a.shape[-2] * b.shape[-2], a.shape[-1] * b.shape[-1])


def _extrapolated(runs: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """The limit of a sequence with errors in powers of 1/k^2, and by how much it still moved."""
    rows: list[list[Any]] = []
    for j, run in enumerate(runs):
        row = [run]
        for i in range(1, j + 1):
            ratio = (REFINEMENTS[j] / REFINEMENTS[j - i]) ** 2
            row.append(row[-1] + (row[-1] - rows[-1][i - 1]) / (ratio - 1))
        rows.append(row)
    best, before = rows[-1][-1], rows[-1][-2]
    size = np.abs(best).max(axis=(-2, -1), keepdims=True)
    return best, float((np.abs(best - before) / size).max())
