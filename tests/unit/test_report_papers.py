"""The page of the papers: every item with its place in the run, published numbers beside ours, or the reason."""

from __future__ import annotations

import pandas as pd
import pytest
from unit.test_evaluation_published import FACTS, result_tables
from unit.test_report_page import Page, write_and_parse

from histobench.evaluation import published
from histobench.evaluation.papers import read_papers
from histobench.files import read_table, write_table
from histobench.report import experiment
from histobench.report.papers import NO_PAPER
from histobench.report.tables import Loaded

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.fixture
def manifest(project, tmp_path):
    """A run that holds one experiment of one paper, with two of its figures."""
    tables = tmp_path / "hbcis_stnet" / "tables"
    tables.mkdir(parents=True)
    ledger = published.read_ledger(project / "resources/published.tsv")
    write_table(published.compare(ledger, result_tables(), FACTS), tables / "published.tsv")
    write_table(result_tables()["confusion"], tables / "domains.tsv")
    figures = {}
    for name in ("top_genes", "cohort_overview"):
        svg = tmp_path / f"{name}.svg"
        svg.write_text(SVG)
        figures[name] = {"svg": svg, "caption": "A caption.", "title": name.replace("_", " ")}
    settings = {
        "title": "ST-Net's protocol",
        "families": {"stnet": "deep"},
        "titles": {"stnet": "ST-Net"},
    }
    entry = {"settings": settings, "tables": tables, "figures": figures}
    return {"papers": project / "resources/papers.tsv", "experiments": {"hbcis_stnet": entry}}


def lines(source: str) -> dict[str, list[str]]:
    """Return the rows of the page's tables by item."""
    found = {}
    for table in Page(source).tables:
        if table[0][:2] == ["Item", "Covered"]:
            found |= {row[0]: [" ".join(cell.split()) for cell in row] for row in table[1:]}
    return found


def test_every_item_of_a_repeated_paper_is_a_line_and_no_other_papers_are(manifest, tmp_path):
    source, text = write_and_parse(manifest, tmp_path)
    papers = read_papers(manifest["papers"])
    own = papers[papers["paper"] == "ST-Net"]
    shown = lines(source)
    assert list(shown) == list(own["item"])
    for row in own.to_dict("records"):
        assert shown[row["item"]][1].split()[1] == row["status"]
        assert shown[row["item"]][4] == " ".join(row["reason"].split())
    counts = own["status"].value_counts()
    covered = ", ".join(
        f"{counts[status]} {status}" for status in ("full", "partial", "missing") if status in counts
    )
    assert f"39 items in the full benchmark: {covered}." in text
    assert text.count("No experiment of this run repeats this paper's protocol.") == 4


def test_figures_and_tables_of_the_run_are_linked_and_what_is_absent_is_named(manifest, tmp_path):
    source, _ = write_and_parse(manifest, tmp_path)
    page, shown = Page(source), lines(source)
    targets = {href[1:] for href in page.values("href") if href.startswith("#")}
    assert {"hbcis_stnet-figure-top_genes", "hbcis_stnet-figure-cohort_overview"} <= targets
    assert {target.split("/")[0] for target in targets} <= set(page.ids)
    assert shown["Table 1"][2] == "top genes; not in this run: genes.tsv"
    assert shown["Fig. 1c, d genes and reads per spot"][2] == "not in this run: spot_depth"
    assert shown["Supp. Fig. 11, Tables 4, 5 window"][2] == "hbcis_stnet_windows: not in this run"
    assert shown["AEBP1 against nuclear size and density"][2] == "not in this run: nuclei_markers"
    assert "not in this run" not in shown["TCGA: subtypes"][2]
    assert shown["Supp. Table 1 other networks"][2].startswith("not in this run: leaderboard.tsv, ")


def test_published_numbers_stand_beside_ours_with_their_verdict(manifest, tmp_path):
    shown = lines(write_and_parse(manifest, tmp_path)[0])
    assert (
        "RMSE, ST-Net: published 0.31, ours 0.33 (ln units); difference +0.02."
        in shown["RMSE and average factor"][3]
    )
    table_1 = shown["Table 1"][3]
    assert table_1.startswith("20 numbers: ")
    assert "GNAS: published 0.34, ours 0.36 (Pearson r); difference +0.02." in table_1
    assert "not comparable. Other cohort: published on visium_breast" in table_1
    # an item that nothing makes still has its published numbers, with the reason
    assert shown["TCGA: subtypes"][3].startswith("3 numbers: 3 not comparable")


