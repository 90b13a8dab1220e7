"""QC profiles: every rule at its limit, reasons, counts, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from unit.section_files import section_adata, write_section

from histobench.errors import UserError
from histobench.expression.qc import (
    PROFILES,
    apply_qc,
    check_spots,
    keep_genes,
    read_spots,
    summarise_spots,
    write_qc,
    write_section_qc,
    write_summary,
)


def depth_section(totals, n_genes=300, **about):
    """Spots with the given totals: one count in each of the first genes, the rest on the last gene."""
    counts = np.zeros((len(totals), n_genes), dtype=int)
    for row, (total, detected) in enumerate(totals):
        counts[row, :detected] = 1
        counts[row, -1] += total - detected
    return section_adata(counts, [f"G{i}" for i in range(n_genes)], **about)


def test_count_limits_are_inclusive():
    section = depth_section(
        [(199, 199), (200, 200), (250, 199), (20_000, 210), (20_001, 210), (999, 210), (1000, 9)]
    )
    he2gene = check_spots("he2gene", section)
    # 250 counts: 199 genes with one count and the last gene, 200 detected.
    assert list(he2gene["reason"]) == ["low_umi", "", "", "", "high_umi", "", "few_genes"]
    brstnet = check_spots("brstnet", section)
    assert list(brstnet["keep"]) == [0, 0, 0, 1, 1, 0, 1]
    for profile in ("none", "histogene", "stnet"):
        assert check_spots(profile, section)["keep"].all()


@pytest.mark.parametrize(("profile", "half"), [("stnet", 112), ("brstnet", 112), ("he2gene", 75)])
def test_window_must_lie_inside_the_image_to_the_pixel(profile, half):
    width, height = 1000, 800
    pixels = [
        (half, half), (half - 1, half), (half, half - 1),
        (width - half, height - half), (width - half + 1, 400), (500, height - half + 1),
        (half - 0.4, half + 0.3),  # rounds to the first allowed centre
    ]  # fmt: skip
    section = depth_section([(5000, 250)] * 7, image=(width, height), pixels=pixels)
    kept = check_spots(profile, section)
    assert list(kept["keep"]) == [1, 0, 0, 1, 0, 0, 1]
    assert set(kept.loc[kept["keep"] == 0, "reason"]) == {"border"}
    without_image = depth_section([(5000, 250)] * 7, pixels=pixels)
    assert check_spots(profile, without_image)["keep"].all()


def test_stnet_needs_a_label_where_the_section_has_labels():
    section = depth_section([(10, 5)] * 3, labels=["invasive cancer", "", "connective tissue"])
    assert list(check_spots("stnet", section)["reason"]) == ["", "unlabelled", ""]
    assert check_spots("stnet", depth_section([(10, 5)] * 3))["keep"].all()


def test_white_patches_leave_training_only():
    section = depth_section([(5000, 250)] * 3)
    index = pd.DataFrame({"spot": section.obs_names, "white_fraction": [0.49, 0.5, 0.9]})
    table = check_spots("brstnet", section, index)
    assert list(table["keep"]) == [1, 1, 1]
    assert list(table["keep_train"]) == [1, 0, 0]
    assert list(table["reason"]) == ["", "white_patch", "white_patch"]
    assert check_spots("stnet", section, index)["keep_train"].all()
    with pytest.raises(ValueError, match="2 patches for 3 spots"):
        check_spots("brstnet", section, index[:2])


def test_mitochondrial_share():
    counts = np.full((2, 401), 1)
    counts[0, 0], counts[1, 0] = 21, 22  # 21 / 421 is below 5 %, 22 / 422 above
    genes = ["MT-ND1", *(f"G{i}" for i in range(400))]
    assert list(check_spots("he2gene", section_adata(counts, genes))["reason"]) == ["", "mitochondrial"]
    renamed = ["MTRNR2L8", *genes[1:]]
    assert check_spots("he2gene", section_adata(counts, renamed))["keep"].all(), "no-op without MT- genes"


def test_gene_filters():
    detected = np.array([2, 3, 9, 10])
    assert list(keep_genes("he2gene", list("abcd"), detected, 100)["keep"]) == [0, 1, 1, 1]
    assert list(keep_genes("brstnet", list("abcd"), detected, 100)["keep"]) == [0, 0, 0, 1]
    assert keep_genes("none", list("abcd"), detected, 100)["keep"].all()


def test_tables_of_a_cohort_count_every_drop(tmp_path):
    genes = [f"G{i}" for i in range(250)]
    deep, shallow = np.full((4, 250), 5), np.full((3, 250), 5)
    shallow[1] = 0
    shallow[1, 7] = 150
    paths = [
        write_section(tmp_path, deep, genes, section="S1"),
        write_section(tmp_path, shallow, genes, section="S2"),
    ]
    write_qc("he2gene", paths, None, tmp_path / "qc")
    spots, genes_table, summary = apply_qc("he2gene", paths)
    pd.testing.assert_frame_equal(read_spots(tmp_path / "qc" / "spots.tsv"), spots)
    assert (
        summary["n_spots_raw"] - summary["n_spots_kept"] == summary.filter(like="dropped_").sum(axis=1)
    ).all()
    assert summary.set_index("section").loc["S2", "dropped_low_umi"] == 1
    assert summary.set_index("section").loc["S1", "dropped_low_umi"] == 0
    assert len(genes_table) == 250 and genes_table["keep"].all()


def test_sections_one_by_one_give_the_same_tables(tmp_path):
    genes = ["A", "B"]
    paths = [write_section(tmp_path, np.array([[500, 1], [2000, 3]]), genes, section=s) for s in ("S1", "S2")]
    outputs = [tmp_path / "one" / f"{path.stem}.tsv" for path in paths]
    for path, output in zip(paths, outputs, strict=True):
        write_section_qc("brstnet", path, output)
    write_summary(outputs, tmp_path / "summary.tsv")
    spots, _, summary = apply_qc("brstnet", paths)
    pd.testing.assert_frame_equal(pd.concat([read_spots(o) for o in outputs], ignore_index=True), spots)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "summary.tsv", sep="\t"), summary)


def test_section_with_one_spot_and_with_none():
    one = check_spots("he2gene", depth_section([(5, 5)]))
    assert list(one["reason"]) == ["low_umi"]
    none = check_spots("he2gene", depth_section([]))
    assert none.empty
    assert summarise_spots([one, none])["n_spots_raw"].tolist() == [1, 0]


def test_every_profile_states_its_source_and_unknown_ones_are_refused():
    assert all(profile.source for profile in PROFILES.values())
    with pytest.raises(UserError, match="none, stnet"):
        check_spots("scanpy", depth_section([(5, 5)]))
