"""The report: complete, self-contained, and honest about what is missing."""

from __future__ import annotations

import base64
import copy
import gzip
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from unit import result_tables

from histobench.figures.drawing.settings import FAMILIES, Settings
from histobench.files import read_table, write_json, write_table
from histobench.report import embed, tables
from histobench.report.charts import vega_script
from histobench.report.page import write_report
from histobench.report.provenance import write_provenance
from histobench.report.verdict import verdict

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """The parts of a page that tests ask for; complains about badly nested elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, dict]] = []
        self.tables: list[list[list[str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)
        assert self._open == [], self._open

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.attributes.append((tag, values))
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        assert self._open and self._open.pop() == tag, (tag, self.getpos())
        if tag in ("td", "th"):
            self.tables[-1][-1].append("".join(self._cell).strip())
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)
        if not self._open or self._open[-1] not in ("script", "style"):
            self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [values[name] for _, values in self.attributes if name in values]


SETTINGS = Settings.of(result_tables.SETTINGS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Result files, figures and provenance of one small run, written by the code that draws and writes them."""
    folder = result_tables.shared_run(tmp_path_factory)
    write_provenance(
        folder / "report" / "provenance.json",
        project=folder,
        configuration={"seed": 0},
        sections={"her2st": folder / "data" / "her2st" / "sections.tsv"},
    )
    return folder


