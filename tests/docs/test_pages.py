"""Pages agree with the library: the generated method table, citations, API, formulas, numbers."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import sgmsolve
from sgmsolve.methods.references import REFERENCES
from sgmsolve.methods.registry import all_methods, find, methods_for

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def table_rows(text):
    """First cell (a method's name) -> cells of its row."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {re.match(r"`([^`]*)`", cells[0])[1]: cells for cells in rows}


def test_the_method_table_has_one_row_a_record_with_its_claims(methods_page):
    rows = table_rows(methods_page.markdown())
    assert list(rows) == sorted(rows, key=list(rows).index)
    assert set(rows) == {m.name for m in all_methods()}
    for method in all_methods():
        cells = rows[method.name]
        assert cells[1] == method.predicts
        assert cells[4:6] == [str(method.evaluations), ", ".join(method.weights)]
        assert re.findall(r"[\d.]+", cells[2]) == [f"{v:g}" for v in method.orders.values()]
        assert ("weak" in cells[2]) == ("weak" in method.orders)
        for alias in method.aliases:
            assert f"`{alias}`" in cells[0]


def test_the_table_follows_the_registry(methods_page):
    changed = dataclasses.replace(
        find("heun"), name="huen", orders={"weak": 7}, matched={"weak": 8}
    )
    cells = table_rows(methods_page.markdown([changed]))["huen"]
    assert cells[2:4] == ["7&nbsp;weak", "8&nbsp;weak"]


def test_a_module_named_as_a_source_is_no_link(methods_page):
    source = table_rows(methods_page.markdown())["strang2"][6]
    assert source.endswith("](#sgmsolve), sgmsolve.methods.splitting")
    assert source.count("](#") == 1


def test_no_page_keeps_a_method_table_by_hand():
    assert not (ROOT / "docs/methods.md").exists()
    names = {m.name for m in all_methods()}
    for page in [ROOT / "README.md", *PAGES]:
        rows = table_rows(page.read_text(encoding="utf-8"))
        assert not names & set(rows), page


def test_every_method_has_a_reference_that_exists_and_is_cited(methods_page):
    text = methods_page.markdown()
    for method in all_methods():
        assert method.reference in REFERENCES, method.name
        assert f"{{ #{method.reference} }}" in text
        assert f"@article{{{method.reference}," in text


@pytest.mark.parametrize(
    ("identifier", "address"),
    [
        ("arXiv:2206.00364", "https://arxiv.org/abs/2206.00364"),
        ("doi:10.1017/S0962492910000048", "https://doi.org/10.1017/S0962492910000048"),
        ("github.com/crowsonkb/k-diffusion", "https://github.com/crowsonkb/k-diffusion"),
    ],
)
def test_identifiers_become_links(identifier, address, methods_page):
    assert methods_page.link(identifier) == address


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=lambda r: r.key)
def test_every_reference_has_an_identifier_that_can_be_linked(reference, methods_page):
    if reference.venue == "Springer":
        assert reference.identifier == ""  # books
    else:
        assert methods_page.link(reference.identifier).startswith("https://")


def test_the_api_page_documents_what_exists_and_every_public_name():
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    found = [resolve(name) for name in listed]
    modules = type(sgmsolve)
    named = ast.parse(Path(sgmsolve.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(named) if isinstance(node, ast.ImportFrom)]
    public = {
        a.asname for node in imports for a in node.names if a.asname
    }  # `from x import y as y`
    assert {"sample", "solve", "as_model", "Gaussian", "VP"} <= public
    for name in sorted(public):
        value = getattr(sgmsolve, name)
        within = [v for v in found if isinstance(v, modules) and vars(v).get(name) is value]
        assert value in found or within, name


def resolve(name):
    """The object of a dotted name; fails where there is none or it has no docstring."""
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            value = getattr(value, part)
        assert value.__doc__, name
        return value
    raise AssertionError(name)


def formulas_of(text):
    code = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    shown = re.findall(r"\$\$(.+?)\$\$", code, re.DOTALL)
    return shown + re.findall(r"\$([^$\n]+)\$", re.sub(r"\$\$.+?\$\$", "", code, flags=re.DOTALL))


def test_every_formula_becomes_mathml_with_nothing_left_of_latex(content):
    found = [f for page in PAGES for f in formulas_of(page.read_text(encoding="utf-8"))]
    assert len(found) > 50
    for formula in found:
        made = content.on_page_content(f'<span class="arithmatex">\\({formula}\\)</span>')
        assert made.startswith("<math"), formula
        # What the translator does not know, it leaves as text.
        assert "\\" not in made, formula
        assert not re.search(r"<mi>[a-zA-Z]{2,}</mi>", made.replace("<mi>log</mi>", "")), formula


def test_the_numbers_on_the_page_about_seeds_are_the_code_s():
    from sgmsolve.backends.noise import SHARD, SMALL

    text = (ROOT / "docs/seeds.md").read_text(encoding="utf-8")
    assert f"up to {SMALL} numbers" in text
    assert f"blocks of {SHARD} consecutive" in text


def test_the_readme_counts_what_there_is():
    from sgmsolve.problems import NAMES

    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    in_phase = methods_for(sgmsolve.PSLD())
    assert f"{len(all_methods())} methods:" in text
    assert f"{len(in_phase)} of them run in phase space" in text
    count = sum(name.startswith("psld-") for name in NAMES)
    assert f"{len(NAMES)} problems with known answers, {count} of them in phase space" in text


def test_the_changelog_names_every_command():
    from sgmsolve.cli.main import cli

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert not [name for name in cli.commands if f"`{name}`" not in text]


def test_the_page_about_seeds_is_right_about_numpy_torch_and_dtypes():
    torch = pytest.importorskip("torch")
    from sgmsolve.backends.noise import SMALL, KeyedNoise

    def draw(like):
        made = KeyedNoise(7).bind(None, (like,))(3, 0)
        return np.asarray(made.float() if made.dtype == torch.bfloat16 else made, dtype=np.float64)

    for size, same in ((SMALL, True), (SMALL + 1, False)):
        host = draw(np.zeros((2, size)))
        rounded = draw(np.zeros((2, size), dtype=np.float32))
        double, single, half = (
            draw(torch.zeros((2, size), dtype=dtype))
            for dtype in (torch.float64, torch.float32, torch.bfloat16)
        )
        np.testing.assert_allclose(rounded, host, rtol=1e-7)
        np.testing.assert_allclose(half, single, rtol=2**-8)
        assert np.array_equal(double, host) == same
        assert np.allclose(single, double, rtol=1e-6) == same
