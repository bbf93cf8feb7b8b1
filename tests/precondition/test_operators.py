"""Every operator against its dense matrix and the papers' formula, on every array library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import (
    PDS,
    TDAS,
    CosineTransform,
    Diagonal,
    Disc,
    FourierTransform,
    Identity,
    IdentityTransform,
    Scalar,
    Skew,
    SkewMatrix,
    SpaceFrequency,
    Spectral,
    WaveletTransform,
)
from sgmsolve.target import GaussianField

SHAPES = [(2, 5, 6), (1, 4, 7), (6, 5), (3, 4, 4), (1, 1, 8)]
BOTH = ("frequency", "space")
LIBRARIES = [
    (np.asarray, np.float32),
    (torch.asarray, np.float32),
    (torch.asarray, np.float64),
    (jnp.asarray, np.float32),
]
ON_JAX = ("both", "tdas", "spectral", "skew")  # compiling the others would show no more


def images(shape, n=40, seed=0):
    return np.random.default_rng(seed).uniform(0, 1, (n, *shape))


def operators(shape):
    rng = np.random.default_rng(1)
    dense = rng.standard_normal((np.prod(shape), np.prod(shape)))
    cosine = CosineTransform(shape)
    return {
        "frequency": PDS.from_images(images(shape)),
        "space": PDS.from_images(images(shape), filters="space"),
        "both": PDS.from_images(images(shape), alpha=3, filters=BOTH),
        "disc": Disc(shape, 0.3, 1.3),
        "tdas": TDAS.plateaus(shape, (1.1, 1.0, 0.8), space=rng.uniform(0.5, 2, shape)),
        "diagonal": Diagonal(rng.standard_normal(shape)),
        "scalar": Scalar(1.7),
        "identity": Identity(),
        "spectral": Spectral(cosine, rng.standard_normal(cosine.dim)),
        "skew": Skew(shape, (1, 1), 0.7),
        "skew matrix": SkewMatrix(dense - dense.T, shape),
    }


NAMES = list(operators((2, 5, 6)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_apply_transpose_and_gram_are_one_matrix(name, shape):
    m = operators(shape)[name]
    dense = m.matrix(shape)
    u = np.random.default_rng(2).standard_normal((3, *shape))
    flat = u.reshape(3, -1)
    for got, matrix in ((m.apply, dense), (m.transpose, dense.T), (m.gram, dense @ dense.T)):
        assert got(u).shape == u.shape
        np.testing.assert_allclose(got(u).reshape(3, -1), flat @ matrix.T, atol=1e-12)
    if m.scalar is not None:
        np.testing.assert_allclose(dense, m.scalar * np.eye(len(dense)), atol=1e-14)
    elif m.transform is not None:
        q = m.transform.forward(np.eye(len(dense)).reshape(-1, *shape))
        np.testing.assert_allclose(q @ np.diag(m.eigenvalues) @ q.T, dense, atol=1e-12)
    known = m.smallest_gain()
    if known is not None:
        smallest = np.linalg.svd(dense, compute_uv=False)[-1]
        assert known == (pytest.approx(smallest, rel=1e-9), True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("filters", "alpha"), [("frequency", 5), ("space", 3), (BOTH, 1.4)])
def test_pds_is_the_released_formula(filters, alpha, shape):
    x = images(shape)
    power = (np.abs(np.fft.fft2(x)) ** 2).mean(0)
    r, p = np.log(1 + power), (x**2).mean(0)
    r_hat = (r / r.max() + alpha - 1) / alpha if "frequency" in filters else np.ones(shape)
    p_hat = (p / p.max() + alpha - 1) / alpha if "space" in filters else np.ones(shape)
    v = np.random.default_rng(3).standard_normal((2, *shape))
    made = PDS.from_images(x, alpha, filters)
    forth = np.fft.ifft2(np.fft.fft2(v / p_hat) / r_hat)
    back = np.fft.ifft2(np.fft.fft2(v) / r_hat) / p_hat
    assert np.abs(forth.imag).max() < 1e-12
    np.testing.assert_allclose(made.apply(v), forth.real, atol=1e-12)
    np.testing.assert_allclose(made.transpose(v), back.real, atol=1e-12)
    for gains in (g for g in (made.frequency, made.space) if g is not None):
        assert gains.min() == pytest.approx(1, abs=1e-12)
        assert gains.max() <= alpha / (alpha - 1)


def test_gains_of_natural_images():
    # ../shared/spec/pds_tdas.md, section 2.1: 1/f^2, pixel deviation 0.25 about 0.5, 64 x 64.
    field = GaussianField.power_law((64, 64), 2.0, variance=0.25**2, mean=0.5)
    gains = PDS.from_spectrum(field).frequency
    found = [gains.min(), *np.quantile(gains, [0.01, 0.5]), gains.max()]
    np.testing.assert_allclose(found, [1.0, 1.10, 1.17, 1.19], atol=0.005)
    for alpha, median in ((10, 1.08), (3, 1.32)):
        gains = PDS.from_spectrum(field, alpha=alpha).frequency
        assert np.median(gains) == pytest.approx(median, abs=0.005)


def test_pds_by_the_code_before_2023():
    x = images((2, 5, 6))
    r, p = np.log(1 + (np.abs(np.fft.fft2(x)) ** 2).mean(0)), (x**2).mean(0)
    made = PDS.from_images(x, 4, BOTH, "eccv")
    np.testing.assert_allclose(made.frequency, 4 / (r + 3), rtol=1e-12)
    np.testing.assert_allclose(made.space, 1 / p, rtol=1e-12)
    x[:, 1, 2, 3] = 0
    with pytest.raises(PreconditionError, match=r"\(1, 2, 3\) is 0 in every image"):
        PDS.from_images(x, filters="space", normalisation="eccv")
    assert PDS.from_images(x, filters="space").space.max() == pytest.approx(1.25)


def test_no_transform_is_done_twice(monkeypatch):
    count = []
    for name in ("to_native", "from_native"):
        plain = getattr(FourierTransform, name)

        def counted(self, *args, plain=plain):
            count.append(1)
            return plain(self, *args)

        monkeypatch.setattr(FourierTransform, name, counted)
    x = images((3, 8, 8), 2)
    spent = {}
    for name, m in operators((3, 8, 8)).items():
        for call in ("apply", "transpose", "gram"):
            count.clear()
            getattr(m, call)(x)
            spent[name, call] = len(count)
    assert [spent["both", call] for call in ("apply", "transpose", "gram")] == [2, 2, 4]
    assert [spent["frequency", call] for call in ("apply", "transpose", "gram")] == [2, 2, 2]
    assert spent["space", "gram"] == spent["scalar", "gram"] == 0


@pytest.mark.parametrize("name", NAMES)
def test_libraries_and_precisions_agree(name):
    shape = (2, 4, 6)
    m = operators(shape)[name]
    u = np.random.default_rng(4).standard_normal((2, *shape))
    wanted = [m.apply(u), m.transpose(u), m.gram(u)]
    for make, dtype in LIBRARIES if name in ON_JAX else LIBRARIES[:-1]:
        x = make(u.astype(dtype))
        atol = 1e-12 if dtype == np.float64 else 2e-5
        for got, reference in zip((m.apply(x), m.transpose(x), m.gram(x)), wanted, strict=True):
            assert type(got) is type(x)
            assert got.dtype == x.dtype
            scale = max(1, np.abs(reference).max())
            np.testing.assert_allclose(np.asarray(got), reference, atol=atol * scale)


@pytest.mark.parametrize("name", ["frequency", "both", "skew", "scalar"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_stays(name, dtype):
    m = operators((2, 4, 6))[name]
    x = torch.asarray(images((2, 4, 6), 2)).to(getattr(torch, dtype))
    for call in (m.apply, m.transpose, m.gram):
        got = call(x)
        assert got.dtype == x.dtype
        np.testing.assert_allclose(got.double(), call(x.double()), atol=0.05)


def test_structure_is_found():
    """One transform is known wherever M is diagonal in one."""
    rng, shape = np.random.default_rng(0), (2, 4, 6)
    r = PDS.from_images(images(shape)).frequency
    levels = np.broadcast_to(np.array([0.8, 1.3])[:, None, None], shape)
    p = rng.uniform(1, 2, shape)
    for m, kind, values in (
        (SpaceFrequency(shape, r), FourierTransform, r),
        (SpaceFrequency(shape, r, levels), FourierTransform, r * levels),
        (SpaceFrequency(shape, np.full((4, 6), 2.0), p), IdentityTransform, 2 * p),
        (SpaceFrequency(shape, space=levels), IdentityTransform, levels),
    ):
        assert isinstance(m.transform, kind)
        np.testing.assert_array_equal(m.eigenvalues.reshape(shape), values)
        assert m.scalar is None
    both = SpaceFrequency(shape, r, p)
    assert (both.transform, both.eigenvalues, both.scalar) == (None, None, None)
    assert SpaceFrequency(shape).scalar == 1.0
    assert SpaceFrequency(shape, np.full((4, 6), 2.0), np.full(shape, 1.5)).scalar == 3.0


def test_operators_are_traced_once_and_differentiated():
    m = operators((2, 4, 6))["both"]
    x = jnp.asarray(images((2, 4, 6), 2))
    traced = jax.jit(m.gram)(x)
    np.testing.assert_allclose(traced, m.gram(np.asarray(x)), atol=1e-13)
    u = torch.tensor(images((2, 4, 6), 1), requires_grad=True)
    v = torch.tensor(images((2, 4, 6), 1, seed=5))
    (v * m.apply(u)).sum().backward()
    np.testing.assert_allclose(u.grad, m.transpose(v.numpy()), atol=1e-13)


def test_disc_and_plateaus_lie_where_they_should():
    disc = Disc((3, 16, 16), 0.25, 1.4).frequency
    k = np.fft.fftfreq(16, 1 / 16)
    radius = np.hypot(k[:, None], k[None, :])
    assert (disc == np.where(radius <= 4, 1.0, 1.4)).all()  # |k| <= r H, the boundary inside
    wide = Disc((8, 16), (0.25, 0.125), 2.0).frequency
    assert wide[2, 0] == wide[0, 2] == 1.0  # one semi-axis each
    assert wide[3, 0] == wide[0, 3] == 2.0
    made = TDAS.plateaus((100, 100), (1.5, 1.2, 0.9)).frequency
    assert made[0, 8] == made[4, 4] == 1.5
    assert made[0, 9] == made[-5, 4] == made[22, 0] == 1.2
    # Along the diagonal the star ends at tip 2^(-1/p) = 0.0991.
    assert made[9, 9] == 1.2
    assert made[10, 10] == made[0, 23] == 0.9
    measured = {"diamond": 0.082, "tip": 0.224, "power": 0.85}  # in the authors' figure
    assert TDAS.plateaus((4, 4), (1, 1, 2)).settings == {"gains": [1, 1, 2], **measured}
    outside = TDAS.disc((8, 8), 0.2, 0.9)
    assert (outside.frequency == Disc((8, 8), 0.2, 0.9).frequency).all()
    assert TDAS.scaled((3, 8, 8), 0.81).scalar == pytest.approx(0.9, rel=1e-15)
    shaded = TDAS.scaled((2, 3), 0.25, space=np.arange(1.0, 7).reshape(2, 3))
    np.testing.assert_array_equal(shaded.eigenvalues, np.arange(1, 7) / 2)


def test_skew_is_a_derivative_that_commutes_with_filters():
    shape, d, omega = (2, 5, 6), (1, 2), 0.4
    s = Skew(shape, d, omega)
    dense = s.matrix()
    np.testing.assert_allclose(dense, -dense.T, atol=1e-15)
    u = images(shape, 1)
    ky, kx = np.fft.fftfreq(5)[:, None], np.fft.fftfreq(6)[None, :]
    symbol = 2j * omega * np.sin(2 * np.pi * (ky * d[0] + kx * d[1]))
    np.testing.assert_allclose(s.apply(u), np.fft.ifft2(symbol * np.fft.fft2(u)).real, atol=1e-14)
    m = PDS.from_images(images(shape))
    np.testing.assert_allclose(m.apply(s.apply(u)), s.apply(m.apply(u)), atol=1e-13)
    line = Skew((5,), (1,), 1.0).matrix()
    np.testing.assert_array_equal(line, np.roll(np.eye(5), 1, 1) - np.roll(np.eye(5), -1, 1))


def lopsided(value=2.0):
    mask = np.ones((4, 5))
    mask[1, 2] = value
    return mask


def holed(value):
    mask = np.ones((4, 5))
    mask[3, 1] = value
    return mask


REFUSED = {
    "asymmetric": (
        lambda: PDS((4, 5), lopsided()),
        r"at 2 of 20 entries, most at \(1, 2\): 2 against 1 at \(3, 3\)",
    ),
    "zero": (
        lambda: PDS((4, 5), holed(0)),
        r"1 entries .* not positive, the first is 0 at \(3, 1\)",
    ),
    "negative space": (lambda: PDS((4, 5), space=holed(-1)), "the space gain has 1 entries that"),
    "nan": (lambda: PDS((4, 5), holed(np.nan)), r"1 entries that are NaN or Inf, .* \(3, 1\)"),
    "resolution": (lambda: PDS((3, 8, 8), np.ones((8, 5))), r"shape \(8, 5\), expected \(8, 8\)"),
    "channels": (lambda: PDS((3, 8, 8), np.ones((2, 8, 8))), "make it from statistics at this"),
    "complex": (lambda: PDS((4, 4), np.ones((4, 4), complex)), "no array of real numbers"),
    "one axis": (lambda: PDS((4,), np.ones(4)), r"expected \(H, W\) or \(C, H, W\)"),
    "fourier": (
        lambda: Spectral(FourierTransform((4, 5)), lopsided()),
        "array of Fourier eigenvalues differs between k and -k",
    ),
    "eigenvalues": (lambda: Spectral(FourierTransform((4, 5)), np.ones(19)), "expected 20"),
    "alpha": (lambda: PDS.from_images(images((4, 4)), alpha=1), "number > 1"),
    "infinite alpha": (lambda: PDS.from_images(images((4, 4)), alpha=np.inf), "finite number"),
    "filter": (lambda: PDS.from_images(images((4, 4)), filters="spaces"), "Did you mean 'space'"),
    "alpha in words": (lambda: PDS.from_images(images((4, 4)), alpha="5"), "alpha is '5'"),
    "filters": (lambda: PDS.from_images(images((4, 4)), filters=None), "filters is None, expected"),
    "data range": (
        lambda: PDS.from_images(images((4, 4)), data_range=(1, 0)),
        r"data_range is \(1, 0\), expected \(low, high\)",
    ),
    "no option": (lambda: PDS.from_spectrum(lopsided()), r"real images is one\), or average the"),
    "no filter": (lambda: PDS.from_images(images((4, 4)), filters=()), "filters is empty"),
    "norm": (lambda: PDS.from_images(images((4, 4)), normalisation="max"), "eccv, released"),
    "black": (lambda: PDS.from_images(np.zeros((3, 4, 4))), "all images are 0"),
    "range": (lambda: PDS.from_images(2 * images((4, 4)) - 1), r"pass \(x \+ 1\) / 2 for"),
    "bytes": (lambda: PDS.from_images(255 * images((4, 4))), "divide by 255"),
    "skew": (
        lambda: SkewMatrix([[0, 1.0], [-1.1, 0]]),
        r"not skew: S\[0, 1\] = 1 but S\[1, 0\] = -1.1",
    ),
    "skew size": (lambda: SkewMatrix(np.zeros((2, 2)), (3,)), "samples of shape"),
    "skew form": (lambda: SkewMatrix(np.zeros((2, 3))), r"expected \(dim, dim\)"),
    "half turn": (lambda: Skew((3, 4, 6), (2, 3), 1.0), "so that S = 0"),
    "half a pixel": (lambda: Skew((4, 6), (0.5, 1), 1.0), "whole numbers of pixels"),
    "long vector": (lambda: Skew((4,), (1, 1), 1.0), "1 to 1 whole numbers"),
    "omega": (lambda: Skew((4,), (1,), np.nan), "omega has 1 entries that are NaN"),
    "scalar": (lambda: Scalar(np.inf), "the scalar c has 1 entries"),
    "diagonal": (lambda: Diagonal(np.ones((3, 4)), (3, 5)), r"\(3, 4\), expected \(3, 5\)"),
    "plateaus": (lambda: TDAS.plateaus((4, 4), (1, 2)), "2 entries, expected 3"),
    "gain": (lambda: Disc((4, 4), 0.2, 0.0), "gain is 0.0, expected a finite number > 0"),
    "radius": (lambda: Disc((4, 4), (0.1, 0.2, 0.3), 1.2), "number or .vertical, horizontal"),
    "gamma": (lambda: TDAS.scaled((4,), -1), "gamma is -1"),
    "shape": (lambda: Diagonal(np.ones(()), ()), "without the batch"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_masks_are_sentences(case):
    make, sentence = REFUSED[case]
    with pytest.raises(PreconditionError, match=sentence):
        make()


def test_masks_are_repaired_only_when_asked_or_rounded():
    made = PDS((4, 5), lopsided(), symmetrise=True).frequency
    assert made[1, 2] == made[3, 3] == 1.5
    single = lopsided(1 + 1e-6).astype(np.float32)
    for given in (single, torch.from_numpy(single), jnp.asarray(single)):
        rounded = PDS((4, 5), given).frequency
        assert rounded[1, 2] == rounded[3, 3] != 1.0
    with pytest.raises(PreconditionError, match="differs"):
        PDS((4, 5), lopsided(1 + 1e-6))


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("scalar", "identity")])
def test_samples_of_another_shape_are_refused(name):
    m = operators((2, 5, 6))[name]
    for call in (m.apply, m.transpose, m.gram):
        # A batch of two would broadcast against two channels.
        with pytest.raises(PreconditionError, match="at this resolution"):
            call(np.zeros((2, 5, 6)))
    with pytest.raises(PreconditionError, match="at this resolution"):
        m.matrix((5, 12))


def test_whole_numbers_are_refused_rather_than_cut_off():
    for m in (
        PDS.from_images(images((4, 4))),
        Diagonal(np.full((4, 4), 1.1)),
        SkewMatrix(np.triu(np.ones((16, 16)), 1) - np.tril(np.ones((16, 16)), -1), (4, 4)),
    ):
        for x in (np.ones((1, 4, 4), dtype=int), torch.ones((1, 4, 4), dtype=torch.int32)):
            with pytest.raises(PreconditionError, match=r"type (torch\.)?int\d\d, expected float"):
                m.apply(x)


def test_large_and_shapeless_matrices_are_refused():
    with pytest.raises(PreconditionError, match="at most 4096"):
        Scalar(2.0).matrix((65, 64))
    with pytest.raises(PreconditionError, match="say which"):
        Identity().matrix()


def test_a_wavelet_operator_is_symmetric():
    shape = (2, 8, 4)
    transform = WaveletTransform(shape, "db2", 2)
    m = Spectral(transform, np.random.default_rng(0).uniform(1, 2, transform.dim))
    dense = m.matrix()
    np.testing.assert_allclose(dense, dense.T, atol=1e-14)
    np.testing.assert_allclose(np.linalg.eigvalsh(dense), np.sort(m.eigenvalues), rtol=1e-12)
