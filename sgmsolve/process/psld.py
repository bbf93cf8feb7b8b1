"""Phase-space Langevin diffusion.

Pandey & Mandt, "A Complete Recipe for Diffusion Generative Models" (ICCV 2023, arXiv:2303.01748).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from sgmsolve.process._langevin import AbstractLangevin


@final
@dataclass(frozen=True, repr=False)
class PSLD(AbstractLangevin):
    """Noise on position and momentum; components ``("x", "v")``, m = 2.

        dx = beta/2 (m_inv v - gamma x) dt + sqrt(gamma beta) dw
        dv = beta/2 (-x - nu v) dt + sqrt(nu beta / m_inv) dw

    Stationary law N(0, I) x N(0, I / m_inv); x(0) = x0 and v(0) ~ N(0, kappa / m_inv).

    Args:
        gamma: damping and noise of the position, >= 0; 0 is CLD.
        nu: those of the momentum, >= 0; None: gamma + 2 sqrt(m_inv), critical damping. Smaller is
            underdamped, larger overdamped. (The paper gives gamma and nu and derives m_inv.)
        m_inv: inverse mass, > 0.
        kappa: initial variance of the momentum in units of its stationary one, >= 0 (the paper's
            gamma, the repository's kappa).
        beta: rate of time, a number or the pair of its values at t = 0 and t = 1, linear between.
        t_max, t_min: forward times of prior and data.

    Raises: ProcessError for impossible parameters, and with gamma = nu = 0, where nothing converges
    to the stationary law.
    Reference: arXiv:2303.01748, eqs. 7-9; closed forms of the kernel are tested, not used.
    """

    gamma: float = 0.01
    nu: float = None  # type: ignore[assignment]
    m_inv: float = 4.0
    kappa: float = 0.04
    beta: float | tuple[float, float] = 8.0
    t_max: float = 1.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        self._settle()

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        return self._described("psld", "gamma", "nu", "m_inv", "kappa", "t_max", "t_min")

    def __repr__(self) -> str:
        return (
            f"PSLD(gamma={self.gamma:g}, nu={self.nu:g}, m_inv={self.m_inv:g}, "
            f"kappa={self.kappa:g}, beta={self.beta}, t_max={self.t_max:g})"
        )
