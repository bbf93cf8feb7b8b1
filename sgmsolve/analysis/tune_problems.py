"""Problems to tune on: a model of your own, Gaussian fits, and laws that differ from them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from sgmsolve.errors import AnalysisError
from sgmsolve.grid import default_grid
from sgmsolve.sampling import start

LARGEST_TWIN = 256
"""Dimensions up to which a Gaussian gets a mixture beside it."""
SEPARATION = 0.9
"""Of a standard deviation: how far the twin's two bumps are from their common mean."""
SPREAD = 0.5
"""Standard deviation of the log of the factors on eigenvalues of held-out Gaussians."""


@dataclass(frozen=True)
class ModelProblem:
    """A network (no known answer) as a problem: ``tune(ModelProblem(model, process, shape), ...)``.

    Attributes:
        model: from ``as_model``; it is called with numpy arrays.
        process: its forward process.
        shape: shape of one sample.
        t_end: forward time at which errors are measured, the process's t_min if left out.
        grid, grid_options: the default grid, ``default_grid(process)`` if left out.
        starts: trajectories to tune on (and as many held-out ones).
        gaussian: a Gaussian target that stands for the data, needed for objective="gaussian" only.
        name: what it is called in reports.

    Starts are draws of the prior at t_max. Only strong errors can be measured: there are no exact
    samples to compare with.
    """

    model: Any
    process: Any
    shape: tuple[int, ...]
    t_end: float | None = None
    grid: str | None = None
    grid_options: dict[str, Any] = field(default_factory=dict)
    starts: int = 64
    gaussian: Any = None
    name: str = "model"
    exact = False
    samples = 0

    def __post_init__(self) -> None:
        if self.t_end is None:
            object.__setattr__(self, "t_end", float(self.process.t_min))
        if self.grid is None:
            object.__setattr__(self, "grid", default_grid(self.process))

    @property
    def target(self) -> Any:
        """Stands where a target stands: ``model(process)`` gives the network."""
        return SimpleNamespace(model=lambda process: self.model)

    @property
    def view(self) -> Any:
        """Nothing is drawn."""
        return SimpleNamespace(count=0)

    @property
    def grid_arguments(self) -> dict[str, Any]:
        """``grid`` and ``grid_options`` for ``build_plan``."""
        return {"grid": self.grid, "grid_options": {"t_min": self.t_end, **self.grid_options}}

    def marginal(self, n: int, t: float, seed: int) -> Any:
        """Draws of the prior at t: (n, *shape), a tuple of them for m > 1."""
        z = start(self.process, t, np.zeros((n, *self.shape)), seed=seed)
        return z[0] if len(z) == 1 else z

    def replace(self, **changes: Any) -> ModelProblem:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def gaussian_of(problem: Any) -> Any:
    """The problem's own target if it is Gaussian, else the Gaussian with its mean and covariance.

    Raises: AnalysisError where the moments are not known.
    """
    from sgmsolve.target import Gaussian

    if isinstance(problem, ModelProblem):
        if problem.gaussian is None:
            msg = (
                "objective 'gaussian' needs a Gaussian that stands for the data, which a network "
                "does not tell; pass ModelProblem(..., gaussian=sgmsolve.Gaussian(mean, cov))."
            )
            raise AnalysisError(msg)
        return problem.gaussian
    target = problem.target
    if hasattr(target, "modes"):
        return target
    mean, covariance = target.moments()
    return Gaussian(mean, np.asarray(covariance.matrix()))


def perturbed(target: Any, seed: int) -> Any:
    """Another Gaussian: every eigenvalue and mean coefficient times exp(SPREAD xi), xi ~ N(0, 1).

    In the target's own transform; zeros stay zero and equal modes equal.
    """
    from sgmsolve.target import Gaussian

    index, transform = target.mode_index(), target.transform
    distinct, level = np.unique(target.eigenvalues, return_inverse=True)
    rng = np.random.default_rng([seed, index.max() + 1])
    factors = np.exp(SPREAD * rng.standard_normal((2, index.max() + 1)))
    means = target.transform.forward(target.mean[None])[0] * factors[1][index]
    values = target.eigenvalues * factors[0][: len(distinct)][level.reshape(-1)]
    return Gaussian.from_spectrum(values, transform, transform.inverse(means[None])[0])


def twin(problem: Any) -> Any | None:
    """A Gaussian problem with its law replaced by two bumps of the same mean and covariance.

    0.5 N(mu - d, C - d d^T) + 0.5 N(mu + d, C - d d^T), d = SEPARATION sqrt(l) v, l and v the
    largest eigenvalue and its vector. None above LARGEST_TWIN dimensions.
    """
    from sgmsolve.target import GaussianMixture

    if int(np.prod(problem.shape)) > LARGEST_TWIN:
        return None
    mean, covariance = problem.target.moments()
    matrix, centre = np.asarray(covariance.matrix()), np.asarray(mean).reshape(-1)
    values, vectors = np.linalg.eigh(matrix)
    d = SEPARATION * np.sqrt(values[-1]) * vectors[:, -1]
    rest = matrix - np.outer(d, d)
    rest = (rest + rest.T) / 2
    mixture = GaussianMixture([0.5, 0.5], np.stack([centre - d, centre + d]), np.stack([rest] * 2))
    shape = (centre.size,)
    return problem.replace(make_target=lambda: mixture, shape=shape, exact=False)
