"""What ``sgmsolve order --strong`` adds: strong orders, each with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sgmsolve.cli.common import CommandError, console, new_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sgmsolve.analysis.strong import StrongRow

STYLES = {
    "ok": "green",
    "superconvergent": "cyan",
    "preasymptotic": "yellow",
    "undecided": "yellow",
    "wrong": "bold red",
}


def strong_names(methods: Sequence[str], everything: bool) -> tuple[str, ...]:
    """The methods named, every one that has a strong order, or the default selection."""
    from sgmsolve.analysis.strong_methods import default_subjects, find_subject, known_subjects

    if methods and everything:
        raise CommandError("methods were named and --all was given; leave one out.")
    if everything:
        return known_subjects()
    return tuple(dict.fromkeys(find_subject(name).name for name in methods or default_subjects()))


def plans_among(names: Sequence[str]) -> tuple[str, ...]:
    """Those that are plan methods: they have weak orders too."""
    from sgmsolve.analysis.strong_methods import find_subject

    return tuple(name for name in names if find_subject(name).library == "plan")


def measure_strong_orders(names: Sequence[str], as_json: bool) -> tuple[bool, Sequence[StrongRow]]:
    """Measure and (unless as JSON) print; whether none is wrong, and the rows."""
    from sgmsolve.analysis.strong import measure_strong, strong_tasks

    rows = []
    for subject, problem in strong_tasks(names):
        click.echo(f"measuring {subject.name} on {problem.name} ...", err=True)
        rows.append(measure_strong(subject, problem))
    wrong = [row for row in rows if row.status == "wrong"]
    if not as_json:
        _print(rows, names)
        screen = console()
        for row in wrong:
            screen.print(
                f"FAILED: {row.method} has strong order {row.measured:.2f} on {row.problem}, but "
                f"claims {row.claimed:g}.",
                style="red",
                markup=False,
            )
        if not wrong:
            screen.print(f"None of {len(rows)} strong orders is wrong.", style="green")
    return not wrong, rows


def _print(rows: Sequence[StrongRow], names: Sequence[str]) -> None:
    """One table a method."""
    from rich.text import Text

    numbers = ["claimed", "measured", "paths"]
    columns = ["problem", "claimed", "measured", "status", "paths", "N", "slopes"]
    screen = console()
    for name in names:
        table = new_table(f"{name}, strong", columns, right=numbers, gap=2)
        for row in (r for r in rows if r.method == name):
            claim = "-" if row.claimed is None else f"{row.claimed:g}"
            measured = f"{row.measured:.2f}±{row.half_width:.2f}"
            status = Text(row.status, style=STYLES.get(row.status, ""))
            span = f"{row.steps[0]}-{row.steps[-1]}"
            pairs = zip(row.slopes, row.half_widths, strict=True)
            slopes = " ".join(f"{s:.2f}±{w:.2f}".replace("±0.", "±.") for s, w in pairs)
            table.add_row(row.problem, claim, measured, status, str(row.paths), span, slopes)
        screen.print(table)
