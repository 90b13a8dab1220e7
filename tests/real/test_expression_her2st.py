"""QC, panels, noise ceiling and controls on the counts of all 36 HER2+ sections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from unit.qc_limits import limits
from unit.section_files import write_section

from histobench.cohorts.readers.legacy_st import read_counts
from histobench.cohorts.table import load_section
from histobench.evaluation.ceiling import noise_ceiling, read_panel_counts
from histobench.evaluation.results import read_scores
from histobench.evaluation.score import ScoredSection, score_sections
from histobench.evaluation.statistics import mean_score
from histobench.expression.panels import gene_statistics, read_gene_file, select_panel
from histobench.expression.qc import check_spots, keep_genes, summarise_spots
from histobench.expression.transforms import log_depth, transform_counts
from histobench.files import write_table

pytestmark = pytest.mark.slow

UNION = 18_758


@pytest.fixture(scope="module")
def sections(shared_data, tmp_path_factory):
    """All 36 count files as stored sections, without positions or images."""
    folder = tmp_path_factory.mktemp("her2st")
    paths = []
    for path in sorted((shared_data / "her2st" / "data" / "ST-cnts").glob("*.tsv.gz")):
        name = path.name.removesuffix(".tsv.gz")
        counts, _, genes = read_counts(path)
        about = {"section": name, "patient": name[0]}
        paths.append(write_section(folder, counts, list(genes), **about))
    assert len(paths) == 36
    return paths


@pytest.fixture(scope="module")
def statistics(sections):
    return gene_statistics(sections)


@pytest.fixture(scope="module")
def panel(statistics):
    return list(select_panel(statistics, size=250)[0]["gene"])


@pytest.fixture(scope="module")
def counts(sections, panel):
    return [read_panel_counts(path, panel) for path in sections]


def test_spots_and_genes_of_the_published_files(statistics):
    assert statistics.n_spots == 13_620
    assert len(statistics.genes) == UNION


def apply_qc(profile, sections):
    """Spots, genes and summary of a profile over a cohort."""
    tables = [check_spots(limits(profile), load_section(path)) for path in sections]
    kept = {table["section"].iloc[0]: frozenset(table.loc[table["keep"] == 1, "spot"]) for table in tables}
    found = gene_statistics(sections, kept)
    genes = keep_genes(limits(profile), found.genes, found.n_detected, found.n_spots)
    return pd.concat(tables, ignore_index=True), genes, summarise_spots(tables)


def test_qc_profiles_drop_the_known_numbers_of_spots(sections):
    """33 spots have fewer than 10 UMIs, 63 fewer than 200, 1,954 fewer than 1,000; one of D5 has none."""
    spots, genes, summary = apply_qc("he2gene", sections)
    assert summary["n_spots_raw"].sum() == 13_620
    assert summary["dropped_low_umi"].sum() == 63
    dropped = summary.set_index("section").filter(like="dropped_").sum(axis=1)
    assert (dropped == summary.set_index("section").eval("n_spots_raw - n_spots_kept")).all()
    assert dropped["D5"] >= 1
    assert "dropped_mitochondrial" in summary or not any(gene.startswith("MT-") for gene in genes["gene"])
    brstnet, gene_table, summary = apply_qc("brstnet", sections)
    assert summary["dropped_low_umi"].sum() == 1954
    assert 4000 < gene_table["keep"].sum() < 9000, "about 6,000 genes in the published cohort"
    assert apply_qc("histogene", sections)[0]["keep"].all()
    assert len(spots) == len(brstnet) == 13_620


def test_published_panels_in_these_files(sections, statistics, project):
    """All 785 genes are in all 36 sections and in at least 1,038 spots; 154 of HE2Gene's 250 are measured."""
    import anndata

    published = read_gene_file(project / "resources" / "panels" / "histogene_her2_785.txt")
    for path in sections:
        assert set(published) <= set(anndata.read_h5ad(path, backed="r").var_names), path.stem
    detected = dict(zip(statistics.genes, statistics.n_detected, strict=True))
    assert min(detected[gene] for gene in published) == 1038
    chosen, dropped = select_panel(statistics, rule="file", genes=published)
    assert list(chosen["gene"]) == published and dropped.empty
    he2gene = read_gene_file(project / "resources" / "panels" / "he2gene_target_250.txt")
    chosen, dropped = select_panel(statistics, rule="file", genes=he2gene)
    assert len(chosen) == 154 and set(dropped["reason"]) == {"not_measured"}


@pytest.fixture(scope="module")
def ceiling(counts, panel, tmp_path_factory):
    table = noise_ceiling(counts, panel, transform="log1p_cp10k", n_genes=UNION)
    path = tmp_path_factory.mktemp("ceiling") / "all.parquet"
    write_table(table, path)
    return read_scores([path])


def test_noise_ceiling_of_the_top_250_genes(ceiling):
    score = mean_score(ceiling.per_patient(ceiling["ceiling"]))
    print(f"noise ceiling {score:.3f}")
    assert score == pytest.approx(0.54, abs=0.03)


def controls(counts, panel, transform, folder):
    """Score log depth, and each section's own mean, as predictions."""
    scores = {}
    for name in ("depth", "section_mean"):
        scored = []
        for section in counts:
            truth = transform_counts(transform, section.counts, section.total, n_genes=UNION)
            if name == "depth":
                prediction = np.tile(log_depth(section.total)[:, None], (1, len(panel)))
            else:
                prediction = np.tile(truth.mean(axis=0), (len(truth), 1))
            scored.append(
                ScoredSection(
                    section.patient, section.section, tuple(panel), truth, prediction, truth, section.total
                )
            )
        write_table(score_sections(scored), folder / f"{name}.parquet")
        scores[name] = read_scores([folder / f"{name}.parquet"])
    return scores


@pytest.mark.parametrize(("transform", "expected"), [("log1p_cp10k", 0.22), ("log1p", 0.60)])
def test_what_sequencing_depth_alone_scores(counts, panel, tmp_path, transform, expected):
    scores = controls(counts, panel, transform, tmp_path)
    depth = scores["depth"]
    score = mean_score(depth.per_patient(depth["pearson"]))
    partial = mean_score(depth.per_patient(depth["pearson_partial_depth"]))
    print(f"{transform}: depth {score:.3f}, given depth {partial:.3f}")
    assert score == pytest.approx(expected, abs=0.03)
    assert partial == 0
    means = scores["section_mean"]
    assert mean_score(means.per_patient(means["pearson"])) == 0
    assert means.constant_prediction.sum() + means.constant_truth.sum() == means.scored.sum()
    pooled = float(np.nanmean(means.over_spots()))
    print(f"{transform}: section means, pooled over all spots {pooled:.3f}")
    if transform == "log1p_cp10k":
        assert pooled == pytest.approx(0.51, abs=0.03)
