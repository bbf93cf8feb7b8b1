"""diffrax on our SDEs: exact flows, calls by hand, moments, counts and transformations."""

from __future__ import annotations

import functools
from typing import Any

import adapter_cases as cases
import numpy as np
import pytest
from adapter_cases import BOTH, FIELD, PSLD, SHAPE, VP, close, model

import sgmsolve
from sgmsolve.adapters import known_methods, solve_with, to_diffrax
from sgmsolve.errors import BackendError, MethodError, Status
from sgmsolve.reverse import GeneralSDE, ProbabilityFlow, ReverseSDE

jax = pytest.importorskip("jax")
diffrax = pytest.importorskip("diffrax")
eqx = pytest.importorskip("equinox")
jnp = jax.numpy


def state(m: int, batch: int = 2, shape: tuple[int, ...] = SHAPE) -> tuple[Any, ...]:
    return cases.state(jnp.asarray, m, batch, shape)


class Counted:
    """A model that counts what is run, on the host."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.process, self.predicts, self.calls = (
            inner,
            inner.process,
            inner.predicts,
            0,
        )

    def _one(self) -> None:
        self.calls += 1

    def __call__(self, z: Any, t: Any) -> Any:
        jax.debug.callback(self._one)
        return self.inner(z, t)


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
@BOTH
def test_diffrax_euler_is_our_euler(process: Any) -> None:
    grid = [1.0, 0.7, 0.5, 0.35, 0.2]
    z = state(process.m)
    plan = sgmsolve.build_plan(process, "pf-euler", grid=grid)
    ours = sgmsolve.solve(plan, model(process), z).z
    flow = ProbabilityFlow(process, model(process))
    theirs = solve_with("diffrax:euler", flow, z, 1.0, 0.2, grid=grid)
    assert close(ours, theirs.z, 1e-12)
    assert theirs.nfe == 4
    assert theirs.status is Status.FINISHED


@BOTH
def test_tsit5_reaches_the_exact_flow_and_counts_what_it_runs(process: Any) -> None:
    z, m = state(process.m), process.m
    counted = Counted(model(process))
    flow = ProbabilityFlow(process, counted)
    got = solve_with("diffrax:tsit5", flow, z, 1.0, 0.05, rtol=1e-9, atol=1e-9)
    right = FIELD.flow_map(z if m > 1 else z[0], 1.0, 0.05, process)
    assert close(got.z, right if m > 1 else (right,), 1e-6)
    assert got.nfe == counted.calls
    # Six new stages a step, one evaluation to begin with, two to choose the first step.
    steps = int(got.stats["num_steps"])
    assert 6 * steps + 1 <= got.nfe <= 6 * steps + 3


@pytest.mark.slow
def test_an_implicit_solver_and_steps_of_its_own_for_every_sample() -> None:
    process, target = VP, sgmsolve.Gaussian([0.5, -0.2], [[0.3, 0.1], [0.1, 0.2]])
    flow = ProbabilityFlow(process, target.model(process, "data"))
    z = state(1, 3, (2,))
    got = solve_with("diffrax:kvaerno5", flow, z, 1.0, 0.1, rtol=1e-9, atol=1e-9)
    right = target.flow_map(z[0], 1.0, 0.1, process)
    assert close(got.z, (right,), 1e-6)
    assert got.stats["num_steps"].shape == (3,)
    assert got.nfe > 7 * int(got.stats["num_steps"].max()) // 2
    alone = solve_with(
        "diffrax:tsit5", flow, z[0][:1], 1.0, 0.1, rtol=1e-3, atol=1e-3, per_sample=True
    )
    all_of_them = solve_with(
        "diffrax:tsit5", flow, (5 * z[0]).at[0].set(z[0][0]), 1.0, 0.1, **SOME, per_sample=True
    )
    assert close((alone.x[0],), (all_of_them.x[0],), 1e-12)
    big = (jnp.zeros((64, 3, 16, 16)),)
    with pytest.raises(MethodError, match=r"768 entries, expected at most 512.*GiB"):
        solve_with("diffrax:kvaerno5", flow, big, 1.0, 0.1, rtol=1e-3, atol=1e-3)


SOME = {"rtol": 1e-3, "atol": 1e-3}


@pytest.mark.slow
def test_diffrax_gives_the_numbers_of_a_call_by_hand() -> None:
    (x,) = state(1)
    tree = diffrax.VirtualBrownianTree(
        -1.0, -0.25, 1e-3, x.shape, jax.random.key(5), levy_area=diffrax.SpaceTimeLevyArea
    )

    def drift(tau: Any, y: Any, args: Any) -> Any:
        return VP.beta(-tau) * (0.5 * y - model(VP)((y,), -tau)[0] / VP.sigma(-tau))

    def diffusion(tau: Any, y: Any, args: Any) -> Any:
        import lineax

        return lineax.DiagonalLinearOperator(jnp.sqrt(VP.beta(-tau)) * jnp.ones_like(y))

    terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(diffusion, tree))
    right = diffrax.diffeqsolve(terms, diffrax.SRA1(), -1.0, -0.25, 0.125, x).ys[0]

    class InATuple(diffrax.AbstractBrownianPath):
        t0: float = -1.0
        t1: float = -0.25
        levy_area: Any = eqx.field(static=True, default=diffrax.SpaceTimeLevyArea)

        def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False):
            made = tree.evaluate(t0, t1, left, use_levy=use_levy)
            return (
                jax.tree_util.tree_map(lambda a: (a,), made)
                if not use_levy
                else type(made)(dt=made.dt, W=(made.W,), H=(made.H,))
            )

    got = solve_with(
        "diffrax:sra1", ReverseSDE(VP, model(VP)), x, 1.0, 0.25, dt=0.125, brownian=InATuple()
    )
    assert close(got.z, (right,), 1e-12)
    assert got.nfe == 12
    flow = diffrax.ODETerm(
        lambda tau, y, args: VP.beta(-tau) * 0.5 * (y - model(VP)((y,), -tau)[0] / VP.sigma(-tau))
    )
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-5)
    right = diffrax.diffeqsolve(
        flow, diffrax.Dopri8(), -1.0, -0.25, None, x, stepsize_controller=controller
    ).ys[0]
    got = solve_with(
        "diffrax:dopri8", ProbabilityFlow(VP, model(VP)), x, 1.0, 0.25, rtol=1e-4, atol=1e-5
    )
    assert close(got.z, (right,), 1e-12)


@pytest.mark.slow
@BOTH
def test_sra1_reaches_the_moments_of_a_gaussian(process: Any) -> None:
    """20 000 samples: bands of 4.5 standard errors, which a factor of 1.05 in g would leave."""
    z = tuple(jnp.asarray(a) for a in cases.start(process, 0.8, 20_000))
    reverse = ReverseSDE(process, model(process, sgmsolve.Gaussian([0.5], 0.25)), 1.5)
    got = solve_with("diffrax:sra1", reverse, z, 0.8, 0.2, steps=160, seed=2).z
    cases.has_moments(got, process, 0.2)


ALL = [m.split(":")[1] for m in known_methods() if m.startswith("diffrax")]
SDE_NAMES = [n for n in ALL if n in "euler heun midpoint ralston reversibleheun eulerheun".split()]
GBM_NAMES = [*SDE_NAMES, "itomilstein", "stratonovichmilstein", "spark", "slowrk", "generalshark"]


@pytest.mark.slow
@pytest.mark.parametrize("name", GBM_NAMES)
@pytest.mark.parametrize("noise", ["diagonal", "general"])
def test_geometric_brownian_motion_pathwise(name: str, noise: str) -> None:
    """x(T) = x0 exp((mu - s^2/2) T + s W(T)); the solver's calculus is its own affair."""

    def diffusion(z: Any, t: Any) -> Any:
        return 0.8 * z[0] if noise == "diagonal" else 0.8 * z[0][..., None]

    sde = GeneralSDE(lambda z, t: 0.4 * z[0], diffusion, noise=noise, commutes=True)
    x = jnp.ones((200, 1))
    tree = to_diffrax(sde, (1,)).brownian((x,), 0.0, 1.0, jax.random.key(0), 2.0**-12)
    got = solve_with(f"diffrax:{name}", sde, x, 0.0, 1.0, steps=256, brownian=tree).x
    w = jax.tree_util.tree_leaves(tree.evaluate(0.0, 1.0))[0]
    error = abs(got / jnp.exp((0.4 - 0.32) + 0.8 * w) - 1).mean()
    assert float(error) < (0.05 if name == "euler" else 1e-2)


