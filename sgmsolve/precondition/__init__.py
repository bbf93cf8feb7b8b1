"""Preconditioners: linear operators on samples that use what is known of the target."""

from sgmsolve.precondition.base import WHERE, Preconditioner, Spectral
from sgmsolve.precondition.cosine import CosineTransform
from sgmsolve.precondition.filters import Disc, SpaceFrequency
from sgmsolve.precondition.fit import GaussianFit
from sgmsolve.precondition.folder import folder_statistics
from sgmsolve.precondition.invariance import Invariance, invariance
from sgmsolve.precondition.io import from_arrays, load, save, to_arrays
from sgmsolve.precondition.pca import PCA, pca
from sgmsolve.precondition.pds import PDS
from sgmsolve.precondition.rules import alpha_rule, gain_rule, noise_rule
from sgmsolve.precondition.simple import Diagonal, Identity, Scalar
from sgmsolve.precondition.skew import Skew, SkewMatrix
from sgmsolve.precondition.statistics import Statistics
from sgmsolve.precondition.tdas import TDAS
from sgmsolve.precondition.transform import (
    AbstractTransform,
    DenseTransform,
    FourierTransform,
    IdentityTransform,
    LowRankTransform,
)
from sgmsolve.precondition.wavelet import WaveletTransform

__all__ = [
    "PCA",
    "PDS",
    "TDAS",
    "WHERE",
    "AbstractTransform",
    "CosineTransform",
    "DenseTransform",
    "Diagonal",
    "Disc",
    "FourierTransform",
    "GaussianFit",
    "Identity",
    "IdentityTransform",
    "Invariance",
    "LowRankTransform",
    "Preconditioner",
    "Scalar",
    "Skew",
    "SkewMatrix",
    "SpaceFrequency",
    "Spectral",
    "Statistics",
    "WaveletTransform",
    "alpha_rule",
    "folder_statistics",
    "from_arrays",
    "gain_rule",
    "invariance",
    "load",
    "noise_rule",
    "pca",
    "save",
    "to_arrays",
]
