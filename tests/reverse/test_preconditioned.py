"""Operators in a reverse SDE: which law each place keeps, and what each is made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sgmsolve
from sgmsolve.errors import PreconditionError, StabilityWarning
from sgmsolve.precondition import Diagonal, Identity, Scalar, Skew, SpaceFrequency
from sgmsolve.reverse import ForwardSDE, ProbabilityFlow, ReverseSDE

SHAPE = (3, 4)
D = 12
PROCESSES = {
    "vp": sgmsolve.VP(),
    "ve": sgmsolve.VE(),
    "subvp": sgmsolve.SubVP(),
    "edm": sgmsolve.EDM(),
    "cld": sgmsolve.CLD(),
    "psld": sgmsolve.PSLD(),
}
ETAS: dict[str, Any] = {"0.6": 0.6, "function": lambda t: 0.3 + 0.7 * t / (1 + t)}
RNG = np.random.default_rng(5)
FREQUENCY = 1 + 0.5 * RNG.random(SHAPE)
FREQUENCY = (FREQUENCY + np.roll(FREQUENCY[::-1, ::-1], 1, axis=(0, 1))) / 2
BOTH = SpaceFrequency(SHAPE, FREQUENCY, 1 + 0.3 * RNG.random(SHAPE))
TURN = Skew(SHAPE, (1, 1), 0.7)
VP = PROCESSES["vp"]


class GaussianScore:
    """The score of N(mean, C) on flattened states, at any time: a model of no data."""

    predicts = "score"

    def __init__(self, process: Any) -> None:
        n = process.m * D
        half = RNG.standard_normal((n, n))
        self.process, self.mean = process, RNG.standard_normal(n)
        self.C = half @ half.T / n + 0.1 * np.eye(n)

    def __call__(self, z: Any, t: Any) -> Any:
        flat = np.concatenate([x.reshape(len(x), D) for x in z], axis=1) - self.mean
        out = -np.linalg.solve(self.C, flat.T).T
        return tuple(out[:, i * D : (i + 1) * D].reshape(z[0].shape) for i in range(len(z)))


def parts(flat: np.ndarray, m: int) -> tuple[np.ndarray, ...]:
    return tuple(flat[:, i * D : (i + 1) * D].reshape(-1, *SHAPE) for i in range(m))


def joined(z: Any) -> np.ndarray:
    return np.concatenate([x.reshape(len(x), D) for x in z], axis=1)


def affine(sde: Any, t: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, b, N) of dz = (A z + b) ds + N dw on flattened states, read off from the object."""
    m, n = sde.m, sde.m * D
    basis = np.concatenate([np.zeros((1, n)), np.eye(n)])
    drift = joined(sde.drift(parts(basis, m), t))
    noise = joined(sde.diffuse(parts(np.eye(n), m), t, parts(np.eye(n), m))).T
    return (drift[1:] - drift[0]).T, drift[0], noise


def moment_rates(sde: Any, t: float, model: GaussianScore) -> tuple[np.ndarray, np.ndarray]:
    """Rates of the mean and covariance of N(mean, C) under a linear SDE."""
    A, b, N = affine(sde, t)
    return A @ model.mean + b, A @ model.C + model.C @ A.T + N @ N.T


def time_of(process: Any) -> float:
    return 0.4 * float(process.t_max)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("where", ["exact-split", "forward"])
def test_the_law_of_the_forward_process_runs_backwards(name: str, eta: str, where: str) -> None:
    """Whatever the Gaussian at t is, its moments move at the forward SDE's rates, reversed.

    For a linear SDE and a Gaussian that is the Fokker-Planck equation; C commutes with no operator.
    """
    process, model = PROCESSES[name], GaussianScore(PROCESSES[name])
    t = time_of(process)
    sde = ReverseSDE(process, model, ETAS[eta], BOTH, where, TURN)
    forward = moment_rates(sde.forward(), t, model)
    backward = moment_rates(sde, t, model)
    for f, b in zip(forward, backward, strict=True):
        assert np.abs(f + b).max() < 1e-12 * np.abs(forward[1]).max()
    plain = moment_rates(ForwardSDE(process), t, model)[1]
    assert (np.abs(plain - forward[1]).max() < 1e-12) == (where == "exact-split")