@functools.cache
def fine_run() -> tuple[Any, ...]:
    """SDE, start, path and a run of 256 steps."""
    z, reverse = state(2), ReverseSDE(PSLD, model(PSLD))
    tree = to_diffrax(reverse, SHAPE).brownian(z, -0.8, -0.4, jax.random.key(0), 2.0**-10)
    fine = solve_with("diffrax:sra1", reverse, z, 0.8, 0.4, steps=256, brownian=tree)
    return reverse, z, tree, fine


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sra1", "shark", "sea", "spark", "itomilstein", "heun", "slowrk"])
def test_every_sde_solver_runs_a_reverse_sde_on_one_path(name: str) -> None:
    """One Brownian path: solvers agree with a fine run of SRA1 on images."""
    reverse, z, tree, fine = fine_run()
    got = solve_with(f"diffrax:{name}", reverse, z, 0.8, 0.4, steps=128, brownian=tree)
    first_order = name in ("itomilstein", "sea", "heun")
    assert close(got.z, fine.z, 0.08 if first_order else 0.01)


class Net(eqx.Module):
    weight: Any

    def __call__(self, x: Any, t: Any) -> Any:
        return x @ self.weight + jnp.sin(3 * t)


@pytest.mark.slow
def test_an_equinox_network_is_jitted_vmapped_and_differentiated() -> None:
    x = state(1, 3, (2,))[0]
    key = jax.random.key(0)

    def run(net: Any, one: Any) -> Any:
        reverse = ReverseSDE(VP, sgmsolve.as_model(net, VP, predicts="noise"), 0.5)
        terms = to_diffrax(reverse, (2,), count=False)
        tree = terms.brownian((one,), -1.0, -0.5, key, 1e-3)
        solution = diffrax.diffeqsolve(terms.terms(tree), diffrax.SRA1(), -1.0, -0.5, 0.125, (one,))
        return solution.ys[0][-1]

    @eqx.filter_jit
    def loss(net: Any) -> Any:
        return (jax.vmap(lambda one: run(net, one))(x) ** 2).sum()

    net = Net(0.3 * jnp.eye(2) + 0.1)
    value, grad = loss(net), eqx.filter_grad(loss)(net)
    by_hand = sum(float((run(net, one) ** 2).sum()) for one in x)
    assert abs(float(value) - by_hand) < 1e-10 * by_hand
    for i, j in ((0, 0), (0, 1)):
        step = jnp.zeros((2, 2)).at[i, j].set(1e-5)
        difference = float(loss(Net(net.weight + step)) - loss(Net(net.weight - step))) / 2e-5
        assert abs(float(grad.weight[i, j]) - difference) < 1e-6 * abs(difference)


