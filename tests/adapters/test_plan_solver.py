"""Our plans as a solver of diffrax: equal to ``solve``; SaveAt, adjoints, meters, resumption."""

from __future__ import annotations

from typing import Any

import adapter_cases as cases
import numpy as np
import pytest
from adapter_cases import PSLD, VP, close, model

import sgmsolve
from sgmsolve.adapters import brownian_noise, plan_solver, solve_with, to_diffrax
from sgmsolve.errors import BackendError, MethodError
from sgmsolve.reverse import ReverseSDE

jax = pytest.importorskip("jax")
diffrax = pytest.importorskip("diffrax")
eqx = pytest.importorskip("equinox")
jnp = jax.numpy

TARGET = sgmsolve.GaussianMixture([0.3, 0.7], [[-1.0, 0.3], [0.8, 0.1]], [0.04, 0.09])
pytestmark = pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")


def state(process: Any) -> tuple[Any, ...]:
    return cases.state(jnp.asarray, process.m, 3, (2,))


def agrees(process: Any, method: str, steps: dict[str, int]) -> None:
    """The result and every grid point are those of ``solve``; one seed, float64."""
    z, net = state(process), model(process, TARGET)
    plan = sgmsolve.build_plan(process, method, **steps)
    found: dict[int, Any] = {}
    ours = sgmsolve.solve(
        plan, net, z, seed=5, callback=lambda step: found.update({step.row + 1: step.registers})
    )
    theirs = diffrax.diffeqsolve(
        **plan_solver(plan).arguments(net, z, seed=5), saveat=diffrax.SaveAt(steps=True)
    )
    assert theirs.stats["num_steps"] == len(plan.nodes) - 1
    for i, node in enumerate(plan.nodes[1:]):
        assert float(theirs.ts[i]) == -node.time
        right = found[node.boundary][node.register * plan.m : (node.register + 1) * plan.m]
        assert close([y[i] for y in theirs.ys], right, 1e-12)
    assert close([y[-1] for y in theirs.ys], ours.z, 1e-12)


FAST = [(VP, "heun"), (VP, "sde-dpm++2m")]
MANY = (
    "ddim dpm-solver-2 dpm-solver-3 dpm++2m unipc-3 exp-rk3 exp-rk4s5 euler-maruyama pndm sa-solver"
)
SLOW = [(VP, name) for name in [*MANY.split(), "dpm-solver-fast", "edm-churn"]]
SLOW += [(PSLD, name) for name in "strang2 euler-maruyama gddim-3 strang2-lagged robab".split()]


@pytest.mark.parametrize(("process", "method"), FAST, ids=[m for _, m in FAST])
def test_the_result_is_that_of_solve(process: Any, method: str) -> None:
    agrees(process, method, {"steps": 4})


@pytest.mark.slow
@pytest.mark.parametrize(("process", "method"), SLOW, ids=[m for _, m in SLOW])
def test_every_kind_of_method_gives_the_result_of_solve(process: Any, method: str) -> None:
    agrees(process, method, {"nfe": 17} if method == "dpm-solver-fast" else {"steps": 6})


def test_grid_points_dense_output_forward_times_and_a_meter(capsys: Any) -> None:
    z, net = state(VP), model(VP, TARGET)
    plan = sgmsolve.build_plan(VP, "ddim", grid=[1.0, 0.6, 0.3, 0.1])
    given = plan_solver(plan).arguments(net, z)
    ours = [s.z[0] for s in sgmsolve.steps(plan, net, z)]
    ts = jnp.asarray([-0.6, -0.45, -0.1])
    saved = diffrax.diffeqsolve(
        **given,
        saveat=diffrax.SaveAt(ts=ts, dense=True),
        progress_meter=diffrax.TextProgressMeter(minimum_increase=0.0),
        adjoint=diffrax.DirectAdjoint(),
    )
    halfway = 0.5 * (ours[0] + ours[1])
    assert close(saved.ys[0], [ours[0], halfway, ours[2]], 1e-12)
    assert close(saved.evaluate(-0.45), [halfway], 1e-12)
    jax.effects_barrier()
    assert "100.00%" in capsys.readouterr().out
    forward = {"t0": 1.0, "t1": 0.1, "stepsize_controller": diffrax.StepTo(ts=[1.0, 0.6, 0.3, 0.1])}
    again = diffrax.diffeqsolve(**{**given, **forward})
    assert close(again.ys[0], [ours[2]], 1e-12)
    assert float(again.ts[0]) == 0.1


