"""Exact analysis, measured orders and work-precision studies."""

from sgmsolve.analysis import exact as exact
from sgmsolve.analysis import moments as moments
from sgmsolve.analysis import order as order
