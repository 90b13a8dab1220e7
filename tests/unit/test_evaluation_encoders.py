"""Tables that compare encoders."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from histobench.evaluation.encoder_tables import encoder_table, measured_costs, score_table
from histobench.evaluation.metrics import gene_moments
from histobench.evaluation.results import SectionScores

GENES = ("a", "b")
SECTIONS = [("P1", "s1", 40), ("P1", "s2", 25), ("P2", "s3", 30), ("P3", "s4", 50)]


def spots(seed: int, noise: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of every section; the prediction knows the sections' means and something within them."""
    rng = np.random.default_rng(seed)
    found = []
    for number, (_, _, n) in enumerate(SECTIONS):
        truth = rng.normal(size=(n, 2)) + 4 * number
        found.append((truth, truth + noise * rng.normal(size=(n, 2)) - (8 * number if seed == 1 else 0)))
    return found


def scores(parts: list[tuple[np.ndarray, np.ndarray]]) -> SectionScores:
    moments = [gene_moments(truth, predicted) for truth, predicted in parts]
    values = {key: np.stack([each[key] for each in moments]) for key in moments[0]}
    patients, sections, n = zip(*SECTIONS, strict=True)
    return SectionScores(patients, sections, GENES, np.array(n, float), np.ones((4, 2), bool), values)


def r(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean([np.corrcoef(truth[:, g], predicted[:, g])[0, 1] for g in range(2)]))


@pytest.mark.parametrize("seed", [0, 1])
def test_three_ways_of_scoring_are_those_of_the_spots(seed: int) -> None:
    parts = spots(seed, 1.5)
    own = scores(parts)
    pooled = [np.concatenate(side) for side in zip(*parts, strict=True)]
    centred = [
        np.concatenate([each - each.mean(axis=0) for each in side]) for side in zip(*parts, strict=True)
    ]
    assert own.over_spots().mean() == pytest.approx(r(*pooled))
    assert own.over_spots(centred=True).mean() == pytest.approx(r(*centred))
    # a patient that is drawn twice counts as often as its spots given twice, one that is not drawn not at all
    twice = [
        np.concatenate([side[0], side[1], side[0], side[1], side[3]]) for side in zip(*parts, strict=True)
    ]
    assert own.over_spots(np.array([2, 0, 1])).mean() == pytest.approx(r(*twice))


def arm(encoder: str, head: str = "ridge_probe", start: str = "pretrained") -> dict:
    return {"head": head, "encoder": encoder, "start": start, "field_um": None}


def facts(
    encoder: str, *, pretrained: bool = True, missing: str | None = None, commercial: bool = True
) -> dict:
    return {
        "encoder": encoder, "title": encoder.upper(), "pretrained": pretrained, "missing": missing,
        "parameters": 1_000_000, "dimension": 8, "citation": "",
        "terms": {"licence": "MIT", "gated": False, "commercial": commercial},
        "pretraining": {"data": "slides", "cohorts": ["c"]},
    }  # fmt: skip


@pytest.fixture
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    arms = {
        "ridge_probe__good": arm("good"),
        "ridge_probe__bad_random": arm("bad_random", start="none"),
        "knn__good": arm("good", "knn"),
        "knn__bad_random": arm("bad_random", "knn", "none"),
        "train_mean": {"head": None, "encoder": None, "start": None, "field_um": None},
    }
    noises = [0.5, 3.0, 1.0, 4.0, 9.0]
    found = {name: scores(spots(0, noise)) for name, noise in zip(arms, noises, strict=True)}
    encoders = [
        facts("good", commercial=False),
        facts("bad_random", pretrained=False),
        facts("gated", missing="ask for it"),
    ]
    return score_table(found, arms, None, 0), encoder_table(encoders, "c", {})


def test_encoders_are_ranked_under_the_same_head_and_scoring(tables) -> None:
    table, encoders = tables
    assert (
        len(table) == 15
        and (table["low"] <= table["value"]).all()
        and (table["value"] <= table["high"]).all()
    )
    ranked = table[table["head"] != ""]
    assert set(ranked.loc[ranked["encoder"] == "good", "rank"]) == {1.0}
    assert set(ranked.loc[ranked["encoder"] == "bad_random", "rank"]) == {2.0} and set(
        ranked["n_encoders"]
    ) == {2}
    assert table.loc[table["head"] == "", "rank"].isna().all()
    told = encoders.set_index("encoder")
    assert list(told["status"]) == ["compared", "compared", "not available here"]
    assert told.loc["gated", "what_to_do"] == "ask for it"
    assert told.loc["good", "saw_cohort"] and not told.loc["bad_random", "saw_cohort"]
    assert told.loc["bad_random", "licence"] == "no weights are used" and told.loc["bad_random", "commercial"]


def test_cost_and_what_a_file_does_not_say_are_those_that_the_jobs_measured(tmp_path) -> None:
    """Small sections and large ones, in two fields: seconds over spots, no mean of ratios."""
    header = "section\tencoder\tstart\tn_spots\tseconds\tparameters\tdimension\thardware\n"
    files = {
        "near": "s1\tnet\tpretrained\t100\t1.0\t77\t8\tone\ns2\tnet\tpretrained\t300\t7.0\t77\t8\tone\n",
        "far": "s1\tnet\tpretrained\t400\t12.0\t77\t8\tanother\n",
        "random": "s1\tnet\tnone\t500\t2.0\t77\t8\tone\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(header + text)
    costs = measured_costs([tmp_path / name for name in files], ["net", "net", "net_random"])
    assert costs["net"]["seconds_per_1000_spots"] == pytest.approx(1000 * 20 / 800)
    assert costs["net_random"]["seconds_per_1000_spots"] == pytest.approx(4.0)
    assert costs["net"]["described_on"] == "another; one"
    unsaid = {key: value for key, value in facts("net").items() if key not in ("parameters", "dimension")}
    told = encoder_table([unsaid, facts("gated", missing="ask")], "c", costs).set_index("encoder")
    assert told.loc["net", ["parameters", "dimension"]].tolist() == [77, 8]
    assert told.loc["gated", "parameters"] == 1_000_000
    assert pd.isna(told.loc["gated", "seconds_per_1000_spots"]) and told.loc["gated", "described_on"] == ""
    assert measured_costs([], []) == {}
