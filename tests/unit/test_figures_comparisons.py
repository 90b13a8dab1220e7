"""Figures of comparisons, protocols, power and attribution: their tidy tables follow from small input by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit import described

from histobench.figures.curves import autoencoder_curves, power_curve
from histobench.figures.drawing import sources
from histobench.figures.drawing.style import NothingToDraw
from histobench.figures.latent import autoencoder_tiles
from histobench.figures.on_tissue import attributions
from histobench.figures.per_gene import ceiling_genes, colocated_genes
from histobench.figures.per_method import (
    ablation_bars,
    compartments,
    critical_difference,
    dumbbells,
    pairwise,
    protocols,
    published_numbers,
    transfer_matrix,
    variance_shares,
)
from histobench.files import write_table

SETTINGS = described.settings(n_patients=4, cohort="home")


def words(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


COMPARISONS = pd.DataFrame(
    {"method_a": ["stnet", "stnet", "knn"], "method_b": ["knn", "random", "random"], "n_patients": 8,
     "difference": [0.1, 0.3, 0.2], "difference_low": [0.0, 0.2, 0.1], "difference_high": [0.2, 0.4, 0.3],
     "p_wilcoxon": 0.01, "p_holm": [0.2, 0.03, 0.06], "smallest_p": 0.0078}
)  # fmt: skip


def board(**scores) -> pd.DataFrame:
    return pd.DataFrame({"method": list(scores), "pearson": list(scores.values()), "n_genes": 3,
                         "mae": [0.5 + k / 10 for k in range(len(scores))], "rmse": 0.8}).assign(
        pearson_low=lambda t: t["pearson"] - 0.1, pearson_high=lambda t: t["pearson"] + 0.1)  # fmt: skip


def test_every_pair_stands_in_both_orders_best_row_first():
    tidy = pairwise.tidy_pairs(COMPARISONS)
    assert list(dict.fromkeys(tidy["row"])) == ["stnet", "knn", "random"] and len(tidy) == 6
    back = tidy[(tidy["row"] == "random") & (tidy["column"] == "stnet")].iloc[0]
    assert back[["difference", "low", "high"]].tolist() == pytest.approx([-0.3, -0.4, -0.2])
    figure = pairwise.plot_pairs(tidy, SETTINGS)
    assert len(figure.axes[0].patches) == 2  # one pair is below 5 %, framed in both orders
    assert "3 pairs; 1 of them" in pairwise.caption(tidy, SETTINGS)


def test_ranks_are_joined_by_the_groups_of_the_table():
    table = pd.DataFrame(
        {
            "metric": ["pearson"] * 3 + ["rmse"],
            "method": ["knn", "stnet", "random", "stnet"],
            "mean_rank": [2.0, 1.25, 2.75, 1.0],
            "n_patients": 4,
            "n_methods": 3,
            "p_friedman": 0.04,
            "critical_difference": 1.66,
            "groups": ["1.0", "1", np.nan, ""],
        }
    )
    tidy = critical_difference.tidy_critical(table)
    assert tidy["method"].tolist() == ["stnet", "knn", "random"] and tidy["groups"].tolist() == ["1", "1", ""]
    drawn = words(critical_difference.plot_critical(tidy, SETTINGS))
    assert "ST-Net (1.2)" in drawn and "critical difference 1.66" in drawn
    assert "permutation p = 0.04" in critical_difference.caption(tidy, SETTINGS)


def test_variants_of_a_class_are_set_against_its_first():
    entries = {"knn": "m:A", "stnet": "m:B", "random": "m:B", "absent": "m:B"}
    tidy = ablation_bars.tidy_ablations(board(stnet=0.3, random=0.0, knn=0.2), COMPARISONS, entries)
    assert tidy[["base", "method"]].to_numpy().tolist() == [["stnet", "random"]]
    assert tidy[["difference", "low", "high"]].iloc[0].tolist() == pytest.approx([-0.3, -0.4, -0.2])
    assert tidy["change_mae"].iloc[0] == pytest.approx(0.1) and tidy["change_rmse"].iloc[0] == 0
    assert "random network" in words(ablation_bars.plot_ablations(tidy, SETTINGS))


def test_each_further_patient_halves_the_smallest_p():
    table = pd.DataFrame(
        {"test": ["a (b)", "c"], "n_patients": [8, 8], "n_tests": [250, 3], "smallest_p": [2**-8, 2**-7]}
    )
    tidy = power_curve.tidy_power(table).set_index(["test", "n_patients"])
    assert (
        tidy.loc[("a (b)", 13), "smallest_p"] == 2**-13
        and tidy.loc[("a (b)", 13), "smallest_p_holm"] == 250 * 2**-13
    )
    assert tidy.loc[("a (b)", 12), "smallest_p_holm"] > 0.05 > tidy.loc[("a (b)", 13), "smallest_p_holm"]
    assert tidy.loc[("c", 1), "smallest_p"] == 1.0 and tidy["here"].sum() == 2
    power_curve.plot_power(tidy.reset_index(), SETTINGS).draw_without_rendering()


def test_the_fraction_of_the_ceiling_is_of_means():
    table = pd.DataFrame(
        {
            "method": ["stnet", "stnet", "depth"],
            "gene": list("XYX"),
            "mean_pearson": [0.2, 0.4, 0.9],
            "ceiling": [0.5, 0.7, 0.5],
        }
    )
    tidy = ceiling_genes.tidy_ceiling(table, SETTINGS)
    assert set(tidy["method"]) == {"stnet"} and tidy["fraction"].iloc[0] == pytest.approx(0.5)
    assert "50 % of the ceiling" in words(ceiling_genes.plot_ceiling(tidy, SETTINGS))


def test_compartments_need_labels():
    table = pd.DataFrame(
        {
            "method": "stnet",
            "spots": ["all", "tumour", "normal"],
            "n_genes": 3,
            "n_patients": [4, 3, 2],
            "n_positive_median": [3, 2, 1],
            "n_consistent_bh": [2, 1, 0],
            "n_consistent_holm": [1, 0, 0],
        }
    )
    tidy = compartments.tidy_compartments(table)
    assert len(tidy) == 3 and compartments.tidy_compartments(table.head(1)).empty
    assert "tumour spots, 3 patients" in words(compartments.plot_compartments(tidy, SETTINGS))
    assert "normal: 2 patients" in compartments.caption(tidy, SETTINGS)


def test_components_that_are_unknown_are_not_drawn():
    table = pd.DataFrame(
        {
            "method": "stnet",
            "component": ["patient", "seed"],
            "variance": [0.04, np.nan],
            "sd": [0.2, np.nan],
            "share": [1.0, np.nan],
            "note": [np.nan, "One seed was run."],
        }
    )
    tidy = variance_shares.tidy_variance(table)
    assert tidy["component"].tolist() == ["patient"] and tidy["sd"].tolist() == [0.2]
    variance_shares.plot_variance(tidy, SETTINGS).draw_without_rendering()


def test_colocation_needs_both_kinds_of_pairs():
    table = pd.DataFrame(
        {
            "method": ["observed", "stnet", "knn"],
            "n_patients": 3,
            "within": [0.3, 0.5, np.nan],
            "between": [0.1, 0.4, 0.2],
            "difference": [-0.2, -0.1, np.nan],
            "difference_low": -0.3,
            "difference_high": 0.0,
            "t": 1.0,
            "p": 0.1,
            "p_holm": 0.2,
        }
    )
    tidy = colocated_genes.tidy_colocation(table)
    assert tidy["method"].tolist() == ["observed", "stnet"]
    assert "measured" in words(
        colocated_genes.plot_colocation(tidy, SETTINGS)
    ) and "3 patients" in colocated_genes.caption(tidy, SETTINGS)


def test_protocols_are_compared_on_the_methods_that_they_share(tmp_path):
    for name, scores in {
        "fair": {"stnet": 0.2, "knn": 0.1, "depth": 0.3},
        "leaky": {"stnet": 0.35, "knn": 0.15},
    }.items():
        write_table(board(**scores), tmp_path / "results" / name / "tables" / "leaderboard.tsv")
    paths = {
        "own": tmp_path / "results/fair/tables/leaderboard.tsv",
        "others": [tmp_path / "results/leaky/tables/leaderboard.tsv"],
    }
    tidy = protocols.tidy_contrast(protocols.read_boards(paths))
    assert list(dict.fromkeys(tidy["method"])) == ["stnet", "knn"] and set(tidy["base"]) == {"fair"}
    change = tidy.set_index(["method", "experiment"])["change"]
    assert change["stnet", "leaky"] == pytest.approx(0.15) and change["stnet", "fair"] == 0
    for question, name in {
        "folds": "leakage_inflation",
        "transform": "transform_ablation",
        "stain": "stain_ablation",
        "window": "window_ablation",
        "start": "start_ablation",
        "weights": "weights_ablation",
    }.items():
        draw = getattr(protocols, name)
        figure, table, caption = draw(paths, SETTINGS)
        pd.testing.assert_frame_equal(table, tidy)
        assert "0.150" in words(figure) and "leaky" in caption
        assert "differs in leaky" not in caption, "nothing is claimed that is not known"
        for rest, words_ in (
            (
                {"protocol": ["panel of genes", "sections"], "methods": ["knn"]},
                "leaky also differs in panel of genes, sections and in the settings of knn.",
            ),
            ({"protocol": [], "methods": []}, "Nothing else differs in leaky."),
        ):
            known = replace(SETTINGS, also_differs={question: {"leaky": rest}})
            assert words_ in draw(paths, known)[2]


@pytest.mark.parametrize(
    "draw",
    [dumbbells.depth_partialling, dumbbells.smoothing],
    ids=lambda draw: draw.__name__,
)
def test_a_change_is_over_the_genes_that_have_both_values(draw, tmp_path):
    genes = pd.DataFrame({
        "method": ["knn", "knn", "stnet", "stnet", "stnet"], "gene": ["A", "B", "A", "B", "C"],
        "mean_pearson": [0.1, 0.3, 0.3, 0.5, 0.9], "pearson_partial_depth": [0.1, 0.1, 0.2, 0.2, np.nan],
        "pearson_smoothed": [0.1, 0.1, 0.2, 0.2, np.nan],
    })  # fmt: skip
    write_table(genes, tmp_path / "genes.tsv")
    figure, table, caption = draw({"genes": tmp_path / "genes.tsv"}, SETTINGS)
    assert table["method"].tolist() == ["stnet", "knn"]  # best first
    assert table["before"].tolist() == pytest.approx([0.4, 0.2])
    assert table["after"].tolist() == pytest.approx([0.2, 0.1])
    assert table["change"].tolist() == pytest.approx([-0.2, -0.1]) and table["n_genes"].tolist() == [2, 2]
    assert "−0.200" in words(figure) and "n = 2 genes" in caption
    heads = [line for line in figure.axes[0].lines if line.get_marker() in ("<", ">")]
    assert [line.get_marker() for line in heads] == ["<", "<"]  # both fall


def test_transfer_sets_cohorts_side_by_side():
    tidy = transfer_matrix.tidy_transfer(
        {"home": board(stnet=0.3, knn=0.1), "abroad": board(knn=0.2, stnet=np.nan)}, "home"
    )
    cells = tidy.set_index(["method", "tested_on"])["pearson"]
    assert cells.to_dict() == {("stnet", "home"): 0.3, ("knn", "home"): 0.1, ("knn", "abroad"): 0.2}
    assert "(held-out patients)" in words(
        transfer_matrix.plot_transfer(tidy, SETTINGS)
    ) and "abroad" in transfer_matrix.caption(tidy, SETTINGS)


def test_gradients_of_a_linear_network_are_its_weights_times_the_change():
    import torch

    class Linear(torch.nn.Module):
        def forward(self, pixels):
            return torch.stack([pixels[:, 0].sum((1, 2)), 2 * pixels[:, 1].sum((1, 2))], dim=1), None

    patches = np.full((2, 4, 4, 3), 255, np.uint8)
    patches[0, 1, 2, 1] = 155
    found, outputs = attributions.integrated_gradients(Linear(), patches, gene=1, steps=4)
    expected = np.zeros((2, 4, 4))
    expected[0, 1, 2] = 2 * (155 - 255)
    assert found == pytest.approx(expected, abs=1e-3) and outputs[:, 0] - outputs[:, 1] == pytest.approx(
        [-200, 0]
    )
    assert attributions.choose_spots(np.array([0.1, 0.9, 0.5, 0.2])) == {"highest": [1, 2], "lowest": [0, 3]}


def test_only_the_autoencoders_part_of_a_history_is_drawn():
    history = pd.DataFrame(
        {
            "stage": ["autoencoder", "autoencoder", "final"],
            "epoch": [1, 2, 1],
            "loss": [0.03, 0.02, 9.0],
            "valid_reconstruction": [0.04, 0.03, np.nan],
            "valid_loss": [np.nan, np.nan, 8.0],
        }
    )
    tidy = autoencoder_curves.tidy_reconstruction(
        {("histospace", "A"): history, ("histospace", "B"): history.head(0)}
    )
    assert tidy.groupby("split")["error"].apply(list).to_dict() == {
        "train": [0.03, 0.02],
        "valid": [0.04, 0.03],
    }
    autoencoder_curves.plot_reconstruction(tidy, SETTINGS).draw_without_rendering()
    assert autoencoder_curves.tidy_reconstruction({("histospace", "A"): history.tail(1)}).empty


def test_reconstructions_are_shown_from_the_best_to_the_worst_beside_a_flat_patch():
    rng = np.random.default_rng(0)
    given = rng.uniform(0, 1, (12, 4, 4, 3)).astype(np.float32)
    made = given + np.linspace(0.33, 0.0, 12, dtype=np.float32)[:, None, None, None]
    table = autoencoder_tiles.tidy_tiles(given, made, [f"s{n}" for n in range(12)], "histospace", "A1")
    assert list(table["spot"]) == [f"s{n}" for n in range(11, -1, -1)]
    assert table["error"].to_numpy() == pytest.approx(np.linspace(0.0, 0.33, 12) ** 2, abs=1e-6)
    flat = given[11] - given[11].mean(axis=(0, 1))
    assert table["flat_error"].iloc[0] == pytest.approx(float((flat**2).mean()), rel=1e-5)
    assert table["shown"].sum() == autoencoder_tiles.NUMBER
    assert table["shown"].iloc[[0, -1]].all() and table["share_of_spots_below"].iloc[-1] == 1
    rows = [11 - place for place in np.flatnonzero(table["shown"])]
    figure = autoencoder_tiles.plot_tiles(table, given[rows], {"histospace": made[rows]}, SETTINGS)
    assert "reconstruction" in words(figure) and "mean squared error" in words(figure)
    assert "n = 12 spots" in autoencoder_tiles.caption(table, SETTINGS)
    one = autoencoder_tiles.tidy_tiles(given[:1], made[:1], ["s0"], "histospace", "A1")
    autoencoder_tiles.plot_tiles(one, given[:1], {"histospace": made[:1]}, SETTINGS).draw_without_rendering()


def test_a_figure_sees_the_window_that_its_method_was_given(tmp_path):
    stored = np.arange(3 * 8 * 8 * 3, dtype=np.uint8).reshape(3, 8, 8, 3)
    np.save(tmp_path / "A1.npy", stored)
    write_table(pd.DataFrame({"spot": ["a", "b", "c"]}), tmp_path / "A1.tsv")
    for image, um_per_px in (({"um_per_px": 2.0}, 9.0), ({"um_per_px": "native"}, 2.0)):
        record = {"window": {"um": 8}, "image": image}
        found = sources.read_window(tmp_path / "A1.npy", ["c", "a"], record, um_per_px)
        np.testing.assert_array_equal(found, stored[[2, 0], 2:6, 2:6])
    assert sources.read_window(tmp_path / "A1.npy", ["b"], {}, 1.0).shape == (1, 8, 8, 3)
    with pytest.raises(NothingToDraw):
        sources.read_window(tmp_path / "A1.npy", ["d"], {}, 1.0)


def test_published_numbers_without_ours_are_left_out():
    table = pd.DataFrame(
        {
            "paper": "ST-Net",
            "method": "stnet",
            "quantity": ["genes", "median r", "r", "zero"],
            "gene": [np.nan, "GNAS", "X", "Y"],
            "section": np.nan,
            "unit": "",
            "published": [102, 0.34, 0.1, 0.0],
            "ours": [51, 3.4, np.nan, 0.2],
            "comparison": ["not comparable", "comparable", "missing", "not comparable"],
        }
    )
    tidy = published_numbers.tidy_published(table)
    assert tidy["gene"].fillna("").tolist() == ["GNAS", "", "Y"], "what can be compared comes first"
    assert tidy["ratio"].tolist()[:2] == pytest.approx([10, 0.5]) and np.isnan(tidy["ratio"].iloc[2])
    figure = published_numbers.plot_published(tidy, SETTINGS)
    drawn = words(figure)
    assert "102 → 51" in drawn and "ST-Net: median r GNAS" in drawn and "nan" not in drawn
    far, near = (line for line in figure.axes[0].lines if line.get_marker() in ("o", ">") and len(line.get_xdata()) == 1
                 and np.isfinite(line.get_xdata()[0]))  # fmt: skip
    assert far.get_marker() == ">" and far.get_markerfacecolor() != "white"  # ten times, beyond the axis
    assert near.get_marker() == "o" and near.get_markerfacecolor() == "white" and near.get_xdata()[0] == 0.5
