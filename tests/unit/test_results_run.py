"""The door for people: results of a run opened by name, also as a copy on another machine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from unit.result_tables import LEVELS, SETTINGS, write_predictions, write_tables
from unit.section_files import write_section

import histobench
from histobench.cohorts.library import library, with_conventions
from histobench.errors import UserError
from histobench.figures.draw import draw
from histobench.files import read_table, write_json, write_table
from histobench.results.catalogue import columns_of


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results as a small run leaves them, with the paths of the run."""
    folder = tmp_path_factory.mktemp("made") / "results"
    home = folder / "harmonised"
    write_tables(home)
    for path in write_predictions(home / "predictions"):
        table = anndata.read_h5ad(path)
        table.obs = with_conventions(table.obs, "square")
        table.uns["spatial"] = {"B1": library((8000, 8000), 145.0, np.full((400, 400, 3), 200, np.uint8))}
        table.write_h5ad(path)
    draw(
        "leaderboard", {"leaderboard": str(home / "tables/leaderboard.tsv")}, SETTINGS,
        home / "figures/leaderboard.svg", home / "figures/leaderboard.png",
        home / "tables/figures/leaderboard.tsv", home / "figures/leaderboard.txt",
    )  # fmt: skip
    roles = [("B", "B", "B1", "test"), ("B", "A", "A1", "train"), ("C", "C", "C1", "test")]
    folds = pd.DataFrame(roles, columns=["fold", "patient", "section", "role"]).assign(cohort="her2st")
    write_table(folds, home / "folds.tsv")
    sections = folder / "data/her2st/sections"
    sections.mkdir(parents=True)
    write_section(sections, np.ones((12, 2)), ["GNAS", "FASN"], section="B1")
    row = ["stnet", "deep", "her2st", "her2st", "held-out patients", "harmonised", 0.2, 0.1, 0.3, 0.5, 60, 8]
    write_table(pd.DataFrame([row], columns=list(columns_of("transfer"))), folder / "report/transfer.tsv")
    write_json({"code": "1"}, folder / "report/provenance.json")
    return folder


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made, tmp_path / "copied" / "results")
    return histobench.open(tmp_path / "copied" / "results")


def test_importing_the_package_loads_nothing():
    heavy = "{'numpy', 'pandas', 'torch', 'anndata', 'matplotlib'}"
    code = f"import sys, histobench; histobench.open; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in done.stdout and "matplotlib" not in done.stdout and "anndata" not in done.stdout
    code = f"import sys, histobench; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        _ = histobench.opne


def test_experiments_and_tables_are_found_by_name(run):
    assert run.experiments == ["harmonised"] == list(run) and len(run) == 1
    results = run["harmonised"]
    board = results.leaderboard
    assert results.methods == list(board["method"]) and board["pearson"].is_monotonic_decreasing
    assert set(results.genes["method"]) == set(board["method"])
    assert results.tables[:2] == ["leaderboard", "metrics"] and "spots" in results.tables
    assert results.table("power")["can_reject_holm"].dtype == bool
    assert results.about("power").column("smallest_p").unit == "p"
    assert set(results.folds["role"]) == {"train", "test"}
    assert "harmonised" in repr(run) and f"{len(board)} methods" in repr(results)


def test_methods_that_predict_no_gene_follow_those_of_the_leader_board(run, tmp_path):
    copy = shutil.copytree(run["harmonised"].folder, tmp_path / "results" / "harmonised")
    board = read_table(copy / "tables/leaderboard.tsv")
    told = board["method"].iloc[0]
    rows = pd.DataFrame({"method": [told, board["method"].iloc[1]], "patient": "A", "n_labelled": 20})
    write_table(rows.reindex(columns=list(columns_of("tumour"))), copy / "tables/tumour.tsv")
    write_table(board[board["method"] != told], copy / "tables/leaderboard.tsv")
    ranked = [method for method in board["method"] if method != told]
    assert histobench.open(tmp_path / "results")["harmonised"].methods == [*ranked, told]


def test_a_prediction_brings_r_and_ceiling_of_its_genes(run):
    results = run["harmonised"]
    predicted = results.predictions("stnet", "B1")
    folder = run.folder / "harmonised"
    stored = anndata.read_h5ad(folder / "predictions/stnet/B/B1.h5ad")
    np.testing.assert_array_equal(predicted.X, stored.X)
    for column, path, metric in (
        ("pearson", "metrics/stnet/B.parquet", "pearson"),
        ("ceiling", "ceiling/B.parquet", "ceiling"),
    ):
        table = pd.read_parquet(folder / path)
        own = table[(table["section"] == "B1") & (table["metric"] == metric)].set_index("gene")["value"]
        for gene in ("GNAS", "FASN"):
            assert predicted.var.loc[gene, column] == own[gene]
    assert results.predicted("stnet") == {"B1": ["B"]}