@pytest.mark.slow
def test_a_run_is_left_early_and_resumed() -> None:
    """Two evaluations are remembered, and draws go on where they were."""
    z, net = state(VP), model(VP, TARGET)
    plan = sgmsolve.build_plan(VP, "sde-dpm++3m", steps=6)
    solver = plan_solver(plan)
    given, ts = solver.arguments(net, z, seed=2), solver.times
    half = diffrax.diffeqsolve(
        **{**given, "t1": ts[3], "stepsize_controller": diffrax.StepTo(ts=ts[:4])},
        saveat=diffrax.SaveAt(t1=True, solver_state=True),
    )
    rest = {"t0": ts[3], "stepsize_controller": diffrax.StepTo(ts=ts[3:])}
    end = diffrax.diffeqsolve(
        **{**given, **rest, "y0": tuple(y[-1] for y in half.ys)}, solver_state=half.solver_state
    )
    assert close([end.ys[0][-1]], sgmsolve.solve(plan, net, z, seed=2).z, 1e-12)


def test_evaluations_are_those_of_the_plan() -> None:
    z, calls = state(VP), []
    inner = model(VP, TARGET)

    def net(x: Any, t: Any) -> Any:
        jax.debug.callback(lambda time: calls.append(float(time)), t)
        return inner((x,), t)[0]

    plan = sgmsolve.build_plan(VP, "dpm-solver-fast", nfe=7)
    assert len(set(np.diff([node.boundary for node in plan.nodes]).tolist())) > 1
    counted = sgmsolve.as_model(net, VP, predicts="noise")
    diffrax.diffeqsolve(**plan_solver(plan).arguments(counted, z))
    jax.effects_barrier()
    assert calls == plan.t.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("process", [VP, PSLD], ids=["vp", "psld"])
def test_a_brownian_tree_drives_plan_and_diffrax_alike(process: Any) -> None:
    z, net = state(process), model(process, TARGET)
    grid = [1.0, 0.7, 0.4, 0.2]
    tree = to_diffrax(ReverseSDE(process, net), (2,)).brownian(
        z, -1.0, -0.2, jax.random.key(3), 2.0**-10
    )
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid=grid)
    theirs = solve_with(
        "diffrax:euler", ReverseSDE(process, net), z, 1.0, 0.2, grid=grid, brownian=tree
    )
    ours = diffrax.diffeqsolve(**plan_solver(plan).arguments(net, z, noise=brownian_noise(tree)))
    assert close([y[-1] for y in ours.ys], theirs.z, 1e-12)


class Net(eqx.Module):
    weight: Any

    def __call__(self, x: Any, t: Any) -> Any:
        return x @ self.weight + jnp.sin(3 * t)


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", [diffrax.RecursiveCheckpointAdjoint, diffrax.DirectAdjoint])
def test_an_equinox_network_is_jitted_vmapped_and_differentiated(adjoint: Any) -> None:
    """Under vmap every sample has a path of its own; gradients against differences."""
    plan = sgmsolve.build_plan(VP, "euler-maruyama", grid=[1.0, 0.8, 0.6, 0.5])
    solver, x = plan_solver(plan), state(VP)[0][:, None]
    like = (jax.ShapeDtypeStruct(x.shape[1:], x.dtype),)

    def run(net: Any, one: Any, key: Any) -> Any:
        tree = diffrax.VirtualBrownianTree(-1.0, -0.5, 1e-3, like, key)
        wrapped = sgmsolve.as_model(net, VP, predicts="noise")
        given = solver.arguments(wrapped, one, noise=brownian_noise(tree))
        return diffrax.diffeqsolve(**given, adjoint=adjoint()).ys[0][-1]

    keys = jax.random.split(jax.random.key(0), 3)

    @eqx.filter_jit
    def loss(net: Any) -> Any:
        return (jax.vmap(lambda one, key: run(net, one, key))(x, keys) ** 2).sum()

    net = Net(0.3 * jnp.eye(2) + 0.1)
    value, grad = loss(net), eqx.filter_grad(loss)(net)
    by_hand = sum(float((run(net, a, k) ** 2).sum()) for a, k in zip(x, keys, strict=True))
    assert abs(float(value) - by_hand) < 1e-10 * by_hand
    for i, j in ((0, 0), (0, 1)):
        step = jnp.zeros((2, 2)).at[i, j].set(1e-5)
        difference = float(loss(Net(net.weight + step)) - loss(Net(net.weight - step))) / 2e-5
        assert abs(float(grad.weight[i, j]) - difference) < 1e-6 * abs(difference)