@pytest.mark.parametrize("eta", [0.0, 0.6])
@pytest.mark.parametrize("name", PROCESSES)
def test_every_place_is_its_formula(name: str, eta: float) -> None:
    process, model = PROCESSES[name], GaussianScore(PROCESSES[name])
    t, m = time_of(process), process.m
    z, dw = (tuple(RNG.standard_normal((m, 2, *SHAPE))) for _ in range(2))
    M, S = (np.kron(np.eye(m), x.matrix()) for x in (BOTH, TURN))
    F, GG = (np.kron(x, np.eye(D)) for x in (process.F(t), process.G(t) @ process.G(t).T))
    linear, h = -joined(z) @ F.T, 0.5 * joined(model(z, t)) @ GG
    A = M @ M.T
    right = {
        "exact-split": linear + h + eta**2 * h @ A + h @ S.T,
        "published": (linear + (1 + eta**2) * h) @ A,
        "noise": linear + (1 + eta**2) * h,
        "corrector": linear + (1 + eta**2) * h,
        "forward": (linear + (1 + eta**2) * h) @ A + h @ S.T,
    }
    kick = eta * joined(dw) @ np.kron(process.G(t), np.eye(D)).T
    for where, drift in right.items():
        S_given = TURN if where in ("exact-split", "forward") else None
        sde = ReverseSDE(process, model, eta, BOTH, where, S_given)
        scale = np.abs(drift).max()
        assert np.abs(joined(sde.drift(z, t)) - drift).max() < 1e-12 * scale
        halves = sde.split(z, t)
        assert np.abs(joined(halves[0]) + joined(halves[1]) - drift).max() < 1e-12 * scale
        whole = A if where in ("published", "forward") else np.eye(m * D)
        assert np.abs(joined(halves[0]) - linear @ whole).max() < 1e-12 * scale
        moved = kick if where == "corrector" else kick @ M.T
        assert np.abs(joined(sde.diffuse(z, t, dw)) - moved).max() < 1e-12 * max(scale, 1.0)


@pytest.mark.parametrize("name", ["vp", "psld"])
def test_without_operators_everything_is_as_before_bit_for_bit(name: str) -> None:
    process, model = PROCESSES[name], GaussianScore(PROCESSES[name])
    z = tuple(RNG.standard_normal((process.m, 2, *SHAPE)))
    plain = ReverseSDE(process, model, 0.8)
    for given in [(Identity(), "exact-split"), (None, "published"), (BOTH, "corrector")]:
        sde = ReverseSDE(process, model, 0.8, *given)
        assert not sde.bends_drift
        assert sde.colour is None
        pairs = [(sde.drift(z, 0.4), plain.drift(z, 0.4)), (sde.starting(z), z)]
        pairs.append((sde.diffuse(z, 0.4, z), plain.diffuse(z, 0.4, z)))
        pairs += zip(sde.split(z, 0.4), plain.split(z, 0.4), strict=True)
        for a, b in pairs:
            assert np.array_equal(np.stack(a), np.stack(b))
    # The noise place has the plain drift, too: the one that other libraries get fused.
    coloured = ReverseSDE(process, model, 0.8, BOTH, "noise")
    assert np.array_equal(np.stack(coloured.drift(z, 0.4)), np.stack(plain.drift(z, 0.4)))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_libraries_and_kinds_of_time_agree(library: str) -> None:
    pytest.importorskip(library)
    process = PROCESSES["cld"]  # no noise on the position, which a traced matrix cannot tell
    target = sgmsolve.Gaussian(np.zeros(SHAPE), 0.3 + RNG.random(SHAPE))
    z = tuple(RNG.standard_normal((2, 2, *SHAPE)))
    if library == "torch":
        import torch

        other = tuple(torch.tensor(x) for x in z)
    else:
        import jax.numpy as jnp

        other = tuple(jnp.asarray(x) for x in z)
    model = target.model(process, "noise:lower")
    for where, skew in [("exact-split", TURN), ("published", None)]:
        sde = ReverseSDE(process, model, lambda t: 0.2 + t, BOTH, where, skew)
        right = [*sde.drift(z, 0.37), *sde.diffuse(z, 0.37, z)]
        batch = other[0][:, 0, 0] * 0 + 0.37
        for t in (0.37, batch[0], batch) if library == "torch" else (batch,):
            got = [*sde.drift(other, t), *sde.diffuse(other, t, other)]
            for a, b in zip(right, got, strict=True):
                assert np.allclose(a, np.asarray(b), rtol=1e-12, atol=1e-12)
    if library == "torch":
        small = tuple(x.float() for x in other)
        moved = [*sde.drift(small, 0.37), *sde.diffuse(small, 0.37, small), *sde.starting(small)]
        assert all(x.dtype is torch.float32 for x in moved)


