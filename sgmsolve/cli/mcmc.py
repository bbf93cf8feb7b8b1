"""``sgmsolve mcmc``: Denoising MCMC on a problem, with its books and diagnostics."""

from __future__ import annotations

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
    the chains mixed, and for mixtures how the modes are covered.

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
    samples, report = _run(found, seed, given)
    if out is not None:
        run = samples.run
        arrays = {"x": samples.x, "sigma": samples.sigma, "trace": run.trace}
        np.savez(out, chain=samples.chain, emission=samples.emission, **arrays)
    if as_json:
        print_json(report)
        return
    _print(report)
    if out is not None:
        click.echo(f"saved to {click.format_filename(out)}")


def _run(found: Any, seed: int, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Samples, and what is told of them."""
    from sgmsolve import mcmc as room
    from sgmsolve.target import GaussianMixture

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
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", room.ChainWarning)
        samples = room.denoising_mcmc(
            *(chain, model, denoiser, start),
            **{"emissions": given["emissions"], "seed": seed, "start_calls": room.START_CALLS},
        )
        r_hat = None
        if given["chains"] > 1 and given["emissions"] > 3:
            r_hat = max(room.diagnose(samples.run).r_hat.values())
    for warning in caught:
        click.secho(f"Warning: {warning.message}", fg="yellow", err=True)
    run, nfe = samples.run, samples.nfe
    report: dict[str, Any] = {
        "samples": len(samples.sigma),
        "evaluations of a sample": nfe.total,
        "of them start and burn-in": nfe.start + nfe.burn_in,
        "of them chain": nfe.chain,
        "of them denoising": nfe.denoise + nfe.tweedie,
        "as the paper counts": nfe.published,
        "accepted": float(run.acceptance.mean()),
        "median sigma": float(np.median(samples.sigma)),
        "largest R-hat": r_hat,
        "chains that ended early": int(np.sum(run.ended >= 0)),
    }
    if isinstance(target, GaussianMixture):
        covered = room.mode_coverage(samples, target)
        report["TV of the components' weights"] = covered.tv
        report["changes of component in a window"] = covered.switches
    return samples, report


def _print(report: dict[str, Any]) -> None:
    table = new_table("", ["what", "value"], right=["value"])
    for name, value in report.items():
        shown = "-" if value is None else str(value) if isinstance(value, int) else f"{value:.3g}"
        table.add_row(name, shown)
    console().print(table)
