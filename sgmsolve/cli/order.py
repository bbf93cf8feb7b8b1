"""``sgmsolve order``: measured orders next to claimed ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from sgmsolve.cli.common import (
    CommandError,
    console,
    json_option,
    method_options,
    new_table,
    option_option,
    print_json,
)
from sgmsolve.cli.strong import STYLES, measure_strong_orders, plans_among, strong_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sgmsolve.analysis.order import OrderRow
    from sgmsolve.analysis.order_scheme import SchemeOrder
    from sgmsolve.analysis.strong import StrongRow


@click.command(short_help="Measure orders of convergence.")
@click.argument("methods", nargs=-1, metavar="[METHOD]...")
@click.option("--all", "everything", is_flag=True, help="Measure every method.")
@click.option(
    "--scheme",
    "schemes",
    multiple=True,
    metavar="TEXT",
    help="A splitting scheme in phase space, such as 'O s B/2 A s@end B/2'; may be given several "
    "times. Nothing is claimed: order, errors, evaluations and stability limit are printed.",
)
@option_option
@click.option(
    "--mixture-weak", is_flag=True, help="Also weak orders on the mixture, by sampling (minutes)."
)
@click.option(
    "--strong",
    is_flag=True,
    help="Strong orders too, on one Brownian path for all step sizes; METHODs may also be adaptive "
    "steppers and torchsde:NAME or diffrax:NAME. A selection if none is named (minutes).",
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
    schemes: tuple[str, ...],
    options: tuple[str, ...],
    mixture_weak: bool,
    strong: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Measure the order of METHODs and hold it against what they claim, or that of --scheme.

    Exit code 1 if a method has a wrong order, or is nowhere right on the mixture. -o is for
    --scheme: options of the method splitting, such as -o eta=0, -o flow=row, -o lam=0.5.

    \b
    Example:
      sgmsolve order heun dpm++2m --json
      sgmsolve order --scheme "O s B/2 A s@end B/2"
      sgmsolve order --strong euler-maruyama torchsde:srk
    """
    if schemes:
        if methods or everything or mixture_weak or strong:
            msg = (
                "--scheme is measured by itself; leave out method names, --all, --mixture-weak and "
                "--strong."
            )
            raise CommandError(msg)
        _measure_schemes(schemes, options, as_json)
        return
    if options:
        msg = f"-o {options[0]} was given, but options are for --scheme; leave it out."
        raise CommandError(msg)
    passed = True
    found: list[OrderRow | StrongRow] = []
    if strong:
        names = strong_names(methods, everything)
        passed, strong_rows = measure_strong_orders(names, as_json)
        found += strong_rows
        methods, everything = plans_among(names if methods else ()), False
    if not strong or methods:
        agreed, rows = _measure_methods(methods, everything, mixture_weak, jobs, as_json)
        passed, found = passed and agreed, [*found, *rows]
    if as_json:
        print_json([row.to_dict() for row in found])
    if not passed:
        ctx.exit(1)


def _measure_methods(
    methods: tuple[str, ...], everything: bool, mixture_weak: bool, jobs: int, as_json: bool
) -> tuple[bool, Sequence[OrderRow]]:
    """Deterministic and weak orders: whether all agree with the claims, and the rows."""
    from sgmsolve.analysis.order_suite import measure_all, verdict
    from sgmsolve.methods.registry import find
    from sgmsolve.solving import SolverMethod, find_method

    if everything == bool(methods):
        msg = (
            "name at least one method, or pass --all for every one of them (not both), or write a "
            "scheme: --scheme 'O s B A'."
        )
        raise CommandError(msg)
    for name in methods:
        if isinstance(find_method(name), SolverMethod):
            msg = (
                f"{name} is no plan, whose orders this measures; sgmsolve order --strong {name} "
                "measures the strong order of a solver for SDEs."
            )
            raise CommandError(msg)
    names = list(dict.fromkeys(find(name).name for name in methods)) or None
    rows = measure_all(names, mixture_weak=mixture_weak, jobs=jobs)
    result = verdict(rows)
    if not as_json:
        _print(rows)
        screen = console()
        for reason in result.reasons:
            screen.print(f"FAILED: {reason}", style="red", markup=False)
        if result.passed:
            screen.print(f"All {len(rows)} measurements agree with the claims.", style="green")
    return result.passed, rows


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
            measured = f"{row.measured:.2f}±{row.spread:.2f}"
            table.add_row(*where, claim, measured, status, slopes)
        screen.print(table)


def _measure_schemes(schemes: Sequence[str], given: Sequence[str], as_json: bool) -> None:
    """Parse all of them, then measure and print one after the other."""
    from sgmsolve.analysis.order_scheme import measure_scheme
    from sgmsolve.methods._letters import parse
    from sgmsolve.methods.registry import find

    chosen: dict[str, Any] = method_options(find("splitting"), given)
    names = list(dict.fromkeys(" ".join(text.split()) for text in schemes))
    for text in names:
        parse(text)
    found = []
    for text in names:
        found.append(measure_scheme(text, **chosen))
        if not as_json:
            _print_scheme(found[-1])
    if as_json:
        print_json([one.to_dict() for one in found])


def _print_scheme(found: SchemeOrder) -> None:
    """Errors over N, one column a problem and interval, then what follows from them."""
    columns = [f"{row.problem}\n{row.interval}" for row in found.rows]
    options = ", ".join(f"{key}={value}" for key, value in found.options.items())
    title = found.scheme + (f" with {options}" if options else "")
    table = new_table("", ["N", "NFE", *columns], right=["N", "NFE", *columns])
    longest = max(found.rows, key=lambda row: len(row.steps))
    for i, (steps, nfe) in enumerate(zip(longest.steps, longest.nfe, strict=True)):
        cells = [f"{row.errors[i]:.2e}" if i < len(row.errors) else "" for row in found.rows]
        table.add_row(str(steps), str(nfe), *cells)
    table.add_section()
    slopes = [" ".join(f"{s:.2f}" for s in row.slopes[-3:]) for row in found.rows]
    table.add_row("slopes", "", *slopes)
    screen = console()
    screen.print(title, style="bold", markup=False)
    screen.print(table)
    for line in _facts(found):
        screen.print(line, markup=False, soft_wrap=True)
    screen.print()


def _facts(found: SchemeOrder) -> list[str]:
    kind = "weak order, errors of the exact mean and covariance"
    if found.kind == "deterministic":
        kind = "deterministic order, root mean square error over trajectories"
    settled = [row for row in found.rows if row.order is not None]
    if found.order is None:
        order = "not settled: " + ", ".join(f"{row.measured:.2f}" for row in found.rows)
    elif len(settled) < len(found.rows):
        order = f"{found.order} on {len(settled)} of {len(found.rows)} problems, else not settled"
    else:
        order = str(found.order)
    limit = found.stability
    if limit >= 0.99:
        stable = "no limit"
    else:
        stable = f"{limit:.3f}" if limit > 0 else "0, every step amplifies"
    first = "; that of the first step" if "S1" in found.scheme else ""
    return [
        f"measured order        {order} ({kind})",
        f"evaluations a step    {found.evaluations}",
        f"longest stable step   {stable} (from t = 1, near the prior{first})",
    ]
