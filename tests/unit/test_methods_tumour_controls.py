"""Controls of tumour detection: the floor is flat, colour is seen, shuffled images are null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from histobench.training.contract import Context, SectionData
from histobench.training.entry import build_method


def section(name, n, share, seed):
    """Spots whose first feature and redness follow the label; sections with more tumour differ on average."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.float32)
    features = rng.normal(size=(n, 6)).astype(np.float32)
    features[:, 0] += 2 * labels
    features[:, 1] += 5 * share
    patches = rng.integers(80, 120, (n, 8, 8, 3), dtype=np.uint8)
    patches[..., 0] += (60 * labels).astype(np.uint8)[:, None, None]
    spots = pd.DataFrame(
        0.0, index=[f"{name}{i}" for i in range(n)], columns=["array_x", "array_y", "pixel_x", "pixel_y"]
    )
    return SectionData(
        cohort="c", section=name, patient=name, spots=spots, um_per_px=1.0, patches=patches, features=features,
        targets=np.zeros((n, 2), np.float32), labels=labels,
    )  # fmt: skip


TRAIN = [
    section(name, 80, share, seed)
    for seed, (name, share) in enumerate(zip("abcd", (0.1, 0.4, 0.6, 0.9), strict=True))
]
TEST = section("t", 400, 0.5, 9)
CONTEXT = Context(("A", "B"), device="cpu")


def predicted(name, seed=0):
    method = build_method(f"histobench.methods.tumour_controls:{name}", {})
    method.fit(TRAIN, [], replace(CONTEXT, seed=seed))
    return method.predict(TEST.without_truth()).tumour_probability


def auroc(probability):
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(TEST.labels, probability)


def test_prevalence_is_that_of_the_training_spots():
    share = np.mean(np.concatenate([s.labels for s in TRAIN]))
    np.testing.assert_allclose(predicted("TumourPrevalence"), share, rtol=1e-6)


def test_colour_is_seen():
    assert auroc(predicted("TumourColour")) > 0.95


def test_shuffled_images_teach_nothing_also_where_sections_differ():
    found = [auroc(predicted("TumourShuffled", seed)) for seed in range(12)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)
    # while images that belong to their spots do
    method = build_method("histobench.methods.tumour_logistic:TumourLogistic", {})
    method.fit(TRAIN, [], CONTEXT)
    assert auroc(method.predict(TEST.without_truth()).tumour_probability) > 0.85
