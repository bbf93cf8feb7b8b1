"""``sgmsolve order --scheme``, and how warnings of unstable steps are shown."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_runs import refuse, succeed

import sgmsolve
from sgmsolve.analysis import order_scheme
from sgmsolve.analysis.order import measure, quietly
from sgmsolve.analysis.order_problems import problem
from sgmsolve.analysis.order_scheme import measure_scheme
from sgmsolve.cli import main
from sgmsolve.errors import MethodError, StabilityWarning
from sgmsolve.methods.registry import find
from sgmsolve.sampling import build_plan

RVV = "s B/2 A s@end B/2"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One interval of two: what is tested here is the command, not the measurement."""
    monkeypatch.setattr(order_scheme, "PHASE_INTERVALS", ("psld-uniform",))
    monkeypatch.setattr(
        order_scheme.measure_scheme, "__kwdefaults__", {"intervals": ("psld-uniform",)}
    )


@pytest.mark.parametrize(
    ("scheme", "method", "options", "kind", "evaluations", "order"),
    [
        (RVV, "rvv", {}, "deterministic", 2, 1),
        ("O s B A", "roba", {}, "weak", 1, 1),
        ("L/2 S1 L/2", "strang2-lagged-ode", {"eta": 0.0}, "deterministic", 1, 2),
        ("L/2 S2 L/2", "strang2", {}, "weak", 2, 2),
    ],
)
def test_a_published_scheme_written_out_has_the_numbers_of_its_record(
    scheme: str, method: str, options: dict[str, float], kind: str, evaluations: int, order: int
) -> None:
    found = measure_scheme(scheme, intervals=("psld-uniform",), **options)
    assert (found.kind, found.evaluations, found.order) == (kind, evaluations, order)
    assert [r.problem for r in found.rows] == ["gaussian", "mixture"][: len(found.rows)]
    assert len(found.rows) == (1 if kind == "weak" else 2)
    for row in found.rows:
        known = measure(method, problem(row.problem, "psld-uniform"))
        assert row.steps == known.steps
        np.testing.assert_allclose(row.errors, known.errors, rtol=1e-9)
        assert row.measured == pytest.approx(known.measured, abs=1e-6)
        extra = 1 if "S1" in scheme else 0  # the first step has none before it
        assert row.nfe == tuple(evaluations * n + extra for n in row.steps)


@pytest.mark.parametrize(
    ("scheme", "low", "high"),
    # omega = beta sqrt(m_inv) / 2 = 8 and h omega < 2; the others: spec, section 5a.
    [(RVV, 0.2495, 0.2505), ("O s B A", 0.1815, 0.1825), ("L/2 S2 L/2", 0.99, 1.0)],
)
def test_the_stability_limit_is_that_near_the_prior(scheme: str, low: float, high: float) -> None:
    found = order_scheme._stability(
        lambda p, g: find("splitting")(p, g, scheme=scheme), sgmsolve.PSLD()
    )
    assert low < found < high


def test_only_settled_slopes_make_an_order() -> None:
    def order_of(slopes: list[float]) -> int | None:
        steps = [16 * 2**i for i in range(len(slopes) + 1)]
        errors = np.exp2(-np.concatenate([[0.0], np.cumsum(slopes)]))
        row = order_scheme._row(problem("gaussian", "psld-uniform"), steps, steps, errors.tolist())
        assert row.slopes == pytest.approx(slopes)
        return row.order

    assert order_of([3.0, 1.14, 1.0, 0.86]) == 1
    assert order_of([2.0, 1.16, 1.0, 1.0]) is None
    assert order_of([1.9, 2.0]) is None
    assert order_of([0.0, 0.0, 0.0]) is None
    steps = [16, 32, 64, 128, 256, 512]
    errors = [1e5, float("inf"), 8.0, 4.0, 2.0, 1.0]
    row = order_scheme._row(problem("gaussian", "psld-uniform"), steps, steps, errors)
    assert (row.slopes, row.order) == ((1.0, 1.0, 1.0), 1)


