"""Predictor-corrector plans against the published loop, their ends, claims, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from corrector_cases import FIELD, PROCESSES, SHAPE, TIMES, M, S, plain_pc, sizes

import sgmsolve
from sgmsolve import EDM, VE, VP, SubVP, build_plan
from sgmsolve.analysis import exact, order
from sgmsolve.analysis.order_problems import problem
from sgmsolve.backends import ReplayNoise
from sgmsolve.errors import AnalysisError, MethodError, PreconditionError, StabilityWarning
from sgmsolve.plan import Plan
from sgmsolve.precondition import Identity, Scalar, SpaceFrequency
from sgmsolve.target import GaussianField


def moves(name, predictor, times):
    """Published (x_mean - x of state, of score, noise std, alpha_j) at index j = T - 1 - i."""
    p, T = PROCESSES[name], len(times)
    betas = np.linspace(0.1 / T, 20 / T, T)
    sigmas = np.exp(np.linspace(np.log(0.01), np.log(5.0), T))
    for i, t in enumerate(times):
        j = T - 1 - i
        level = 1.0 if name == "VE" else 1 - betas[j]
        if predictor == "euler-maruyama" or name == "SubVP":
            f, g2 = float(p.f(t)) / T, float(p.g2(t)) / T
            yield t, -f, g2, g2**0.5, level
        elif name == "VE":
            below = sigmas[j - 1] if j else 0.0
            G2 = sigmas[j] ** 2 - below**2
            std = G2**0.5 * (below / sigmas[j] if predictor == "ancestral" else 1.0)
            yield t, 0.0, G2, std, level
        elif predictor == "ancestral":
            root = (1 - betas[j]) ** 0.5
            yield t, 1 / root - 1, betas[j] / root, betas[j] ** 0.5, level
        else:
            yield t, 1 - (1 - betas[j]) ** 0.5, betas[j], betas[j] ** 0.5, level


def loop(name, predictor, where, skew, steps, x, draws, h):
    """The sampler of sections 1, 2 and 4.4 of the spec; h are the plan's own step sizes."""
    score = FIELD.model(PROCESSES[name], predicts="score")
    A, S_ = M.gram, S.apply if skew else lambda v: 0 * v
    if where in ("published", "noise") or (where == "forward" and name == "VE"):
        x = M.apply(x)
    for t, f, g2, std, _ in moves(name, predictor, TIMES):
        for _ in range(steps):
            s, step = score((x,), t)[0], h.pop(0)
            drift = s if where == "noise" else A(s) + S_(s)
            x = x + step * drift + (2 * step) ** 0.5 * M.apply(next(draws))
        s, z = score((x,), t)[0], next(draws, 0 * x)
        if where in ("published", "forward"):
            mean = x + A(f * x + g2 * s) + g2 / 2 * S_(s)
        elif where == "exact-split":
            mean = x + f * x + g2 / 2 * (s + A(s) + S_(s))
        else:
            mean = x + f * x + g2 * s
        x = mean + std * (z if where == "corrector" else M.apply(z))
    return mean


@pytest.mark.filterwarnings("ignore::sgmsolve.errors.StabilityWarning")  # three long steps
@pytest.mark.parametrize("where", ["exact-split", "published", "noise", "corrector", "forward"])
@pytest.mark.parametrize(
    ("name", "predictor", "corrector"),
    [
        ("VE", "reverse-diffusion", "langevin"),
        ("VE", "ancestral", "ald"),
        ("VE", "euler-maruyama", "langevin"),
        ("VP", "reverse-diffusion", "ald"),
        ("VP", "ancestral", "langevin"),
        ("SubVP", "reverse-diffusion", "ald"),
    ],
)
def test_plans_are_the_published_loop(name, predictor, corrector, where):
    process, steps = PROCESSES[name], 2
    skew = where in ("exact-split", "corrector")
    final = "plain" if where == "corrector" else "predictor"
    plan = build_plan(
        process,
        "predictor-corrector",
        grid=TIMES,
        predictor=predictor,
        corrector=corrector,
        corrector_steps=steps,
        preconditioner=M,
        where=where,
        skew=S if skew else None,
        discretisation="score_sde",
        final=final,
        spectrum=FIELD if corrector == "langevin" else None,
    )
    assert plan.nfe == 3 * len(TIMES)
    rng = np.random.default_rng(1)
    x = 3 * rng.standard_normal((2, *SHAPE))
    draws = [rng.standard_normal(x.shape) for _ in range(3 * len(TIMES) - 1)]
    h = [sizes(plan, r) for r in range(plan.rows) if r % 3 < 2]
    wanted = loop(name, predictor, where, skew, steps, x, iter(draws), h)
    model = FIELD.model(process)
    found = sgmsolve.solve(plan, model, x, noise=ReplayNoise(draws)).x
    assert np.abs(found - wanted).max() < 1e-11 * np.abs(wanted).max()


