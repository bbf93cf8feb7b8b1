"""The tables of docs/preconditioning.md from benchmarks/results/preconditioning.json.

    python benchmarks/preconditioning_table.py [--write]     (a test holds the page to it)

``--write`` puts every table between its marks in the page; without it they are printed.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "preconditioning.json"
PAGE = ROOT / "docs" / "preconditioning.md"
SHOWN = ("VE-50", "VE-50 PC", "VE-348", "VE-348 PC", "VP", "VP PC", "VP fixed", "VE-50 steep")


def rows_of(head: list[str], lines: list[list[str]], left: int = 1) -> str:
    """A markdown table; the first ``left`` columns are words."""
    rule = "|" + "---|" * left + "---:|" * (len(head) - left)
    return "\n".join(
        ["| " + " | ".join(c) + " |" for c in (head,)]
        + [rule]
        + ["| " + " | ".join(cells) + " |" for cells in lines]
    )


def number(value: float | None, digits: str = ".4f") -> str:
    """A number, a dash for none."""
    return "–" if value is None else f"{value:{digits}}"


def times(saving: float | str | None) -> str:
    """A saving for people: 3.1×, ∞ where the plain sampler never gets there."""
    if saving is None:
        return "–"
    if isinstance(saving, str):
        return "∞" if saving == "inf" else f"{saving}×"
    return f"{saving:.0f}×" if saving >= 9.5 else f"{saving:.2g}×"


def error(value: float | str, saving: Any, at: float | None = None) -> str:
    """W2, the parameter where one was chosen, the saving; a dash for what is refused."""
    if isinstance(value, str):
        return "refused"
    told = f"{value:.2g}" if value >= 1 else f"{value:.4f}"
    return told + ("" if at is None else f" [{at:.3g}]") + f" ({times(saving)})"


def errors(found: dict[str, Any]) -> str:
    """5.3 and 5.4."""
    lines = []
    for row in found["rows"]:
        places = row.get("at", [None] * len(row["w2"]))
        cells = zip(row["w2"], row["saving"], places, strict=True)
        lines.append([row["choice"], *(error(*cell) for cell in cells)])
        if "bands" in row:
            told = ["–" if b is None else f"{b[0]:.3f}, {b[1]:.3f}" for b in row["bands"]]
            lines.append([f"&nbsp; std ratio, low and high frequencies: {row['choice']}", *told])
    return rows_of(["", *(f"T = {n}" for n in found["steps"])], lines)


def limits(found: list[dict[str, Any]]) -> str:
    """5.1."""
    head = ["", "λ", "m", "PDS, T = 1000", "T = 10 000", "T → ∞"]
    head += ["exact split, T = 1000", "T = 10 000"]
    lines = []
    for r in found:
        cells = [f"{r['lambda']:g}", f"{r['m']:g}", *(f"{v:.4f}" for v in r["published"])]
        cells += [f"**{r['theory']:.4f}**", *(f"{v:.4f}" for v in r["exact-split"])]
        lines.append([r["sde"], *cells])
    return rows_of(head, lines)


def levels(found: list[dict[str, Any]]) -> str:
    """5.2."""
    head = ["data", "T", "plain", "plain PC", "PDS m = 1.19, PC", "m = 1.25, PC"]
    head += ["m\\*", "m\\*, PC", "g\\*", "g\\*, PC"]
    lines = [[r["data"], str(r["steps"]), *(number(v, ".3f") for v in r["values"])] for r in found]
    return rows_of(head, lines)


def langevin(found: list[dict[str, Any]]) -> str:
    """5.5."""
    head = ["σ", "M", "condition", "step h", "iterations, slowest mode", "worst variance ratio"]
    lines = [
        [
            f"{r['sigma']:g}",
            r["M"],
            f"{r['kappa']:.1f}",
            f"{r['h']:.3g}",
            f"{r['iterations']:.0f}",
            f"{r['worst']:.3f}",
        ]
        for r in found
    ]
    return rows_of(head, lines, left=2)


def windows(found: list[dict[str, Any]]) -> str:
    """5.6."""
    head = ["schedule", "corrector", "α", "beats plain below T", "best saving"]
    lines = [
        [
            f"VE 0.01–{r['sigma_max']:g}",
            "none" if r["snr"] is None else f"Langevin, snr {r['snr']:g}",
            f"{r['alpha']:g}",
            str(r["below"]),
            f"{r['saving']:.2f}× at T = {r['at']}",
        ]
        for r in found
    ]
    return rows_of(head, lines, left=2)


def rules(found: list[dict[str, Any]]) -> str:
    """5.7."""
    head = ["schedule", "T", "q", "plain", "ancestral", "TDAS γ = (1 + ρ)/2"]
    head += ["PDS m = 1 + q/4", "PDS m = 1 + q/2"]
    lines = [
        [r["study"], str(r["steps"]), f"{r['q']:.4f}", *(f"{v:.5f}" for v in r["w2"])]
        for r in found
    ]
    return rows_of(head, lines)


def shapes(found: list[dict[str, Any]]) -> str:
    """5.8."""
    head = ["study", "T", "best m", "best p", "W2", "best m, flat", "W2, flat"]
    head += ["W2, p = 0.1", "W2, p = 0.3"]
    lines = []
    for r in found:
        bent = [number(b["w2"]) for b in r["bent"]]
        cells = [f"{r['m']:.2f}", f"{r['p']:+.2f}", f"{r['w2']:.5f}"]
        cells += [f"{r['flat m']:.2f}", f"{r['flat w2']:.5f}", *bent]
        lines.append([r["study"], str(r["steps"]), *cells])
    return rows_of(head, lines)


def saved(found: list[dict[str, Any]]) -> str:
    """Errors and savings on field and photo-field."""
    parts = []
    for block in found:
        lines = []
        for row in block["rows"]:
            cells = []
            for value, saving in zip(row["error"], row["saving"], strict=True):
                if value is None:
                    cells.append("–")
                elif value > 10:
                    cells.append("> 10")
                else:
                    cells.append(f"{value:.2g} ({times(saving)})")
            lines.append([row["choice"], *cells])
        head = [f"{block['problem']}, {block['grid']}", *(str(n) for n in block["steps"])]
        parts.append(rows_of(head, lines))
    return "\n\n".join(parts)


def digits(found: dict[str, Any]) -> str:
    """Variance ratios and savings on digits."""
    lines = []
    for row in found["rows"]:
        cells = []
        for ratio, saving in zip(row["ratio"], row["saving"], strict=True):
            if ratio is None:
                cells.append("–")
            elif ratio > 100:
                cells.append("> 100")
            else:
                cells.append(f"{ratio:.2f} ({times(saving)})")
        lines.append([row["choice"], *cells])
    return rows_of(["digits", *(str(n) for n in found["steps"])], lines)


def overhead(found: dict[str, Any]) -> str:
    """Transforms and seconds of an iteration."""
    head = [
        "filters",
        "transforms, ours (real)",
        "published (complex)",
        "time, ours over published",
    ]
    lines = [
        [
            name,
            f"{sum(case['transforms'].values()):.3g}",
            f"{sum(case['published'].values()):.3g}",
            f"{case['ratio']:.2f}",
        ]
        for name, case in found["cases"].items()
    ]
    return rows_of(head, lines)


def tables() -> dict[str, str]:
    """Every table under the name of its marks."""
    parts = json.loads(RECORD.read_text(encoding="utf-8"))["parts"]
    made = {f"errors {key}": errors(parts[f"errors {key}"]["found"]) for key in SHOWN}
    makers: dict[str, Callable[[Any], str]] = {
        "limits": limits,
        "levels": levels,
        "langevin": langevin,
        "windows": windows,
        "rules": rules,
        "shapes": shapes,
        "fields field": saved,
        "fields photo-field": saved,
        "digits": digits,
        "overhead": overhead,
    }
    return made | {name: make(parts[name]["found"]) for name, make in makers.items()}


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a table in the page."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="into the page")
    write = parser.parse_args().write
    page = PAGE.read_text(encoding="utf-8") if write else ""
    for name, table in tables().items():
        begin, end = marks(name)
        if not write:
            print(f"{begin}\n\n{table}\n\n{end}\n")
            continue
        pattern = f"( *){re.escape(begin)}.*?{re.escape(end)}"
        if not re.search(pattern, page, re.DOTALL):
            parser.error(f"the page has no marks for {name!r}")
        indent = re.search(pattern, page, re.DOTALL)[1]
        block = f"{begin}\n\n{table}\n\n{end}"
        block = "\n".join(indent + line if line else "" for line in block.split("\n"))
        page = re.sub(pattern, lambda _, block=block: block, page, flags=re.DOTALL)
    if write:
        PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
