"""``sgmsolve plan``: print or save the table of a method."""

from __future__ import annotations

from pathlib import Path

import click

from sgmsolve.cli.common import (
    CommandError,
    check_new_file,
    json_option,
    method_options,
    named,
    option_option,
    print_json,
    stability_lines,
)
from sgmsolve.errors import ProcessError, unknown

PROCESSES = ("VP", "VE", "SubVP", "EDM", "Flow", "CLD", "PSLD")


@click.command(short_help="Print a method's table.")
@click.argument("method")
@click.option("--steps", type=click.IntRange(1, 100_000), help="Number of steps (default 5).")
@click.option(
    "--nfe", type=click.IntRange(1, 100_000), help="Network evaluations to buy steps with."
)
@click.option("--process", "process_name", default="VP", show_default=True, help="Forward process.")
@click.option("--grid", "grid_name", help="Time grid; the process's own if left out.")
@click.option(
    "--t-max", type=float, help="Forward time to start at; the process's own if left out."
)
@click.option("--t-min", type=float, help="Forward time to end at; the process's own if left out.")
@option_option
@click.option(
    "--out", type=click.Path(path_type=Path), help="Also save the plan to this .npz file."
)
@json_option
def plan(
    method: str,
    steps: int | None,
    nfe: int | None,
    process_name: str,
    grid_name: str | None,
    t_max: float | None,
    t_min: float | None,
    options: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Print the table of METHOD: one row a network evaluation, every coefficient.

    \b
    Example:
      sgmsolve plan heun --steps 5 --process EDM --grid karras
    """
    from sgmsolve import process as processes
    from sgmsolve.plan.table import to_rows
    from sgmsolve.sampling import build_plan
    from sgmsolve.solving import SolverMethod, find_method, with_objects

    if steps is not None and nfe is not None:
        msg = "--steps and --nfe were both given; give one of them."
        raise CommandError(msg)
    names = {name.lower(): name for name in PROCESSES}
    if process_name.lower() not in names:
        raise ProcessError(unknown("process", process_name, PROCESSES))
    process = getattr(processes, names[process_name.lower()])()
    record = find_method(method)
    if isinstance(record, SolverMethod):
        msg = f"{method} has no table: it is no plan; sgmsolve sample runs it."
        raise CommandError(msg)
    typed = with_objects(method_options(record, options), None)
    if out is not None:
        out = named(out, ".npz")
        check_new_file(out, "name another file to keep both plans.")
    steps = 5 if steps is None and nfe is None else steps
    ends = {k: v for k, v in (("t_max", t_max), ("t_min", t_min)) if v is not None}
    with stability_lines(method):
        made = build_plan(
            process, method, steps=steps, nfe=nfe, grid=grid_name, grid_options=ends, **typed
        )
    if out is not None:
        made.save(out)
    if as_json:
        header = {"name": made.name, "process": made.process, "predicts": made.predicts}
        facts = {"nfe": made.nfe, "registers": made.k, "history": made.history}
        print_json({**header, **facts, "orders": made.orders, "rows": to_rows(made)})
        return
    click.echo(str(made))
    if out is not None:
        click.echo(f"\nsaved to {click.format_filename(out)}")
