"""``sgmsolve mcmc``: Denoising MCMC on a problem, with its books and diagnostics."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from sgmsolve.cli.common import (
    CommandError,
    check_new_file,
    console,
    json_option,
    named,
    new_table,
    print_json,
    problem_registry,
)
from sgmsolve.errors import ChainError

COUNT = click.IntRange(1, 10**6)
LEVEL = click.FloatRange(0, min_open=True)


@click.command(short_help="Run Denoising MCMC on a problem.")
@click.argument("problem")
@click.option(
    "--chain",
    "kind",
    type=click.Choice(("exact", "published")),
    default="exact",
    show_default=True,
    help="MALA, a draw of sigma and the last state; or constant step, argmax and the lowest one.",
)
@click.option("--chains", type=COUNT, default=100, show_default=True)
@click.option(
    "--emissions", type=COUNT, default=10, show_default=True, help="Samples of each chain."
)
@click.option("--n-skip", type=COUNT, default=5, show_default=True, help="Steps between them.")
@click.option("--burn-in", type=click.IntRange(0, 10**6), default=10, show_default=True)
@click.option("--low", type=LEVEL, default=0.01, show_default=True, help="Lowest noise level.")
@click.option("--high", type=LEVEL, default=2.0, show_default=True, help="Highest noise level.")
@click.option("--levels", type=click.IntRange(2, 10_000), default=100, show_default=True)
@click.option(
    "--step",
    type=LEVEL,
    help="eta (published, default 0.5), or its ratio to sigma^2 + v_min (exact, default 1).",
)
@click.option(
    "--denoiser",
    default="kar1",
    show_default=True,
    help="kar1, kar2, probability-flow, reverse-diffusion, euler-maruyama, rk45, or a method.",
)
@click.option("--steps", "n", type=COUNT, help="Its N, or the method's steps (default 10).")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="An .npz file for x, sigma and trace.")
@json_option
def mcmc(problem: str, out: Path | None, seed: int, as_json: bool, **given: Any) -> None:
    """Run chains on (x, sigma) on PROBLEM, and denoise what they emit.

    Chains start from the prior by KAR2, as published; sigma is drawn from (or, published, set to
    the mode of) its exact posterior under a log-uniform prior. Prints what a sample cost, whether
    the chains mixed (R-hat, by ArviZ of the lab extra), and for mixtures how the modes are covered.

    \b
    Example:
      sgmsolve mcmc two-moons-chain --high 1 --chains 200 --emissions 20
    """
    found = problem_registry().find(problem)
    if found.process.m > 1:
        msg = f"{problem} is in phase space; Denoising MCMC needs a process of one component."
        raise CommandError(msg)
    if out is not None:
        out = named(out, ".npz")
        check_new_file(out, "name another file to keep both.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = _run(found, seed, given)
    _say(caught)
    if out is not None:
        run = samples.run
        arrays = {"x": samples.x, "sigma": samples.sigma, "trace": run.trace}
        np.savez(out, chain=samples.chain, emission=samples.emission, **arrays)
    report = _report(samples, _r_hat(samples.run)) | _coverage(problem, samples, found.target)
    if as_json:
        print_json(report)
        return
    _print(report)
    if out is not None:
        click.echo(f"saved to {click.format_filename(out)}")


def _run(found: Any, seed: int, given: dict[str, Any]) -> Any:
    """The samples."""
    from sgmsolve import mcmc as room

    target, model = found.target, found.target.model(found.process)
    table = room.geometric_levels(given["low"], given["high"], given["levels"])
    windows = {"n_skip": given["n_skip"], "burn_in": given["burn_in"]}
    if given["kind"] == "exact":
        chain = room.exact_chain(target, table, scale=given["step"] or 1.0, **windows)
    else:
        argmax = room.ExactPosterior(target, table, draw="argmax")
        chain = room.published_chain(argmax, step=given["step"] or 0.5, **windows)
    method = given["denoiser"]
    if method == "rk45" and given["n"] is not None:
        raise CommandError("rk45 chooses its steps; leave --steps out.")
    more = {"tweedie": 0.01} if method == "rk45" else {"n": given["n"] or 10}
    denoiser = room.Denoiser(method, **more)
    denoiser.check(found.process, table)
    start = room.published_start(
        *(model, chain.sigma_step),
        **{"shape": found.shape, "chains": given["chains"], "seed": seed, "backend": "numpy"},
        sigma_max=min(50.0, float(found.process.rho(found.process.largest_usable_time()))),
    )
    return room.denoising_mcmc(
        *(chain, model, denoiser, start),
        **{"emissions": given["emissions"], "seed": seed, "start_calls": room.START_CALLS},
    )


def _r_hat(run: Any) -> float | None:
    """The largest R-hat; None, and a sentence, where it cannot be had: the samples are made."""
    from sgmsolve.mcmc import diagnose

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = max(diagnose(run).r_hat.values())
        except ChainError as error:
            click.secho(f"Warning: no R-hat: {error}", fg="yellow", err=True)
            found = None
    _say(caught)
    return found


def _say(caught: list[warnings.WarningMessage]) -> None:
    for warning in caught:
        click.secho(f"Warning: {warning.message}", fg="yellow", err=True)


def _report(samples: Any, r_hat: float | None) -> dict[str, Any]:
    """What is told of the chains and their cost."""
    from sgmsolve.mcmc import ChainStatus

    run, nfe = samples.run, samples.nfe
    return {
        "samples": len(samples.sigma),
        "evaluations of a sample": nfe.total,
        "of them start and burn-in": nfe.start + nfe.burn_in,
        "of them chain": nfe.chain,
        "of them denoising": nfe.denoise + nfe.tweedie,
        "as the paper counts": nfe.published,
        "accepted": float(run.acceptance.mean()),
        "median sigma": float(np.median(samples.sigma)),
        "largest R-hat": r_hat,
        "chains that ended early": [
            {"chain": int(i), "step": int(step), "status": status.name.lower()}
            for i, step, status in zip(run.indices, run.ended, run.statuses, strict=True)
            if status is not ChainStatus.FINISHED
        ],
    }


def _coverage(problem: str, samples: Any, target: Any) -> dict[str, Any]:
    """How a mixture's modes are covered; of the two moons, those and not their bumps."""
    from sgmsolve.mcmc import mode_coverage
    from sgmsolve.target import GaussianMixture

    if not isinstance(target, GaussianMixture):
        return {}
    groups, mode = None, "component"
    if problem == "two-moons-chain":
        groups, mode = importlib.import_module("sgmsolve.problems.two_moons_chain").MOONS, "moon"
    covered = mode_coverage(samples, target, groups)
    return {
        f"TV of the {mode}s' weights": covered.tv,
        f"changes of {mode} in a window": covered.switches,
    }


def _print(report: dict[str, Any]) -> None:
    table = new_table("", ["what", "value"], right=["value"])
    for name, value in report.items():
        told = len(value) if isinstance(value, list) else value
        shown = "-" if told is None else str(told) if isinstance(told, int) else f"{told:.3g}"
        table.add_row(name, shown)
    console().print(table)
