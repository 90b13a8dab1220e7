"""Figures of genes, scores and costs: their tidy tables follow from small tables by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from unit import described

from histobench.figures.drawing.parts import label_points, require_rows
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.style import NothingToDraw, new_figure
from histobench.figures.per_gene import auroc_histogram, baseline_scatter, consistent_genes, top_genes
from histobench.figures.per_method import (
    correlation_strength,
    cost,
    dumbbells,
    gene_distributions,
    positive_genes,
    rank_heatmap,
    run_time,
    top_ten,
)

SETTINGS = described.settings(n_patients=4)


def genes(**columns) -> pd.DataFrame:
    """Return a table of genes of ST-Net with these columns; the other columns hold what nobody asks for."""
    number = len(next(iter(columns.values())))
    names = [f"G{place}" for place in range(number)]
    return pd.DataFrame({"method": "stnet", "gene": names, "n_patients": 4, **columns})


def words(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_genes_are_ordered_by_patients_beside_the_binomial():
    table = consistent_genes.tidy_consistent(genes(n_positive=[1, 4, 2]))
    own = table[table["method"] == "stnet"]
    assert list(own["gene"]) == ["G1", "G2", "G0"] and list(own["n_positive"]) == [4, 2, 1]
    # Upper quantiles of the binomial(4, 1/2) at 1/6, 3/6 and 5/6: P(X > 3) = 1/16, P(X > 2) = 5/16, P(X > 1) = 11/16.
    assert list(table.loc[table["method"] == "chance", "n_positive"]) == [3, 2, 1]
    assert "chance" in words(
        consistent_genes.plot_consistent(table, SETTINGS)
    ) and "4 patients" in consistent_genes.caption(table, SETTINGS)


def test_auroc_bins_start_at_a_half_and_leave_out_what_is_constant():
    table = genes(auroc_quartiles=[0.5, 0.51, 0.49, 0.53, np.nan])
    flat = table.assign(method="train_mean", auroc_quartiles=0.5)
    oracle = table.assign(method="depth")
    tidy = auroc_histogram.tidy_auroc(pd.concat([table, flat, oracle]), SETTINGS)
    assert set(tidy["method"]) == {"stnet"}
    assert list(zip(tidy["bin_low"], tidy["n_genes"], strict=True)) == [(0.475, 1), (0.5, 2), (0.525, 1)]
    assert tidy["mean_auroc"].iloc[0] == pytest.approx(0.5075) and tidy["n_above"].iloc[0] == 2
    assert "2 of 4 above 0.5" in words(auroc_histogram.plot_auroc(tidy, SETTINGS))


def test_the_best_deep_network_meets_each_baseline_on_common_genes():
    table = pd.concat([
        genes(median_pearson=[0.1, 0.2, 0.3]),
        genes(median_pearson=[0.0, 0.1, 0.1]).assign(method="brstnet"),
        genes(median_pearson=[0.2, 0.1, np.nan]).assign(method="tumour_label"),
    ])  # fmt: skip
    tidy = baseline_scatter.tidy_baselines(table, SETTINGS)
    assert list(tidy["gene"]) == ["G0", "G1"] and set(tidy["method"]) == {"stnet"}
    assert "higher: 1 of 2" in words(baseline_scatter.plot_baselines(tidy, SETTINGS))
    assert "1 of 2 genes against tumour label" in baseline_scatter.caption(tidy, SETTINGS)
    assert baseline_scatter.tidy_baselines(table[table["method"] == "stnet"], SETTINGS).empty


def test_the_top_genes_are_those_of_the_best_trained_method():
    table = genes(
        median_pearson=[0.1, 0.3, 0.2],
        pearson_smoothed=[0.2, 0.4, 0.3],
        auroc_quartiles=[0.6, 0.7, 0.65],
        ceiling=[0.5, 0.6, 0.7],
        n_positive=[2, 4, 3],
        p_holm=[1.0, 0.2, 0.9],
        q_bh=[0.7, 0.1, 0.4],
    )
    higher = table.assign(method="neighbour_mean", median_pearson=0.9)  # an oracle is no competitor
    tidy = top_genes.tidy_top(pd.concat([table, higher]), SETTINGS)
    assert list(tidy["gene"]) == ["G1", "G2", "G0"] and list(tidy["rank"]) == [1, 2, 3]
    drawn = words(top_genes.plot_top(tidy, SETTINGS))
    assert "4 of 4" in drawn and "0.30" in drawn and "ST-Net" in drawn


def test_a_gene_on_an_edge_belongs_to_the_weaker_class():
    tidy = correlation_strength.tidy_strength(
        genes(mean_pearson=[-0.1, 0.0, 0.1, 0.11, 0.3, 0.5, 0.51, np.nan])
    )
    assert dict(zip(tidy["strength"], tidy["n_genes"], strict=True)) == {
        "r ≤ 0": 2, "0 to 0.1": 1, "0.1 to 0.3": 2, "0.3 to 0.5": 1, "above 0.5": 1,
    }  # fmt: skip
    assert "7 genes" in correlation_strength.caption(tidy, SETTINGS)
    axes = correlation_strength.plot_strength(tidy, SETTINGS).axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == 7


BOARD = pd.DataFrame(
    {
        "method": ["stnet", "knn", "train_mean", "depth"],
        "family": ["deep", "classical", "control", "oracle"],
        "pearson": [0.3, 0.2, 0.0, 0.25],
        "pearson_low": [0.2, 0.1, 0.0, 0.2],
        "pearson_high": [0.4, 0.3, 0.0, 0.3],
        "n_genes": [3, 3, 3, 3],
        "n_positive": [3, 2, 0, 3],
        "n_consistent_bh": [2, 0, 0, 3],
        "n_consistent_holm": [1, 0, 0, 2],
        "rmse": [0.7, 0.8, 0.9, np.nan],
        "train_seconds": [100.0, 0.0, 0.001, 5.0],
        "peak_memory_mb": [900.0, 200.0, 180.0, 190.0],
        "parameters": [7_000_000, 0, 250, 500],
    }
)


def test_positive_genes_are_sorted_and_printed():
    tidy = positive_genes.tidy_positive(BOARD)
    assert list(tidy["method"]) == ["depth", "stnet", "knn", "train_mean"]
    assert "3 / 2 / 1" in words(
        positive_genes.plot_positive(tidy, SETTINGS)
    ) and "3 genes" in positive_genes.caption(tidy, SETTINGS)


def test_ranks_follow_the_direction_of_each_metric():
    table = pd.concat(
        [
            genes(mean_pearson=[0.3, 0.3], auroc_quartiles=[0.7, 0.5]),
            genes(mean_pearson=[0.2, 0.2], auroc_quartiles=[0.6, 0.6]).assign(method="knn"),
        ]
    )
    tidy = rank_heatmap.tidy_ranks(BOARD, table)
    ranks = tidy.set_index(["metric", "method"])["rank"]
    assert ranks["pearson"].loc[["stnet", "depth", "knn", "train_mean"]].tolist() == [1, 2, 3, 4]
    assert ranks["rmse"].loc[["stnet", "knn", "train_mean"]].tolist() == [1, 2, 3] and np.isnan(
        ranks["rmse", "depth"]
    )
    assert ranks["auroc_quartiles"].loc[["stnet", "knn"]].tolist() == [1.5, 1.5]  # means 0.6 and 0.6
    assert ranks["n_positive"].loc[["stnet", "depth"]].tolist() == [1.5, 1.5]
    assert "n/a" in words(rank_heatmap.plot_ranks(tidy, SETTINGS)) and "4 methods" in rank_heatmap.caption(
        tidy, SETTINGS
    )


def test_dumbbells_average_the_genes_that_have_both():
    table = genes(mean_pearson=[0.2, 0.4, np.nan], pearson_partial_depth=[0.1, 0.1, 0.9])
    tidy = dumbbells.tidy_dumbbells(table, "mean_pearson", "pearson_partial_depth")
    assert tidy[["before", "after", "change"]].iloc[0].tolist() == pytest.approx([0.3, 0.1, -0.2])
    assert tidy["n_genes"].iloc[0] == 2


def test_distributions_are_ordered_by_their_median():
    table = pd.concat(
        [genes(mean_pearson=[0.1, 0.2, 0.9]), genes(mean_pearson=[0.3, 0.3, np.nan]).assign(method="knn")]
    )
    tidy = gene_distributions.tidy_distributions(table)
    assert list(dict.fromkeys(tidy["method"])) == ["knn", "stnet"] and len(tidy) == 5
    assert set(tidy.loc[tidy["method"] == "stnet", "median"]) == {0.2}
    gene_distributions.plot_distributions(tidy, SETTINGS).draw_without_rendering()


def test_ten_genes_of_each_trained_method_best_method_first():
    table = pd.concat(
        [
            genes(median_pearson=np.arange(12) / 100),
            genes(median_pearson=np.arange(12) / 50).assign(method="knn"),
            genes(median_pearson=np.ones(12)).assign(method="depth"),
        ]
    )
    tidy = top_ten.tidy_ten(table, SETTINGS)
    assert list(dict.fromkeys(tidy["method"])) == ["knn", "stnet"] and len(tidy) == 20
    assert tidy["gene"].iloc[0] == "G11" and tidy["median_pearson"].iloc[0] == 0.22
    top_ten.plot_ten(tidy, SETTINGS).draw_without_rendering()


def test_costs_leave_out_oracles_and_raise_what_a_logarithm_cannot_show():
    tidy = cost.tidy_cost(BOARD, Settings(families=dict(zip(BOARD["method"], BOARD["family"], strict=True))))
    values = tidy.set_index(["cost", "method"])["value"]
    assert "depth" not in set(tidy["method"])
    assert values["train_seconds", "knn"] == 0.01 and values["parameters", "knn"] == 1
    assert values["peak_memory_mb", "stnet"] == 900 and "3 methods" in cost.caption(tidy, SETTINGS)
    cost.plot_cost(tidy, SETTINGS).draw_without_rendering()


def test_times_are_per_fold_and_per_thousand_spots():
    runs = [{"method": "stnet.seed1", "fold": "A", "seconds": 30.0, "hardware": "a processor"}]
    predictions = [
        {"method": "stnet", "fold": "A", "seconds": 2.0, "n_spots": 500},
        {"method": "knn", "fold": "A", "n_spots": 0},
    ]
    tidy = run_time.tidy_times(runs, predictions)
    assert tidy[["method", "quantity", "seconds"]].to_numpy().tolist() == [
        ["stnet", "train", 30.0],
        ["stnet", "predict", 4.0],
    ]
    assert "a processor" in run_time.caption(tidy, SETTINGS)
    assert [run_time._clock(s) for s in (7200, 180, 5, 0.02, 0)] == [
        "2.0 h",
        "3.0 min",
        "5.0 s",
        "20 ms",
        "< 1 ms",
    ]
    run_time.plot_times(tidy, SETTINGS).draw_without_rendering()


def test_an_empty_table_is_left_out_with_its_reason():
    with pytest.raises(NothingToDraw, match="no gene"):
        require_rows(pd.DataFrame(), "no gene could be scored.")


def test_families_come_in_fixed_order():
    assert SETTINGS.by_family(["depth", "knn", "stnet", "random"]) == {
        "deep": ["stnet"], "classical": ["knn"], "control": ["random"], "oracle": ["depth"],
    }  # fmt: skip


def test_labels_of_crowded_points_do_not_touch():
    figure = new_figure(4, 3)
    axes = figure.subplots()
    points = [(0.0, 0.0), (0.05, 0.02), (0.1, 0.0), (1.0, 1.0)]
    axes.plot(*zip(*points, strict=True), "o")
    figure.draw_without_rendering()
    label_points(axes, [(x, y, f"method {place}", "black") for place, (x, y) in enumerate(points)])
    figure.draw_without_rendering()
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in axes.texts]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for place, one in enumerate(boxes) for other in boxes[place + 1 :])