TABLES = ("move", "kick", "noise", "prelude_move", "prelude_noise")


@pytest.mark.parametrize("where", ["exact-split", "published", "noise", "corrector", "forward"])
@pytest.mark.parametrize("one", [Identity(), Scalar(1.0)])
def test_the_identity_is_the_plain_sampler_bit_for_bit(where, one):
    for process in (VE(), VP(), EDM()):
        plain = build_plan(process, "pc", steps=9)
        given = build_plan(process, "pc", steps=9, preconditioner=one, where=where)
        assert all(np.array_equal(getattr(plain, n), getattr(given, n)) for n in TABLES)
        assert given.plain


def test_without_a_corrector_it_is_the_plain_predictor():
    for process, name in itertools.product((VP(), EDM()), ("reverse-diffusion", "ancestral")):
        a = build_plan(process, "pc", steps=8, corrector="none", predictor=name)
        b = build_plan(process, "ancestral", steps=8, denoise=True)
        if name == "reverse-diffusion":
            b = build_plan(process, name, steps=8, denoise=True)
            assert np.allclose(a.kick, b.kick, rtol=1e-13, atol=0)
            assert np.allclose(a.move[:-1], b.move[:-1], rtol=1e-13, atol=0)
        assert np.allclose(a.noise, b.noise, rtol=1e-13, atol=0)
    a = build_plan(VP(), "pc", steps=8, corrector="none", predictor="calibrated")
    b = build_plan(VP(), "calibrated", steps=8, denoise=True)
    assert all(np.allclose(getattr(a, n), getattr(b, n), rtol=1e-13, atol=0) for n in TABLES)


def test_a_single_step_to_the_data_is_refused():
    with pytest.raises(MethodError, match="at least one step before"):
        build_plan(EDM(), "pc", grid=[80.0, 0.0])


def test_the_last_row_is_the_mean_of_the_data():
    for process in (VE(), VP(), EDM()):
        for where, final, has_m in (
            ("published", "auto", True),
            ("published", "plain", False),
            ("exact-split", "auto", False),
            ("exact-split", "predictor", True),
        ):
            plan = build_plan(process, "pc", steps=4, preconditioner=M, where=where, final=final)
            assert any(part.kick[-1].any() for part in plan.parts) == has_m
            if not has_m:
                t = plan.t[-1]
                alpha = process.alpha(t)
                assert plan.move[-1, 0, 0] == pytest.approx(1 / alpha, rel=1e-12)
                assert plan.kick[-1, 0, 0, 0] == pytest.approx(process.sigma(t) ** 2 / alpha)
        none = build_plan(process, "pc", steps=4, final="none")
        assert none.rows == 8
        assert build_plan(process, "pc", steps=4, final="none", denoise=True).rows == 10
    whole = build_plan(EDM(), "pc", steps=5, grid="karras", grid_options={"final": "zero"})
    assert (whole.t_end, whole.rows) == (0.0, 10)


def test_a_claim_only_without_a_corrector_and_where_m_is_exact():
    claimed = {"corrector": "none"}
    assert plain_pc(VE(), **claimed).orders == {"weak": 1}
    assert plain_pc(VE(), **claimed, preconditioner=M).orders == {"weak": 1}
    for more in (
        {"corrector": "langevin"},
        {"preconditioner": M, "where": "published"},
        {"preconditioner": M, "where": "noise"},
        {"discretisation": "score_sde"},
    ):
        assert plain_pc(VE(), **{**claimed, **more}).orders == {}


def test_the_claim_that_is_measured_is_that_of_the_options(monkeypatch):
    monkeypatch.setattr(order, "LAST", 64)
    p = problem("gaussian", "edm-start")
    row = order.measure("predictor-corrector", p, corrector="none", final="none")
    assert (row.kind, row.claimed, row.status) == ("weak", 1, "ok")
    with pytest.raises(AnalysisError, match=r"claims no weak order .* these options"):
        order.measure("predictor-corrector", p)
    still = {"corrector": "none", "final": "none", "preconditioner": Scalar(0.0)}  # no noise
    assert order.measure("predictor-corrector", p, **still).kind == "deterministic"


