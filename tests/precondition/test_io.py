"""Saved preconditioners come back bit for bit; anything else is a sentence."""

import json
import sys

import numpy as np
import pytest

from sgmsolve.errors import PreconditionError
from sgmsolve.precondition import (
    PDS,
    TDAS,
    CosineTransform,
    Diagonal,
    Disc,
    FourierTransform,
    Identity,
    Preconditioner,
    Scalar,
    Skew,
    SkewMatrix,
    SpaceFrequency,
    Spectral,
    Statistics,
    WaveletTransform,
    from_arrays,
    load,
    pca,
    save,
    to_arrays,
)

SHAPE = (2, 4, 8)


def operators():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (30, *SHAPE))
    dense, low = pca(images), pca(images, 5)
    cosine, wavelet = CosineTransform(SHAPE), WaveletTransform(SHAPE, "db2", 1)
    values = rng.uniform(1, 2, cosine.dim)
    return {
        "pds": PDS.from_images(images, 3, ("frequency", "space")),
        "pds in frequency": PDS.from_images(images),
        "disc": Disc(SHAPE, (0.2, 0.3), 1.2),
        "tdas": TDAS.plateaus(SHAPE, (1.1, 1.0, 0.9)),
        "filters": SpaceFrequency(SHAPE, space=rng.uniform(1, 2, SHAPE)),
        "scalar": Scalar(0.1),
        "identity": Identity(),
        "diagonal": Diagonal(rng.standard_normal(SHAPE)),
        "cosine": Spectral(cosine, values),
        "wavelet": Spectral(wavelet, values),
        "fourier": Spectral(FourierTransform(SHAPE), PDS.from_images(images).eigenvalues),
        "dense": Spectral(dense.transform, dense.eigenvalues),
        "low rank": Spectral(low.transform, low.eigenvalues),
        "skew": Skew(SHAPE, (1, -2), 0.3),
        "skew matrix": SkewMatrix([[0, 0.1], [-0.1, 0]], (2,)),
    }


@pytest.mark.parametrize("name", operators())
def test_saved_operators_come_back(name, tmp_path, monkeypatch):
    made = operators()[name]
    monkeypatch.setitem(sys.modules, "pywt", None)  # files hold the wavelet's filters
    path = made.save(tmp_path / "operator")
    assert path == tmp_path / "operator.npz"
    assert save(made, tmp_path / "again.npz").read_bytes() == path.read_bytes()
    header, arrays = to_arrays(made)
    json.dumps(header)
    assert all(array.dtype == np.float64 for array in arrays.values())
    for again in (
        load(tmp_path / "operator"),
        Preconditioner.load(path),
        from_arrays(header, arrays),
    ):
        assert type(again) is type(made)
        assert (repr(again), again.shape, again.scalar) == (repr(made), made.shape, made.scalar)
        x = np.random.default_rng(1).standard_normal((2, *(made.shape or (3,))))
        for call in ("apply", "transpose", "gram"):
            np.testing.assert_array_equal(getattr(again, call)(x), getattr(made, call)(x))
        assert (again.eigenvalues is None) == (made.eigenvalues is None)


class Own(Scalar):
    pass


class OwnFourier(FourierTransform):
    pass


def test_classes_of_ones_own_cannot_be_saved(tmp_path):
    for own in (Own(2.0), Spectral(OwnFourier((4, 4)), np.ones(16))):
        with pytest.raises(PreconditionError, match="cannot be saved"):
            own.save(tmp_path / "own.npz")

    class Plain(Preconditioner):
        def apply(self, x):
            return x

        transpose = apply

    with pytest.raises(PreconditionError, match="a PCA cannot be saved: expected a precond"):
        save(pca(np.random.default_rng(0).standard_normal((5, 3))), tmp_path / "own.npz")
    with pytest.raises(PreconditionError, match="a Plain cannot be saved"):
        Plain().save(tmp_path / "own.npz")
    assert not list(tmp_path.iterdir())


def test_bad_files_are_sentences(tmp_path):
    path = Scalar(2.0).save(tmp_path / "good.npz")
    content = path.read_bytes()
    bad = tmp_path / "bad.npz"
    for broken in (b"", content[:-30], content[: len(content) // 2], b"PK nonsense"):
        bad.write_bytes(broken)
        with pytest.raises(PreconditionError, match="not a readable preconditioner"):
            load(bad)
    np.savez(bad, a=np.ones(3))
    with pytest.raises(PreconditionError, match="not a readable preconditioner"):
        load(bad)
    Statistics.from_images(np.ones((2, 3, 3))).save(tmp_path / "statistics.npz")
    with pytest.raises(PreconditionError, match="header names another format"):
        load(tmp_path / "statistics.npz")
    for missing in (tmp_path / "none.npz", "a\0b", tmp_path, 5):
        with pytest.raises(PreconditionError, match="cannot be read"):
            load(missing)
    for unwritable in (tmp_path / "none" / "x.npz", "a\0b"):
        with pytest.raises(PreconditionError, match="cannot be written"):
            Scalar(2.0).save(unwritable)


def rewritten(path, **changes):
    """The file with another header and a checksum that fits it."""
    from sgmsolve import _archive

    header, arrays = _archive.Archive(
        "x", "sgmsolve-preconditioner", 99, PreconditionError, "x"
    ).load(path)
    format_of = _archive.Archive(
        "x", "sgmsolve-preconditioner", changes.pop("version", 1), PreconditionError, "x"
    )
    return format_of.save(path, {**header, **changes}, arrays)


def test_files_of_other_versions_and_kinds_are_sentences(tmp_path):
    path = Scalar(2.0).save(tmp_path / "p.npz")
    rewritten(path, version=2)
    with pytest.raises(PreconditionError, match="format version 2, but this sgmsolve reads"):
        load(path)
    rewritten(path, kind="Shear")
    with pytest.raises(PreconditionError, match="is a 'Shear', expected one of Diagonal, Disc"):
        load(path)
    rewritten(path, kind="Skew")
    with pytest.raises(PreconditionError, match=r"preconditioner is incomplete .KeyError"):
        load(path)
    rewritten(path, kind="Spectral", transform={"kind": "Sine", "shape": [4]})
    with pytest.raises(PreconditionError, match="transform is a 'Sine'"):
        load(path)


def test_statistics_come_back(tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (5, 3, 4))
    for made in (Statistics.from_images(images), Statistics.of_gaussian(np.ones((3, 4)), 0.5)):
        again = Statistics.load(made.save(tmp_path / "s"))
        for name in ("power", "second", "mean"):
            np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
        assert (again.count, again.low, again.high) == (made.count, made.low, made.high)
        assert again.skipped == made.skipped
    Scalar(2.0).save(tmp_path / "p.npz")
    with pytest.raises(PreconditionError, match="not a readable statistics"):
        Statistics.load(tmp_path / "p.npz")
