"""The corrector that takes its step size from the norms of the run."""

from __future__ import annotations

import numpy as np
import pytest

import sgmsolve
from sgmsolve import EDM, VE, VP
from sgmsolve.adaptive.predictor_corrector import solve_with_norms
from sgmsolve.backends.noise import KeyedNoise
from sgmsolve.errors import (
    BackendError,
    IncompleteWarning,
    MethodError,
    PreconditionError,
    SolveError,
    Status,
)
from sgmsolve.precondition import Identity, Scalar, Skew, Spectral
from sgmsolve.reverse import ProbabilityFlow, ReverseSDE
from sgmsolve.target import Gaussian, GaussianField

SHAPE = (3, 5)
FIELD = GaussianField.power_law(SHAPE, 2.0, 0.3, mean=0.2)
GAINS = np.random.default_rng(0).uniform(0.85, 1.3, SHAPE)
GAINS = (GAINS + np.roll(GAINS[::-1, ::-1], 1, axis=(0, 1))) / 2
M, S = Spectral(FIELD.transform, GAINS), Skew(SHAPE, (1, 2), 0.4)
VE5 = VE(0.01, 5.0)
TIMES = np.linspace(1.0, 0.0, 9)
Z = 5 * np.random.default_rng(1).standard_normal((6, *SHAPE))


def run(z=Z, process=VE5, times=TIMES, M=None, where="exact-split", skew=None, **options):
    sde = ReverseSDE(process, FIELD.model(process), 1.0, M, where, skew)
    options = {"norms": "sample", **options}
    return solve_with_norms(sde, z, times, **options)


def loop(norms, where, x, steps=2, snr=0.16, seed=3):
    """Sections 1, 2.3 and 2.4 of the spec on VE's grid, with the draws of the run."""
    score = FIELD.model(VE5, predicts="score")
    draw = KeyedNoise(seed).bind(None, (x,))
    sigma = VE5.sigma(TIMES)
    for i, t in enumerate(TIMES):
        for k in range(steps):
            s, zeta = score((x,), t)[0], M.apply(draw(i, 1 + k))
            g = s if where == "noise" else M.gram(s)
            up, down = (np.sqrt((v**2).sum(axis=(1, 2), keepdims=True)) for v in (zeta, g))
            ratio = up.mean() / down.mean() if norms == "batch" else up / down
            h = 2 * (snr * ratio) ** 2
            x = x + h * g + np.sqrt(2 * h) * zeta
        s = score((x,), t)[0]
        if i == len(TIMES) - 1:
            return x + sigma[i] ** 2 * (M.gram(s) if where == "published" else s)
        v = sigma[i] ** 2 - sigma[i + 1] ** 2
        rate = {"published": M.gram(s), "exact-split": (s + M.gram(s)) / 2}.get(where, s)
        z = draw(i, 0)
        x = x + v * rate + v**0.5 * (z if where == "corrector" else M.apply(z))
    return x


@pytest.mark.parametrize("norms", ["sample", "batch"])
@pytest.mark.parametrize("where", ["exact-split", "published", "noise", "corrector"])
def test_it_is_the_published_loop(norms, where):
    found = run(M=M, where=where, norms=norms, corrector_steps=2, seed=3)
    assert np.abs(found.x - loop(norms, where, Z)).max() < 1e-12
    assert (found.nfe == 3 * len(TIMES)).all()
    assert (found.t == 0.0).all()
    assert found.status is Status.FINISHED
    assert found.rows == 6 * 27


@pytest.mark.parametrize("discretisation", ["exact", "score_sde"])
def test_the_corrector_alone_under_vp_with_a_skew_term(discretisation):
    """alpha_j in h, which S does not change; all rows are correctors."""
    process, times = VP(), np.linspace(1.0, 0.04, 25)
    score, x = FIELD.model(process, predicts="score"), Z
    levels = np.append((process.alpha(times[:-1]) / process.alpha(times[1:])) ** 2, 1.0)
    if discretisation == "score_sde":
        levels = 1 - np.linspace(20 / 25, 0.1 / 25, 25)
    draw = KeyedNoise(6).bind(None, (x,))
    for i, t in enumerate(times):
        s, zeta = score((x,), t)[0], M.apply(draw(i, 1))
        up, down = (np.sqrt((v**2).sum(axis=(1, 2), keepdims=True)) for v in (zeta, M.gram(s)))
        h = 2 * (0.3 * up / down) ** 2 * levels[i]
        x = x + h * (M.gram(s) + S.apply(s)) + np.sqrt(2 * h) * zeta
    options = {"predictor": "none", "final": "none", "discretisation": discretisation}
    found = run(process=process, times=times, M=M, skew=S, seed=6, snr=0.3, **options)
    assert np.abs(found.x - x).max() < 1e-12
    assert (found.nfe == 25).all()


