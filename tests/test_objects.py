"""Words for preconditioners and fits on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_runs import refuse, succeed
from sgmsolve.problems import find

from sgmsolve import GaussianField
from sgmsolve.errors import PreconditionError
from sgmsolve.plan import Plan
from sgmsolve.precondition import PDS, GaussianFit, Scalar, Statistics
from sgmsolve.solving import with_objects


def test_words_become_objects(tmp_path) -> None:
    target = find("field").target
    made = with_objects(
        {"preconditioner": "pds@4", "skew": "0,1@0.3", "fit": "target", "spectrum": 2.0, "eta": 1},
        target,
    )
    expected = PDS.from_spectrum(target, alpha=4.0, data_range=(-1, 1))
    np.testing.assert_allclose(made["preconditioner"].eigenvalues, expected.eigenvalues)
    assert (made["skew"].vector, made["skew"].omega) == ((0, 1), 0.3)
    np.testing.assert_array_equal(made["fit"].eigenvalues, target.eigenvalues)
    assert (made["spectrum"], made["eta"]) == (2.0, 1)
    expected.save(tmp_path / "p.npz")
    made = with_objects({"preconditioner": str(tmp_path / "p.npz")}, None)
    np.testing.assert_array_equal(made["preconditioner"].eigenvalues, expected.eigenvalues)
    assert with_objects({"preconditioner": "scalar@1.25"}, None)["preconditioner"].scalar == 1.25
    kept = {"fit": GaussianFit.from_target(target), "preconditioner": Scalar(2.0)}
    assert with_objects(kept, None) == kept


def test_masks_are_made_in_the_targets_range() -> None:
    digits = find("digits").target
    made = with_objects({"preconditioner": "pds@5"}, digits)["preconditioner"].frequency
    gains = PDS.from_images((digits.data + 1) / 2).frequency
    # The target is the pictures smoothed by 0.1, which adds that variance to all frequencies.
    found, wanted = ((np.median(g), g.max()) for g in (made, gains))
    np.testing.assert_allclose(wanted, (1.178, 1.233), atol=5e-4)
    np.testing.assert_allclose(found, wanted, rtol=5e-3)
    white = GaussianField.power_law((8, 8), variance=0.04, mean=0.5)
    for given, told in ((None, (0, 1)), ((-1, 1), (-1, 1))):
        made = with_objects({"preconditioner": "pds@5"}, white, given)["preconditioner"]
        wanted = PDS.from_spectrum(white, data_range=told).frequency
        np.testing.assert_allclose(made.frequency, wanted, rtol=1e-12)


def test_statistics_are_mapped_when_asked(tmp_path) -> None:
    images = np.random.default_rng(0).uniform(0, 1, (6, 4, 4))
    path = Statistics.from_images(images).save(tmp_path / "s.npz")
    for text, pictures in ((f"{path}", images), (f"{path}@-1,1", 2 * images - 1)):
        fit = with_objects({"fit": text}, None)["fit"]
        wanted = GaussianFit.from_images(pictures, "fourier")
        np.testing.assert_allclose(fit.eigenvalues, wanted.eigenvalues, rtol=1e-9)
        np.testing.assert_allclose(fit.mean, wanted.mean, atol=1e-14)
    for bad, said in (("@-1", "FILE.npz@-1,1 to map"), ("@1,-1", "with low < high")):
        with pytest.raises(PreconditionError, match=said):
            with_objects({"fit": f"{path}{bad}"}, None)


@pytest.mark.parametrize(
    ("key", "text", "sentence"),
    [
        ("preconditioner", "scalar@one", "expected scalar@1.1, pds@5 or a file"),
        ("preconditioner", "nonsense", "expected scalar@1.1, pds@5 or a file"),
        ("preconditioner", "missing.npz", "cannot be read"),
        ("preconditioner", "scalar@nan", "NaN or Inf"),
        ("skew", "1@x", r"expected 0,1@0.3"),
        ("fit", "data", "expected target, a number or a file"),
        ("spectrum", "target", "there is none here"),
    ],
)
def test_other_words_are_refused(key, text, sentence) -> None:
    with pytest.raises(PreconditionError, match=sentence):
        with_objects({key: text}, None)


def test_commands_take_them(tmp_path, capsys) -> None:
    out = tmp_path / "x.npz"
    options = ("preconditioner=pds@5", "where=published", "spectrum=target")
    words = [word for option in options for word in ("-o", option)]
    method = ("-m", "predictor-corrector", "--steps", 3, "--n", 2)
    succeed(capsys, "sample", "field", *method, *words, "--out", out)
    assert np.isfinite(np.load(out)["x"]).all()
    plan = tmp_path / "plan.npz"
    word = "preconditioner=scalar@1.1"
    succeed(capsys, "plan", "predictor-corrector", "--steps", 3, "-o", word, "--out", plan)
    assert Plan.load(plan).rows == 8
    said = refuse(capsys, "plan", "target-aware", "-o", "fit=target")
    assert "there is none here" in said
    report = tmp_path / "report"
    methods = "target-aware:fit=target,ddim"
    succeed(capsys, "compare", "field", "--methods", methods, "--nfe", 6, "--out", report)
    rows = json.loads((report / "results.json").read_text())["rows"]
    errors = {row["method"]: row["error"] for row in rows if row.get("error") is not None}
    assert errors["target-aware (fit=target)"] < 1e-6 < errors["ddim"]
