"""The page "Methods", made from the registry and the list of references at build time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sgmsolve.methods.references import REFERENCES, Reference
from sgmsolve.methods.registry import Method, all_methods

PAGE = "methods.md"
HEAD = """# Methods

{count} methods, made from the registry that also drives the tests, the command line and the report.
An order is a **claim**: it comes from the source's theorem. `sgmsolve order METHOD` measures it;
see [how order is measured](order.md). *Matched* is the order with `start="matched"`, where the
first steps of a multistep method are taken by a single-step method instead of a lower-order one.
*Weights* tells the source's own coefficients (published), often truncated, from exactly integrated
ones (exact); where a method has both, the first is the default and `weights=` chooses. Evaluations
are per step, start-up and denoising rows aside; `plan.nfe` is the true number.

Names in parentheses are aliases. A name that ends in `-noise` is the noise-prediction version of
a method that predicts data; two such methods are different methods, with different errors.
"""


def markdown(methods: Iterable[Method] | None = None) -> str:
    """The whole page."""
    found = list(all_methods() if methods is None else methods)
    families = dict.fromkeys(m.family for m in found)
    parts = [HEAD.format(count=len(found))]
    for family in families:
        parts.append(_family(family, [m for m in found if m.family == family]))
    named = " ".join(f"{m.reference} {m.equation}" for m in found)
    parts.append(
        _citations([r for key, r in REFERENCES.items() if re.search(rf"\b{key}\b", named)])
    )
    return "\n".join(parts)


def labels() -> dict[str, str]:
    """Key -> ``Lu et al. 2022a``, the letter only where it is needed."""
    plain = {key: _who(reference) for key, reference in REFERENCES.items()}
    same = {key: [k for k in plain if plain[k] == text] for key, text in plain.items()}
    return {
        key: text + ("abcdefgh"[same[key].index(key)] if len(same[key]) > 1 else "")
        for key, text in plain.items()
    }


def _family(family: str, methods: list[Method]) -> str:
    head = ["method", "predicts", "order", "matched", "evals", "weights", "source"]
    lines = [f"## {family[0].upper()}{family[1:]}", "", _cells(head), _cells(["---"] * len(head))]
    lines += [_cells(_row(m)) for m in methods]
    lines += ["", '??? note "What they are, options and remarks"', ""]
    for m in methods:
        options = ", ".join(f"`{k}={v!r}`" for k, v in m.options.items())
        where = f" For {', '.join(m.processes)} only." if m.processes else ""
        said = [
            m.summary + where,
            m.notes,
            m.order_notes,
            f"Options: {options}." if options else "",
        ]
        lines += [f"    **{m.name}**: {' '.join(text for text in said if text)}", ""]
    return "\n".join(lines)


def _row(m: Method) -> list[str]:
    names = f"`{m.name}`" + (f" ({', '.join(f'`{a}`' for a in m.aliases)})" if m.aliases else "")
    matched = _orders(m.claims("matched")) if m.matched else ""
    source = ", ".join(text for text in (m.reference, m.equation) if text)
    for key, label in labels().items():
        # "sgmsolve" is a reference, sgmsolve.methods.splitting the place in it.
        source = re.sub(rf"\b{key}\b(?!\.\w)", f"[{label}](#{key})", source)
    weights = ", ".join(m.weights)
    return [names, m.predicts, _orders(m.orders), matched, str(m.evaluations), weights, source]


def _orders(orders: Mapping[str, float]) -> str:
    """``2``, ``1 weak``; an em dash for no claim."""
    parts = (f"{v:g}" + ("" if k == "deterministic" else f"&nbsp;{k}") for k, v in orders.items())
    return ", ".join(parts) or "—"


def _cells(values: Iterable[str]) -> str:
    return "| " + " | ".join(v.replace("|", "\\|") for v in values) + " |"


def _who(reference: Reference) -> str:
    """``Lu et al. 2022``."""
    authors = reference.authors.split(", ")
    last = [name.split(". ")[-1] for name in authors]
    who = " & ".join(last) if len(last) <= 2 else f"{last[0]} et al."
    return f"{who} {reference.year}"


def _citations(references: list[Reference]) -> str:
    lines = ["## Citations", ""]
    for r in references:
        where = f" [{r.identifier}]({link(r.identifier)})" if r.identifier else ""
        lines += [f"### {labels()[r.key]} {{ #{r.key} }}", ""]
        lines += [f"{r.authors}. *{r.title}.* {r.venue}, {r.year}.{where}", ""]
        lines += ["```bibtex", r.bibtex(), "```", ""]
    return "\n".join(lines)


def link(identifier: str) -> str:
    """The address of an arXiv number, a DOI or a bare address."""
    scheme, _, rest = identifier.partition(":")
    known = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
    return known[scheme] + rest if rest else f"https://{identifier}"


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """MkDocs: add the generated page."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=markdown()))
    return files