def test_nfe_counts_what_the_network_is_asked():
    for options in ({}, {"corrector_steps": 3}, {"predictor": "none"}, {"final": "none"}):
        calls = []

        def net(x, t, calls=calls):
            calls.append(x.shape[0])
            return -x / (1 + t**2)

        sde = ReverseSDE(VE5, sgmsolve.as_model(net, VE5, predicts="score"))
        found = solve_with_norms(sde, Z, TIMES, **options)
        assert (found.nfe == len(calls)).all(), options
        assert found.rows == sum(calls)


def test_samples_do_not_depend_on_their_batch_mates():
    whole = run(M=M, seed=5)
    part = run(Z[2:5], M=M, seed=5, indices=np.arange(2, 5))
    assert np.array_equal(whole.x[2:5], part.x)
    order = np.array([4, 1, 3])
    assert np.array_equal(whole.x[order], run(Z[order], M=M, seed=5, indices=order).x)
    batch = run(M=M, norms="batch", seed=5)
    assert not np.array_equal(batch.x[2:5], run(Z[2:5], M=M, norms="batch", seed=5).x)
    alone = run(Z[3:4], M=M, norms="batch", indices=[3], seed=5)
    assert np.allclose(whole.x[3:4], alone.x, rtol=1e-13, atol=0)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_the_same_on_other_libraries(library):
    short = {"times": TIMES[::4], "M": M, "skew": S, "seed": 2, "generator": "philox"}
    wanted = run(**short).x
    if library == "torch":
        torch = pytest.importorskip("torch")
        z = torch.tensor(Z)
        found = run(z, **short).x
        part = run(z[2:5], **short, indices=np.arange(2, 5)).x
        assert torch.equal(found[2:5], part)
        assert run(z.float(), M=M, skew=S).x.dtype == torch.float32
    else:
        jax = pytest.importorskip("jax")
        with jax.enable_x64(True):
            found = np.asarray(run(jax.numpy.asarray(Z), **short).x)
    assert np.abs(np.asarray(found) - wanted).max() < 1e-12


def test_the_identity_is_the_plain_sampler_bit_for_bit():
    plain = run()
    for one in (Identity(), Scalar(1.0)):
        for where in ("exact-split", "published", "noise", "corrector", "forward"):
            assert np.array_equal(plain.x, run(M=one, where=where).x)


@pytest.mark.parametrize("norms", ["sample", "batch"])
def test_a_scalar_leaves_the_corrector_alone(norms):
    options = {"predictor": "none", "final": "plain", "norms": norms, "snr": 0.4}
    plain = run(**options)
    scaled = run(M=Scalar(1.7), where="published", **options)
    assert np.abs(plain.x - scaled.x).max() < 1e-13 * np.abs(plain.x).max()


def test_norms_of_single_samples_cost_four_over_d_of_the_variance():
    """2/d as the law ~ p |s|^2 is stationary for steps ~ 1/|s|^2, and 2/d as |zeta| widens zeta."""
    d, process = 16, VE(0.01, 20.0)
    target = Gaussian(np.zeros(d), np.eye(d))
    call = {"shape": (d,), "batch": 4000, "seed": 1, "steps": 60, "predictor": "calibrated"}
    found = {
        norms: sgmsolve.sample(
            process, target.model(process), method="pc-norms", norms=norms, **call
        ).x.var()
        for norms in ("sample", "batch")
    }
    plan = sgmsolve.build_plan(
        process, "pc", steps=60, norms="propagated", spectrum=target, predictor="calibrated"
    )
    law = sgmsolve.analysis.exact.output_moments(plan, target, process, "prior")
    spread = 4.5 * np.sqrt(2 / (4000 * d))
    assert found["batch"] == pytest.approx(law.covariance[0, 0, 0], abs=spread)
    assert found["sample"] / found["batch"] - 1 == pytest.approx(4 / d, abs=1.5 * spread)


