"""Scoring real prediction files: smoothing, pooling, tumour metrics, errors."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from histobench.errors import UserError
from histobench.evaluation.metrics import METRICS, PATTERNS
from histobench.evaluation.results import read_scores
from histobench.evaluation.score import POOLED, SPOT_COLUMNS, write_metrics
from histobench.evaluation.spatial import SPATIAL_METRICS
from histobench.expression.transforms import Transform, transform_counts

GENES = ["G1", "G2", "CONST"]
N_MEASURED = 40


def prediction_file(folder, section, patient, *, seed, n=30, tumour=False, transform="log1p_cp10k"):
    rng = np.random.default_rng(seed)
    counts = np.column_stack([rng.poisson(4, n), rng.poisson(2, n), np.zeros(n, int)])
    total = counts.sum(axis=1) + rng.integers(20, 300, n)
    truth = transform_counts(transform, counts, total, n_genes=N_MEASURED)
    obs = pd.DataFrame(
        {
            "array_x": np.arange(n) % 6 + rng.uniform(-0.3, 0.3, n),
            "array_y": np.arange(n) // 6 + rng.uniform(-0.3, 0.3, n),
            "patient": patient,
            "section": section,
            "total_counts": total.astype(float),
        },
        index=[f"{i % 6}x{i // 6}" for i in range(n)],
    )
    if tumour:
        obs["tumour"] = np.where(np.arange(n) % 5 == 0, np.nan, np.arange(n) % 2).astype(np.float32)
        obs["tumour_probability"] = rng.uniform(size=n).astype(np.float32)
    data = anndata.AnnData(
        X=(0.5 * truth + rng.normal(size=truth.shape)).astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=GENES),
        layers={"truth": truth, "counts": counts.astype(np.float32)},
        uns={**Transform.of(transform).marks, "n_genes_measured": N_MEASURED},
    )
    data.write_h5ad(folder / f"{section}.h5ad")
    return data


@pytest.fixture
def scored(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    data = {
        "P1a": prediction_file(folder, "P1a", "P1", seed=1, tumour=True),
        "P1b": prediction_file(folder, "P1b", "P1", seed=2, tumour=True),
        "P2a": prediction_file(folder, "P2a", "P2", seed=3),
    }
    write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    return data, pd.read_parquet(tmp_path / "m.parquet")


def value(table, section, gene, metric, patient=None):
    hit = table[(table.section == section) & (table.gene == gene) & (table.metric == metric)]
    if patient:
        hit = hit[hit.patient == patient]
    assert len(hit) == 1
    return hit.value.iloc[0]


def test_table_has_every_metric_once_per_section_and_gene(scored):
    _, table = scored
    assert list(table.columns) == ["patient", "section", "gene", "metric", "value", "n_spots"]
    assert not table.duplicated(["patient", "section", "gene", "metric"]).any()
    genewise = table[(table.gene != "") & ~table.metric.str.contains("@|importance")]
    # three sections with maps, two pooled patients without
    assert len(genewise) == 5 * len(GENES) * len(METRICS) + 3 * len(GENES) * len(SPATIAL_METRICS)
    assert set(genewise.metric) == {*METRICS, *SPATIAL_METRICS}


def test_section_and_pooled_patient_correlations_are_those_of_scipy(scored):
    data, table = scored
    for g, gene in enumerate(GENES[:2]):
        for section, cells in data.items():
            expected = stats.pearsonr(cells.layers["truth"][:, g], cells.X[:, g]).statistic
            assert value(table, section, gene, "pearson") == pytest.approx(expected, abs=1e-6)
        both = [
            np.concatenate([data[s].layers["truth"][:, g] for s in ("P1a", "P1b")]),
            np.concatenate([data[s].X[:, g] for s in ("P1a", "P1b")]),
        ]
        expected = stats.pearsonr(*both).statistic
        assert value(table, POOLED, gene, "pearson", "P1") == pytest.approx(expected, abs=1e-6)
    assert table[(table.section == POOLED) & (table.patient == "P1")].n_spots.eq(60).all()


def test_a_section_of_few_spots_has_no_pattern_but_counts_when_pooled(tmp_path):
    """As many rows say nothing as there are metrics of patterns; the pooled patient is that of all spots."""
    folder = tmp_path / "predictions"
    folder.mkdir()
    large = prediction_file(folder, "P1a", "P1", seed=1, tumour=True)
    small = prediction_file(folder, "P1b", "P1", seed=2, n=4, tumour=True)
    prediction_file(folder, "P2a", "P2", seed=3, n=2)
    write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    table = pd.read_parquet(tmp_path / "m.parquet")
    for section in ("P1b", "P2a"):
        own = table[table.section == section]
        patterns = own[own.metric.isin([*PATTERNS, *SPATIAL_METRICS])]
        assert (
            len(patterns) == len(GENES) * len({*PATTERNS, *SPATIAL_METRICS}) and patterns.value.isna().all()
        )
        assert own[own.metric.isin(["rmse", "mae", "mean_truth", "sd_prediction"])].value.notna().all()
        assert not own.metric.str.contains("colocation|purity|importance|auroc$").any()
    of_patient = table[(table.section == POOLED) & (table.patient == "P2")]
    assert of_patient[of_patient.metric == "pearson"].value.isna().all()
    assert not table[table.section == "P1a"].metric.str.contains("covariance$").any()
    scores = read_scores([tmp_path / "m.parquet"])
    assert scores.too_few_spots.sum(axis=1).tolist() == [0, len(GENES), len(GENES)]
    pooled, alone = scores.pooled_by_patient(), scores.per_patient(scores["pearson"])
    for g, gene in enumerate(GENES[:2]):
        truth = np.concatenate([data.layers["truth"][:, g] for data in (large, small)])
        predicted = np.concatenate([data.X[:, g] for data in (large, small)])
        expected = stats.pearsonr(truth, predicted).statistic
        column = scores.genes.index(gene)
        assert pooled[0, column] == pytest.approx(expected, abs=1e-5)
        assert alone[0, column] == value(table, "P1a", gene, "pearson")
    assert np.isnan(pooled[1]).all() and np.isnan(alone[1]).all()


def test_a_subset_of_few_spots_has_no_correlation_of_its_own(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    for name, seed in (("P1a", 1), ("P1b", 2)):
        data = prediction_file(folder, name, "P1", seed=seed, n=40)
        number = 3 if name == "P1a" else 15
        data.obs["tumour"] = np.where(np.arange(40) < number, 1.0, 0.0).astype(np.float32)
        data.write_h5ad(folder / f"{name}.h5ad")
    write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    table = pd.read_parquet(tmp_path / "m.parquet")
    of = {s: table[(table.section == s) & (table.metric == "pearson@tumour")] for s in ("P1a", "P1b")}
    assert of["P1a"].value.isna().all() and of["P1a"].n_spots.eq(3).all()
    assert of["P1b"].value.notna().any()
    scores = read_scores([tmp_path / "m.parquet"], "tumour")
    data = [anndata.read_h5ad(folder / f"{name}.h5ad") for name in ("P1a", "P1b")]
    chosen = [np.flatnonzero(d.obs["tumour"] == 1) for d in data]
    truth, predicted = (
        np.concatenate([values(d)[rows, 0] for d, rows in zip(data, chosen, strict=True)])
        for values in (lambda d: d.layers["truth"], lambda d: d.X)
    )
    expected = stats.pearsonr(truth, predicted).statistic
    assert scores.pooled_by_patient()[0, scores.genes.index(GENES[0])] == pytest.approx(expected, abs=1e-5)


def test_the_least_number_of_spots_can_be_set(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    prediction_file(folder, "P1a", "P1", seed=1, n=12)
    for least, defined in ((5, True), (12, True), (13, False)):
        write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet", least_spots=least)
        table = pd.read_parquet(tmp_path / "m.parquet")
        for section in ("P1a", POOLED):
            assert np.isfinite(value(table, section, GENES[0], "pearson")) == defined
        scores = read_scores([tmp_path / "m.parquet"], least_spots=least)
        assert np.isfinite(scores.over_spots()[scores.genes.index(GENES[0])]) == defined


def test_smoothing_averages_raw_counts_before_the_transform(scored):
    data, table = scored
    cells = data["P2a"]
    x, y = np.rint(cells.obs["array_x"].to_numpy()), np.rint(cells.obs["array_y"].to_numpy())
    counts, total = cells.layers["counts"], cells.obs["total_counts"].to_numpy()
    near = (np.abs(x[:, None] - x) <= 1) & (np.abs(y[:, None] - y) <= 1)
    smooth = np.array([np.log1p(1e4 * counts[m, 0].mean() / total[m].mean()) for m in near])
    expected = stats.pearsonr(smooth, cells.X[:, 0]).statistic
    assert value(table, "P2a", "G1", "pearson_smoothed") == pytest.approx(expected, abs=1e-6)


def test_constant_truth_is_undefined_but_its_error_is_not(scored):
    _, table = scored
    assert np.isnan(value(table, "P1a", "CONST", "pearson"))
    assert np.isfinite(value(table, "P1a", "CONST", "rmse"))


def test_tumour_metrics_use_labelled_spots_only(scored):
    data, table = scored
    obs = data["P1a"].obs.dropna(subset=["tumour"])
    label, score = obs["tumour"].astype(int), obs["tumour_probability"]
    assert value(table, "P1a", "", "tumour_auroc") == pytest.approx(roc_auc_score(label, score))
    assert value(table, "P1a", "", "tumour_auprc") == pytest.approx(average_precision_score(label, score))
    assert value(table, "P1a", "", "tumour_brier") == pytest.approx(brier_score_loss(label, score), abs=1e-6)
    assert value(table, "P1a", "", "tumour_accuracy") == pytest.approx(((score >= 0.5) == label).mean())
    assert value(table, "P1a", "", "tumour_n_labelled") == len(obs)
    assert list(table[(table.section == "P2a") & (table.gene == "")].metric) == ["pearson_per_spot"]


def test_tumour_spots_and_the_others_are_scored_apart(scored):
    data, table = scored
    cells = data["P1a"]
    tumour = (cells.obs["tumour"] == 1).to_numpy()
    assert 0 < tumour.sum() < (cells.obs["tumour"] == 0).sum() + 3
    for suffix, chosen in (("tumour", tumour), ("normal", (cells.obs["tumour"] == 0).to_numpy())):
        y, f = cells.layers["truth"][chosen, 0], cells.X[chosen, 0]
        found = value(table, "P1a", "G1", f"pearson@{suffix}")
        assert found == pytest.approx(stats.pearsonr(y, f).statistic, abs=1e-6)
        assert value(table, "P1a", "G1", f"mean_truth@{suffix}") == pytest.approx(y.mean(), abs=1e-6)
        rows = table[(table.section == "P1a") & (table.metric == f"pearson@{suffix}")]
        assert (rows.n_spots == chosen.sum()).all()
    assert not table[table.section == "P2a"].metric.str.contains("@").any(), "no label, no row"


def test_spot_table_has_every_spot_once_and_clusters_where_there_are_labels(scored, tmp_path):
    data, _ = scored
    spots = pd.read_parquet(tmp_path / "s.parquet")
    assert tuple(spots.columns) == SPOT_COLUMNS and len(spots) == 90
    assert not spots.duplicated(["section", "spot"]).any()
    first = spots[spots.section == "P1a"]
    np.testing.assert_array_equal(first["tumour"], data["P1a"].obs["tumour"])
    np.testing.assert_allclose(first["tumour_probability"], data["P1a"].obs["tumour_probability"])
    known = first["tumour"].notna()
    assert set(first.loc[known, "cluster_prediction"]) == {0.0, 1.0}
    assert first.loc[~known, "cluster_prediction"].isna().all()
    assert spots.loc[spots.section == "P2a", "cluster_truth"].isna().all()
    assert spots["cluster_embedding"].isna().all(), "these predictions have no latent space"


def test_correlation_over_genes_of_a_spot_is_that_of_scipy(scored):
    data, table = scored
    cells = data["P2a"]
    each = [stats.pearsonr(y, f).statistic for y, f in zip(cells.layers["truth"], cells.X, strict=True)]
    assert value(table, "P2a", "", "pearson_per_spot") == pytest.approx(np.mean(each), abs=1e-6)


def test_scoring_twice_gives_the_same_bytes(scored, tmp_path):
    write_metrics(tmp_path / "predictions", tmp_path / "again.parquet", tmp_path / "spots.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "m.parquet").read_bytes()
    assert (tmp_path / "spots.parquet").read_bytes() == (tmp_path / "s.parquet").read_bytes()


@pytest.mark.parametrize("transform", ["stnet", "log1p", "log10_cp10k", "log10_cp10k_panel"])
def test_every_transform_can_be_scored(tmp_path, transform):
    folder = tmp_path / "predictions"
    folder.mkdir()
    prediction_file(folder, "S", "P", seed=0, transform=transform)
    write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    table = pd.read_parquet(tmp_path / "m.parquet")
    assert np.isfinite(value(table, "S", "G1", "pearson_smoothed"))


def test_empty_folder_and_incomplete_file_are_one_sentence(tmp_path):
    folder = tmp_path / "predictions"
    folder.mkdir()
    with pytest.raises(UserError, match="no prediction"):
        write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    data = prediction_file(folder, "S", "P", seed=0)
    del data.layers["truth"]
    data.write_h5ad(folder / "S.h5ad")
    with pytest.raises(UserError, match=r"S\.h5ad: layers lacks truth"):
        write_metrics(folder, tmp_path / "m.parquet", tmp_path / "s.parquet")
    assert not (tmp_path / "m.parquet").exists()
