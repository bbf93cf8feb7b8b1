"""Step sizes of the correctors, by expected norms and annealed, and the noise allowing for them."""

from __future__ import annotations

import numpy as np
import pytest
from corrector_cases import FIELD, GAINS, PROCESSES, SHAPE, TIMES, M, plain_pc, sizes

from sgmsolve import VE, VP, build_plan
from sgmsolve.analysis import exact, operated
from sgmsolve.analysis.moments import Moments
from sgmsolve.errors import MethodError
from sgmsolve.precondition import Diagonal, Scalar
from sgmsolve.target import Gaussian, GaussianField


@pytest.mark.parametrize("norms", ["marginal", "propagated"])
@pytest.mark.parametrize("where", ["exact-split", "published", "corrector", "noise"])
def test_a_scalar_changes_no_corrector_step(where, norms):
    options = {"predictor": "none", "spectrum": FIELD, "norms": norms, "final": "plain"}
    plain = plain_pc(VP(), **options)
    scaled = plain_pc(VP(), preconditioner=Scalar(1.3), where=where, **options)
    for name in ("move", "kick", "noise"):
        if where != "noise" and (norms == "marginal" or where in ("exact-split", "corrector")):
            assert np.allclose(getattr(scaled, name), getattr(plain, name), rtol=1e-13, atol=0)
    if where == "noise" and norms == "marginal":  # h grows by m^2, as |z| does and |s| does not
        assert scaled.kick[0] == pytest.approx(1.3**2 * plain.kick[0], rel=1e-13)


def test_expected_norms_are_those_of_samples():
    """Marginal: |M z| and |M M^T s| of exact samples, to the spread of their squares."""
    t, snr, n = 0.3, 0.16, 20_000
    process = VE(0.01, 5.0)
    plan = build_plan(process, "pc", grid=[t, 0.2], preconditioner=M, spectrum=FIELD, snr=snr)
    rng = np.random.default_rng(3)
    x = FIELD.sample(n, 0) + process.sigma(t) * rng.standard_normal((n, *SHAPE))
    s = FIELD.model(process, predicts="score")((x,), t)[0]
    g, zeta = M.gram(s), M.apply(rng.standard_normal(x.shape))
    wanted = 2 * snr**2 * (zeta**2).sum() / (g**2).sum()
    assert sizes(plan, 0) == pytest.approx(wanted, rel=0.01)


def test_a_dense_operator_has_the_norms_of_its_matrix():
    """A mask on pixels and a spectrum of Fourier modes share no transform."""
    mask = Diagonal(np.random.default_rng(4).uniform(0.7, 1.2, SHAPE))
    process, t = VE(0.01, 5.0), 0.4
    A = mask.matrix() @ mask.matrix().T
    Q = FIELD.transform.inverse(np.eye(24)).reshape(24, 24).T
    C = Q @ np.diag(FIELD.eigenvalues) @ Q.T + process.sigma(t) ** 2 * np.eye(24)
    wanted = 2 * 0.16**2 * np.trace(A) / np.trace(A @ np.linalg.inv(C) @ A)
    plan = build_plan(process, "pc", grid=[t, 0.2], preconditioner=mask, spectrum=FIELD)
    assert sizes(plan, 0) == pytest.approx(wanted, rel=1e-12)
    with pytest.raises(MethodError, match="diagonal in no transform"):
        build_plan(
            process,
            "pc",
            grid=[t, 0.2],
            preconditioner=mask,
            spectrum=FIELD,
            norms="propagated",
        )


def test_without_a_spectrum_all_is_noise():
    process = VE(0.01, 5.0)
    plan = build_plan(process, "pc", steps=5, snr=0.2)
    for r in range(0, plan.rows, 2):
        assert sizes(plan, r) == pytest.approx(2 * (0.2 * process.sigma(plan.t[r])) ** 2, rel=1e-12)
    masked = build_plan(process, "pc", steps=5, snr=0.2, preconditioner=M)
    a = M.eigenvalues**2
    ratio = a.sum() / (a**2).sum()
    assert sizes(masked, 2) == pytest.approx(sizes(plan, 2) * ratio, rel=1e-12)
    assert "noise alone" in str(plan).replace("\n          ", " ")
    assert "marginal norms on GaussianField" in str(plain_pc(process, spectrum=FIELD)).replace(
        "\n          ", " "
    )


