"""One Brownian path for ours and theirs: equal runs, exact laws, and what a path cannot do."""

from __future__ import annotations

import itertools
import math
from typing import Any

import adapter_cases as cases
import numpy as np
import pytest
from adapter_cases import BOTH, SHAPE, VP, close, model

import sgmsolve
from sgmsolve.adapters import brownian_noise, solve_with, to_diffrax, to_torchsde
from sgmsolve.errors import BackendError
from sgmsolve.reverse import ReverseSDE

torch = pytest.importorskip("torch")
torchsde = pytest.importorskip("torchsde")

GRID = [1.0, 0.7, 0.5, 0.35, 0.2]
quiet = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")


def interval(start: float = -1.0, end: float = -0.2, size: int = 4, **more: Any) -> Any:
    more = {"levy_area_approximation": "space-time", **more}
    return torchsde.BrownianInterval(start, end, (3, size), torch.float64, entropy=3, **more)


@quiet
@BOTH
def test_one_torchsde_path_drives_ours_and_theirs(process: Any) -> None:
    """Theirs on equal steps, as torchsde has no grid; the first run of the two reveals the path."""
    z, reverse = cases.state(torch.tensor, process.m), ReverseSDE(process, model(process))
    wrapped = to_torchsde(reverse, SHAPE)
    bm = wrapped.brownian(wrapped.flatten(z), -1.0, -0.5, entropy=3)
    theirs = solve_with("torchsde:euler", reverse, z, 1.0, 0.5, dt=0.125, bm=bm)
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid=[1.0, 0.875, 0.75, 0.625, 0.5])
    ours = sgmsolve.solve(plan, model(process), z, noise=brownian_noise(bm))
    assert close(ours.z, theirs.z, 1e-12)


@pytest.mark.slow
@quiet
@BOTH
def test_one_diffrax_path_drives_ours_and_theirs(process: Any) -> None:
    pytest.importorskip("diffrax")
    import jax

    z = cases.state(jax.numpy.asarray, process.m)
    reverse = ReverseSDE(process, model(process))
    tree = to_diffrax(reverse, SHAPE).brownian(z, -1.0, -0.2, jax.random.key(1), 2.0**-10)
    theirs = solve_with("diffrax:euler", reverse, z, 1.0, 0.2, grid=GRID, brownian=tree)
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid=GRID)
    ours = sgmsolve.solve(plan, model(process), z, noise=brownian_noise(tree))
    assert close(ours.z, theirs.z, 1e-12)


def test_draws_are_standard_normals_and_areas_the_integral_of_the_path() -> None:
    """W and its integral over [a, b] against a Riemann sum of the same path on 256 cells."""
    path = brownian_noise(interval(size=2000), shape=(2000,))
    (w,), (area,) = path.increment(0.9, 0.4), path.area(0.9, 0.4)
    times = np.linspace(0.9, 0.4, 257)
    steps = [path.increment(a, b)[0] for a, b in itertools.pairwise(times)]
    walk = torch.cumsum(torch.stack([0 * w, *steps]), dim=0)
    assert float(abs(walk[-1] - w).max()) < 1e-12
    trapezoids = (walk[1:] + walk[:-1]).sum(dim=0) * 0.5 * (0.5 / 256)
    # What the trapezoidal rule misses on each cell has variance h^3 / 12.
    assert float((trapezoids - area).var()) < 1.2 * 256 * (0.5 / 256) ** 3 / 12
    n = w.numel()
    assert abs(float(w.var()) / 0.5 - 1) < 4.5 * math.sqrt(2 / n)
    assert abs(float(area.var()) / (0.5**3 / 3) - 1) < 4.5 * math.sqrt(2 / n)
    xi = brownian_noise(interval(size=2000)).bind(
        sgmsolve.build_plan(VP, "euler-maruyama", grid=GRID), (torch.zeros(3, 2000),)
    )(1, 0)
    assert xi.dtype == torch.float32
    assert abs(float(xi.var()) - 1) < 4.5 * math.sqrt(2 / n)


@pytest.mark.slow
def test_diffrax_areas_compose_along_the_path() -> None:
    diffrax = pytest.importorskip("diffrax")
    import jax

    tree = diffrax.VirtualBrownianTree(
        0.0, 1.0, 1e-4, (500,), jax.random.key(0), levy_area=diffrax.SpaceTimeLevyArea
    )
    path = brownian_noise(tree, direction=1)
    (w1,), (w2,), (w,) = (path.increment(*t) for t in ((0.1, 0.4), (0.4, 0.9), (0.1, 0.9)))
    (i1,), (i2,), (i,) = (path.area(*t) for t in ((0.1, 0.4), (0.4, 0.9), (0.1, 0.9)))
    assert float(abs(w - w1 - w2).max()) < 1e-12
    assert float(abs(i - i1 - 0.5 * w1 - i2).max()) < 1e-12
    assert abs(float((i2 * w2).mean()) / (0.5**2 / 2) - 1) < 0.25


