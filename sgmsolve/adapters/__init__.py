"""Our SDEs and ODEs in other people's solvers: torchsde, torchdiffeq and diffrax.

    solution = solve_with("torchsde:srk", reverse, z, t_start, t_end, dt=1e-2)
    sde = to_torchsde(reverse, shape)        # f, g_prod, ... for torchsde.sdeint
    ode = to_torchdiffeq(flow, shape)        # called as ode(tau, y) by torchdiffeq.odeint
    terms = to_diffrax(reverse, shape)       # .terms(...) for diffrax.diffeqsolve
    solver = plan_solver(plan)               # our plans as a solver of diffrax
    noise = brownian_noise(path)             # their Brownian paths for our plans

**Time.** These solvers run upwards in their own time. For objects that run down in forward time t
(``direction`` -1) it is ``tau = -t``: a run from t_start to t_end < t_start goes from -t_start up
to -t_end. The negative, and not t_max - t, because it is exact, also next to the data. For SDEs
that run forwards tau = t.

The libraries are imported when one of these functions is called, not before.
"""

from __future__ import annotations

from sgmsolve.adapters.brownian import BrownianNoise as BrownianNoise
from sgmsolve.adapters.brownian import brownian_noise as brownian_noise
from sgmsolve.adapters.convert import plan_solver as plan_solver
from sgmsolve.adapters.convert import to_diffrax as to_diffrax
from sgmsolve.adapters.convert import to_torchdiffeq as to_torchdiffeq
from sgmsolve.adapters.convert import to_torchsde as to_torchsde
from sgmsolve.adapters.run import AdapterSolution as AdapterSolution
from sgmsolve.adapters.run import known_methods as known_methods
from sgmsolve.adapters.run import solve_with as solve_with
