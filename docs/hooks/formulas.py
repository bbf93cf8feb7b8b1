"""Formulas as MathML, made at build time: browsers show it themselves, no script and no network.

Pages write ``$...$`` and ``$$...$$``; pymdownx.arithmatex marks them, this hook translates them.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

MARKED = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """MkDocs: replace every marked formula of a page."""
    return MARKED.sub(_translate, content)


def _translate(match: re.Match[str]) -> str:
    shown = "block" if match[1] == "div" else "inline"
    formula = convert(html.unescape(match[2]), display=shown)
    return f'<div class="formula">{formula}</div>' if shown == "block" else formula
