"""Solvers that are no plans, as methods: adaptive ones of our own, and other libraries'.

    record = find_method("gotta-go-fast")         # a SolverMethod; a Method for plans
    job = prepare(process, model, record, options={"rtol": 0.02})
    solution = job.run(z, seed=0)                 # what ``sample`` does

``sample`` and the commands take their names next to those of plans.
"""

from __future__ import annotations

from sgmsolve.solving.job import Job as Job
from sgmsolve.solving.job import spent as spent
from sgmsolve.solving.objects import with_objects as with_objects
from sgmsolve.solving.preparing import grid_for as grid_for
from sgmsolve.solving.preparing import prepare as prepare
from sgmsolve.solving.records import SolverMethod as SolverMethod
from sgmsolve.solving.records import find_method as find_method
from sgmsolve.solving.records import solver_methods as solver_methods
