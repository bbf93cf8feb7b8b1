"""``sgmsolve order``: measured orders next to claimed ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from sgmsolve.cli.common import CommandError, console, json_option, new_table, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sgmsolve.analysis.order import OrderRow

STYLES = {"ok": "green", "superconvergent": "cyan", "preasymptotic": "yellow", "wrong": "bold red"}


@click.command(short_help="Measure orders of convergence.")
@click.argument("methods", nargs=-1, metavar="[METHOD]...")
@click.option("--all", "everything", is_flag=True, help="Measure every method.")
@click.option(
    "--mixture-weak", is_flag=True, help="Also weak orders on the mixture, by sampling (minutes)."
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=min(2, os.cpu_count() or 1),
    show_default=True,
    help="Processes.",
)
@json_option
@click.pass_context
def order(
    ctx: click.Context,
    methods: tuple[str, ...],
    everything: bool,
    mixture_weak: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Measure the order of METHODs and hold it against what they claim.

    Exit code 1 if a method has a wrong order, or is nowhere right on the mixture.

    \b
    Example:
      sgmsolve order heun dpm++2m --json
    """
    from sgmsolve.analysis.order_suite import measure_all, verdict
    from sgmsolve.methods.registry import find

    if everything == bool(methods):
        msg = "name at least one method, or pass --all for every one of them (not both)."
        raise CommandError(msg)
    names = list(dict.fromkeys(find(name).name for name in methods)) or None
    rows = measure_all(names, mixture_weak=mixture_weak, jobs=jobs)
    result = verdict(rows)
    if as_json:
        print_json([row.to_dict() for row in rows])
    else:
        _print(rows)
        screen = console()
        for reason in result.reasons:
            screen.print(f"FAILED: {reason}", style="red", markup=False)
        if result.passed:
            screen.print(f"All {len(rows)} measurements agree with the claims.", style="green")
    if not result.passed:
        ctx.exit(1)


def _print(rows: Sequence[OrderRow]) -> None:
    """One table a method, so that no line is longer than 100 columns."""
    from rich.text import Text

    numbers = ["claimed", "measured"]
    columns = ["problem", "interval", "start", "weights", *numbers, "status", "last slopes"]
    screen = console()
    for name in dict.fromkeys(row.method for row in rows):
        table = new_table(name, columns, right=numbers, gap=2)
        for row in (r for r in rows if r.method == name):
            claim = f"{row.claimed:g}" + ("" if row.kind == "deterministic" else f" {row.kind}")
            where = [row.problem, row.interval, row.start, row.weights]
            slopes = " ".join(f"{s:.2f}" for s in row.slopes[-3:])
            status = Text(row.status, style=STYLES.get(row.status, ""))
            table.add_row(*where, claim, f"{row.measured:.2f}", status, slopes)
        screen.print(table)
