"""The bridge: one Brownian path a sample, whatever is rejected; and what redraws do instead."""

import math

import numpy as np
import pytest

from sgmsolve.adaptive import areas
from sgmsolve.adaptive.brownian import Bridge, Source
from sgmsolve.backends.noise import KeyedNoise

KINDS = ("numpy", "torch", "jax")


def like(kind, batch, n):
    """Zeros (batch, n) in float64."""
    x = np.zeros((batch, n))
    if kind == "torch":
        return pytest.importorskip("torch").from_numpy(x)
    return pytest.importorskip("jax.numpy").asarray(x) if kind == "jax" else x


def covariance(length):
    """Of (w, I) over an interval: var w = l, cov = int_0^l u du, var I = int_0^l int_0^l min."""
    return np.array([[length, length**2 / 2], [length**2 / 2, length**3 / 3]])


def bridge(kind="numpy", batch=1, n=1, area=False, seed=0, indices=None):
    keyed = KeyedNoise(seed, indices, generator="philox")
    return Bridge(keyed, like(kind, batch, n), ((n,),), area)


def drive(source, until, rule, h0=0.5, seed=7):
    """Sums of what was accepted on [0, until], and all accepted pieces; steps as ``rule`` says.

    rule: (h, dw as numpy (batch, n), uniforms) -> accepted; next steps grow or shrink at random.
    """
    rng = np.random.default_rng(seed)
    batch = len(source.indices)
    t, h = np.zeros(batch), np.full(batch, h0)
    sums, pieces = None, []
    while (t < until).any():
        step = np.where(t < until, np.minimum(h, until - t), 0.0)
        step = np.where(until - t - step < 1e-9, until - t, step)
        parts = [np.asarray(x) for x in source.draw(t, step)[0]]
        accepted = (t < until) & rule(step, parts[0], rng.random(batch))
        source.settle(accepted)
        total = parts if sums is None else areas.combined(sums, parts, step)
        mask = accepted[:, None]
        old = sums or [0 * p for p in parts]
        sums = [np.where(mask, a, b) for a, b in zip(total, old, strict=True)]
        pieces.append((np.where(accepted, step, 0.0), [np.where(mask, p, 0.0) for p in parts]))
        t = np.where(accepted, t + step, t)
        h = np.where(accepted, h * (0.6 + 1.2 * rng.random(batch)), h * (0.3 + 0.5 * rng.random()))
    return sums, pieces


def reject_large(h, dw, u):
    """Keeps an attempt only if its increment is small: what an error estimate does."""
    return (np.sqrt(np.mean(dw**2, axis=1)) < 0.9 * np.sqrt(h)) | (h < 0.03)


def reject_positive(h, dw, u):
    """Turns most rises down: an estimate with a sign."""
    return (dw[:, 0] < 0) | (u < 0.2) | (h < 0.03)


@pytest.mark.parametrize("rule", [reject_large, reject_positive])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_what_is_accepted_is_a_brownian_path(n, rule):
    batch = 3000 // n
    (w,), _ = drive(bridge(batch=batch, n=n, seed=n), 1.0, rule)
    assert abs(np.mean(w)) < 3 / math.sqrt(batch * n)
    assert abs(np.mean(w**2) - 1) < 3 * math.sqrt(2 / (batch * n))


@pytest.mark.parametrize("kind", KINDS)
def test_increments_and_areas_have_their_joint_law(kind):
    """On [0, 1] and on [0, 1/2] and [1/2, 1] apart, after rejections that look at the values."""
    batch, sums = {"numpy": 2000, "torch": 500, "jax": 500}[kind], []
    source = bridge(kind, batch, 1, area=True, seed=3)
    for until in (0.5, 0.5):
        sums.append(drive(source, until, reject_large)[0])
    for w, area in sums:
        joint(w, area, 0.5)
    joint(*areas.combined(sums[0], sums[1], np.full(batch, 0.5)), 1.0)
    between = np.mean(sums[0][0] * sums[1][0]) / 0.5
    assert abs(between) < 4 / math.sqrt(batch)


