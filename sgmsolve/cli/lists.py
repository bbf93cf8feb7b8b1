"""``sgmsolve methods`` and ``sgmsolve problems``: what there is to choose from."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
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
    from sgmsolve.solving import SolverMethod


KINDS = ("plan", "adaptive", "predictor-corrector", "torchsde", "torchdiffeq", "diffrax")


@click.command(short_help="List all methods, or show one.")
@click.argument("names", nargs=-1, metavar="[METHOD]...")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="Only plans, only our adaptive solvers, or only those of a library.",
)
@json_option
def methods(names: tuple[str, ...], kind: str | None, as_json: bool) -> None:
    """List all methods with their claimed orders, or show the named ones with all their options.

    \b
    Example:
      sgmsolve methods dpm++2m
    """
    from sgmsolve.analysis.results import method_record
    from sgmsolve.methods.registry import all_methods
    from sgmsolve.solving import find_method, solver_methods

    solvers = [m for m in solver_methods().values() if kind in (None, m.family)]
    plans = all_methods() if kind in (None, "plan") else []
    found: list[Method | SolverMethod] = [*plans, *solvers]
    if names:
        found = [find_method(name) for name in names]
    if as_json:
        print_json([method_record(m) for m in found])
    elif names:
        for method in found:
            _show(method)
    else:
        _list(sorted(plans, key=lambda m: m.family), solvers)


def _list(plans: Sequence[Method], solvers: Sequence[SolverMethod]) -> None:
    from rich.text import Text

    columns = ["method", "nfe/step", "order", "matched", "noise", "what"]
    count = len(plans) + len(solvers)
    table = new_table(f"{count} methods", columns, right=["nfe/step"], gap=2)
    family = ""

    def section(name: str) -> None:
        nonlocal family
        if name != family:
            family = name
            table.add_section()
            table.add_row(Text(name, style="bold cyan"))

    for m in plans:
        section(m.family)
        matched = orders_text(m.claims("matched")) if m.matched else ""
        cells = [f"  {m.name}", str(m.evaluations), orders_text(m.orders), matched]
        table.add_row(*cells, "yes" if m.stochastic else "", m.summary)
    for s in solvers:
        section(s.family)
        noise = {"sde": "yes", "ode": "", "either": "eta"}[s.kind]
        table.add_row(f"  {s.name}", str(s.cost[1]) if s.cost else "", "", "", noise, s.summary)
    out = console()
    out.print(table)
    if plans:
        out.print("Orders are claims from theorems; `sgmsolve order METHOD` measures them.")
    if solvers:
        names = "adaptive, torchsde, torchdiffeq and diffrax, and predictor-corrector-norms,"
        out.print(f"Solvers in {names} are no plans; `sample` and `compare` run them.")


def _show(method: Method | SolverMethod) -> None:
    from rich.markup import escape

    from sgmsolve.analysis.results import method_record

    record = method_record(method)
    out = console()
    out.print(f"[bold]{escape(method.name)}[/bold]  {escape(method.summary)}")
    evaluations = record["evaluations"]
    options = (k if v is None else f"{k}={v}" for k, v in method.options.items())
    facts = {
        "family": record["family"],
        "predicts": record["predicts"],
        "evaluations": f"{evaluations} a step" if evaluations else "",
        "order": orders_text(record["orders"]) if record["orders"] else "",
        "matched start": orders_text(record["matched"] or {}) if record["matched"] else "",
        "processes": ", ".join(record["processes"]) or "all",
        "aliases": ", ".join(method.aliases),
        "options": ", ".join(options),
        "source": " ".join(t for t in (record["reference"], record["equation"]) if t),
        "notes": " ".join(t for t in (record["notes"], record["order_notes"]) if t),
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
        if hasattr(p, "process"):
            process, errors = type(p.process).__name__, "exact W2" if p.exact else "samples"
        else:
            process, errors = "general SDE", "exact path" if p.exact_path else "exact law"
        table.add_row(p.name, p.title, " x ".join(map(str, p.shape)), process, errors)
    out.print(table)
    out.print("`sgmsolve problems NAME` says what a problem shows.")