@pytest.mark.parametrize("process", [VE(0.01, 5.0), VP()], ids=["ve", "vp"])
def test_a_network_of_the_preconditioned_process_has_its_norms(process):
    """A mode of gain a: variance a sigma^2 more, or as beta a is the rate, decay alpha^(2a)."""
    plan = plain_pc(process, preconditioner=M, where="forward", spectrum=FIELD)
    a, lam = M.eigenvalues**2, FIELD.eigenvalues
    for i, t in enumerate(TIMES):
        alpha, sigma = process.alpha(t), process.sigma(t)
        c = lam + a * sigma**2
        if process.alpha(1.0) != 1:
            c = alpha ** (2 * a) * lam + 1 - alpha ** (2 * a)
        level = (alpha / process.alpha(TIMES[i + 1])) ** 2 if i + 1 < len(TIMES) else 1.0
        wanted = 2 * 0.16**2 * a.sum() / (a**2 / c).sum() * level
        assert sizes(plan, 2 * i) == pytest.approx(wanted, rel=1e-9)


def test_propagated_norms_follow_the_plan():
    """The law behind the norms is the law that exact analysis finds, for every place of M."""
    target = GaussianField.power_law(SHAPE, 2.0, 0.3, mean=2.0)
    for where in ("exact-split", "published", "noise", "corrector"):
        for process in (VE(0.01, 5.0), VP()):
            options = {"preconditioner": M, "where": where, "spectrum": target}
            whole = plain_pc(process, norms="propagated", **options)
            cut = 20  # a corrector row; what is held before it is its state
            rows = {n: getattr(whole, n)[:cut] for n in ("t", "move", "kick", "noise", "draws")}
            parts = tuple(
                type(p)(p.word, p.move[:cut], p.kick[:cut], p.noise[:cut], *prelude(p))
                for p in whole.parts
            )
            part = whole.replace(**rows, parts=parts, nodes=())
            law = exact.output_moments(part, target, process, noisy(target, process, where))
            a, v, lam, shift = gains_like(law, part, target, process.alpha(whole.t[cut]))
            shifted = isinstance(process, VP)  # reverse diffusion has VE's mean exactly
            assert (np.sum(shift**2) > 1e-5 * np.sum(v)) == shifted
            c = process.alpha(whole.t[cut]) ** 2 * lam + process.sigma(whole.t[cut]) ** 2
            drift = np.ones_like(a) if where == "noise" else a**2
            level = (
                1.0
                if isinstance(process, VE)
                else process.alpha_ratio(whole.t[cut + 2], whole.t[cut]) ** 2
            )
            square = law.multiplicity @ (drift * (v + shift**2) / c**2)
            wanted = 2 * 0.16**2 * (law.multiplicity @ a) / square
            assert sizes(whole, cut) == pytest.approx(wanted * level, rel=1e-9), (where, process)


def noisy(target, process, where):
    """The start of propagated norms: noise around the exact mean, which no filter moves."""
    law = exact.marginal(target, process, 1.0)
    variance = np.full_like(law.covariance, process.starting_covariance(1.0)[0, 0])
    filtered = GAINS[0, 0] if where in ("published", "noise") else 1.0  # the mean is a constant
    return Moments(law.mean / filtered, variance, law.multiplicity)


def prelude(part):
    return part.prelude_move, part.prelude_noise


def gains_like(law, plan, target, alpha):
    """Gains of M M^T, variances, data variances and errors of means, by ``law``'s modes."""
    joint = operated.resolve(plan, target)
    gram = joint.words[("M", "M^T")] if ("M", "M^T") in joint.words else joint.words[("M",)] ** 2
    return gram, law.covariance[0, 0], joint.lam, law.mean[0] - alpha * joint.mean


