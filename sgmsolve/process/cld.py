"""Critically damped Langevin diffusion.

Dockhorn, Vahdat & Kreis, "Score-Based Generative Modeling with Critically-Damped Langevin
Diffusion" (ICLR 2022, arXiv:2112.07068).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from sgmsolve.process._langevin import AbstractLangevin


@final
@dataclass(frozen=True, repr=False)
class CLD(AbstractLangevin):
    """Noise on the momentum only: PSLD with gamma = 0. Components ``("x", "v")``, m = 2.

        dx = beta/2 m_inv v dt
        dv = beta/2 (-x - nu v) dt + sqrt(nu beta / m_inv) dw

    In the paper's symbols its beta is half of this one (4, not 8), its friction Gamma is
    nu / m_inv and its gamma is kappa. The position's score does not enter the reverse process.

    Args:
        nu: damping of the momentum, > 0; None: 2 sqrt(m_inv), critical damping.
        m_inv, kappa, beta, t_max, t_min: as in PSLD.

    Raises: ProcessError for impossible parameters.
    Reference: arXiv:2112.07068, eqs. 5-6 and appendix B.
    """

    nu: float = None  # type: ignore[assignment]
    m_inv: float = 4.0
    kappa: float = 0.04
    beta: float | tuple[float, float] = 8.0
    t_max: float = 1.0
    t_min: float = 1e-3
    gamma: float = field(init=False, repr=False, compare=False, default=0.0)

    def __post_init__(self) -> None:
        self._settle()

    def spec(self) -> dict[str, Any]:
        """JSON-able description; ``sgmsolve.process.from_spec`` inverts it."""
        return self._described("cld", "nu", "m_inv", "kappa", "t_max", "t_min")

    def __repr__(self) -> str:
        return (
            f"CLD(nu={self.nu:g}, m_inv={self.m_inv:g}, kappa={self.kappa:g}, beta={self.beta}, "
            f"t_max={self.t_max:g})"
        )