def test_the_start_is_that_of_the_place() -> None:
    z = (RNG.standard_normal((2, *SHAPE)),)
    for name, where, filtered in [
        ("vp", "exact-split", False),
        ("vp", "published", True),
        ("vp", "noise", True),
        ("vp", "forward", False),
        ("ve", "forward", True),
        ("edm", "forward", True),
        ("ve", "exact-split", False),
    ]:
        process = PROCESSES[name]
        sde = ReverseSDE(process, GaussianScore(process), 1.0, BOTH, where)
        assert np.array_equal(sde.starting(z)[0], BOTH.apply(z[0]) if filtered else z[0])


def test_a_probability_flow_takes_what_acts_on_it() -> None:
    process, model = PROCESSES["psld"], GaussianScore(PROCESSES["psld"])
    for options in [{"skew": TURN}, {"preconditioner": BOTH, "where": "forward", "skew": TURN}]:
        flow = ProbabilityFlow(process, model, **options)
        assert flow.noise == "none"
        forward, backward = (moment_rates(x, 0.4, model) for x in (flow.forward(), flow))
        for f, b in zip(forward, backward, strict=True):
            assert np.abs(f + b).max() < 1e-10 * np.abs(f).max()
    for where in ("exact-split", "noise"):
        with pytest.raises(PreconditionError, match="does nothing in a probability flow"):
            ProbabilityFlow(process, model, BOTH, where)
    assert not ProbabilityFlow(process, model, Identity()).bends_drift
    assert not ReverseSDE(process, model, 0.0, BOTH).bends_drift  # as of noise that is not there


class Symmetric(Diagonal):
    """Says that it is skew, and is not."""

    def __init__(self) -> None:
        super().__init__(RNG.standard_normal(SHAPE))

    def transpose(self, x: Any) -> Any:
        return -self.apply(x)


class SkewSometimes(Scalar):
    """Says that it takes any shape, and is 0 on another than the run's."""

    def __init__(self) -> None:
        super().__init__(2.0)

    def apply(self, x: Any) -> Any:
        return super().apply(x) * (x.shape[1:] == SHAPE)


def test_what_does_not_fit_is_a_sentence() -> None:
    model = GaussianScore(VP)
    make: Any = lambda *a: ReverseSDE(VP, model, 1.0, *a)  # noqa: E731
    with pytest.raises(PreconditionError, match=r"where: 'exact'.* Did you mean 'exact-split'"):
        make(BOTH, "exact")
    with pytest.raises(PreconditionError, match="preconditioner is a ndarray"):
        make(np.eye(3))
    with pytest.raises(PreconditionError, match="skew is a float"):
        make(None, "exact-split", 0.1)
    for where in ("published", "noise"):
        with pytest.raises(PreconditionError, match="the law of the samples is then not p_t"):
            make(BOTH, where, TURN)
    with pytest.raises(PreconditionError, match=r"<x, S x> = .* expected S\^T = -S"):
        make(None, "exact-split", Symmetric())
    with pytest.raises(PreconditionError, match="skew is a Scalar with"):
        make(None, "exact-split", Scalar(1.0))
    late = make(None, "exact-split", SkewSometimes())
    z = (RNG.standard_normal((2, *SHAPE)),)
    with pytest.raises(PreconditionError, match=r"expected S\^T = -S"):
        late.drift(z, 0.5)
    with pytest.warns(StabilityWarning, match="expected above 1/2"):
        make(Scalar(0.7), "published")
    assert make(Scalar(0.7)).drift(z, 0.5)[0].shape == z[0].shape
    wrong = (RNG.standard_normal((2, 4, 3)),)
    for where in ("exact-split", "noise"):
        with pytest.raises(PreconditionError, match="these have shape"):
            make(BOTH, where).diffuse(wrong, 0.5, wrong)
    with pytest.raises(PreconditionError, match="these have shape"):
        make(BOTH).drift(wrong, 0.5)
