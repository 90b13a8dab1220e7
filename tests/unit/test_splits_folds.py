"""Fold schemes: who is tested, that patients stay together, and requests that cannot be met."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histobench.errors import UserError
from histobench.splits.folds import LEAKING_SCHEMES, Fold, make_folds, roles, write_folds

SECTIONS = {f"{patient}{i}": patient for patient in "ABCDEFG" for i in (1, 2, 3)}


def patients(sections, names):
    return {sections[name] for name in names}


cohorts = st.dictionaries(
    st.text("abcXYZ019_", min_size=1, max_size=4), st.sampled_from(["p1", "p2", "p3", "p4", "p5"]), min_size=5
).filter(lambda sections: len(set(sections.values())) >= 5)


@settings(max_examples=100, deadline=None)
@given(
    cohorts, st.sampled_from(["leave_one_patient_out", "k_fold_patients"]), st.integers(0, 1), st.booleans()
)
def test_patient_schemes_never_split_a_patient(sections, scheme, valid_patients, hold_out):
    settings_ = {"scheme": scheme, "valid_patients": valid_patients}
    if scheme == "k_fold_patients":
        settings_["k"] = 2
        if hold_out:
            settings_["held_out"] = ["p1"] if "p1" in sections.values() else []
    folds = make_folds(sections, **settings_)
    tested = [section for fold in folds for section in fold.test]
    assert sorted(tested) == sorted(sections), "every section is tested exactly once"
    for fold in folds:
        parts = [patients(sections, part) for part in (fold.train, fold.valid, fold.test)]
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
        assert fold.train and len(parts[1]) == valid_patients
        for part in (fold.train, fold.valid, fold.test):
            assert {s for s in sections if sections[s] in patients(sections, part)} == set(part)


def test_leave_one_patient_out_names_folds_after_patients():
    folds = make_folds(SECTIONS, scheme="leave_one_patient_out")
    assert [fold.name for fold in folds] == list("ABCDEFG")
    assert folds[1] == Fold("B", tuple(s for s in SECTIONS if s[0] != "B"), (), ("B1", "B2", "B3"))


def test_k_folds_take_every_kth_patient_as_the_published_splits_do():
    folds = make_folds(SECTIONS, scheme="k_fold_patients", k=3)
    assert [sorted(patients(SECTIONS, fold.test)) for fold in folds] == [
        ["A", "D", "G"],
        ["B", "E"],
        ["C", "F"],
    ]


def test_held_out_patients_are_trained_on_by_nobody():
    folds = make_folds(SECTIONS, scheme="k_fold_patients", k=2, held_out=["G", "C"], valid_patients=1)
    assert [fold.name for fold in folds] == ["fold1", "fold2", "heldout"]
    for fold in folds:
        assert not {"C", "G"} & patients(SECTIONS, fold.train + fold.valid)
    assert patients(SECTIONS, folds[-1].test) == {"C", "G"}
    assert patients(SECTIONS, folds[-1].train + folds[-1].valid) == set("ABDEF")
    alone = make_folds(SECTIONS, scheme="k_fold_patients", held_out=["G"])
    assert [fold.name for fold in alone] == ["heldout"]


def test_section_scheme_leaks_the_patient_and_says_so_but_validates_by_patient():
    folds = make_folds(SECTIONS, scheme="leave_one_section_out", valid_patients=1)
    assert len(folds) == len(SECTIONS) and "leave_one_section_out" in LEAKING_SCHEMES
    for fold in folds:
        assert len(fold.test) == 1
        assert patients(SECTIONS, fold.test) <= patients(SECTIONS, fold.train)
        assert not patients(SECTIONS, fold.valid) & patients(SECTIONS, fold.train + fold.test)


def test_validation_patients_depend_on_the_seed_only():
    def drawn(seed):
        folds = make_folds(SECTIONS, scheme="leave_one_patient_out", valid_patients=2, seed=seed)
        return [fold.valid for fold in folds]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("sections", "request_", "message"),
    [
        ({}, {"scheme": "leave_one_patient_out"}, "no section"),
        ({"A1": "A", "A2": "A"}, {"scheme": "leave_one_patient_out"}, "at least 2 patients"),
        ({"A1": "A"}, {"scheme": "leave_one_section_out"}, "at least 2 sections"),
        (SECTIONS, {"scheme": "k_fold_patients", "k": 8}, "8 folds cannot be made of 7 patients"),
        (SECTIONS, {"scheme": "k_fold_patients", "k": 1}, "1 folds cannot"),
        (SECTIONS, {"scheme": "k_fold_patients"}, "set k"),
        (SECTIONS, {"scheme": "k_fold_patients", "k": 6, "held_out": ["A", "B"]}, "of 5 patients"),
        (SECTIONS, {"scheme": "k_fold_patients", "held_out": list("ABCDEFG")}, "every patient is held out"),
        (SECTIONS, {"scheme": "k_fold_patients", "k": 2, "held_out": ["Z"]}, "Z is not a patient"),
        (SECTIONS, {"scheme": "leave_one_patient_out", "k": 3}, "only the scheme k_fold_patients"),
        (SECTIONS, {"scheme": "leave_one_patient_out", "held_out": ["A"]}, "held_out"),
        (SECTIONS, {"scheme": "leave_one_patient_out", "valid_patients": 6}, "none to train on"),
        (SECTIONS, {"scheme": "leave_one_patient_out", "valid_patients": -1}, "negative"),
        (SECTIONS, {"scheme": "by_spot"}, "unknown"),
        ({"A/1": "A", "B1": "B"}, {"scheme": "leave_one_patient_out"}, "file name"),
    ],
)
def test_impossible_requests_are_one_sentence(sections, request_, message):
    with pytest.raises(UserError, match=message) as caught:
        make_folds(sections, **request_)
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def test_the_table_tells_the_role_of_every_section(tmp_path):
    folds = make_folds(SECTIONS, scheme="k_fold_patients", k=3, valid_patients=1)
    write_folds(folds, SECTIONS, "her2st", tmp_path / "folds.tsv")
    table = pd.read_csv(tmp_path / "folds.tsv", sep="\t")
    assert list(table.columns) == ["fold", "patient", "section", "role", "cohort"]
    assert table.to_dict("records") == roles(folds, SECTIONS, "her2st")


def test_module_is_light_because_the_workflow_imports_it():
    code = "import sys, histobench.splits.folds; print([m for m in ('numpy', 'pandas') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert run.stdout.strip() == "[]"
