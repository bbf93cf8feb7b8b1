"""``sgmsolve compare``: methods x problems x budgets, tables, results.json and a report page."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sgmsolve.cli.common import (
    CommaList,
    CommandError,
    check_folder,
    console,
    json_option,
    json_text,
    method_options,
    new_table,
    problem_registry,
    stability_lines,
)
from sgmsolve.errors import SgmsolveError

if TYPE_CHECKING:
    from sgmsolve.analysis.work_precision import Choice

DEFAULT_METHODS = (
    "ddim,heun,dpm-solver-2,dpm++2m,dpm++3m,deis-tab-3,unipc-3,euler-maruyama,ancestral,sde-dpm++2m"
)
RESULTS, PAGE = "results.json", "report.html"


@click.command(short_help="Run methods on problems and write a report.")
@click.argument("problems", nargs=-1, required=True, metavar="PROBLEM...")
@click.option(
    "--methods",
    "-m",
    type=CommaList("method names"),
    default=DEFAULT_METHODS,
    help="Methods, comma-separated; options follow a colon: ddim:eta=1, "
    "torchdiffeq:dopri5:rtol=1e-4:atol=1e-4.",
)
@click.option(
    "--nfe",
    type=CommaList("numbers", numbers=True),
    default="5,10,20,50",
    show_default=True,
    help="Budgets of network evaluations, comma-separated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder for results and report."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--force", is_flag=True, help="Replace results that are already in the folder.")
@json_option
def compare(
    problems: tuple[str, ...],
    methods: Sequence[str],
    nfe: Sequence[int],
    out: Path,
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Run methods on problems at several budgets; measure, print and write a report to --out.

    Solvers that choose their own steps, such as gotta-go-fast:rtol=0.02, are run once.

    \b
    Example:
      sgmsolve compare ring digits --methods ddim,heun,dpm++2m --nfe 5,10,20,50 --out report
    """
    registry = problem_registry()
    chosen = [registry.find(name) for name in dict.fromkeys(problems)]
    choices = parse_choices(methods)
    check_report_tools()
    for problem in chosen:
        _ = problem.target  # data that cannot be read is missed now, not after the other problems
    check_any_plan(chosen, choices, nfe)
    check_folder(out)
    check_empty(out, force)
    unstable = say_unstable(chosen, choices, nfe)

    from sgmsolve.analysis.report import render
    from sgmsolve.analysis.results import results
    from sgmsolve.analysis.work_precision import compare as run

    began = time.perf_counter()
    total = len(chosen) * sum(len(choice.budgets(nfe)) for choice in choices)
    with Progress(total) as bar:
        found = run(chosen, choices, nfe, seed=seed, on_run=bar.begin)
    words = ["sgmsolve", "compare", *[p.name for p in chosen], "--methods", ",".join(methods)]
    words += ["--nfe", ",".join(map(str, nfe)), "--seed", str(seed), "--out", str(out)]
    seconds = time.perf_counter() - began
    record = results(
        found, chosen, choices, nfe, seed=seed, command=shlex.join(words), seconds=seconds
    )
    record["warnings"] = unstable
    text = json_text(record)
    page = render(record, found.samples, {p.name: p.view for p in chosen})
    write(out / RESULTS, text)
    write(out / PAGE, page)
    if as_json:
        click.echo(text)
    else:
        print_tables(record, out)
    if not any(row.status == "ok" for row in found.rows):
        msg = "no method could be run; the reasons are in the table above and in the report."
        raise CommandError(msg)


def parse_choices(texts: Sequence[str]) -> list[Choice]:
    """``name`` or ``name:key=value:key=value`` to Choice; MethodError for what does not exist.

    The colon of ``torchsde:srk`` belongs to the name.
    """
    from sgmsolve.analysis.work_precision import Choice
    from sgmsolve.solving import find_method, solver_methods

    libraries = {name.partition(":")[0] for name in solver_methods() if ":" in name}
    found = []
    for text in texts:
        name, *options = text.split(":")
        if name in libraries and options:
            name = f"{name}:{options.pop(0)}"
        method = find_method(name)
        found.append(Choice(method.name, method_options(method, options)))
    return list({choice.label: choice for choice in found}.values())


