"""Running plans with operators, frames and per-sample entries: by hand, and on every backend."""

from __future__ import annotations

import numpy as np
import pytest
from operated import FIELD, FILTER, FOURIER, PROCESS, SHAPE, Hidden, framed, preconditioned

import sgmsolve
from sgmsolve import EDM, VP, KeyedNoise
from sgmsolve.errors import BackendError, SolveError
from sgmsolve.plan import Frame, PlanBuilder, per_sample
from sgmsolve.precondition import Scalar, Skew, Spectral

X = 50 * np.random.default_rng(0).standard_normal((3, *SHAPE))
SKEW = Skew(SHAPE, (0, 1), 0.3)
SPACE = np.random.default_rng(1).uniform(1, 1.2, SHAPE)


class SpaceThenFrequency(Hidden):
    """M = filter of (space x): diagonal nowhere, not symmetric."""

    def apply(self, x):
        return FILTER.apply(x * _like(SPACE, x))

    def transpose(self, x):
        return FILTER.apply(x) * _like(SPACE, x)


def _like(host, x):
    if type(x).__module__.startswith("torch"):
        import torch

        return torch.as_tensor(host, dtype=x.dtype)
    return host.astype(x.dtype)


def by_hand(plan, M, S=None):
    score = FIELD.model(PROCESS, "score")
    draw = KeyedNoise(1, generator="philox").bind(plan, (X,))
    y, before = M.apply(X), None
    for r, (t, s) in enumerate(zip(plan.t, [*plan.t[1:], plan.t_end], strict=True)):
        (e,) = score((y,), float(t))
        v = PROCESS.sigma(float(t)) ** 2 - PROCESS.sigma(float(s)) ** 2
        mixed = e if before is None else 1.1 * e - 0.1 * before
        turned = 0 if S is None else S.apply(mixed)
        y = y + v / 2 * (mixed + M.gram(mixed) + turned) + v**0.5 * M.apply(draw(r, 0))
        before = e
    return y


def on(library, x):
    if library == "torch":
        return pytest.importorskip("torch").from_numpy(x)
    return pytest.importorskip("jax").numpy.asarray(x) if library == "jax" else x


