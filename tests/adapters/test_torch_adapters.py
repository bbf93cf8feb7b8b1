"""torchsde and torchdiffeq on our SDEs: against our plans, exact flows and calls by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import adapter_cases as cases
import numpy as np
import pytest
from adapter_cases import BOTH, FIELD, SHAPE, VP, close, model

import sgmsolve
from sgmsolve.adapters import solve_with, to_torchdiffeq, to_torchsde
from sgmsolve.adapters.fused import fused_drift
from sgmsolve.errors import BackendError, GridError, MethodError, ModelError, Status
from sgmsolve.reverse import ForwardSDE, GeneralSDE, ProbabilityFlow, ReverseSDE

torch = pytest.importorskip("torch")
torchsde = pytest.importorskip("torchsde")
torchdiffeq = pytest.importorskip("torchdiffeq")


def state(m: int, batch: int = 2, shape: tuple[int, ...] = SHAPE) -> tuple[Any, ...]:
    return cases.state(torch.tensor, m, batch, shape)


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
@BOTH
def test_torchdiffeq_euler_is_our_euler(process: Any) -> None:
    grid = [1.0, 0.7, 0.5, 0.35, 0.2]
    z = state(process.m)
    plan = sgmsolve.build_plan(process, "pf-euler", grid=grid)
    ours = sgmsolve.solve(plan, model(process), z).z
    counted = sgmsolve.CountCalls(model(process))
    flow = ProbabilityFlow(process, counted)
    theirs = solve_with("torchdiffeq:euler", flow, z, 1.0, 0.2, grid=grid)
    assert close(ours, theirs.z, 1e-12)
    assert theirs.nfe == counted.calls == 4
    assert theirs.status is Status.FINISHED
    assert theirs.x.shape == (2, *SHAPE)


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")
@BOTH
def test_torchsde_euler_is_our_euler_maruyama_on_the_same_increments(process: Any) -> None:
    z = state(process.m)
    counted = sgmsolve.CountCalls(model(process))
    reverse = ReverseSDE(process, counted)
    wrapped = to_torchsde(reverse, SHAPE)
    bm = wrapped.brownian(wrapped.flatten(z), -1.0, -0.5, entropy=3)
    theirs = solve_with("torchsde:euler", reverse, z, 1.0, 0.5, dt=0.125, bm=bm)
    assert theirs.nfe == 5  # four steps, and the one that torchsde makes to look at shapes
    assert counted.calls == 5
    grid = [1.0, 0.875, 0.75, 0.625, 0.5]
    plan = sgmsolve.build_plan(process, "euler-maruyama", grid=grid)
    active = [plan.active_draws(r) for r in range(plan.rows)]
    arrays: dict[Any, Any] = {}
    for r, columns in enumerate(active):
        xi = wrapped.unflatten(bm(-grid[r], -grid[r + 1])) if columns else ()
        noisy = [i for i in range(process.m) if process.G(0.5)[i, i] > 0]
        for column, component in zip(columns, noisy, strict=True):
            arrays[r, column] = xi[component] / math.sqrt(grid[r] - grid[r + 1])
    ours = sgmsolve.solve(plan, model(process), z, noise=sgmsolve.ReplayNoise(arrays)).z
    assert close(ours, theirs.z, 1e-12)


@BOTH
@pytest.mark.parametrize("name", ["dopri5", "dopri8"])
def test_adaptive_solvers_reach_the_exact_flow(process: Any, name: str) -> None:
    z, m = state(process.m), process.m
    flow = ProbabilityFlow(process, model(process))
    got = solve_with(f"torchdiffeq:{name}", flow, z, 1.0, 0.05, rtol=1e-9, atol=1e-9)
    right = FIELD.flow_map(z if m > 1 else z[0], 1.0, 0.05, process)
    assert close(got.z, right if m > 1 else (right,), 1e-6)
    back = solve_with(f"torchdiffeq:{name}", flow, got.z, 0.05, 1.0, rtol=1e-9, atol=1e-9)
    assert close(back.z, z, 1e-6)


class ByHand(torch.nn.Module):
    """The reverse SDE of VP for a noise network, as a user would write it for torchsde."""

    sde_type, noise_type = "ito", "additive"

    def f(self, tau: Any, y: Any) -> Any:
        t = -float(tau)
        eps = model(VP)((y.reshape(-1, *SHAPE),), t)[0].reshape(y.shape)
        return VP.beta(t) * (0.5 * y - eps / VP.sigma(t))

    def g_prod(self, tau: Any, y: Any, v: Any) -> Any:
        return math.sqrt(VP.beta(-float(tau))) * v

    def forward(self, tau: Any, y: Any) -> Any:
        t = -float(tau)
        eps = model(VP)((y.reshape(-1, *SHAPE),), t)[0].reshape(y.shape)
        return VP.beta(t) * (0.5 * y - 0.5 * eps / VP.sigma(t))


@pytest.mark.parametrize("name", ["srk", "milstein", "heun"])
def test_torchsde_gives_the_numbers_of_a_call_by_hand(name: str) -> None:
    (x,) = state(1)
    y, area = x.reshape(2, -1), {"srk": "space-time"}.get(name, "none")
    bm = torchsde.BrownianInterval(
        -1.0, -0.25, (2, 192), torch.float64, entropy=7, levy_area_approximation=area
    )
    hand = ByHand()
    hand.sde_type = "stratonovich" if name == "heun" else "ito"
    ts = torch.tensor([-1.0, -0.25], dtype=torch.float64)
    right = torchsde.sdeint(hand, y, ts, bm=bm, method=name, dt=0.125)[-1]
    got = solve_with(f"torchsde:{name}", ReverseSDE(VP, model(VP)), x, 1.0, 0.25, dt=0.125, seed=7)
    assert close((got.x.reshape(2, -1),), (right,), 1e-12)


def test_torchdiffeq_gives_the_numbers_of_a_call_by_hand() -> None:
    (x,) = state(1)
    ts = torch.tensor([-1.0, -0.25], dtype=torch.float64)
    right = torchdiffeq.odeint(
        ByHand(),
        x.reshape(2, -1),
        ts,
        rtol=1e-4,
        atol=1e-5,
        method="dopri5",
        options={"step_t": ts[-1:]},
    )[-1]
    flow = ProbabilityFlow(VP, model(VP))
    got = solve_with("torchdiffeq:dopri5", flow, x, 1.0, 0.25, rtol=1e-4, atol=1e-5)
    assert close((got.x.reshape(2, -1),), (right,), 1e-12)


@BOTH
def test_srk_reaches_the_moments_of_a_gaussian(process: Any) -> None:
    """20 000 samples: bands of 4.5 standard errors, which a factor of 1.05 in g would leave."""
    z = tuple(torch.tensor(a) for a in cases.start(process, 0.8, 20_000))
    reverse = ReverseSDE(process, model(process, sgmsolve.Gaussian([0.5], 0.25)), 1.5)
    got = solve_with("torchsde:srk", reverse, z, 0.8, 0.2, steps=160, seed=2).z
    cases.has_moments(got, process, 0.2)


@pytest.mark.parametrize("name", ["milstein", "srk", "heun", "midpoint", "euler_heun"])
def test_geometric_brownian_motion_pathwise(name: str) -> None:
    """x(T) = x0 exp((mu - s^2/2) T + s W(T)); the solver's calculus is its own affair."""
    sde = GeneralSDE(lambda z, t: 0.4 * z[0], lambda z, t: 0.8 * z[0])
    x = torch.ones((200, 1), dtype=torch.float64)
    area = "space-time" if name == "srk" else "none"
    bm = torchsde.BrownianInterval(
        0.0, 1.0, (200, 1), torch.float64, entropy=1, levy_area_approximation=area
    )
    with torch.no_grad():
        got = solve_with(f"torchsde:{name}", sde, x, 0.0, 1.0, dt=1 / 256, bm=bm).x
    right = torch.exp((0.4 - 0.32) + 0.8 * bm(0.0, 1.0))
    assert float(((got - right).abs() / right).mean()) < 5e-3


