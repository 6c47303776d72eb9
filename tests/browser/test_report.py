"""The report in a real browser: no errors, no network, tables that sort and download, cells that answer the mouse."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from scssl import report

pytestmark = pytest.mark.browser
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("with space ü")
    of_reports("conftest").write_run(folder, n_cells=2000)
    return report.render(folder)


def of_reports(name):
    path = Path(__file__).parent.parent / "report" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"report_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert executable, "no Chromium here: run scripts/install_chromium.sh"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, page_file):
    contexts, problems, requests = [], [], []

    def opened(*, width=1100, scheme="light", scripts=True):
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
            accept_downloads=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []
    # Nothing but the page itself, and what it makes up by itself.
    assert [url for url in requests if url != page_file.as_uri() and not url.startswith(("blob:", "data:"))] == []


def test_page_of_a_file_of_named_cells(browser, tmp_path):
    of_reports("test_file_run").make().write_h5ad(tmp_path / "cells.h5ad")
    page, problems = browser.new_page(), []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(report.render(tmp_path / "cells.h5ad").as_uri())
    part = section(page, "Cells")
    # The other panel's column has "unknown" too, and gives its colours; a legend has what is drawn.
    assert part.locator(".legend").nth(0).locator("button").all_inner_texts() == ["a", "b", "c", "unknown"]
    assert part.locator(".legend").nth(1).locator("button").all_inner_texts() == ["B", "a", "c"]
    assert part.locator("select").first.locator("optgroup option").count() == 30
    words = point_at_a_cell(part.locator("canvas").first, part.locator(".tip").first)
    assert "scssl confidence: 0.9\n" in words
    assert "donor: " in words
    assert "scssl annotate new.h5ad" in section(page, "Details").locator("pre").inner_text()
    page.close()
    assert problems == []


def section(page, title):
    return page.locator("section").filter(has=page.get_by_role("heading", name=title, exact=True))


def column(table, number):
    return table.locator(f"tbody td:nth-child({number})").all_inner_texts()


def test_tables_sort_by_number_and_by_name(open_page):
    page = open_page()
    table = section(page, "Extra").locator("table")
    assert column(table, 1) == ['b, "x"', "a10", "a9", "=c"]
    table.get_by_role("button", name="value").click()
    # 9 before 10, and the missing value last in both directions.
    assert column(table, 2) == ["2.5", "9.0", "10.0", ""]
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    table.get_by_role("button", name="value").click()
    assert column(table, 2) == ["10.0", "9.0", "2.5", ""]
    table.get_by_role("button", name="name").click()
    assert column(table, 1)[1:] == ["a9", "a10", 'b, "x"']
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "none"


def test_tables_download_as_csv_with_every_digit(open_page, page_file):
    page = open_page()
    for title, name in (("Extra", "extra.csv"), ("Scores", "scores.csv")):
        with page.expect_download() as download:
            section(page, title).get_by_role("button", name="Download CSV").click()
        assert download.value.suggested_filename == name
        with Path(download.value.path()).open(encoding="utf-8", newline="") as got:
            rows = list(csv.reader(got))
        with (page_file.parent / name).open(encoding="utf-8", newline="") as original:
            assert rows == list(csv.reader(original))


def point_at_a_cell(canvas, tip):
    box = canvas.bounding_box()
    # The groups lie on a circle: one of these points has a cell under it.
    for step in range(40):
        canvas.hover(position={"x": box["width"] * (0.55 + 0.01 * step), "y": box["height"] / 2})
        if tip.is_visible():
            break
    return tip.inner_text()


def test_pointing_at_a_cell_says_what_it_is(open_page):
    page = open_page()
    part = section(page, "Cells")
    canvas = part.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    tip = part.locator(".tip").first
    assert part.locator("img").count() == 0
    assert tip.is_hidden()
    words = point_at_a_cell(canvas, tip)
    assert "cell type: type" in words
    assert "donor: " in words
    assert "confidence: 0." in words
    page.mouse.move(1, 1)
    assert tip.is_hidden()


def painted(canvas):
    return canvas.evaluate("c => c.toDataURL()")


def test_cells_can_be_coloured_otherwise_and_shown_alone(open_page):
    page = open_page()
    part = section(page, "Cells")
    canvas, legend = part.locator("canvas").first, part.locator(".legend").first
    before = painted(canvas)
    assert legend.locator("button").all_inner_texts() == [f"type {i}" for i in range(6)]
    legend.get_by_role("button", name="type 3").click()
    assert painted(canvas) != before
    assert legend.locator('[aria-pressed="true"]').all_inner_texts() == ["type 3"]
    legend.get_by_role("button", name="type 3").click()
    assert painted(canvas) == before
    part.locator("select").first.select_option(label="confidence")
    assert legend.locator(".ramp").count() == 1
    assert painted(canvas) != before


def test_genes_are_colours_of_their_own_group_and_said_where_one_points(open_page):
    page = open_page()
    part = section(page, "Cells")
    select, canvas, tip = part.locator("select").first, part.locator("canvas").first, part.locator(".tip").first
    assert select.locator("optgroup").get_attribute("label") == "Marker genes"
    assert select.locator("optgroup option").all_inner_texts() == ["CD4", "FOXP3"]
    before = painted(canvas)
    select.select_option(label="CD4")
    assert painted(canvas) != before
    low, high = part.locator(".legend").first.inner_text().split()
    assert float(low) < 0.1
    assert 2.0 < float(high) <= 2.1
    canvas.scroll_into_view_if_needed()
    words = point_at_a_cell(canvas, tip)
    assert "CD4: " in words
    assert "FOXP3" not in words
    assert "cell type: type" in words
    select.select_option(label="FOXP3")
    assert part.locator(".legend .ramp").count() == 1


def test_a_finger_that_touches_a_cell_is_told_what_it_is(browser, page_file):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(page_file.as_uri())
    part = section(page, "Cells")
    canvas, tip = part.locator("canvas").first, part.locator(".tip").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for step in range(40):
        page.touchscreen.tap(box["x"] + box["width"] * (0.55 + 0.01 * step), box["y"] + box["height"] / 2)
        if tip.is_visible():
            break
    assert "cell type: type" in tip.inner_text()
    context.close()


def test_print_names_the_colour_that_was_chosen(open_page):
    page = open_page()
    page.emulate_media(media="print")
    label = section(page, "Cells").locator("label").first
    assert label.locator("select").is_hidden()
    assert label.inner_text().split() == ["Coloured", "by", "cell", "type"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(open_page, scheme):
    page = open_page(scheme=scheme)
    brightness = "e => getComputedStyle(e).{0}.match(/[\\d.]+/g).slice(0, 3).reduce((a, v) => a + Number(v), 0) / 765"
    back = page.locator("body").evaluate(brightness.format("backgroundColor"))
    assert (back < 0.2) == (scheme == "dark")
    for place in ("body", "#summary", "th button", "td"):
        text = page.locator(place).first.evaluate(brightness.format("color"))
        assert abs(text - back) > 0.5, place
    drawn = page.locator("svg text").first.evaluate(brightness.format("fill"))
    assert abs(drawn - back) > 0.5


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_sticks_out_on_small_screens(open_page, width):
    page = open_page(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [320, 390])
def test_words_without_a_place_to_break_do_not_stick_out(browser, tmp_path, width):
    """Of paths, and of names of types and columns, wherever a page has them."""
    long = "/data/" + "a_very_long_name" * 6
    run = of_reports("conftest").write_run(tmp_path / "run")
    for name in ("cells.csv", "confusion.csv", "scores.csv", "extra.csv"):
        file = tmp_path / "run" / name
        file.write_text(file.read_text().replace("type 1", long).replace("cell_type", long).replace("a10", long))
    sections = []
    for section in run.sections:
        given = json.loads(json.dumps(dict(section.options)).replace("cell_type", long))
        sections.append(replace(section, title=f"{section.title} {long}", text=long, options=given))
    told = {"title": long, "command": long, "summary": [long, long], "settings": {long: long}}
    replace(run, sections=sections, data=[{"name": long, long: 1}], timings={long: 1.0}, **told).save(tmp_path / "run")
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(report.render(tmp_path / "run").as_uri())
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    page.locator(".tip").evaluate_all("(all, text) => all.forEach((t) => { t.hidden = false; t.append(text); })", long)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # In what is cut off rather than scrolled, too: a legend does not scroll sideways.
    sticking = "all => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.className)"
    assert page.locator(".legend, .panel, .tip, section > p, h1, h2, .under").evaluate_all(sticking) == []
    page.close()


def test_tables_on_phones_break_no_words(open_page):
    page = open_page(width=320)
    page.locator("details").evaluate_all("all => all.forEach((one) => { one.open = true; })")
    # The pieces of a cell's text: a piece on two lines has two rectangles.
    broken = page.locator("td").evaluate_all("""cells => cells.flatMap((cell) => [...cell.childNodes].flatMap((node) =>
        [...node.textContent.matchAll(/\\S+/g)].filter((word) => {
            const range = document.createRange();
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            return new Set([...range.getClientRects()].map((box) => box.top)).size > 1;
        }).map((word) => word[0])))""")
    assert [word for word in broken if "-" not in word] == []


def test_without_scripts_the_figures_and_numbers_are_there(open_page):
    page = open_page(scripts=False)
    assert section(page, "Cells").locator("img").is_visible()
    assert section(page, "Scores").locator("svg").is_visible()
    assert page.get_by_text("Pre-training took 12 s.").is_visible()


def test_printing_opens_what_is_folded(open_page):
    page = open_page()
    assert page.locator("details[open]").count() == 0
    assert len(page.pdf()) > 10_000
    assert page.locator("details[open]").count() == page.locator("details").count() > 0
