"""Run the code blocks of a page and show what they print.

A page's blocks share one namespace and one empty working folder, in order:

* ```` ```python ````: executed; what it prints follows as a block of its own;
* ```` ```python raises ````: must raise one of our errors, whose sentence is shown;
* ```` ```python picture TEXT ````: must write picture.png, which follows with TEXT to describe it;
* ```` ```console ````: lines ``$ sgmsolve ...`` are run, their output follows each;
* ```` ```console raises ````: the same, and each must fail with a sentence.

Every other language (``sh``, ``text``, ...) is left alone. MkDocs calls ``on_page_markdown``; the
tests call ``run_page``. A block that does anything else than it says stops the build.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import pathlib
import re
import shlex
import tempfile
import textwrap
from typing import Any

FENCE = re.compile(r"^```(python|console)[ ]*(.*)$")
WIDTH = 96
CONSOLE = 124
"""Columns of the terminal that commands are shown in."""


class ExampleError(Exception):
    """An example that does not do what its page says."""


def run_page(markdown: str, name: str) -> str:
    """The page with the output of every block after it; ExampleError names page and line."""
    lines, out, namespace = markdown.splitlines(), [], {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), _plain_terminal():
        i = 0
        while i < len(lines):
            match = FENCE.match(lines[i])
            if match is None:
                out.append(lines[i])
                i += 1
                continue
            end = next((j for j in range(i + 1, len(lines)) if lines[j] == "```"), None)
            where = f"{name}, line {i + 1}"
            described = match[2].removeprefix("picture ") if match[1] == "python" else match[2]
            if end is None or (match[2] not in ("", "raises") and described == match[2]):
                msg = f"{where}: a block that is not closed, or an unknown word {match[2]!r}."
                raise ExampleError(msg)
            body, fails = lines[i + 1 : end], match[2] == "raises"
            if match[1] == "python":
                out += ["```python", *body, "```"]
                out += _output(_python("\n" * (i + 1) + "\n".join(body), where, namespace, fails))
                if described != match[2]:
                    out += _picture(described, where)
            else:
                out += ["```console", *_console(body, where, fails), "```"]
            i = end + 1
    return "\n".join(out) + "\n"


def blocks(markdown: str) -> int:
    """How many blocks of the page are run."""
    return sum(FENCE.match(line) is not None for line in markdown.splitlines())


def _python(code: str, where: str, namespace: dict[str, Any], fails: bool) -> str:
    from sgmsolve.errors import SgmsolveError

    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(code, where, "exec"), namespace)
    except SgmsolveError as error:
        if not fails:
            msg = f"{where}: the block raised {type(error).__name__}: {error}"
            raise ExampleError(msg) from error
        return printed.getvalue() + _wrapped(f"{type(error).__name__}: {error}")
    except Exception as error:
        msg = f"{where}: the block raised {type(error).__name__}: {error}"
        raise ExampleError(msg) from error
    if fails:
        msg = f"{where}: the block should have raised one of sgmsolve's errors."
        raise ExampleError(msg)
    return printed.getvalue()


def _console(body: list[str], where: str, fails: bool) -> list[str]:
    from sgmsolve.cli import main

    out = []
    for line in body:
        words = shlex.split(line.removeprefix("$ "))
        if not line.startswith("$ sgmsolve "):
            msg = f"{where}: {line!r} does not start with '$ sgmsolve '."
            raise ExampleError(msg)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = main(words[1:])
        text = printed.getvalue()
        if (code != 0) != fails:
            msg = f"{where}: `{line}` ended with exit code {code} and printed: {text}"
            raise ExampleError(msg)
        shown = (_wrapped(text) if fails else text).rstrip().splitlines()
        out += [line, *(text.rstrip() for text in shown), ""]
    return out[:-1]


def _wrapped(text: str) -> str:
    return textwrap.fill(text.strip(), WIDTH, break_long_words=False, break_on_hyphens=False)


def _output(text: str) -> list[str]:
    body = text.rstrip().splitlines()
    return ["", "``` { .text .output }", *body, "```"] if body else []


def _picture(text: str, where: str) -> list[str]:
    """The picture inside the page: no file is left to keep, or to go missing."""
    path = pathlib.Path("picture.png")
    if not path.exists():
        msg = f"{where}: the block should have written picture.png."
        raise ExampleError(msg)
    data = base64.b64encode(path.read_bytes()).decode()
    path.unlink()
    return ["", f"![{text}](data:image/png;base64,{data})"]


@contextlib.contextmanager
def _plain_terminal() -> Any:
    """A terminal of fixed width, without colours or progress bars."""
    before = {k: os.environ.get(k) for k in ("COLUMNS", "NO_COLOR", "TQDM_DISABLE")}
    os.environ.update(COLUMNS=str(CONSOLE), NO_COLOR="1", TQDM_DISABLE="1")
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs: every page goes through ``run_page``."""
    return run_page(markdown, page.file.src_uri)
