"""Run a plan on numpy, torch or jax arrays; torch and jax are imported with their first array."""

from sgmsolve.backends.noise import ForbiddenNoise as ForbiddenNoise
from sgmsolve.backends.noise import KeyedNoise as KeyedNoise
from sgmsolve.backends.noise import Noise as Noise
from sgmsolve.backends.noise import ReplayNoise as ReplayNoise
from sgmsolve.backends.path_noise import PathNoise as PathNoise
from sgmsolve.backends.solve import solve as solve
from sgmsolve.backends.solve import steps as steps
from sgmsolve.backends.state import Solution as Solution
from sgmsolve.backends.state import State as State
from sgmsolve.backends.state import Step as Step