@pytest.mark.parametrize("process", [VE5, VP(), EDM()])
def test_sample_runs_it_and_filters_the_start_once(process):
    call = {"shape": SHAPE, "batch": 3, "seed": 4, "steps": 12, "corrector_steps": 2}
    call |= {"preconditioner": M, "where": "published", "norms": "sample"}
    model = FIELD.model(process)
    found = sgmsolve.sample(process, model, method="predictor-corrector-norms", **call)
    times = sgmsolve.grid.make(sgmsolve.grid.default_grid(process), process, 12)
    z = M.apply(sgmsolve.sampling.start(process, times[0], np.zeros((3, *SHAPE)), seed=4)[0])
    wanted = run(z, process, times, M=M, where="published", corrector_steps=2, seed=4)
    assert np.array_equal(found.x, wanted.x)
    assert (found.nfe == 39).all()


def test_what_is_not_finite_is_reported():
    def net(x, t):
        return np.where(np.arange(len(x))[:, None, None] == 1, np.nan, -x / (1 + t**2))

    sde = ReverseSDE(VE5, sgmsolve.as_model(net, VE5, predicts="score"))
    for norms in ("batch", "sample"):
        with pytest.warns(IncompleteWarning, match="1 of 6 samples"):
            found = solve_with_norms(sde, Z, TIMES, norms=norms)
        assert found.statuses[1] is Status.NONFINITE
        assert found.finished.sum() == 5
    with pytest.raises(SolveError, match="1 of 6"):
        solve_with_norms(sde, Z, TIMES, on_failure="raise")


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"norms": "batches"}, MethodError, "Did you mean 'batch'"),
        ({"predictor": "euler"}, MethodError, "Did you mean"),
        ({"final": "mean"}, MethodError, "final"),
        ({"snr": -1.0}, MethodError, "0 < snr"),
        ({"corrector_steps": 0}, MethodError, "at least 1"),
        ({"z": Z[:, :2], "M": M}, PreconditionError, "shape"),
        ({"z": Z.astype(int)}, BackendError, "floating"),
    ],
)
def test_bad_input_is_a_sentence(options, error, match):
    with pytest.raises(error, match=match):
        run(**options)


def test_other_equations_are_refused():
    model = FIELD.model(VE5)
    for sde in (ProbabilityFlow(VE5, model), ReverseSDE(VE5, model, 0.5)):
        with pytest.raises(MethodError, match="eta = 1"):
            solve_with_norms(sde, Z, TIMES)
    with pytest.raises(MethodError, match=r"no steps, expected steps"):
        sgmsolve.sample(VE5, model, shape=SHAPE, method="pc-norms")


@pytest.mark.parametrize("options", [{}, {"corrector_steps": 2}, {"final": "none"}])
@pytest.mark.parametrize("predictor", ["reverse-diffusion", "none"])
def test_budgets_are_what_a_run_spends(options, predictor):
    """(corrections + 1) a step and for the mean at the end; what is left is less than a step."""
    process = VP()
    model = Gaussian([0.0, 0.0], 1.0).model(process)
    given = {"predictor": predictor, **options}
    found = sgmsolve.sample(process, model, method="pc-norms", nfe=13, shape=(2,), **given)
    steps = int(found.accepted[0])
    assert found.nfe[0] <= 13
    more = sgmsolve.sample(process, model, method="pc-norms", steps=steps + 1, shape=(2,), **given)
    assert more.nfe[0] > 13


def test_a_zero_preconditioner_is_refused():
    process = VP()
    model = Gaussian([0.0, 0.0], 1.0).model(process)
    for method in ("pc", "pc-norms"):
        with pytest.raises(MethodError, match="the preconditioner is 0"):
            sgmsolve.sample(
                process, model, method=method, steps=3, shape=(2,), preconditioner=Scalar(0.0)
            )
    plan = sgmsolve.build_plan(
        process, "pc", steps=3, preconditioner=Scalar(0.0), corrector="none", final="none"
    )
    assert not plan.stochastic  # the probability flow
    with pytest.raises(MethodError, match="leaves the preconditioner nothing to do"):
        sgmsolve.build_plan(
            process, "pc", steps=3, preconditioner=Scalar(2.0), where="corrector", corrector="none"
        )