def test_solve_with_inside_jit_counts_nothing() -> None:
    flow = ProbabilityFlow(VP, model(VP))

    def run(x: Any) -> Any:
        made = solve_with("diffrax:heun", flow, x, 1.0, 0.5, steps=4)
        assert made.nfe is None
        assert made.status is None
        return made.x

    (x,) = state(1)
    right = solve_with("diffrax:heun", flow, x, 1.0, 0.5, steps=4)
    assert right.nfe == 8
    assert close((jax.jit(run)(x),), right.z, 1e-12)


@pytest.mark.slow
def test_a_float32_run_stays_float32_and_its_second_call_compiles_nothing() -> None:
    """diffrax promotes states to the dtype of its times; 0.3 is no float32."""
    process = sgmsolve.VP(t_max=0.3)
    z, traced = tuple(x.astype("float32") for x in state(1)), []
    inner = model(process)

    def net(x: Any, t: Any) -> Any:
        traced.append(t)
        return inner((x,), t)[0]

    flow = ProbabilityFlow(process, sgmsolve.as_model(net, process, predicts="noise"))
    for steps in ({"steps": 3}, {"grid": [process.t_max, 0.2, 0.1]}, {"dt": 0.05}):
        got = solve_with("diffrax:euler", flow, z, process.t_max, 0.1, **steps)
        assert got.x.dtype == jnp.float32
        before = len(traced)
        again = solve_with("diffrax:euler", flow, z, process.t_max, 0.1, **steps)
        assert len(traced) == before
        assert again.nfe == got.nfe
        assert close(again.z, got.z, 1e-9)


