"""The ``sgmsolve`` command: its group, and the one place where errors become sentences."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence

import click

from sgmsolve.cli.compare import compare
from sgmsolve.cli.lists import methods, problems
from sgmsolve.cli.mcmc import mcmc
from sgmsolve.cli.order import order
from sgmsolve.cli.plan import plan
from sgmsolve.cli.precondition import precondition
from sgmsolve.cli.sample import sample
from sgmsolve.cli.tune import tune
from sgmsolve.errors import SgmsolveError, unknown

BAD_USAGE = 2
INTERRUPTED = 130


class Commands(click.Group):
    """A group that names the nearest command for an unknown one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Click's own, with our sentence for a command that does not exist."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], self.commands), ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="sgmsolve", message="sgmsolve %(version)s")
def cli() -> None:
    """Numerical SDE and ODE solvers for score-based generative models.

    Samplers are tables: list them, print them, measure their orders exactly, and compare them on
    problems whose right answers are known.

    \b
    Examples:
      sgmsolve methods
      sgmsolve plan heun --steps 5
      sgmsolve compare ring digits --methods ddim,heun --nfe 5,10,20 --out report
    """


for _command in (methods, problems, plan, order, compare, sample, tune, precondition, mcmc):
    cli.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 a check failed, 2 bad usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any("\0" in word for word in arguments):
        return _fail("a word holds a null character, which no name can; leave it out.")
    try:
        code = cli.main(args=arguments, prog_name="sgmsolve", standalone_mode=False)
    except click.UsageError as error:
        hint = f" See: {error.ctx.command_path} --help." if error.ctx else ""
        return _fail(f"{_sentence(error.format_message())}{hint}")
    except click.ClickException as error:
        return _fail(_sentence(error.format_message()))
    except click.exceptions.Abort:
        _fail("stopped from the keyboard.")
        return INTERRUPTED
    except SgmsolveError as error:
        return _fail(str(error))
    except MemoryError as error:
        return _fail(f"there is not enough memory for that ({error}); ask for less at a time.")
    except OSError as error:
        where = f" {error.filename!r}" if error.filename is not None else ""
        return _fail(
            f"the system refused access to{where or ' a file'}: {error.strerror or error}."
        )
    return code if isinstance(code, int) else 0


def _sentence(message: str) -> str:
    text = " ".join(message.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _fail(message: str) -> int:
    """Print one red sentence to stderr; the exit code of bad usage."""
    with contextlib.suppress(BrokenPipeError):
        click.secho(f"Error: {message}", fg="red", err=True)
    return BAD_USAGE
