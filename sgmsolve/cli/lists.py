"""``sgmsolve methods`` and ``sgmsolve problems``: what there is to choose from."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from sgmsolve.cli.common import (
    console,
    json_option,
    new_table,
    orders_text,
    print_json,
    problem_registry,
)

if TYPE_CHECKING:
    from rich.console import Console

    from sgmsolve.methods.registry import Method


@click.command(short_help="List all methods, or show one.")
@click.argument("names", nargs=-1, metavar="[METHOD]...")
@json_option
def methods(names: tuple[str, ...], as_json: bool) -> None:
    """List all methods with their claimed orders, or show the named ones with all their options.

    \b
    Example:
      sgmsolve methods dpm++2m
    """
    from sgmsolve.analysis.results import method_record
    from sgmsolve.methods.registry import all_methods, find

    found = [find(name) for name in names] if names else all_methods()
    if as_json:
        print_json([method_record(m) for m in found])
    elif names:
        for method in found:
            _show(method)
    else:
        _list(found)


def _list(found: list[Method]) -> None:
    from rich.text import Text

    columns = ["method", "nfe/step", "order", "matched", "noise", "what"]
    table = new_table(f"{len(found)} methods", columns, right=["nfe/step"], gap=2)
    family = ""
    for m in sorted(found, key=lambda m: m.family):
        if m.family != family:
            family = m.family
            table.add_section()
            table.add_row(Text(family, style="bold cyan"))
        matched = orders_text(m.claims("matched")) if m.matched else ""
        cells = [f"  {m.name}", str(m.evaluations), orders_text(m.orders), matched]
        table.add_row(*cells, "yes" if m.stochastic else "", m.summary)
    out = console()
    out.print(table)
    out.print("Orders are claims from theorems; `sgmsolve order METHOD` measures them.")


def _show(method: Method) -> None:
    from rich.markup import escape

    from sgmsolve.analysis.results import method_record

    record = method_record(method)
    out = console()
    out.print(f"[bold]{escape(method.name)}[/bold]  {escape(method.summary)}")
    facts = {
        "family": record["family"],
        "predicts": record["predicts"],
        "evaluations": f"{method.evaluations} a step",
        "order": orders_text(method.orders),
        "matched start": orders_text(record["matched"] or {}) if method.matched else "",
        "processes": ", ".join(method.processes) or "all",
        "aliases": ", ".join(method.aliases),
        "options": ", ".join(f"{k}={v}" for k, v in method.options.items()),
        "source": " ".join(t for t in (record["reference"], method.equation) if t),
        "notes": " ".join(t for t in (method.notes, method.order_notes) if t),
    }
    for name, text in facts.items():
        if text:
            _fact(out, name, text)


def _fact(out: Console, name: str, text: str) -> None:
    """A label and its text, wrapped under itself."""
    indent = " " * 18
    head = f"  {name:<16}"
    lines = textwrap.wrap(text, min(out.width, 100), initial_indent=head, subsequent_indent=indent)
    out.print("\n".join(lines), markup=False)


@click.command(short_help="List the problems, or show one.")
@click.argument("names", nargs=-1, metavar="[PROBLEM]...")
@json_option
def problems(names: tuple[str, ...], as_json: bool) -> None:
    """List the problems that come with sgmsolve, or say what the named ones show.

    \b
    Example:
      sgmsolve problems digits
    """
    from sgmsolve.analysis.results import problem_record

    registry = problem_registry()
    found = [registry.find(name) for name in names] if names else registry.all_problems()
    if as_json:
        print_json([problem_record(p) for p in found])
        return
    out = console()
    if names:
        for p in found:
            out.print(f"[bold]{p.name}[/bold]  {p.title}")
            for name, text in problem_record(p)["facts"].items():
                _fact(out, name, text)
            _fact(out, "What it shows", p.shows)
        return
    table = new_table(f"{len(found)} problems", ["problem", "title", "shape", "process", "errors"])
    for p in found:
        errors = "exact W2" if p.exact else "samples"
        shape = " x ".join(map(str, p.shape))
        table.add_row(p.name, p.title, shape, type(p.process).__name__, errors)
    out.print(table)
    out.print("`sgmsolve problems NAME` says what a problem shows.")
