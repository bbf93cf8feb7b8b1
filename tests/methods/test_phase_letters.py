"""The letters of splitting schemes against textbook formulas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from phase_methods import build

from sgmsolve import CLD, PSLD

pytestmark = pytest.mark.filterwarnings("ignore:.*amplifies errors")
P = PSLD(0.3, 3.0)
LINEAR = PSLD(0.3, 3.0, beta=(0.5, 12.0))
T, S = 0.8, 0.55


def _score(z: np.ndarray, t: float) -> np.ndarray:
    """Any affine field; linear in z so that a plan's own maps can be compared."""
    gain = np.array([[-1.3 - t, 0.4], [0.7 * t, -3.0 + t]])
    return gain @ z + np.array([0.3 * t, -0.2])


def _run(plan: Any, z: np.ndarray, xi: Any) -> np.ndarray:
    """The plan's rows, as the docs define them; xi (draws, 2) by columns, one draw a row."""
    draws, Z = iter(xi), plan.prelude_move @ z
    if plan.active_draws(-1):
        Z = Z + plan.prelude_noise @ next(draws)
    assert plan.predicts == "score"
    history: list[np.ndarray] = []
    for r in range(plan.rows):
        history = [_score(Z[:2], float(plan.t[r])), *history][: plan.history]
        Z = plan.move[r] @ Z
        for j, e in enumerate(history):
            Z = Z + plan.kick[r, :, :, j] @ e
        if plan.active_draws(r):
            noise = plan.noise[r]
            Z = Z + noise @ np.concatenate([next(draws) for _ in range(noise.shape[1] // 2)])
    return Z[:2]


class Text:
    """Sections 6 and 7 of the spec, typed out: maps A, B (w = 1 or 2) and O."""

    def __init__(self, p: Any, w: float) -> None:
        self.p, self.w, self.M = p, w, 1 / p.m_inv

    def A(self, z: np.ndarray, s: np.ndarray, t: float, h: float) -> np.ndarray:
        p, b = self.p, float(self.p.rate(t))
        rate = self.w * p.gamma * z[0] - z[1] / self.M + self.w * p.gamma * s[0]
        return np.array([z[0] + h * b / 2 * rate, z[1]])

    def B(self, z: np.ndarray, s: np.ndarray, t: float, h: float) -> np.ndarray:
        p, b = self.p, float(self.p.rate(t))
        rate = z[0] + self.w * p.nu * z[1] + self.w * self.M * p.nu * s[1]
        return np.array([z[0], z[1] + h * b / 2 * rate])

    def O(self, z: np.ndarray, xi: np.ndarray, t: float, s: float) -> np.ndarray:  # noqa: E743
        p = self.p
        b = float(p.clock(t) - p.clock(s))
        x = math.exp(-p.gamma * b / 2) * z[0] + math.sqrt(1 - math.exp(-p.gamma * b)) * xi[0]
        root = math.sqrt(self.M * (1 - math.exp(-p.nu * b)))
        return np.array([x, math.exp(-p.nu * b / 2) * z[1] + root * xi[1]])


def _textbook(name: str, p: Any, z: np.ndarray, xi: np.ndarray) -> np.ndarray:
    h, f = T - S, Text(p, 2 if "o" in name else 1)
    if name[:2] in ("no", "ro"):
        z = f.O(z, xi, T, S)
    s = _score(z, T)
    half = name in ("nvv", "rvv", "rvv-start", "rvv-mid", "nobab", "robab")
    z = f.B(z, s, T, h / 2 if half else h)
    z = f.A(z, _score(z, T) if name[0] == "n" else s, T, h)
    if half:
        t = {"start": T, "mid": (T + S) / 2}.get(name[4:], S) if name[0] == "r" else T
        z = f.B(z, _score(z, t), t, h / 2)
    return f.O(z, xi, T, S) if name[1:] == "bao" else z


@pytest.mark.parametrize("process", [P, LINEAR, CLD()], ids=["psld", "linear", "cld"])
@pytest.mark.parametrize(
    "name",
    "nse rse nvv rvv rvv-start rvv-mid noba nbao nobab roba rbao robab".split(),
)
def test_published_schemes_are_their_formulas(name: str, process: Any) -> None:
    options = {"last": name[4:]} if "-" in name else {}
    plan = build(process, [T, S], name.split("-")[0], **options)
    z, xi = np.array([0.7, -0.4]), np.array([1.1, -0.6])
    expected = _textbook(name, process, z, xi)
    np.testing.assert_allclose(_run(plan, z, [xi]), expected, rtol=1e-13)


def _lyapunov(A: Any, N: Any, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Flow and covariance of dz = A(tau) z dtau + N(tau) dw over h."""
    from scipy.integrate import solve_ivp

    def rate(tau: float, y: np.ndarray) -> np.ndarray:
        a, n = A(tau), N(tau)
        psi, cov = y[:4].reshape(2, 2), y[4:].reshape(2, 2)
        return np.concatenate([(a @ psi).ravel(), (a @ cov + cov @ a.T + n @ n.T).ravel()])

    y0 = np.concatenate([np.eye(2).ravel(), np.zeros(4)])
    y = solve_ivp(rate, (0, h), y0, method="DOP853", rtol=1e-13, atol=1e-16).y[:, -1]
    return y[:4].reshape(2, 2), y[4:].reshape(2, 2)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("process", [P, LINEAR, CLD()], ids=["psld", "linear", "cld"])
def test_linear_letter_solves_the_lyapunov_equation(process: Any, eta: float) -> None:
    inverse = np.diag([1.0, process.m_inv])

    def drift(tau: float) -> np.ndarray:
        G = process.G(T - tau)
        return -process.F(T - tau) - (1 + eta**2) / 2 * G @ G.T @ inverse

    psi, cov = _lyapunov(drift, lambda tau: eta * process.G(T - tau), T - S)
    found = process.reversed_linear(S, T, eta)
    np.testing.assert_allclose(found[0], psi, atol=1e-11)
    np.testing.assert_allclose(found[1], cov, atol=1e-11)
    decay, variance = process.relaxation(S, T)
    psi, cov = _lyapunov(
        lambda tau: np.diag(np.diag(process.F(T - tau))), lambda tau: process.G(T - tau), T - S
    )
    np.testing.assert_allclose(decay, np.diag(psi), atol=1e-11)
    np.testing.assert_allclose(variance, np.diag(cov), atol=1e-11)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("process", [P, LINEAR], ids=["psld", "linear"])
@pytest.mark.parametrize("scheme", ["L/2 s S L/2", "L/2 s@mid S L/2", "L*1/3 S2 L*2/3"])
def test_kicks_and_linear_flows(scheme: str, process: Any, eta: float) -> None:
    """L as the process gives it (tested above) and the kick typed out."""
    plan = build(process, [T, S], "splitting", scheme=scheme, eta=eta)
    inverse, h = np.diag([1.0, process.m_inv]), T - S
    xi = np.array([[0.3, -0.8], [1.2, 0.5]])
    cut = T - h / 3 if "1/3" in scheme else T - h / 2

    def linear(z: np.ndarray, s: float, t: float, noise: np.ndarray) -> np.ndarray:
        psi, cov = process.reversed_linear(s, t, eta)
        return psi @ z + (np.linalg.cholesky(cov) @ noise if eta else 0)

    def kick(z: np.ndarray, s: np.ndarray, t: float) -> np.ndarray:
        G = process.G(t)
        return (1 + eta**2) / 2 * G @ G.T @ (s + inverse @ z)

    z = linear(np.array([0.7, -0.4]), cut, T, xi[0])
    mid = (T + S) / 2
    if "S2" in scheme:
        inner = z + h / 2 * kick(z, _score(z, mid), mid)
        z = z + h * kick(inner, _score(inner, mid), mid)
    else:
        t = mid if "mid" in scheme else T
        z = z + h * kick(z, _score(z, t), t)
    expected = linear(z, S, cut, xi[1])
    np.testing.assert_allclose(_run(plan, np.array([0.7, -0.4]), xi), expected, rtol=1e-11)


@pytest.mark.parametrize("w", [1, 2])
@pytest.mark.parametrize("B", ["zero", "row", "full"])
def test_conjugate_letters_have_their_closed_flow(w: int, B: str) -> None:
    """Section 8: e^{h K} of A and of B, and I - h B."""
    lam, beta, g, nu, minv, h = 0.5, 8.0, P.gamma, P.nu, P.m_inv, T - S
    rows = {"zero": np.zeros((2, 2)), "row": np.array([[lam, lam], [0, 0]])}
    BA = rows.get(B, np.full((2, 2), lam))
    BB = BA[::-1] if B == "row" else BA
    own = lam if B == "row" else 0.0
    a, c = (
        own + w * g * beta / 2,
        own - minv * beta / 2,
    )
    b, d = own + w * nu * beta / 2, own + beta / 2
    flows = [
        np.array([[math.exp(a * h), c * math.expm1(a * h) / a], [0, 1]]),
        np.array([[1, 0], [d * math.expm1(b * h) / b, math.exp(b * h)]]),
    ]
    if B == "full":
        expm = pytest.importorskip("scipy.linalg").expm
        FA = beta / 2 * np.array([[-w * g, minv], [0, 0]])
        FB = beta / 2 * np.array([[0, 0], [-1, -w * nu]])
        flows = [expm(h * (BA - FA)), expm(h * (BB - FB))]
    whole = flows[0] @ (np.eye(2) - h * BA) @ flows[1] @ (np.eye(2) - h * BB)
    if w == 2:
        whole = whole @ np.diag(P.relaxation(S, T)[0])
    with pytest.warns(UserWarning, match="amplifies"):
        plan = build(P, [T, S], "cse" if w == 1 else "coba", B=B)
    np.testing.assert_allclose(plan.response().z0, whole, rtol=1e-12)
    if B != "full":  # E by quadrature; the exponential of [[a, c], [0, 0]] over r - S

        def push(r: float) -> np.ndarray:
            length, out = r - S, P.inverse_factor("lower", r).T
            A = np.array([[math.exp(a * length), c * math.expm1(a * length) / a], [0, 1]])
            Bm = np.array([[1, 0], [d * math.expm1(b * length) / b, math.exp(b * length)]])
            kA = -w / 2 * A @ np.diag([beta * g, 0.0]) @ out
            kB = -w / 2 * Bm @ np.diag([0.0, beta * nu / minv]) @ out
            return kA + flows[0] @ (np.eye(2) - h * BA) @ kB

        E = pytest.importorskip("scipy.integrate").quad_vec(push, S, T, epsrel=1e-13)[0]
        np.testing.assert_allclose(plan.response().predictions[0], E, rtol=1e-10)
        # each entry by itself: the position's own noise weighs 1e-7 in the golden moments


@pytest.mark.parametrize("process", [P, LINEAR], ids=["psld", "linear"])
def test_position_noise_with_lambda_s(process: Any) -> None:
    clock = float(process.clock(T) - process.clock(S))
    mean = (T + S) / 2
    rate = float(process.rate(mean))

    def variance(**options: Any) -> float:
        table = build(process, [T, S], "splitting", scheme="s B A O", **options).noise
        return float((table[-1][0] ** 2).sum())

    assert variance() == pytest.approx(-math.expm1(-0.3 * clock), rel=1e-12)
    assert variance(lambda_s=1.0) == pytest.approx(variance(), rel=1e-12)
    assert variance(lambda_s=2.5) == pytest.approx(-math.expm1(-2.5 * 0.3 * clock), rel=1e-12)
    published = -math.expm1(-2.5 * 0.3 * mean * rate)
    found = variance(lambda_s=2.5, lambda_s_form="published")
    assert found == pytest.approx(published, rel=1e-12)
    assert "weak" not in build(process, [T, S], "roba", lambda_s=2.0).orders
    assert build(process, [T, S], "roba", lambda_s=1.0).orders == {"weak": 1}
    tapered = build(process, [2e-6, 1e-6], "rbao", lambda_s=1.0, lambda_s_form="published")
    assert 0 < (tapered.noise[-1][0] ** 2).sum() < 1e-4
