"""``sgmsolve sample``: samples of a problem in a file, written shard by shard."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np

from sgmsolve.cli.common import (
    CommandError,
    check_folder,
    check_new_file,
    json_option,
    method_options,
    named,
    option_option,
    print_json,
    problem_registry,
    stability_lines,
)
from sgmsolve.cli.shards import Shards
from sgmsolve.errors import SgmsolveError, Status


@click.command(short_help="Draw samples of a problem into a file.")
@click.argument("problem")
@click.option(
    "--method",
    "-m",
    help="Name of the method.  [default: dpm++2m; strang2-lagged-ode in phase space]",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 100_000),
    help="Number of steps (default 20; adaptive solvers choose their own).",
)
@click.option(
    "--nfe", type=click.IntRange(1, 100_000), help="Network evaluations to buy steps with."
)
@option_option
@click.option("--n", type=click.IntRange(1, 10**9), default=64, show_default=True, help="Samples.")
@click.option(
    "--batch",
    type=click.IntRange(1, 10**6),
    default=256,
    show_default=True,
    help="Samples a shard.",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The .npz file to write."
)
@click.option(
    "--png",
    metavar="ROWSxCOLUMNS",
    help="Also write a picture beside it: the first rows x columns samples, as a sheet or as dots.",
)
@click.option("--resume", is_flag=True, help="Go on with an unfinished run.")
@json_option
def sample(
    problem: str,
    method: str | None,
    steps: int | None,
    nfe: int | None,
    options: tuple[str, ...],
    n: int,
    batch: int,
    seed: int,
    out: Path,
    png: str | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Draw samples of PROBLEM, starting from the prior, into an .npz file (array `x`).

    What a sample is depends on the seed and its number only; with torchsde and diffrax, whose noise
    is drawn for a whole shard, on --n and --batch too. A run that was stopped, by kill -9 too, goes
    on with --resume and ends with the same bytes.

    \b
    Example:
      sgmsolve sample digits --method dpm++2m --steps 20 --n 64 --out digits.npz --png 8x8
    """
    from sgmsolve import __version__
    from sgmsolve.sampling import default_method
    from sgmsolve.solving import find_method

    found = problem_registry().find(problem)
    record = find_method(method or default_method(found.process))
    typed = method_options(record, options)
    grid = parse_grid(png)
    if grid is not None:
        check_pillow()
    if steps is not None and nfe is not None:
        msg = "--steps and --nfe were both given; give one of them."
        raise CommandError(msg)
    out = named(out, ".npz")
    picture = out.with_suffix(".png") if grid else None
    maker = make_maker(found, record, typed, steps, nfe)
    settings = {
        "sgmsolve": __version__,
        "problem": found.name,
        "method": record.name,
        "options": {k: str(v) for k, v in typed.items()},
        **maker.settings,
        "n": n,
        "batch": batch,
        "seed": seed,
        "shape": list(found.shape),
    }
    if picture is not None and not resume:
        check_new_file(picture, "name another file or remove it.")
    shards = Shards(out, settings, resume=resume)
    made = run(shards, maker, found, seed)
    if picture is not None and grid is not None and not picture.exists():
        write_picture(out, picture, found, grid)
    summary = {**settings, **maker.spent()}
    summary |= {"out": str(out), "png": str(picture) if picture else None, "made": made}
    if maker.unfinished:
        msg = (
            f"{maker.unfinished} of the samples made did not reach the end; the file holds their "
            "last accepted states. Loosen the tolerances, or allow more steps."
        )
        click.echo(f"FAILED: {msg}", err=True)
    if as_json:
        print_json(summary)
    else:
        made_by = f"{n} samples of {found.name} by {record.name}{maker.words()}"
        click.echo(f"{made_by}: {click.format_filename(out)}")
        if picture is not None:
            click.echo(f"picture: {click.format_filename(picture)}")
    if maker.unfinished:
        click.get_current_context().exit(1)


def run(shards: Shards, maker: PlanMaker | JobMaker, problem: Any, seed: int) -> int:
    """Make the missing shards and the file; the number of samples made now."""
    from tqdm import tqdm

    from sgmsolve.sampling import start

    made, process, shown = 0, problem.process, {"disable": None, "leave": False}
    bar = tqdm(shards.missing(), total=shards.count, unit="shard", file=sys.stderr, **shown)
    for i in bar:
        indices = np.array(shards.indices(i))
        like = np.empty((len(indices), *problem.shape))
        z = start(process, maker.t_start, like, seed=seed, indices=indices, noise=maker.generator)
        try:
            x = maker.make(z, seed, indices)
        except SgmsolveError:
            shards.forget()
            raise
        shards.add(i, x)
        made += len(indices)
    shards.join()
    return made


