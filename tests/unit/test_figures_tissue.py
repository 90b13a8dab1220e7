"""Figures of maps, labels, tumour and latent space: their tidy tables follow from small input by hand."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from unit import described

from histobench.figures.curves import tumour_curves
from histobench.figures.drawing import labels, sources
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted
from histobench.figures.latent import latent_tests, latent_umap
from histobench.figures.on_tissue import domain_maps, gene_overlay, label_maps, stain_effect, z_maps
from histobench.figures.per_gene import (
    expression_distributions,
    informative_genes,
    label_genes,
    pvalue_genes,
    tumour_difference,
)
from histobench.figures.per_method import cluster_confusion, tumour_scores
from histobench.figures.per_section import section_boxes, spot_depth
from histobench.files import write_table

SETTINGS = described.settings(section="A1", transform="log1p_cp10k", n_patients=2)


def words(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def predicted(
    method="stnet", genes=("X", "Y"), section="A1", truth=None, prediction=None, tumour=None, **more
) -> Predicted:
    """A section of four spots in a square, two of them tumour."""
    spots = pd.DataFrame(
        {
            "pixel_x": [0.0, 100.0, 0.0, 100.0],
            "pixel_y": [0.0, 0.0, 100.0, 100.0],
            "patient": section[0],
            "section": section,
            "label": ["invasive cancer", "invasive cancer", "adipose tissue", ""],
            "tumour": [1.0, 1.0, 0.0, np.nan] if tumour is None else tumour,
        },
        index=["a", "b", "c", "d"],
    )
    truth = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 1.0], [4.0, 5.0]]) if truth is None else truth
    prediction = truth / 2 if prediction is None else prediction
    return Predicted(
        method, list(genes), np.asarray(truth, float), np.asarray(prediction, float), spots, 10.0, **more
    )


def metrics(rows) -> pd.DataFrame:
    columns = ["method", "patient", "section", "gene", "metric", "value"]
    return pd.DataFrame(rows, columns=columns).assign(fold="A", n_spots=100.0)


def test_z_scores_are_per_source_and_leave_out_constants():
    constant = predicted("train_mean", prediction=np.ones((4, 2)))
    opposite = predicted("knn", prediction=-np.array([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    tidy = z_maps.tidy_z([predicted(), opposite, constant], Settings(genes=["absent", "X"]))
    assert list(dict.fromkeys(tidy["source"])) == ["measured", "stnet", "knn"] and set(tidy["gene"]) == {"X"}
    z = tidy.set_index(["source", "spot"])["z"]
    expected = (np.arange(4) - 1.5) / np.sqrt(1.25)
    assert z["measured"].to_numpy() == pytest.approx(expected) and z["knn"].to_numpy() == pytest.approx(
        -expected
    )
    assert tidy.groupby("source")["r"].first()[["stnet", "knn"]].tolist() == pytest.approx([1.0, -1.0])
    figure = z_maps.plot_z(tidy, SETTINGS)
    assert "r = −1.00" in words(figure) and "section A1 (n = 4 spots)" in z_maps.caption(tidy, SETTINGS)


def test_without_a_wanted_gene_the_highest_mean_is_shown():
    assert sources.choose_gene(predicted(), ["absent"]) == "X"  # means 2.5 and 1.5
    assert sources.choose_gene(predicted(), ["Y"]) == "Y"


def test_the_overlay_holds_measurement_and_prediction_of_one_gene(tmp_path):
    tidy = gene_overlay.tidy_overlay(predicted(), Settings(genes=["X"]))
    assert tidy["measured"].tolist() == [1, 2, 3, 4] and tidy["predicted"].tolist() == [0.5, 1, 1.5, 2]
    assert tidy["r"].iloc[0] == pytest.approx(1.0)
    slide = np.full((200, 200, 3), 230, np.uint8)
    figure = gene_overlay.plot_overlay(tidy, (slide, 200, 200), SETTINGS)
    assert "r = 1.00" in words(figure) and len(figure.axes[0].images) == 1


def test_labels_stand_beside_the_genes_that_differ_most_between_them():
    tidy = label_maps.tidy_labels(predicted(), Settings())
    # X: labels' means 1.5 and 3 of values 1, 2, 3; Y: 0 and 1 of 0, 0, 1, which is all of its variance.
    assert list(dict.fromkeys(tidy["gene"])) == ["Y", "X"]
    assert list(dict.fromkeys(label_maps.tidy_labels(predicted(), Settings(genes=["X"]))["gene"])) == [
        "X",
        "Y",
    ]
    drawn = words(label_maps.plot_labels(tidy, SETTINGS)) + str(
        labels.label_handles(labels.label_colours(tidy["label"]))
    )
    assert "pathologist" in drawn and "3 of 4 spots labelled" in label_maps.caption(tidy, SETTINGS)
    simulated = replace(SETTINGS, labels="simulated")
    for text in (words(label_maps.plot_labels(tidy, simulated)), label_maps.caption(tidy, simulated)):
        assert "simulated" in text and "pathologist" not in text


def test_label_colours_are_fixed_and_unlabelled_spots_are_grey():
    colours = labels.label_colours(["", "layer 2", "invasive cancer"])
    assert colours["invasive cancer"] == labels.label_colours(["invasive cancer"])["invasive cancer"]
    assert colours[""] == labels.NO_LABEL_COLOUR and list(colours)[-1] == ""


def test_boxes_are_quantiles_over_the_genes_of_a_section():
    rows = [("stnet", "A", "A1", f"G{k}", "pearson", k / 100) for k in range(101)]
    rows += [("stnet", "A", "*", "G0", "pearson", 0.9), ("stnet", "A", "A1", "Z", "pearson", np.nan)]
    tidy = section_boxes.tidy_boxes(metrics(rows))
    assert len(tidy) == 1 and tidy["n_genes"].iloc[0] == 101
    assert tidy[["low", "first", "median", "third", "high"]].iloc[0].tolist() == pytest.approx(
        [0.05, 0.25, 0.5, 0.75, 0.95]
    )
    section_boxes.plot_boxes(tidy, SETTINGS).draw_without_rendering()


def test_genes_are_ranked_by_their_mean_p():
    rows = [
        ("stnet", "A", s, g, "pearson", r)
        for s, g, r in (
            ("A1", "X", 0.5),
            ("A2", "X", 0.5),
            ("A1", "Y", 0.0),
            ("A2", "Y", 0.4),
            ("*", "Y", 1.0),
        )
    ]
    tidy = pvalue_genes.tidy_p(metrics(rows))
    from scipy.stats import pearsonr, t

    assert pearsonr  # p of r = 0.5 with 100 spots, two-sided
    p = 2 * t.sf(0.5 * np.sqrt(98 / 0.75), 98)
    assert list(tidy["gene"]) == ["X", "Y"] and tidy["mean_log_p"].iloc[0] == pytest.approx(-np.log10(p))
    assert tidy["best_r"].tolist() == [0.5, 0.4] and tidy["mean_r"].tolist() == pytest.approx([0.5, 0.2])
    pvalue_genes.plot_p(tidy, [predicted()], SETTINGS).draw_without_rendering()


def spots(method="stnet", **columns) -> pd.DataFrame:
    number = len(next(iter(columns.values())))
    base = {
        "patient": "A",
        "section": "A1",
        "spot": list(map(str, range(number))),
        "array_x": np.arange(number) % 3,
        "array_y": np.arange(number) // 3,
        "label": "",
        "tumour": np.nan,
        "method": method,
        "fold": "A",
    }
    return pd.DataFrame({**base, **columns})


def test_clusters_are_named_after_the_labels_they_overlap_most():
    table = spots(
        label=list("aaabbb"), domain_truth=[1.0, 1, 1, 0, 0, 0], domain_prediction=[0.0, 0, 1, 1, 1, 1]
    )
    scores = metrics(
        [
            ("stnet", "A", "A1", "", "ari_truth", 1.0),
            ("stnet", "A", "A1", "", "ari_prediction", 0.4),
            ("stnet", "B", "B1", "", "ari_prediction", 0.2),
        ]
    )
    tidy = domain_maps.tidy_domains(table, scores, "A1")
    domains = tidy.groupby("source")["domain"].agg("".join)
    assert domains["measured"] == "aaabbb" and domains["stnet"] == "aabbbb"
    assert tidy[tidy["source"] == "stnet"][["ari", "mean_ari"]].iloc[0].tolist() == pytest.approx([0.4, 0.3])
    assert "ARI 0.40 (mean 0.30)" in words(domain_maps.plot_domains(tidy, SETTINGS))
    assert domain_maps.tidy_domains(table.assign(domain_truth=np.nan), scores, "A1").empty


def test_domains_of_a_visium_section_are_drawn_with_its_rows_closer_than_its_columns():
    table = spots(
        label=list("aaabbb"), domain_truth=[1.0, 1, 1, 0, 0, 0], domain_prediction=[0.0, 0, 1, 1, 1, 1]
    )
    row = np.arange(6) // 3
    table = table.assign(array_x=2 * (np.arange(6) % 3) + row % 2, array_y=row, grid="hexagonal")
    scores = metrics([("stnet", "A", "A1", "", "ari_truth", 1.0)])
    tidy = domain_maps.tidy_domains(table, scores, "A1")
    own = tidy[tidy["source"] == "measured"]
    assert own["x"].tolist() == pytest.approx([0, 1, 2, 0.5, 1.5, 2.5])
    assert own["y"].tolist() == pytest.approx([0, 0, 0, *[np.sqrt(0.75)] * 3])


def test_two_clusters_are_named_to_agree_with_the_labels():
    rows = [
        ("observed", "observed", "A1", 0, "tumour", 2),
        ("observed", "observed", "A1", 1, "tumour", 1),
        ("observed", "observed", "A1", 1, "normal", 2),
        ("stnet", "predicted", "A1", 1, "tumour", 3),
        ("stnet", "predicted", "A1", 0, "normal", 2),
        ("stnet", "latent", "A1", 0, "normal", 9),
    ]
    names = ["method", "values", "section", "cluster", "label", "n_spots"]
    table = pd.DataFrame(rows, columns=names).assign(kind="two_clusters")
    tidy = cluster_confusion.tidy_confusion(table, SETTINGS)
    counts = tidy.set_index(["source", "label", "cluster"])["n_spots"]
    assert counts["measured", "tumour", "tumour"] == 2 and counts["measured", "tumour", "normal"] == 1
    assert counts["measured", "normal", "normal"] == 2 and counts["measured", "normal", "tumour"] == 0
    assert tidy.groupby("source")["agreement"].first().to_dict() == pytest.approx(
        {"measured": 0.8, "stnet": 1.0}
    )
    assert "80 % agree" in words(
        cluster_confusion.plot_confusion(tidy, SETTINGS)
    ) and "5 spots" in cluster_confusion.caption(tidy, SETTINGS)
    assert cluster_confusion.tidy_confusion(table.assign(kind="domains"), SETTINGS).empty


TUMOUR = pd.DataFrame(
    {
        "method": "he2gene",
        "patient": ["A", "B", "C", "*"],
        "n_labelled": [30, 10, 5, 45],
        "prevalence": [0.5, 0.1, 0.2, 0.3],
        "auroc": [0.8, 0.6, np.nan, 0.7],
        "auprc": [0.5, 0.4, np.nan, 0.45],
        "accuracy": 0.6,
        "brier": 0.2,
    }
)


def test_tumour_scores_are_means_over_patients():
    tidy = tumour_scores.tidy_tumour(TUMOUR)
    auroc = tidy[tidy["metric"] == "auroc"]
    assert auroc["value"].tolist() == [0.8, 0.6] and auroc["mean"].iloc[0] == pytest.approx(0.7)
    assert "0.70" in words(
        tumour_scores.plot_tumour(tidy, SETTINGS)
    ) and "3 patients" in tumour_scores.caption(tidy, SETTINGS)


def test_tumour_curves_know_their_spots_and_the_share_of_tumour():
    curves = pd.DataFrame(
        {"method": "he2gene", "curve": ["roc", "precision_recall", "calibration"], "x": 0.0, "y": 1.0}
    )
    tidy = tumour_curves.tidy_curves(curves, TUMOUR)
    assert set(tidy["n_spots"]) == {45} and tidy["share_tumour"].iloc[0] == pytest.approx((15 + 1 + 1) / 45)
    tumour_curves.plot_curves(tidy, SETTINGS).draw_without_rendering()


def test_differences_of_trained_methods_are_compared_gene_by_gene():
    table = pd.DataFrame(
        {
            "method": ["stnet"] * 3 + ["depth"] * 3,
            "gene": list("XYZ") * 2,
            "n_patients": 2,
            "difference_truth": [1.0, -1.0, 0.5] * 2,
            "difference_prediction": [0.2, -0.2, -0.1] * 2,
            "q_truth": [0.01, 0.2, np.nan] * 2,
        }
    )
    tidy = tumour_difference.tidy_difference(table, SETTINGS)
    assert set(tidy["method"]) == {"stnet"} and tidy["same_sign"].iloc[0] == pytest.approx(2 / 3)
    assert tidy["r"].iloc[0] == pytest.approx(np.corrcoef([1, -1, 0.5], [0.2, -0.2, -0.1])[0, 1])
    assert "1 gene of 3 differ" in tumour_difference.caption(tidy, SETTINGS)
    tumour_difference.plot_difference(tidy, SETTINGS).draw_without_rendering()


def test_informative_genes_are_the_sets_of_the_table():
    table = pd.DataFrame(
        {
            "method": ["stnet"] * 3 + ["knn"] * 3,
            "gene": list("XYZ") * 2,
            "n_patients": 2,
            "importance_truth": [0.5, 0.3, 0.2] * 2,
            "importance_prediction": [0.2, 0.5, 0.3, 0, 0, 0],
            "rank_truth": [1, 2, 3] * 2,
            "rank_prediction": [3, 1, 2, 1, 2, 3],
            "in_truth": [1, 1, 0] * 2,
            "in_prediction": [0, 1, 1, 0, 0, 0],
        }
    )
    tidy = informative_genes.tidy_informative(table, SETTINGS)
    assert tidy[tidy["source"] == "measured"]["gene"].tolist() == ["X", "Y"]
    assert tidy[tidy["source"] == "stnet"]["gene"].tolist() == ["Y", "Z"] and "knn" not in set(tidy["source"])
    assert "1 of 2" in words(informative_genes.plot_informative(tidy, SETTINGS))


def test_expression_is_pooled_by_kind_of_spot():
    tidy = expression_distributions.tidy_expression([predicted(), predicted(section="B1")])
    entry = tidy.set_index(["gene", "source", "kind"])
    assert (
        entry.loc[("X", "measured", "tumour"), "n_spots"] == 4
        and entry.loc[("X", "measured", "tumour"), "median"] == 1.5
    )
    assert entry.loc[("X", "predicted", "normal"), "mean"] == 1.5
    expression_distributions.plot_expression(tidy, SETTINGS).draw_without_rendering()
    assert expression_distributions.tidy_expression([predicted(tumour=[1.0, 1, 1, 1])]).empty


def test_markers_of_a_region_are_those_highest_in_it():
    truth = np.repeat([[2.0, 0.0], [0.0, 2.0]], 5, axis=0)
    base = predicted()
    section = Predicted("stnet", ["X", "Y"], truth, truth[:, ::-1].copy(),
                        pd.concat([base.spots.iloc[[0]]] * 5 + [base.spots.iloc[[2]]] * 5), 10.0)  # fmt: skip
    tidy = label_genes.tidy_regions([section]).set_index(["label", "gene"])
    assert tidy.loc[("invasive cancer", "X"), ["measured", "predicted"]].tolist() == pytest.approx(
        [1.0, -1.0]
    )
    # adipose tissue comes first by name and takes the genes that are highest in it
    assert tidy.loc[("adipose tissue", "Y"), "marker_of"] == "adipose tissue"
    label_genes.plot_regions(tidy.reset_index(), SETTINGS).draw_without_rendering()
    assert label_genes.tidy_regions([predicted()]).empty


def test_reads_and_genes_per_spot():
    from scipy import sparse

    counts = np.array([[0, 2, 3], [1, 0, 0]])
    for matrix in (counts, sparse.csr_matrix(counts)):
        found = spot_depth.spot_quantities(matrix)
        assert found["reads"].tolist() == [5, 1] and found["genes"].tolist() == [2, 1]
    tidy = spot_depth.tidy_depth({("A", "A1"): found})
    assert tidy.set_index("quantity")["median"].to_dict() == {"reads": 3.0, "genes": 1.5}
    spot_depth.plot_depth(tidy, SETTINGS).draw_without_rendering()


def test_latent_space_keeps_patients_and_genes_apart():
    rows = [("stnet", "A", "*", "", "purity_embedding", 0.9), ("stnet", "A", "*", "", "purity_majority", 0.6)]
    rows += [
        ("stnet", p, s, "X", m, v)
        for p, s, m, v in (
            ("A", "A1", "neighbour_nearest", 0.4),
            ("A", "A2", "neighbour_nearest", 0.2),
            ("B", "B1", "neighbour_nearest", 0.1),
            ("A", "A1", "neighbour_farthest", 0.1),
            ("B", "B1", "neighbour_farthest", 0.1),
        )
    ]
    tidy = latent_tests.tidy_latent(metrics(rows)).set_index("analysis")
    assert tidy.loc["purity", ["value", "reference"]].tolist() == [0.9, 0.6]
    assert tidy.loc["neighbours", ["value", "reference"]].tolist() == pytest.approx(
        [0.2, 0.1]
    )  # A 0.3, B 0.1
    assert "nearest better for 1 of 1" in words(latent_tests.plot_latent(tidy.reset_index(), SETTINGS))


def test_typical_spots_are_nearest_to_the_centre_of_their_kind(tmp_path):
    vectors = np.zeros((20, 3))
    vectors[:, 0] = np.arange(20)
    section = predicted()
    many = Predicted(
        "stnet",
        ["X", "Y"],
        np.zeros((20, 2)),
        np.zeros((20, 2)),
        pd.concat([section.spots.iloc[[0]]] * 20).set_index(np.arange(20).astype(str)),
        10.0,
        vectors,
    )
    tidy = latent_umap.tidy_latent_map([many, section], "A1", embed=lambda v, seed: v[:, :2])
    role = tidy.set_index("spot")["role"]
    assert set(role[role == "typical"].index) == {"8", "9", "10", "11"}  # the centre is 9.5
    assert set(role[role == "atypical"].index) == {"0", "1", "18", "19"}
    patches = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    np.save(tmp_path / "A1.npy", patches)
    write_table(pd.DataFrame({"spot": [str(k) for k in range(20)]}), tmp_path / "A1.tsv")
    found = latent_umap.role_patches(tidy, {"A1": tmp_path / "A1.npy"})
    assert sorted(int(patch[0, 0, 0]) for patch in found["typical"]) == [8, 9, 10, 11]
    latent_umap.plot_latent_map(tidy, {"stnet": found}, SETTINGS).draw_without_rendering()


def test_stain_is_compared_on_the_same_pixels():
    before, after = np.full((10, 20, 3), 255, np.uint8), np.full((10, 20, 3), 255, np.uint8)
    before[:, :10], after[:, :10] = (200, 100, 150), (220, 120, 160)
    preview = np.concatenate([before, np.full((10, stain_effect.GAP, 3), 255, np.uint8), after], axis=1)
    tidy = stain_effect.tidy_stain({"A1": {"tissue_share": 0.5}}, {"A1": preview})
    medians = tidy.set_index(["stage", "channel"])["median"]
    assert medians["before"].tolist() == [200, 100, 150] and medians["after"].tolist() == [220, 120, 160]
    assert tidy["luminosity"].iloc[0] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 150)
    stain_effect.plot_stain(tidy, {"A1": preview}, SETTINGS).draw_without_rendering()


def test_files_of_runs_are_read_with_their_method_and_seeds_are_averaged(tmp_path):
    for run, value in (("stnet", 0.2), ("stnet.seed1", 0.4)):
        table = pd.DataFrame(
            {
                "patient": "A",
                "section": "A1",
                "gene": ["X", "X"],
                "metric": ["pearson", "rmse"],
                "value": [value, 1.0],
                "n_spots": 4,
            }
        )
        write_table(table, tmp_path / run / "A.parquet")
    read = sources.read_metrics([tmp_path / "stnet", tmp_path / "stnet.seed1"], ["pearson"])
    assert (
        len(read) == 1 and read["method"].iloc[0] == "stnet" and read["value"].iloc[0] == pytest.approx(0.3)
    )
    write_table(
        spots(label=["a", "undetermined", ""]).drop(columns=["method", "fold"]),
        tmp_path / "s" / "knn" / "A.parquet",
    )
    read = sources.read_spots(tmp_path / "s" / "knn")
    assert (
        read["label"].tolist() == ["a", "", ""]
        and set(read["method"]) == {"knn"}
        and set(read["fold"]) == {"A"}
    )


def test_predictions_are_read_with_what_is_known_of_their_spots(tmp_path):
    own = predicted()
    data = anndata.AnnData(
        own.prediction.astype("float32"),
        obs=own.spots.assign(label=["a", "undetermined", "", "b"]),
        var=pd.DataFrame(index=own.genes),
        layers={"truth": own.truth},
    )
    data.uns.update({"method": "stnet.seed2", "um_per_px": 0.5})
    data.obsm["embedding"] = np.ones((4, 3))
    (tmp_path / "A").mkdir()
    data.write_h5ad(tmp_path / "A" / "A1.h5ad")
    data[:0].copy().write_h5ad(tmp_path / "A" / "A2.h5ad")
    (read,) = sources.read_predictions(tmp_path / "A")
    assert (
        read.method == "stnet" and read.section == "A1" and read.spots["label"].tolist() == ["a", "", "", "b"]
    )
    assert read.embedding.shape == (4, 3) and read.column("Y") == 1
    with pytest.raises(sources.UserError, match=r"A3\.h5ad: there is no such prediction"):
        sources.read_predictions(tmp_path / "A", ["A3"])


def test_previews_are_stored_no_larger_than_printed():
    assert max(stain_effect._small(np.zeros((500, 400, 3), np.uint8)).shape) == stain_effect._STORED_PX
    assert Image.fromarray(stain_effect._small(np.zeros((50, 40, 3), np.uint8))).size == (40, 50)
