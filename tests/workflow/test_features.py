"""Frozen features are made once: one job per cohort, encoder and field; sets of planned jobs are compared."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

FEATURES = "results/data/simulated/features/resnet50.none.raw-4.8um-32px"
PROBE = "      ridge_probe: {resources: {runtime: 90}}  # a job for every fold\n"
FRAME_CHANGES = {
    "panel": ("panel: {size: 30}", "panel: {size: 25}"),
    "fold": ("    panel: {size: 30}", "    panel: {size: 30}\n    folds: {scheme: k_fold_patients, k: 2}"),
    "head": (PROBE, PROBE + "      knn:\n      random_forest:\n"),
    "penalty": (PROBE, "      ridge_probe: {params: {alphas: [3.0, 30.0]}}\n"),
    "seed": ("    weights: none", "    weights: none\n    seeds: [0, 1]"),
    "transform": ("    weights: none", "    weights: none\n    transform: log1p"),
}


@pytest.fixture(scope="module")
def described(fresh):
    """A checkout in which the sections have been described; one of them was asked for."""
    checkout = fresh("described")
    checkout.snakemake(f"{FEATURES}/P1_1.npy", check=True, timeout=1800)
    return checkout


def extractions(checkout) -> list[str]:
    """Return the features that every job would make in which a run would describe sections."""
    text = checkout.snakemake("--dry-run", check=True).stdout
    assert {"train_method", "train_quick"} & {rule for rule, _ in checkout.planned(text)}
    # each with a list of its sections at the end
    return re.findall(
        r"rule extract_features_of_\w+:\n\s+input: [^\n]*\n\s+output: ([^\n]*), \S+/lists/\S+", text
    )


def test_one_job_describes_all_sections_of_a_cohort(described):
    made = sorted(file.name for file in (described.folder / FEATURES).iterdir() if file.is_file())
    assert made == ["P1_1.npy", "P2_1.npy", "P3_1.npy"]
    assert len(list((described.folder / "results/benchmarks/extract_features").rglob("*.jsonl"))) == 1
    assert extractions(described) == []


@pytest.mark.parametrize("change", FRAME_CHANGES)
def test_no_feature_is_computed_twice(described, change):
    """Features depend on images and encoder: whatever else changes trains again and describes nothing again."""
    with described.edit("tiny.yaml", *FRAME_CHANGES[change]):
        assert extractions(described) == []


def test_what_features_depend_on_describes_again(described):
    with described.edit("tiny.yaml", "width_px: 32", "width_px: 40"):
        assert len(extractions(described)) == 1
    edited = ("from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = 1\n")
    with described.edit("workflow/lib/histobench/encoders/build.py", *edited):
        assert len(extractions(described)) == 1


def test_a_section_that_comes_later_is_described_alone(described):
    with described.edit("tiny.yaml", "sections: [P1_1,", "sections: [P1_1, P1_2,"):
        assert extractions(described) == [f"{FEATURES}/P1_2.npy"]
    with described.edit("tiny.yaml", "sections: [P1_1, P2_1,", "sections: [P1_1,"):
        assert extractions(described) == []


HEADS = PROBE + "      knn:\n"
RANDOM = "{encoder: small_cnn, weights: none}"
LITE = "{encoder: efficientnet_lite0, weights: none}"


def compared(encoders: str, heads: str = HEADS) -> tuple[str, str]:
    """Heads on encoders instead of one probe."""
    return PROBE, f"{heads}    encoders: [{encoders}]\n    fields: [112, 224]\n"


def models(text: str) -> dict[str, set[tuple[str, str]]]:
    """Which models, (run, fold), each kind of training makes of those that a dry run has printed."""
    found: dict[str, set[tuple[str, str]]] = {}
    blocks = re.findall(r"rule (train_\w+?)_of_\w+:\n\s+input: [^\n]*\n\s+output: ([^\n]*)", text)
    blocks += re.findall(r"rule (train_method):\n\s+input: [^\n]*\n\s+output: ([^\n]*)", text)
    for rule, made in blocks:
        found.setdefault(rule, set()).update(re.findall(r"models/([^/]+)/(\w+)/weights\.pt(?:,|$)", made))
    return found


def test_an_encoder_is_one_job_per_cohort_and_field(described):
    """However many sections, heads and folds: encoders x fields, of those that can be had; so are its heads."""
    with described.edit("tiny.yaml", *compared(f"{RANDOM}, {LITE}, efficientnet_lite0, uni")):
        text = described.snakemake("--dry-run", check=True).stdout
    jobs = described.planned(text)
    starts = ("efficientnet_lite0.none", "efficientnet_lite0.pretrained", "small_cnn.none")
    assert sorted(told for rule, told in jobs if rule == "extract_features") == [
        f"cohort=simulated, backbone={start}.raw-{scale}um-32px" for start in starts for scale in ("3.5", "7")
    ]
    labels = ("efficientnet_lite0", "efficientnet_lite0_random", "small_cnn_random")
    asked = {f"experiment=tiny, encoder={label}__{field}um" for label in labels for field in (112, 224)}
    assert {told for rule, told in jobs if rule == "train_heads"} == asked
    assert {told for rule, told in jobs if rule == "predict_heads"} == asked
    trained = models(text)
    assert trained["train_heads"] == {
        (f"{head}__{label}__{field}um", fold)
        for head in ("ridge_probe", "knn")
        for label in labels
        for field in (112, 224)
        for fold in ("P1", "P2", "P3")
    }
    assert {run for run, _ in trained["train_quick"]} == {"train_mean", "colour_ridge"}
    assert set(trained) == {"train_heads", "train_quick"}


@pytest.fixture(scope="module")
def predicted(fresh):
    """A checkout in which two heads have predicted by one encoder in two fields."""
    checkout = fresh("predicted")
    text = (checkout.folder / "tiny.yaml").read_text()
    (checkout.folder / "tiny.yaml").write_text(text.replace(*compared(RANDOM)))
    asked = [f"results/tiny/predictions/knn__small_cnn_random__{field}um/P1" for field in (112, 224)]
    checkout.snakemake(*asked, check=True, timeout=1800)
    return checkout


def of_heads(checkout) -> dict[str, set[str]]:
    """What would be described, trained and predicted, by rule: cohorts and experiments left out."""
    found: dict[str, set[str]] = {}
    for rule, told in checkout.jobs():
        if rule in ("extract_features", "train_heads", "predict_heads"):
            found.setdefault(rule, set()).add(told.rpartition("=")[2])
    return found


BOTH = {"small_cnn_random__112um", "small_cnn_random__224um"}


def test_what_heads_made_together_is_complete(predicted):
    made = predicted.folder / "results/tiny"
    for run in (f"{head}__{name}" for head in ("ridge_probe", "knn") for name in BOTH):
        for fold in ("P1", "P2", "P3"):
            assert {file.name for file in (made / "models" / run / fold).iterdir()} == {
                *("weights.pt", "weights.pt.sha256", "run.json", "run.json.sha256", "history.tsv", "card.md")
            }
            assert (made / "predictions" / run / fold / f"{fold}_1.h5ad").is_file()
    assert of_heads(predicted) == {}


def test_a_head_that_changes_trains_with_its_company_and_describes_nothing(predicted):
    with predicted.edit("config/methods/knn.yaml", "  k: 5 ", "  k: 4 "):
        assert of_heads(predicted) == {"train_heads": BOTH, "predict_heads": BOTH}
    edited = ("from __future__ import annotations\n", "from __future__ import annotations\n\nEDITED = 1\n")
    with predicted.edit("workflow/lib/histobench/methods/knn.py", *edited):
        assert of_heads(predicted) == {"train_heads": BOTH, "predict_heads": BOTH}


def test_a_new_encoder_is_described_and_trained_alone(predicted):
    """Whatever is there by the others stays."""
    with predicted.edit("tiny.yaml", f"[{RANDOM}]", f"[{RANDOM}, {LITE}]"):
        new = {f"efficientnet_lite0_random__{field}um" for field in (112, 224)}
        assert of_heads(predicted) == {
            "extract_features": {f"efficientnet_lite0.none.raw-{scale}um-32px" for scale in ("3.5", "7")},
            "train_heads": new,
            "predict_heads": new,
        }


def test_a_changed_prediction_trains_nothing(predicted):
    """A record of a training that is lost is made again, with those of its company."""
    with predicted.edit(
        "workflow/scripts/predict_heads.py", "    predict_heads(", "    print()\n    predict_heads("
    ):
        assert of_heads(predicted) == {"predict_heads": BOTH}
    record = predicted.folder / "results/tiny/models/knn__small_cnn_random__112um/P2/run.json"
    kept = record.read_bytes()
    record.unlink()
    try:
        lost = {"small_cnn_random__112um"}
        assert of_heads(predicted) == {"train_heads": lost, "predict_heads": lost}
    finally:
        record.write_bytes(kept)
