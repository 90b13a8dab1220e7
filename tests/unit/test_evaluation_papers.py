"""The table of the papers' items: every one is accounted for, and wrong lines are one sentence."""

from __future__ import annotations

import pytest

from histobench.config.benchmark import Benchmark
from histobench.errors import UserError
from histobench.evaluation.papers import read_papers
from histobench.figures.catalogue import catalogue
from histobench.files import write_table
from histobench.yamlfiles import read_yaml


@pytest.fixture(scope="module")
def papers(project):
    return read_papers(project / "resources/papers.tsv")


def test_every_item_of_the_five_papers_is_listed_once(papers):
    assert not papers.duplicated(["paper", "item"]).any()
    counts = papers.groupby("paper").size().to_dict()
    assert counts == {"ST-Net": 39, "BrST-Net": 15, "HE2Gene": 22, "THItoGene": 12, "HistoSPACE": 13}


def test_experiments_figures_methods_and_genes_exist(papers, project):
    bench = Benchmark(read_yaml(project / "config/config.yaml"), project)
    every = bench.experiments | bench.branches
    for row in papers.to_dict("records"):
        if not row["experiment"]:
            continue
        settings = every[row["experiment"]]
        assert set(row["methods"].split()) <= set(settings["methods"]), row["item"]
        figures = [name for name in row["artefact"].split() if not name.endswith(".tsv")]
        assert set(figures) <= set(catalogue()), row["item"]
        wanted = row["genes"].split()
        panel = bench.described(row["experiment"].partition("/")[0])["panel"]
        if panel["rule"] == "file":
            assert set(wanted) <= set((project / panel["file"]).read_text().split()), row["item"]
        if {"genes"} & {key for name in figures for key in catalogue()[name].settings} and wanted:
            assert wanted[0] in settings["maps"]["genes"], row["item"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "done"}, "line 2, a: status `done` must be full, partial or missing"),
        ({"status": "partial", "reason": ""}, "status partial needs a reason"),
        ({"artefact": ""}, "an experiment and its artefact go together"),
        ({"artefact": "", "experiment": ""}, "status full needs an experiment"),
        ({"status": "missing", "reason": "why"}, "what is missing has no artefact"),
    ],
)
def test_a_wrong_line_is_one_sentence(papers, tmp_path, change, words):
    line = {"paper": "p", "item": "a", "experiment": "e", "artefact": "f", "methods": "", "genes": "", "status": "full", "reason": "r"}  # fmt: skip
    write_table(papers.head(1).assign(**{**line, **change}), tmp_path / "p.tsv")
    with pytest.raises(UserError, match=words):
        read_papers(tmp_path / "p.tsv")