@pytest.mark.slow
def test_a_float32_run_stays_float32() -> None:
    z = tuple(a.astype("float32") for a in state(VP))
    plan = sgmsolve.build_plan(VP, "ddim", steps=4)
    got = diffrax.diffeqsolve(**plan_solver(plan).arguments(model(VP, TARGET), z)).ys[0]
    assert got.dtype == jnp.float32
    assert close([got[-1]], sgmsolve.solve(plan, model(VP, TARGET), z).z, 1e-5)


def test_what_cannot_be_run_is_said_in_a_sentence() -> None:
    z, net = state(VP), model(VP, TARGET)
    plan = sgmsolve.build_plan(VP, "ddim", steps=4)
    noisy = sgmsolve.build_plan(VP, "ancestral", steps=4)
    solver = plan_solver(plan)
    with pytest.raises(BackendError, match="build a plan with build_plan"):
        plan_solver("ddim")
    with pytest.raises(BackendError, match="diffrax steps one way in time"):
        plan_solver(sgmsolve.build_plan(VP, "restart", steps=8))
    with pytest.raises(BackendError, match="made of numpy float64, expected float32 or float64 of"):
        solver.terms(net, np.zeros((3, 2)))
    with pytest.raises(BackendError, match="expected float32 or float64 of jax"):
        solver.terms(net, z[0].astype("bfloat16"))
    with pytest.raises(BackendError, match="keyed by 'philox', which draws on the host"):
        plan_solver(noisy).terms(net, z, noise="philox")
    with pytest.raises(BackendError, match="the noise is ForbiddenNoise, which draws on the host"):
        plan_solver(noisy).terms(net, z, noise=sgmsolve.ForbiddenNoise())
    tree = diffrax.VirtualBrownianTree(-1.0, -1e-3, 1e-3, (3, 2), jax.random.key(0))
    with pytest.raises(BackendError, match="draws noise of kind 'kernel' in row 0"):
        plan_solver(noisy).terms(net, z, noise=brownian_noise(tree))
    with pytest.raises(BackendError, match="process"):
        solver.terms(model(sgmsolve.VP(beta_max=10.0), TARGET), z)
    torch = pytest.importorskip("torch")
    with pytest.raises(BackendError, match="holds a torch module, but diffrax runs jax"):
        solver.terms(sgmsolve.as_model(torch.nn.Linear(2, 2), VP, predicts="noise"), z)


@pytest.mark.slow
def test_other_controllers_and_terms_are_refused() -> None:
    z, net = state(VP), model(VP, TARGET)
    solver = plan_solver(sgmsolve.build_plan(VP, "ddim", steps=4))
    given = solver.arguments(net, z)
    off = {**given, "stepsize_controller": diffrax.ConstantStepSize(), "dt0": 0.1, "max_steps": 64}
    with pytest.raises(Exception, match="a step was asked for that is none of the plan's"):
        diffrax.diffeqsolve(**off)
    late = {"t0": solver.times[1], "stepsize_controller": diffrax.StepTo(ts=solver.times[1:])}
    with pytest.raises(Exception, match="a step was asked for that is none of the plan's"):
        diffrax.diffeqsolve(**{**given, **late})
    terms = diffrax.ODETerm(lambda t, y, args: y)
    with pytest.raises(MethodError, match=r"was given ODETerm as its terms, expected those of"):
        diffrax.diffeqsolve(**{**given, "terms": terms})
    with pytest.raises(MethodError, match="use RecursiveCheckpointAdjoint"):
        jax.grad(
            lambda x: (
                diffrax.diffeqsolve(**{**given, "y0": (x,)}, adjoint=diffrax.BacksolveAdjoint())
                .ys[0]
                .sum()
            )
        )(z[0])