def test_a_run_that_gives_up_says_so() -> None:
    flow = ProbabilityFlow(VP, model(VP))
    got = solve_with("diffrax:tsit5", flow, state(1), 1.0, 0.05, rtol=1e-9, atol=1e-9, max_steps=5)
    assert got.status is Status.UNFINISHED
    assert "maximum number of solver steps" in got.message


def test_what_cannot_be_solved_is_said_in_a_sentence() -> None:
    z = state(1)
    flow, reverse = ProbabilityFlow(VP, model(VP)), ReverseSDE(VP, model(VP))
    with pytest.raises(MethodError, match="Did you mean 'diffrax:kvaerno5'"):
        solve_with("diffrax:kvaerno6", flow, z, 1.0, 0.1)
    with pytest.raises(MethodError, match="diffrax:tsit5 solves ODEs"):
        solve_with("diffrax:tsit5", reverse, z, 1.0, 0.1, steps=3)
    with pytest.raises(MethodError, match="given no steps"):
        solve_with("diffrax:tsit5", flow, z, 1.0, 0.1)
    with pytest.raises(MethodError, match="given no atol"):
        solve_with("diffrax:tsit5", flow, z, 1.0, 0.1, rtol=1e-3)
    with pytest.raises(MethodError, match="estimates no error"):
        solve_with("diffrax:euler", flow, z, 1.0, 0.1, rtol=1e-3, atol=1e-3)
    gbm = GeneralSDE(lambda z, t: z, lambda z, t: z)
    with pytest.raises(MethodError, match="needs additive noise, but this SDE's is diagonal"):
        solve_with("diffrax:sra1", gbm, z, 0.0, 1.0, steps=3)
    loose = GeneralSDE(lambda z, t: z, lambda z, t: z[0][..., None], noise="general")
    for name in ("itomilstein", "stratonovichmilstein"):
        with pytest.raises(MethodError, match=f"diffrax:{name} needs noise that commutes"):
            solve_with(f"diffrax:{name}", loose, z, 0.0, 1.0, steps=3)
    with pytest.raises(BackendError, match="made of numpy, but diffrax runs jax"):
        solve_with("diffrax:tsit5", flow, np.asarray(z[0]), 1.0, 0.1, steps=3)


def test_models_of_the_other_library_are_refused() -> None:
    torch = pytest.importorskip("torch")
    of_torch = sgmsolve.as_model(torch.nn.Linear(2, 2), VP, predicts="noise")
    of_jax = sgmsolve.as_model(Net(jnp.eye(2)), VP, predicts="noise")
    with pytest.raises(BackendError, match="holds a torch module, but diffrax runs jax"):
        to_diffrax(ReverseSDE(VP, of_torch), (2,))
    with pytest.raises(BackendError, match="holds a jax module, but torchsde runs torch"):
        solve_with("torchsde:srk", ReverseSDE(VP, of_jax), torch.ones(1, 2), 1.0, 0.1, dt=0.1)
    with pytest.raises(BackendError, match="holds a jax module, but torchdiffeq runs torch"):
        solve_with("torchdiffeq:rk4", ProbabilityFlow(VP, of_jax), torch.ones(1, 2), 1.0, 0.1)
