"""Figures of the papers' supplements: what they show follows from small input whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit.target_transforms import NAMES, declared
from unit.test_figures_tissue import SETTINGS, metrics, predicted, words

from histobench.figures.curves import factor_variance
from histobench.figures.drawing import nuclei
from histobench.figures.drawing.kinds import other_kind_share, ranked_by_kind
from histobench.figures.drawing.settings import Settings
from histobench.figures.latent import expression_embedding, latent_distance
from histobench.figures.on_tissue import atypical_places, best_sections, domain_sections, gene_sections
from histobench.figures.per_gene import (
    correlation_histogram,
    gene_sets,
    genes_apart,
    informative_venns,
    mean_expression,
    nuclei_genes,
    nuclei_markers,
    transform_effect,
    tumour_markers,
    within_tissue,
)
from histobench.figures.per_method import auxiliary_distributions, genes_by_method, standardised_errors
from histobench.figures.per_section import auroc_sections, nuclei_tissue, stain_steps
from histobench.files import read_table, write_table

DEEP = Settings(
    experiment="e", families={"stnet": "deep", "other": "deep"}, titles={"stnet": "ST-Net", "other": "Other"},
    leader="stnet", transform="log1p_cp10k", section="A1",
    transforms={name: declared(name) for name in NAMES},
)  # fmt: skip


def grid(side: int, section: str, **more):
    """A section of side x side spots, its left half tumour."""
    y, x = np.divmod(np.arange(side * side), side)
    spots = pd.DataFrame({
        "pixel_x": 100.0 * x, "pixel_y": 100.0 * y, "patient": section[0], "section": section,
        "label": np.where(x < side // 2, "invasive cancer", "adipose tissue"),
        "tumour": (x < side // 2).astype(float),
    }, index=[f"s{k}" for k in range(side * side)])  # fmt: skip
    values = np.column_stack([x, y]).astype(float)
    return replace(
        predicted(section=section),
        truth=values,
        prediction=values,
        spots=spots,
        **{"embedding": values, **more},
    )


def test_sections_of_further_patients_are_chosen_without_a_look_at_scores():
    good, mixed = grid(4, "B1"), grid(4, "B2")
    one_kind = replace(good, spots=good.spots.assign(tumour=1.0))
    wrong = replace(mixed, prediction=-mixed.prediction)
    chosen = gene_sections.choose_sections([one_kind, wrong, grid(2, "A1"), grid(3, "C1")], "A1")
    assert [one.section for one in chosen] == ["A1", "B2", "C1"], (
        "the mixed one, though it is predicted wrongly"
    )
    tidy = gene_sections.tidy_sections(chosen, ["nowhere", "Y"])
    assert list(dict.fromkeys(tidy["gene"])) == ["Y", "X"]
    assert tidy.groupby("section")["r"].first().round(6).to_dict() == {"A1": 1.0, "B2": -1.0, "C1": 1.0}
    text = words(gene_sections.plot_sections(tidy, DEEP))
    assert "r = −1.00" in text and "patient B" in text and "Y\nmeasured" in text
    assert "scores have no say" in gene_sections.caption(tidy, DEEP)


def test_a_gene_is_mapped_where_the_leading_method_is_best(tmp_path):
    rows = [("stnet", "A", "A1", "X", "pearson", 0.2), ("stnet", "A", "A2", "X", "pearson", 0.7),
            ("stnet", "A", "A1", "Y", "pearson", 0.9), ("other", "A", "A1", "X", "pearson", 0.99)]  # fmt: skip
    assert best_sections.best_of(metrics(rows), ["X"]) == {"X": "A2", "Y": "A1"}
    assert best_sections.best_of(metrics(rows[:0]), ["X"]) == {}


def test_domains_of_all_sections_are_there_with_their_score():
    spots = pd.concat(
        pd.DataFrame({
            "method": method, "section": section, "spot": list("abcd"), "array_x": [0, 1, 0, 1],
            "array_y": [0, 0, 1, 1], "label": ["u", "u", "u", "v"], "domain_truth": [3.0, 3.0, 3.0, 7.0],
            "domain_prediction": [7.0, 3.0, 3.0, 3.0] if section != "C1" else np.nan,
        })
        for section in ("B1", "A1") for method in ("stnet", "other")
    )  # fmt: skip
    scores = [(m, "A", s, "", f"ari_{side}", value) for m in ("stnet", "other")
              for s, value in (("A1", 0.25), ("B1", 0.5)) for side in ("truth", "prediction")]  # fmt: skip
    tidy = domain_sections.tidy_domain_sections(spots, metrics(scores))
    assert list(dict.fromkeys(tidy["section"])) == ["A1", "B1"]
    assert list(tidy[(tidy["source"] == "measured") & (tidy["section"] == "A1")]["domain"]) == [
        *["cluster 1"] * 3, "cluster 2",
    ]  # fmt: skip
    text = words(domain_sections.plot_domain_sections(tidy, DEEP))
    assert text.count("ARI 0.25") == 3 and text.count("ARI 0.50") == 3


def test_auroc_is_summarised_over_the_genes_of_a_section():
    rows = [("stnet", "A", "A1", str(k), "auroc_quartiles", value) for k, value in enumerate((0.2, 0.6, 0.8))]
    rows += [("stnet", "A", "*", "0", "auroc_quartiles", 0.9)]
    tidy = auroc_sections.tidy_auroc_sections(metrics(rows))
    assert tidy[["n_genes", "n_above", "median"]].to_numpy().tolist() == [[3, 2, 0.6]]
    assert "67 % above 0.5" in words(auroc_sections.plot_auroc_sections(tidy, DEEP))


def test_the_histogram_counts_pairs_and_medians_apart():
    rows = [("stnet", p, s, "X", "pearson", r)
            for p, s, r in (("A", "A1", -0.2), ("A", "*", 0.1), ("B", "B1", 0.4), ("B", "*", 0.3), ("C", "*", 0.5))]  # fmt: skip
    tidy = correlation_histogram.tidy_histogram(metrics(rows)).set_index("unit")
    assert tidy.loc["gene in a section", "n"].tolist() == [2, 2]
    assert tidy.loc["gene, median over patients", "mean"] == pytest.approx(0.3)
    assert tidy.loc["gene in a section", "bin_low"].tolist() == [-0.2, 0.4]
    correlation_histogram.plot_histogram(tidy.reset_index(), DEEP).draw_without_rendering()


def test_what_varies_within_a_tissue_is_set_against_all_spots():
    consistency = pd.DataFrame({
        "method": "stnet", "spots": ["tumour", "tumour", "normal", "all"], "gene": ["X", "Y", "X", "X"],
        "n_patients": 3, "n_positive": [3, 1, 2, 3], "median_pearson": [0.3, 0.5, 0.1, 0.4],
        "p_binomial": 0.1, "p_holm": [0.01, 1.0, 1.0, 0.01],
    })  # fmt: skip
    spread = metrics([("stnet", p, f"{p}1", g, m, v) for p in "AB" for g in "XY"
                      for m, v in (("sd_truth", 2.0), ("sd_truth@tumour", 1.0), ("sd_truth@normal", 2.0))])  # fmt: skip
    tidy = within_tissue.tidy_within(consistency, spread, "stnet")
    assert tidy[["spots", "gene", "variance_share"]].to_numpy().tolist() == [
        ["tumour", "X", 0.25], ["tumour", "Y", 0.25], ["normal", "X", 1.0],
    ]  # fmt: skip
    assert "3 of 3" in words(within_tissue.plot_within(tidy, DEEP))
    assert "1 of 2 genes consistent" in within_tissue.caption(tidy, DEEP)


def test_means_are_those_of_sections_then_patients():
    rows = [("stnet", "A", "A1", "X", "mean_truth", 1.0), ("stnet", "A", "A2", "X", "mean_truth", 3.0),
            ("stnet", "B", "B1", "X", "mean_truth", 5.0), ("stnet", "B", "B1", "X", "sd_truth", 0.5),
            ("stnet", "B", "*", "X", "mean_truth", 99.0), ("stnet", "A", "A1", "Y", "mean_truth", 9.0)]  # fmt: skip
    tidy = mean_expression.tidy_means(metrics(rows))
    assert tidy[["gene", "mean", "low", "high"]].to_numpy().tolist() == [["Y", 9, 9, 9], ["X", 3.5, 2, 5]]
    mean_expression.plot_means(tidy, DEEP).draw_without_rendering()


def test_a_transform_that_divides_by_depth_takes_depth_out():
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(8, 0.5, 400))
    counts = rng.poisson(depth[:, None] * [0.01, 0.02])
    tidy = transform_effect.tidy_transforms(counts, depth, ["X", "Y"], 1000, DEEP.transforms)
    r = tidy.groupby("transform")["r_with_depth"].median()
    assert r["counts"] > 0.8 and r["log1p"] > 0.8 and abs(r["log1p_cp10k"]) < 0.2
    assert "used here" in words(transform_effect.plot_transforms(tidy, DEEP))


def test_genes_of_tumour_stand_with_their_r_under_the_chosen_numbers():
    names = ["a", "b", "c", "d", "e", "f"]
    tumour = pd.DataFrame({"method": "stnet", "gene": names, "n_patients": 4,
                           "difference_truth": [0.1, -0.9, 0.5, 0.3, -0.2, 0.05],
                           "difference_prediction": 0.1, "q_truth": 0.01})  # fmt: skip
    genes = pd.DataFrame(
        {"method": "stnet", "gene": names, "mean_pearson": np.arange(6) / 10, "median_pearson": 0.1}
    )
    tidy = tumour_markers.tidy_markers(tumour, genes, DEEP)
    assert list(tidy["gene"]) == ["b", "c", "d", "e", "a"] and list(tidy["r"]) == [0.1, 0.2, 0.3, 0.4, 0.0]
    tumour_markers.plot_markers(tidy, DEEP).draw_without_rendering()


def test_first_genes_are_sets_of_the_asked_size_beside_chance():
    rank = np.arange(1, 61)
    genes = pd.DataFrame({"method": "stnet", "gene": [f"g{k}" for k in rank], "rank_truth": rank,
                          "rank_prediction": np.roll(rank, 10)})  # fmt: skip
    tidy = informative_venns.tidy_venns(genes, DEEP)
    assert set(tidy["first"]) == {30}, "a hundred genes are not in this panel"
    sets = tidy.groupby("source")["gene"].agg(set)
    assert len(sets["measured"]) == len(sets["stnet"]) == 30 and len(sets["measured"] & sets["stnet"]) == 20
    assert "15 shared by chance" in words(informative_venns.plot_venns(tidy, DEEP))
    assert "shares 20 of the first 30" in informative_venns.caption(tidy, DEEP)


def every_gene():
    """Forty genes of a method, ten of them targets with higher r; one gene is both."""
    genes = pd.DataFrame({
        "method": "stnet", "gene": [f"g{k}" for k in range(40)], "kind": ["target"] * 10 + ["auxiliary"] * 30,
        "mean_pearson": [0.31] * 10 + [0.05] * 29 + [np.nan], "rank_truth": range(1, 41),
        "rank_prediction": range(40, 0, -1), "importance_truth": np.linspace(0.05, 0.01, 40),
    })  # fmt: skip
    return pd.concat([genes, genes[genes["gene"] == "g0"].assign(kind="auxiliary", mean_pearson=0.05)])


def test_auxiliary_genes_have_a_distribution_of_their_own(tmp_path):
    tidy = auxiliary_distributions.tidy_auxiliary(every_gene()).set_index("kind")
    assert list(tidy["n_scored"]) == [30, 10] and list(tidy["n_genes"]) == [30, 10]
    assert (tidy["density"] * (tidy["r_high"] - tidy["r_low"])).to_list() == pytest.approx([1, 1])
    assert tidy.loc["target", "mean"] == pytest.approx(0.31) and 0.30 <= tidy.loc["target", "r_low"] <= 0.31
    tidy = tidy.reset_index()[auxiliary_distributions.COLUMNS]
    drawn = auxiliary_distributions.plot_auxiliary(tidy, DEEP)
    assert {"0.310", "0.050"} <= {text.get_text() for text in drawn.axes[0].texts}
    assert "10 target genes and of 30 auxiliary genes" in auxiliary_distributions.caption(tidy, DEEP)
    write_table(every_gene(), tmp_path / "every_gene.parquet")
    drawn, venns, caption = informative_venns.every_gene_venns(
        {"genes": tmp_path / "every_gene.parquet"}, DEEP
    )
    # of 40 genes, the first 30 of one order and of its reverse share 20
    assert "of 40 genes, of which 10 are targets" in caption and "shares 20 of the first 30" in caption
    assert set(venns["n_genes"]) == {40}
    # genes that no forest used on the measurement are in its forests' sight, and in a prediction's first ones
    few = every_gene().assign(rank_truth=lambda table: table["rank_truth"].where(table["rank_truth"] <= 12))
    write_table(few, tmp_path / "few.parquet")
    _, venns, _ = informative_venns.every_gene_venns({"genes": tmp_path / "few.parquet"}, DEEP)
    sets = venns.groupby("source")["gene"].nunique()
    assert (sets["measured"], sets["stnet"]) == (12, 30) and set(venns["n_genes"]) == {40}


def test_genes_apart_stand_beside_the_same_genes_together():
    genes = pd.DataFrame({
        "method": ["stnet"] * 3 + ["other"] * 3, "gene": ["a", "b", "c"] * 2, "n_patients": 23,
        "n_positive": [15, 22, 3, 17, 22, 9], "median_pearson": [0.1, 0.2, 0.3, 0.2, 0.1, 0.0],
    })  # fmt: skip
    settings = replace(DEEP, apart={"other": ["b", "a", "X"]})
    tidy = genes_apart.tidy_apart(genes, settings)
    assert list(zip(tidy["gene"], tidy["method"], strict=True)) == [
        ("a", "stnet"), ("a", "other"), ("b", "stnet"), ("b", "other"),
    ]  # fmt: skip
    assert list(tidy["n_positive"]) == [15, 17, 22, 22]
    text = genes_apart.caption(tidy, settings)
    assert "Other is positive in more patients for 1 and in fewer for 0" in text and "2 genes" in text
    left, right = genes_apart.plot_apart(tidy, settings).axes
    assert sorted({*(line.get_xdata()[0] for line in left.lines if line.get_marker() == "o")}) == [15, 17, 22]
    assert right.get_xlabel() == "median r over patients"
    assert genes_apart.tidy_apart(genes, replace(DEEP, apart={"third": ["a"]})).empty


def test_genes_of_the_leading_method_are_shown_for_every_network():
    genes = pd.DataFrame({"method": ["stnet"] * 12 + ["other"] * 12, "gene": [f"g{k}" for k in range(12)] * 2,
                          "median_pearson": [*np.arange(12) / 20, *([0.5] * 12)]})  # fmt: skip
    tidy = genes_by_method.tidy_by_method(genes, DEEP, ["g0"])
    own = tidy[tidy["method"] == "stnet"]
    assert list(own["gene"]) == ["g0", *(f"g{k}" for k in range(11, 2, -1))]
    assert list(dict.fromkeys(tidy["method"])) == ["other", "stnet"], "the higher mean first"
    genes_by_method.plot_by_method(tidy, DEEP).draw_without_rendering()


def test_neighbours_in_a_latent_space_of_positions_are_neighbours_on_the_tissue():
    near = latent_distance.tidy_distances([grid(8, "A1")]).set_index("distance")
    assert near.loc[1, "enrichment"] > 5 and near.loc[6, "enrichment"] == 0
    assert near["latent_distance"].is_monotonic_increasing
    shuffled = grid(8, "A1", embedding=np.random.default_rng(0).normal(size=(64, 3)))
    mixed = latent_distance.tidy_distances([shuffled]).set_index("distance")
    assert 0.6 < mixed.loc[1, "enrichment"] < 1.4
    text = latent_distance.caption(near.reset_index(), DEEP)
    assert "touching spots: ST-Net" in text
    latent_distance.plot_distances(near.reset_index(), DEEP).draw_without_rendering()


def test_atypical_spots_lie_among_the_other_kind():
    section = grid(6, "A1")
    vectors = section.embedding + 20 * section.spots["tumour"].to_numpy()[:, None]
    vectors[0] = [4.5, 2.5]  # a tumour spot in the middle of the normal ones
    tumour = section.spots["tumour"].to_numpy()
    share = other_kind_share(vectors, tumour)
    assert share[0] == 1.0 and share[tumour == 1][1:].max() < 0.2
    assert ranked_by_kind(vectors, tumour)["tumour"][-1] == 0
    assert np.isnan(other_kind_share(vectors, np.ones(36))).all() and not ranked_by_kind(vectors, np.ones(36))
    tidy = atypical_places.tidy_places([replace(section, embedding=vectors)], "A1")
    first = tidy[(tidy["kind"] == "tumour") & (tidy["rank"] == 1)].iloc[0]
    assert first["spot"] == "s0" and (tidy["rank"] > 0).sum() == 8
    assert "T1: 100 %" in words(atypical_places.plot_places(tidy, {}, SETTINGS))


def test_a_batch_effect_is_a_share_of_neighbours_of_the_same_patient():
    spots = pd.DataFrame({"patient": ["A"] * 40 + ["B"] * 40, "section": "s", "spot": "x", "label": ""})
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(80, 5))
    apart = mixed + 30 * (np.arange(80) < 40)[:, None]
    tidy = expression_embedding.tidy_embeddings(
        {"measured expression": mixed, "stnet": apart}, spots, embed=lambda values, seed: values[:, :2]
    )
    same = tidy.groupby("space")["same_patient"].first()
    assert same["stnet"] == 1.0 and abs(same["measured expression"] - 0.5) < 0.12
    assert tidy["expected_same"].iloc[0] == pytest.approx(39 / 79)
    assert "different networks" in expression_embedding.caption(tidy, DEEP)
    expression_embedding.plot_embeddings(tidy, DEEP).draw_without_rendering()


def test_errors_are_divided_by_the_spread_in_training():
    rows = [("stnet", p, "*", g, m, v) for p, g, m, v in (("A", "X", "mae", 1.0), ("A", "Y", "mae", 1.0),
            ("B", "X", "mae", 3.0), ("A", "X", "rmse", 2.0))]  # fmt: skip
    runs = [
        {
            "method": "stnet",
            "fold": "A",
            "genes": ["X", "Y", "Z"],
            "target_sd": [2.0, 4.0, 0.0],
            "train_mae": 0.25,
        }
    ]
    tidy = standardised_errors.tidy_standardised(metrics(rows), runs).set_index(["part", "error"])["value"]
    # patient A: (1/2 + 1/4) / 2, patient B: 3/2
    assert tidy["test", "mae"] == pytest.approx((0.375 + 1.5) / 2) and tidy["test", "rmse"] == 1.0
    assert tidy["train", "mae"] == 0.25 and ("train", "rmse") not in tidy
    old = [{**runs[0], "target_sd": None}]
    assert "test" not in set(standardised_errors.tidy_standardised(metrics(rows), old)["part"])
    table = standardised_errors.tidy_standardised(metrics(rows), runs)
    text = words(standardised_errors.plot_standardised(table, DEEP))
    assert (
        "0.938" in text and "0.250" in text and "training" in standardised_errors.caption(table, DEEP).lower()
    )


def test_genes_that_follow_the_nuclei_are_found_in_every_patient():
    rng = np.random.default_rng(0)
    pairs = []
    for patient in "ABCDE":
        section = grid(6, f"{patient}1")
        number = rng.integers(0, 30, 36).astype(float)
        section = replace(section, truth=np.column_stack([number, rng.normal(size=36)]))
        table = pd.DataFrame(
            {name: rng.normal(size=36) for name in nuclei.FEATURES}, index=section.spots.index
        )
        pairs.append((section, table.assign(n_nuclei=number, area_sd=np.nan)))
    found = nuclei.correlations(pairs)
    tidy = nuclei_genes.tidy_nuclei(found, ["Y"])
    first = tidy.set_index(["gene", "feature"])
    assert (
        first.loc[("X", "n_nuclei"), "r"] == pytest.approx(1.0) and first.loc[("X", "n_nuclei"), "rank"] == 1
    )
    assert "area_sd" not in set(tidy["feature"]) and tidy["n_patients"].max() == 5
    nuclei_genes.plot_nuclei(tidy, DEEP).draw_without_rendering()
    markers = nuclei_markers.tidy_markers(found, ["Y"])
    assert list(dict.fromkeys(markers["gene"])) == ["Y", "X"] and set(markers["feature"]) == {
        "area",
        "density",
    }
    nuclei_markers.plot_markers(markers, DEEP).draw_without_rendering()


def test_nuclei_of_the_two_tissues_are_compared_over_patients():
    rows = [(p, t, 10.0 + 5 * t + k) for k, p in enumerate("ABCDEF") for t in (0.0, 1.0, np.nan)]
    spots = pd.DataFrame(rows, columns=["patient", "tumour", "n_nuclei"])
    spots = spots.assign(**{name: 1.0 for name in nuclei_tissue.SHOWN if name != "n_nuclei"})
    tidy = nuclei_tissue.tidy_tissue(spots)
    own = tidy[tidy["feature"] == "n_nuclei"]
    assert (own["tumour"] - own["normal"]).tolist() == [5.0] * 6
    assert own["p_wilcoxon"].iloc[0] == pytest.approx(2 / 2**6), "the smallest that six patients give"
    assert "more in tumour: 6 of 6" in words(nuclei_tissue.plot_tissue(tidy, DEEP))


def test_a_set_that_is_all_predicted_is_found_and_one_that_is_not_is_among_the_others():
    genes = [f"g{k}" for k in range(100)]
    consistency = pd.DataFrame({"method": "stnet", "spots": "all", "gene": genes,
                                "p_holm": [0.01] * 40 + [1.0] * 60, "median_pearson": 0.1})  # fmt: skip
    sets = {
        "good": set(genes[:8]),
        "bad": set(genes[40:50]),
        "absent": {"a", "b", "c"},
        "small": {"g1", "g2"},
    }
    tidy = gene_sets.tidy_gene_sets(consistency, sets, "stnet").set_index("gene_set")
    assert list(tidy.index) == ["good", "bad"]
    # the chance to draw eight of eight: 40 * 39 * ... * 33 / (100 * 99 * ... * 93)
    chance = np.prod(np.arange(33, 41) / np.arange(93, 101))
    assert tidy.loc["good", "p_predicted"] == pytest.approx(chance)
    assert tidy.loc["bad", "p_predicted"] == 1.0 and tidy.loc["bad", "p_others"] < 0.01
    assert tidy.loc["good", "expected"] == pytest.approx(3.2) and tidy.loc["good", "by_test"]
    assert "good." in gene_sets.caption(tidy.reset_index(), DEEP)
    gene_sets.plot_gene_sets(tidy.reset_index(), DEEP).draw_without_rendering()
    none = consistency.assign(p_holm=1.0, median_pearson=np.arange(100)[::-1])
    predicted_ones, by_test = gene_sets.predicted_genes(none)
    assert predicted_ones == genes[:41] and not by_test


def test_the_shipped_sets_hold_genes_of_the_published_panel(project):
    listed = read_table(project / "resources/gene_sets.tsv", dtype=str)
    assert not listed.duplicated(["gene_set", "gene"]).any() and listed["source"].str.len().min() > 5
    panel = set((project / "resources/panels/he2gene_target_250.txt").read_text().split())
    inside = listed[listed["gene"].isin(panel)].groupby("gene_set").size()
    assert (inside >= 3).sum() >= 8 and inside["ribosomal proteins, large subunit"] > 10


def test_explained_variance_is_that_of_the_records():
    runs = [{"method": "nmf", "fold": f, "n_factors": 2, "nmf_explained_1": v, "nmf_explained_2": 0.9}
            for f, v in (("A", 0.4), ("B", 0.6))]  # fmt: skip
    tidy = factor_variance.tidy_factors([*runs, {"method": "other", "fold": "A"}]).set_index("factors")
    assert tidy.loc[1, ["explained", "low", "high"]].tolist() == [0.5, 0.4, 0.6]
    assert tidy["used"].tolist() == [False, True]
    factor_variance.plot_factors(tidy.reset_index(), DEEP).draw_without_rendering()


def test_a_colour_cast_is_scaled_away_and_the_other_steps_follow():
    rng = np.random.default_rng(0)
    white = rng.integers(230, 256, (40, 40, 3)).astype(np.uint8)
    white[10:30, 10:30] = (150, 90, 160)
    tinted = (white * [1.0, 0.9, 0.8]).astype(np.uint8)
    clean = stain_steps.remove_cast(tinted)
    background = clean[:8].reshape(-1, 3).mean(axis=0)
    assert np.ptp(background) < 6 < np.ptp(tinted[:8].reshape(-1, 3).mean(axis=0))
    preview = np.concatenate([tinted, np.zeros((40, stain_steps.GAP, 3), np.uint8), white], axis=1)
    steps = stain_steps.steps_of(preview)
    assert np.array_equal(steps["stain"], white) and np.array_equal(steps["cast"], clean)
    tidy = stain_steps.tidy_steps(steps, "A1")
    assert len(tidy) == 12
    stain_steps.plot_steps(tidy, steps, DEEP).draw_without_rendering()
