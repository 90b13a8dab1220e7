"""Clusters, latent neighbours, informative genes and co-location on input whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import (
    adjusted_rand_score,
    average_precision_score,
    normalized_mutual_info_score,
    roc_auc_score,
)

from histobench.evaluation.colocation import GROUPS, colocation
from histobench.evaluation.domains import (
    agreement,
    k_means,
    latent_neighbours,
    purity,
    section_domains,
    two_clusters,
)
from histobench.evaluation.tumour import curves, tumour_metrics
from histobench.expression.importance import importances


def three_domains(n=40, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    code = np.repeat([0, 1, 2], [n, n, n // 2])
    centres = np.array([[0, 0, 5], [4, 0, 5], [0, 4, 5]], dtype=float)
    values = centres[code] + rng.normal(0, noise, (len(code), 3))
    values[:, 2] = 5.0  # a constant gene
    return values, np.array(["stroma", "tumour", "fat"])[code]


def test_k_means_finds_domains_that_are_there_and_is_repeatable():
    values, label = three_domains()
    found = k_means(values, 3, seed=1)
    assert agreement(found, label) == {"ari": 1.0, "nmi": pytest.approx(1.0)}
    assert (np.diff(np.bincount(found)) <= 0).all(), "clusters are numbered by size"
    np.testing.assert_array_equal(found, k_means(values, 3, seed=1))
    noise = np.random.default_rng(0).normal(size=values.shape)
    assert abs(agreement(k_means(noise, 3, seed=1), label)["ari"]) < 0.1
    for constant in (np.ones((30, 4)), values[:2], np.repeat(values[:2], 20, axis=0)):
        assert (k_means(constant, 3, seed=0) == 0).all()


def test_agreement_and_purity_equal_sklearn_and_counting():
    rng = np.random.default_rng(2)
    label, clusters = rng.integers(0, 4, 200).astype(str), rng.integers(0, 3, 200)
    found = agreement(clusters, label)
    assert found["ari"] == pytest.approx(adjusted_rand_score(label, clusters))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(label, clusters))
    counted = sum(max(np.sum(label[clusters == c] == word) for word in "0123") for c in range(3)) / 200
    assert purity(clusters, label) == pytest.approx(counted)
    assert purity(np.zeros(0), np.zeros(0)) is not None and np.isnan(purity(np.zeros(0), np.zeros(0)))


def test_undetermined_spots_take_no_part_and_k_is_the_number_of_labels():
    values, label = three_domains()
    label = label.astype(object)
    label[::7], label[1::7] = "undetermined", ""
    scores, spots = section_domains(values, np.roll(values, 50, axis=0), label, seed=0)
    known = ~np.isin(label.astype(str), ["undetermined", ""])
    assert scores["n_domains"] == 3 and scores["n_domain_spots"] == known.sum()
    assert scores["ari_truth"] == 1 and scores["ari_prediction"] < 0.5
    assert np.isnan(spots["domain_truth"][~known]).all() and np.isfinite(spots["domain_truth"][known]).all()
    assert scores["ari_prediction"] == pytest.approx(
        adjusted_rand_score(label[known].astype(str), spots["domain_prediction"][known])
    )
    scores, spots = section_domains(values, values, np.full(len(values), "tumour"), seed=0)
    assert scores == {} and np.isnan(spots["domain_truth"]).all()


def test_two_clusters_are_pure_where_tissue_falls_apart():
    values, label = three_domains()
    tumour = np.where(label == "tumour", 1.0, 0.0)
    tumour[label == "fat"] = np.nan
    noise = np.random.default_rng(0).normal(size=values.shape)
    scores, spots = two_clusters({"prediction": values, "embedding": noise}, tumour, seed=0)
    assert scores["purity_prediction"] == 1 and scores["purity_majority"] == 0.5
    assert 0.5 <= scores["purity_embedding"] < 0.75
    assert np.isnan(spots["cluster_prediction"][label == "fat"]).all()
    assert two_clusters({"prediction": values}, np.ones(len(values)), seed=0)[0] == {}


def test_latent_neighbours_equal_a_loop_and_tell_a_good_latent_space_from_a_blind_one():
    rng = np.random.default_rng(5)
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[:12, :12])
    kept = rng.uniform(size=144) < 0.85
    x, y = x[kept], y[kept]
    hidden = rng.normal(size=(len(x), 1))
    truth = (hidden + 0.3 * rng.normal(size=(len(x), 3))).astype(np.float32)
    found = latent_neighbours(truth, hidden, x, y)
    pairs = []
    for i in range(len(x)):
        near = [j for j in range(len(x)) if abs(x[i] - x[j]) + abs(y[i] - y[j]) == 1]
        if len(near) >= 2:
            apart = [abs(hidden[i, 0] - hidden[j, 0]) for j in near]
            pairs.append((i, near[int(np.argmin(apart))], near[int(np.argmax(apart))]))
    i, nearest, farthest = (np.array(column) for column in zip(*pairs, strict=True))
    for g in range(3):
        for name, chosen in (("nearest", nearest), ("farthest", farthest)):
            expected = stats.pearsonr(truth[i, g], truth[chosen, g]).statistic
            assert found[f"neighbour_{name}"][g] == pytest.approx(expected, abs=1e-6)
    assert (found["neighbour_nearest"] > found["neighbour_farthest"] + 0.5).all()
    blind = latent_neighbours(truth, rng.normal(size=(len(x), 4)), x, y)
    assert np.abs(blind["neighbour_nearest"] - blind["neighbour_farthest"]).max() < 0.5
    assert latent_neighbours(truth, hidden, 3 * x, y * 3) == {}, "no edge neighbours"
    assert latent_neighbours(truth[:0], hidden[:0], x[:0], y[:0]) == {}


def test_informative_genes_are_those_that_differ():
    rng = np.random.default_rng(0)
    tumour = np.r_[np.ones(60), np.zeros(60), np.full(10, np.nan)]
    values = rng.normal(size=(130, 12))
    values[:60, [2, 7]] += 2.5
    found = importances(values, tumour, seed=0)
    assert set(np.argsort(-found)[:2]) == {2, 7} and found.sum() == pytest.approx(1)
    np.testing.assert_array_equal(found, importances(values, tumour, seed=0))
    assert np.isnan(importances(values, np.ones(130), seed=0)).all()


def test_curves_have_the_areas_of_sklearn_and_calibration_counts_spots():
    rng = np.random.default_rng(1)
    tumour = (rng.uniform(size=900) < 0.3).astype(float)
    probability = np.clip(0.3 + 0.2 * (tumour - 0.3) + rng.normal(0, 0.15, 900), 0, 1)
    tumour[:50] = np.nan
    found = curves(tumour, probability)
    known = np.isfinite(tumour)
    false, true, _ = found["roc"]
    area = np.trapezoid(true, false)
    assert area == pytest.approx(roc_auc_score(tumour[known], probability[known]), abs=0.01)
    recall, precision, _ = found["precision_recall"]
    area = -np.trapezoid(precision, recall)
    assert area == pytest.approx(average_precision_score(tumour[known], probability[known]), abs=0.03)
    mean, share, number = found["calibration"]
    assert number.sum() == known.sum() and ((mean >= 0) & (mean <= 1)).all()
    assert (number * share).sum() == pytest.approx(np.nansum(tumour))
    assert curves(np.ones(9), np.ones(9)) == {} and tumour_metrics(np.full(3, np.nan), np.ones(3)) == {}


def test_colocation_is_the_mean_correlation_of_pairs():
    rng = np.random.default_rng(0)
    genes = [*GROUPS["tumour"], *GROUPS["immune"], "GAPDH"]
    side = rng.normal(size=(200, 1))
    signs = np.array([1, 1, 1, -1, -1, -1, 0])
    values = side * signs + rng.normal(size=(200, 7))
    found = colocation(values, genes)
    r = np.corrcoef(values[:, :6].T)
    within = [r[a, b] for a in range(6) for b in range(a) if (a < 3) == (b < 3)]
    assert found["within"] == pytest.approx(np.mean(within))
    assert found["between"] == pytest.approx(r[:3, 3:].mean())
    assert found["within"] > 0.3 > -0.3 > found["between"]
    values[:, 0] = 1.0  # a constant gene has no pair
    assert colocation(values, genes)["between"] == pytest.approx(r[1:3, 3:].mean())
    assert colocation(values[:, 6:], ["GAPDH"]) == {} and colocation(values[:2], genes) == {}
    assert np.isnan(colocation(np.ones((9, 7)), genes)["within"])
