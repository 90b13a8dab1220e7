"""Figures in which a paper compares several methods draw every one of them, in the order that is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from unit.test_figures_comparisons import words
from unit.test_figures_tissue import metrics, predicted

from histobench.figures.curves import autoencoder_curves
from histobench.figures.drawing.settings import Settings
from histobench.figures.latent import autoencoder_tiles, latent_tests, latent_umap
from histobench.figures.per_gene import expression_distributions, label_genes, pvalue_genes
from histobench.figures.per_section import section_boxes

METHODS = ["thitogene", "histogene", "hist2st"]
TITLES = {"thitogene": "THItoGene", "histogene": "HisToGene", "hist2st": "Hist2ST"}
SETTINGS = Settings(titles=TITLES, families=dict.fromkeys(METHODS, "deep"), section="A1")


def of(method, **changes):
    return replace(predicted(), method=method, **changes)


def test_genes_by_p_are_ranked_by_the_leading_method_and_mapped_by_all():
    rows = [(m, "A", "A1", g, "pearson", r)
            for m, values in zip(METHODS, ({"X": 0.1, "Y": 0.2}, {"X": 0.9, "Y": 0.8}, {"X": 0.3}), strict=True)
            for g, r in values.items()]  # fmt: skip
    tidy = pvalue_genes.tidy_p(metrics(rows))
    assert list(dict.fromkeys(tidy["method"])) == METHODS, "not the order of their p"
    assert list(tidy["gene"])[:2] == ["Y", "X"]
    figure = pvalue_genes.plot_p(tidy, [of(m) for m in METHODS], replace(SETTINGS, genes=["X", "nowhere"]))
    text = words(figure)
    assert all(title in text for title in TITLES.values()) and "measured" in text
    said = pvalue_genes.caption(tidy, replace(SETTINGS, genes=["X"]))
    assert "genes of THItoGene" in said and "HisToGene and Hist2ST" in said and "configured genes" in said


def test_markers_are_chosen_once_and_predicted_by_every_method():
    truth = np.repeat([[2.0, 0.0, 1.0], [0.0, 2.0, 1.1]], 5, axis=0)
    spots = pd.concat([predicted().spots.iloc[[0]]] * 5 + [predicted().spots.iloc[[2]]] * 5)
    sections = [of(m, genes=["X", "Y", "Z"], truth=truth, prediction=sign * truth, spots=spots)
                for m, sign in zip(METHODS, (1, -1, 2), strict=True)]  # fmt: skip
    tidy = label_genes.tidy_regions(sections, ["Z", "W"])
    assert list(dict.fromkeys(tidy["method"])) == METHODS
    per_method = tidy.groupby("method")["gene"].unique().map(list)
    assert all(genes == ["Z", "Y", "X"] or genes == ["Z", "X", "Y"] for genes in per_method), (
        "Z was asked for"
    )
    text = words(label_genes.plot_regions(tidy, SETTINGS))
    assert all(title in text for title in TITLES.values())
    said = label_genes.caption(tidy, replace(SETTINGS, genes=["Z", "W"]))
    assert "THItoGene, HisToGene and Hist2ST" in said and "as configured: Z" in said


def test_distributions_show_the_measurement_once_and_every_prediction():
    tidy = expression_distributions.tidy_expression([of(m) for m in METHODS], ["Y"])
    assert tidy["gene"].iloc[0] == "Y", "what is asked for comes first"
    sources = tidy.drop_duplicates(["method", "source"])[["method", "source"]].to_numpy().tolist()
    assert sources == [["thitogene", "measured"], *([m, "predicted"] for m in METHODS)]
    text = words(expression_distributions.plot_expression(tidy, SETTINGS))
    assert all(title in text for title in TITLES.values())
    assert "THItoGene, HisToGene and Hist2ST" in expression_distributions.caption(tidy, SETTINGS)


def test_latent_spaces_have_a_row_each():
    rng = np.random.default_rng(1)
    spots = pd.concat([predicted().spots.iloc[[0]]] * 20).set_index(np.arange(20).astype(str))
    sections = [of(m, truth=np.zeros((20, 2)), prediction=np.zeros((20, 2)), spots=spots,
                   embedding=rng.normal(size=(20, 3))) for m in METHODS]  # fmt: skip
    tidy = latent_umap.tidy_latent_map(sections, "A1", embed=lambda v, seed: v[:, :2])
    assert tidy.groupby("method").size().to_dict() == dict.fromkeys(METHODS, 20)
    text = words(latent_umap.plot_latent_map(tidy, {}, SETTINGS))
    assert all(title in text for title in TITLES.values())
    said = latent_umap.caption(tidy, SETTINGS)
    assert "THItoGene, HisToGene and Hist2ST" in said and "20 spots" in said
    rows = [(m, p, "*", "", name, v) for m in METHODS for p in "AB"
            for name, v in (("purity_embedding", 0.9), ("purity_majority", 0.6))]  # fmt: skip
    purity = latent_tests.tidy_latent(metrics(rows))
    text = words(latent_tests.plot_latent(purity, SETTINGS))
    assert all(title in text for title in TITLES.values()) and "mean 0.90 (sd 0.00)" in text
    assert "n = 2 patients" in latent_tests.caption(purity, SETTINGS)


def test_autoencoders_are_drawn_side_by_side_on_the_same_patches():
    history = pd.DataFrame({"stage": "autoencoder", "epoch": [1, 2], "loss": [0.2, 0.1], "valid_reconstruction": [0.3, 0.2]})  # fmt: skip
    curves = autoencoder_curves.tidy_reconstruction({(m, "A"): history for m in METHODS})
    assert all(
        title in words(autoencoder_curves.plot_reconstruction(curves, SETTINGS)) for title in TITLES.values()
    )
    given = np.random.default_rng(0).uniform(0, 1, (9, 4, 4, 3))
    made = {m: given + 0.1 * (1 + place) for place, m in enumerate(METHODS)}
    table = pd.concat([autoencoder_tiles.tidy_tiles(given, back, [f"s{n}" for n in range(9)], m, "A1") for m, back in made.items()])  # fmt: skip
    first = table[(table["method"] == METHODS[0]) & table["shown"]]
    rows = [int(name[1:]) for name in first["spot"]]
    figure = autoencoder_tiles.plot_tiles(
        table, given[rows], {m: back[rows] for m, back in made.items()}, SETTINGS
    )
    assert all(title in words(figure) for title in TITLES.values()) and "0.0900" in words(figure)
    assert "Hist2ST 0.0900" in autoencoder_tiles.caption(table, SETTINGS)


@pytest.mark.parametrize("number", [1, 7, 18])
def test_boxes_of_every_trained_method_stay_within_a_page(number):
    rows = [(f"m{n}", "A", "A1", g, "pearson", 0.1) for n in range(number) for g in "XYZ"]
    figure = section_boxes.plot_boxes(section_boxes.tidy_boxes(metrics(rows)), Settings())
    assert figure.get_size_inches()[1] <= 14 and len(figure.axes) == number