def joint(w, area, length):
    """Moments of whitened pairs within 4 standard errors."""
    pairs = np.stack([np.asarray(w).ravel(), np.asarray(area).ravel()])
    white = np.linalg.solve(np.linalg.cholesky(covariance(length)), pairs)
    n = pairs.shape[1]
    found = white @ white.T / n
    allowed = 4 * np.sqrt(np.array([[2.0, 1.0], [1.0, 2.0]]) / n)
    assert (np.abs(found - np.eye(2)) < allowed).all()
    assert (np.abs(white.mean(axis=1)) < 4 / math.sqrt(n)).all()


@pytest.mark.parametrize("q", [1e-9, 1e-4, 0.1, 0.5, 0.73, 1 - 1e-4, 1 - 1e-9])
@pytest.mark.parametrize("length", [0.3, 7.0])
def test_the_split_is_the_conditional_law(q, length):
    """Against the normal conditional law, E = S12 S22^-1, V = S11 - S12 S22^-1 S21, in mpmath."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(60):
        whole, first = mp.mpf(length), mp.mpf(q) * mp.mpf(length)

        def C(x):
            return mp.matrix([[x, x**2 / 2], [x**2 / 2, x**3 / 3]])

        A = mp.matrix([[1, 0], [whole - first, 1]])
        cross = C(first) * A.T
        weights = cross * C(whole) ** -1
        left = C(first) - weights * cross.T
        factor = mp.cholesky(left)
        expected = [np.array(x.tolist(), dtype=float) for x in (weights, factor)]
    M, L = areas.bridge_split(np.array([length]), np.array([q]))
    # Entries of M cancel where they vanish: against their largest; L in relative terms.
    scale = np.array([[1.0, 1 / length], [length, 1.0]])
    assert np.allclose(M[0] / scale, expected[0] / scale, rtol=1e-7, atol=1e-15)
    # 1 - q is known to 1e-16, 1e-7 of itself at the far end; the entry of (1/2 - q) may be 0.
    assert np.allclose(L[0], expected[1], rtol=1e-6, atol=1e-12 * expected[1][1, 1])
    assert L[0, 0, 1] == 0


@pytest.mark.parametrize("area", [False, True])
def test_a_rejected_attempt_is_split_by_the_next_normals(area):
    """At 0.3 of a piece of length 2: w1 = q w + sqrt(q (1 - q) l) xi, or by M and L with areas."""
    source, q, length = bridge(batch=4, n=2, area=area, seed=2), 0.3, 2.0
    old = source.draw(np.zeros(4), np.full(4, length))[0]
    source.settle(np.zeros(4, dtype=bool))
    xi = source.normals(0)
    new = source.draw(np.zeros(4), np.full(4, q * length))[0]
    M, L = areas.bridge_split(np.array(length), np.array(q))
    if not area:
        M, L = np.array([[q]]), np.array([[math.sqrt(q * (1 - q) * length)]])
    for row, found in enumerate(new):
        expected = sum(M[row, j] * old[j] + L[row, j] * xi[j] for j in range(1 + area))
        assert np.allclose(found, expected, rtol=1e-13)


def test_a_fresh_piece_has_the_covariance_of_increment_and_area():
    for length in (0.0, 1e-8, 0.7, 30.0):
        L = areas.fresh(np.array(length))
        assert np.allclose(L @ L.T, covariance(length), rtol=1e-14, atol=0)


def test_areas_compose():
    """Three pieces of a path on a fine grid: the area of the whole, however it is bracketed."""
    rng = np.random.default_rng(0)
    w = np.concatenate([[0.0], np.cumsum(rng.standard_normal(600))]) * math.sqrt(1 / 600)

    def piece(a, b):
        inner = w[a : b + 1] - w[a]
        return [inner[-1:], np.array([(inner[:-1] + inner[1:]).sum() / 1200])]

    first, second, third = piece(0, 130), piece(130, 400), piece(400, 600)
    lengths = [np.array([x]) for x in (270 / 600, 200 / 600, 470 / 600)]
    left = areas.combined(areas.combined(first, second, lengths[0]), third, lengths[1])
    right = areas.combined(first, areas.combined(second, third, lengths[1]), lengths[2])
    for found in (left, right):
        assert np.allclose(found, piece(0, 600), rtol=1e-12)


@pytest.mark.parametrize("area", [False, True])
def test_pieces_after_rejections_add_up_to_what_was_looked_at(area):
    """A long attempt, turned down; the short ones after it end on the same point of the path."""
    source = bridge(batch=5, n=2, area=area)
    whole = source.draw(np.zeros(5), np.ones(5))[0]
    source.settle(np.zeros(5, dtype=bool))
    sums, pieces = drive(source, 1.0, lambda h, dw, u: (u < 0.6) | (h < 0.02))
    assert len(pieces) > 20
    for found, expected in zip(sums, whole, strict=True):
        assert np.allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("noise", ["bridge", "redraw", "reuse"])
def test_halves_make_up_the_step(noise):
    """Both halves of [0, 1] and the whole have their joint laws, whatever the source."""
    n = 2000
    source = bridge(batch=n, area=True)
    if noise != "bridge":
        source = Source(KeyedNoise(0), np.zeros((n, 1)), ((1,),), True, keep=noise == "reuse")
    (first,), (whole,) = source.halves(np.zeros(n), np.ones(n))
    joint(*first, 0.5)
    joint(*whole, 1.0)
    dw = whole[0] - first[0]
    joint(dw, whole[1] - first[1] - 0.5 * first[0], 0.5)
    assert abs(np.mean(first[0] * dw)) < 4 * 0.5 / math.sqrt(n)


def test_halves_stay_on_the_path():
    """After a rejection the next steps of half the length get the same halves."""
    source, zero, one = bridge(batch=5), np.zeros(5), np.ones(5)
    first, whole = (parts[0][0] for parts in source.halves(zero, one))
    source.settle(zero > 0)
    again = source.draw(zero, one / 2)[0][0]
    source.settle(zero == 0)
    rest = source.draw(zero, one / 2)[0][0]
    assert np.array_equal(again, first)
    assert np.allclose(rest, whole - first, rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("area", [False, True])
def test_a_sample_does_not_know_its_batch(kind, area):
    """Samples 5 and 2 of a batch of 7 alone: the same bits, though the others split elsewhere."""
    rng = np.random.default_rng(1)
    steps, fate = rng.uniform(0.1, 1.0, (12, 7)), rng.random((12, 7)) < 0.4
    steps[:, 3] = 2.0 ** -np.arange(12.0)  # a stack that grows
    fate[:, 3] = False
    picked = [5, 2]

    def run(columns):
        source = bridge(kind, len(columns), 3, area, indices=columns)
        drawn = []
        for h, accepted in zip(steps[:, columns], fate[:, columns], strict=True):
            drawn.append([np.asarray(x) for x in source.draw(np.zeros(len(columns)), h)[0]])
            source.settle(accepted)
        return np.array(drawn)

    everyone = run(list(range(7)))
    alone = run(picked)
    assert np.array_equal(everyone[:, :, picked], alone)


def test_a_stack_of_many_pieces_keeps_them_all():
    """Halving 40 times and walking back up: each of the 41 pieces is met again, in order."""
    source = bridge(batch=1, n=1, area=True)
    ends = [2.0**-k for k in range(41)]
    seen = []
    for h in ends:
        seen.append([x[0, 0] for x in source.draw(np.zeros(1), np.array([h]))[0]])
        source.settle(np.array([False]))
    assert source.count[0] == 41
    counted = source.counters[0]
    total = [np.zeros((1, 1)), np.zeros((1, 1))]
    t = 0.0
    for end, (w, area) in zip(reversed(ends), reversed(seen), strict=True):
        parts = source.draw(np.array([t]), np.array([end - t]))[0]
        source.settle(np.array([True]))
        total = areas.combined(total, parts, np.array([end - t]))
        assert abs(total[0][0, 0] - w) < 1e-14
        assert abs(total[1][0, 0] - area) < 1e-14
        t = end
    assert source.count[0] == 0
    assert source.counters[0] == counted + 41  # a draw is counted, whether its normals are used


@pytest.mark.parametrize("kind", KINDS)
def test_select_takes_paths_along(kind):
    source, other = bridge(kind, 6, 2, True), bridge(kind, 6, 2, True)
    for s in (source, other):
        s.draw(np.zeros(6), np.linspace(0.5, 1.0, 6))
        s.settle(np.array([False, True, False, True, False, False]))
    rows = np.array([4, 1, 0])
    source.select(rows)
    small = source.draw(np.zeros(3), np.full(3, 0.3))[0]
    large = other.draw(np.zeros(6), np.full(6, 0.3))[0]
    for a, b in zip(small, large, strict=True):
        assert np.allclose(np.asarray(a), np.asarray(b)[rows], rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("area", [False, True])
def test_libraries_agree(area):
    def run(kind):
        return drive(bridge(kind, 8, 2, area, seed=9), 1.0, reject_large)[0]

    expected = run("numpy")
    for kind in ("torch", "jax"):
        like(kind, 1, 1)
        for a, b in zip(run(kind), expected, strict=True):
            assert np.allclose(a, b, rtol=1e-12, atol=1e-13)


def test_new_noise_after_a_rejection_is_biased():
    """In one dimension E w^2 of what survives |dw| < 0.9 sqrt(h) has a value of its own.

    All steps are 1/16 here, retried at the same length, so that what survives is a normal variable
    truncated at c = 0.9: variance 1 - 2 c phi(c) / (2 Phi(c) - 1) = 0.249.
    """
    batch, h, c = 4000, 1 / 16, 0.9
    source = Source(KeyedNoise(5), np.zeros((batch, 1)), ((1,),), area=False)
    w, left = np.zeros(batch), np.full(batch, 16)
    while left.any():
        dw = source.draw(np.zeros(batch), np.full(batch, h))[0][0][:, 0]
        accepted = (left > 0) & (np.abs(dw) < c * math.sqrt(h))
        source.settle(accepted)
        w, left = w + np.where(accepted, dw, 0.0), left - accepted
    inside = math.erf(c / math.sqrt(2))
    expected = 1 - 2 * c * math.exp(-(c**2) / 2) / math.sqrt(2 * math.pi) / inside
    assert abs(np.var(w) / expected - 1) < 3 * math.sqrt(2 / batch)


@pytest.mark.parametrize("area", [False, True])
def test_reuse_scales_the_same_normals_until_they_are_accepted(area):
    source = Source(KeyedNoise(5), np.zeros((3, 2)), ((2,),), area=area, keep=True)
    powers = (0.5, 1.5)[: 1 + area]
    long = source.draws(("increment", "half"), np.zeros(3), np.ones(3))
    source.settle(np.zeros(3, dtype=bool))
    short = source.draws(("increment", "half"), np.zeros(3), np.full(3, 0.25))
    source.settle(np.array([True, False, True]))
    for name in long:
        assert np.allclose(short[name][0], 0.5 * long[name][0], rtol=1e-14)
    one = source.draw(np.zeros(3), np.ones(3))[0]
    source.settle(np.array([False, False, False]))
    two = source.draw(np.zeros(3), np.full(3, 4.0))[0]
    for power, a, b in zip(powers, one, two, strict=True):
        assert np.allclose(b, 4**power * a, rtol=1e-14)
    fresh = long["half"][0] / math.sqrt(0.5)
    assert np.allclose(one[0][1], fresh[1])
    assert not np.isclose(one[0][0], fresh[0]).any()