@pytest.mark.parametrize("eta", [0.0, 0.7, lambda t: 1.0 + t], ids=["0", "0.7", "of-t"])
@BOTH
def test_the_drift_multiplied_out_is_the_drift(process: Any, eta: Any) -> None:
    """Converted and score models, a float32 network in a float64 state, tensor times."""
    z = state(process.m)
    score = FIELD.model(process, "score")
    half = sgmsolve.as_model(lambda *a: tuple(x.float() for x in a[:-1]), process, predicts="score")
    for net in (model(process), score, half):
        reverse = ReverseSDE(process, net, eta)
        drift = fused_drift(reverse)
        assert close(drift(z, 0.3), reverse.drift(z, 0.3), 1e-11)
        assert drift(z, 0.3)[0].dtype == torch.float64
        t = torch.tensor(0.3, dtype=torch.float64)
        assert close(drift(z, t), reverse.drift(z, 0.3), 1e-11)
    with pytest.raises(GridError, match="outside"):
        drift(z, 1.5)
    short = sgmsolve.as_model(lambda *a: (a[0][:, :1],) * process.m, process, predicts="score")
    with pytest.raises(ModelError, match="returned shape"):
        fused_drift(ReverseSDE(process, short, eta))(z, 0.3)


def test_the_forward_sde_ends_in_the_prior() -> None:
    x = torch.full((20_000, 1), 2.0, dtype=torch.float64)
    got = solve_with("torchsde:euler", ForwardSDE(VP), x, 0.0, 0.5, steps=100).x
    assert abs(float(got.mean()) - 2 * VP.alpha(0.5)) < 0.04
    assert abs(float(got.var()) / VP.sigma(0.5) ** 2 - 1) < 0.05


