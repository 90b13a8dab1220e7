"""Figures of cohorts, of quality control and of known truth: tidy tables and what is drawn of them."""

from __future__ import annotations

import pandas as pd
import pytest
from unit import described, result_tables

from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.text import count, scores_note, signed, transform_text
from histobench.figures.per_gene import detection
from histobench.figures.per_section import cohort_overview, qc_dropped
from histobench.files import read_table, write_table


def texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.fixture
def sections(tmp_path):
    result_tables.write_cohort(tmp_path)
    return read_table(tmp_path / "sections.tsv")


def test_cohort_overview_has_one_bar_per_section_and_quantity(sections):
    shuffled = sections.sample(frac=1, random_state=0)
    table = cohort_overview.tidy_cohort(shuffled)
    assert list(table["section"]) == sorted(sections["section"]) and len(table) == 36
    figure = cohort_overview.plot_cohort(table, described.settings())
    for axes, column in zip(figure.axes, ("n_spots_kept", "median_umi", "n_genes"), strict=True):
        assert [bar.get_height() for bar in axes.patches] == list(table[column])
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == list(table["section"])
    assert "median UMIs per spot\n(log scale)" in texts(figure)  # depths span more than a decade
    tones = {
        tuple(bar.get_facecolor())
        for bar, patient in zip(figure.axes[0].patches, table["patient"], strict=True)
        if patient == "A"
    }
    assert len(tones) == 1
    spots = f"{sections['n_spots_kept'].sum():,} spots"
    assert "8 patients, 36 sections" in cohort_overview.caption(
        table, described.settings()
    ) and spots in cohort_overview.caption(table, described.settings())


def test_cohort_of_one_section_and_of_none_can_be_drawn(sections):
    one = cohort_overview.tidy_cohort(sections.head(1))
    assert "1 patient, 1 section," in cohort_overview.caption(one, described.settings())
    cohort_overview.plot_cohort(one, described.settings()).draw_without_rendering()
    assert "no sections" in texts(
        cohort_overview.plot_cohort(cohort_overview.tidy_cohort(sections.head(0)), described.settings())
    )


def test_qc_counts_every_dropped_spot_once_per_reason(tmp_path):
    result_tables.write_cohort(tmp_path)
    summary = read_table(tmp_path / "qc" / "brstnet" / "summary.tsv")
    table = qc_dropped.tidy_qc({"brstnet": summary})
    by_reason = table.groupby("reason")["n"].sum()
    assert by_reason["kept"] == summary["n_spots_kept"].sum()
    assert by_reason["low UMI"] == summary["dropped_low_umi"].sum()
    assert by_reason["white patch (training only)"] == summary["dropped_white_patch"].sum()
    figure = qc_dropped.plot_qc(table, described.settings())
    heights = sum(bar.get_height() for bar in figure.axes[0].patches)
    dropped = summary[["dropped_low_umi", "dropped_white_patch"]].sum(axis=1)
    assert heights == pytest.approx((100 * dropped / summary["n_spots_raw"]).sum())
    assert "% of the section" in texts(figure) and f"{dropped.sum():,} of" in texts(figure)


def test_qc_says_when_nothing_was_dropped(tmp_path):
    summary = pd.DataFrame({"section": ["A1"], "n_spots_raw": [10], "n_spots_kept": [10]})
    table = qc_dropped.tidy_qc({"none": summary})
    assert "nothing dropped" in texts(qc_dropped.plot_qc(table, described.settings()))
    assert "0 of 10 spots" in qc_dropped.caption(table, described.settings())
    empty = qc_dropped.tidy_qc({})
    assert "No quality control" in texts(qc_dropped.plot_qc(empty, described.settings()))


def test_qc_is_named_by_its_profile(tmp_path):
    summary = pd.DataFrame({"section": ["A1"], "n_spots_raw": [10], "n_spots_kept": [9], "dropped_zero": [1]})
    paths = [tmp_path / "demo" / "qc" / "summary.tsv", tmp_path / "qc" / "stnet" / "summary.tsv"]
    for path in paths:
        write_table(summary, path)
    names = [
        qc_dropped.qc_dropped({"summaries": [paths[0]]}, Settings(qc="he2gene"))[1]["profile"].iloc[0],
        qc_dropped.qc_dropped({"summaries": [paths[0]]}, Settings(experiment="demo"))[1]["profile"].iloc[0],
        qc_dropped.qc_dropped({"summaries": str(paths[1])}, Settings())[1]["profile"].iloc[0],
    ]
    assert names == ["profile he2gene", "demo", "stnet"]


