"""Slides over all methods: tables by hand, maps that show what was planted, and a place in the report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import stats

from histobench.config.benchmark import Benchmark
from histobench.errors import UserError
from histobench.evaluation.colocation import GROUPS, check_groups, group_scores
from histobench.evaluation.statistics import paired_test
from histobench.figures.draw import draw
from histobench.figures.on_tissue import slide_maps
from histobench.files import read_table, write_table
from histobench.report.page import write_report
from histobench.slides.pseudobulk import colocation_table
from histobench.slides.slide_tables import write_slide_tables

WIDTH = 32


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Three slides of 8 x 6 tiles, tumour on the left half and immune cells on the right, with pictures."""
    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    files = {}
    for n in range(3):
        row, column = (axis.ravel() for axis in np.mgrid[:6, :8])
        kept = rng.permutation(48)[:40]
        left = np.where(column < 4, 1.0, -1.0)[kept]
        genes = {f"gene.{g}": left + 0.2 * rng.normal(size=40) for g in GROUPS["tumour"]}
        genes |= {f"gene.{g}": -left + 0.2 * rng.normal(size=40) for g in GROUPS["immune"]}
        places = {"left": WIDTH * (1 + column[kept]), "top": WIDTH * (2 + row[kept]), "white": 0.0}
        write_table(pd.DataFrame({**places, **genes}), folder / f"s{n}.parquet")
        picture = np.full((12 * WIDTH, 12 * WIDTH, 3), (200, 120, 160), np.uint8)
        tifffile.imwrite(folder / f"s{n}.tif", picture, tile=(64, 64), photometric="rgb")
        files[f"s{n}"] = folder / f"s{n}.parquet"
    found = colocation_table(files, {"s0": "p", "s1": "p", "s2": "q"})
    write_table(found, folder / "stnet" / "colocation.tsv")
    genes = pd.DataFrame(
        {
            "gene": ["a", "b", "c", "d", "e"],
            "n_patients": 9,
            "pearson": [0.9, 0.4, 0.0, np.nan, np.nan],
            "spearman": [0.8, 0.5, 0.0, np.nan, np.nan],
            "p": [1e-4, 0.2, 1.0, np.nan, np.nan],
            "p_holm": [3e-4, 0.4, 1.0, np.nan, np.nan],
            "q_bh": [3e-4, 0.3, 1.0, np.nan, np.nan],
            "reason": ["", "", "constant_prediction", "not_measured", "constant_bulk"],
        }
    )
    write_table(genes, folder / "stnet" / "genes.tsv")
    write_table(genes.assign(pearson=-genes["pearson"]), folder / "knn" / "genes.tsv")
    kinds = (
        "features",
        "subtype",
        "n_features",
        "n_train",
        "n_test",
        "strength",
        "accuracy",
        "prevalence",
        "auroc",
        "reason",
    )
    told = pd.DataFrame([["predicted", "basal", 3, 14, 6, 1.0, 0.8, 0.5, 0.9, ""]], columns=kinds)
    write_table(told, folder / "stnet" / "subtypes.tsv")
    write_table(told.head(0), folder / "knn" / "subtypes.tsv")
    write_table(found.head(0), folder / "knn" / "colocation.tsv")
    write_slide_tables(
        **{
            kind: {m: folder / m / f"{kind}.tsv" for m in ("knn", "stnet")}
            for kind in ("genes", "subtypes", "colocation")
        },
        output_pseudobulk=folder / "tables" / "pseudobulk.tsv",
        output_subtypes=folder / "tables" / "subtypes.tsv",
        output_colocation=folder / "tables" / "slide_colocation.tsv",
        name="x",
    )
    return folder


def test_tables_count_genes_and_test_over_patients(slides):
    table = read_table(slides / "tables" / "pseudobulk.tsv").set_index("method")
    assert list(table.index) == ["stnet", "knn"]  # best first
    first = table.loc["stnet"]
    assert first[["n_patients", "n_genes", "n_not_measured", "n_constant", "n_positive"]].tolist() == [
        9,
        3,
        1,
        1,
        2,
    ]
    assert first["pearson_median"] == 0.4 and first["n_significant_holm"] == first["n_significant_bh"] == 1
    # what is significant in the wrong direction is no success
    assert table.loc["knn", "n_significant_bh"] == 0
    assert read_table(slides / "tables" / "subtypes.tsv")["method"].tolist() == ["stnet"]

    own = read_table(slides / "stnet" / "colocation.tsv")
    (tested,) = read_table(slides / "tables" / "slide_colocation.tsv").to_dict("records")
    pairs = own.groupby("patient")[["within", "between"]].mean()
    expected = stats.ttest_rel(pairs["between"], pairs["within"])
    assert (tested["n_patients"], tested["n_slides"]) == (2, 3)
    assert tested["p"] == pytest.approx(expected.pvalue, rel=1e-4) and tested["p"] == tested["p_holm"]
    assert tested["difference"] == pytest.approx((pairs["between"] - pairs["within"]).mean(), rel=1e-4)
    assert tested["within"] > 0.8 and tested["between"] < -0.8
    assert (own["scores"] < -0.9).all()