def test_adjoints_reach_the_network() -> None:
    torch.manual_seed(0)
    net = torch.nn.Linear(2, 2).double()
    wrapped = to_torchdiffeq(
        ProbabilityFlow(VP, sgmsolve.as_model(lambda x, t: net(x), VP, predicts="noise")), (2,)
    )
    assert not list(wrapped.parameters())  # a lambda hides its network
    flow = ProbabilityFlow(VP, sgmsolve.as_model(Timeless(net), VP, predicts="noise"))
    wrapped = to_torchdiffeq(flow, (2,))
    y, ts = torch.ones((3, 2), dtype=torch.float64), torch.tensor([-0.9, -0.5]).double()
    grads = []
    for solver in (torchdiffeq.odeint, torchdiffeq.odeint_adjoint):
        net.zero_grad()
        solver(wrapped, y, ts, rtol=1e-9, atol=1e-9)[-1].sum().backward()
        grads.append(net.weight.grad.clone())
    assert float(grads[0].abs().min()) > 1e-3
    assert float((grads[0] / grads[1] - 1).abs().max()) < 1e-6


class Timeless(torch.nn.Module):
    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Any, t: Any) -> Any:
        return self.net(x)


def test_a_float32_run_may_start_at_a_time_that_float32_rounds_up() -> None:
    process = sgmsolve.VP(t_max=0.3)
    assert float(np.float32(0.3)) > 0.3
    flow = ProbabilityFlow(process, FIELD.model(process, "noise"))
    z = tuple(x.float() for x in state(1))
    got = solve_with("torchdiffeq:euler", flow, z, 0.3, 0.1, steps=4)
    assert got.x.dtype == torch.float32


