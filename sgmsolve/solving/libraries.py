"""What is known of other libraries' solvers: a line for people, and what a fixed step costs.

Costs are (a, b) of a + b N evaluations of the model in N steps, or None where that is no fixed
number: multistep methods that start with others, implicit ones, and those that choose their steps.
torchsde evaluates once more than its steps do, to look at shapes.
"""

from __future__ import annotations

Cost = tuple[int, int] | None

SOLVERS: dict[str, tuple[str, Cost]] = {
    "torchsde:euler": ("Euler-Maruyama (Ito)", (1, 1)),
    "torchsde:euler_heun": ("Euler-Heun (Stratonovich)", (1, 1)),
    "torchsde:heun": ("stochastic Heun (Stratonovich)", (1, 2)),
    "torchsde:log_ode": ("log-ODE with Levy areas (Stratonovich)", (1, 2)),
    "torchsde:midpoint": ("stochastic midpoint (Stratonovich)", (1, 2)),
    "torchsde:milstein": ("Milstein (Ito and Stratonovich)", (1, 1)),
    "torchsde:reversible_heun": ("reversible Heun (Stratonovich)", None),
    "torchsde:srk": ("stochastic Runge-Kutta of strong order 3/2 (Ito)", (1, 3)),
    "torchdiffeq:euler": ("Euler, order 1", (0, 1)),
    "torchdiffeq:midpoint": ("midpoint, order 2", (0, 2)),
    "torchdiffeq:heun2": ("Heun, order 2", (0, 2)),
    "torchdiffeq:heun3": ("Heun, order 3", (0, 3)),
    "torchdiffeq:rk4": ("Runge-Kutta, order 4 (3/8 rule)", (0, 4)),
    "torchdiffeq:explicit_adams": ("Adams-Bashforth of growing order", None),
    "torchdiffeq:implicit_adams": ("Adams-Bashforth-Moulton of growing order", None),
    "torchdiffeq:dopri5": ("Dormand-Prince 5(4), one step size for the batch", None),
    "torchdiffeq:dopri8": ("Dormand-Prince 8, one step size for the batch", None),
    "torchdiffeq:bosh3": ("Bogacki-Shampine 3(2), one step size for the batch", None),
    "torchdiffeq:fehlberg2": ("Fehlberg 2(1), one step size for the batch", None),
    "torchdiffeq:adaptive_heun": ("Heun 2(1), one step size for the batch", None),
    "diffrax:euler": ("Euler, or Euler-Maruyama (Ito)", (0, 1)),
    "diffrax:heun": ("Heun, or stochastic Heun (Stratonovich)", (0, 2)),
    "diffrax:midpoint": ("midpoint, or stochastic midpoint (Stratonovich)", (0, 2)),
    "diffrax:ralston": ("Ralston, ODEs or SDEs (Stratonovich)", (0, 2)),
    "diffrax:reversibleheun": ("reversible Heun, ODEs or SDEs (Stratonovich)", (1, 1)),
    "diffrax:bosh3": ("Bogacki-Shampine 3(2)", (1, 3)),
    "diffrax:tsit5": ("Tsitouras 5(4)", (1, 6)),
    "diffrax:dopri5": ("Dormand-Prince 5(4)", (1, 6)),
    "diffrax:dopri8": ("Dormand-Prince 8(7)", (1, 13)),
    "diffrax:impliciteuler": ("implicit Euler, order 1", None),
    "diffrax:kvaerno3": ("Kvaerno 3(2), implicit (ESDIRK)", None),
    "diffrax:kvaerno4": ("Kvaerno 4(3), implicit (ESDIRK)", None),
    "diffrax:kvaerno5": ("Kvaerno 5(4), implicit (ESDIRK)", None),
    "diffrax:eulerheun": ("Euler-Heun (Stratonovich)", (0, 1)),
    "diffrax:itomilstein": ("Milstein (Ito)", (0, 1)),
    "diffrax:spark": ("SPaRK, for any noise (Stratonovich)", (0, 3)),
    "diffrax:stratonovichmilstein": ("Milstein (Stratonovich)", (0, 1)),
    "diffrax:generalshark": ("general ShARK, for any noise (Stratonovich)", (0, 2)),
    "diffrax:slowrk": ("SlowRK, strong order 3/2 for commutative noise (Stratonovich)", (0, 2)),
    "diffrax:sra1": ("SRA1, strong order 3/2 for additive noise", (0, 2)),
    "diffrax:shark": ("ShARK, strong order 3/2 for additive noise", (0, 2)),
    "diffrax:sea": ("shifted Euler with additive noise", (0, 1)),
}
"""Name -> (summary, cost of N fixed steps)."""
