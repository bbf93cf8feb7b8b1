"""What the language of splitting schemes and the options of phase-space methods refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from phase_methods import build, striding

from sgmsolve import PSLD, VP, AugmentedProcess, Gaussian, as_model, solve
from sgmsolve.errors import BackendError, MethodError, ModelError, PlanError, ProcessError
from sgmsolve.methods._letters import parse
from sgmsolve.methods.conjugate import conjugate
from sgmsolve.methods.registry import find

P = PSLD(0.3, 3.0)
T, S = 0.8, 0.7

SENTENCES = {
    "s B Q": "'Q' cannot be read; write letters s A B O L S S1 S2 separated by blanks",
    "s B/0 A": "'B/0' cannot be read",
    "s@late B A": "'s@late' cannot be read",
    "s B A/x": "'A/x' cannot be read",
    "s B A@mid": "'A@mid' is no such thing; s takes a time",
    "s/2 B A": "'s/2' is no such thing",
    "s O! B A": "'O!' has a '!', but only A and B have linear parts",
    "B s A": "'B' needs a prediction, but none was made before it; put an s in front",
    "L S": "'S' needs a prediction",
    "s@2 B A": "'s@2' lies outside the step",
    "s B*2 A": "'B*2' lies outside the step",
    "s B*0 A": "'B*0' lies outside the step",
    "s B A L": "mixes A, B, O with L, S",
    "s O S": "mixes A, B, O with L, S",
    "s B": "has no A; a step needs all its parts",
    "": "has no A and no B",
    "L/2 L/2": "has no S",
    "s B/2 A": "the parts of B add up to 1/2, expected 1",
    "s B A A": "the parts of A add up to 2, expected 1",
    "s B A O/3": "the parts of O add up to 1/3, expected 1",
    "L/2 S2 S1 L/2": "the parts of S add up to 2, expected 1",
}


@pytest.mark.parametrize("scheme", SENTENCES)
def test_unreadable_schemes(scheme: str) -> None:
    with pytest.raises(MethodError) as caught:
        parse(scheme)
    assert SENTENCES[scheme] in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_scheme_is_read_as_written() -> None:
    found = parse("O s@0.25 B*1/3 A s@end B*2/3")
    assert [x.name for x in found] == ["O", "s", "B", "A", "s", "B"]
    assert [str(x.part) for x in found] == ["1", "1/4", "1/3", "1", "1", "2/3"]
    assert [str(x.before) for x in found] == ["0", "0", "0", "0", "0", "1/3"]
    assert sum(x.evaluations for x in parse("L/2 S2 L/2")) == 2
    assert sum(x.evaluations for x in parse("L/2 S1 L/2")) == 1


OPTIONS = [
    ("conjugate", {"order": 4}, "order = 4 was given, but conjugate integrators have order 1, 2"),
    ("conjugate", {"B": "diagonal"}, "unknown B 'diagonal'"),
    ("conjugate", {"kind": "velocity"}, "unknown kind 'velocity'"),
    ("conjugate", {"factor": "left"}, "unknown factor 'left'"),
    ("conjugate", {"eta": -1.0}, "eta = -1.0 was given"),
    ("splitting", {"flow": "exakt"}, "unknown flow 'exakt'. Did you mean 'exact'?"),
    ("splitting", {"lambda_s_form": "plain"}, "unknown lambda_s_form 'plain'"),
    ("splitting", {"lambda_s": -1.0}, "lambda_s = -1.0 was given"),
    ("splitting", {"scheme": "L S2", "flow": "row"}, "is for the letters A and B"),
    ("rvv", {"last": "begin"}, "unknown last 'begin'"),
    ("cvv", {"B": "euler"}, "unknown B 'euler'"),
    ("rse", {"lambda_s": 1.0}, "option of method 'rse'"),
    ("sscs", {"eta": 0.5}, "option of method 'sscs'"),
]


@pytest.mark.parametrize(("name", "options", "text"), OPTIONS)
def test_wrong_options(name: str, options: Any, text: str) -> None:
    with pytest.raises(MethodError) as caught:
        build(P, [T, S], name, **options)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("B", "where"),
    [
        *[(value, "") for value in (np.eye(3), np.full((2, 2), np.nan), None, 0.5)],
        (lambda t: np.eye(2) if t > 0.75 else np.ones(2), " at t = 0.7"),
        (lambda t: "x", " at t = "),
    ],
)
def test_wrong_matrices(B: Any, where: str) -> None:
    with pytest.raises(MethodError, match="expected a finite matrix") as caught:
        conjugate(P, [T, S], B=B)
    assert str(caught.value).startswith(f"B{where}")


def test_wrong_processes_and_models() -> None:
    with pytest.raises(
        MethodError, match="is for CLD, PSLD, AugmentedProcess, but the process is VP"
    ):
        find("splitting")(VP(), [T, S])
    with pytest.raises(MethodError, match="needs a process with scalar alpha and sigma"):
        find("ddim")(P, [T, S])
    z = (np.zeros((2, 1)), np.zeros((2, 1)))
    plan = build(P, [T, S], "rse")
    with pytest.raises(BackendError, match="but the model's process is"):
        solve(plan, as_model(lambda x, t: x, process=VP(), predicts="noise"), z)
    with pytest.raises((BackendError, ModelError, PlanError)) as caught:
        solve(plan, Gaussian([0.6], [0.25]).model(P, "score"), z[:1])
    assert "component" in str(caught.value) or "expected 2" in str(caught.value)


def test_many_rows_with_a_varying_matrix() -> None:
    plan = conjugate(P, striding(P, 100), B=lambda t: np.array([[t, 1.0], [0, 2 * t]]))
    assert plan.rows == 100
    assert np.isfinite(plan.move).all()


def test_splittings_of_a_full_diffusion_say_what_to_use() -> None:
    G = np.array([[0.0, 0.0], [1.0, 3.0]])
    process = AugmentedProcess(np.array([[0.0, 4.0], [-4.0, -16.0]]), G)
    with pytest.raises(ProcessError, match="use the letters L and S in place of A, B and O"):
        build(process, [T, S], "roba")


@pytest.mark.parametrize("scheme", ["s s B A", "s B A s", "s S2 L", "O s B A s@end"])
def test_a_prediction_that_nothing_uses_is_refused(scheme: str) -> None:
    with pytest.raises(MethodError, match="nothing uses the prediction of 's"):
        parse(scheme)
