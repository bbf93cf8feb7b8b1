"""What the commands share: options, parsing of lists and method options, tables, output checks."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sgmsolve.errors import MethodError, SgmsolveError, StabilityWarning, unknown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sgmsolve.methods.registry import Method
    from sgmsolve.solving import SolverMethod


class CommandError(SgmsolveError, ValueError):
    """Arguments that cannot be combined, or output that cannot be written."""


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")

option_option = click.option(
    "--option",
    "-o",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the method; may be given several times. `sgmsolve methods NAME` lists them.",
)


class CommaList(click.ParamType):
    """A comma-separated list of names or of positive whole numbers."""

    def __init__(self, what: str, numbers: bool = False) -> None:
        self.name, self.what, self.numbers = what, what, numbers

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Sequence[Any]:
        """Split, strip and check; duplicates are dropped."""
        if not isinstance(value, str):
            return tuple(value)
        parts = [p.strip() for p in value.split(",") if p.strip()]
        if not parts:
            self.fail(
                f"{value!r} holds no {self.what}; give some, separated by commas.", param, ctx
            )
        if not self.numbers:
            return tuple(dict.fromkeys(parts))
        numbers = []
        for part in parts:
            if not (part.isascii() and part.isdigit() and 0 < int(part[:10]) <= 100_000):
                msg = f"{part!r} is no whole number from 1 to 100000; write for example 5,10,20."
                self.fail(msg, param, ctx)
            numbers.append(int(part))
        return tuple(sorted(set(numbers)))


def problem_registry() -> Any:
    """``sgmsolve.problems``, imported by name: it lives beside the library, not in it."""
    return importlib.import_module("sgmsolve.problems")


def method_options(method: Method | SolverMethod, given: Iterable[str]) -> dict[str, Any]:
    """Typed options of a method from ``key=value`` texts; MethodError names the nearest key."""
    if not hasattr(method, "build"):
        from sgmsolve.cli.solver_options import solver_options

        return solver_options(method, given)
    parameters = inspect.signature(method.build).parameters
    known = method.options
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            msg = f"option {text!r} has no value; write it as KEY=VALUE, for example eta=0.5."
            raise MethodError(msg)
        if key not in known:
            if not known:
                msg = f"method {method.name!r} has no options, but {key!r} was given; leave it out."
                raise MethodError(msg)
            raise MethodError(unknown(f"option of method {method.name!r}:", key, known))
        kind = str(parameters[key].annotation) if key in parameters else ""
        found[key] = _typed(method.name, key, value.strip(), kind, known[key])
    return found


def _typed(method: str, key: str, text: str, kind: str, default: Any) -> Any:
    """The value of one option, by the annotation of the builder's parameter."""
    kinds = [k.strip() for k in kind.split("|")]
    if "None" in kinds and text.lower() == "none":
        return None
    if "bool" in kinds and text.lower() in ("true", "yes", "1", "false", "no", "0"):
        return text.lower() in ("true", "yes", "1")
    for name, read in (("int", int), ("float", float)):
        if name in kinds:
            try:
                value = read(text)
            except ValueError:
                continue
            if math.isfinite(value):
                return value
    if "str" in kinds:
        return text
    if not {"int", "float", "bool", "None"} & set(kinds):
        try:
            return json.loads(text)
        except ValueError:
            return text
    wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    expected = " or ".join(wanted[k] for k in kinds if k in wanted) or "none"
    msg = (
        f"option {key}={text!r} of method {method!r} was given, expected {expected}; "
        f"the default is {default!r}."
    )
    raise MethodError(msg)


def console(stderr: bool = False) -> Console:
    """A rich console of the terminal's width, 120 columns where there is none."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made = Console(stderr=stderr, highlight=False, width=120)
    return made


def new_table(
    title: str, columns: Sequence[str], right: Sequence[str] = (), *, gap: int = 3
) -> Table:
    """A plain rich table; ``right`` names the columns of numbers, ``gap`` blanks part columns."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
        padding=(0, gap - 2, 0, 1),
    )
    for i, name in enumerate(columns):  # the first holds names to copy: other columns give way
        table.add_column(
            name, justify="right" if name in right else "left", overflow="fold", no_wrap=i == 0
        )
    return table


def json_text(value: Any) -> str:
    """JSON; what it has no number for (NaN, Inf) becomes null."""
    return json.dumps(plain(value), indent=2, allow_nan=False)


def print_json(value: Any) -> None:
    """JSON on stdout."""
    click.echo(json_text(value))


def plain(value: Any) -> Any:
    """Numbers, texts, lists and dictionaries only."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def check_folder(path: Path) -> None:
    """Make the folder and try to write in it; CommandError if that cannot be."""
    _refused(lambda: path.mkdir(parents=True, exist_ok=True), path)
    _refused(lambda: tempfile.TemporaryFile(dir=path).close(), path)


def check_new_file(path: Path, what: str) -> None:
    """A file that is not there yet, in a folder that can be written to."""
    taken = []
    _refused(lambda: taken.append(path.exists() or path.is_symlink()), path)
    if any(taken):
        msg = f"{click.format_filename(path)} exists already; {what}"
        raise CommandError(msg)
    check_folder(path.parent)


def named(path: Path, suffix: str) -> Path:
    """The path with the suffix; CommandError for a path that names no file."""
    if not path.name or path.name in (".", "..") or path.is_dir():
        msg = f"{click.format_filename(path)!r} names no file; give one such as samples{suffix}."
        raise CommandError(msg)
    return path if path.suffix == suffix else path.with_name(path.name + suffix)


def _refused(action: Callable[[], Any], path: Path) -> None:
    try:
        action()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = (
            f"{click.format_filename(path)} cannot be written ({reason}); name a folder that "
            f"you may write to."
        )
        raise CommandError(msg) from None


@contextlib.contextmanager
def stability_lines(what: str, said: list[str] | None = None) -> Iterator[None]:
    """The first StabilityWarning inside becomes one line on stderr, the others nothing.

    It is added to ``said``; where that holds one already, nothing is printed.
    """
    said = [] if said is None else said
    with warnings.catch_warnings():
        warnings.simplefilter("always", StabilityWarning)
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, StabilityWarning):
                shown(message, category, *where, **more)
            elif not said:
                said.append(str(message))
                click.secho(f"Warning: {what}: {message}", fg="yellow", err=True)

        warnings.showwarning = show
        yield


def number(value: float | None) -> str:
    """A measured number for a table cell."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.2e}"


def orders_text(orders: Mapping[str, float]) -> str:
    """Claimed orders in short: ``2`` deterministic, ``2 weak``."""
    parts = [
        f"{value:g}" + ("" if kind == "deterministic" else f" {kind}")
        for kind, value in orders.items()
    ]
    return ", ".join(parts) or "-"
