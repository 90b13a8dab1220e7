"""The report in a real Chromium with the network off: pages, sorting, searching, filtering, downloads."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from unit import result_tables

from histobench.files import read_table
from histobench.report.page import write_report

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}

pytestmark = pytest.mark.slow


def chromium() -> str:
    """Path of a Chromium that starts; the test skips with the reason where there is none."""
    found = os.environ.get("HISTOBENCH_CHROMIUM") or next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )
    if not found:
        pytest.skip("needs a Chromium: install the package `chromium` or set HISTOBENCH_CHROMIUM to its path")
    answer = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode != 0:
        pytest.skip(f"needs a Chromium that starts: {found} answered {answer.stderr.strip()[:200]}")
    return found


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = result_tables.shared_run(tmp_path_factory)
    write_report(result_tables.manifest(folder), folder / "index.html")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    path = chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    with sync_api.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=path, args=ARGUMENTS, offline=True,
            accept_downloads=True,
        )  # fmt: skip
        yield context
        context.close()


@pytest.fixture
def page(browser, report):
    """The opened report; at the end of the test nothing may have been logged or requested."""
    problems: list[str] = []
    page = browser.new_page()
    page.on("console", lambda message: problems.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"error: {error}"))
    page.on(
        "request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url)
    )
    page.set_viewport_size(dict(zip(("width", "height"), SIZES["desktop"], strict=True)))
    page.goto((report / "index.html").as_uri())
    yield page
    page.close()
    assert problems == []


def rows(page, table: str) -> list[list[str]]:
    """Cells of the visible rows of a table."""
    return page.evaluate(
        "name => [...document.querySelector(`table[data-table='${name}']`).tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => [...row.cells].map(cell => cell.textContent.trim()))",
        table,
    )


def test_one_page_is_shown_at_a_time_and_every_link_leads_to_its_page(page):
    assert page.locator(".page.current").get_attribute("id") == "overview"
    for link in page.locator("header nav a").all():
        target = link.get_attribute("href")[1:]
        link.click()
        assert page.locator(".page.current").count() == 1
        assert page.locator(".page.current").get_attribute("id") == target
        assert link.get_attribute("aria-current") == "page"
    # Every anchor inside the pages shows the page that holds it.
    for anchor in page.evaluate(
        "[...new Set([...document.querySelectorAll('main a[href^=\"#\"]')].map(a => a.hash))]"
    ):
        page.goto(page.url.split("#")[0] + anchor)
        inside = "id => document.querySelector('.page.current').contains(document.getElementById(id))"
        assert page.evaluate(inside, anchor[1:]), anchor


def test_the_leader_board_sorts_both_ways_with_missing_values_last(page, report):
    page.goto(page.url.split("#")[0] + "#experiment-harmonised")
    board = read_table(report / "harmonised" / "tables" / "leaderboard.tsv")
    table = page.locator("table[data-table='Leader board']")
    heading = table.locator("th", has_text="Parameters")
    for direction, ascending in (("descending", False), ("ascending", True)):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        wanted = [f"{int(value):,}" for value in board["parameters"].sort_values(ascending=ascending)]
        place = [cell.inner_text() for cell in table.locator("thead th").all()].index(heading.inner_text())
        shown = [row[place] for row in rows(page, "Leader board")]
        assert shown[:-1] == wanted and shown[-1] == "–"  # the ceiling has no parameters
    table.locator("th", has_text="Method").locator("button").click()
    names = [row[0] for row in rows(page, "Leader board")]
    assert names == sorted(names, key=str.lower)


def test_headings_can_be_sorted_with_the_keyboard(page):
    page.goto(page.url.split("#")[0] + "#experiment-harmonised")
    button = page.locator("table[data-table='Leader board'] th", has_text="RMSE").locator("button")
    button.focus()
    page.keyboard.press("Enter")
    shown = page.locator("table[data-table='Leader board'] th", has_text="RMSE").get_attribute("aria-sort")
    assert shown == "descending"


def test_genes_are_searched_and_filtered(page):
    page.goto(page.url.split("#")[0] + "#harmonised-genes")
    assert {row[1] for row in rows(page, "Genes")} == {"ST-Net"} and len(rows(page, "Genes")) == 30
    page.get_by_label("Search in Genes").fill("erbb2")
    assert [row[0] for row in rows(page, "Genes")] == ["ERBB2"]
    page.get_by_label("Method in Genes", exact=True).select_option("")
    assert len(rows(page, "Genes")) == len(result_tables.FAMILIES)
    page.get_by_label("Search in Genes").fill("no such gene")
    assert (
        rows(page, "Genes") == [] and "0 of 240 rows" in page.locator("#harmonised-genes output").inner_text()
    )
    family = page.get_by_label("Family in Leader board")
    family.select_option("deep network")
    assert [row[0] for row in rows(page, "Leader board")] == ["ST-Net"]


def test_a_table_is_downloaded_as_it_was_written(page, report, tmp_path):
    page.goto(page.url.split("#")[0] + "#harmonised-leaderboard")
    with page.expect_download() as waiting:
        page.locator("#harmonised-leaderboard a.download").click()
    waiting.value.save_as(tmp_path / "got.tsv")
    assert waiting.value.suggested_filename == "harmonised-tables-leaderboard.tsv"
    assert (tmp_path / "got.tsv").read_bytes() == (
        report / "harmonised" / "tables" / "leaderboard.tsv"
    ).read_bytes()


@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_the_screen_and_can_be_photographed(page, size, tmp_path):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    for section in page.evaluate("[...document.querySelectorAll('.page')].map(page => page.id)"):
        page.goto(page.url.split("#")[0] + "#" + section)
        # Wide tables scroll inside their box; the page itself never scrolls sideways.
        assert page.evaluate("document.documentElement.scrollWidth") <= width, section
        page.screenshot(path=tmp_path / f"{size}-{section}.png", full_page=True)
        assert (tmp_path / f"{size}-{section}.png").stat().st_size > 5000
    loaded = "[...document.querySelectorAll('img')].every(image => image.complete && image.naturalWidth > 0)"
    assert page.evaluate(loaded)


def test_without_script_everything_is_there_to_read(browser, report):
    page = browser.browser.new_page(java_script_enabled=False) if browser.browser else None
    if page is None:  # a persistent context has no browser handle: block the script instead
        page = browser.new_page()
        source = (report / "index.html").read_text(encoding="utf-8").split("<script>")[0] + "</body></html>"
        (report / "noscript.html").write_text(source, encoding="utf-8")
        page.goto((report / "noscript.html").as_uri())
    else:
        page.goto((report / "index.html").as_uri())
    for section in page.locator(".page").all():
        assert section.is_visible()
    assert page.locator("table[data-table='Genes'] tbody tr").count() == 240
    page.close()
