"""Distributions whose scores are exact under every linear process: problems with known answers.

Forward time throughout: at time t a sample is x(t) = alpha x0 + sigma eps with x0 from the target,
or z(t) = u x0 + L eps under a process of several components.
"""

from __future__ import annotations

from sgmsolve.errors import TargetError as TargetError
from sgmsolve.precondition.transform import AbstractTransform as AbstractTransform
from sgmsolve.precondition.transform import DenseTransform as DenseTransform
from sgmsolve.precondition.transform import FourierTransform as FourierTransform
from sgmsolve.precondition.transform import IdentityTransform as IdentityTransform
from sgmsolve.precondition.transform import LowRankTransform as LowRankTransform
from sgmsolve.target.base import AbstractTarget as AbstractTarget
from sgmsolve.target.base import TargetModel as TargetModel
from sgmsolve.target.covariance import AbstractCovariance as AbstractCovariance
from sgmsolve.target.covariance import DenseCovariance as DenseCovariance
from sgmsolve.target.covariance import SpectralCovariance as SpectralCovariance
from sgmsolve.target.empirical import Empirical as Empirical
from sgmsolve.target.field import GaussianField as GaussianField
from sgmsolve.target.gaussian import AbstractGaussian as AbstractGaussian
from sgmsolve.target.gaussian import Gaussian as Gaussian
from sgmsolve.target.mixture import GaussianMixture as GaussianMixture