def test_rounded_ends_are_clipped_and_the_path_has_a_name() -> None:
    path = brownian_noise(interval(float(np.float32(-0.3)), -0.1), shape=(4,))
    assert path.start is not None
    assert path.increment(0.3 + 5e-8, 0.1)[0].shape == (3, 4)
    assert "entropy 3" in path.identity(3)
    tree = torchsde.BrownianTree(-0.3, torch.ones(3, 4), t1=-0.1, entropy=3)
    (held,) = brownian_noise(tree, shape=(4,)).increment(0.25, 0.2)
    assert float(abs(held - tree(-0.25, -0.2)).max()) == 0
    assert brownian_noise(tree).identity(3) != path.identity(3)


def test_what_a_path_cannot_do_is_said_before_the_run() -> None:
    z = (torch.zeros(3, 4, dtype=torch.float64),)
    plan = sgmsolve.build_plan(VP, "euler-maruyama", grid=GRID)
    net = model(VP, sgmsolve.Gaussian([0.5] * 4, 0.25))
    with pytest.raises(BackendError, match=r"covers forward times from 0.2 to 0.6; make the path"):
        sgmsolve.solve(plan, net, z, noise=brownian_noise(interval(-0.6)))
    with pytest.raises(BackendError, match=r"covers forward times from 0.3 to 1; make the path"):
        sgmsolve.solve(plan, net, z, noise=brownian_noise(interval(end=-0.3)))
    with pytest.raises(BackendError, match=r"size \(3, 5\), but a state of 1 component.*\(3, 4\)"):
        sgmsolve.solve(plan, net, z, noise=brownian_noise(interval(size=5)))
    with pytest.raises(BackendError, match="path is made of torch, but the state of numpy"):
        sgmsolve.solve(plan, net, (z[0].numpy(),), noise=brownian_noise(interval()))
    other = sgmsolve.build_plan(VP, "ancestral", grid=GRID)
    with pytest.raises(BackendError, match="draws noise of kind 'kernel' in row 0, but a Brownian"):
        sgmsolve.solve(other, net, z, noise=brownian_noise(interval()))
    with pytest.raises(BackendError, match="runs down in forward time; swap the times"):
        brownian_noise(interval()).increment(0.4, 0.6)
    with pytest.raises(
        BackendError, match="made without it was asked for; make the path with levy"
    ):
        brownian_noise(interval(levy_area_approximation="none")).area(0.6, 0.4)
    with pytest.raises(BackendError, match="4 entries a sample, expected a multiple"):
        brownian_noise(interval(), shape=(3,)).increment(0.6, 0.4)
    with pytest.raises(BackendError, match="a Generator was given as a Brownian path"):
        brownian_noise(np.random.default_rng(0))
    with pytest.raises(BackendError, match="direction = 0, expected -1"):
        brownian_noise(interval(), direction=0)


def test_a_diffrax_path_that_cannot_is_refused_as_well() -> None:
    diffrax = pytest.importorskip("diffrax")
    import jax

    z = (jax.numpy.zeros((3, 4)),)
    plan = sgmsolve.build_plan(VP, "euler-maruyama", grid=GRID)
    net = model(VP, sgmsolve.Gaussian([0.5] * 4, 0.25))
    key = jax.random.key(0)
    noise = brownian_noise(diffrax.VirtualBrownianTree(-1.0, -0.2, 1e-3, (3, 5), key))
    with pytest.raises(BackendError, match=r"size \[\(3, 5\)\], but a state"):
        sgmsolve.solve(plan, net, z, noise=noise)
    tree = diffrax.VirtualBrownianTree(-0.8, -0.2, 1e-3, (3, 4), key)
    with pytest.raises(BackendError, match=r"covers forward times from 0.2 to 0.8"):
        sgmsolve.solve(plan, net, z, noise=brownian_noise(tree))
    with pytest.raises(
        BackendError, match="without it was asked for; make the path with levy_area"
    ):
        brownian_noise(tree).area(0.6, 0.4)
    with pytest.raises(BackendError, match="a UnsafeBrownianPath was given"):
        brownian_noise(diffrax.UnsafeBrownianPath((3, 4), key))
