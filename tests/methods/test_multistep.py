"""Multistep methods as plans: identities, polynomial exactness, ends, starts and options."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import toy

from sgmsolve.backends import numpy_loop
from sgmsolve.errors import MethodError, ProcessError
from sgmsolve.methods.multistep import matched_step
from sgmsolve.methods.registry import all_methods, find
from sgmsolve.plan import PlanBuilder
from sgmsolve.process import EDM, VP, Flow

DETERMINISTIC = [m.name for m in all_methods() if m.family == "multistep"]
STOCHASTIC = [m.name for m in all_methods() if m.family == "SDE multistep"]


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("eta", [0.3, 1.0, 1.7])
def test_a_point_mass_is_sampled_exactly(name, eta):
    # With x0 known every prediction is exact, so mean and variance must be: alpha x0 and sigma^2.
    process = VP()
    option = {"tau": eta} if name == "sa-solver" else {"eta": eta}
    plan = find(name)(process, [0.9, 0.6, 0.35, 0.3, 0.1], **option)
    response = plan.response()
    sigma_t, sigma_s = process.sigma(0.9), process.sigma(0.1)
    variance = response.z0[0, 0] ** 2 * sigma_t**2 + (response.noise**2).sum()
    assert abs(variance / sigma_s**2 - 1) < 1e-13
    mean = response.z0[0, 0] * process.alpha(0.9) + response.predictions.sum()
    assert abs(mean / process.alpha(0.1) - 1) < 1e-13


# --- identities


def as_map(name, process, grid, **options):
    """Result on the mixture: what the method does, whatever it predicts."""
    method = find(name)
    plan = method(process, grid, **options)
    x = process.sigma(grid[0]) * np.linspace(-1.5, 1.5, 5)
    return numpy_loop.run(plan, toy.predictor(process, method.predicts), (x,), None)[0]


RAGGED = [0.95, 0.7, 0.66, 0.4, 0.31, 0.12, 0.03]


@pytest.mark.parametrize(
    "name", ["unip-1", "deis-tab-1", "deis-rhoab-1", "lms-1", "ipndm-1", "dpm++1"]
)
@pytest.mark.parametrize("process", [VP(), Flow()], ids=["vp", "flow"])
def test_one_prediction_is_ddim(name, process):
    ddim = as_map("ddim", process, RAGGED)
    assert np.allclose(as_map(name, process, RAGGED), ddim, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("sa-solver", {"tau": 0.0}), ("unipc-3", {"weights": "exact"})),
        (
            ("sa-solver", {"tau": 0.0, "predictor": 2, "corrector": 0}),
            ("dpm++2m", {"weights": "exact"}),
        ),
        (("sa-solver", {"tau": 0.0, "predictor": 3, "corrector": 0}), ("dpm++3m", {})),
        (("sde-dpm++2m", {"eta": 0.0}), ("dpm++2m", {})),
        (("sde-dpm++2m", {"eta": 0.0, "weights": "exact"}), ("dpm++2m", {"weights": "exact"})),
        (("sde-dpm++3m", {"eta": 0.0}), ("dpm++3m", {})),
        (("unip-3", {"weights": "exact"}), ("dpm++3m", {})),
        (("unip-2", {}), ("dpm++2m", {})),
        (("sde-dpm++2m", {"weights": "exact"}), ("sa-solver", {"predictor": 2, "corrector": 0})),
        (("sde-dpm++3m", {}), ("sa-solver", {"predictor": 3, "corrector": 0})),
        (("unipc-3", {"variant": "bh1", "weights": "exact"}), ("unipc-3", {"weights": "exact"})),
        (("lms-3", {}), ("deis-rhoab-3", {})),
        (("ipndm-v", {}), ("deis-rhoab-4", {})),
    ],
)
def test_identities_between_tables(one, other):
    plans = [find(n)(VP(), RAGGED, **o) for n, o in (one, other)]
    a, b = (p.response().flat() for p in plans)
    assert a.shape == b.shape
    assert np.abs(a - b).max() < 1e-13 * np.abs(b).max()


def test_variable_step_adams_is_the_uniform_one_on_a_grid_uniform_in_rho():
    grid = np.linspace(3.0, 0.5, 9)
    for k in (1, 2, 3, 4):
        uniform = find(f"ipndm-{k}")(EDM(), grid).response().flat()
        assert np.allclose(
            find(f"deis-rhoab-{k}")(EDM(), grid).response().flat(), uniform, atol=1e-13
        )
        # EDM has t = rho, so the two DEIS variables are one.
        assert np.allclose(
            find(f"deis-tab-{k}")(EDM(), grid).response().flat(), uniform, atol=1e-12
        )


def test_data_and_noise_methods_differ_but_unipc_1_variants_are_distinct():
    a = as_map("unipc-1", VP(), RAGGED, variant="bh1")
    b = as_map("unipc-1", VP(), RAGGED, variant="bh2")
    c = as_map("unipc-noise-1", VP(), RAGGED)
    assert min(np.abs(a - b).max(), np.abs(b - c).max()) > 1e-4


def test_pndm_start_is_classical_runge_kutta_where_time_is_rho():
    b = PlanBuilder(EDM(), [2.0, 1.3], predicts="noise")
    for t, s in b.steps():
        b.advance(matched_step(b, 4, t, s, b.predict(b.z, t)))
    classical, pndm = b.plan(), find("pndm")(EDM(), [2.0, 1.3])
    for table in ("t", "move", "kick"):
        assert np.allclose(getattr(pndm, table), getattr(classical, table), rtol=0, atol=1e-15)


def test_pndm_starts_with_three_runge_kutta_steps():
    assert find("pndm")(VP(), RAGGED).nfe == 6 + 3 * 3
    # One step on a prediction linear in rho at the ends and the middle: Simpson's rule in e.
    plan = find("pndm")(EDM(), [2.0, 1.0])
    assert plan.t.tolist() == [2.0, 1.5, 1.5, 1.0]
    assert np.allclose(plan.response().predictions.ravel(), [-1 / 6, -1 / 3, -1 / 3, -1 / 6])


# --- polynomial predictions

EXACT = [
    *((f"deis-tab-{k}", k, "t", {}) for k in (1, 2, 3, 4)),
    *((f"deis-rhoab-{k}", k, "rho", {}) for k in (1, 2, 3, 4)),
    *((f"unip-{k}", k, "lam", {"weights": "exact"}) for k in (2, 4)),
    *((f"unipc-{k}", k, "lam", {"weights": "exact"}) for k in (2, 4)),
    *((f"unipc-noise-{k}", k, "lam", {"weights": "exact"}) for k in (2, 4)),
    ("dpm++2m", 2, "lam", {"weights": "exact"}),
    ("dpm-solver-2m", 2, "lam", {"weights": "exact"}),
    ("dpm++3m", 3, "lam", {}),
    ("dpm-solver-3m", 3, "lam", {}),
]


NODES, GAUSS = np.polynomial.legendre.leggauss(40)


def integral(function, start, end):
    points = start + (end - start) * (1 + NODES) / 2
    return (
        (end - start) / 2 * sum(w * function(float(t)) for t, w in zip(points, GAUSS, strict=True))
    )


@pytest.mark.parametrize(("name", "k", "variable", "options"), EXACT)
def test_polynomial_predictions_are_integrated_exactly(name, k, variable, options):
    # Once k predictions are there (a corrector works one step later), no step may add an error:
    # x/alpha (noise) or x/sigma (data) keeps the error the start made. The polynomial is of degree
    # k - 1 in the method's own variable.
    process, method = VP(), find(name)
    grid = [0.6, 0.52, 0.47, 0.4, 0.37, 0.25, 0.19]
    u = {"t": lambda t: t, "rho": process.rho, "lam": process.lam}[variable]

    def q(t):
        return sum((i + 1) * (u(t) - 0.3) ** i for i in range(k))

    def rate(t):
        rho_rate = process.g2(t) / (2 * process.alpha(t) * process.sigma(t))
        return rho_rate if method.predicts == "noise" else -rho_rate / process.rho(t) ** 2

    scale = process.alpha if method.predicts == "noise" else process.sigma
    plan = method(process, grid, **options)
    values, exact, errors = [q(t) for t in plan.t], 0.0, []
    for i, response in enumerate(plan.node_responses()):
        exact += integral(lambda t: q(t) * rate(t), grid[i - 1], grid[i]) if i else 0.0
        y = float((response.predictions[:, 0, 0] * values).sum()) / scale(grid[i])
        errors.append(y - exact)
    full = errors[k if name.startswith("unipc") else k - 1 :]
    assert len(full) >= 3
    assert np.ptp(full) < 1e-12 * max(1.0, *map(abs, errors), *map(abs, values))
    if k > 1:
        assert abs(errors[1]) > 1e-4  # the Euler start makes one, so the test sees errors


# --- ends, short grids, options


@pytest.mark.parametrize("name", [*DETERMINISTIC, *STOCHASTIC])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_grids_and_both_ends(name, steps):
    method = find(name)
    starts = [{"start": s} for s in method.starts] if "start" in method.options else [{}]
    for options in starts:
        plan = method(VP(), np.linspace(0.9, 0.1, steps + 1), **options)
        if options.get("start", "published") == "published" and name != "pndm":
            assert plan.nfe == steps
        assert np.isfinite(plan.response().flat()).all()
        ends_clean = method(EDM(), [*np.linspace(3.0, 1.0, steps), 0.0], **options)
        assert ends_clean.t_end == 0
        # The last row is the data prediction: with noise = x / sigma (data 0) nothing is left.
        last = ends_clean.response().predictions[-1, 0, 0]
        assert last == pytest.approx(1.0 if method.predicts == "data" else -ends_clean.t[-1])
        denoised = method(VP(), np.linspace(0.9, 0.1, steps + 1), denoise=True, **options)
        assert denoised.nfe == plan.nfe + 1
        assert denoised.t[-1] == 0.1


@pytest.mark.parametrize("name", ["dpm++2m", "dpm++3m", "unipc-3", "sde-dpm++2m", "sa-solver"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_data_methods_start_where_alpha_vanishes(name, steps):
    plan = find(name)(Flow(), np.linspace(1.0, 0.1, steps + 1))
    assert plan.nfe == steps
    # A known x0 must come out as alpha x0 whatever the start: the weights of x0 sum to alpha.
    process = Flow()
    assert abs(plan.response().predictions.sum() / process.alpha(0.1) - 1) < 1e-12
    # The history starts afresh: the second step is the first order step.
    if steps > 1:
        t, s = plan.t[1], (plan.t[2] if steps > 2 else 0.1)
        if name != "sde-dpm++2m" and name != "sa-solver":
            fresh = find("dpm++1")(process, [t, s]).kick[0, 0, 0, 0]
            assert plan.kick[1, 0, 0, 0] == pytest.approx(fresh, rel=1e-12)


@pytest.mark.parametrize("name", ["deis-tab-3", "lms-2", "unipc-noise-2", "pndm"])
def test_noise_methods_say_where_they_can_start(name):
    with pytest.raises(ProcessError, match="start at t <="):
        find(name)(Flow(), np.linspace(1.0, 0.1, 5))


@pytest.mark.parametrize(
    ("name", "rows"), [("dpm++3m", 2 + 2 + 8), ("deis-tab-4", 9 + 7), ("unipc-4", 12 + 7)]
)
def test_matched_start_counts_its_extra_rows(name, rows):
    assert find(name)(VP(), np.linspace(0.9, 0.1, 11), start="matched").nfe == rows


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("dpm++2m", {"weights": "exakt"}, "'exact'"),
        ("dpm++3m", {"start": "warm"}, "published"),
        ("unipc-2", {"variant": "bh3"}, "'bh"),
        ("unipc-2", {"solver_type": "bh2"}, "solver_type"),
        ("deis-tab-3", {"start": "match"}, "'matched'"),
        ("sde-dpm++2m", {"eta": -0.1}, "eta = -0.1"),
        ("sa-solver", {"tau": float("nan")}, "tau = nan"),
        ("sa-solver", {"predictor": 0}, "predictor = 0"),
        ("sa-solver", {"corrector": 5}, "corrector = 5"),
    ],
)
def test_wrong_options_are_sentences(name, options, sentence):
    with pytest.raises(MethodError, match=sentence.replace("+", r"\+")):
        find(name)(VP(), RAGGED, **options)


@pytest.mark.parametrize("name", ["dpm++2m", "deis-tab-3", "unipc-3", "pndm", "sa-solver"])
def test_plans_can_be_built_in_multiprecision(name):
    with mpmath.workdps(40):
        exact = find(name)(EDM(), [mpmath.mpf(v) / 10 for v in (20, 13, 9, 5, 2)])
        assert exact.move.dtype == object
        a = exact.response().flat()
    b = find(name)(EDM(), [2.0, 1.3, 0.9, 0.5, 0.2]).response().flat()
    assert np.abs(a.astype(float) - b).max() < 1e-14 * np.abs(b).max()