@pytest.mark.parametrize("predictor", ["reverse-diffusion", "euler-maruyama", "ancestral"])
@pytest.mark.parametrize("options", [{}, {"preconditioner": M}, {"preconditioner": M, "skew": S}])
def test_the_claimed_order_on_a_gaussian(predictor, options):
    errors = []
    for steps in (100, 200):
        plan = build_plan(
            VP(),
            "pc",
            corrector="none",
            final="none",
            grid=np.linspace(0.9, 0.2, steps + 1),
            predictor=predictor,
            **options,
        )
        errors.append(exact.error(plan, FIELD0, VP(), "variance"))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


FIELD0 = GaussianField.power_law(SHAPE, 2.0, 0.3)
LEVELS = 1 + np.indices(SHAPE).sum(0) % 2 / 5
BOTH = SpaceFrequency(SHAPE, LEVELS, LEVELS)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"predictor": "euler"}, MethodError, "Did you mean"),
        ({"corrector": "langvin"}, MethodError, "Did you mean 'langevin'"),
        ({"where": "publshed"}, MethodError, "Did you mean 'published'"),
        ({"final": "mean"}, MethodError, "final"),
        ({"predictor": "none", "corrector": "none"}, MethodError, "nothing to do"),
        ({"corrector_steps": 0}, MethodError, "at least 1 step"),
        ({"snr": 0.0}, MethodError, "0 < snr"),
        ({"epsilon": -1.0}, MethodError, "positive epsilon"),
        ({"norms": "propagated"}, MethodError, "pass spectrum=target"),
        ({"spectrum": np.array([-1.0])}, MethodError, "at least 0"),
        ({"spectrum": [1.0]}, MethodError, "spectrum is a list"),
        ({"spectrum": np.ones(5), "preconditioner": M}, MethodError, "5 modes"),
        ({"preconditioner": np.eye(3)}, MethodError, "preconditioner is a ndarray"),
        ({"skew": M}, PreconditionError, "skew"),
        ({"skew": S, "where": "published"}, PreconditionError, "where='exact-split'"),
        ({"preconditioner": Scalar(0.0), "where": "published"}, PreconditionError, "singular"),
        ({"skew": Scalar(1.0)}, PreconditionError, "skew is a Scalar"),
        ({"discretisation": "score_sde", "grid": "karras"}, MethodError, "equal steps"),
        ({"discretisation": "score_sde", "process": EDM()}, MethodError, "VE, linear VP"),
        ({"discretisation": "score_sde", "process": VP(), "steps": 9}, MethodError, "beta_max/T"),
        (
            {"discretisation": "score_sde", "process": SubVP(), "predictor": "ancestral"},
            MethodError,
            "does not exist in score_sde",
        ),
        (
            {"where": "forward", "preconditioner": M, "process": SubVP()},
            MethodError,
            "use corrector='ald'",
        ),
        ({"where": "forward", "preconditioner": BOTH, "process": VP()}, MethodError, "this M is n"),
    ],
)
def test_bad_input_is_a_sentence(options, error, match):
    given = {"steps": 30, "grid": "uniform", **options}
    process = given.pop("process", VE())
    with pytest.raises(error, match=match):
        build_plan(process, "predictor-corrector", **given)


def test_plans_are_saved_with_their_rule(tmp_path):
    plan = plain_pc(VE(), preconditioner=M, spectrum=FIELD)
    plan.save(tmp_path / "plan.npz")
    again = Plan.load(tmp_path / "plan.npz")
    assert again.options["step_rule"] == "snr by marginal norms on GaussianField"
    assert again.options["preconditioner"] == "Spectral"
    assert str(again) == str(plan)


@pytest.mark.parametrize("where", ["published", "exact-split"])
def test_gains_too_large_for_the_steps_are_warned_of(where):
    """The released predictor multiplies noise by 1 - q m^2, the split one by 1 - q (1 + m^2)/2."""
    q = 1 - (0.01 / 50) ** (2 / 9)
    bound = (2.5 / q) ** 0.5 if where == "published" else (5 / q - 1) ** 0.5
    common = {"grid": "uniform", "grid_options": {"t_min": 0.0}, "steps": 9, "where": where}
    process = VE(0.01, 50.0)
    sgmsolve.build_plan(process, "pc", preconditioner=Scalar(0.99 * bound), **common)
    with pytest.warns(StabilityWarning, match="multiplies noise by -1.5"):
        sgmsolve.build_plan(process, "pc", preconditioner=Scalar(1.01 * bound), **common)