@pytest.fixture(scope="module")
def html(run):
    write_report(result_tables.manifest(run), run / "report" / "index.html")
    return (run / "report" / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def write_and_parse(manifest, folder) -> tuple[str, str]:
    """Return a report's source and its text on one line."""
    write_report(manifest, folder / "page.html")
    source = (folder / "page.html").read_text(encoding="utf-8")
    return source, " ".join(" ".join(Page(source).text).split())


def test_nothing_is_loaded_from_outside(page, html):
    sources = page.values("src") + [v["href"] for tag, v in page.attributes if tag == "link"]
    assert sources and all(source.startswith("data:") for source in sources)
    assert all(href.startswith(("#", "data:")) for href in page.values("href"))
    # Vega names addresses and could load data; the browser test sees that it does not, and the policy forbids it.
    own = html.replace(vega_script(), "").replace('"https://vega.github.io/schema/', '"schema/')
    assert not re.search(
        r"@import|url\(\s*['\"]?http|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org|purl\.org/dc|creativecommons\.org/ns)",
        own,
    )
    assert "default-src 'none'" in own and "unsafe-eval" not in own
    policy = next(
        v["content"] for _, v in page.attributes if v.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_every_anchor_resolves_and_is_unique(page):
    assert len(page.ids) == len(set(page.ids))
    # What stands behind a slash is the page's own: which map it shows.
    targets = [href[1:].split("/")[0] for href in page.values("href") if href.startswith("#")]
    assert targets and set(targets) <= set(page.ids)
    assert set(page.values("data-file")) <= set(page.ids)


def test_leaderboard_holds_every_method_and_the_ceiling(page, run):
    board = read_table(run / "harmonised" / "tables" / "leaderboard.tsv")
    shown = next(table for table in page.tables if table[0][:2] == ["Method", "Family"])
    assert len(shown) == 1 + 1 + len(board)  # heading and ceiling
    assert shown[1][0] == "Noise ceiling" and 0.5 < float(shown[1][2]) < 0.58
    best = board.sort_values("pearson", ascending=False).iloc[0]
    assert shown[2][2:5] == [f"{best[key]:.3f}" for key in ("pearson", "pearson_low", "pearson_high")]
    stnet = next(row for row in shown if row[0] == "ST-Net")
    assert "7,210,106" in stnet and "14 min" in stnet


def test_gene_table_is_complete_with_all_three_p_values(page, run):
    genes = read_table(run / "harmonised" / "tables" / "genes.tsv")
    shown = next(table for table in page.tables if table[0][:2] == ["Gene", "Method"])
    assert len(shown) == 1 + len(genes)
    assert shown[0][-3:] == ["p binomial", "p Holm", "q BH"]
    assert {row[0] for row in shown[1:]} == set(genes["gene"])


def test_rates_of_found_genes_stand_in_the_report_with_their_intervals(page, run):
    """True positive rate (planted genes) and false positive rate (null genes) of every method."""
    planted = read_table(run / "harmonised" / "tables" / "planted.tsv")
    assert {"colour", "null"} <= set(planted["kind"])
    (shown,) = [table for table in page.tables if "Criterion" in table[0]]
    assert len(shown) == 1 + len(planted)
    for row, (_, wanted) in zip(shown[1:], planted.iterrows(), strict=True):
        assert [wanted["kind"], wanted["criterion"]] == [
            cell for cell in row if cell in set(planted["kind"]) | set(planted["criterion"])
        ]
        for name in ("rate", "rate_low", "rate_high"):
            assert f"{wanted[name]:.3f}" in row
        assert wanted["rate_low"] - 1e-9 <= wanted["rate"] <= wanted["rate_high"] + 1e-9


def test_every_table_can_be_downloaded_whole(page, run):
    links = {v["download"]: v["href"] for tag, v in page.attributes if tag == "a" and "download" in v}
    tables, cohort = run / "harmonised" / "tables", run / "data" / "her2st"
    expected = {f"harmonised-tables-{path.name}": path for path in tables.glob("*.tsv")}
    expected |= {f"harmonised-figures-{path.name}": path for path in (tables / "figures").glob("*.tsv")}
    expected |= {
        "harmonised-leakage-audit-leakage.tsv": run / "harmonised" / "audit" / "leakage.tsv",
        "cohort-her2st-sections.tsv": cohort / "sections.tsv",
        "cohort-her2st-qc-stnet.tsv": cohort / "qc" / "stnet" / "summary.tsv",
        "cohort-her2st-qc-brstnet.tsv": cohort / "qc" / "brstnet" / "summary.tsv",
        "provenance-provenance.json": run / "report" / "provenance.json",
    }
    made = links.pop("harmonised-tables-trainings.tsv")  # written by the report itself, from run records
    assert base64.b64decode(made.split(",", 1)[1]).startswith(b"method\tselection\tselection_unit\t")
    assert {name.removesuffix(".gz") for name in links} == set(expected)
    for name, href in links.items():
        content = base64.b64decode(href.split(",", 1)[1])
        content = gzip.decompress(content) if name.endswith(".gz") else content
        assert content == expected[name.removesuffix(".gz")].read_bytes(), name


def test_figures_have_captions_and_alternative_text(page):
    images = [v for tag, v in page.attributes if tag == "img"]
    assert len(images) == 9  # stain previews do not exist in this run
    assert all(len(image["alt"]) > 20 for image in images)
    text = " ".join(page.text)
    assert "95 % percentile bootstrap" in text and "No caption was written" not in text


def test_overview_answers_which_how_sure_and_at_what_cost(page):
    text = " ".join(" ".join(page.text).split())
    assert "ST-Net leads with r = 0." in text and "of the noise ceiling" in text
    assert "above the best control, colour ridge" in text
    assert "Holm over 30 genes can never reject (it needs 10 patients)" in text
    assert "14 min per training" in text and "7,210,106 parameters" in text


def test_the_null_stands_in_verdict_summary_leader_board_and_table(page, html, run):
    draws = read_table(run / "harmonised" / "tables" / "permutations.tsv")["pearson"]
    mean, low, high = map(tables.r3, (draws.mean(), draws.min(), draws.max()))
    line = (
        f"Null (shuffled images): mean r {mean}, all 20 permutations lie between {low} and {high}. "
        "All 3 deep or classical methods lie above."
    )
    text = " ".join(" ".join(page.text).split())
    assert text.count(line) == 2  # on the overview and on the experiment's page
    head, *rows = next(table for table in page.tables if table[0][:2] == ["Method", "Family"])
    shown = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert (shown["shuffled images"]["Null low"], shown["shuffled images"]["Null high"]) == (low, high)
    assert shown["ST-Net"]["Against null"] == "above" and shown["shuffled images"]["Against null"] == "within"
    assert shown["ST-Net"]["Null low"] == "–"
    assert "Grey band, for r only: null, all 20 permutations lie between" in html
    table = next(t for t in page.tables if t[0][:2] == ["Method", "Permutation"])
    assert [row[2] for row in table[1:]] == [tables.r3(r) for r in draws]


def test_marks_of_methods_are_those_that_the_legend_explains(html):
    legend = re.search(r'<p class="legend">.*?</p>', html, re.S)[0]
    marks = dict(zip(FAMILIES, re.findall(r'class="swatch ([^"]*)"', legend), strict=True))
    assert len(set(marks.values())) == len(FAMILIES), "families differ without colour"
    board = html[html.index('data-table="Leader board"') :]
    for method, family in (("ST-Net", "deep"), ("ridge probe", "classical"), ("colour ridge", "control"),
                           ("neighbour mean", "oracle")):  # fmt: skip
        found = re.search(rf'class="swatch ([^"]*)"[^>]*></span>{method}<', board)
        assert found and found[1] == marks[family], method


def test_the_page_is_a_function_of_its_input(run, html, tmp_path):
    write_report(result_tables.manifest(run), tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == html
    assert len(html) < 15e6


def test_a_method_without_results_is_listed_with_the_reason(run, tmp_path):
    manifest = result_tables.manifest(run)
    entry = manifest["experiments"]["harmonised"]
    folder = tmp_path / "tables"
    for path in (run / "harmonised" / "tables").glob("*.tsv"):
        table = read_table(path)
        write_table(table[table["method"] != "stnet"] if "method" in table else table, folder / path.name)
    entry["tables"] = folder
    _, text = write_and_parse(manifest, tmp_path)
    assert "1 method missing" in text and "ST-Net : no results were found" in text
    failures = pd.DataFrame({"method": ["stnet"], "fold": ["A"], "reason": ["training diverged"]})
    write_table(failures, folder / "failures.tsv")
    assert "ST-Net : training diverged" in write_and_parse(manifest, tmp_path)[1]


def test_a_method_that_predicts_no_gene_is_missing_only_where_something_failed(run, tmp_path):
    manifest = result_tables.manifest(run)
    entry = manifest["experiments"]["harmonised"]
    entry["methods"]["stnet"] = {**(entry["methods"].get("stnet") or {}), "gives": {"expression": False}}
    folder = tmp_path / "tables"
    for path in (run / "harmonised" / "tables").glob("*.tsv"):
        table = read_table(path)
        write_table(table[table["method"] != "stnet"] if "method" in table else table, folder / path.name)
    entry["tables"] = folder
    assert "method missing" not in write_and_parse(manifest, tmp_path)[1]
    failures = pd.DataFrame({"method": ["stnet"], "fold": ["A"], "reason": ["training diverged"]})
    write_table(failures, folder / "failures.tsv")
    assert "ST-Net : training diverged" in write_and_parse(manifest, tmp_path)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["tables", "audit", "figures", "sections", "qc", "provenance", "methods", "folds"]
)
def test_any_missing_part_is_said_and_stops_nothing(run, tmp_path, what):
    manifest = copy.deepcopy(result_tables.manifest(run))
    gone = tmp_path / "gone"
    entry, cohort = manifest["experiments"]["harmonised"], manifest["cohorts"]["her2st"]
    if what in ("tables", "audit", "folds"):
        entry[what] = gone
    elif what == "figures":
        entry["figures"] = {"leaderboard": {"svg": gone, "png": gone, "caption": str(gone / "x.txt")}}
    elif what == "methods":
        entry["methods"] = {}
    elif what == "sections":
        cohort["sections"] = gone
    elif what == "qc":
        cohort["qc"] = {"stnet": gone}
    else:
        manifest["provenance"] = gone
    _, text = write_and_parse(manifest, tmp_path)
    assert "Missing:" in text
    if what not in ("methods", "folds"):
        assert "does not exist" in text
    if what == "audit":
        assert "no leakage audit" in text


def test_an_empty_manifest_gives_a_page(tmp_path):
    _, text = write_and_parse({}, tmp_path)
    assert "no experiment is part of this run" in text and "no provenance record" in text


def test_extrapolated_hours_are_shown_where_they_were_measured(run, tmp_path):
    manifest = result_tables.manifest(run)
    assert "extrapolated" not in write_and_parse(manifest, tmp_path)[1]
    row = {"what": "BrST-Net, vit_b_16, 200 epochs", "images": 5_530_400, "images_per_second": 3500.0}
    row |= {"hours": 0.439, "note": "published: 32.3 h on two GPUs", "device": "cuda"}
    write_table(pd.DataFrame([row]), tmp_path / "hours.tsv")
    _, text = write_and_parse({**manifest, "hours": tmp_path / "hours.tsv"}, tmp_path)
    assert "0.439 h for 5.53 million images at 3,500 a second on cuda" in text
    assert "BrST-Net, vit_b_16" in text and "published: 32.3 h" in text


def test_broken_tables_are_reasons(run, tmp_path):
    manifest = result_tables.manifest(run)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "leaderboard.tsv").write_text("")
    manifest["experiments"]["harmonised"]["tables"] = tmp_path / "tables"
    assert "cannot be read" in write_and_parse(manifest, tmp_path)[1]


def test_names_are_escaped(run, tmp_path):
    manifest = result_tables.manifest(run)
    manifest["title"] = "<script>alert(1)</script>"
    manifest["experiments"]["harmonised"]["settings"] = {**result_tables.SETTINGS, "title": "a & b <i>"}
    source, text = write_and_parse(manifest, tmp_path)
    assert "<script>alert(1)" not in source and "a & b <i>" in text


def test_leaks_and_failed_audits_are_marked(run, tmp_path):
    manifest = result_tables.manifest(run)
    entry = manifest["experiments"]["harmonised"]
    entry["settings"] = {**result_tables.SETTINGS, "mode": "paper", "folds": "leave_one_section_out"}
    audit = pd.DataFrame(
        {"check": ["patients_disjoint"], "scope": ["fold A"], "status": ["fail"], "detail": ["A in both"]}
    )
    write_table(audit, tmp_path / "leakage.tsv")
    entry["audit"] = tmp_path / "leakage.tsv"
    source, text = write_and_parse(manifest, tmp_path)
    assert "leaks the patient" in text and "audit: 1 finding" in text and "Read with care" in text
    assert 'class="status-fail"' in source


def test_a_declared_leak_is_no_finding(run, tmp_path):
    manifest = result_tables.manifest(run)
    audit = pd.DataFrame(
        {
            "check": ["fold scheme", "panel scope", "images"],
            "scope": "experiment",
            "status": ["declared", "declared", "ok"],
            "detail": ["sections of one patient are split", "genes are chosen on all sections", "none alike"],
        }
    )
    write_table(audit, tmp_path / "leakage.tsv")
    manifest["experiments"]["harmonised"]["audit"] = tmp_path / "leakage.tsv"
    source, text = write_and_parse(manifest, tmp_path)
    assert "2 declared leaks" in text and "finding" not in text.replace("A finding is a leak", "")
    assert "audit passed" not in text and source.count('class="status-declared"') == 2


def test_trainings_say_what_they_were_selected_on(page):
    shown = next(table for table in page.tables if table[0][:3] == ["Method", "Selection", "Selection unit"])
    rows = {row[0]: row for row in shown[1:]}
    assert rows["ST-Net"][2] == "patient" and rows["ST-Net"][3] == "8"
    assert rows["k-NN"][2] == "–"


def test_the_statistics_say_what_they_ignore(page):
    text = " ".join(" ".join(page.text).split())
    assert "correlate by −1/(n − 1), which both ignore" in text
    assert "An oracle that averages a spot's neighbours finds null genes, and rightly" in text


def test_figures_left_out_or_not_drawn_are_said(run, tmp_path):
    manifest = result_tables.manifest(run)
    entry = manifest["experiments"]["harmonised"]
    (tmp_path / "leaderboard.txt").write_text("Not drawn: no method has a score.\n")
    entry["figures"]["leaderboard"] |= {
        "caption": str(tmp_path / "leaderboard.txt"),
        "title": "Board",
        "group": "scores",
    }
    entry["figures_left_out"] = {"Learning curves": "no deep network is configured"}
    _, text = write_and_parse(manifest, tmp_path)
    assert (
        "Missing: no method has a score." in text
        and "Learning curves : no deep network is configured." in text
    )


@pytest.mark.slow
@pytest.mark.parametrize("method", ["stnet", "depth"])
def test_deleting_any_one_methods_results_leaves_a_report_that_says_so(run, tmp_path, method):
    """Everything of one method, of each family, is gone before tables, maps and report are made."""
    home = tmp_path / "harmonised"
    for kind in ("metrics", "models", "predictions", "ceiling"):
        shutil.copytree(run / "harmonised" / kind, home / kind)
    shutil.copy(run / "harmonised" / "truth.tsv", home)
    for kind in ("metrics", "models", "predictions"):
        shutil.rmtree(home / kind / method, ignore_errors=kind == "predictions")  # not all are mapped
    result_tables.write_tables_of(home)
    result_tables.write_maps(home)
    source, text = write_and_parse(result_tables.manifest(tmp_path), tmp_path)
    title = result_tables.SETTINGS["titles"][method]
    assert "1 method missing" in text
    assert f"Missing methods {title} : the metric table is missing" in text
    assert f"{title} leads" not in text and "leads with r" in text
    (stored,) = [json.loads(s) for s in re.findall(r'class="map-section"[^>]*>(.*?)</script>', source)]
    assert stored["missing"][method].endswith("does not exist") and method not in stored["methods"]


def test_a_verdict_does_not_claim_a_lead_over_controls_that_is_not_there(run):
    board = read_table(run / "harmonised" / "tables" / "leaderboard.tsv")
    board.loc[board["method"] == "colour_ridge", "pearson"] = 0.9
    loaded = {"leaderboard": tables.Loaded(board)}
    which = " ".join(verdict(loaded, SETTINGS).which)
    assert "not above the best control, colour ridge" in which
    only_controls = tables.Loaded(board[board["family"].isin(["control", "oracle"])])
    assert "No competitor was run" in " ".join(verdict({"leaderboard": only_controls}, Settings()).which)


def test_a_verdict_says_who_would_lead_by_another_way_to_pool(run):
    board = read_table(run / "harmonised" / "tables" / "leaderboard.tsv").assign(
        pearson_pooled=0.1, pearson_centred=0.1
    )
    best = verdict({"leaderboard": tables.Loaded(board)}, SETTINGS).best
    board.loc[board["method"] == best, "pearson_centred"] = 0.2
    board.loc[board["method"] == "knn", "pearson_pooled"] = 0.5
    assert best != "knn"
    which = " ".join(verdict({"leaderboard": tables.Loaded(board)}, SETTINGS).which)
    assert "K-NN would lead if r were pooled over all sections (r = 0.500)." in which
    assert "centred" not in which
    board.loc[board["method"] == best, "pearson_pooled"] = 0.6
    assert "would lead" not in " ".join(verdict({"leaderboard": tables.Loaded(board)}, SETTINGS).which)


@pytest.mark.parametrize(("ends", "open_"), [((-0.01, 0.2), True), ((0.05, 0.2), False)])
def test_a_lead_over_the_best_control_comes_with_its_interval(run, ends, open_):
    board = read_table(run / "harmonised" / "tables" / "leaderboard.tsv")
    controls = board[board["family"] == "control"].sort_values("pearson")
    best = board[board["family"] == "deep"].nlargest(1, "pearson")["method"].iloc[0]
    control = controls["method"].iloc[-1]
    row = {"method_a": control, "method_b": best, "difference": -0.1}
    row |= {"difference_low": -ends[1], "difference_high": -ends[0], "p_holm": 0.5}
    loaded = {"leaderboard": tables.Loaded(board), "comparisons": tables.Loaded(pd.DataFrame([row]))}
    which = " ".join(verdict(loaded, SETTINGS).which)
    assert f"95 % interval {tables.r3(ends[0])} to 0.200" in which
    assert ("which does not exclude zero" in which) == open_


def test_a_tie_and_a_comparison_that_points_the_other_way_are_said(run):
    """Of equals the first by name would seem to lead; pairs are of the patients and genes that both have."""
    board = read_table(run / "harmonised" / "tables" / "leaderboard.tsv")
    board.loc[board["method"].isin(["stnet", "knn"]), "pearson"] = 0.9
    board = board.sort_values(["pearson", "method"], ascending=[False, True])
    row = {
        "method_a": "knn",
        "method_b": "stnet",
        "difference": -0.02,
        "difference_low": -0.03,
        "difference_high": 0.01,
    }
    loaded = {"leaderboard": tables.Loaded(board), "comparisons": tables.Loaded(pd.DataFrame([row]))}
    told = verdict(loaded, SETTINGS)
    assert told.best == "knn" and "level with ST-Net" in told.which[0]
    assert any(line.startswith("Not ahead of ST-Net") and tables.r3(-0.02) in line for line in told.sure)
    alone = verdict({"leaderboard": tables.Loaded(board[board["method"] != "stnet"])}, SETTINGS)
    assert "level with" not in alone.which[0]


def test_a_verdict_reads_the_paired_comparison_from_either_side(run):
    board = tables.Loaded(read_table(run / "harmonised" / "tables" / "leaderboard.tsv"))
    row = {"difference": -0.02, "difference_low": -0.03, "difference_high": -0.01, "p_holm": 0.04}
    for a, b, sign in (("knn", "stnet", 1), ("stnet", "knn", -1)):
        values = {key: sign * value if key != "p_holm" else value for key, value in row.items()}
        if sign < 0:
            values["difference_low"], values["difference_high"] = (
                values["difference_high"],
                values["difference_low"],
            )
        table = pd.DataFrame([{"method_a": a, "method_b": b, **values}])
        sure = verdict({"leaderboard": board, "comparisons": tables.Loaded(table)}, SETTINGS).sure
        assert any("Ahead of k-NN by 0.020 (0.010 to 0.030)" in line and "0.040" in line for line in sure)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (tables.r3, -0.0001, "0.000"),
        (tables.r3, -0.1234, "−0.123"),
        (tables.probability, 0.0004, "4.0e-04"),
        (tables.probability, 0.0452, "0.045"),
        (tables.seconds, 0.2, "< 1 s"),
        (tables.seconds, 90, "90 s"),
        (tables.seconds, 900, "15 min"),
        (tables.seconds, 9000, "2.5 h"),
        (tables.megabytes, 2500, "2.5 GB"),
        (tables.whole, 7210106.0, "7,210,106"),
        (tables.percent, 0.344, "34 %"),
        (tables.plain, 3.0, "3"),
    ],
)
def test_numbers_are_printed_for_people(show, value, text):
    assert show(value) == text


