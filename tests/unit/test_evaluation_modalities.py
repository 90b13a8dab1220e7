"""Forests of tumour by modality: the paper's split over spots, which leaks, and the same with patients apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from histobench.errors import UserError
from histobench.evaluation.modalities import (
    COLUMNS,
    FIFTH,
    compare_between_patients,
    compare_within_patients,
)
from histobench.figures.drawing.settings import Settings
from histobench.figures.drawing.sources import Predicted
from histobench.figures.per_method import tumour_modalities

SETTINGS = Settings(
    leader="net", families={"net": "deep", "other": "deep"}, titles={"net": "Net"}, n_patients=3
)


def test_comparison_within_patients_covers_all_combinations_on_a_fifth_of_the_labelled_spots():
    rng = np.random.default_rng(0)
    labels = (rng.random(205) < 0.5).astype(np.float32)
    labels[:5] = np.nan
    good = labels[:, None] + rng.normal(0, 0.3, (205, 3))
    parts = {
        "image": np.nan_to_num(good),
        "observed": rng.normal(size=(205, 4)),
        "predicted": rng.normal(size=(205, 2)),
    }
    table = compare_within_patients(parts, labels, seed=1, trees=20)
    assert list(table["modalities"]) == [
        "image",
        "observed",
        "predicted",
        "image+observed",
        "image+predicted",
        "observed+predicted",
        "image+observed+predicted",
    ]
    assert set(table["n_spots"]) == {40}
    scores = table.set_index("modalities")["auroc"]
    assert scores["image"] > 0.95
    assert 0.25 < scores["observed"] < 0.75
    assert table.equals(compare_within_patients(parts, labels, seed=1, trees=20))
    with pytest.raises(UserError, match="too few"):
        compare_within_patients(parts, np.ones(205), seed=1)
    assert set(table["held_out"]) == {FIFTH} and set(table["n_learnt"]) == {160}


def patients(n=60):
    """Three patients whose image tells the patient, and tumour only by a rule that each has of its own."""
    rng = np.random.default_rng(1)
    names = np.repeat(["p", "q", "r"], n)
    labels = (rng.random(3 * n) < 0.5).astype(np.float32)
    sign = np.repeat([1.0, -1.0, 1.0], n)
    own = np.repeat(np.eye(3), n, axis=0) * 5
    image = np.column_stack([own, (labels * 2 - 1) * sign + rng.normal(0, 0.2, 3 * n)])
    shared = (labels[:, None] + rng.normal(0, 0.2, (3 * n, 2))).astype(np.float32)
    return names, labels, {"image": image, "predicted": shared}


def test_only_with_patients_apart_does_it_show_that_a_rule_does_not_transfer():
    names, labels, parts = patients()
    split = compare_within_patients(parts, labels, trees=30).set_index("modalities")
    apart = compare_between_patients(parts, labels, names, trees=30)
    assert list(apart) == list(COLUMNS) and len(apart) == 9
    assert split.loc["image", "auroc"] > 0.95, "spots of the same patient were learnt from"
    scores = apart.set_index(["held_out", "modalities"])["auroc"]
    assert scores["q", "image"] < 0.2, "the others' rule is the opposite"
    assert (scores.xs("predicted", level="modalities") > 0.95).all()
    numbers = apart.drop_duplicates("held_out").set_index("held_out")
    assert set(numbers["n_spots"]) == {60} and set(numbers["n_learnt"]) == {120}


def test_a_patient_with_one_kind_of_spots_is_not_held_out():
    names, labels, parts = patients()
    labels = np.where(names == "q", 1.0, labels)
    assert set(compare_between_patients(parts, labels, names, trees=5)["held_out"]) == {"p", "r"}
    alone = np.where(names == "p", labels, np.nan)
    assert compare_between_patients(parts, alone, names, trees=5).empty


def section(patient, seed):
    names, labels, parts = patients()
    own = names == patient
    spots = pd.DataFrame({"patient": patient, "section": f"{patient}{seed}", "tumour": labels[own]})
    noise = np.random.default_rng(seed).normal(size=(int(own.sum()), 2))
    truth = np.column_stack([parts["predicted"][own], np.full(own.sum(), np.nan)])
    return Predicted(
        "net", ["a", "b", "c"], truth, np.column_stack([noise, noise]), spots, 1.0, parts["image"][own]
    )


def test_the_figure_shows_both_protocols_and_says_which_leaks():
    folds = {"one": [section("p", 0), section("q", 1)], "two": [section("r", 2)]}
    table = tumour_modalities.tidy_modalities(folds)
    combinations = [
        "image",
        "measured",
        "predicted",
        "image+measured",
        "image+predicted",
        "measured+predicted",
        "image+measured+predicted",
    ]
    spots, apart = (table[table["protocol"] == name] for name in ("spots split 8 to 2", "patients apart"))
    assert list(spots["modalities"]) == 2 * combinations and set(spots["fold"]) == {"one", "two"}
    assert set(apart["fold"]) == {"one"} and set(apart["held_out"]) == {"p", "q"}
    # a gene that a section does not measure is left out of what was measured, and noise knows nothing
    assert spots.set_index("modalities").loc["measured", "auroc"].min() > 0.95
    assert 0.2 < spots.set_index("modalities").loc["predicted", "auroc"].mean() < 0.8
    drawn = tumour_modalities.plot_modalities(table, SETTINGS)
    assert [axes.get_title(loc="left") for axes in drawn.axes] == [
        "spots split 8 to 2, as published (leaks)", "patients apart",
    ]  # fmt: skip
    text = tumour_modalities.caption(table, SETTINGS)
    assert (
        "which leaks" in text
        and "2 patients with both kinds of spots" in text
        and "180 labelled spots in 2 folds" in text
    )
    alone = tumour_modalities.tidy_modalities({"two": folds["two"]})
    assert "none could be held out" in tumour_modalities.caption(alone, SETTINGS)
    assert len(tumour_modalities.plot_modalities(alone, SETTINGS).axes) == 1


def test_without_labels_or_an_embedding_there_is_nothing_to_compare():
    unlabelled = section("p", 0)
    unlabelled = replace(unlabelled, spots=unlabelled.spots.assign(tumour=np.nan))
    assert tumour_modalities.tidy_modalities({"one": [unlabelled]}).empty
    assert tumour_modalities.tidy_modalities({"one": [replace(section("p", 0), embedding=None)]}).empty