CASES = {
    "gains": {"M": FILTER},
    "prefixes": {"M": SpaceThenFrequency(FILTER)},
    "skew": {"M": FILTER, "S": SKEW},
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_operators_by_hand(case, library) -> None:
    operands = CASES[case]
    plan = preconditioned(**operands)
    found = sgmsolve.solve(plan, FIELD.model(PROCESS), on(library, X), noise="philox", seed=1)
    expected = by_hand(plan, operands["M"], operands.get("S"))
    np.testing.assert_allclose(np.asarray(found.x), expected, atol=1e-12 * np.abs(expected).max())


def test_float32_stays_float32_and_rows_can_be_watched() -> None:
    plan, model = preconditioned(M=FILTER, S=SKEW), FIELD.model(PROCESS)
    x = X.astype(np.float32)
    whole = sgmsolve.solve(plan, model, x, noise="philox", seed=1)
    assert whole.x.dtype == np.float32
    assert np.abs(whole.x - by_hand(plan, FILTER, SKEW)).max() < 1e-4 * np.abs(X).max()
    last = list(sgmsolve.steps(plan, model, x, noise="philox", seed=1))[-1]
    np.testing.assert_array_equal(last.x, whole.x)


def test_transforms_are_not_done_twice(monkeypatch) -> None:
    """M M^T u + M z costs three transforms: of u, of z, and one back."""
    count = {"to": 0, "from": 0}
    to, back = type(FOURIER).to_native, type(FOURIER).from_native
    monkeypatch.setattr(
        type(FOURIER),
        "to_native",
        lambda s, x: count.__setitem__("to", count["to"] + 1) or to(s, x),
    )
    monkeypatch.setattr(
        type(FOURIER),
        "from_native",
        lambda s, c, like: count.__setitem__("from", count["from"] + 1) or back(s, c, like),
    )
    plan = preconditioned(M=FILTER, steps=4, filtered=False)

    class Net:
        process, predicts = PROCESS, "score"

        def __call__(self, z, t):
            return (-z[0],)

    sgmsolve.solve(plan, Net(), X)
    assert count == {"to": 8, "from": 4}


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("kind", ["data", "v"])
def test_a_frame_of_the_target_itself_is_exact(library, kind) -> None:
    """With the target's own modes and mean nothing is left for the network to correct."""
    process = VP()
    plan = framed(process, Frame(FOURIER, FIELD.eigenvalues, FIELD.mean))
    x = np.random.default_rng(0).standard_normal((3, *SHAPE))
    found = sgmsolve.solve(plan, FIELD.model(process, kind), on(library, x), noise="philox", seed=1)
    y = FOURIER.forward(x - process.alpha(1.0) * FIELD.mean)
    draw = KeyedNoise(1, generator="philox").bind(plan, (y,))
    var = [
        process.alpha(u) ** 2 * FIELD.eigenvalues + process.sigma(u) ** 2
        for u in (1, 0.6, 0.3, 0.1)
    ]
    for r in range(3):
        y = np.sqrt(var[r + 1] / var[r]) * y + 0.1 * draw(r, 0)
    expected = FOURIER.inverse(y) + process.alpha(0.1) * FIELD.mean
    np.testing.assert_allclose(np.asarray(found.x), expected, atol=1e-13)


def test_hooks_see_states_and_runs_resume() -> None:
    process = VP()
    plan = framed(process, Frame(FOURIER, 1.3 * FIELD.eigenvalues, 0.7), denoise=True)
    model = FIELD.model(process)
    x = np.random.default_rng(0).standard_normal((3, *SHAPE))
    seen = []
    whole = sgmsolve.solve(plan, model, x, between=lambda r, z, t, model: seen.append((t, z[0])))
    assert [z.shape for _, z in seen] == [x.shape] * 4
    same = sgmsolve.solve(plan, model, x, between=lambda r, z, t, model: tuple(z))
    np.testing.assert_allclose(same.x, whole.x, atol=1e-14)
    stopped = sgmsolve.solve(plan, model, x, callback=lambda step: step.row == 1)
    np.testing.assert_allclose(stopped.x, seen[1][1], atol=1e-14)
    np.testing.assert_allclose(
        sgmsolve.solve(plan, model, None, resume=stopped.state).x, whole.x, atol=1e-14
    )


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("kind", ["data", "noise"])
def test_samples_with_grids_of_their_own_are_single_runs(library, kind) -> None:
    process = EDM()
    model = FIELD.model(process, kind)
    plans = [
        sgmsolve.build_plan(process, "edm-churn", grid=[a, a / 2, a / 4, 0.0], s_churn=1.0)
        for a in (1.0, 2.0, 3.0)
    ]
    noise = {"noise": "philox", "seed": 3}
    stacked = sgmsolve.solve(per_sample(plans), model, on(library, X / 50), **noise)
    for i, plan in enumerate(plans):
        alone = sgmsolve.solve(plan, model, X[i : i + 1] / 50, indices=[i], **noise)
        np.testing.assert_allclose(np.asarray(stacked.x)[i], alone.x[0], rtol=1e-12, atol=1e-13)


def test_what_does_not_fit_is_said_before_the_run() -> None:
    plan, model = preconditioned(M=FILTER), FIELD.model(PROCESS)
    with pytest.raises(Exception, match="for samples of shape"):
        sgmsolve.solve(plan, model, np.zeros((2, 5, 5)))
    stacked = per_sample([sgmsolve.build_plan(EDM(), "heun", grid=[1.0, 0.5])] * 2)
    with pytest.raises(BackendError, match="has 2 samples with times of their own, but the batch"):
        sgmsolve.solve(stacked, FIELD.model(EDM()), X)
    frame = framed(VP(), Frame(FOURIER, FIELD.eigenvalues))
    with pytest.raises(BackendError, match=r"modes of samples of shape \(4, 6\)"):
        sgmsolve.solve(frame, FIELD.model(VP()), np.zeros((2, 24)))


def test_another_grid_compiles_nothing() -> None:
    """Under jax a plan on another grid with the same operators runs the program that is there."""
    jax = pytest.importorskip("jax")
    from sgmsolve.backends import jax_scan

    plans = [preconditioned(M=FILTER, steps=4, filtered=f) for f in (True, False)]
    plans[1] = plans[1].replace(t=0.9 * plans[1].t, nodes=())
    model, x = FIELD.model(PROCESS), jax.numpy.asarray(X)
    results = [np.asarray(sgmsolve.solve(plan, model, x).x) for plan in plans]
    assert np.abs(results[0] - results[1]).max() > 1
    assert len(jax_scan._compiled[model]) == 1
    (program,) = jax_scan._compiled[model].values()
    assert program._cache_size() == 1


def test_states_of_other_operators_are_not_resumed() -> None:
    model = FIELD.model(PROCESS)
    stopped = sgmsolve.solve(preconditioned(M=FILTER), model, X, callback=lambda step: True)
    other = preconditioned(M=Spectral(FOURIER, 1.01 * FILTER.eigenvalues))
    with pytest.raises(BackendError, match="another plan"):
        sgmsolve.solve(other, model, None, resume=stopped.state)


@pytest.mark.parametrize("predicts", ["noise", "score", "v"])
def test_centred_predictions_of_every_kind(predicts) -> None:
    """A frame whose mean is not the data's, and a network of another kind than the plan's."""
    process = VP()

    def plan(frame):
        b = PlanBuilder(process, [1.0, 0.6, 0.3], predicts=predicts, frame=frame)
        for t, _ in b.steps():
            b.advance(0.9 * b.z + 0.1 * b.predict(b.z, t))
        return b.plan()

    frame = Frame(FOURIER, FIELD.eigenvalues, 0.7)
    x = np.random.default_rng(0).standard_normal((2, *SHAPE))
    model = FIELD.model(process, "data")
    found = sgmsolve.solve(plan(frame), model, x).x
    own = FIELD.model(process, predicts)
    y = x - process.alpha(1.0) * 0.7
    for t in (1.0, 0.6):
        a, b = process.conversion("data", predicts, t)
        centred = own((y + process.alpha(t) * 0.7,), t)[0]
        centred = centred - (float(a[0, 0]) * process.alpha(t) + float(b[0, 0])) * 0.7
        y = 0.9 * y + 0.1 * centred
    np.testing.assert_allclose(found, y + process.alpha(0.3) * 0.7, atol=1e-12)


def test_multiples_of_the_identity_join_other_gains() -> None:
    b = PlanBuilder(PROCESS, [1.0, 0.5], predicts="score", operands={"M": FILTER, "C": Scalar(1.7)})
    b.advance(b.z + b.operator("C M") @ b.predict(b.z, 1.0))
    (e,) = FIELD.model(PROCESS, "score")((X,), 1.0)
    found = sgmsolve.solve(b.plan(), FIELD.model(PROCESS), X).x
    np.testing.assert_allclose(found, X + 1.7 * FILTER.apply(e), rtol=1e-12)


@pytest.mark.parametrize("changed", [(0, 2), (1, 1)])
def test_states_of_other_skews_and_frames_are_not_resumed(changed) -> None:
    model = FIELD.model(PROCESS)
    first, other = (preconditioned(M=FILTER, S=Skew(SHAPE, d, 0.3)) for d in ((0, 1), changed))
    stopped = sgmsolve.solve(first, model, X, callback=lambda step: True)
    with pytest.raises(BackendError, match="another plan"):
        sgmsolve.solve(other, model, None, resume=stopped.state)
    space = SpaceThenFrequency(FILTER)
    stopped = sgmsolve.solve(preconditioned(M=space), model, X, callback=lambda step: True)
    with pytest.raises(BackendError, match="another plan"):
        sgmsolve.solve(preconditioned(M=Hidden(FILTER)), model, None, resume=stopped.state)


def test_sixteen_bit_samples_keep_the_digits_of_their_times() -> None:
    """Times and coefficients are held in 32 bits: a step costs one rounding of the state."""
    seen = []

    class Net:
        process, predicts = VP(), "data"

        def __call__(self, z, t):
            seen.append(np.asarray(t))
            return (0.5 * z[0],)

    times = [0.5179, 0.3011]
    plans = [sgmsolve.build_plan(VP(), "ddim-data", grid=[t, t / 2, t / 4]) for t in times]
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float16)
    found = sgmsolve.solve(per_sample(plans), Net(), x)
    assert found.x.dtype == np.float16
    np.testing.assert_allclose(seen[0], times, rtol=1e-6)
    for i, plan in enumerate(plans):
        exact = sgmsolve.solve(plan, Net(), x[i : i + 1].astype(np.float64)).x
        np.testing.assert_allclose(found.x[i], exact[0], rtol=3e-3, atol=1e-4)


def test_a_network_that_fails_names_a_time_of_its_samples() -> None:
    class Net:
        process, predicts = VP(), "data"

        def __call__(self, z, t):
            return (np.nan * z[0],)

    plans = [sgmsolve.build_plan(VP(), "ddim-data", grid=[t, t / 2]) for t in (0.5, 0.3)]
    with pytest.raises(SolveError, match=r"in row 0 of 1 at t = 0\.5"):
        sgmsolve.solve(per_sample(plans), Net(), np.zeros((2, 3)))
