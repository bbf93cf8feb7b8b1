"""Multistep methods as plans: identities, polynomial exactness, ends, starts and measured orders."""

from __future__ import annotations

import functools

import mpmath
import numpy as np
import pytest

from sgmsolve.backends import numpy_loop
from sgmsolve.errors import MethodError
from sgmsolve.methods.multistep import matched_step
from sgmsolve.methods.registry import find
from sgmsolve.plan import PlanBuilder
from sgmsolve.process import EDM, VP, Flow

MEANS, WEIGHTS, STDS = np.array([-1.0, 0.6, 2.0]), np.array([0.3, 0.5, 0.2]), 0.35
EDM_RANGE = (2.0, 0.1)

DETERMINISTIC = [
    "dpm++2m",
    "dpm++3m",
    "dpm-solver-2m",
    "dpm-solver-3m",
    *(f"{n}-{k}" for n in ("deis-tab", "deis-rhoab", "unip") for k in (1, 2, 3, 4)),
    *(f"{n}-{k}" for n in ("unipc", "unipc-noise") for k in (1, 2, 3, 4)),
    "pndm",
    *(f"ipndm-{k}" for k in (1, 2, 3, 4)),
]
STOCHASTIC = ["sde-dpm++2m", "sde-dpm++3m", "sa-solver"]


def edm_grid(steps):
    high, low = EDM_RANGE
    return np.linspace(high ** (1 / 3), low ** (1 / 3), steps + 1) ** 3


def mixture_noise(process, x, t):
    """Noise prediction of a three-component mixture in one dimension."""
    a, s = process.alpha(t), process.sigma(t)
    v = a * a * STDS**2 + s * s
    d = x[:, None] - a * MEANS
    log_w = np.log(WEIGHTS) - 0.5 * d * d / v
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))
    return s * (w * d / v).sum(axis=1) / w.sum(axis=1)


def mixture(process, kind):
    def predict(z, t):
        noise = mixture_noise(process, z[0], t)
        if kind == "noise":
            return (noise,)
        return ((z[0] - process.sigma(t) * noise) / process.alpha(t),)

    return predict


START = 2.0 * np.linspace(-1.6, 1.7, 6)


@functools.cache
def reference():
    """Classical Runge-Kutta with 3000 steps in log sigma, EDM; error below 1e-12."""
    process, x = EDM(), START
    u, end = np.log(EDM_RANGE)
    h = (end - u) / 3000

    def slope(v, y):
        return np.exp(v) * mixture_noise(process, y, float(np.exp(v)))

    for _ in range(3000):
        k1 = slope(u, x)
        k2 = slope(u + h / 2, x + h / 2 * k1)
        k3 = slope(u + h / 2, x + h / 2 * k2)
        k4 = slope(u + h, x + h * k3)
        x, u = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), u + h
    return x


def slopes(name, sizes, **options):
    method, process = find(name), EDM()
    errors = []
    for n in sizes:
        plan = method(process, edm_grid(n), **options)
        out = numpy_loop.run(plan, mixture(process, method.predicts), (START,), None)[0]
        errors.append(np.sqrt(np.mean((out - reference()) ** 2)))
    e = np.array(errors)
    return np.log2(e[:-1] / e[1:])


# --- measured orders ------------------------------------------------------------------------------


def claims():
    for name in DETERMINISTIC:
        method = find(name)
        for start in method.starts:
            options = {"start": start} if "start" in method.options else {}
            order = method.claims(start)["deterministic"]
            yield pytest.param(name, options, order, id=f"{name}-{start}")
    yield pytest.param("dpm++2m", {"weights": "exact"}, 2, id="dpm++2m-exact")
    for variant in ("bh1", "bh2"):
        for p in (1, 2):
            yield pytest.param(
                f"unipc-{p}", {"variant": variant, "weights": "published"}, p + 1,
                id=f"unipc-{p}-{variant}",
            )
    yield pytest.param("unipc-2", {"weights": "exact"}, 3, id="unipc-2-exact")
    yield pytest.param("unipc-noise-1", {"variant": "bh1"}, 2, id="unipc-noise-1-bh1")
    for k, c, order in ((1, 0, 1), (2, 0, 2), (1, 1, 2), (2, 1, 2), (2, 2, 3), (3, 3, 3)):
        options = {"predictor": k, "corrector": c, "tau": 0.0}
        yield pytest.param("sa-solver", options, order, id=f"sa-solver-{k}-{c}")
    for name in ("sde-dpm++2m", "sde-dpm++3m"):
        yield pytest.param(name, {"eta": 0.0}, 2, id=f"{name}-eta0")


