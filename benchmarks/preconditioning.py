"""Preconditioned samplers by exact analysis: the tables of our study, and savings on problems.

    python benchmarks/preconditioning.py [PART...]

Parts (default all): ``errors`` (tables 5.3 and 5.4 of the study), ``limits`` (5.1), ``levels``
(5.2), ``langevin`` (5.5), ``windows`` (5.6), ``rules`` (5.7), ``shapes`` (5.8), ``profiles`` (for
the pictures), ``fields`` (steps saved on field and photo-field, exactly), ``digits`` (the same by
samples), ``overhead`` (Fourier transforms and time). Each replaces its entry in
benchmarks/results/preconditioning.json, with versions and machine. Then
preconditioning_table.py --write and preconditioning_plots.py renew the page, and
preconditioning_check.py compares with the study as printed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import preconditioning_fields as fields
import preconditioning_modes as modes
import preconditioning_overhead as overhead
import preconditioning_rules as rules
from preconditioning_spec import STUDIES
from run import machine, versions

RECORD = Path(__file__).parent / "results" / "preconditioning.json"
PARTS: dict[str, Callable[[], Any]] = {
    **{f"errors {key}": (lambda key=key: rules.errors(key)) for key in STUDIES},
    "limits": modes.limits,
    "levels": modes.levels,
    "langevin": modes.langevin,
    "windows": rules.windows,
    "rules": rules.rules,
    "shapes": rules.shapes,
    "profiles": rules.profiles,
    **{f"fields {name}": (lambda name=name: fields.exactly(name)) for name in fields.PROBLEMS},
    "digits": fields.digits,
    "overhead": overhead.measure,
}


def tidy(value: Any) -> Any:
    """Numbers with six digits, so that the record is small and its changes can be read."""
    if isinstance(value, dict):
        return {str(key): tidy(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}, errors")
    given = parser.parse_args()
    wanted = [p for p in PARTS if not given.parts or {p, p.split()[0]} & set(given.parts)]
    if not wanted:
        parser.error(f"no part {given.parts}; known: errors, {', '.join(PARTS)}")
    for name in wanted:
        before = time.perf_counter()
        made = tidy(PARTS[name]())
        spent = time.perf_counter() - before
        print(f"{name}: {spent:.0f} s", flush=True)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        # Read again: another run may have written its parts meanwhile.
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {"parts": {}}
        entry = {"date": at, "seconds": round(spent, 1), "found": made}
        record["parts"][name] = entry
        record |= {"machine": machine(), "versions": versions()}
        RECORD.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
