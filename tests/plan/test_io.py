"""Plan files: an exact round trip, and a sentence for everything that is not a plan."""

import contextlib
import dataclasses
import io
import json
import zipfile
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgmsolve.errors import PlanError
from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.io import load, save
from sgmsolve.process.vp import VP


def plan(grid: tuple[float, ...] = (0.9, 0.7, 0.3), **options: object) -> Plan:
    b = PlanBuilder(
        VP(),
        grid,
        predicts="noise",
        name="toy",
        options={"eta": 1 / 3, "variant": None, **options},
        orders={"weak": 1.0},
        reference="someone2020",
    )
    for t, s in b.steps():
        e0 = b.predict(b.z, t)
        xi = b.xi(kind="kernel")
        e1 = b.predict(b.z / 3 + e0 / 7 + 0.1 * xi, s)
        b.advance(b.z / 9 + (t - s) * e1 - xi / 11)
    return b.plan()


def same(a: Plan, b: Plan) -> bool:
    for f in dataclasses.fields(Plan):
        x, y = getattr(a, f.name), getattr(b, f.name)
        equal = x.tobytes() == y.tobytes() if isinstance(x, np.ndarray) else x == y
        if not equal or (isinstance(x, np.ndarray) and (x.dtype, x.shape) != (y.dtype, y.shape)):
            return False
    return True


def test_round_trip_is_bitwise(tmp_path: Path) -> None:
    original = plan().replace(start="matched", pathwise=False)
    written = save(original, tmp_path / "a.npz")
    assert written == tmp_path / "a.npz"
    assert same(load(written), original)
    assert not same(load(written), plan(grid=(0.9, 0.7, 0.3000001)))
    assert str(load(written)) == str(original)
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_methods_of_plan_do_the_same(tmp_path: Path) -> None:
    original = plan()
    original.save(tmp_path / "b")
    assert same(Plan.load(tmp_path / "b"), original)


def test_the_suffix_is_added(tmp_path: Path) -> None:
    assert save(plan(), tmp_path / "v1.5").name == "v1.5.npz"
    assert same(load(tmp_path / "v1.5"), plan())


def test_same_plan_same_bytes(tmp_path: Path) -> None:
    first, second = save(plan(), tmp_path / "a"), save(plan(), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()


def test_numpy_options_become_plain(tmp_path: Path) -> None:
    found = load(save(plan(r=np.float64(0.5), levels=np.arange(3), pair=(1, 2)), tmp_path / "a"))
    assert found.options == {
        "eta": 1 / 3,
        "variant": None,
        "r": 0.5,
        "levels": [0, 1, 2],
        "pair": [1, 2],
    }


def test_no_pickle_and_plain_numpy_reads_it(tmp_path: Path) -> None:
    with np.load(save(plan(), tmp_path / "a"), allow_pickle=False) as file:
        assert file["move"].dtype == np.float64
        assert json.loads(file["header"].tobytes())["name"] == "toy"


def test_multiprecision_tables_are_not_saved(tmp_path: Path) -> None:
    with mpmath.workdps(30), pytest.raises(PlanError, match=r"object entries.*grid of floats"):
        save(plan(grid=(mpmath.mpf("0.9"), mpmath.mpf("0.3"))), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_options_that_json_cannot_hold(tmp_path: Path) -> None:
    for value in (object(), float("nan")):
        with pytest.raises(PlanError, match="cannot be saved: its options"):
            save(plan(weird=value), tmp_path / "a")


def test_unwritable_and_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be written"):
        save(plan(), tmp_path / "missing" / "a")
    with pytest.raises(PlanError, match="cannot be read"):
        load(tmp_path / "nothing")
    with pytest.raises(PlanError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(PlanError, match="cannot be read"):
        load("bad\0name")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(PlanError, match="cannot be written"):
        save(plan(), tmp_path / "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.npz"]


def rewritten(path: Path, **changes: object) -> Path:
    """The file with some header entries replaced (the checksum stays), as another program might."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(np.load(io.BytesIO(members["header.npy"])).tobytes()) | changes
    text = io.BytesIO()
    np.save(text, np.frombuffer(json.dumps(header).encode(), np.uint8))
    members["header.npy"] = text.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_newer_foreign_and_edited_files(tmp_path: Path) -> None:
    path = save(plan(), tmp_path / "a")
    assert same(load(rewritten(path)), plan())
    with pytest.raises(PlanError, match=r"version 3, but this sgmsolve reads versions up to 2"):
        load(rewritten(save(plan(), tmp_path / "b"), version=3))
    with pytest.raises(PlanError, match="another format"):
        load(rewritten(save(plan(), tmp_path / "c"), format="something"))
    with pytest.raises(PlanError, match="checksum"):
        load(rewritten(save(plan(), tmp_path / "d"), predicts="data"))
    np.savez(tmp_path / "e.npz", move=np.zeros(3))
    with pytest.raises(PlanError, match="not a readable sgmsolve plan"):
        load(tmp_path / "e.npz")
    np.savez(tmp_path / "f.npz", header=np.array([{}], dtype=object))
    with pytest.raises(PlanError, match="not a readable sgmsolve plan"):
        load(tmp_path / "f.npz")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save(plan(), tmp_path_factory.mktemp("plans") / "a").read_bytes()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "a.npz"


def refused_or_same(target: Path, damaged: bytes) -> None:
    """No other exception, and never another plan than the one saved."""
    target.write_bytes(damaged)
    found = None
    with contextlib.suppress(PlanError):
        found = load(target)
    # A byte that nothing depends on, such as a zip time stamp, does no harm.
    assert found is None or same(found, plan())


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_flipped_bytes(content: bytes, target: Path, data: st.DataObject) -> None:
    damaged = bytearray(content)
    places = st.integers(0, len(content) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=4, unique=True)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    refused_or_same(target, bytes(damaged))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_truncated_files(content: bytes, target: Path, data: st.DataObject) -> None:
    target.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(PlanError):
        load(target)


@given(junk=st.binary(max_size=300), zipped=st.booleans())
@settings(max_examples=60, deadline=None)
def test_random_bytes(target: Path, junk: bytes, zipped: bool) -> None:
    if zipped:
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("header.npy", junk)
    else:
        target.write_bytes(junk)
    with pytest.raises(PlanError, match="not a readable sgmsolve plan"):
        load(target)
