"""QC profiles: every rule at its limit, reasons, counts, files."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from project_copy import copy_project
from unit.described import planned
from unit.qc_limits import FOLDER, limits, set_limits
from unit.section_files import section_adata, write_section

from histobench.cohorts.table import load_section
from histobench.config.benchmark import Benchmark
from histobench.config.schemas import schema
from histobench.errors import UserError
from histobench.expression.qc import (
    GENE_LIMITS,
    QcLimits,
    check_spots,
    keep_genes,
    read_spots,
    summarise_spots,
    write_section_qc,
    write_summary,
)
from histobench.filelists import write_list
from histobench.plan import data, training
from histobench.plan.batches import KEPT
from histobench.plan.model import constraints, make_plan
from histobench.yamlfiles import read_yaml


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
    he2gene = check_spots(limits("he2gene"), section)
    # 250 counts: 199 genes with one count and the last gene, 200 detected.
    assert list(he2gene["reason"]) == ["low_umi", "", "", "", "high_umi", "", "few_genes"]
    brstnet = check_spots(limits("brstnet"), section)
    assert list(brstnet["keep"]) == [0, 0, 0, 1, 1, 0, 1]
    for profile in ("none", "histogene", "stnet"):
        assert check_spots(limits(profile), section)["keep"].all()


@pytest.mark.parametrize(("profile", "half"), [("stnet", 112), ("brstnet", 112), ("he2gene", 75)])
def test_window_must_lie_inside_the_image_to_the_pixel(profile, half):
    width, height = 1000, 800
    pixels = [
        (half, half), (half - 1, half), (half, half - 1),
        (width - half, height - half), (width - half + 1, 400), (500, height - half + 1),
        (half - 0.4, half + 0.3),  # rounds to the first allowed centre
    ]  # fmt: skip
    section = depth_section([(5000, 250)] * 7, image=(width, height), pixels=pixels)
    kept = check_spots(limits(profile), section)
    assert list(kept["keep"]) == [1, 0, 0, 1, 0, 0, 1]
    assert set(kept.loc[kept["keep"] == 0, "reason"]) == {"border"}
    without_image = depth_section([(5000, 250)] * 7, pixels=pixels)
    assert check_spots(limits(profile), without_image)["keep"].all()


def test_stnet_needs_a_label_where_the_section_has_labels():
    section = depth_section([(10, 5)] * 3, labels=["invasive cancer", "", "connective tissue"])
    assert list(check_spots(limits("stnet"), section)["reason"]) == ["", "unlabelled", ""]
    assert check_spots(limits("stnet"), depth_section([(10, 5)] * 3))["keep"].all()


def test_white_patches_leave_training_only():
    section = depth_section([(5000, 250)] * 3)
    index = pd.DataFrame({"spot": section.obs_names, "white_fraction": [0.49, 0.5, 0.9]})
    table = check_spots(limits("brstnet"), section, index)
    assert list(table["keep"]) == [1, 1, 1]
    assert list(table["keep_train"]) == [1, 0, 0]
    assert list(table["reason"]) == ["", "white_patch", "white_patch"]
    assert check_spots(limits("stnet"), section, index)["keep_train"].all()
    with pytest.raises(ValueError, match="2 patches for 3 spots"):
        check_spots(limits("brstnet"), section, index[:2])


def test_mitochondrial_share():
    counts = np.full((2, 401), 1)
    counts[0, 0], counts[1, 0] = 21, 22  # 21 / 421 is below 5 %, 22 / 422 above
    genes = ["MT-ND1", *(f"G{i}" for i in range(400))]
    assert list(check_spots(limits("he2gene"), section_adata(counts, genes))["reason"]) == [
        "",
        "mitochondrial",
    ]
    renamed = ["MTRNR2L8", *genes[1:]]
    assert check_spots(limits("he2gene"), section_adata(counts, renamed))["keep"].all(), (
        "no-op without MT- genes"
    )


def test_gene_filters():
    detected = np.array([2, 3, 9, 10])
    assert list(keep_genes(limits("he2gene"), list("abcd"), detected, 100)["keep"]) == [0, 1, 1, 1]
    assert list(keep_genes(limits("brstnet"), list("abcd"), detected, 100)["keep"]) == [0, 0, 0, 1]
    assert keep_genes(limits("none"), list("abcd"), detected, 100)["keep"].all()


def test_tables_of_sections_count_every_drop(tmp_path):
    genes = [f"G{i}" for i in range(250)]
    deep, shallow = np.full((4, 250), 5), np.full((3, 250), 5)
    shallow[1] = 0
    shallow[1, 7] = 150
    outputs = []
    for name, counts in {"S1": deep, "S2": shallow}.items():
        path = write_section(tmp_path, counts, genes, section=name)
        outputs.append(tmp_path / "qc" / f"{name}.tsv")
        write_section_qc("he2gene", set_limits("he2gene"), path, outputs[-1])
        pd.testing.assert_frame_equal(
            read_spots(outputs[-1]), check_spots(limits("he2gene"), load_section(path))
        )
    names = [file.stem for file in outputs]
    write_list({name: {"qc": file} for name, file in zip(names, outputs, strict=True)}, tmp_path / "list.tsv")
    write_summary([tmp_path / "list.tsv"], names, tmp_path / "summary.tsv")
    summary = pd.read_csv(tmp_path / "summary.tsv", sep="\t")
    assert (
        summary["n_spots_raw"] - summary["n_spots_kept"] == summary.filter(like="dropped_").sum(axis=1)
    ).all()
    assert summary.set_index("section").loc["S2", "dropped_low_umi"] == 1
    assert summary.set_index("section").loc["S1", "dropped_low_umi"] == 0


def test_section_with_one_spot_and_with_none():
    one = check_spots(limits("he2gene"), depth_section([(5, 5)]))
    assert list(one["reason"]) == ["low_umi"]
    none = check_spots(limits("he2gene"), depth_section([]))
    assert none.empty
    assert summarise_spots([one, none])["n_spots_raw"].tolist() == [1, 0]


def test_every_limit_of_the_library_is_a_key_of_the_files_and_the_other_way_round(project):
    keys = schema(project, "qc_profile")["properties"].keys() - {"title", "source"}
    assert {field.name for field in dataclasses.fields(QcLimits)} == keys
    assert set(GENE_LIMITS) < keys
    for file in FOLDER.glob("*.yaml"):
        assert limits(file.stem) and read_yaml(file)["source"]


PROFILE = "{title: Deep spots, source: Own choice, min_umi: 500, min_gene_share: 0.05, max_mitochondrial: 0}"


def test_a_new_profile_is_one_yaml_entry(project, tmp_path):
    text = f"qc_profiles: {{deep_spots: {PROFILE}}}\nexperiments: {{demo: {{qc: deep_spots}}}}\n"
    plan = planned(project, tmp_path, text)
    assert data.spot_limits(plan, "deep_spots") == {"max_mitochondrial": 0, "min_umi": 500}
    assert training.panel_settings(plan, "demo")["limits"] == {"min_gene_share": 0.05}
    assert all("/qc/deep_spots/" in path for path in data.qc_input(plan, "demo"))
    assert re.fullmatch(constraints(plan)["profile"], "deep_spots")
    # and what a job does with it
    path = write_section(tmp_path, np.array([[499, 0], [400, 100], [501, 0]]), ["A", "MT-B"])
    write_section_qc("deep_spots", data.spot_limits(plan, "deep_spots"), path, tmp_path / "s.tsv")
    assert list(read_spots(tmp_path / "s.tsv")["reason"]) == ["low_umi", "mitochondrial", ""]


def test_a_new_profile_is_one_file(project, tmp_path):
    copy = tmp_path / "checkout"
    copy_project(project, copy)
    (copy / "config/qc_profiles/mine.yaml").write_text("title: Mine\nsource: Own choice\nmin_genes: 2\n")
    bench = Benchmark({"run": ["demo"], "experiments": {"demo": {"qc": "mine"}}}, copy)
    assert data.spot_limits(make_plan(bench), "mine") == {"min_genes": 2}


def test_a_shipped_profile_can_be_changed_for_a_run(project, tmp_path):
    text = "qc_profiles: {brstnet: {min_umi: 10}}\nexperiments: {demo: {qc: brstnet}}\n"
    plan = planned(project, tmp_path, text)
    assert data.spot_limits(plan, "brstnet") == {"max_white": 0.5, "min_umi": 10, "window_px": 224}
    (batch,) = data.batches_of(plan, KEPT)
    assert data.spot_filter_input(plan, "brstnet", batch).keys() == {"h5ads", "patches"}
    assert data.spot_filter_input(plan, "none", batch).keys() == {"h5ads"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("experiments: {demo: {qc: brstnt}}", "`qc` names the QC profile `brstnt`, which does not exist; did you"),
        ("qc_profiles: {brstnt: {min_umi: 3}}", "changes the QC profile `brstnt`, which has no file in config/qc"),
        ("qc_profiles: {none: {min_umis: 3}}", "unknown key `min_umis`; did you mean `min_umi`?"),
        ("qc_profiles: {he2gene: {min_umi: 30000}}\nexperiments: {demo: {qc: he2gene}}", "which no spot can meet"),
        ("qc_profiles: {he2gene: {max_white: 2}}", "`max_white` must be at most 1, found 2"),
    ],
)  # fmt: skip
def test_a_wrong_profile_is_one_sentence(project, tmp_path, text, says):
    with pytest.raises(UserError) as told:
        planned(project, tmp_path, text)
    assert says in str(told.value) and "\n" not in str(told.value)
