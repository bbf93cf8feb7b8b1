"""Solvers that choose their own steps: every sample at its own time, with error control.

    solution = solve_adaptive("gotta-go-fast", ReverseSDE(process, model), z, 1.0, 1e-3, rtol=0.02)
    solution.x, solution.nfe, solution.statuses          # one entry a sample

Times are forward time. See :mod:`sgmsolve.adaptive.run` for all options, ``known_methods()`` for
the solvers, :mod:`sgmsolve.adaptive.controllers` for PI and PID controllers.
"""

from __future__ import annotations

from sgmsolve.adaptive.controllers import Controller as Controller
from sgmsolve.adaptive.registry import known_methods as known_methods
from sgmsolve.adaptive.run import solve_adaptive as solve_adaptive
from sgmsolve.adaptive.solution import AdaptiveSolution as AdaptiveSolution