# Where a higher-order error hides the start's at first, the claim shows on finer grids only.
SIZES = {3: (256, 512, 1024), 4: (128, 256, 512)}


@pytest.mark.parametrize(("name", "options", "order"), claims())
def test_claimed_order_on_a_mixture(name, options, order):
    published = options.get("start", "published") == "published"
    sizes = SIZES.get(order if published else 0, (64, 128, 256)) if order > 2 else (128, 256, 512)
    if order == 5:
        sizes = (64, 128, 256)
    assert abs(slopes(name, sizes, **options)[-1] - order) < 0.2


@pytest.mark.parametrize("kind", ["noise", "data"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_matched_step_has_its_order(kind, order):
    process, errors = EDM(), []
    for n in (16, 32, 64):
        b = PlanBuilder(process, edm_grid(n), predicts=kind)
        for t, s in b.steps():
            b.advance(matched_step(b, order, t, s, b.predict(b.z, t)))
        plan = b.plan()
        assert plan.nfe == order * n
        out = numpy_loop.run(plan, mixture(process, kind), (START,), None)[0]
        errors.append(np.sqrt(np.mean((out - reference()) ** 2)))
    assert abs(np.log2(errors[-2] / errors[-1]) - order) < 0.35


# --- weak orders on a Gaussian, without sampling ----------------------------------------------------


def output_variance(plan, kind, data_variance):
    """Variance of the output for x0 ~ N(0, data_variance): the plan runs on basis vectors."""
    process = EDM()
    columns = [(r, j) for r in range(plan.rows) for j in plan.active_draws(r)]
    position = {c: i + 1 for i, c in enumerate(columns)}
    z = np.zeros(len(columns) + 1)
    z[0] = np.sqrt(data_variance + plan.t_start**2)

    def predict(state, t):
        total = data_variance + t * t
        factor = {"data": data_variance / total, "noise": process.sigma(t) / total}[kind]
        return (factor * state[0],)

    def draw(r, j):
        unit = np.zeros(len(columns) + 1)
        unit[position[r, j]] = 1
        return unit

    return float((numpy_loop.run(plan, predict, (z,), draw)[0] ** 2).sum())


@pytest.mark.parametrize(
    ("name", "options", "order"),
    [
        ("sde-dpm++2m", {}, 2),
        ("sde-dpm++2m", {"weights": "exact"}, 2),
        ("sde-dpm++2m", {"eta": 0.5}, 2),
        ("sde-dpm++3m", {}, 2),
        ("sa-solver", {}, 2),
        ("sa-solver", {"predictor": 1, "corrector": 0}, 1),
        ("sa-solver", {"predictor": 1, "corrector": 1}, 2),
        ("sa-solver", {"predictor": 2, "corrector": 0, "tau": 0.7}, 2),
    ],
)
def test_weak_order(name, options, order):
    exact, errors = 0.5 + EDM_RANGE[1] ** 2, []
    for n in (64, 128, 256):
        plan = find(name)(EDM(), edm_grid(n), **options)
        errors.append(abs(output_variance(plan, "data", 0.5) - exact))
    assert abs(np.log2(errors[-2] / errors[-1]) - order) < 0.2


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


# --- identities -------------------------------------------------------------------------------------


def as_map(name, process, grid, kind, **options):
    """Result on the mixture: what the method does, whatever it predicts."""
    method = find(name)
    plan = method(process, grid, **options)
    x = process.sigma(grid[0]) * np.linspace(-1.5, 1.5, 5)
    return numpy_loop.run(plan, mixture(process, method.predicts), (x,), None)[0]


RAGGED = [0.95, 0.7, 0.66, 0.4, 0.31, 0.12, 0.03]


@pytest.mark.parametrize(
    "name", ["unip-1", "deis-tab-1", "deis-rhoab-1", "lms-1", "ipndm-1", "dpm++1"]
)
@pytest.mark.parametrize("process", [VP(), Flow()], ids=["vp", "flow"])
def test_one_prediction_is_ddim(name, process):
    ddim = as_map("ddim", process, RAGGED, "noise")
    assert np.allclose(as_map(name, process, RAGGED, ""), ddim, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("sa-solver", {"tau": 0.0}), ("unipc-3", {"weights": "exact"})),
        (("sa-solver", {"tau": 0.0, "predictor": 2, "corrector": 0}), ("dpm++2m", {"weights": "exact"})),
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
        assert np.allclose(find(f"deis-rhoab-{k}")(EDM(), grid).response().flat(), uniform, atol=1e-13)
        # EDM has t = rho, so the two DEIS variables are one.
        assert np.allclose(find(f"deis-tab-{k}")(EDM(), grid).response().flat(), uniform, atol=1e-12)


def test_data_and_noise_methods_differ_but_unipc_1_variants_are_distinct():
    a = as_map("unipc-1", VP(), RAGGED, "", variant="bh1")
    b = as_map("unipc-1", VP(), RAGGED, "", variant="bh2")
    c = as_map("unipc-noise-1", VP(), RAGGED, "")
    assert min(np.abs(a - b).max(), np.abs(b - c).max()) > 1e-4


def test_pndm_starts_with_three_runge_kutta_steps():
    assert find("pndm")(VP(), RAGGED).nfe == 6 + 3 * 3
    # One step on a prediction linear in rho at the ends and the middle: Simpson's rule in e.
    plan = find("pndm")(EDM(), [2.0, 1.0])
    assert plan.t.tolist() == [2.0, 1.5, 1.5, 1.0]
    assert np.allclose(plan.response().predictions.ravel(), [-1 / 6, -1 / 3, -1 / 3, -1 / 6])


# --- polynomial predictions -------------------------------------------------------------------------

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


@pytest.mark.parametrize(("name", "k", "variable", "options"), EXACT)
def test_polynomial_predictions_are_integrated_exactly(name, k, variable, options):
    # Once k predictions are there, no step may add an error: x/alpha (noise) or x/sigma (data) keeps
    # the error it has. The polynomial is of degree k - 1 in the method's own variable.
    process, method = VP(), find(name)
    grid = [0.95, 0.8, 0.71, 0.6, 0.54, 0.4, 0.33]
    u = {"t": lambda t: t, "rho": process.rho, "lam": process.lam}[variable]

    def q(t):
        return sum((i + 1) * (u(t) - 0.3) ** i for i in range(k))

    def rate(t):
        rho_rate = process.g2(t) / (2 * process.alpha(t) * process.sigma(t))
        return rho_rate if method.predicts == "noise" else -rho_rate / process.rho(t) ** 2

    scale = process.alpha if method.predicts == "noise" else process.sigma
    plan = method(process, grid, **options)
    values = [q(t) for t in plan.t]
    errors = []
    for node, response in zip(plan.nodes, plan.node_responses(), strict=True):
        y = float((response.predictions[:, 0, 0] * values).sum()) / scale(node.time)
        exact = mpmath.quad(lambda v: q(v) * rate(v), np.linspace(0.95, node.time, 4).tolist())
        errors.append(y - float(exact))
    full = errors[k - 1 :]
    size = max(abs(float(rate(0.35) * q(0.35))), 1.0)
    assert np.ptp(full) < 2e-12 * size
    if k > 1:
        assert abs(errors[1]) > 1e-6  # the Euler start does make one, so the test sees errors


# --- ends, short grids, options ---------------------------------------------------------------------


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
