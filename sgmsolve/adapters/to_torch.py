"""Our SDEs with the interfaces of torchsde and torchdiffeq; imported on first use."""

from __future__ import annotations

from typing import Any

import torch

from sgmsolve.adapters._common import Layout, torch_module
from sgmsolve.adapters.fused import fused_drift
from sgmsolve.errors import ModelError


class _Wrapper(torch.nn.Module):
    """Layout and count of both interfaces; the network is a submodule, so adjoints find it."""

    def __init__(self, sde: Any, shape: Any) -> None:
        super().__init__()
        self.sde, self.layout, self.nfe = sde, Layout(sde, shape), 0
        self._drift = fused_drift(sde)
        module = torch_module(getattr(sde, "model", None))
        if module is not None:
            self.network = module

    def flatten(self, z: tuple[Any, ...]) -> Any:
        """The state as rows (batch, m n)."""
        return self.layout.flatten(z)

    def unflatten(self, y: Any) -> tuple[Any, ...]:
        """Rows (batch, m n) as m arrays (batch, *shape)."""
        return self.layout.unflatten(y)

    def tau(self, t: float) -> float:
        """The library's time at forward time t."""
        return float(self.layout.tau(t))

    def rate(self, tau: Any, y: Any) -> Any:
        """The drift at the library's time, on rows; counted."""
        self.nfe += 1
        return self.flatten(self._drift(self.unflatten(y), self.layout.time(tau)))


class TorchFlow(_Wrapper):
    """An ODE for ``torchdiffeq.odeint``: called as (tau, y), y being rows (batch, m n)."""

    def forward(self, tau: Any, y: Any) -> Any:
        """dy/dtau."""
        return self.rate(tau, y)


class TorchSDE(_Wrapper):
    """An SDE for ``torchsde.sdeint``: ``noise_type``, ``sde_type``, ``f`` and ``g_prod`` or ``g``.

    Additive noise comes as ``g_prod`` alone, as its matrix would hold (m n)^2 entries: hand sdeint
    the Brownian motion that ``brownian`` makes.
    """

    def __init__(self, sde: Any, shape: Any, calculus: str) -> None:
        super().__init__(sde.as_calculus(calculus), shape)
        self.sde_type, self.noise_type = calculus, sde.noise
        if sde.noise != "additive":
            self.g = self._g  # torchsde looks for what is there

    def f(self, tau: Any, y: Any) -> Any:
        """Drift of rows y (batch, m n) at the library's time."""
        return self.rate(tau, y)

    def g_prod(self, tau: Any, y: Any, v: Any) -> Any:
        """Diffusion times v: rows (batch, m n)."""
        t = self.layout.time(tau)
        dw = v if self.noise_type == "general" else self.unflatten(v)
        return self.flatten(self.sde.diffuse(self.unflatten(y), t, dw))

    def _g(self, tau: Any, y: Any) -> Any:
        """Diffusion: (batch, m n) if diagonal, (batch, m n, k) if general."""
        made = self.sde.diffusion(self.unflatten(y), self.layout.time(tau))
        if self.noise_type == "diagonal":
            return self.flatten(made)
        return torch.cat([g.reshape(g.shape[0], -1, g.shape[-1]) for g in made], dim=1)

    def columns(self, tau: float, y: Any) -> int:
        """Number of Brownian motions of one sample."""
        if self.noise_type == "general":
            return int(self._g(tau, y).shape[-1])
        if self.noise_type == "diagonal":
            return int(y.shape[1])
        return int(self.sde.diffusion(self.layout.time(tau)).shape[-1]) * self.layout.size

    def brownian(
        self, y: Any, tau0: float, tau1: float, levy: str = "none", entropy: int | None = None
    ) -> Any:
        """A ``torchsde.BrownianInterval`` of the right size on [tau0, tau1], from a seed."""
        import torchsde

        return torchsde.BrownianInterval(
            t0=tau0,
            t1=tau1,
            size=(y.shape[0], self.columns(tau0, y)),
            dtype=y.dtype,
            device=y.device,
            entropy=entropy,
            levy_area_approximation=levy,
        )


def make_sde(sde: Any, shape: Any, calculus: str | None) -> TorchSDE:
    """The wrapper for torchsde; ModelError for an ODE."""
    if sde.noise == "none":
        msg = (
            "an SDE without noise (eta = 0) was given to torchsde, which solves SDEs; use "
            "to_torchdiffeq, or eta > 0."
        )
        raise ModelError(msg)
    return TorchSDE(sde, shape, calculus or sde.calculus)