def test_names_may_be_given_as_the_numbers_that_they_look_like(run):
    """The sections of DLPFC are called 151507 and alike."""
    one = run.folder / "harmonised/predictions/stnet/B/B1.h5ad"
    two = run.folder / "harmonised/predictions/stnet/7/151507.h5ad"
    two.parent.mkdir()
    shutil.copy(one, two)
    try:
        results = run["harmonised"]
        assert results.predictions("stnet", 151507, fold=7).n_obs > 0
        with pytest.raises(
            UserError, match="no prediction by stnet of section '151508'; did you mean `151507`"
        ):
            results.predictions("stnet", 151508)
        with pytest.raises(UserError):
            run[0]
    finally:
        shutil.rmtree(two.parent)


def test_a_section_of_two_folds_needs_its_fold(run):
    one = run.folder / "harmonised/predictions/stnet/B/B1.h5ad"
    two = run.folder / "harmonised/predictions/stnet/C/B1.h5ad"
    two.parent.mkdir()
    shutil.copy(one, two)
    results = run["harmonised"]
    with pytest.raises(UserError, match=r"B1 is tested in 2 folds; say which, as in .*fold='B'"):
        results.predictions("stnet", "B1")
    assert results.predictions("stnet", "B1", fold="C").n_obs > 0


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run["harmonized"], "no experiment 'harmonized'; did you mean `harmonised`"),
        (lambda run: run["harmonised"].table("powr"), "no table 'powr'; did you mean `power`"),
        (lambda run: run["harmonised"].about("gens"), "no table is called 'gens'; did you mean `genes`"),
        (lambda run: run["harmonised"].predictions("stnt", "B1"), "did you mean `stnet`"),
        (lambda run: run["harmonised"].predictions("stnet", "B2"), "section 'B2'; known are: B1."),
        (lambda run: run["harmonised"].predictions("stnet", "B1", "D"), "B1 in fold 'D'; known are: B."),
        (lambda run: run["harmonised"].figure("leaderbord"), "did you mean `leaderboard`"),
        (lambda run: run.table("transfr"), "no table across experiments 'transfr'; did you mean `transfer`"),
        (lambda run: run.section("her3st", "B1"), "no cohort 'her3st'; did you mean `her2st`"),
        (lambda run: run.section("her2st", "B3"), "no section of her2st 'B3'; known are: B1."),
        (lambda run: run.report, "the run has not been finished"),
    ],
)
def test_what_is_not_there_is_one_sentence_with_the_nearest_name(run, ask, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        ask(run)
    assert "\n" not in str(error.value) and str(run.folder) in str(error.value) + str(run.folder)


def test_a_wrong_folder_is_one_sentence(run, tmp_path):
    with pytest.raises(UserError, match="there is no such folder"):
        histobench.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no experiment has left results here; did you mean .*results\?"):
        histobench.open(run.folder.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="give the folder `results` of a run"):
        histobench.open(tmp_path / "empty")


def test_a_damaged_file_is_one_sentence(run):
    path = run.folder / "harmonised/predictions/stnet/B/B1.h5ad"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="damaged or cut off"):
        run["harmonised"].predictions("stnet", "B1")


def test_branches_are_experiments_without_folds(run):
    branch = run.folder / "harmonised/external/other"
    (branch / "tables").mkdir(parents=True)
    shutil.copy(run.folder / "harmonised/tables/leaderboard.tsv", branch / "tables")
    assert run.experiments == ["harmonised", "harmonised/external/other"]
    results = run["harmonised/external/other"]
    assert results.tables == ["leaderboard"] and len(results.leaderboard) > 3
    with pytest.raises(UserError, match="there are no folds; a branch"):
        _ = results.folds


def test_figures_and_the_rest(run):
    figure = run["harmonised"].figure("leaderboard")
    assert figure._repr_png_()[:8] == b"\x89PNG\r\n\x1a\n" and figure.svg.suffix == ".svg"
    assert "95 %" in figure.caption and len(figure.table) > 3
    assert run["harmonised"].figures == ["leaderboard"]
    assert run.cohorts == ["her2st"] and run.section("her2st", "B1").n_obs == 12
    assert run.tables == ["transfer"] and len(run.table("transfer")) == 1
    assert run.provenance == {"code": "1"}


def test_the_notebook_of_the_documentation_runs(project, run, monkeypatch):
    pytest.importorskip("scanpy")
    text = (project / "docs/notebook.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    monkeypatch.chdir(run.folder.parent)
    names: dict = {}
    # the same lines, on results that are called otherwise than the demo's
    exec(code.replace('run["demo"]', 'run["harmonised"]'), names)
    assert names["board"]["method"].iloc[0] and names["best"] in LEVELS
    assert len(names["genes"]) == 10 and names["gene"] in names["predicted"].var_names
    assert names["counts"].n_obs == 12 and names["figure"].name == "leaderboard"
    assert len(plt.get_fignums()) >= 2
    plt.close("all")


def test_the_lines_of_the_readme_run(project, run, monkeypatch):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (project / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    (code,) = [block for block in blocks if "histobench.open(" in block]
    monkeypatch.chdir(run.folder.parent)
    names: dict = {}
    exec(code.replace('["demo"]', '["harmonised"]').replace("P1_1", "B1"), names)
    assert names["predicted"].n_obs > 0
