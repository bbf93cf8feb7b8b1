"""Formulas as MathML, made at build time: the browser draws them, with no script and no network.

Pages write ``$...$`` and ``$$...$$``; pymdownx.arithmatex marks them, this hook translates them.
MathML needs a font with a MATH table, which not every system has, so the site carries STIX Two Math
(OFL), taken from the package ziamath. The hook also drops Sphinx roles from docstrings.
"""

from __future__ import annotations

import html
import re
from importlib import resources
from typing import Any

from latex2mathml.converter import convert

MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
ROLE = re.compile(r":(?:func|class|mod|meth):(?=<code>)")
FONT = "assets/math.ttf"


def on_page_content(content: str, **_: Any) -> str:
    """MkDocs: translate a page's formulas and drop roles."""
    return ROLE.sub("", MARKED.sub(_translate, content))


def _translate(match: re.Match[str]) -> str:
    shown = "block" if match[1] == "div" else "inline"
    formula = convert(html.unescape(match[2]), display=shown)
    return f'<div class="formula">{formula}</div>' if shown == "block" else formula


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """MkDocs: add the font."""
    from mkdocs.structure.files import File

    font = resources.files("ziamath.fonts") / "STIXTwoMath-Regular.ttf"
    files.append(File.generated(config, FONT, content=font.read_bytes()))
    return files
