"""Log-densities by the probability-flow ODE, and bits per dimension.

found = log_density(process, model, x)
found.log_p, found.z_T, found.nfe
bits_per_dimension(found.log_p, 3 * 32 * 32)
"""

from __future__ import annotations

from sgmsolve.likelihood.bits import bits_per_dimension as bits_per_dimension
from sgmsolve.likelihood.bits import dequantise as dequantise
from sgmsolve.likelihood.density import LogDensity as LogDensity
from sgmsolve.likelihood.density import log_density as log_density
from sgmsolve.likelihood.gaps import Gaps as Gaps
from sgmsolve.likelihood.gaps import gaps as gaps