def test_numbers_of_a_branch_come_before_those_that_cannot_be_compared(manifest, tmp_path):
    table = read_table(manifest["experiments"]["hbcis_stnet"]["tables"] / "published.tsv")
    abroad = table[(table["item"] == "Table 1") & table["reason"].str.contains("Other cohort", na=False)]
    branch = tmp_path / "branch"
    branch.mkdir()
    write_table(
        abroad.assign(comparison="comparable", ours=0.77, difference=0.77 - abroad["published"], reason=""),
        branch / "published.tsv",
    )
    manifest["experiments"]["hbcis_stnet/external/visium_breast"] = {"tables": branch}
    line = lines(write_and_parse(manifest, tmp_path)[0])["Table 1"][3]
    assert line.startswith("20 numbers: ")
    assert len(abroad) == 5 and line.count("ours 0.77 (Pearson r)") == 5 and "Other cohort" not in line


def test_a_run_without_a_papers_protocol_says_so_in_one_line(manifest, tmp_path):
    manifest["experiments"] = {"demo": {}}
    source, text = write_and_parse(manifest, tmp_path)
    assert text.count(NO_PAPER) == 1 and not lines(source)
    assert "#papers" not in source and 'id="papers"' not in source  # no page, and no link to one


def test_figures_come_before_the_tables_that_few_will_read(manifest, tmp_path):
    source, _ = write_and_parse(manifest, tmp_path)
    figures, further = (source.index(f'id="experiment-hbcis_stnet-{name}"') for name in ("figures", "tables"))
    assert figures < further < source.index('id="hbcis_stnet-domains"')


def test_names_between_backticks_are_code_and_nothing_else_changes(manifest, tmp_path):
    manifest["experiments"]["hbcis_stnet"]["methods"] = {
        "stnet": {"family": "deep", "deviations": ["with `drift: true` it <moves>", "an `open one"]}
    }
    source, _ = write_and_parse(manifest, tmp_path)
    assert "<li>with <code>drift: true</code> it &lt;moves&gt;</li>" in source
    assert "<code>open" not in source and "`drift" not in source


def test_an_experiment_says_how_many_genes_are_scored_and_what_networks_start_from():
    settings = {"panel": {"rule": "top_mean", "size": 25, "scope": "train"}, "weights": "none"}
    board = Loaded(pd.DataFrame({"method": ["stnet"], "n_genes": [27]}))
    facts = dict(experiment._facts(settings, {"leaderboard": board}))
    assert facts["Genes"] == "25 by top mean, chosen on training patients of each fold; 27 in any"
    assert facts["Networks start"] == "at random"
    settings = {"panel": {**settings["panel"], "size": 27}, "weights": "pretrained"}
    facts = dict(experiment._facts(settings, {"leaderboard": board}))
    assert facts["Genes"] == "27 by top mean, chosen on training patients"
    assert facts["Networks start"] == "from pretrained weights"
    assert "Genes" not in dict(experiment._facts({}, {"leaderboard": Loaded(None, "absent")}))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "items is not part of this run"),
        ("absent.tsv", "absent.tsv does not exist"),
        ("broken.tsv", "column `item` is missing"),
    ],
)
def test_without_a_readable_table_the_page_says_why(manifest, tmp_path, table, words):
    write_table(pd.DataFrame({"paper": ["p"]}), tmp_path / "broken.tsv")
    manifest["papers"] = table and tmp_path / table
    assert words in write_and_parse(manifest, tmp_path)[1]


def test_every_published_number_belongs_to_an_item_of_its_paper(project):
    ledger = published.read_ledger(project / "resources/published.tsv")
    papers = read_papers(project / "resources/papers.tsv")
    items = set(zip(papers["paper"], papers["item"], strict=True))
    own = ledger[ledger["paper"] != "Hist2ST"]  # it is none of the five
    assert set(zip(own["paper"], own["item"], strict=True)) <= items
