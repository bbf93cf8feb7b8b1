"""What users are shown has been run: README, pages, and the runner that `make docs` uses."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sgmsolve.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
SLOW = (
    "docs/first-hour.md",
    "docs/order.md",
    "docs/phase-space.md",
    "docs/reverse.md",
    "docs/seeds.md",
    "docs/tuning.md",
)  # they load torch and jax, or measure


def page_params():
    return [pytest.param(p, marks=pytest.mark.slow) if p in SLOW else p for p in PAGES]


@pytest.mark.parametrize("page", page_params())
def test_every_block_of_a_page_does_what_the_page_says(page, examples):
    text = (ROOT / page).read_text(encoding="utf-8")
    shown = examples.run_page(text, page)
    assert shown.count("{ .text .output }") <= examples.blocks(text)
    if page == "docs/errors.md":
        assert shown.count("Error: ") >= text.count(" raises")


def test_the_readme_shows_the_call_with_the_result_it_states(examples):
    shown = examples.run_page((ROOT / "README.md").read_text(encoding="utf-8"), "README.md")
    assert "\n(1000, 2) 20\n" in shown
    assert "plan      dpm++2m, 1 -> 0.001" in shown


def test_the_commands_in_the_readme_exist_with_these_options():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    commands = [shlex.split(x, comments=True) for x in lines if x.startswith("    sgmsolve ")]
    assert len(commands) >= 4
    for words in commands:
        # Parses and checks the options without running anything.
        cli.commands[words[1]].make_context(words[1], words[2:])


def test_make_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in ("demo", "test", "docs"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile


def test_output_follows_its_block_and_names_are_shared(examples):
    page = "a\n```python\nx = 2\n```\n```python\nprint(x + 1)\n```\nb\n"
    expected = "```python\nprint(x + 1)\n```\n\n``` { .text .output }\n3\n```\nb\n"
    assert examples.run_page(page, "page").endswith(expected)


def test_a_block_that_raises_is_shown_with_its_sentence(examples):
    page = "```python raises\nimport sgmsolve\nsgmsolve.VE(sigma_min=2, sigma_max=1)\n```\n"
    assert "ProcessError: sigma_min = 2 must be smaller" in examples.run_page(page, "page")


def test_commands_run_and_their_output_is_shown(examples):
    shown = examples.run_page("```console\n$ sgmsolve plan ddim --steps 1\n```\n", "page")
    assert "$ sgmsolve plan ddim --steps 1\nplan      ddim, 1 -> 0.001" in shown


def test_a_picture_is_part_of_the_page(examples):
    write = "__import__('pathlib').Path('picture.png').write_bytes(b'bytes')"
    shown = examples.run_page(f"```python picture Two lines\n{write}\n```\nb\n", "page")
    assert shown == f"```python\n{write}\n```\n\n![Two lines](data:image/png;base64,Ynl0ZXM=)\nb\n"


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```python picture Nothing\nx = 1\n```", "should have written picture.png"),
        ("```console picture Nothing\n$ sgmsolve plan heun\n```", "unknown word 'picture Nothing'"),
        ("```python\n1 / 0\n```", "line 3: the block raised ZeroDivisionError"),
        ("```python raises\nx = 1\n```", "should have raised"),
        ("```python raises\n1 / 0\n```", "ZeroDivisionError"),
        ("```python rises\nx = 1\n```", "unknown word 'rises'"),
        ("```python\nx = 1\n", "not closed"),
        ("```console\n$ rm -r x\n```", "does not start with"),
        ("```console\n$ sgmsolve plan huen\n```", "ended with exit code 2"),
        ("```console raises\n$ sgmsolve plan heun\n```", "ended with exit code 0"),
    ],
)
def test_a_block_that_does_something_else_stops_the_build(block, said, examples):
    with pytest.raises(examples.ExampleError, match=said):
        examples.run_page("# page\n\n" + block, "page.md")
