"""The report page: its pictures, its safety, and what happens when people use it in a browser.

The browser tests drive the system's Chromium. Where there is none they skip, and say so; with
SGMSOLVE_REQUIRE_BROWSER=1 in the environment they fail instead.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sgmsolve.problems import View, find

from sgmsolve.analysis.report import render
from sgmsolve.analysis.report.pictures import contact_sheet, data_uri, on_white, scatter
from sgmsolve.analysis.results import results
from sgmsolve.analysis.work_precision import Choice, compare

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
EVIL = "<b>ring</b> </script><script>alert(1)</script> & co"


@pytest.fixture(scope="module")
def page_text() -> str:
    """The page of a small comparison with one method that cannot run, and a nasty title."""
    ring = find("ring").replace(starts=60, samples=60, title=EVIL)
    gaussian = find("gaussian").replace(starts=60)
    problems = [p.replace(view=replace(p.view, count=60)) for p in (ring, gaussian)]
    refused = Choice("reverse-diffusion", {"discretisation": "score_sde"})
    choices = [Choice("ddim"), Choice("heun"), Choice("euler-maruyama"), refused]
    found = compare(problems, choices, [4, 8])
    record = results(
        found, problems, choices, [4, 8], seed=0, command="sgmsolve compare", seconds=1.0
    )
    return render(record, found.samples, {p.name: p.view for p in problems})


def test_page_is_self_contained_and_escaped(page_text: str) -> None:
    own = re.sub(r"<script>.*?</script>", "", page_text, flags=re.DOTALL)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", own)
    assert "<b>ring</b>" not in page_text
    assert "alert(1)</script>" not in page_text
    assert "&lt;b&gt;ring&lt;/b&gt;" in page_text
    # Once, and all of it: the library is several megabytes.
    assert page_text.count("plotly.js v") == 1
    assert 4_000_000 < len(page_text) < 9_000_000


def test_page_names_the_method_that_did_not_run(page_text: str) -> None:
    assert "Not measured" in page_text
    assert "score_sde" in page_text.split("Not measured")[1].split("</ul>")[0]


def test_page_of_a_run_in_which_everything_failed_renders() -> None:
    ring = find("ring").replace(starts=4, samples=4)
    choices = [Choice("heun")]
    found = compare([ring], choices, [1])
    record = results(found, [ring], choices, [1], seed=0, command="x", seconds=0.0)
    text = render(record, found.samples, {"ring": ring.view})
    assert "needs" in text or "takes 2 evaluations" in text
    assert 'role="tab"' not in text


def pixels(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_contact_sheet_puts_each_picture_in_its_place() -> None:
    view = View("image", -1.0, 1.0)
    images = np.linspace(-1.2, 1.2, 3 * 8 * 8).reshape(3, 8, 8)
    sheet = contact_sheet(images, view, columns=2)
    assert sheet.shape == (17, 17, 4)
    level = np.clip((images + 1) / 2, 0, 1)
    assert np.abs(sheet[:8, 9:, 3] / 255 - level[1]).max() < 0.003
    assert np.abs(sheet[9:, :8, 3] / 255 - level[2]).max() < 0.003
    assert not sheet[9:, 9:, 3].any()
    assert not sheet[8, :, 3].any()
    assert np.array_equal(pixels(data_uri(images[:1], view, "#000000"))[..., 3], sheet[:8, :8, 3])
    assert contact_sheet(images, view, columns=2, zoom=3).shape == (51, 51, 4)
    white = np.asarray(Image.open(io.BytesIO(on_white(sheet))))
    assert white.shape == (17, 17, 3)
    assert (white[9:, 9:] == 255).all()
    assert (white[sheet[..., 3] == 255] < 60).all()


def test_scatter_puts_points_where_they_are_and_leaves_out_nan() -> None:
    view = View("scatter", -1.0, 1.0)
    shown = scatter(np.array([[0.5, 0.8], [5.0, 0.0]]), view, "#ff8000")
    row, column = np.unravel_index(shown[..., 3].argmax(), shown.shape[:2])
    assert abs(column / 299 - 0.75) < 0.01
    assert abs(row / 299 - 0.10) < 0.01
    assert shown[row, column, :3].tolist() == [255, 128, 0]
    assert shown[..., 3].astype(bool).sum() == 25
    twice = scatter(np.array([[0.5, 0.8]] * 2), view, "#ff8000")
    assert twice[row, column, 3] > shown[row, column, 3]
    bad = np.array([[0.5, 0.8], [np.nan, 0.0]])
    assert np.array_equal(pixels(data_uri(bad, view, "#ff8000")), shown)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    required = os.environ.get("SGMSOLVE_REQUIRE_BROWSER") == "1"
    if not Path(CHROMIUM).exists():
        if required:
            pytest.fail(f"SGMSOLVE_REQUIRE_BROWSER=1, but there is no {CHROMIUM}")
        pytest.skip(f"no browser: {CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Any, page_text: str, tmp_path: Path) -> Iterator[Any]:
    """The page, open; any console message or request to a network fails the test."""
    file = tmp_path / "report.html"
    file.write_text(page_text, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1360, "height": 900}, color_scheme="light")
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else trouble.append(r.url),
    )
    page.goto(file.as_uri())
    page.wait_for_selector("body[data-ready=yes]")
    yield page
    page.close()
    assert not trouble


def visible(page: Any, chart: str) -> list[str]:
    """Names of the lines that a chart shows."""
    found: list[str] = page.locator(chart).evaluate(
        "node => node.data.filter(t => t.visible === true).map(t => t.name)"
    )
    return found


RING = "#panel-ring-rms .chart"


@pytest.mark.browser
def test_legend_isolates_hides_and_brings_back(page: Any) -> None:
    assert visible(page, RING) == ["ddim", "heun"]
    heun = page.locator(".chip", has_text="heun")
    heun.click()
    assert visible(page, RING) == ["heun"]
    assert visible(page, "#panel-gaussian-w2 .chart") == ["heun"]
    assert page.locator("#panel-ring-rms tr.off").count() == 1
    heun.click()
    assert visible(page, RING) == ["ddim", "heun"]
    heun.click(modifiers=["Shift"])
    assert visible(page, RING) == ["ddim"]
    assert heun.get_attribute("aria-pressed") == "false"


@pytest.mark.browser
def test_tabs_show_one_metric_each(page: Any) -> None:
    tab = page.locator("#tab-ring-energy")
    tab.click()
    assert tab.get_attribute("aria-selected") == "true"
    assert page.locator(RING).is_hidden()
    assert visible(page, "#panel-ring-energy .chart") == ["euler-maruyama"]
    assert page.locator("#panel-ring-energy .chart .shapelayer path").count() == 1
    tab.press("ArrowLeft")
    assert page.locator(RING).is_visible()


@pytest.mark.browser
def test_hovering_a_point_shows_its_numbers(page: Any) -> None:
    point = page.locator(f"{RING} .scatterlayer .trace .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] - 30)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = page.locator(f"{RING} .hoverlayer .hovertext")
    label.wait_for()
    first = page.locator(RING).evaluate("n => [n.data[0].x[0], n.data[0].y[0]]")
    text = label.text_content()
    assert "ddim" in text
    assert f"{first[0]} evaluations" in text
    mantissa, exponent = f"{first[1]:.2e}".split("e")
    assert f"{mantissa}e{int(exponent):+d}" in text


@pytest.mark.browser
def test_method_table_sorts_and_filters(page: Any) -> None:
    def column(i: int) -> list[str]:
        texts = page.locator(f"#method-table tbody tr:not([hidden]) > :nth-child({i})")
        return [t.strip() for t in texts.all_text_contents()]

    def sort(i: int) -> None:
        page.locator(f"#method-table thead th:nth-child({i}) button").click()

    sort(1)
    names = column(1)
    known = ["ancestral", "ddim", "deis-tab-2", "deis-tab-4", "heun", "unipc-1", "unipc-3"]
    assert [n for n in names if n in known] == known
    sort(1)
    assert column(1) == names[::-1]
    sort(5)
    orders = column(5)
    filled = [float(o) for o in orders if o]
    assert filled == sorted(filled)
    assert len(set(filled)) > 2
    assert all(orders[: len(filled)])
    sort(5)
    again = column(5)
    assert [float(o) for o in again if o] == filled[::-1]
    assert not any(again[len(filled) :])
    page.locator("#used").check()
    assert sorted(column(1)) == ["ddim", "euler-maruyama", "heun", "reverse-diffusion"]
    page.locator("#filter").fill("Karras")
    assert column(1) == ["heun"]
    assert page.locator("#count").inner_text().startswith("1 of ")


@pytest.mark.browser
def test_pictures_follow_the_chosen_budget(page: Any) -> None:
    card = page.locator(".shots[data-problem=ring]")
    shown = card.locator("figure[data-label] img:visible")
    assert {s.get_attribute("data-budget") for s in shown.all()} == {"8"}
    card.locator(".pick button", has_text="4").click()
    assert {s.get_attribute("data-budget") for s in shown.all()} == {"4"}
    assert shown.count() == 3
    sizes = card.locator("img:visible").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert sizes == [300] * 5


@pytest.mark.browser
def test_theme_switches_and_the_page_is_not_blank(page: Any, tmp_path: Path) -> None:
    def brightness(name: str) -> float:
        page.screenshot(path=tmp_path / name)
        grey = np.asarray(Image.open(tmp_path / name).convert("L"))
        assert grey.shape == (900, 1360)
        assert len(np.unique(grey)) > 50
        return float(np.median(grey))

    page.locator("#ring .card").first.scroll_into_view_if_needed()
    assert brightness("light.png") > 230
    before = page.locator(RING).evaluate("n => n.layout.font.color")
    page.locator("#theme").click()
    assert brightness("dark.png") < 60
    assert page.locator(RING).evaluate("n => n.layout.font.color") != before


@pytest.mark.browser
def test_narrow_screens_do_not_scroll_sideways(page: Any) -> None:
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
