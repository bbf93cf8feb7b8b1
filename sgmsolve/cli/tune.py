"""``sgmsolve tune``: search a method's options and grid for a budget, write the plan."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sgmsolve.cli.common import (
    CommandError,
    check_folder,
    check_new_file,
    console,
    json_option,
    method_options,
    named,
    new_table,
    number,
    option_option,
    print_json,
    problem_registry,
)

if TYPE_CHECKING:
    from sgmsolve.analysis.tune import Tuned
    from sgmsolve.analysis.tune_report import Scores

ERRORS = ("train", "held_out", "transfer")


@click.command(short_help="Search a method's options and grid for a budget.")
@click.argument("method")
@click.option("--problem", "-p", "problem_name", required=True, help="Problem to tune on.")
@click.option(
    "--nfe", type=click.IntRange(1, 100_000), required=True, help="Budget of network evaluations."
)
@click.option(
    "--objective",
    default="auto",
    show_default=True,
    help="Error to minimise: gaussian (exact W2), strong (rms to fine trajectories), sliced-w2 or "
    "energy (of samples), or auto.",
)
@click.option(
    "--search",
    multiple=True,
    metavar="KEY[=LOW:HIGH]",
    help="Search this only, an option of the method or power or rho of the grid; may be given "
    "several times. Left out: all that the method and the grid have.",
)
@option_option
@click.option("--grid", "grid_name", help="Named grid to shape; the problem's own if left out.")
@click.option("--free-grid", is_flag=True, help="Also move every time of the grid.")
@click.option(
    "--budget", type=click.IntRange(1, 1_000_000), help="Plans that the search may measure."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Plan file (.npz) to write; METHOD-PROBLEM-NFE.npz if left out.",
)
@click.option("--force", is_flag=True, help="Replace the plan file if it is there.")
@json_option
def tune(
    method: str,
    problem_name: str,
    nfe: int,
    objective: str,
    search: tuple[str, ...],
    options: tuple[str, ...],
    grid_name: str | None,
    free_grid: bool,
    budget: int | None,
    seed: int,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Search METHOD's real options and the shape of its grid; write the best plan to --out.

    Train error is what was minimised; the held-out error is the same on other starts, seeds or
    Gaussians; the transfer error of what was tuned on a Gaussian is measured on a law that is none.

    \b
    Example:
      sgmsolve tune dpm++2m --problem ring --nfe 10
    """
    from sgmsolve.analysis.tune import tune as run
    from sgmsolve.methods.registry import find
    from sgmsolve.solving import with_objects

    problem, record = problem_registry().find(problem_name), find(method)
    fixed, wanted = with_objects(method_options(record, options), problem.target), ranges(search)
    file = named(out or Path(f"{record.name}-{problem.name}-{nfe}"), ".npz")
    if force:
        check_folder(file.parent)
    else:
        check_new_file(file, "name another file with --out, or pass --force to replace it.")
    with Progress() as bar:
        found = run(
            problem,
            record,
            nfe=nfe,
            objective=objective,
            search=wanted,
            grid=grid_name,
            free_grid=free_grid,
            budget=budget,
            seed=seed,
            on_call=bar.update,
            **fixed,
        )
    found.plan.save(file)
    heading = {"problem": problem.name, "method": record.name, "seed": seed}
    if as_json:
        print_json({**heading, **summary(found), "plan": str(file)})
        return
    print_result(found, f"{record.name} on {problem.name}, {found.plan.nfe} evaluations")
    click.echo(f"saved to {click.format_filename(file)}")


def ranges(texts: tuple[str, ...]) -> dict[str, tuple[float, float] | None] | None:
    """``KEY`` or ``KEY=LOW:HIGH`` to ranges; None for no text. Raises: CommandError."""
    found: dict[str, tuple[float, float] | None] = {}
    for text in texts:
        key, equals, bounds = text.partition("=")
        low, colon, high = bounds.partition(":")
        key = key.strip().replace("-", "_")
        try:
            found[key] = (float(low), float(high)) if equals else None
        except ValueError:
            colon = ""
        if not key or (equals and not colon):
            msg = (
                f"--search {text!r} was given, expected KEY or KEY=LOW:HIGH with two numbers; "
                f"write --search eta=0:1, say."
            )
            raise CommandError(msg)
    return found or None


class Progress:
    """A count of measured plans on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self.bar = tqdm(unit="plan", file=sys.stderr, disable=None, leave=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def update(self) -> None:
        """One more."""
        self.bar.update()


def summary(found: Tuned) -> dict[str, Any]:
    """The result for JSON."""

    def scores(of: Scores) -> dict[str, float | None]:
        return {name: getattr(of, name) for name in ERRORS}

    history = [{"evaluation": n, "train": e, **values} for n, e, values in found.history]
    return {
        "nfe": found.plan.nfe,
        "steps": len(found.times) - 1,
        "objective": found.objective,
        "measured_on": {
            "train": found.train_on,
            "held_out": found.held_out_on,
            "transfer": found.transfer_on,
        },
        "errors": {"default": scores(found.default_scores), "tuned": scores(found.scores)},
        "options": found.options,
        "grid": found.grid,
        "grid_options": found.grid_options,
        "times": found.times,
        "evaluations": found.evaluations,
        "history": history,
        "warnings": found.warnings,
    }


def print_result(found: Tuned, title: str) -> None:
    """Errors of both plans, the setting found, warnings."""
    from rich.markup import escape

    screen = console()
    table = new_table(escape(title), ["error", "default", "tuned", "gain", "measured as"])
    for column in table.columns[1:4]:
        column.justify = "right"
    where = (found.train_on, found.held_out_on, found.transfer_on)
    for name, what in zip(ERRORS, where, strict=True):
        before, after = getattr(found.default_scores, name), getattr(found.scores, name)
        if what is None or before is None or after is None:
            continue
        gain = f"{before / after:.3g}x" if after else "-"
        label = name.replace("_", "-")
        table.add_row(label, number(before), number(after), gain, escape(what))
    screen.print(table)
    chosen = [f"{k} = {v:.6g}" for k, v in found.options.items()]
    shape = {k: v for k, v in found.grid_options.items() if k != "times"}
    inside = ", ".join(
        f"{k} = {v:.6g}" if isinstance(v, float) else f"{k} = {v}" for k, v in shape.items()
    )
    chosen.append(f"{found.grid} grid" + (f" ({inside})" if inside else ""))
    screen.print(f"{escape(', '.join(chosen))}, {found.evaluations} plans measured", soft_wrap=True)
    times = " ".join(f"{t:.4g}" for t in found.times)
    screen.print(f"times: {times}")
    for text in found.warnings:
        screen.print(f"[yellow]Warning: {escape(text)}[/yellow]")
