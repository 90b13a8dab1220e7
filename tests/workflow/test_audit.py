"""A leak stops the run before anything is trained, with its reason in one sentence."""

from __future__ import annotations

import re
import shutil

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

# Counts from the simulation, one image for two sections where a test wants that.
TINY = """\
run: [leaky]
device: cpu
cohorts:
  simulated:
    options: {n_patients: 3, sections_per_patient: 2, grid_columns: 7, grid_rows: 7, um_per_px: 4.0}
experiments:
  leaky:
    title: Leaky
    cohort: simulated
    panel: {size: 10}
    patches: {um_per_px: 4.8, width_px: 32}
    weights: none
    methods: {train_mean: }
"""
EXTERNAL = """\
run: [breast]
experiments:
  breast:
    title: Trained on HBCIS, tested on HER2+
    cohort: hbcis
    folds: {scheme: k_fold_patients, k: 5}
    external: [{cohort: her2st, sections: [A1, B1, E1, F1, G1, H1]}]
    methods: {colour_ridge: }
"""


def run(checkout, text, target, ok=False):
    (checkout.folder / "leaky.yaml").write_text(text)
    done = checkout.snakemake(target, configfile="leaky.yaml")
    assert (done.returncode == 0) == ok, done.stdout[-4000:]
    assert "Traceback" not in done.stdout, done.stdout[-4000:]
    return re.findall(r"^Error: (.*)$", done.stdout, re.M)


@pytest.fixture(scope="module")
def checkout(fresh):
    """Sections are read and hashed once; every test below audits them under other conditions."""
    made = fresh("audit")
    run(made, TINY, "results/leaky/audit/leakage.tsv", ok=True)
    return made


def test_a_clean_experiment_passes_every_check(checkout):
    table = pd.read_csv(checkout.folder / "results/leaky/audit/leakage.tsv", sep="\t")
    assert set(table["status"]) == {"ok"}
    images = table.loc[table["check"] == "images", "detail"].item()
    assert images == "6 images, no two of them alike"
    assert len(table[table["check"] == "panel sections"]) == 3


def test_training_on_hbcis_and_testing_her2st_e_to_h(checkout):
    """Neither cohort has been downloaded: the configuration alone shows the leak."""
    (error,) = run(checkout, EXTERNAL, "results/breast/audit/plan.tsv")
    assert (
        "her2st shares 4 of its 6 patients with the training data of hbcis (E is BC23567; F is BC23810; G is "
        "BC23903; H is BC24044); leave sections E1, F1, G1, H1 out of the external test"
    ) in error
    clean = EXTERNAL.replace("E1, F1, G1, H1", "C1, D1")
    run(checkout, clean, "results/breast/audit/plan.tsv", ok=True)


def test_section_wise_folds_declared_as_patient_wise(checkout):
    """A mistake in the fold maker: sections are spread over folds as if each were a patient."""
    with checkout.edit(
        "workflow/lib/histobench/splits/folds.py",
        'if scheme == "leave_one_section_out":\n        tests',
        "if True:\n        tests",
    ):
        (error,) = run(checkout, TINY, "results/leaky/audit/plan.tsv")
    assert "section P1_2 of tested patient P1 is trained on (test P1_1)" in error
    assert "although the folds are declared as leave_one_patient_out" in error


def test_a_panel_computed_on_test_patients(checkout):
    """A mistake in the rules: the panel of a fold sees all sections, whatever the configuration says."""
    with checkout.edit(
        "workflow/lib/histobench/plan/training.py",
        "return training_sections(plan, experiment, fold)",
        "return list(described.sections)",
    ):
        (error,) = run(checkout, TINY, "results/leaky/audit/leakage.tsv")
    assert re.search(r"genes were chosen on section P1_\d of patient P1, who is tested", error)
    run(checkout, TINY, "results/leaky/audit/leakage.tsv", ok=True)


def test_a_stain_reference_from_a_test_patient(checkout):
    patches = "patches: {stain: vahadane, stain_reference: P2_1, um_per_px: 4.8, width_px: 32}"
    text = TINY.replace("patches: {um_per_px: 4.8, width_px: 32}", patches)
    (error,) = run(checkout, text, "results/leaky/audit/plan.tsv")
    assert "stains are normalised to section P2_1 of patient P2, who is tested" in error
    # A patient who takes no part may be the reference, and patches are then cut with it.
    outside = text.replace("    panel:", "    sections: [P1_1, P3_1]\n    panel:")
    run(checkout, outside, "results/leaky/audit/plan.tsv", ok=True)
    run(checkout, outside, "results/data/simulated/patches/vahadane@P2_1-4.8um-32px/P1_1.npy", ok=True)


def test_the_same_image_under_two_names(checkout):
    raw = checkout.folder / "results/data/simulated/raw"
    saved = raw / "P3_1.jpg.saved"
    shutil.copy2(raw / "P3_1.jpg", saved)
    try:
        shutil.copyfile(raw / "P1_2.jpg", raw / "P3_1.jpg")
        (error,) = run(checkout, TINY, "results/leaky/audit/leakage.tsv")
    finally:
        saved.replace(raw / "P3_1.jpg")
    assert (
        "section P1_2 of patient P1 (simulated) and section P3_1 of patient P3 (simulated) have the same image"
        in error
    )
