"""``sgmsolve precondition``: a PDS preconditioner from a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sgmsolve.cli.common import (
    CommaList,
    CommandError,
    check_new_file,
    console,
    json_option,
    named,
    new_table,
    print_json,
    stability_lines,
)

if TYPE_CHECKING:
    from sgmsolve.precondition import PDS, Statistics

SHOWN = 5
LARGEST = 65_536  # pixels a side


class Size(click.ParamType):
    """Pixels of a square image, or HEIGHTxWIDTH."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """``64`` or ``48x64``."""
        parts = str(value).lower().split("x")
        whole = all(p.isascii() and p.isdigit() and 0 < int(p[:6]) <= LARGEST for p in parts)
        if len(parts) > 2 or not whole:
            self.fail(f"{value!r} is no size; write pixels such as 64, or 48x64.", param, ctx)
        return int(parts[0]), int(parts[-1])


@click.command(short_help="Make a PDS preconditioner from a folder of images.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, help="The .npz file to write."
)
@click.option("--alpha", type=float, default=5.0, show_default=True, help="Above 1; less is more.")
@click.option(
    "--filters",
    type=CommaList("filters"),
    default="frequency",
    show_default=True,
    help="frequency, space or both, separated by a comma.",
)
@click.option(
    "--normalisation",
    default="released",
    show_default=True,
    help="released, or eccv for the code before February 2023.",
)
@click.option("--size", type=Size(), help="Scale and crop all images, to 64 or 48x64 pixels.")
@click.option(
    "--channels", type=click.Choice(["1", "3"]), help="Convert all images to grey or colour."
)
@click.option(
    "--limit", type=click.IntRange(min=1), help="So many images, drawn with a fixed seed."
)
@click.option("--skip-bad", is_flag=True, help="Leave out and count files that cannot be read.")
@click.option(
    "--statistics",
    "statistics_file",
    type=click.Path(path_type=Path),
    help="Also save the statistics, for other masks of the same images.",
)
@json_option
def precondition(
    folder: Path,
    out: Path,
    alpha: float,
    filters: tuple[str, ...],
    normalisation: str,
    size: tuple[int, int] | None,
    channels: str | None,
    limit: int | None,
    skip_bad: bool,
    statistics_file: Path | None,
    as_json: bool,
) -> None:
    """Make a preconditioner from the images in FOLDER and save it.

    Gains are 1 where the images have most power and larger, up to alpha / (alpha - 1), where they
    have little. The file fits samples of the images' size and of values in [0, 1] only.

    \b
    Example:
      sgmsolve precondition photos --out photos-64.npz --size 64 --limit 200 --skip-bad
    """
    from sgmsolve.precondition import PDS, folder_statistics
    from sgmsolve.precondition.pds import checked

    checked(alpha, filters, normalisation)
    out = named(out, ".npz")
    check_new_file(out, "name another file to keep both preconditioners.")
    if statistics_file is not None:
        statistics_file = named(statistics_file, ".npz")
        check_new_file(statistics_file, "name another file to keep both.")
        if statistics_file == out:
            msg = f"--out and --statistics both name {click.format_filename(out)}; name two files."
            raise CommandError(msg)
    found = folder_statistics(
        folder, size, int(channels) if channels else None, skip_bad=skip_bad, limit=limit
    )
    made = PDS.from_statistics(found, alpha, filters, normalisation)
    made.save(out)
    if statistics_file is not None:
        found.save(statistics_file)
    warn(made, found)
    if as_json:
        print_json(summary(made, found, out, statistics_file))
        return
    show(made, found, out, statistics_file)


def warn(made: PDS, found: Statistics) -> None:
    """Lines on stderr: files left out, and gains below the published predictor's bound."""
    if found.skipped:
        more = len(found.skipped) - SHOWN
        names = ", ".join(found.skipped[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        click.secho(f"Warning: {len(found.skipped)} skipped: {names}", fg="yellow", err=True)
    with stability_lines("published"):
        made.check_stable("published")


def gains(made: PDS) -> dict[str, np.ndarray]:
    """The gains there are, by filter."""
    both = {"frequency": made.frequency, "space": made.space}
    return {name: array for name, array in both.items() if array is not None}


def summary(made: PDS, found: Statistics, out: Path, statistics: Path | None) -> dict[str, Any]:
    """What the command prints as JSON."""
    levels = {
        name: {"smallest": a.min(), "median": np.median(a), "largest": a.max()}
        for name, a in gains(made).items()
    }
    return {
        "out": str(out),
        "statistics": str(statistics) if statistics else None,
        "images": found.count,
        "skipped": list(found.skipped),
        "shape": list(found.shape),
        "range": [found.low, found.high],
        **made.settings,
        "gains": levels,
    }


def show(made: PDS, found: Statistics, out: Path, statistics: Path | None) -> None:
    """A table of the gains, and the files written."""
    skipped = f", {len(found.skipped)} skipped" if found.skipped else ""
    title = (
        f"PDS from {found.count} images{skipped}, shape {found.shape}, values "
        f"{found.low:g} to {found.high:g}"
    )
    columns = ["gain", "smallest", "median", "largest"]
    table = new_table(title, columns, right=columns[1:])
    for name, a in gains(made).items():
        table.add_row(name, *(f"{v:.4f}" for v in (a.min(), np.median(a), a.max())))
    console().print(table)
    click.echo(f"saved to {click.format_filename(out)}")
    if statistics is not None:
        click.echo(f"statistics: {click.format_filename(statistics)}")
