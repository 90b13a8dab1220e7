"""Which genes of a trained model another cohort measures, and at which scale it is looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.errors import UserError
from histobench.files import read_json, read_table, write_table
from histobench.training.external import (
    write_external_summary,
    write_measured_panel,
    write_training_scale,
)


@pytest.fixture
def tables(tmp_path):
    write_table(pd.DataFrame({"gene": ["A", "NA", "C"], "rank": [1, 2, 3]}), tmp_path / "panel.tsv")
    write_table(pd.DataFrame({"gene": ["C", "A", "Z"]}), tmp_path / "genes.tsv")
    sections = {
        "section": ["1", "2", "3"],
        "patient": ["p", "p", "q"],
        "um_per_px": [0.4, 0.6, np.nan],
    }
    write_table(pd.DataFrame(sections), tmp_path / "sections.tsv")
    return tmp_path


def measure(folder, genes="genes.tsv"):
    write_measured_panel(
        folder / "panel.tsv", folder / genes, folder / "own.tsv", folder / "dropped.tsv", cohort="other"
    )


def test_genes_that_are_not_measured_are_listed_and_order_is_kept(tables):
    measure(tables)
    assert list(read_table(tables / "own.tsv")["gene"]) == ["A", "C"]
    assert read_table(tables / "dropped.tsv").values.tolist() == [["NA", "not_measured"]]


def test_other_gene_names_are_refused(tables):
    write_table(pd.DataFrame({"gene": ["ENSG1"]}), tables / "ids.tsv")
    with pytest.raises(UserError, match=r"other lists none of the 3 genes .* one kind of gene names"):
        measure(tables, "ids.tsv")
    assert not (tables / "own.tsv").exists()


def test_scale_of_the_training_sections(tables):
    write_training_scale(tables / "sections.tsv", ["1", "2", "3"], tables / "scale.json")
    assert read_json(tables / "scale.json") == {
        "um_per_px": 0.5,
        "um_per_px_min": 0.4,
        "um_per_px_max": 0.6,
        "n_sections": 2,
    }
    with pytest.raises(UserError, match="no training section has a scale"):
        write_training_scale(tables / "sections.tsv", ["3"], tables / "scale.json")


def test_conditions_are_written_down(tables):
    measure(tables)
    write_training_scale(tables / "sections.tsv", ["1"], tables / "scale.json")
    write_external_summary(
        panel_tsv=tables / "own.tsv",
        dropped_tsv=tables / "dropped.tsv",
        sections_tsv=tables / "sections.tsv",
        output_tsv=tables / "external.tsv",
        sections=["1", "2"],
        trained_by="mine",
        cohort="other",
        stain="raw",
        um_per_px=None,
        scale_json=tables / "scale.json",
    )
    (row,) = read_table(tables / "external.tsv").to_dict("records")
    assert row["n_genes"] == 2 and row["not_measured"] == "NA" and row["n_patients"] == 1
    assert row["resampled_by"] == "1 to 1.5"