@pytest.mark.parametrize("epsilon", [None, 2e-5])
def test_annealed_langevin(epsilon):
    """NCSN: x + alpha_i/2 s + sqrt(alpha_i) z with alpha_i = eps sigma_i^2/sigma_L^2, n steps."""
    process = VE(0.01, 1.0)
    plan = build_plan(
        process,
        "pc",
        steps=9,
        grid="uniform",
        grid_options={"t_min": 0.0},
        predictor="none",
        corrector="ald",
        corrector_steps=3,
        snr=0.176,
        epsilon=epsilon,
        final="none",
        preconditioner=M,
        where="corrector",
    )
    assert plan.rows == 30
    assert np.allclose(plan.t[::3], np.linspace(1, 0, 10), atol=1e-12)
    sigma = process.sigma(plan.t)
    alpha = 2e-5 * (sigma / 0.01) ** 2 if epsilon else 4 * (0.176 * sigma) ** 2
    kicks = {part.name: part.kick[:, 0, 0, 0] for part in plan.parts}
    noise = {part.name: part.noise[:, 0, 0] for part in plan.parts}
    assert np.allclose(kicks["M M^T"], alpha / 2, rtol=1e-12)
    assert np.allclose(noise["M"], alpha**0.5, rtol=1e-12)
    assert not plan.kick.any()


@pytest.mark.parametrize(
    ("name", "predictor"),
    [
        ("VE", "euler-maruyama"),
        ("VP", "euler-maruyama"),
        ("VP", "reverse-diffusion"),
        ("VP", "ancestral"),
        ("SubVP", "reverse-diffusion"),
    ],
)
def test_published_levels_shorten_the_corrector(name, predictor):
    """alpha_j = 1 - beta_j; sub-VP, which has none in the released code, takes VP's."""
    options = {"discretisation": "score_sde", "predictor": predictor, "snr": 0.2}
    plan = plain_pc(PROCESSES[name], corrector="ald", **options)
    sigma, T = PROCESSES[name].sigma(TIMES), len(TIMES)
    betas = np.linspace(20 / T, 0.1 / T, T)
    if predictor == "euler-maruyama":  # beta of the continuous time
        betas = (0.1 + 19.9 * TIMES) / T
    wanted = 2 * (0.2 * sigma) ** 2 * (1 - betas * (name != "VE"))
    assert np.allclose([sizes(plan, 2 * i) for i in range(T)], wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "predictor", ["reverse-diffusion", "euler-maruyama", "ancestral", "calibrated"]
)
@pytest.mark.parametrize("name", ["VE", "VP", "SubVP"])
def test_exact_levels_are_the_share_that_the_forward_step_keeps(name, predictor):
    """(alpha_t/alpha_s)^2, which is 1 - beta_j for VP; 1 at the last time, which has no step."""
    process = PROCESSES[name]
    plan = plain_pc(process, corrector="ald", predictor=predictor, snr=0.2)
    share = process.alpha(TIMES[:-1]) / process.alpha(TIMES[1:])
    wanted = 2 * (0.2 * process.sigma(TIMES)) ** 2 * np.append(share**2, 1.0)
    found = [sizes(plan, 2 * i) for i in range(len(TIMES))]
    assert np.allclose(found, wanted, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [1, 2])
def test_calibrated_noise_allows_for_the_corrector(steps):
    process = VE(0.01, 5.0)
    options = {"predictor": "calibrated", "corrector_steps": steps, "snr": 0.3}
    plan = plain_pc(process, **options)
    q, kappa = 1 - (process.sigma(TIMES[1]) / process.sigma(TIMES[0])) ** 2, 2 * 0.3**2
    gain = 1 - (q**2 + steps * kappa**2) / (2 * (q + steps * kappa))
    for i in range(len(TIMES) - 2):
        forward = process.transition_variance(TIMES[i + 1], TIMES[i])
        row = (steps + 1) * i + steps
        assert plan.noise[row, 0, 0] ** 2 == pytest.approx(gain * forward, rel=1e-9)


def test_an_ill_fitting_spectrum_is_named():
    with pytest.raises(MethodError, match="in no known order"):
        plain_pc(VE(), preconditioner=M, spectrum=Modes())
    small = plain_pc(VE(), spectrum=Modes())
    assert sizes(small, 0) == pytest.approx(
        sizes(plain_pc(VE(), spectrum=Gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])), 0)
    )


class Modes:
    """Only what expected norms need."""

    def modes(self):
        return np.array([1.0]), np.array([0.0]), np.array([2])