def test_a_scheme_with_another_noise_has_no_order() -> None:
    """lambda_s = 3 solves another SDE: errors stop falling."""
    found = measure_scheme("O s B A", intervals=("psld-uniform",), lambda_s=3.0)
    assert found.order is None
    assert found.rows[0].slopes[-1] < 0


def test_denoise_and_scheme_are_no_options_of_a_measurement() -> None:
    for taken in ("denoise", "scheme"):
        with pytest.raises(MethodError, match=f"^{taken} = 'x' was given as an option"):
            measure_scheme("s B A", **{taken: "x"})


def test_scheme_as_json(quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("order", "--scheme", "L/2  S2 L/2", "--scheme", "s B A", "--json")
    first, second = json.loads(succeed(capsys, *words))
    assert (first["scheme"], first["kind"], first["order"]) == ("L/2 S2 L/2", "weak", 2)
    assert (second["scheme"], second["kind"], second["order"]) == ("s B A", "deterministic", 1)
    assert len(second["rows"]) == 2
    assert second["rows"][0]["steps"][-1] == 1024


def test_scheme_prints_errors_order_cost_and_limit(
    quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = succeed(capsys, "order", "--scheme", RVV, "-o", "flow=zero")
    assert text.startswith(f"{RVV} with flow=zero")
    assert "measured order        1 (deterministic" in text
    assert "evaluations a step    2" in text
    assert "longest stable step   0.171" in text  # CVV with B = 0: spec, section 5a
    found = measure_scheme(RVV, intervals=("psld-uniform",), flow="zero")
    for row in found.rows:
        assert all(f"{error:.2e}" in text for error in row.errors)
    assert f"{1024:>4}   {2048:>4}" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--scheme", "s B Q"), "'Q' cannot be read"),
        (("--scheme", "s B A", "--scheme", "s B/2 A"), "add up to 1/2"),
        (("roba", "--scheme", "s B A"), "by itself"),
        (("--all", "--scheme", "s B A"), "by itself"),
        (("--scheme", "s B A", "-o", "flow=row2"), "flow"),
        (("--scheme", "s B A", "-o", "etta=1"), "'eta'"),
        (("--scheme", "s B A", "-o", "scheme=s"), "leave it out"),
        (("roba", "-o", "lambda_s=2"), "for --scheme"),
    ],
)
def test_refusals(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert said in refuse(capsys, "order", *words)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """stderr of a command that must work."""
    capsys.readouterr()
    assert main([str(w) for w in words]) == 0
    return capsys.readouterr().err


def test_an_unstable_grid_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plan", "roba", "--process", "PSLD")
    for budget in (("--nfe", 5), ("--steps", 5)):
        text = run(capsys, *words, *budget)
        assert text.startswith("Warning: roba: ")
        assert text.count("\n") == 1
        assert "StabilityWarning" not in text
        assert "longer than 0.182" in text
    assert run(capsys, *words, "--nfe", 50) == ""
    text = run(capsys, "sample", "psld-ring", "-m", "roba", "--nfe", 5, "--out", tmp_path / "a")
    assert [line[:14] for line in text.splitlines() if "rning" in line] == ["Warning: roba:"]


def test_compare_says_it_once_a_method_and_names_the_smallest_budget(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sgmsolve.problems import find as find_problem

    from sgmsolve.cli import compare

    chosen = [find_problem(name) for name in ("gaussian", "psld-gaussian", "psld-ring")]
    choices = compare.parse_choices(["roba", "strang2", "rvv", "ddim"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare.check_any_plan(chosen[1:], choices, [5, 8])
        capsys.readouterr()
        compare.say_unstable(chosen, choices, [1, 5, 8])
    lines = capsys.readouterr().err.splitlines()
    starts = [
        "Warning: roba with 1 NFE on psld-gaussian: ",
        "Warning: rvv with 5 NFE on psld-gaussian: ",
    ]
    assert [any(line.startswith(s) for line in lines) for s in starts] == [True, True]
    assert len(lines) == 2


def test_a_budget_warns_of_the_plan_it_buys_and_of_no_other() -> None:
    """The candidates of nfe= are built in silence."""
    with pytest.warns(StabilityWarning) as found:
        plan = build_plan(sgmsolve.PSLD(), "rvv", nfe=13)
    assert plan.nfe == 12
    assert len(found) == 1
    first = sgmsolve.grid.striding(sgmsolve.PSLD(), 6)
    assert f"to t = {first[1]:.4g}" in str(found[0].message)
    quiet = quietly(find("rvv"), problem("gaussian", "psld-working"), 2)
    assert quiet.nfe == 4


def test_strong_prints_claim_order_interval_and_slopes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sgmsolve.analysis.strong import measure_strong

    monkeypatch.setenv("COLUMNS", "100")
    text = succeed(capsys, "order", "--strong", "sra1", "milstein")
    assert text.index("sra1, strong") < text.index("milstein, strong")
    rows = [measure_strong("milstein", name) for name in ("gbm", "double-well")]
    for row in rows:
        (line,) = [ln for ln in text.split("milstein, strong")[1].splitlines() if row.problem in ln]
        assert f" 1  {row.measured:.2f}±{row.half_width:.2f}  ok " in line
        last = f"{row.slopes[-1]:.2f}±{row.half_widths[-1]:.2f}".replace("±0.", "±.")
        assert last in line
        assert f"{row.paths}  {row.steps[0]}-{row.steps[-1]}" in line
    assert "None of 7 strong orders is wrong." in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_strong_comes_with_the_other_orders_of_a_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sgmsolve.analysis import order_suite, strong

    def one_row(names: list[str], **options: object) -> list[object]:
        assert names == ["euler-maruyama"]
        return [measure(names[0], problem("gaussian", "edm-start"))]

    tasks = strong.strong_tasks
    monkeypatch.setattr(order_suite, "measure_all", one_row)
    monkeypatch.setattr(strong, "strong_tasks", lambda names: tasks(names, ["gaussian"]))
    found = json.loads(succeed(capsys, "order", "--strong", "em", "sra1", "--json"))
    kinds = [(r["method"], r["kind"]) for r in found]
    assert kinds == [
        ("euler-maruyama", "strong"),
        ("sra1", "strong"),
        ("euler-maruyama", "weak"),
    ]
    path, weak = found[0], found[-1]
    assert path["claimed"] == 1
    assert 0 < path["half_width"] < 0.1
    assert len(path["half_widths"]) == len(path["slopes"]) == 3
    assert weak["half_width"] == 0
    last = weak["slopes"][-3:]
    assert weak["spread"] == (max(last) - min(last)) / 2


def test_a_wrong_strong_order_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sgmsolve.analysis import strong, strong_methods

    monkeypatch.setitem(strong_methods.CLAIMS, "milstein", (1.5, 1.0, "a mistake"))
    monkeypatch.setattr(strong.measure_strong, "__kwdefaults__", {"rounds": 1, "seed": 0})
    assert main(["order", "--strong", "milstein"]) == 1
    text = capsys.readouterr().out
    order = strong.measure_strong("milstein", "gbm").measured
    assert f"FAILED: milstein has strong order {order:.2f} on gbm, but claims 1.5." in text
    assert text.count("FAILED") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--strong", "milstien"), "'milstein'"),
        (("--strong", "heun"), "draws no noise, so it has no strong order"),
        (("--strong", "milstein", "--all"), "leave one out"),
        (("--strong", "--scheme", "s B A"), "by itself"),
        (("--strong", "sra1", "-o", "eta=1"), "for --scheme"),
        (("torchsde:srk",), "order --strong torchsde:srk"),
    ],
)
def test_refusals_of_strong(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refuse(capsys, "order", *words)