def test_one_patient_gives_no_p():
    found = paired_test(np.array([[0.5, 0.2]]))
    assert found["difference"] == pytest.approx(-0.3) and np.isnan(found["p"])
    assert np.isnan(found["difference_low"])


def test_scores_are_mean_z_of_the_genes_that_vary():
    values = np.array([[1.0, 5.0, 7.0], [3.0, 5.0, 9.0], [5.0, 5.0, 5.0]])
    scores = group_scores(
        values, ["A", "B", "C"], {"tumour": ["A", "B"], "immune": ["C", "Z"], "none": ["Z"]}
    )
    z = np.array([-1, 0, 1]) * np.sqrt(1.5)
    assert set(scores) == {"tumour", "immune"}
    np.testing.assert_allclose(scores["tumour"], z)
    np.testing.assert_allclose(scores["immune"], [0, z[2], z[0]], atol=1e-12)
    assert group_scores(values[:, 1:2], ["B"], {"tumour": ["B"]}) == {}


@pytest.mark.parametrize("groups", [{"tumour": ["A"]}, {"tumour": ["A"], "immune": "B"}, {"tumour": [], "immune": ["B"]}, ["A"]])  # fmt: skip
def test_groups_that_are_none_are_refused(groups):
    with pytest.raises(UserError, match="must name genes of two groups"):
        check_groups(groups, "options.groups")
    check_groups({name: list(genes) for name, genes in GROUPS.items()}, "options.groups")


def test_a_configuration_with_other_groups_is_refused(project):
    config = {
        "run": ["demo"],
        "cohorts": {"tcga_brca": {"options": {"groups": {"fat": ["A"]}}}},
        "experiments": {"demo": {"external": [{"cohort": "tcga_brca"}]}},
    }
    with pytest.raises(UserError, match="groups` must name genes of two groups"):
        Benchmark(config, project)


def drawn(slides, out, **facts):
    names = ["s0", "s2"]
    inputs = {
        "tiles": [slides / f"{name}.parquet" for name in names],
        "images": [slides / f"{name}.tif" for name in names],
        "slides": slides / "stnet" / "colocation.tsv",
        "tests": slides / "tables" / "slide_colocation.tsv",
    }
    settings = {"slides": {"cohort": "tcga", "method": "stnet", "tile_um": 256, **facts}}
    paths = [out / f"maps.{kind}" for kind in ("svg", "png", "tsv", "txt")]
    draw("slide_maps", inputs, settings, *paths)
    return paths


def test_maps_show_tumour_and_immune_tiles_and_the_test(slides, tmp_path):
    svg, png, tsv, txt = drawn(slides, tmp_path)
    table = read_table(tsv)
    assert list(table) == slide_maps.COLUMNS and (table["width"] == WIDTH).all()
    assert table.groupby("slide").size().to_dict() == {"s0": 40, "s2": 40}
    right = table["left"] >= 5 * WIDTH
    assert table.loc[~right, "tumour"].min() > 0 > table.loc[right, "tumour"].max()
    assert table.loc[right, "immune"].min() > 0 > table.loc[~right, "immune"].max()
    assert "n = 2 patients" in txt.read_text() and "AEBP1, BGN, P4HB" in txt.read_text()
    assert svg.stat().st_size < 1e6 and png.stat().st_size > 1e4


def test_maps_of_genes_that_are_not_predicted_are_not_drawn(slides, tmp_path):
    *_, txt = drawn(slides, tmp_path, groups={"tumour": ["X"], "immune": ["Y"]})
    assert txt.read_text().startswith("Not drawn: the panel lacks genes")


def test_tables_of_slides_stand_in_the_report(slides, tmp_path):
    entry = {"slides": {"tcga_brca": str(slides / "tables")}}
    write_report({"experiments": {"harmonised": entry}}, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    for title in (
        "Slides against bulk expression",
        "Tumour subtypes from slides",
        "immune genes apart on slides",
    ):
        assert f"{title} (tcga_brca)" in text
    assert 'download="harmonised-tcga-brca-pseudobulk.tsv"' in text
