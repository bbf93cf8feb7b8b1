"""Exact predictions under processes of m >= 2 components, from those of scalar processes.

Given x0, the state is z(t) = u x0 + L eps with u = ``loading``, L the lower factor of
``covariance``, both acting on the component index. With c = L^-1 u and a = L^-T c / |c|^2,

    y = a . z = x0 + sigma n,    sigma = 1 / |c|,    n = c . eps / |c|,

is a sufficient statistic for x0 (a . z is the generalised least-squares estimate): the rest of the
state, R z with R u = 0 and R Sigma R^T = I, is N(0, I) and independent of x0 and n. So with the
target's own answers at (alpha, sigma) = (1, 1 / |c|), and N = L^T R^T,

    E[eps | z] = N R z + c/|c| E[n | y],     score = -R^T R z - a |c| E[n | y],
    log p_t(z) = log p(y) + log N(R z; 0, I) - d log(|c| det L).

No kind is a difference of large numbers: a noise of another factor or kernel is minus that factor
(transposed) times the score, the data component E[x0 | z] is the target's own answer, and for the
auxiliary components z_i(0) of covariance C0, E[z(0) | z]_i = -(C0 Psi^T score)_i by regression of
z(0) on z given x0.
Derived here (sufficiency in a linear model with Gaussian noise, Bishop 2006, section 2.3.3).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from sgmsolve._array import array_namespace, kind_of, ops
from sgmsolve.errors import ModelError
from sgmsolve.model.base import linear_combination, scalar_for
from sgmsolve.process.base import AbstractProcess

Row = list[Any]
"""Entries of a vector: floats or mpmath numbers for host times, arrays shaped like t otherwise."""


class Split(NamedTuple):
    """What z(t) knows about x0, and the rest, at a time t.

    ``estimate`` a (m,), ``sigma`` 1/|c|, ``rest`` R (m - 1, m); ``direction`` c/|c| (m,) and
    ``complement`` N^T (m - 1, m) are theirs in units of the lower factor's noise; ``log_volume``
    is log(|c| det L).
    """

    estimate: Row
    sigma: Any
    rest: list[Row]
    direction: Row
    complement: list[Row]
    log_volume: Any


def split(process: AbstractProcess, t: Any) -> Split:
    """The split of z(t) at a float, an mpmath number or an array t.

    Raises: ProcessError at host times where some direction holds no noise, GridError below 0.
    """
    xp = ops(t)
    if xp.host and not t > 0:
        process.check_time(t)
    factor = process.factor("lower", t)  # type: ignore[attr-defined]
    low, u = _entries(factor, t), _entries(process.loading(t)[..., None, :], t)[0]
    m = len(u)
    if xp.host and any(low[i][i] == 0 for i in range(m)):
        process.inverse_factor("lower", t)  # type: ignore[attr-defined]  # says why not
    c = [u[0] / low[0][0]]
    for i in range(1, m):
        c.append((u[i] - _dot(low[i][:i], c)) / low[i][i])
    size = xp.sqrt(_dot(c, c))
    direction = [v / size for v in c]
    a = [direction[-1] / (size * low[-1][-1])]
    for i in range(m - 2, -1, -1):
        below = [low[j][i] for j in range(i + 1, m)]
        a.insert(0, (direction[i] / size - _dot(below, a)) / low[i][i])
    rest, complement = _orthonormal(_annihilators(u, xp), low, xp)
    volume = xp.log(size)
    for i in range(m):
        volume = volume + xp.log(low[i][i])
    return Split(a, 1 / size, rest, direction, complement, volume)


def _annihilators(u: Row, xp: Any) -> list[Row]:
    """An orthonormal basis of the vectors at right angles to u, small entries precise.

    Rows 1 to m - 1 of the Householder reflection that turns u into a multiple of e_0.
    """
    size = xp.sqrt(_dot(u, u))
    v = [u[0] + xp.where(u[0] >= 0, size, -size), *u[1:]]
    half = _dot(v, v) / 2
    one = 1 + 0 * size
    return [
        [(one if i == j else 0 * size) - v[i] * w / half for j, w in enumerate(v)]
        for i in range(1, len(u))
    ]


def _orthonormal(rows: list[Row], low: list[Row], xp: Any) -> tuple[list[Row], list[Row]]:
    """R and N^T = R L from rows K: combinations of K for which R L is orthonormal."""
    m = len(low)
    rest: list[Row] = []
    complement: list[Row] = []
    for row in rows:
        r, n = row, [_dot(row[j:], [low[i][j] for i in range(j, m)]) for j in range(m)]
        for _ in range(2 if rest else 0):  # twice is enough (Kahan; Parlett 1998, section 6.9)
            for done, unit in zip(rest, complement, strict=True):
                part = _dot(n, unit)
                r = [x - part * w for x, w in zip(r, done, strict=True)]
                n = [x - part * w for x, w in zip(n, unit, strict=True)]
        size = xp.sqrt(_dot(n, n))
        rest.append([x / size for x in r])
        complement.append([x / size for x in n])
    return rest, complement


def response(process: AbstractProcess, kind: str, t: Any, at: Split) -> tuple[list[Row], Row]:
    """(P, q) with prediction = P (R z) + q E[n | y], shapes (m, m - 1) and (m,).

    For ``data`` row 0 is 0: that component is E[x0 | y].
    """
    m = len(at.estimate)
    if kind == "noise:lower":
        return [[row[i] for row in at.complement] for i in range(m)], at.direction
    pull = [w / at.sigma for w in at.estimate]
    if kind == "score":
        return [[-row[i] for row in at.rest] for i in range(m)], [-w for w in pull]
    # What is left is -(matrix) score.
    if kind == "data":
        psi, start = _entries(process.flow(0 * t, t), t), process.initial_covariance
        if ops(t).exact:
            start = np.vectorize(ops(t).number, otypes=[object])(start)
        moved = [[_dot(list(start[i]), row) for row in psi] for i in range(m)]
    else:
        _, name, *kernel = kind.split(":")
        factor = process.factor(name, t, kernel[0] if kernel else "hsm")  # type: ignore[attr-defined]
        rows = _entries(factor, t)
        moved = [[row[i] for row in rows] for i in range(m)]
    left = [[_dot(row, r) for r in at.rest] for row in moved]
    return left, [_dot(row, pull) for row in moved]


def predict(target: Any, kind: str, z: tuple[Any, ...], t: Any, process: AbstractProcess) -> Any:
    """E[kind | z(t) = z] for a tuple z of m arrays (batch, *shape): m arrays alike.

    Raises: ProcessError for an unknown kind or a time without noise, ModelError for another number
    of components, TargetError for other shapes.
    """
    process.check_kind(kind)
    z, dtype = working_state(target, z, process)
    t = _time(t)
    at = split(process, t)
    left, right = response(process, kind, t, at)
    y = linear_combination(zip(at.estimate, z, strict=True))
    rest = [linear_combination(zip(row, z, strict=True)) for row in at.rest]
    sigma, out = _weight(at.sigma, y), []
    if kind == "data":
        # v = n - sigma x0 and y = x0 + sigma n determine both without loss at any sigma.
        v, s = target._predict("v", y, 1.0, sigma), at.sigma
        noise = linear_combination([(s / (1 + s * s), y), (1 / (1 + s * s), v)])
        out.append(linear_combination([(1 / (1 + s * s), y), (-s / (1 + s * s), v)]))
    else:
        noise = target._predict("noise", y, 1.0, sigma)
    for i in range(len(out), len(z)):
        out.append(linear_combination([*zip(left[i], rest, strict=True), (right[i], noise)]))
    return tuple(target._restored(part, dtype) for part in out)


def log_prob(target: Any, z: tuple[Any, ...], t: Any, process: AbstractProcess) -> Any:
    """Log density (batch,) of z(t), a tuple of m arrays (batch, *shape). Raises as ``predict``."""
    z, dtype = working_state(target, z, process)
    t = _time(t)
    at = split(process, t)
    xp = array_namespace(z[0])
    y = linear_combination(zip(at.estimate, z, strict=True))
    total = target._log_prob(y, 1.0, _weight(at.sigma, y))
    for row in at.rest:
        part = linear_combination(zip(row, z, strict=True))
        flat = xp.reshape(part, (part.shape[0], -1))
        total = total - 0.5 * xp.sum(flat * flat, axis=1)
    constant = 0.5 * (process.m - 1) * math.log(2 * math.pi) + at.log_volume
    return target._restored(total - scalar_for(target.dim * constant, total), dtype)


def affine(target: Any, process: AbstractProcess, kind: str, t: Any) -> tuple[Any, Any]:
    """Gain (..., p, m, modes) and offset (..., p, modes) of a Gaussian's predictions, host."""
    process.check_kind(kind)
    times = np.asarray(t, dtype=np.float64)
    t = times if times.ndim else float(times)
    at = split(process, t)
    left, right = response(process, kind, t, at)
    lam, mu, _ = target.modes()
    sigma = np.asarray(at.sigma)[..., None]
    total = lam + sigma * sigma
    a, q, r, p = (_stack(x) for x in (at.estimate, right, at.rest, left))
    knows = a[..., None, :, None] * (sigma / total)[..., None, None, :]
    gain = (p @ r)[..., None] + q[..., :, None, None] * knows
    offset = -q[..., :, None] * (sigma / total * mu)[..., None, :]
    if kind == "data":
        gain[..., 0, :, :] = a[..., :, None] * (lam / total)[..., None, :]
        offset[..., 0, :] = sigma * sigma / total * mu
    return gain, offset


