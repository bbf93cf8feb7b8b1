"""Generated and published multistep weights against mpmath quadrature, number by number."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from sgmsolve.methods import deis, dpmpp, multistep, unipc
from sgmsolve.phi import exp_moments
from sgmsolve.process import EDM, VE, VP, Flow, SubVP

PROCESSES = {
    "vp": VP(),
    "cosine": VP.cosine(),
    "subvp": SubVP(),
    "ve": VE(),
    "edm": EDM(),
    "flow": Flow(),
}


def lagrange(nodes, j, u):
    value = mpmath.mpf(1)
    for i, v in enumerate(nodes):
        if i != j:
            value *= (u - v) / (nodes[j] - v)
    return value


def random_nodes(k, seed, corrector=False):
    """k nodes, newest first, and the step's end; steps differ by up to a factor of six."""
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(0.1, 0.6, k + 1)
    u = -1.3 + np.concatenate([[0.0], np.cumsum(gaps)])
    end, start = float(u[k]), float(u[k - 1])
    nodes = [float(v) for v in u[:k][::-1]]
    return ([end, *nodes] if corrector else nodes), start, end


@pytest.mark.parametrize("rate", [1, -1, 2, 1.25])
@pytest.mark.parametrize("corrector", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_exponential_weights_are_the_integrals(k, rate, corrector):
    nodes, start, end = random_nodes(k, 10 * k + 1, corrector)
    w = multistep.exponential_weights(nodes, start, end, rate)
    for j in range(len(nodes)):
        exact = mpmath.quad(
            lambda v, j=j: rate * mpmath.exp(-rate * (end - v)) * lagrange(nodes, j, v),
            [start, end],
        )
        assert abs(w[j] - exact) < 1e-13
    assert abs(sum(w) - float(1 - mpmath.exp(-rate * (end - start)))) < 1e-14


@pytest.mark.parametrize("h", [1e-9, 1e-4, 12.0])
def test_exponential_weights_keep_their_digits_for_tiny_and_huge_steps(h):
    nodes = [0.0, -h * 0.7, -h * 1.9]
    with mpmath.workdps(60):
        exact = multistep.exponential_weights([mpmath.mpf(v) for v in nodes], 0, mpmath.mpf(h), 1)
        ratios = [
            float(w / e) - 1
            for w, e in zip(multistep.exponential_weights(nodes, 0.0, h, 1), exact, strict=True)
        ]
    assert max(map(abs, ratios)) < 1e-13


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_polynomial_weights_are_the_integrals(k):
    nodes, start, end = random_nodes(k, 3 * k)
    w = multistep.polynomial_weights(nodes, start, end)
    for j in range(k):
        exact = mpmath.quad(lambda v, j=j: lagrange(nodes, j, v), [start, end])
        assert abs(w[j] - exact) < 1e-14
    assert abs(sum(w) - (end - start)) < 1e-15


@pytest.mark.parametrize(
    ("numerators", "denominator"),
    [((1,), 1), ((3, -1), 2), ((23, -16, 5), 12), ((55, -59, 37, -9), 24)],
)
def test_uniform_nodes_give_the_adams_bashforth_table(numerators, denominator):
    nodes = [0.0, -0.5, -1.0, -1.5][: len(numerators)]
    w = multistep.polynomial_weights(nodes, 0.0, 0.5)
    assert np.allclose(w, np.array(numerators) / denominator * 0.5, rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("k", [2, 4])
def test_t_ab_weights_are_the_integrals(name, k):
    process = PROCESSES[name]
    low = 0.05 if process.t_max <= 1 else 0.3
    top = min(0.9 * process.t_max, 3.0)
    times = [float(t) for t in np.geomspace(top, low, 5)[: k + 1]][::-1]
    s, nodes = times[0], times[1:]
    w = deis.t_ab_weights(process, nodes, s)

    def rate(t):  # d(rho)/dt = g^2 / (2 alpha sigma)
        return process.g2(t) / (2 * process.alpha(t) * process.sigma(t))

    cuts = [mpmath.mpf(v) for v in np.linspace(nodes[0], s, 5)]
    for j in range(k):
        exact = mpmath.quad(lambda t, j=j: lagrange(nodes, j, t) * rate(t), cuts)
        assert abs(w[j] - exact) < 1e-12 * max(map(abs, w))


def test_t_ab_weights_do_not_change_with_more_quadrature_points(monkeypatch):
    process, times = VP(), [0.6, 0.8, 0.95]
    w = {s: deis.t_ab_weights(process, times, s) for s in (0.59, 0.4, 0.01)}
    monkeypatch.setattr(deis, "_points", lambda h, panels: 40)
    for s, found in w.items():
        finer = deis.t_ab_weights(process, times, s)
        assert np.allclose(found, finer, rtol=0, atol=1e-13 * np.abs(finer).max())


def test_constant_predictions_are_exact_on_a_table_schedule():
    process = VP.discrete(np.linspace(1e-4, 2e-2, 100).tolist())
    w = deis.t_ab_weights(process, [0.613, 0.71, 0.8], 0.507)
    assert abs(sum(w) - (process.rho(0.507) - process.rho(0.613))) < 1e-14


@pytest.mark.parametrize("rate", [1, -1, 2])
def test_published_2m_agrees_with_the_exact_weights_to_first_order(rate):
    # Both weights sum to the same; in the older one exact - published = -(rate h)^2 / (12 r) + ...
    r = mpmath.mpf("0.7")
    for h in (mpmath.mpf("1e-5"), mpmath.mpf("1e-6")):
        nodes = [mpmath.mpf(0), -r * h]
        published = dpmpp.published_2m(nodes, h, rate)
        exact = multistep.exponential_weights(nodes, nodes[0], h, rate)
        assert abs(sum(published) / sum(exact) - 1) < mpmath.mpf(10) ** -8
        defect = (exact[1] - published[1]) / (rate * h) ** 2
        assert abs(defect * 12 * r + 1) < 1e-3


def test_published_2m_is_the_papers_formula():
    h, r = 0.4, 1.5
    w = dpmpp.published_2m([0.0, -r * h], h, 1)
    scale = 1 - np.exp(-h)
    assert np.allclose(w, [scale * (1 + 1 / 3), -scale / 3], rtol=1e-15)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("rate", [1, -1])
@pytest.mark.parametrize(("k", "corrector"), [(3, False), (4, False), (2, True), (4, True)])
def test_unipc_systems_with_two_unknowns_or_more_are_exact(k, corrector, rate, variant):
    nodes, start, end = random_nodes(k, k, corrector)
    published = unipc.uni_weights(nodes, start, end, rate, variant)
    exact = multistep.exponential_weights(nodes, start, end, rate)
    assert np.allclose(published, exact, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("variant", "b"), [("bh1", 0.3), ("bh2", 1 - np.exp(-0.3))])
def test_unipc_with_one_unknown_takes_a_half(variant, b):
    start, end, previous = 0.0, 0.3, -0.6
    total = 1 - np.exp(-0.3)
    predictor = unipc.uni_weights([start, previous], start, end, 1, variant)
    assert np.allclose(predictor, [total + b / 4, -b / 4], rtol=1e-14)
    corrector = unipc.uni_weights([end, start], start, end, 1, variant)
    assert np.allclose(corrector, [b / 2, total - b / 2], rtol=1e-14)


def test_weights_are_generic_in_the_number_type():
    with mpmath.workdps(50):
        nodes = [mpmath.mpf(v) / 7 for v in (3, 1, -2, -3)]
        w = multistep.exponential_weights(nodes, nodes[0], mpmath.mpf(5) / 7, -1)
        exact = mpmath.quad(
            lambda v: -mpmath.exp(mpmath.mpf(5) / 7 - v) * lagrange(nodes, 2, v),
            [nodes[0], mpmath.mpf(5) / 7],
        )
        assert abs(w[2] - exact) < mpmath.mpf(10) ** -45
        process = VP()
        times = [mpmath.mpf(v) / 10 for v in (6, 7, 9)]
        c = deis.t_ab_weights(process, times, mpmath.mpf(1) / 2)
        exact = mpmath.quad(
            lambda t: (
                lagrange(times, 1, t) * process.g2(t) / (2 * process.alpha(t) * process.sigma(t))
            ),
            [times[0], mpmath.mpf(1) / 2],
        )
        assert abs(c[1] / exact - 1) < mpmath.mpf(10) ** -40


def test_exponential_moments_are_scaled_exp_moments():
    found = multistep.exponential_moments(0.8, 3)
    h, rate = 0.4, 2
    plain = exp_moments(h, 3, -rate, weight="h-tau")
    assert np.allclose(found, [rate * m / h**k for k, m in enumerate(plain)], rtol=1e-14)