def test_long_tables_are_cut_on_the_page_and_say_so():
    table = pd.DataFrame({"x": range(tables.LARGEST_TABLE + 7)})
    view = tables.view("a", "A", tables.Loaded(table), [tables.Column("x", "x")])
    assert len(view.rows) == tables.LARGEST_TABLE and "5,000 of 5,007" in view.note


def test_missing_values_sort_last_and_read_as_a_dash():
    cell = tables.cell(float("nan"), tables.Column("x", "x", tables.r3))
    assert (cell.text, cell.sort) == ("–", "")


def test_downloads_compress_and_come_once(tmp_path):
    content = b"gene\n" + b"GNAS\n" * 60_000
    (tmp_path / "big.tsv").write_bytes(content)
    downloads = embed.Downloads()
    entry = downloads.add(tmp_path / "big.tsv", "g")
    assert downloads.add(tmp_path / "big.tsv", "g") is entry
    assert downloads.add(tmp_path / "none.tsv", "g") is None
    downloads.embed()
    assert entry.name == "big.tsv.gz" and entry.size_text == "300 kB"
    assert gzip.decompress(base64.b64decode(entry.href.split(",", 1)[1])) == content


def test_where_there_is_no_room_for_all_downloads_the_largest_are_named_instead(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    downloads = embed.Downloads()
    for name, size in (("genes.tsv", 5000), ("leaderboard.tsv", 300), ("cost.tsv", 200)):
        (tmp_path / name).write_bytes(rng.bytes(size))
        downloads.add(tmp_path / name, "tables")
    monkeypatch.setattr(embed, "LARGEST_TOTAL", 1000)
    downloads.embed()
    genes, *others = downloads.by_group()["tables"]
    assert genes.href is None and str(tmp_path / "genes.tsv") in genes.reason
    assert genes.name == "genes.tsv"
    assert all(item.href and not item.reason for item in others)


def test_very_many_figures_are_less_sharp():
    assert embed.figure_width(49) == embed.figure_width(100) == 1200
    assert embed.figure_width(220) == pytest.approx(1200 / 2**0.5, abs=1)
    assert embed.figure_width(100_000) == 600


def test_where_pictures_are_small_only_light_figures_stay_vectors(tmp_path):
    from PIL import Image

    Image.new("RGB", (1500, 900), (200, 120, 180)).save(tmp_path / "curve.png")
    (tmp_path / "curve.svg").write_text("<svg>" + " " * 40_000 + "</svg>", encoding="utf-8")
    few, many = (
        embed.figure_uri(tmp_path / "curve.svg", tmp_path / "curve.png", embed.figure_width(number))
        for number in (50, 1500)
    )
    assert few.startswith("data:image/svg+xml") and many.startswith("data:image/png")


def test_previews_are_small_jpegs(tmp_path):
    from PIL import Image

    Image.new("RGB", (3000, 1500), (200, 120, 180)).save(tmp_path / "stain.png")
    uri = embed.preview_uri(tmp_path / "stain.png")
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) as small:
        assert small.format == "JPEG" and max(small.size) <= 480


def test_stain_flags_and_transferred_labels_are_shown(run, tmp_path):
    from PIL import Image

    manifest = result_tables.manifest(run)
    Image.new("RGB", (300, 150), (200, 120, 180)).save(tmp_path / "A2.png")
    write_json({"flags": ["grey_atom"], "tissue_share": 0.4}, tmp_path / "A2.json")
    manifest["cohorts"]["her2st"]["stain"] = {
        "A2": {"json": tmp_path / "A2.json", "png": tmp_path / "A2.png"}
    }
    source, text = write_and_parse(manifest, tmp_path)
    assert "grey atom" in text and "data:image/jpeg" in source
    assert "28 of 36 sections are transferred" in text and "E = BCE" in text
