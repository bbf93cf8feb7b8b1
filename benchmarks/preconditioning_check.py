"""Compare benchmarks/results/preconditioning.json with the study as printed.

    python benchmarks/preconditioning_check.py pds_tdas.md

For every table: how many numbers were compared, how many differ by more than their last digit, and
the largest difference. Parameters that the study chose from grids of its own are not compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from preconditioning_table import RECORD

ERRORS = {
    "VE-50": "5.3 predictor only",
    "VE-50 PC": "5.3 predictor + Langevin",
    "VE-348": "VE-348 predictor only",
    "VE-348 PC": "VE-348 PC",
    "VP": "VP, repo ε=1/T, predictor only",
    "VP PC": "VP, repo ε=1/T, PC",
    "VP fixed": "VP, fixed ε",
    "VE-50 steep": "VE 0.01–50, steeper",
}
NAMES = {
    "plain": "vanilla",
    "PDS α=5 (released)": "**PDS α=5 (repo)**",
    "disc r=0.2, gain 1.1": "disc r=.2, λ=1.1",
    "disc r=0.2, gain 1.25": "disc r=.2, λ=1.25",
    "TDAS disc r=0.2, g=0.9": "TDAS disc r=.2, g=.9 outside",
    "TDAS disc r=0.2, g=0.8": "TDAS disc r=.2, g=.8 outside",
    "exact split, α=5 mask": "exact (8), α=5 mask",
    "exact split, M∝Λ^½": "exact (8), M∝Λ^½",
    "ODE (exact split, M=0)": "PF-ODE Euler ((8), M=0)",
    "best scalar m": "oracle scalar m",
    "best α": "oracle α (repo mask)",
    "best TDAS scalar g": "oracle TDAS scalar g",
    "best M∝Λ^(p/2)": "oracle M∝Λ^{p/2}",
}
BANDS = "std ratio low\\|high band, "
Pair = tuple[str, float, float, float]
"""What is compared: where, ours, printed, and half of the last printed digit."""


def printed_tables(path: Path) -> dict[str, list[list[str]]]:
    """Rows of the tables of section 5, under their heading or the line before them."""
    found: dict[str, list[list[str]]] = {}
    section = heading = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("### "):
            section = heading = line.split()[1]
        elif line.startswith(("predictor", "VE", "VP")):
            heading = f"{section} {line}"
        elif line.startswith("|") and section.startswith("5."):
            found.setdefault(heading, []).append([c.strip() for c in line.strip("|").split(" | ")])
    return found


def half_digit(text: str) -> float:
    """Half of the last digit of a printed number, and as much again for two roundings."""
    mantissa, _, power = text.partition("e")
    places = len(mantissa.partition(".")[2])
    return 0.51 * 10.0 ** (int(power or 0) - places)


def pair(where: str, ours: Any, text: str) -> list[Pair]:
    """One comparison; none for dashes, infinities and refusals."""
    text = text.strip("*() ×≤")
    if not isinstance(ours, float | int) or not text[:1].isdigit():
        return []
    return [(where, float(ours), float(text), half_digit(text))]


def error_pairs(found: dict[str, Any], rows: list[list[str]]) -> list[Pair]:
    """5.3 and 5.4: W2 and bands."""
    printed = {row[0]: row[1:] for row in rows}
    out: list[Pair] = []
    for row in found["rows"]:
        name = NAMES.get(row["choice"], row["choice"])
        cells = printed.get(name, [])
        for steps, ours, cell in zip(found["steps"], row["w2"], cells, strict=False):
            out += pair(f"{row['choice']}, T = {steps}", ours, cell.split()[0])
        told = printed.get(BANDS + name, [])
        for steps, both, cell in zip(found["steps"], row.get("bands", []), told, strict=False):
            for ours, text in zip(both or [], cell.split("\\|"), strict=False):
                out += pair(f"bands of {row['choice']}, T = {steps}", ours, text)
    return out


def other_pairs(parts: dict[str, Any], tables: dict[str, list[list[str]]]) -> dict[str, list[Pair]]:
    """5.1, 5.2, 5.5 to 5.8, row by row in the order of the study."""
    out: dict[str, list[Pair]] = {}

    def walk(part: str, table: str, numbers: Any) -> None:
        rows = [row for row in tables[table][2:] if len(row) > 3]
        pairs: list[Pair] = []
        for ours, row in zip(parts[part]["found"], rows, strict=True):
            for value, text in numbers(ours, row):
                pairs += pair(" ".join(row[:3]), value, text)
        out[part] = pairs

    walk(
        "limits",
        "5.1",
        lambda r, row: [
            *zip(r["published"], row[3].split(", "), strict=False),
            (r["theory"], row[4]),
            *zip(r["exact-split"], row[5].split(", "), strict=False),
        ],
    )
    walk("levels", "5.2", lambda r, row: zip(r["values"], row[2:], strict=True))
    keys = ("kappa", "h", "iterations", "worst")
    walk("langevin", "5.5", lambda r, row: zip([r[k] for k in keys], row[2:], strict=True))
    walk("windows", "5.6", lambda r, row: [(r["saving"], row[4].split()[0]), (r["below"], row[3])])
    walk("rules", "5.7", lambda r, row: zip([r["q"], *r["w2"]], row[2:], strict=True))
    walk(
        "shapes",
        "5.8",
        lambda r, row: [
            (r["w2"], row[3]),
            (r["flat w2"], row[5]),
            *((b["w2"], text) for b, text in zip(r["bent"], row[6:], strict=True)),
        ],
    )
    return out


def main() -> None:
    tables = printed_tables(Path(sys.argv[1]))
    parts = json.loads(RECORD.read_text(encoding="utf-8"))["parts"]
    pairs = {
        key: error_pairs(parts[f"errors {key}"]["found"], rows)
        for key, start in ERRORS.items()
        for name, rows in tables.items()
        if start in name
    }
    for name, compared in (pairs | other_pairs(parts, tables)).items():
        off = [p for p in compared if abs(p[1] - p[2]) > p[3]]
        print(f"{name}: {len(compared)} numbers, {len(off)} beyond their last digit")
        for where, ours, text, _ in sorted(off, key=lambda p: -abs(p[1] / p[2] - 1))[:6]:
            print(f"    {where}: {ours:.6g}, printed {text:g}")


if __name__ == "__main__":
    main()