def check_report_tools() -> None:
    """Say before the work starts what the report will need."""
    import importlib.util

    modules = {"jinja2": "jinja2", "plotly": "plotly", "PIL": "pillow"}
    missing = [n for m, n in modules.items() if importlib.util.find_spec(m) is None]
    if missing:
        msg = f"the report needs {', '.join(missing)}; run: pip install 'sgmsolve[lab]'."
        raise CommandError(msg)


def check_any_plan(problems: Sequence[Any], choices: Sequence[Choice], nfe: Sequence[int]) -> None:
    """Raise the first reason if no method can be run at all; one that can is enough to begin."""
    from sgmsolve.analysis.trials import prepare_trial

    reasons = []
    for problem in problems:
        model = problem.target.model(problem.process)
        for choice in choices:
            for budget in reversed(choice.budgets(nfe)):
                try:
                    prepare_trial(problem, model, choice.method, choice.options, budget)
                except SgmsolveError as error:
                    reasons.append(f"{choice.label} cannot run on {problem.name}: {error}")
                else:
                    return
    raise CommandError(reasons[0])


def say_unstable(
    problems: Sequence[Any], choices: Sequence[Choice], nfe: Sequence[int]
) -> list[str]:
    """One line for each plan whose smallest budget makes steps that amplify near a prior."""
    from sgmsolve.methods.registry import Method
    from sgmsolve.sampling import build_plan
    from sgmsolve.solving import find_method, with_objects

    lines = []
    for choice in (c for c in choices if isinstance(find_method(c.method), Method)):
        said: list[str] = []
        for problem in (p for p in problems if p.process.m > 1 and not said):
            for budget in nfe:
                what = f"{choice.label} with {budget} NFE on {problem.name}"
                with contextlib.suppress(SgmsolveError), stability_lines(what, said):
                    options = with_objects(choice.options, problem.target)
                    arguments = {**options, **problem.grid_arguments}
                    build_plan(problem.process, choice.method, nfe=budget, **arguments)
                    break
            lines += [f"{what}: {text}" for text in said]
    return lines


def check_empty(out: Path, force: bool) -> None:
    """Refuse to replace an earlier comparison unless told to."""
    found = [name for name in (RESULTS, PAGE) if (out / name).exists()]
    if found and not force:
        msg = (
            f"{click.format_filename(out)} already holds {' and '.join(found)}; name another "
            f"folder or pass --force to replace them."
        )
        raise CommandError(msg)


def write(path: Path, text: str) -> None:
    """Write a text file: complete, or not there."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


class Progress:
    """A bar on a terminal; elsewhere one line a problem, on stderr."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit="run", file=sys.stderr, disable=None, leave=False)
        self.problem = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def begin(self, problem: str, label: str, budget: int | None) -> None:
        """A run begins."""
        if self.bar.disable:
            if problem != self.problem:
                click.echo(f"running {problem} ...", err=True)
        else:
            what = "own steps" if budget is None else budget
            self.bar.set_description(f"{problem}: {label}, {what}")
            self.bar.update()
        self.problem = problem


def print_tables(record: Mapping[str, Any], out: Path) -> None:
    """One table a problem and metric, then what failed, then where the files are."""
    from rich.markup import escape
    from rich.text import Text

    from sgmsolve.analysis.report.tables import failures, metric_tables

    screen = console()
    for problem in record["problems"]:
        rows = [r for r in record["rows"] if r["problem"] == problem["name"]]
        screen.print(f"\n[bold]{escape(problem['title'])}[/bold]")
        for found in metric_tables(rows):
            names = [f"{c} NFE" if c.isdigit() else c for c in found["columns"]]
            table = new_table("", [found["title"], *names], right=names)
            for line in found["lines"]:
                cells = [
                    Text(c["text"], style="bold green" if c["best"] else "") for c in line["cells"]
                ]
                table.add_row(escape(line["method"]), *cells)
            screen.print(table)
            if found["floor_text"]:
                screen.print(f"  [dim]{found['floor_text']}[/dim]")
        for row in failures(rows):
            budgets = f" with {row['budgets']} NFE" if row["budgets"] else ""
            what = f"{row['method']}{budgets} was not measured: {row['message']}"
            screen.print(f"  [yellow]{escape(what)}[/yellow]")
    screen.print("\nLower is better; bold is the best of its column, or cannot be told from exact.")
    screen.print("Different tables measure different things and cannot be compared.")
    folder = Path(click.format_filename(out))
    screen.print(f"{escape(str(folder / RESULTS))}\n{escape(str(folder / PAGE))}", soft_wrap=True)