@pytest.fixture
def planted():
    rows = [
        ("stnet", "pearson", "colour", "p <= 0.05", 20, 18, 0.9, 0.7, 0.97),
        ("stnet", "pearson", "colour", "q <= 0.05", 20, 17, 0.85, 0.64, 0.95),
        ("stnet", "pearson", "null", "p <= 0.05", 20, 1, 0.05, 0.01, 0.24),
        ("stnet", "pearson_partial_depth", "colour", "p <= 0.05", 20, 15, 0.75, 0.53, 0.89),
        ("train_mean", "pearson", "colour", "p <= 0.05", 20, 0, 0.0, 0.0, 0.16),
    ]
    columns = ["method", "metric", "kind", "criterion", "n_genes", "n_found", "rate", "rate_low", "rate_high"]
    return pd.DataFrame(rows, columns=columns)


def test_detection_draws_every_rate_at_the_nominal_level(planted):
    table = detection.tidy_detection(planted)
    assert len(table) == 4 and table["strength"].isna().all()  # corrected rates are in the table of results
    figure = detection.plot_detection(table, Settings(n_patients=8))
    dots = [line.get_xdata()[0] for axes in figure.axes for line in axes.lines if len(line.get_xdata()) == 1]
    assert sorted(dots) == sorted(table["rate"])
    assert "share of genes found" in texts(figure) and "nominal level, 5 %" in texts(figure)
    caption = detection.caption(table, Settings(n_patients=8))
    assert "20 colour genes, 20 null genes; n = 8 patients" in caption and "no correction" in caption


def test_detection_by_strength_counts_genes_of_either_sign(planted):
    genes = pd.DataFrame(
        {
            "method": "stnet",
            "metric": "pearson",
            "kind": ["colour"] * 4 + ["null"],
            "strength": [0.1, -0.1, 0.35, 0.35, 0.0],
            "p": [0.2, 0.01, 0.001, float("nan"), 0.5],
            "found_p": [0, 1, 1, 0, 0],
        }
    )
    table = detection.tidy_detection(planted, genes)
    counted = table[table["strength"].notna()].set_index("strength")[["n_genes", "n_found"]]
    # The gene without a p is not tested, hence not counted; null genes have no strength.
    assert counted.loc[0.1].tolist() == [2, 1] and counted.loc[0.35].tolist() == [1, 1] and len(counted) == 2
    figure = detection.plot_detection(table, described.settings())
    assert "% by strength" in texts(figure) and "50" in texts(figure)


def test_detection_keeps_colour_and_morphology_apart(planted):
    kinds = ["colour", "colour", "morphology", "morphology", "null"]
    genes = pd.DataFrame({
        "method": "stnet", "metric": "pearson", "kind": kinds, "strength": [0.4, -0.4, 0.4, 1.1, 0.0],
        "p": [0.01, 0.01, 0.4, 0.01, 0.5], "found_p": [1, 1, 0, 1, 0],
    })  # fmt: skip
    morphology = planted[planted["kind"] == "colour"].assign(kind="morphology", n_found=0, rate=0.0)
    table = detection.tidy_detection(pd.concat([planted, morphology]), genes)
    counted = table[table["strength"].notna()].set_index(["kind", "strength"])["rate"]
    assert counted.to_dict() == {("colour", 0.4): 1, ("morphology", 0.4): 0, ("morphology", 1.1): 1}
    figure = detection.plot_detection(table, described.settings())
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[-2:] == ["colour", "morphology"]
    tiles = [sorted(text.get_text() for text in axes.texts) for axes in figure.axes[-2:]]
    assert tiles[0][-1] == "100" and {"0", "100"} <= set(tiles[1])


def test_detection_without_truth_says_so(planted):
    table = detection.tidy_detection(planted.head(0))
    assert "Nothing was planted" in texts(
        detection.plot_detection(table, described.settings())
    ) and detection.caption(table, described.settings())


def test_words_of_captions():
    assert [count(1, "gene"), count(2, "gene"), count(13620, "spot")] == ["1 gene", "2 genes", "13,620 spots"]
    assert (
        transform_text(Settings(transform="log1p_cp10k", unit="ln(1 + CP10k)")) == "ln(1 + CP10k)"
        and transform_text(Settings()) == ""
    )
    assert signed(-0.004) == "0.00" and signed(-0.26) == "−0.26"
    assert scores_note(Settings(folds="leave_one_patient_out")) == "" == scores_note(Settings())
    assert "leak" in scores_note(Settings(folds={"scheme": "leave_one_section_out"}))
