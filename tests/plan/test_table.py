"""The printed table says what the arrays hold."""

import json

import numpy as np

from sgmsolve.plan import Plan, PlanBuilder
from sgmsolve.plan.table import as_text, to_rows
from sgmsolve.process.vp import VP


def plan(steps: int = 2) -> Plan:
    b = PlanBuilder(
        VP(),
        np.linspace(0.9, 0.1, steps + 1),
        predicts="noise",
        name="toy",
        options={"eta": 1.0},
        orders={"weak": 2},
        reference="someone2020",
    )
    for t, s in b.steps():
        e0 = b.predict(b.z, t)
        xi = b.xi(kind="kernel")
        e1 = b.predict(0.75 * b.z + 0.125 * e0 + 0.0625 * xi, s)
        b.advance(b.z - e1 + 0.5 * e0 - 0.375 * xi)
    return b.plan()


def test_rows_hold_every_nonzero_entry() -> None:
    rows = to_rows(plan())
    assert [r["row"] for r in rows] == [-1, 0, 1, 2, 3]
    assert rows[0]["updates"]["Z1"] == {"z": 1.0}
    assert rows[1]["updates"]["Z1"] == {"Z1": 0.75, "e0": 0.125, "xi0": 0.0625}
    assert rows[2]["updates"]["Z1"]["e1"] == -1.0
    assert rows[2]["updates"]["Z1"]["e0"] == 0.5
    assert rows[3]["draws"] == {"xi2": {"kind": "kernel", "start": 0.1, "end": 0.5}}
    assert json.loads(json.dumps(rows)) == rows


def test_rows_rebuild_the_response() -> None:
    """Substituting the printed rows into each other gives the plan's own affine map."""
    original = plan(3)
    values: dict[str, dict[str, float]] = {}
    for row in to_rows(original):
        new = {}
        for register, terms in row["updates"].items():
            total: dict[str, float] = {}
            for name, c in terms.items():
                for symbol, d in values.get(name, {name: 1.0} if name[0] != "Z" else {}).items():
                    total[symbol] = total.get(symbol, 0.0) + c * d
            new[register] = total
        values = new
    found, want = values["Z1"], original.response()
    assert np.isclose(found["z"], want.z0[0, 0], rtol=1e-14)
    es = [found.get(f"e{r}", 0.0) for r in range(original.rows)]
    np.testing.assert_allclose(es, want.predictions[:, 0, 0], rtol=1e-14)
    np.testing.assert_allclose([found[f"xi{r}"] for r in (0, 2, 4)], want.noise[:, 0], rtol=1e-14)


def test_text_shows_header_and_formulas() -> None:
    text = as_text(plan())
    assert text == str(plan())
    for part in ("toy", "vp(", "'noise'", "4 rows", "weak 2", "eta=1", "someone2020", "kernel"):
        assert part in text
    assert "Z1' = 0.75 Z1 + 0.125 e0 + 0.0625 xi0" in text
    assert "- e1" in text  # a coefficient of -1 is a sign
    assert "Z1 = z\n" in text


def test_long_plans_are_elided_in_the_middle() -> None:
    text = as_text(plan(40), max_rows=10)
    assert "70 more rows" in text
    shown = [int(line[:5]) for line in text.splitlines() if line[:5].strip().isdigit()]
    assert shown == [0, 1, 2, 3, 4, 75, 76, 77, 78, 79]
    assert "more rows" not in as_text(plan(5), max_rows=10)


def test_lines_fit_and_nothing_is_broken_inside_a_term() -> None:
    wide = plan(3).replace(
        name="a" * 60, options={"values": list(range(200)), "text": "word " * 60}
    )
    many = PlanBuilder(VP(), np.linspace(0.9, 0.1, 13), predicts="noise")
    past: list = []
    for t, _ in many.steps():
        past = [many.predict(many.z, t), *past]
        many.advance(many.z + sum((1 / (i + 3)) * e for i, e in enumerate(past)))
    for text in (as_text(wide), as_text(many.plan())):
        assert max(map(len, text.splitlines())) <= 100
        assert not any(line.rstrip().endswith((" +", " -")) for line in text.splitlines())
