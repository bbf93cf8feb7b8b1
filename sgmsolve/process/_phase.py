"""What all augmented processes share: factors of the covariance and kinds of prediction."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from sgmsolve._array import ops
from sgmsolve.errors import ProcessError, unknown
from sgmsolve.process._reversed import Reversed, inverse_of
from sgmsolve.process.base import AbstractProcess

FACTORS = ("lower", "upper", "rotation-free")
KERNELS = ("hsm", "dsm")
_NAMES = ("score", "data", *(f"noise:{f}" for f in FACTORS), *(f"noise:{f}:dsm" for f in FACTORS))


class AbstractPhaseSpace(AbstractProcess):
    """z = (x, auxiliary components); z(0) = (x0, independent Gaussian), m >= 2.

    Two kernels are used in training. ``hsm`` (hybrid score matching) is p(z(t) | x0), covariance
    ``covariance(t)``; ``dsm`` is p(z(t) | z(0)), covariance that of ``transition(0, t)``.

    Kinds of prediction, each of p = m components:

    * ``score``: grad log p_t(z).
    * ``noise:lower``, ``noise:upper``, ``noise:rotation-free``: E[eps | z] for z = mean + L eps,
      L L^T = Sigma the HSM covariance, L named by the word; ``noise:lower:dsm`` and so on belong to
      the DSM covariance. Always score = -L^-T eps.
    * ``data``: the posterior mean of the whole start, E[z(0) | z(t)]; component 0 is E[x0 | z(t)].

    Tweedie's formula in phase space: with z(t) = Psi z(0) + n, n ~ N(0, Q) independent of z(0),

        E[z(0) | z(t) = z] = Psi^-1 (z + Q score(z, t)).

    Proof. p_t(z) = int p_0(y) N(z; Psi y, Q) dy and grad_z N(z; Psi y, Q) = -Q^-1 (z - Psi y) N, so
    Q grad p_t(z) = int (Psi y - z) p_0(y) N dy; divided by p_t this is Q score = Psi E[z(0) | z]
    - z. QED.
    Component 0 may use Sigma in place of Q: Sigma - Q = Psi C0 Psi^T, where C0, the initial
    covariance given x0, has a zero first row, so e_0^T Psi^-1 (Sigma - Q) = 0. Component 0 is thus
    also what [x0; m0] = Psi^-1 (z - L eps) gives in the code of PSLD.
    """

    @abc.abstractmethod
    def factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """L with L L^T the kernel's covariance, shape ``t.shape + (m, m)``.

        ``lower`` and ``upper`` triangular with positive diagonal, or ``rotation-free`` (gDDIM).
        Raises: ProcessError for unknown names.
        """

    @abc.abstractmethod
    def inverse_factor(self, name: str, t: Any, kernel: str = "hsm") -> Any:
        """Inverse of ``factor``; ProcessError at host times without noise in some direction."""

    @property
    def starts_at_zero_alpha(self) -> bool:
        """No: the flow is invertible, so some component always holds the data."""
        return False

    def has_no_signal(self, t: Any) -> bool:
        """No: the flow is invertible."""
        return False

    def kernel(self, t: Any, kind: str = "hsm") -> tuple[Any, Any]:
        """(mean, covariance) of a training kernel; the mean's factor acts on x0 or on z(0).

        ``hsm``: p(z(t) | x0), (..., m, 1) and (..., m, m); ``dsm``: p(z(t) | z(0)), (..., m, m)
        twice. Raises: ProcessError for another kind.
        """
        if check_kernel(kind) == "hsm":
            return self.loading(t)[..., :, None], self.covariance(t)
        mean, covariance = self.transition(0 * t, t)
        return mean, covariance

    def check_kind(self, kind: str) -> None:
        """ProcessError, with the known kinds, for a kind that phase space does not have."""
        if kind == "noise":
            msg = (
                "'noise' does not say which factor of the covariance it belongs to in phase space; "
                "write noise:lower (the default of CLD and PSLD), noise:upper or "
                "noise:rotation-free."
            )
            raise ProcessError(msg)
        if kind not in _NAMES:
            raise ProcessError(unknown("kind of prediction in phase space:", str(kind), _NAMES))

    def conversion(self, source: str, target: str, t: Any) -> tuple[Any, Any]:
        """(a, b), each (m, m), with ``target = a z + b source``; kinds as the class says.

        Raises: ProcessError for unknown kinds, and for host times at which the map does not exist
        (to the score, or from data, where some direction holds no noise).
        """
        for kind in (source, target):
            self.check_kind(kind)
        zero, one = _zero_and_one(t, self.m)
        if source == target:
            return zero, one
        if "data" not in (source, target) and "score" not in (source, target):
            inverse = self._inverse(source, t)
            return zero, self._factor(target, t).mT @ inverse.mT
        if target == "data":
            back, noise = self.flow(t, 0 * t), self.transition(0 * t, t)[1]
            if source == "score":
                return back, back @ noise
            # Q L^-T = L where L L^T = Q: no inverse is needed for networks trained with DSM.
            if source.endswith(":dsm"):
                return back, -(back @ self._factor(source, t))
            return back, -(back @ noise @ self._inverse(source, t).mT)
        if source == "data":
            inverse = self.inverse_factor("lower", t, "dsm")
            to = inverse.mT if target == "score" else -(self._factor(target, t).mT @ inverse.mT)
            return -(to @ inverse), to @ inverse @ self.flow(0 * t, t)
        if target == "score":
            return zero, -self._inverse(source, t).mT
        return zero, -self._factor(target, t).mT

    def prior_inverse(self, like: Any) -> np.ndarray:
        """S^-1, S = ``prior()``, (m, m), in the number type of the host matrix ``like``."""
        return inverse_of(self.prior(), like)

    def reversed_linear(self, start: Any, end: Any, eta: float = 1.0) -> tuple[Any, Any]:
        """(Psi, Sigma), (m, m) each, of the linear part of the reverse SDE; host times.

        dz = A z dtau + eta G dw with A = -F - (1 + eta^2)/2 G G^T S^-1, run from forward time
        ``end`` down to ``start``; S is ``prior()``. See ``_reversed``.
        """
        return self._reversed("linear", float(eta))(start, end)

    def relaxation(self, start: Any, end: Any) -> tuple[Any, Any]:
        """(decay, variance), (m,) each, of dz_j = F_jj z_j dtau + G_jj dw; host times.

        The Ornstein-Uhlenbeck part of the reverse SDE (letter O of the splittings), from forward
        time ``end`` down to ``start``. Raises: ProcessError if G is not diagonal.
        """
        psi, sigma = self._reversed("relaxation", 1.0)(start, end)
        return np.diag(psi), np.diag(sigma)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what ``_reversed`` has made: functions cannot be pickled."""
        return {k: v for k, v in self.__dict__.items() if k != "_reversed_parts"}

    def _reversed(self, part: str, eta: float) -> Reversed:
        made: dict[Any, Reversed] = self.__dict__.setdefault("_reversed_parts", {})
        if (part, eta) not in made:
            G = self.G(float(self.t_max))
            if part == "relaxation" and np.any(G != np.diag(np.diag(G))):
                msg = (
                    f"G of {self!r} is not diagonal, so components do not relax one by one; use "
                    f"the letters L and S in place of A, B and O."
                )
                raise ProcessError(msg)

            def linear(t: Any) -> np.ndarray:
                F, G = self.F(t), self.G(t)
                if part == "relaxation":
                    return np.diag(np.diag(F))
                return -F - (1 + eta**2) / 2 * (G @ G.T) @ self.prior_inverse(F)

            def noise(t: Any) -> np.ndarray:
                return eta * self.G(t)

            constant = bool(getattr(self, "is_constant", False))
            made[part, eta] = Reversed(linear, noise, self.m, constant, float(self.t_max))
        return made[part, eta]

    def _factor(self, kind: str, t: Any) -> Any:
        return self.factor(kind.split(":")[1], t, _kernel_of(kind))

    def _inverse(self, kind: str, t: Any) -> Any:
        return self.inverse_factor(kind.split(":")[1], t, _kernel_of(kind))

    def _no_inverse(self, t: Any, kernel: str) -> str:
        """The sentence for the inverse of a singular factor."""
        return (
            f"the {kernel} covariance of {self!r} is singular at t = {float(t):.6g}, where some "
            f"direction holds no noise: there is no score; stop at a t > 0 (t_min = "
            f"{self.t_min:.6g})."
        )


def check_factor(name: str) -> str:
    """The name of a factor; ProcessError for others."""
    if name not in FACTORS:
        raise ProcessError(unknown("factor", str(name), FACTORS))
    return name


def check_kernel(kind: str) -> str:
    """The name of a kernel; ProcessError for others."""
    if kind not in KERNELS:
        raise ProcessError(unknown("kernel", str(kind), KERNELS))
    return kind


def _kernel_of(kind: str) -> str:
    return "dsm" if kind.endswith(":dsm") else "hsm"


def _zero_and_one(t: Any, m: int) -> tuple[Any, Any]:
    """The matrices 0 and I in the number type and shape of t."""
    xp = ops(t)
    if xp.host:
        lift = np.vectorize(xp.number, otypes=[object if xp.exact else np.float64])
        return lift(np.zeros((m, m))), lift(np.eye(m))
    zero, one = xp.zeros_like(t), xp.ones_like(t)
    rows = [[one if i == j else zero for j in range(m)] for i in range(m)]
    return xp.matrix([[zero] * m] * m), xp.matrix(rows)
