"""A self-contained report page of a comparison: one HTML file that needs no network.

    page = render(results, samples, views)

``results`` is what ``results.json`` holds, ``samples`` what ``Comparison.samples`` holds and
``views`` the problems' ``View``. plotly.js is written into the page once, pictures are data URIs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgmsolve.analysis.report.pictures import data_uri
from sgmsolve.analysis.report.tables import (
    evaluations,
    failures,
    metric_tables,
    order_text,
    sentence_list,
    sorted_budgets,
)
from sgmsolve.errors import SgmsolveError

HERE = Path(__file__).parent
PALETTE = (
    "#3b7dd8",
    "#e0702f",
    "#2a9d72",
    "#cf4b6b",
    "#8b63d6",
    "#b58a1f",
    "#17a2b8",
    "#d45cb0",
    "#6d9127",
    "#8c6b58",
    "#5a6fd0",
    "#7b8794",
)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "cross")
REAL = "#7f8a99"
Samples = Mapping[str, Mapping[tuple[str, int | None], np.ndarray]]


def render(results: Mapping[str, Any], samples: Samples, views: Mapping[str, Any]) -> str:
    """The page as a string.

    Args:
        results: the content of ``results.json`` (``meta``, ``problems``, ``methods``, ``rows``).
        samples: problem -> (label, budget) -> samples; label "" holds exact ones, "reference" the
            reference's; the budget of a solver that chooses its own steps is None.
        views: problem -> how its samples are drawn.

    Raises:
        SgmsolveError: jinja2, plotly or pillow is not installed.
    """
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        msg = f"the report needs {error.name}; run: pip install 'sgmsolve[lab]'."
        raise SgmsolveError(msg) from None
    labels = legend(results["rows"])
    problems = [
        _problem(p, results["rows"], labels, samples.get(p["name"], {}), views[p["name"]])
        for p in results["problems"]
    ]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["orders"] = order_text
    environment.filters["sentence"] = sentence_list
    charts = {p["name"]: {t["metric"]: t["chart"] for t in p["tables"]} for p in problems}
    return environment.get_template("report.html.j2").render(
        meta=results["meta"],
        problems=problems,
        methods=results["methods"],
        warnings=results.get("warnings", []),
        labels=labels,
        charts=_embedded({"charts": charts, "labels": labels}),
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script=(HERE / "report.js").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
    )


def legend(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One entry a method, in the order given: label, kind, colour, marker."""
    kinds: dict[str, str] = {}
    for row in rows:
        if row["method"] not in kinds or row["status"] == "ok":
            kinds[row["method"]] = row["kind"]
    return [
        {
            "label": label,
            "kind": kind,
            "colour": PALETTE[i % len(PALETTE)],
            "symbol": SYMBOLS[i % len(SYMBOLS)],
        }
        for i, (label, kind) in enumerate(kinds.items())
    ]


def _problem(
    problem: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    labels: Sequence[Mapping[str, str]],
    shots: Mapping[tuple[str, int | None], np.ndarray],
    view: Any,
) -> dict[str, Any]:
    own = [r for r in rows if r["problem"] == problem["name"]]
    tables = metric_tables(own)
    measured = {r["method"] for r in own if r["status"] == "ok"}
    budgets = [b for b in sorted_budgets(own) if b is not None]
    free = {r["method"]: r for r in own if r["budget"] is None}
    methods = [entry for entry in labels if entry["label"] in measured]
    cards = [
        {
            "label": entry["label"],
            "images": {
                b: data_uri(shots[entry["label"], b], view, entry["colour"])
                for b in budgets
                if (entry["label"], b) in shots
            },
            "own": data_uri(shots[entry["label"], None], view, entry["colour"])
            if (entry["label"], None) in shots
            else "",
            "note": evaluations(free[entry["label"]]) if entry["label"] in free else "",
        }
        for entry in methods
    ]
    fixed = [
        {"label": text, "image": data_uri(shots[key, 0], view, REAL)}
        for key, text in (("", view.real), ("reference", "fine reference"))
        if (key, 0) in shots
    ]
    return {
        **problem,
        "tables": tables,
        "budgets": budgets,
        "cards": cards,
        "fixed": fixed,
        "kind": view.kind,
        "failures": failures(own),
    }


def _embedded(value: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