def check_state(z: Any, process: AbstractProcess) -> tuple[Any, ...]:
    """The state as a tuple of m arrays. Raises: ModelError for another number of them."""
    parts = tuple(z) if isinstance(z, (tuple, list)) else (z,)
    if len(parts) != process.m:
        msg = (
            f"the state has {len(parts)} array(s), expected {process.m} "
            f"({', '.join(process.names)}) for {process!r}; pass a tuple of {process.m}."
        )
        raise ModelError(msg)
    return parts


def working_state(target: Any, z: Any, process: AbstractProcess) -> tuple[tuple[Any, ...], Any]:
    """The m checked arrays in at least 32 bits, and the dtype of the first."""
    made = [target._working(part) for part in check_state(z, process)]
    shapes = {tuple(part.shape) for part, _ in made}
    if len(shapes) > 1:
        msg = (
            f"the components of the state have shapes {sorted(shapes)}, expected one shape; pass "
            f"{', '.join(process.names)} of the same batch."
        )
        raise ModelError(msg)
    return tuple(part for part, _ in made), made[0][1]


def _time(t: Any) -> Any:
    """An int or a numpy scalar as a float: arithmetic on 0-d numpy arrays gives floats anyway."""
    if isinstance(t, int) or (kind_of(t) == "numpy" and getattr(t, "ndim", 1) == 0):
        return float(t)
    return t


def _weight(value: Any, x: Any) -> Any:
    """A coefficient as targets take it: a float, a 0-d array or (batch, 1)."""
    if isinstance(value, float):
        return value
    return scalar_for(value, array_namespace(x).reshape(x, (x.shape[0], -1)))


def _entries(matrix: Any, t: Any) -> list[Row]:
    if ops(t).host:
        found: list[Row] = matrix.tolist()
        return found
    rows, columns = matrix.shape[-2:]
    return [[matrix[..., i, j] for j in range(columns)] for i in range(rows)]


def _stack(value: Any) -> np.ndarray:
    """Entries as one array (..., rows, columns)."""
    if isinstance(value, list):
        depth = 2 if isinstance(value[0], list) else 1
        return np.stack([_stack(v) for v in value], axis=-depth)
    return np.asarray(value, dtype=np.float64)


def _dot(a: Row, b: Row) -> Any:
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + x * y
    return total