def make_maker(
    problem: Any, record: Any, options: dict[str, Any], steps: int | None, nfe: int | None
) -> PlanMaker | JobMaker:
    """What makes a shard from its start, once everything about the method is checked."""
    from sgmsolve.sampling import build_plan
    from sgmsolve.solving import SolverMethod, grid_for, prepare, with_objects

    process, grid = problem.process, problem.grid_arguments
    options = with_objects(options, problem.target)
    if isinstance(record, SolverMethod):
        if nfe is None and steps is None and record.spends(options):
            steps = 20
        # The model's data may need a package: said before anything is written.
        model = problem.target.model(process)
        grid = grid_for(record, problem)
        given = {"on_failure": "ignore", **options}
        job = prepare(process, model, record, steps=steps, nfe=nfe, options=given, **grid)
        return JobMaker(job)
    steps = 20 if steps is None and nfe is None else steps
    with stability_lines(record.name):
        plan = build_plan(process, record.name, steps=steps, nfe=nfe, **{**grid, **options})
    return PlanMaker(plan, problem.target.model(process))


class PlanMaker:
    """Samples by a plan."""

    generator = "native"
    unfinished = 0

    def __init__(self, plan: Any, model: Any) -> None:
        self.plan, self.model, self.t_start = plan, model, plan.t_start
        self.settings = {"nfe": plan.nfe}

    def make(self, z: Any, seed: int, indices: np.ndarray) -> np.ndarray:
        """Samples from their start."""
        from sgmsolve.backends import solve

        return np.asarray(solve(self.plan, self.model, z, seed=seed, indices=indices).x)

    def spent(self) -> dict[str, Any]:
        """What is known after the run only."""
        return {}

    def words(self) -> str:
        """Evaluations in words."""
        return f", {self.plan.nfe} evaluations each"


class JobMaker:
    """Samples by a solver that is no plan; counts evaluations as they are made."""

    def __init__(self, job: Any) -> None:
        self.job, self.t_start, self.generator = job, job.t_start, job.generator
        self.settings = {"steps": job.steps}
        self.evaluations, self.samples, self.most, self.unfinished = 0.0, 0, 0, 0

    def make(self, z: Any, seed: int, indices: np.ndarray) -> np.ndarray:
        """Samples from their start."""
        from sgmsolve.solving import spent

        made, solution = self.job.run_on_host(z, seed=seed, indices=indices)
        mean, most = spent(solution)
        done = getattr(solution, "finished", None)
        if done is None:
            done = np.full(len(indices), solution.status is Status.FINISHED)
        self.unfinished += int((~done).sum())
        self.evaluations += mean * len(indices)
        self.samples, self.most = self.samples + len(indices), max(self.most, most)
        return np.asarray(made[0])

    def spent(self) -> dict[str, Any]:
        """Mean and largest number of evaluations of samples made now; None if there are none."""
        mean = self.evaluations / self.samples if self.samples else None
        most = self.most if self.samples else None
        return {"nfe": mean, "nfe_max": most, "unfinished": self.unfinished}

    def words(self) -> str:
        """Evaluations in words."""
        mean = self.spent()["nfe"]
        if mean is None:
            return ""
        if mean == self.most:
            return f", {self.most} evaluations each"
        return f", {mean:.1f} evaluations each on average and at most {self.most}"


def parse_grid(text: str | None) -> tuple[int, int] | None:
    """``8x8`` to (8, 8)."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,2})[x×]([1-9][0-9]{0,2})", text.strip())
    if match is None:
        msg = f"--png {text!r} was given, expected ROWSxCOLUMNS; write for example --png 8x8."
        raise CommandError(msg)
    return int(match[1]), int(match[2])


def check_pillow() -> None:
    """Say before the work starts what a picture will need."""
    if importlib.util.find_spec("PIL") is None:
        msg = "--png needs pillow; run: pip install 'sgmsolve[lab]', or leave --png out."
        raise CommandError(msg)


def write_picture(data: Path, path: Path, problem: Any, grid: tuple[int, int]) -> None:
    """A PNG of the first samples: a contact sheet of pictures, or dots in the plane."""
    from sgmsolve.analysis.report.pictures import contact_sheet, on_white, scatter

    check_folder(path.parent)
    rows, columns = grid
    with np.load(data) as archive:
        x = archive["x"][: rows * columns]
    shown = x if problem.view.project is None else problem.view.project(x)
    if problem.view.kind == "image":
        pixels = contact_sheet(shown, problem.view, columns, zoom=4)
    else:
        pixels = scatter(shown, problem.view, "#2a63c4")
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(on_white(pixels))
    os.replace(partial, path)