def test_what_cannot_be_solved_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    z = state(1)
    flow, reverse = ProbabilityFlow(VP, model(VP)), ReverseSDE(VP, model(VP))
    with pytest.raises(MethodError, match="Did you mean 'torchsde:srk'"):
        solve_with("torchsde:srkk", reverse, z, 1.0, 0.1)
    with pytest.raises(MethodError, match="unknown option of torchsde:srk 'rtool'"):
        solve_with("torchsde:srk", reverse, z, 1.0, 0.1, rtool=1)
    with pytest.raises(MethodError, match="torchdiffeq:dopri5 solves ODEs"):
        solve_with("torchdiffeq:dopri5", reverse, z, 1.0, 0.1)
    with pytest.raises(ModelError, match="torchsde:srk solves SDEs"):
        solve_with("torchsde:srk", flow, z, 1.0, 0.1, dt=0.1)
    with pytest.raises(GridError, match="expected t_start > t_end"):
        solve_with("torchsde:srk", reverse, z, 0.1, 1.0, dt=0.1)
    with pytest.raises(GridError, match="outside the forward times"):
        solve_with("torchsde:srk", reverse, z, 1.5, 0.1, dt=0.1)
    with pytest.raises(MethodError, match="given no steps"):
        solve_with("torchsde:srk", reverse, z, 1.0, 0.1)
    with pytest.raises(MethodError, match="given no steps"):
        solve_with("torchdiffeq:rk4", flow, z, 1.0, 0.1)
    with pytest.raises(MethodError, match="more than one of dt, steps and grid"):
        solve_with("torchdiffeq:rk4", flow, z, 1.0, 0.1, dt=0.1, steps=3)
    with pytest.raises(BackendError, match="made of numpy, but torchsde runs torch"):
        solve_with("torchsde:srk", reverse, z[0].numpy(), 1.0, 0.1, dt=0.1)
    with pytest.raises(ModelError, match=r"2 array\(s\), expected 1"):
        solve_with("torchsde:srk", reverse, (*z, *z), 1.0, 0.1, dt=0.1)
    with pytest.raises(ModelError, match="expected a ReverseSDE"):
        to_torchsde(model(VP), SHAPE)
    with pytest.raises(ModelError, match="solves SDEs; use to_torchdiffeq"):
        to_torchsde(flow, SHAPE)
    with pytest.raises(ModelError, match="with noise was given to torchdiffeq"):
        to_torchdiffeq(reverse, SHAPE)
    gbm = GeneralSDE(lambda z, t: z, lambda z, t: z)
    with pytest.raises(MethodError, match="adaptive Euler does not converge for diagonal noise"):
        solve_with("torchsde:euler", gbm, z, 0.0, 1.0, dt=0.1, adaptive=True)
    loose = GeneralSDE(lambda z, t: z, lambda z, t: z[0][..., None], noise="general")
    for name in ("milstein", "srk"):
        with pytest.raises(MethodError, match=f"torchsde:{name} cannot do general noise"):
            solve_with(f"torchsde:{name}", loose, z, 0.0, 1.0, dt=0.1)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs torchsde, which is not installed; pip install"):
        to_torchsde(reverse, SHAPE)


def test_a_run_that_ends_in_nan_says_so() -> None:
    broken = sgmsolve.as_model(lambda x, t: x / 0.0, VP, predicts="noise")
    got = solve_with("torchdiffeq:rk4", ProbabilityFlow(VP, broken), state(1), 1.0, 0.1, steps=2)
    assert got.status is Status.NONFINITE
    assert got.nfe == 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dt": 0.0}, "dt = 0.0, expected a finite number above 0"),
        ({"dt": -0.1}, "dt = -0.1"),
        ({"steps": 0}, "steps = 0, expected an integer of at least 1"),
        ({"steps": -3}, "steps = -3"),
        ({"dt": 0.1, "adaptive": True, "rtol": -1.0}, "rtol = -1.0, expected a finite number"),
        ({"steps": 4, "rtol": 1e-9}, "pass adaptive=True with it"),
    ],
)
def test_numbers_that_make_no_sense_are_sentences(options, words):
    score = sgmsolve.Gaussian([0.5, -0.2], [0.3, 0.3]).model(sgmsolve.VP())
    reverse = sgmsolve.ReverseSDE(sgmsolve.VP(), score)
    z = torch.zeros((2, 2), dtype=torch.float64)
    with pytest.raises(MethodError, match=re.escape(words)):
        solve_with("torchsde:srk", reverse, z, 1.0, 0.5, **options)
    flow, wrong = sgmsolve.ProbabilityFlow(sgmsolve.VP(), score), {"rtol": float("nan")}
    with pytest.raises(MethodError, match="rtol = nan"):
        solve_with("torchdiffeq:dopri5", flow, z, 1.0, 0.5, atol=1e-5, **wrong)


def test_a_path_that_is_too_short_is_refused():
    score = sgmsolve.Gaussian([0.5, -0.2], [0.3, 0.3]).model(sgmsolve.VP())
    z = torch.zeros((2, 2), dtype=torch.float64)
    bm = torchsde.BrownianInterval(-1.0, -0.6, size=(2, 2), dtype=torch.float64, entropy=0)
    reverse = sgmsolve.ReverseSDE(sgmsolve.VP(), score)
    with pytest.raises(BackendError, match="make it longer"):
        solve_with("torchsde:euler", reverse, z, 1.0, 0.5, dt=0.125, bm=bm)
